"""Rows of tables by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array
from .door import kernel
from .indexing import add_rows as add_rows_to
from .memory import zeros_beside
from .shapes import check_picked

__all__ = ["take_rows", "add_rows", "in_range"]


@kernel
def take_rows(table: Array, index: Array) -> Array:
    """table[index] along the first dimension."""
    check_picked(table.ndim, index.ndim)
    return table.take(index, axis=0)


@kernel
def in_range(index: Array, rows: int) -> bool:
    """Whether a table of that many rows has all that the index names."""
    return not index.size or not (index.min() < 0 or index.max() >= rows)


@kernel
def add_rows(rows: int, index: Array, values: Array) -> Any:
    """A matrix of that many rows, in which the rows of `values` are added up by index."""
    out = zeros_beside((rows, values.shape[1]), values.dtype, values, index)
    return add_rows_to(out, index.astype(np.int64, copy=False), values) if index.size else out
