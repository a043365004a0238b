"""Resizing arrays (N, C, *spatial) by tables: along each dimension a result is a weighted sum of a few picked elements.

Interpolation of every mode and adaptive averages are such tables; so are their gradients, by the transposed tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array
from .door import kernel

__all__ = ["Table", "resample"]


class Table:
    """One dimension: result i is the sum over t of ``weight[t, i] * x[index[t, i]]`` (weight None: ones; an index of -1 adds nothing)."""

    __slots__ = ("index", "weight", "size", "_adjoint")

    def __init__(self, index: Array, weight: Array | None, size: int) -> None:
        """index: integers (taps, out); weight: floating numbers of the same shape, or None; size: how many elements x has."""
        self.index = np.ascontiguousarray(index, np.int32)
        self.weight = None if weight is None else np.ascontiguousarray(weight)
        self.size = size
        self._adjoint: Table | None = None

    @property
    def out(self) -> int:
        """How many results there are."""
        return self.index.shape[1]

    def adjoint(self) -> Table:
        """The transposed table, which carries a gradient back."""
        if self._adjoint is None:
            self._adjoint = self._transposed()
            self._adjoint._adjoint = self
        return self._adjoint

    def _transposed(self) -> Table:
        used = self.index >= 0
        places = np.broadcast_to(np.arange(self.out), self.index.shape)[used]
        pairs, inverse = np.unique(self.index[used].astype(np.int64) * self.out + places, return_inverse=True)   # sorted by the element
        element, place = pairs // self.out, pairs % self.out
        counts = np.bincount(element, minlength=self.size)
        rank = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
        index = np.full((max(int(counts.max(initial=0)), 1), self.size), -1, np.int32)
        index[rank, element] = place
        if self.weight is None and len(pairs) == used.sum():
            return Table(index, None, self.out)
        dtype = np.float64 if self.weight is None else self.weight.dtype
        weight = np.zeros(index.shape, dtype)
        weight[rank, element] = np.bincount(inverse.reshape(-1), None if self.weight is None else self.weight[used])
        return Table(index, weight, self.out)


@kernel(halves=True)
def resample(x: Array, tables: tuple[Table | None, ...]) -> Array:
    """x resized along its last dimensions, one table (of x's dtype) or None for each; always a new array."""
    y = x
    for dim, table in enumerate(tables, 2):
        if table is not None:
            y = _along(y, dim, table)
    return x.copy() if y is x else y


def _along(x: Array, dim: int, table: Table) -> Any:
    """One dimension resized."""
    if x.shape[dim] == 0:
        return np.zeros((*x.shape[:dim], table.out, *x.shape[dim + 1:]), x.dtype, like=x)
    total = None
    shape = (-1,) + (1,) * (x.ndim - 1 - dim)
    for t, index in enumerate(table.index):
        part = x.take(np.asarray(np.maximum(index, 0), like=x), dim)
        if table.weight is not None:
            part *= np.asarray(table.weight[t].reshape(shape), like=x)
        if (index < 0).any():
            part = np.where(np.asarray((index < 0).reshape(shape), like=x), x.dtype.type(0), part)
        total = part if total is None else total + part
    return total
