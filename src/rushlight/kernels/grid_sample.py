"""Sampling images on grids: in one pass by the library. Without it, and on other arrays, ops/grid_sample.py composes the same of ops."""

from __future__ import annotations

from typing import Any

from ..vocabulary import Array
from .door import kernel

__all__ = ["grid_sample", "grid_sample_gradients", "MODES", "PADDINGS"]

MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")     # the numbers are places in these


@kernel(composed=True)
def grid_sample(x: Array, grid: Array, mode: int, padding: int, align_corners: bool) -> Array:
    """Values of images x (N, C, *size) at grid (N, *out, n): (N, C, *out). NumPy has no form of it that is no composition:
    NotImplemented."""
    return NotImplemented


@kernel(composed=True)
def grid_sample_gradients(g: Array, x: Array, grid: Array, mode: int, padding: int, align_corners: bool, of_x: bool,
                          of_grid: bool) -> tuple[Any, Any]:
    """The gradients of x and of the grid, None for those not asked for; where `grid_sample` gives NotImplemented, this does."""
    return NotImplemented
