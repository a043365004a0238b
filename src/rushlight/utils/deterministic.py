"""``torch.utils.deterministic``: settings of deterministic algorithms."""

from __future__ import annotations

__all__ = ["fill_uninitialized_memory"]

# Whether `empty` fills its memory where deterministic algorithms are on. It never does here: results do not depend on such memory.
fill_uninitialized_memory = False
