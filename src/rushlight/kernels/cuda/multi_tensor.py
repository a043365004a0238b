"""One launch over many tensors: the sum of their squares, multiplication by a factor, and the gradient scaler's unscaling with its check.

A table on the device says where the tensors are, as for optimiser steps (optimizer.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...vocabulary import Array
from . import driver
from .optimizer import PIECE, table_of
from .source import THREADS, Kernel

__all__ = ["norm", "scale", "unscale"]

_PIECE = f"""
    const long long* row = table + (long long)pieces[2 * blockIdx.x] * 2;
    long long n = row[1], first = (long long)pieces[2 * blockIdx.x + 1] * {PIECE}, last = first + {PIECE} < n ? first + {PIECE} : n;
    T* p = (T*)row[0];
"""

_SQUARES = Kernel("multi_squares", r"""
extern "C" __global__ void kernel(const long long* table, const int* pieces, A* out) {""" + _PIECE + r"""
    A sum = 0;
    for (long long i = first + threadIdx.x; i < last; i += blockDim.x) { A x = load(p[i]); sum += x * x; }
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
""")
_SCALE = Kernel("multi_scale", r"""
extern "C" __global__ void kernel(const long long* table, const int* pieces, const A* factor) {""" + _PIECE + r"""
    A f = *factor;
    for (long long i = first + threadIdx.x; i < last; i += blockDim.x) store(p + i, load(p[i]) * f);
}
""")
_UNSCALE = Kernel("multi_unscale", r"""
extern "C" __global__ void kernel(const long long* table, const int* pieces, const float* inverse, float* found) {""" + _PIECE + r"""
    float f = *inverse;
    for (long long i = first + threadIdx.x; i < last; i += blockDim.x) {
        A x = load(p[i]);
        if (!(x - x == 0)) *found = 1.0f;
        store(p + i, f == 1.0f ? x : x * (A)f);
    }
}
""")


def fit(arrays: list[Any]) -> bool:
    """Whether all arrays are of one floating dtype, on one GPU, without gaps in memory."""
    first = arrays[0]
    return first.dtype.name in ("float32", "float64", "float16", "bfloat16") and all(
        a.dtype == first.dtype and a.device.id == first.device.id and (a.flags.c_contiguous or a.flags.f_contiguous) for a in arrays)


def _launch(kernel: Kernel, arrays: list[Array], *more: Array) -> None:
    table, pieces, count = table_of([(a,) for a in arrays])
    kernel(arrays[0].dtype.name)((count,), (THREADS,), (table, pieces, *more))


def norm(arrays: list[Array]) -> Array:
    """The 2-norm of all elements together (0-dim, in the arrays' dtype): sums per piece in one launch, then their sum."""
    module = driver.needed()
    first = arrays[0]
    wide = np.float64 if first.dtype == np.float64 else np.float32
    if not any(a.size for a in arrays):
        return module.zeros((), first.dtype)
    sums = module.empty(table_of([(a,) for a in arrays])[2], wide)
    _launch(_SQUARES, arrays, sums)
    return module.sqrt(sums.sum()).astype(first.dtype)


def scale(arrays: list[Array], factor: Array) -> None:
    """Multiply all arrays, in place, by a 0-dim array (float64 for float64 arrays, else float32)."""
    if any(a.size for a in arrays):
        _launch(_SCALE, arrays, factor)


def unscale(arrays: list[Array], found: Array, inverse: Array) -> None:
    """Multiply all arrays, in place, by `inverse`; `found` becomes 1 where an element was inf or nan (both 0-dim float32)."""
    if any(a.size for a in arrays):
        _launch(_UNSCALE, arrays, inverse, found)
