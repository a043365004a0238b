"""Orders along a dimension of an array, as index arrays (int64). Equal elements keep their order, also in descending order; nan counts as the
largest. NumPy is the reference; native/sorting.cpp where it is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import native
from .door import kernel

__all__ = ["order", "first", "at_rank", "median_places", "mode_places", "search", "count_each", "count_bins"]

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


def median_places(a: Any, dim: int, skip_nan: bool) -> Any:
    """The places of the lower medians, of size 1 in `dim`; of nan the first place, unless it is left out."""
    if _native(a):
        return _library.median_places(a, dim, skip_nan)
    size = a.shape[dim]
    if a.dtype.kind == "f":
        bad = np.isnan(a).sum(axis=dim, keepdims=True)
        middle = np.maximum((size - bad - 1) // 2, 0)
        if not skip_nan:
            middle = np.where(bad > 0, size - bad, middle)  # the first nan
    else:
        middle = np.full([1 if i == dim else n for i, n in enumerate(a.shape)], (size - 1) // 2)
    return at_rank(a, dim, middle.astype(np.int64, copy=False))


@kernel
def mode_places(a: Any, dim: int) -> Any:
    """The last places of the most frequent elements along a dimension (the smallest of several), of size 1 in `dim`."""
    if _native(a):
        return _library.mode_places(a, dim)
    rows = np.moveaxis(a, dim, -1).reshape(-1, a.shape[dim])
    at = np.empty(rows.shape[0], np.int64)
    for i, row in enumerate(rows):
        values, counts = np.unique(row, return_counts=True)
        best = values[np.argmax(counts)]
        at[i] = np.flatnonzero((row == best) | ((row != row) & (best != best)))[-1]
    return at.reshape([1 if i == dim else n for i, n in enumerate(a.shape)])


def search(sequence: Any, values: Any, right: bool) -> Any:
    """Where values belong in a sorted vector, or in the sorted rows of their own: before equal elements, or (right) behind them."""
    if _native(sequence) and _native(values):
        found = _library.search(np.ascontiguousarray(sequence), np.ascontiguousarray(values), right)
        if found is not None:
            return found.reshape(values.shape)
    side = "right" if right else "left"
    if sequence.ndim == 1:
        return np.searchsorted(sequence, values, side=side)
    if not values.size:
        return np.empty(values.shape, np.int64)
    rows, asked = sequence.reshape(-1, sequence.shape[-1]), values.reshape(-1, values.shape[-1])
    return np.stack([np.searchsorted(s, v, side=side) for s, v in zip(rows, asked, strict=True)]).reshape(values.shape)


def count_each(a: Any, low: int, size: int) -> Any:
    """How often each of the integers low ... low + size - 1, among which all elements are, occurs (int64)."""
    if _library is not None and a.__class__ is np.ndarray:
        found = _library.count_each(a, low, size)
        if found is not None:
            return found
    return np.bincount((a - low if low else a).reshape(-1), minlength=size).astype(np.int64)


def count_bins(a: Any, edges: Any, weights: Any) -> Any:
    """The counts (or sums of weights) of a vector's elements between neighbouring edges, as float64; the last bin holds its right edge."""
    if _native(a) and a.dtype.kind == "f":
        found = _library.count_bins(np.ascontiguousarray(a), edges, weights)
        if found is not None:
            return found
    inside = (a >= edges[0]) & (a <= edges[-1])
    place = np.minimum(np.searchsorted(edges, a[inside], side="right") - 1, len(edges) - 2)
    return np.bincount(place, None if weights is None else weights[inside].astype(np.float64), len(edges) - 1).astype(np.float64)
