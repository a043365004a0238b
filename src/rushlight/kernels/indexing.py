"""Reading and writing along dimensions by index arrays and masks.

Some kernels do only what can be done quickly and without a look at the arguments beforehand: they answer None to everything else (an index
out of range or from the end, other dtypes, strides; without the library, everything), and their callers look more closely, with PyTorch's
errors.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..vocabulary import Array
from .door import is_half, kernel

__all__ = ["gather", "gathered", "scatter", "scattered", "scatter_into", "HOW", "take_slices", "add_rows", "add_slices", "select_masked",
           "fill_masked", "bags", "positions", "grid", "steps"]

HOW = {"add": 1, "multiply": 2, "maximum": 3, "minimum": 4}      # what becomes of a value that is there already; 0: it is replaced


@lru_cache(maxsize=64)
def _host_steps(n: int, trailing: int) -> Array:
    return np.arange(n).reshape((n,) + (1,) * trailing)


def steps(n: int, trailing: int, index: Array) -> Array:
    """0..n-1 as an array (on the device of `index`) that broadcasts along a dimension with `trailing` dimensions after it."""
    return _host_steps(n, trailing) if index.__class__ is np.ndarray else np.arange(n, like=index).reshape((n,) + (1,) * trailing)


def grid(index: Array, dim: int) -> tuple[Any, ...]:
    """The NumPy index under which element p of the result is at (p, but with index[p] in dimension dim)."""
    ndim = index.ndim
    return tuple([index if d == dim else steps(n, ndim - d - 1, index) for d, n in enumerate(index.shape)])


@kernel
def gather(a: Array, dim: int, index: Array) -> Array:
    """``out[i][j] = a[index[i][j]][j]`` for dim 0, and so on. IndexError where an index (from 0 on) is out of range."""
    return a[grid(index, dim)]


@kernel
def scatter(target: Array, dim: int, index: Array, values: Array) -> None:
    """``target[index[i][j]][j] = values[i][j]`` in place; `values` may be a 0-dim array. IndexError, and nothing written, where an index is
    out of range."""
    target[grid(index, dim)] = values


@kernel
def scatter_into(target: Array, dim: int, index: Array, values: Array, how: str) -> bool:
    """Scatter where places may repeat, in place: "add", "multiply", or "maximum" and "minimum" (nan wins) with what is there: True, or
    False where it cannot be done in one pass."""
    return False


# --- quick forms ------------------------------------------------------------------------------------------------------------------------

@kernel
def gathered(a: Array, dim: int, index: Array) -> Any:
    """`gather`, or None."""
    return None


@kernel
def scattered(a: Array, dim: int, index: Array, values: Array, how: int) -> Any:
    """A copy of `a` with the values scattered into it (see `HOW`), or None."""
    return None


@kernel
def take_slices(a: Array, dim: int, index: Array) -> Any:
    """a.take(index, dim), or None."""
    return None


@kernel
def add_slices(target: Array, dim: int, index: Array, values: Array) -> Any:
    """``target[..., index[i], ...] += values[..., i, ...]`` in place along a dimension: True, or None."""
    return None


@kernel
def select_masked(a: Array, mask: Array) -> Any:
    """a[mask], or None."""
    return None


@kernel
def fill_masked(target: Array, mask: Array, source: Any) -> Any:
    """``target[mask] = source[:count]`` in place: True, or None, also where the source is too short."""
    return None


@kernel
def bags(matrix: Any, index: Array, starts: Any, mode: int) -> Any:
    """(bags of rows, and the rows of the maxima or None): sums (mode 0), means (1) or maxima (2); or None."""
    return None


@kernel
def positions(mask: Array) -> Any:
    """np.stack(np.nonzero(mask)), or None."""
    return None


# --- rows that are added up -------------------------------------------------------------------------------------------------------------

@kernel
def add_rows(target: Array, rows: Any, values: Array) -> Any:
    """``target[rows[i]] += values[i]`` in place for a matrix `target` (or vector), vector `rows` and matching `values`; rows may repeat.
    The target.

    `rows` are in range; negative ones count from the end. Vectors and few rows are added by NumPy, many rows are grouped first.
    """
    n = rows.size
    if n == 0:
        return target
    if target.ndim == 1 and target.dtype.kind == "f" and target.dtype.itemsize >= 4 and n * 4 >= target.size:
        target += np.bincount(rows if rows.min() >= 0 else rows % target.size, values, target.size).astype(target.dtype, copy=False)
        return target
    if target.ndim == 1 or values.size < 8192:
        if is_half(target):
            wide = target.astype(np.float32)
            np.add.at(wide, rows, values.astype(np.float32))
            target[...] = wide.astype(target.dtype)
        else:
            np.add.at(target, rows, values)
        return target
    if rows.min() < 0:
        rows = np.where(rows < 0, rows + target.shape[0], rows)
    rows, sums = _group(rows, values.astype(np.float32) if is_half(target) else values)
    if target.dtype.kind == "b":
        target[rows] |= sums
    else:
        target[rows] = (target.take(rows, 0) + sums).astype(target.dtype, copy=False)
    return target


def _group(rows: Any, values: Array) -> tuple[Any, Any]:
    """Each row number once, with the sum of its values: neighbours among the sorted rows are added in pairs until none is left.

    That is a handful of array operations per doubling of the longest run, and pairwise summation in accuracy; NumPy's own
    ``add.reduceat`` takes ten times as long on matrices."""
    order = np.argsort(rows, kind="stable")
    rows, values = rows[order], values.take(order, 0)
    new_run = rows[1:] != rows[:-1]
    if new_run.all():
        return rows, values
    n = rows.size
    starts = np.flatnonzero(new_run) + 1
    rank = np.arange(n, like=rows)
    rank[starts[0] if starts.size else n:] -= np.repeat(starts, np.diff(starts, append=n))
    while True:
        even = np.flatnonzero(rank & 1 == 0)
        left = np.flatnonzero(rank & 1) - 1         # where the pair of an odd element begins
        values[left] += values[left + 1]
        rows, values, rank = rows[even], values.take(even, 0), rank[even] >> 1
        if not rank.any():
            return rows, values
