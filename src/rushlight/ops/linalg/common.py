"""Checks, results and errors that all of linalg shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...dtypes import int32
from ...homes import settle
from ...kernels.arrays import as_array
from ...tensor import Tensor, wrap
from ...vocabulary import Array, Dtype, Function
from ..errors import title
from ..registry import FUNCTIONS

if TYPE_CHECKING:
    from ...kind import Kind

__all__ = ["LinAlgError", "adjoint", "check_floating", "check_info", "check_matrix", "check_shapes", "check_square", "eye", "info_tensor",
           "real_kind", "result"]


class LinAlgError(RuntimeError):
    """A matrix that the algorithm can't handle (singular, not positive definite, not converging)."""


def check_floating(name: str, a: Tensor, low: bool = False, kernel: str = "", any: bool = False) -> None:
    """Raise PyTorch's error unless `a` is floating-point or complex (of at least single precision, unless `low`).

    `kernel` is PyTorch's name of the loop that refuses the low precision, `any` that it refuses the other dtypes too.
    """
    if kernel and (a._kind.reduced or any and not a._kind.differentiable):
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{title(a._kind.dtype)}'")
    if not a._kind.differentiable:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {title(a._kind.dtype)}")
    if a._kind.reduced and not low:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {title(a._kind.dtype)}")


def check_matrix(name: str, a: Tensor, argument: str = "A") -> None:
    """Raise PyTorch's error unless `a` has rows and columns."""
    if a._a.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {argument} must have at least 2 dimensions.")


def check_square(name: str, a: Tensor, argument: str = "A") -> None:
    """Raise PyTorch's error unless `a` is a batch of square matrices."""
    check_matrix(name, a, argument)
    if a._a.shape[-1] != a._a.shape[-2]:
        raise RuntimeError(f"{name}: {argument} must be batches of square matrices, but they are {a._a.shape[-2]} by {a._a.shape[-1]} "
                           "matrices")


def check_shapes(name: str, a: Tensor, b: Tensor, left: bool) -> None:
    """Raise PyTorch's error unless A X = B (X A = B) can be solved, and both are of one dtype."""
    if a._kind is not b._kind:
        raise RuntimeError(f"{name}: Expected A and B to have the same dtype, but found A of type {title(a._kind.dtype)} and B of type "
                           f"{title(b._kind.dtype)} instead")
    if (b._a.shape[-2] if left else b._a.shape[-1]) != a._a.shape[-1]:
        raise RuntimeError(f"{name}: Incompatible shapes of A and B for the equation {'AX' if left else 'XA'} = B "
                           f"({a._a.shape[-2]}x{a._a.shape[-1]} and {b._a.shape[-2]}x{b._a.shape[-1]})")


def check_info(name: str, info: Array, problem: Function, error: type[Exception] = LinAlgError) -> None:
    """Raise the error for the first matrix whose info is not 0; `problem(info)` is its text."""
    if info.any():
        flat = info.reshape(-1)
        first = int(np.argmax(flat != 0))
        where = f"(Batch element {first}): " if info.ndim else ""
        raise error(f"{name}: {where}{problem(int(flat[first]))}")


def real_kind(t: Tensor) -> Kind:
    """The kind of a tensor's absolute values."""
    return t._kind.with_dtype(t._kind.dtype.to_real()) if t._kind.is_complex else t._kind


def result(a: Any, like: Tensor) -> Tensor:
    """A tensor of LAPACK's output, real or complex, in the precision of `like`."""
    kind = like._kind
    a = _moved(as_array(a), kind)
    if a.dtype.kind == "f":
        kind = real_kind(like)
    elif not kind.is_complex:
        kind = kind.with_dtype(kind.dtype.to_complex())
    return wrap(a.astype(kind.np, copy=False), kind)


def info_tensor(info: Array, like: Tensor) -> Tensor:
    """An int32 tensor of error codes (or pivots)."""
    return wrap(_moved(as_array(info, np.dtype(np.int32)), like._kind), like._kind.with_dtype(int32))


def _moved(a: Array, kind: Kind) -> Array:
    """An array on the device of `kind`: some algorithms run on the host."""
    return kind.xp.asarray(a) if a.__class__ is np.ndarray else a


def adjoint(a: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    return a.mH


def eye(n: int, like: Tensor, dtype: Dtype = None) -> Tensor:
    """The identity in the dtype of `like`, on its device."""
    return FUNCTIONS["eye"](n, dtype=dtype or like._kind.dtype, device=like._kind.device)

settle("_C", globals(), ("LinAlgError",))
