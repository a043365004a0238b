"""Questions about memory, of a GPU's arrays."""

from __future__ import annotations

from typing import Any

from ..memory import overlapping

__all__ = ["overlap"]


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays, each without gaps, share memory and are not the same elements in the same order."""
    return overlapping(a.data.ptr, b.data.ptr, a, b)
