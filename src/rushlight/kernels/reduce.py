"""Reductions of arrays: ``sum(array, axis, keepdims)`` with axis None, an int or a tuple. Native for
float32, float64, integers and bool (native/reduce.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod as _product
from typing import Any

import numpy as np

from ..vocabulary import Array, Function, PerDim, Shape
from .arrays import add_reduce, all_reduce, any_reduce, as_array, maximum_reduce, minimum_reduce, multiply_reduce
from .door import kernel

__all__ = ["sum", "nansum", "size_sum", "prod", "mean", "amax", "amin", "any", "all", "count_nonzero", "norm", "variance", "logsumexp",
           "max_along", "min_along"]


def _sum(a: Array, axis: PerDim | None, keepdims: bool) -> Array:
    """np.add.reduce with pairwise accuracy also where NumPy adds row after row (long reductions over a leading axis)."""
    if a.ndim > 1 and axis is not None and a.dtype == np.float32 and a.size > 65536:
        axes: Shape = axis if isinstance(axis, tuple) else (axis,)  # axes are an int or a tuple
        if a.ndim - 1 not in axes and _product([a.shape[i] for i in axes]) > 512:
            return _blocked(a, axes, keepdims)
    return add_reduce(a, axis, _wide(a), None, keepdims)


def _wide(a: Array) -> type[Any] | None:
    """What sums and products are computed in: int64 for integers and bool."""
    return np.int64 if a.dtype.kind in "biu" else None


def _blocked(a: Array, axes: Shape, keepdims: bool) -> Any:
    """Sum blocks of 64 along the longest reduced axis, then blocks of the sums, and so on."""
    longest = max(axes, key=lambda i: a.shape[i])
    while a.shape[longest] > 128:
        a = np.add.reduceat(a, np.arange(0, a.shape[longest], 64), axis=longest)
    return add_reduce(a, axes, None, None, keepdims)


@kernel
def sum(a: Array, axis: PerDim | None, keepdims: bool) -> Array:
    """Integers and bool in int64."""
    return _sum(a, axis, keepdims)


@kernel
def prod(a: Array, axis: int | None, keepdims: bool) -> Any:
    """Integers and bool in int64."""
    return multiply_reduce(a, axis, _wide(a), None, keepdims)


@kernel
def nansum(a: Array, axis: Any, keepdims: bool) -> Any:
    """The sum of what is not nan."""
    return _sum(np.where(np.isnan(a), a.dtype.type(0), a), axis, keepdims)


@kernel
def size_sum(a: Array, axis: Sequence[int], keepdims: bool) -> Array:
    """The sum of the absolute values."""
    return _sum(np.abs(a), axis, keepdims)


@kernel
def any(a: Array, axis: Any, keepdims: bool) -> Any:
    """Whether one is not zero."""
    return any_reduce(a if a.dtype == bool else a != 0, axis, None, None, keepdims)


@kernel
def all(a: Array, axis: Sequence[int] | None, keepdims: bool) -> Array:
    """Whether none is zero."""
    return all_reduce(a if a.dtype == bool else a != 0, axis, None, None, keepdims)


@kernel
def count_nonzero(a: Array, axis: Any, keepdims: bool) -> Any:
    """How many are not zero."""
    return add_reduce(a != 0, axis, np.int64, None, keepdims)


@kernel
def mean(a: Array, axis: Sequence[int], keepdims: bool) -> Array:
    """The mean of floating-point numbers."""
    axes = range(a.ndim) if axis is None else axis if axis.__class__ is tuple else (axis,)
    return _sum(a, axis, keepdims) / a.dtype.type(_product([a.shape[i] for i in axes]))


@kernel
def norm(a: Array, axis: Sequence[int], keepdims: bool) -> Array:
    """The root of the sum of squares."""
    return np.sqrt(add_reduce(a * a, axis, None, None, keepdims))


@kernel
def amax(a: Array, axis: Sequence[int] | None, keepdims: bool) -> Array:
    """The largest; nan is."""
    return maximum_reduce(a, axis, None, None, keepdims)


@kernel
def amin(a: Array, axis: Sequence[int] | None, keepdims: bool) -> Array:
    """The smallest; nan is."""
    return minimum_reduce(a, axis, None, None, keepdims)


@kernel
def variance(a: Array, axis: Sequence[int], keepdims: bool, freedom: float) -> tuple[Any, Any]:
    """(variance, mean) along a tuple of axes; `freedom`: what squares are divided by."""
    count = _product([a.shape[i] for i in axis])
    center = as_array(as_array(np.add.reduce(a, axis=axis, keepdims=True, dtype=np.float64 if a.dtype == np.float32 else None))
                      / (count or np.nan)).astype(a.dtype)
    d = a - center
    square = d * d if a.dtype.kind != "c" else d.real * d.real + d.imag * d.imag
    r = as_array(_sum(square, axis, keepdims) / square.dtype.type(freedom))
    return r, center if keepdims else center.reshape([n for i, n in enumerate(center.shape) if i not in axis])


@kernel
def logsumexp(a: Array, axis: Sequence[int], keepdims: bool) -> Array:
    """The logarithm of the sum of exponentials, without overflow."""
    top = np.maximum.reduce(a.real, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(a.dtype)
    r = as_array(np.log(np.add.reduce(np.exp(a - top), axis=axis, keepdims=True)) + top)
    return r if keepdims else r.reshape([n for i, n in enumerate(r.shape) if i not in axis])


def _along(arg: Function, a: Array, axis: int, keepdims: bool) -> tuple[Any, Any]:
    at = arg(a.astype(np.float32) if a.dtype.kind == "V" or a.dtype.name == "bfloat16" else a, axis=axis, keepdims=True)
    r = np.take_along_axis(a, at, axis)
    return (r, at) if keepdims else (r.squeeze(axis), at.squeeze(axis))


@kernel
def max_along(a: Array, axis: int, keepdims: bool) -> tuple[Any, Any]:
    """(the largest along one axis, the index of the first of them); nan is the largest."""
    return _along(np.argmax, a, axis, keepdims)


@kernel
def min_along(a: Array, axis: int, keepdims: bool) -> tuple[Any, Any]:
    """(the smallest along one axis, the index of the first of them); nan is the smallest."""
    return _along(np.argmin, a, axis, keepdims)
