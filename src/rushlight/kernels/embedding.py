"""Rows of tables by index."""

from __future__ import annotations

from typing import Any

from .door import kernel

__all__ = ["take_rows"]


@kernel
def take_rows(table: Any, index: Any) -> Any:
    """table[index] along the first dimension."""
    return table.take(index, axis=0)
