"""Matrix products through cuBLAS: batches without copies, float16 and bfloat16 with float32 sums, TF32 where the settings allow it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import precision
from ..shapes import broadcast_shapes
from . import driver

if TYPE_CHECKING:
    from .driver import CupyArray

__all__ = ["matmul", "product_into", "pointer_product", "tf32"]

_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}       # cudaDataType
_ONES = {np.float32: (ctypes.c_float(1.0), ctypes.c_float(0.0)), np.float64: (ctypes.c_double(1.0), ctypes.c_double(0.0))}


def tf32() -> bool:
    """Whether float32 products may round their factors to TF32."""
    return precision.matmul != "highest"


def _cublas() -> ModuleType:
    module = driver.needed()
    standin: ModuleType | None = getattr(module, "cublas_of_the_standin", None)
    if standin is not None:
        return standin
    from cupy_backends.cuda.libs import cublas
    return cublas


def _layout(a: CupyArray) -> tuple[CupyArray, bool, int] | None:
    """(array, whether its last two dimensions are transposed in memory, leading dimension); None where a copy is needed."""
    rows, columns = a.shape[-2:]
    item = a.itemsize
    row_step, column_step = a.strides[-2] // item, a.strides[-1] // item
    if (column_step == 1 or columns == 1) and (row_step >= columns or rows == 1):
        return a, False, max(row_step if rows > 1 else columns, columns, 1)
    if (row_step == 1 or rows == 1) and (column_step >= rows or columns == 1):
        return a, True, max(column_step if columns > 1 else rows, rows, 1)
    return None


def _batch(a: CupyArray, batch: tuple[int, ...]) -> tuple[CupyArray, int] | None:
    """(array, step between matrices in elements) where one step leads through the whole batch; None where not."""
    if not batch:
        return a, 0
    have = a.shape[:-2]
    if all(n == 1 for n in have):
        return a, 0
    if have != batch:
        return None
    step = 0
    reached = None
    for n, s in zip(reversed(have), reversed(a.strides[:-2]), strict=True):
        if n == 1:
            continue
        if reached is None:
            step = s
        elif s != reached:
            return None
        reached = s * n
    return a, step // a.itemsize


def matmul(a: CupyArray, b: CupyArray, rounded: bool | None = None) -> CupyArray:
    """a @ b for cupy arrays of one floating dtype and at least two dimensions each; NotImplemented for other dtypes. `rounded`: whether
    float32 may be rounded to TF32; None: as the settings say."""
    name = a.dtype.name
    if name not in _TYPES or b.dtype != a.dtype or a.ndim < 2 or b.ndim < 2:
        return NotImplemented
    module = driver.needed()
    m, k = a.shape[-2:]
    n = b.shape[-1]
    if b.shape[-2] != k:
        raise ValueError(f"matmul: {a.shape} and {b.shape} do not fit")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = module.empty((*batch, m, n), a.dtype)
    if not out.size:
        return out
    if not k:
        out.fill(0)
        return out
    if not b.ndim > 2 and a.ndim > 2 and a.flags.c_contiguous:      # many rows at once
        return matmul(a.reshape(-1, k), b, rounded).reshape(out.shape)
    first, second = _prepared(a, batch), _prepared(b, batch)
    (a, a_transposed, a_leading, a_step), (b, b_transposed, b_leading, b_step) = first, second
    count = out.size // (m * n)
    cublas = _cublas()
    compute, one, zero = _arithmetic(cublas, name)
    # cuBLAS thinks in columns: out.T = b.T @ a.T, and memory by rows is the transposed matrix by columns.
    cublas.gemmStridedBatchedEx(
        module.cuda.Device().cublas_handle, cublas.CUBLAS_OP_T if b_transposed else cublas.CUBLAS_OP_N,
        cublas.CUBLAS_OP_T if a_transposed else cublas.CUBLAS_OP_N, n, m, k, ctypes.addressof(one), b.data.ptr, _TYPES[name], b_leading,
        b_step, a.data.ptr, _TYPES[name], a_leading, a_step, ctypes.addressof(zero), out.data.ptr, _TYPES[name], n, m * n, count, compute,
        -1)
    return out


def _arithmetic(cublas: ModuleType, name: str) -> tuple[int, Any, Any]:
    """(compute type, 1, 0) of products of factors of this dtype."""
    if name == "float64":
        return cublas.CUBLAS_COMPUTE_64F, *_ONES[np.float64]
    return cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if name == "float32" and tf32() else cublas.CUBLAS_COMPUTE_32F, *_ONES[np.float32]


def product_into(out: CupyArray, a: CupyArray, b: CupyArray, add: bool = False) -> CupyArray:
    """out = a @ b, or out + a @ b, for matrices. `out` has rows one after the other; it may be float32 where a and b have 16 bits."""
    (m, k), n = a.shape, b.shape[1]
    if not out.size or not k:
        if not add:
            out.fill(0)
        return out
    (a, a_transposed, a_leading, _), (b, b_transposed, b_leading, _) = _prepared(a, ()), _prepared(b, ())
    cublas = _cublas()
    compute, one, zero = _arithmetic(cublas, a.dtype.name)
    cublas.gemmStridedBatchedEx(
        driver.needed().cuda.Device().cublas_handle, cublas.CUBLAS_OP_T if b_transposed else cublas.CUBLAS_OP_N,
        cublas.CUBLAS_OP_T if a_transposed else cublas.CUBLAS_OP_N, n, m, k, ctypes.addressof(one), b.data.ptr, _TYPES[b.dtype.name],
        b_leading, 0, a.data.ptr, _TYPES[a.dtype.name], a_leading, 0, ctypes.addressof(one if add else zero), out.data.ptr,
        _TYPES[out.dtype.name], max(out.strides[0] // out.itemsize, n), 0, 1, compute, -1)
    return out


def pointer_product(w: CupyArray, out_dtype: str, add: bool) -> Callable[[int, int, int, int, int], None]:
    """(address of a, its row step, number of rows, address of out, its row step): out = a @ w, or out + a @ w, where a has the dtype of w.

    For loops that do the same product many times: all that can be is decided beforehand.
    """
    w, transposed, leading, _ = _prepared(w, ())
    k, n = w.shape
    cublas = _cublas()
    compute, one, zero = _arithmetic(cublas, w.dtype.name)
    handle, kind, out_kind = driver.needed().cuda.Device().cublas_handle, _TYPES[w.dtype.name], _TYPES[out_dtype]
    turn, plain, call = cublas.CUBLAS_OP_T if transposed else cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_N, cublas.gemmStridedBatchedEx
    alpha, beta = ctypes.addressof(one), ctypes.addressof(one if add else zero)

    def run(a: int, a_step: int, rows: int, out: int, out_step: int) -> None:
        call(handle, turn, plain, n, rows, k, alpha, w.data.ptr, kind, leading, 0, a, kind, a_step, 0, beta, out, out_kind, out_step, 0, 1,
             compute, -1)
    return run


def _prepared(a: CupyArray, batch: tuple[int, ...]) -> tuple[CupyArray, bool, int, int]:
    """(array, transposed, leading dimension, step of the batch), of a copy where the memory does not fit."""
    layout, steps = _layout(a), _batch(a, batch)
    if layout is None or steps is None:
        module = driver.needed()
        a = module.ascontiguousarray(a if steps is not None else module.broadcast_to(a, (*batch, *a.shape[-2:])))
        layout, steps = _layout(a), _batch(a, batch)
    assert layout is not None and steps is not None
    return a, layout[1], layout[2], steps[1]
