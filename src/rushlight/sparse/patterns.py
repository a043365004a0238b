"""Where the elements of a sparse tensor are: `Coo` (coordinates) and `Compressed` (CSR and CSC), and their index arithmetic, on the device
of the values.

A pattern knows the shape of the whole tensor and the places of its specified elements; the values are an array beside it, whose first
dimension counts the elements and whose others are the dense dimensions. Patterns are not changed once they are made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.graph import kind_of_array
from ..layout import SparseRefusal, sparse_coo, sparse_csc, sparse_csr
from ..ops.accumulate import add_rows
from ..ops.convert import move
from ..vocabulary import Device, Dtype, NumpyDtype

__all__ = ["Pattern", "Coo", "Compressed", "SparseArray", "flat_keys", "group", "without"]

Array = np.ndarray[Any, Any]


class Pattern:
    """What both kinds of pattern have: ``shape``, ``nnz``, ``sparse_dim``, ``layout`` and ``coords()``."""

    __slots__ = ("shape", "_rounds")
    shape: tuple[int, ...]
    coalesced = True

    layout: Any
    backend = ""

    @property
    def nnz(self) -> int:
        raise NotImplementedError(type(self).__name__)

    @property
    def sparse_dim(self) -> int:
        raise NotImplementedError(type(self).__name__)

    def coords(self) -> Array:
        """The coordinates of the elements in the sparse dimensions, (sparse_dim, nnz)."""
        raise NotImplementedError(type(self).__name__)

    def keys(self) -> Array:
        """One number per element: its place when the sparse dimensions are counted through in row-major order."""
        return flat_keys(self.coords(), self.shape)

    def key_count(self) -> int:
        """How many different keys there could be."""
        n = 1
        for size in self.shape[:self.sparse_dim]:
            n *= size
        return n


    def rounds(self, axis: int) -> list[Array] | None:
        """The elements of a matrix in rounds: in one round every row (column with axis=1) occurs at most once, so that NumPy can add them
        up by index. None where a row is too long for that. Kept for the next product."""
        try:
            kept = self._rounds
        except AttributeError:
            kept = self._rounds = {}
        if axis not in kept:
            kept[axis] = _rounds(self.coords()[axis])
        return kept[axis]


def _rounds(lines: Array) -> list[Array] | None:
    counts = np.bincount(lines) if lines.size else np.zeros(0, np.int64, like=lines)
    if counts.size and counts.max() > 512:
        return None
    by_line = np.argsort(lines, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.empty(lines.size, np.int64, like=lines)
    rank[by_line] = np.arange(lines.size, like=lines) - starts[lines[by_line]]
    order = np.argsort(rank, kind="stable")
    return np.split(order, np.cumsum(np.bincount(rank))[:-1].tolist()) if lines.size else []


class Coo(Pattern):
    """Coordinates: `indices` (sparse_dim, nnz). `coalesced`: sorted, every place at most once."""

    __slots__ = ("indices", "coalesced")
    layout = sparse_coo
    backend = "SparseCPU"
    title = "Sparse"

    def __init__(self, indices: Array, shape: tuple[int, ...], coalesced: bool = False) -> None:
        self.indices, self.shape, self.coalesced = indices, tuple(shape), coalesced or indices.shape[1] < 2

    @property
    def nnz(self) -> int:
        return self.indices.shape[1]

    @property
    def sparse_dim(self) -> int:
        return self.indices.shape[0]

    def coords(self) -> Array:
        return self.indices

    def on(self, device: Device) -> Coo:
        """The same places, on another device."""
        return Coo(moved(self.indices, device), self.shape, self.coalesced)


class Compressed(Pattern):
    """CSR: `crow` (rows + 1) says where each row's columns begin in `col` (nnz). `by_column` makes it CSC: rows and columns swap roles."""

    __slots__ = ("crow", "col", "by_column")

    def __init__(self, crow: Array, col: Array, shape: tuple[int, ...], by_column: bool = False) -> None:
        self.crow, self.col, self.shape, self.by_column = crow, col, tuple(shape), by_column

    @property
    def layout(self) -> Any:                                       # type: ignore[override]
        return sparse_csc if self.by_column else sparse_csr

    backend = "SparseCsrCPU"

    @property
    def title(self) -> str:
        return "SparseCsc" if self.by_column else "SparseCsr"

    @property
    def nnz(self) -> int:
        return self.col.shape[0]

    sparse_dim = 2

    def coords(self) -> Array:
        long = np.repeat(np.arange(self.crow.size - 1, dtype=np.int64, like=self.crow), np.diff(self.crow))
        return np.stack((self.col.astype(np.int64), long) if self.by_column else (long, self.col.astype(np.int64)))

    def on(self, device: Device) -> Compressed:
        """The same places, on another device."""
        return Compressed(moved(self.crow, device), moved(self.col, device), self.shape, self.by_column)

    def transposed(self) -> Compressed:
        """The pattern of the transposed matrix: the same arrays, read the other way."""
        return Compressed(self.crow, self.col, (self.shape[1], self.shape[0], *self.shape[2:]), not self.by_column)

    @staticmethod
    def from_sorted(long: Array, short: Array, shape: tuple[int, ...], by_column: bool) -> Compressed:
        """From row numbers (column numbers by_column) in ascending order, and the other coordinate."""
        crow = np.zeros(shape[1 if by_column else 0] + 1, np.int64, like=long)
        crow[1:] = np.cumsum(np.bincount(long, minlength=crow.size - 1))
        return Compressed(crow, short, shape, by_column)


def moved(indices: Array, device: Device) -> Array:
    """Indices on a device."""
    return move(indices, kind_of_array(indices).device, device)


def without(coords: Array, dim: int) -> Array:
    """The coordinates without those of one dimension."""
    return np.concatenate((coords[:dim], coords[dim + 1:]))


def flat_keys(coords: Array, shape: tuple[int, ...]) -> Array:
    """Coordinates (sparse_dim, n) as row-major places."""
    keys = np.zeros(coords.shape[1], np.int64, like=coords)
    for each, size in zip(coords, shape, strict=False):
        keys = keys * size + each
    return keys


def group(keys: Array) -> tuple[Array, Array, int]:
    """(first, where, count): elements with equal keys form a group. `first` picks one element per group in ascending order of the keys,
    `where` gives each element's group, `count` the number of groups."""
    unique, first, where = np.unique(keys, return_index=True, return_inverse=True)
    return first, where.reshape(-1), unique.size


class SparseArray:
    """A pattern with its values: what flows through the backward pass in the place of a dense gradient array."""

    __slots__ = ("pattern", "values")

    def __init__(self, pattern: Pattern, values: Array) -> None:
        self.pattern, self.values = pattern, values

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pattern.shape

    @property
    def ndim(self) -> int:
        return len(self.pattern.shape)

    @property
    def dtype(self) -> NumpyDtype:
        return self.values.dtype

    def as_tensor(self) -> Any:
        """The SparseTensor around it."""
        from .tensor import kind_of_array, make
        return make(self.pattern, self.values, kind_of_array(self.values))

    def astype(self, dtype: Dtype) -> SparseArray:
        return SparseArray(self.pattern, self.values.astype(dtype))

    def copy(self) -> SparseArray:
        return SparseArray(self.pattern, self.values.copy())

    def dense(self) -> Array:
        """All elements."""
        out = np.zeros(self.pattern.shape, self.values.dtype, like=self.values)
        self.add_to(out)
        return out

    def add_to(self, target: Array, factor: float | None = None) -> None:
        """Add the elements, times `factor`, to a dense array of the same shape, in place."""
        values = self.values if factor is None else self.values * np.asarray(factor, self.values.dtype)
        if not values.size:
            return
        n, rest = self.pattern.key_count(), self.pattern.shape[self.pattern.sparse_dim:]
        rows = target.reshape(n, *rest)
        if self.pattern.coalesced:
            rows[self.pattern.keys()] += values
        elif rest:
            add_rows(rows.reshape(n, -1), self.pattern.keys(), values.reshape(values.shape[0], -1))
        else:
            add_rows(rows, self.pattern.keys(), values)
        if not np.may_share_memory(rows, target):
            target[...] = rows.reshape(target.shape)

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, SparseArray):
            return self.dense() + other
        p, q = self.pattern, other.pattern
        if (p.coalesced or not isinstance(p, Coo)) and (p is q or isinstance(p, Coo) and isinstance(q, Coo)
                                                        and np.array_equal(p.indices, q.indices)):
            return SparseArray(p, self.values + other.values)
        if p.coalesced and q.coalesced:
            from .tensor import call
            return call("add", self.as_tensor(), other.as_tensor()).sparse_array()
        pattern = Coo(np.concatenate((p.coords(), q.coords()), 1), self.shape)
        return SparseArray(pattern, np.concatenate((self.values, other.values)))

    __radd__ = __add__

    def __neg__(self) -> SparseArray:
        return SparseArray(self.pattern, -self.values)

    def __mul__(self, other: Any) -> SparseArray:
        if isinstance(other, SparseArray):
            raise SparseRefusal("the backward pass met a product of two sparse gradients: take .to_dense() before this operation")
        if getattr(other, "ndim", 0):
            coords = tuple(self.pattern.coords())
            other = np.broadcast_to(other, self.shape)[coords]
        return SparseArray(self.pattern, self.values * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> SparseArray:
        return self * (1 / other)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs:
            if ufunc is np.add:
                return self + inputs[1] if inputs[0] is self else self + inputs[0]
            if ufunc is np.multiply:
                return self * (inputs[1] if inputs[0] is self else inputs[0])
            if ufunc is np.negative:
                return -self
        raise SparseRefusal(f"a sparse gradient reached an operation ({ufunc.__name__}) that needs a dense one")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NoSuchPart(f"a sparse gradient reached an operation that needs a dense one (array.{name})")


class NoSuchPart(SparseRefusal, AttributeError):
    """An attribute that dense arrays have was asked of a SparseArray; ``hasattr`` is false."""
