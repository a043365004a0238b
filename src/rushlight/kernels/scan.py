"""Running sums, products and extremes along a dimension of an array. NumPy is the reference; native/scan.cpp where it is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import native
from .door import kernel

__all__ = ["running", "running_extreme"]

_library = native.library


def _native(a: Any) -> bool:
    return _library is not None and a.__class__ is np.ndarray and a.dtype.char in "fdlqi" and a.dtype.isnative


def running(ufunc: Any, a: Any, dim: int, backwards: bool = False) -> Any:
    """``ufunc.accumulate`` along a dimension, or from its end on."""
    if _native(a):
        if ufunc is np.add or ufunc is np.multiply:
            return _library.running(a, dim, ufunc is np.multiply, backwards)
        if ufunc is np.logaddexp and a.dtype.kind == "f" and not backwards:
            return _library.running_log(a, dim)
    return np.flip(ufunc.accumulate(np.flip(a, dim), axis=dim), dim) if backwards else ufunc.accumulate(a, axis=dim)


@kernel
def running_extreme(a: Any, dim: int, largest: bool) -> tuple[Any, Any]:
    """(values, places) of the running maximum or minimum. Of equal values the last counts; nan stays, once it has come."""
    if _native(a):
        return _library.running_extreme(a, dim, largest)
    work = np.moveaxis(a, dim, 0)
    indices = np.zeros(work.shape, np.int64, like=work)
    if work.shape[0]:
        best, at = work[0], np.zeros(work.shape[1:], np.int64, like=work)
        for i in range(1, work.shape[0]):
            with np.errstate(invalid="ignore"):
                larger = work[i] >= best if largest else work[i] <= best
                wins = (larger & (best == best)) | (work[i] != work[i])
            best, at = np.where(wins, work[i], best), np.where(wins, i, at)
            indices[i] = at
    index = np.ascontiguousarray(np.moveaxis(indices, 0, dim))
    return np.take_along_axis(a, index, dim), index
