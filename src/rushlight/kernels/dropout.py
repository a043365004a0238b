"""Dropout in one pass, where numbers are drawn beside the array."""

from __future__ import annotations

from typing import Any

from ..vocabulary import Array
from .door import kernel
from .fuse import fuse

__all__ = ["dropped", "dropped_gradient"]


@kernel(composed=True)
def dropped(a: Array, gen: Any, keep: float) -> tuple[Array, Array]:
    """(the array with each element kept with probability `keep` and divided by it, else 0; what was kept as bool).

    NumPy's arrays get PyTorch's masks of the CPU, of which ops/dropout.py composes it: NotImplemented.
    """
    return NotImplemented


dropped_gradient = fuse(lambda g, kept, scale: g * kept * scale)
