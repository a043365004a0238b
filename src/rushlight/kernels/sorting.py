"""Orders along a dimension of an array, as index arrays (int64). Equal elements keep their order, also in descending order; nan counts as
the largest."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..vocabulary import Array
from .door import kernel

__all__ = ["order", "first", "at_rank", "selected_places", "median_places", "mode_places", "search", "count_each", "count_bins"]


@kernel
def order(a: Array, dim: int, descending: bool) -> Array:
    """The indices that sort."""
    if not descending:
        return np.argsort(a, axis=dim, kind="stable")
    # A stable descending sort: sort the reversed array ascending, and reverse the result.
    flipped = np.argsort(np.flip(a, dim), axis=dim, kind="stable")
    return np.flip(a.shape[dim] - 1 - flipped, dim)


@kernel
def first(a: Array, dim: int, k: int, descending: bool) -> Array:
    """The first k of `order`."""
    at = order(a, dim, descending)
    return at.take(range(k), axis=dim) if k < a.shape[dim] else at


@kernel
def at_rank(a: Array, dim: int, ranks: Any) -> Any:
    """The elements of `order` at `ranks`, an int64 array of the shape of `a` with size 1 in `dim`."""
    return np.take_along_axis(order(a, dim, False), ranks, dim)


@kernel(composed=True)
def selected_places(a: Array, dim: int, k: int) -> Any:
    """The places of the k-th smallest elements (from 0), of size 1 in `dim`: of equal ones the one that quickselect finds, as in
    PyTorch."""
    rows = np.moveaxis(a, dim, -1).reshape(-1, a.shape[dim])
    at = np.array([_selected(row.tolist(), k) for row in rows], np.int64)
    return at.reshape([1 if i == dim else n for i, n in enumerate(a.shape)])


def _selected(values: list[Any], k: int) -> int:
    """The place of the element of rank k, by quickselect around the median of three."""
    places = list(range(len(values)))

    def above(i: int, value: Any) -> bool:
        x = values[places[i]]
        return x != x and value == value or x > value

    def order(i: int, j: int) -> None:
        if above(i, values[places[j]]):
            places[i], places[j] = places[j], places[i]

    low, high = 0, len(values) - 1
    while high > low + 1:
        middle = low + (high - low) // 2
        places[middle], places[low + 1] = places[low + 1], places[middle]
        order(low + 1, high)
        order(low, high)
        order(low + 1, low)
        pivot, i, j = values[places[low]], low + 1, high
        while True:
            i = next(at for at in range(i + 1, high
                                        + 1) if not (pivot != pivot and values[places[at]] == values[places[at]]
                                                     or pivot > values[places[at]]))
            j = next(at for at in range(j - 1, low - 1, -1) if not above(at, pivot))
            if j < i:
                break
            places[i], places[j] = places[j], places[i]
        places[low], places[j] = places[j], places[low]
        if j <= k:
            low = i
        if j >= k:
            high = j - 1
    if high == low + 1:
        order(low, high)
    return places[k]


@kernel
def median_places(a: Array, dim: int, skip_nan: bool) -> Any:
    """The places of the lower medians, of size 1 in `dim`; of nan the first place, unless it is left out."""
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
def mode_places(a: Array, dim: int) -> Any:
    """The last places of the most frequent elements along a dimension (the smallest of several), of size 1 in `dim`."""
    rows = np.moveaxis(a, dim, -1).reshape(-1, a.shape[dim])
    at = np.empty(rows.shape[0], np.int64)
    for i, row in enumerate(rows):
        values, counts = np.unique(row, return_counts=True)
        best = values[np.argmax(counts)]
        at[i] = np.flatnonzero((row == best) | ((row != row) & (best != best)))[-1]
    return at.reshape([1 if i == dim else n for i, n in enumerate(a.shape)])


@kernel
def search(sequence: Any, values: Array, right: bool) -> Any:
    """Where values belong in a sorted vector, or in the sorted rows of their own: before equal elements, or (right) behind them."""
    side: Literal["left", "right"] = "right" if right else "left"
    if sequence.ndim == 1:
        return np.searchsorted(sequence, values, side=side)
    if not values.size:
        return np.empty(values.shape, np.int64)
    rows, asked = sequence.reshape(-1, sequence.shape[-1]), values.reshape(-1, values.shape[-1])
    return np.stack([np.searchsorted(s, v, side=side) for s, v in zip(rows, asked, strict=True)]).reshape(values.shape)


@kernel
def count_each(a: Array, low: int, size: int) -> Any:
    """How often each of the integers low ... low + size - 1, among which all elements are, occurs (int64)."""
    return np.bincount((a - low if low else a).reshape(-1), minlength=size).astype(np.int64)


@kernel
def count_bins(a: Array, edges: Any, weights: Any) -> Any:
    """The counts (or sums of weights) of a vector's elements between neighbouring edges, as float64; the last bin holds its right edge."""
    inside = (a >= edges[0]) & (a <= edges[-1])
    place = np.minimum(np.searchsorted(edges, a[inside], side="right") - 1, len(edges) - 2)
    return np.bincount(place, None if weights is None else weights[inside].astype(np.float64), len(edges) - 1).astype(np.float64)
