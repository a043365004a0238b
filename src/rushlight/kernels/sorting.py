"""Orders along a dimension of an array, as index arrays (int64). Equal elements keep their order, also in descending order; nan counts as the
largest. NumPy is the reference; native/sorting.cpp where it is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import native

__all__ = ["order", "first", "at_rank"]

_library = native.library


def _native(a: Any) -> bool:
    return _library is not None and a.__class__ is np.ndarray and a.dtype.char in "fdbBhilq?" and a.dtype.isnative


def order(a: Any, dim: int, descending: bool) -> Any:
    """The indices that sort."""
    if _native(a):
        return _library.sort_order(a, dim, descending, a.shape[dim])
    if not descending:
        return np.argsort(a, axis=dim, kind="stable")
    # A stable descending sort: sort the reversed array ascending, and reverse the result.
    flipped = np.argsort(np.flip(a, dim), axis=dim, kind="stable")
    return np.flip(a.shape[dim] - 1 - flipped, dim)


def first(a: Any, dim: int, k: int, descending: bool) -> Any:
    """The first k of `order`."""
    if _native(a):
        return _library.sort_order(a, dim, descending, k)
    at = order(a, dim, descending)
    return at.take(range(k), axis=dim) if k < a.shape[dim] else at


def at_rank(a: Any, dim: int, ranks: Any) -> Any:
    """The elements of `order` at `ranks`, an int64 array of the shape of `a` with size 1 in `dim`."""
    if _native(a):
        return _library.select_rank(a, dim, ranks)
    return np.take_along_axis(order(a, dim, False), ranks, dim)
