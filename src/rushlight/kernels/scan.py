"""Running sums, products and extremes along a dimension of an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array
from .door import kernel

__all__ = ["running", "running_extreme"]


@kernel
def running(name: str, a: Array, dim: int, backwards: bool) -> Array:
    """``accumulate`` of NumPy's function of that name ("add", "multiply", "logaddexp") along a dimension, or from its end on."""
    ufunc = getattr(np, name)
    return np.flip(ufunc.accumulate(np.flip(a, dim), axis=dim), dim) if backwards else ufunc.accumulate(a, axis=dim)


@kernel
def running_extreme(a: Array, dim: int, largest: bool) -> tuple[Any, Any]:
    """(values, places) of the running maximum or minimum. Of equal values the last counts; nan stays, once it has come."""
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
