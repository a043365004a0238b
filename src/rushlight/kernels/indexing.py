"""Reading and writing along one dimension by index arrays: NumPy's indexing as the reference, native/indexing.cpp where it is built."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from . import native

__all__ = ["gather", "gathered", "scatter", "scattered", "scatter_into", "HOW", "take_slices", "select_masked", "fill_masked", "positions", "grid", "steps"]

_library = native.library
_ADDED = "fdFDbBhilq"        # the dtypes that native scatter_into knows
HOW = {"add": 1, "multiply": 2, "maximum": 3, "minimum": 4}      # what becomes of a value that is there already; 0: it is replaced


def _none(*args: Any) -> None:
    """What the quick forms answer without the native library."""


def _quick(name: str) -> Any:
    return _none if _library is None else getattr(_library, name)


# Quick forms for plain arrays. None: look more closely (no library, an index out of range, other dtypes or strides, arrays of a device).
gathered = _quick("gathered")                # (a, dim, index): gather
scattered = _quick("scattered")              # (a, dim, index, values, how): a copy of a with the values scattered into it
take_slices = _quick("take_slices")          # (a, dim, index): a.take(index, dim)
select_masked = _quick("select_masked")      # (a, mask): a[mask]
fill_masked = _quick("fill_masked")          # (target, mask, source): target[mask] = source[:count], in place
bags = _quick("bags")                        # (matrix, index, starts, 0 sum, 1 mean, 2 max): bags of rows, and the maxima's rows
positions = _quick("positions")              # (mask): np.stack(np.nonzero(mask))


def _native(data: Any, index: Any) -> bool:
    return (_library is not None and data.__class__ is np.ndarray and index.__class__ is np.ndarray and index.dtype == np.int64
            and data.dtype.itemsize <= 16 and data.dtype.isnative)


@lru_cache(maxsize=64)
def _host_steps(n: int, trailing: int) -> Any:
    return np.arange(n).reshape((n,) + (1,) * trailing)


def steps(n: int, trailing: int, index: Any) -> Any:
    """0..n-1 as an array (on the device of `index`) that broadcasts along a dimension with `trailing` dimensions after it."""
    return _host_steps(n, trailing) if index.__class__ is np.ndarray else np.arange(n, like=index).reshape((n,) + (1,) * trailing)


def grid(index: Any, dim: int) -> tuple[Any, ...]:
    """The NumPy index under which element p of the result is at (p, but with index[p] in dimension dim)."""
    ndim = index.ndim
    return tuple([index if d == dim else steps(n, ndim - d - 1, index) for d, n in enumerate(index.shape)])


def gather(a: Any, dim: int, index: Any) -> Any:
    """``out[i][j] = a[index[i][j]][j]`` for dim 0, and so on. IndexError where an index (from 0 on) is out of range."""
    if _native(a, index):
        r = _library.gather(a, dim, index)
        if r is None:
            raise IndexError(f"an index is out of bounds for dimension {dim} with size {a.shape[dim]}")
        return r
    return a[grid(index, dim)]


def scatter(target: Any, dim: int, index: Any, values: Any) -> None:
    """``target[index[i][j]][j] = values[i][j]`` in place; `values` may be a 0-dim array. IndexError, and nothing written, where an index is out of
    range."""
    if _native(target, index) and values.__class__ is np.ndarray and values.dtype == target.dtype and (values.shape == index.shape or not values.ndim):
        if not _library.scatter(target, dim, index, values, 0):
            raise IndexError(f"an index is out of bounds for dimension {dim} with size {target.shape[dim]}")
        return
    target[grid(index, dim)] = values


def scatter_into(target: Any, dim: int, index: Any, values: Any, how: str) -> bool:
    """Scatter where places may repeat, in place: "add", "multiply", or "maximum" and "minimum" (nan wins) with what is there, where the native
    library can; False where it cannot."""
    if not (_native(target, index) and values.__class__ is np.ndarray and values.dtype == target.dtype and values.shape == index.shape
            and target.dtype.char in _ADDED and target.ndim and (how == "add" or target.dtype.kind != "c")):
        return False
    if not _library.scatter(target, dim, index, values, HOW[how]):
        raise IndexError(f"an index is out of bounds for dimension {dim} with size {target.shape[dim]}")
    return True
