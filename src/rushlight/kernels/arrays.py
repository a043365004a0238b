"""What holds for arrays of any device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array, Function, NumpyDtype
from .door import narrowed
from .native import library

__all__ = ["add_reduce", "all_reduce", "any_reduce", "as_array", "as_truth", "maximum_reduce", "minimum_reduce", "multiply_reduce"]

# Called by position: half the overhead of keywords. (NumPy's own annotations know the keywords only.)
add_reduce: Function = np.add.reduce
multiply_reduce: Function = np.multiply.reduce
maximum_reduce: Function = np.maximum.reduce
minimum_reduce: Function = np.minimum.reduce
any_reduce: Function = np.logical_or.reduce
all_reduce: Function = np.logical_and.reduce

_fast_halves = library is not None      # it converts to 16 bits in a fraction of NumPy's time


def as_array(value: Any, numpy_dtype: NumpyDtype | None = None) -> Array:
    """A NumPy scalar as a 0-dim array; arrays of any device as they are; cast where a dtype is given."""
    if isinstance(value, (np.generic, int, float, complex)):
        value = np.asarray(value)
    if numpy_dtype is not None and value.dtype != numpy_dtype:
        return narrowed(value, numpy_dtype) if _fast_halves and numpy_dtype.itemsize == 2 and value.dtype == np.float32 else value.astype(numpy_dtype)
    return value


def as_truth(a: Array) -> Any:
    """A bool array whose bytes are 0 or 1, on which everything relies: itself, or a copy where its memory holds other bytes."""
    if a.__class__ is not np.ndarray:
        return a
    bytes_ = a.view(np.uint8)
    return a if not (bytes_ > 1).any() else bytes_ != 0
