"""Reductions of arrays: ``sum(array, axis, keepdims)`` with axis None, an int or a tuple. Native for
float32, float64, integers and bool (native/reduce.cpp)."""

from __future__ import annotations

from math import prod as _product
from typing import Any

import numpy as np

from .arrays import as_array
from .native import function

__all__ = ["sum", "nansum", "size_sum", "prod", "mean", "amax", "amin", "any", "all", "count_nonzero", "norm", "variance", "logsumexp", "max_along",
           "min_along"]


def _numpy_sum(a: Any, axis: Any, keepdims: bool) -> Any:
    """np.add.reduce with pairwise accuracy also where NumPy adds row after row (long reductions over a leading axis)."""
    if a.ndim > 1 and axis is not None and a.dtype == np.float32 and a.size > 65536:
        axes = axis if axis.__class__ is tuple else (axis,)
        if a.ndim - 1 not in axes and _product([a.shape[i] for i in axes]) > 512:
            return _blocked(a, axes, keepdims)
    return np.add.reduce(a, axis, _wide(a), None, keepdims)  # positional: half the overhead of keywords


def _wide(a: Any) -> Any:
    """What sums and products are computed in: int64 for integers and bool."""
    return np.int64 if a.dtype.kind in "biu" else None


def _numpy_truth(ufunc: Any) -> Any:
    return lambda a, axis, keepdims: ufunc.reduce(a if a.dtype == bool else a != 0, axis, None, None, keepdims)


def _blocked(a: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Sum blocks of 64 along the longest reduced axis, then blocks of the sums, and so on."""
    longest = max(axes, key=lambda i: a.shape[i])
    while a.shape[longest] > 128:
        a = np.add.reduceat(a, np.arange(0, a.shape[longest], 64), axis=longest)
    return np.add.reduce(a, axis=axes, keepdims=keepdims)


def _numpy_mean(a: Any, axis: Any, keepdims: bool) -> Any:
    r = _numpy_sum(a, axis, keepdims)
    axes = range(a.ndim) if axis is None else axis if axis.__class__ is tuple else (axis,)
    return r / a.dtype.type(_product([a.shape[i] for i in axes]))


def _numpy_norm(a: Any, axis: Any, keepdims: bool) -> Any:
    return np.sqrt(np.add.reduce(a * a, axis, None, None, keepdims))


def _numpy_variance(a: Any, axis: Any, keepdims: bool, freedom: float) -> tuple[Any, Any]:
    count = _product([a.shape[i] for i in axis])
    center = as_array(as_array(np.add.reduce(a, axis=axis, keepdims=True, dtype=np.float64 if a.dtype == np.float32 else None))
                      / (count or np.nan)).astype(a.dtype)
    d = a - center
    square = d * d if a.dtype.kind != "c" else d.real * d.real + d.imag * d.imag
    r = as_array(_numpy_sum(square, axis, keepdims) / square.dtype.type(freedom))
    return r, center if keepdims else center.reshape([n for i, n in enumerate(center.shape) if i not in axis])


def _numpy_logsumexp(a: Any, axis: Any, keepdims: bool) -> Any:
    top = np.maximum.reduce(a.real, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(a.dtype)
    r = as_array(np.log(np.add.reduce(np.exp(a - top), axis=axis, keepdims=True)) + top)
    return r if keepdims else r.reshape([n for i, n in enumerate(r.shape) if i not in axis])


def _numpy_along(arg: Any) -> Any:
    def along(a: Any, axis: int, keepdims: bool) -> Any:
        at = arg(a.astype(np.float32) if a.dtype.kind == "V" or a.dtype.name == "bfloat16" else a, axis=axis, keepdims=True)
        r = np.take_along_axis(a, at, axis)
        return (r, at) if keepdims else (r.squeeze(axis), at.squeeze(axis))
    return along


sum = function("sum", _numpy_sum)                       # integers and bool in int64
prod = function("prod", lambda a, axis, keepdims: np.multiply.reduce(a, axis, _wide(a), None, keepdims))
nansum = function("nansum", lambda a, axis, keepdims: _numpy_sum(np.where(np.isnan(a), a.dtype.type(0), a), axis, keepdims))
size_sum = function("size_sum", lambda a, axis, keepdims: _numpy_sum(np.abs(a), axis, keepdims))
any = function("any", _numpy_truth(np.logical_or))
all = function("all", _numpy_truth(np.logical_and))
count_nonzero = function("count_nonzero", lambda a, axis, keepdims: np.add.reduce(a != 0, axis, np.int64, None, keepdims))
mean = function("mean", _numpy_mean)
norm = function("norm", _numpy_norm)
amax = function("amax", lambda a, axis, keepdims: np.maximum.reduce(a, axis, None, None, keepdims))
amin = function("amin", lambda a, axis, keepdims: np.minimum.reduce(a, axis, None, None, keepdims))
variance = function("variance", _numpy_variance)        # (array, axes, keepdims, freedom) -> (variance, mean)
logsumexp = function("logsumexp", _numpy_logsumexp)
# (extremes along one axis, the index of the first of each); nan is the most extreme
max_along = function("max_along", _numpy_along(np.argmax))
min_along = function("min_along", _numpy_along(np.argmin))
