"""Rows of tables by index."""

from __future__ import annotations

from typing import Any

from .door import kernel

__all__ = ["take_rows"]


@kernel
def take_rows(table: Any, index: Any) -> Any:
    """table[index] along the first dimension."""
    if table.ndim + index.ndim > 65:       # NumPy's take does not look, and crashes
        raise IndexError(f"number of dimensions must be within [0, 64], indexing result would have {table.ndim + index.ndim - 1}")
    return table.take(index, axis=0)
