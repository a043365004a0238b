"""Shapes that broadcast, of any number of dimensions (NumPy's own functions stop at 32)."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["broadcast_arrays", "broadcast_shapes", "check_picked"]


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all shapes broadcast to; ValueError where there is none."""
    ndim = max(map(len, shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for i, n in enumerate(shape, ndim - len(shape)):
            if n != 1 and n != result[i]:
                if result[i] != 1:
                    raise ValueError(f"shape mismatch: {', '.join(map(str, shapes))} cannot be broadcast to a single shape")
                result[i] = n
    return tuple(result)


def broadcast_arrays(*arrays: Any) -> list[Any]:
    """Views of all arrays in their common shape."""
    shape = broadcast_shapes(*[a.shape for a in arrays])
    return [np.broadcast_to(a, shape) for a in arrays]


def check_picked(ndim: int, picked: int) -> None:
    """IndexError where an index array of `picked` dimensions in the place of one of `ndim` makes more than an array can have: NumPy's
    `take` does not look, and crashes."""
    if ndim + picked > 65:
        raise IndexError(f"number of dimensions must be within [0, 64], indexing result would have {ndim + picked - 1}")
