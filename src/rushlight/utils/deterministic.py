"""``torch.utils.deterministic``: settings of deterministic algorithms."""

from __future__ import annotations

__all__ = ["fill_uninitialized_memory"]

# Whether `empty` and its like fill their memory (with nan, or the largest integer) where deterministic algorithms are on.
fill_uninitialized_memory = True
