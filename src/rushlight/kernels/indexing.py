"""Reading and writing along one dimension by index arrays: NumPy's indexing as the reference, native/indexing.cpp where it is built."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from . import native

__all__ = ["gather", "scatter", "scatter_add", "grid", "steps"]

_library = native.library
_ADDED = "fdFDbBhilq"        # the dtypes that native scatter_add knows


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
        if not _library.scatter(target, dim, index, values, False):
            raise IndexError(f"an index is out of bounds for dimension {dim} with size {target.shape[dim]}")
        return
    target[grid(index, dim)] = values


def scatter_add(target: Any, dim: int, index: Any, values: Any) -> bool:
    """``target[index[i][j]][j] += values[i][j]`` in place, where the native library can; False where it cannot."""
    if not (_native(target, index) and values.__class__ is np.ndarray and values.dtype == target.dtype and values.shape == index.shape
            and target.dtype.char in _ADDED and target.ndim):
        return False
    if not _library.scatter(target, dim, index, values, True):
        raise IndexError(f"an index is out of bounds for dimension {dim} with size {target.shape[dim]}")
    return True
