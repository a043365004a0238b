"""Questions about memory, of a GPU's arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..memory import overlapping

if TYPE_CHECKING:
    from .driver import CupyArray

__all__ = ["overlap"]


def overlap(a: CupyArray, b: CupyArray) -> bool:
    """Whether two arrays, each without gaps, share memory and are not the same elements in the same order."""
    return overlapping(a.data.ptr, b.data.ptr, a, b)
