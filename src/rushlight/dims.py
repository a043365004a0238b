"""Checks of `dim` arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["dim_error", "wrap_dim", "wrap_dims"]


def dim_error(dim: int, ndim: int) -> Exception:
    """PyTorch's error for a dimension out of range (0-dim tensors count as 1-dim)."""
    limit = max(ndim, 1)
    return IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {dim})")


def wrap_dim(dim: Any, ndim: int) -> int:
    """A non-negative dimension; IndexError where it is out of range, TypeError where it is no integer."""
    if dim.__class__ is not int:
        if isinstance(dim, bool) or not hasattr(dim, "__index__"):
            raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}")
        dim = dim.__index__()
    limit = ndim or 1
    if -limit <= dim < limit:
        return dim + limit if dim < 0 else dim
    raise dim_error(dim, ndim)


def wrap_dims(dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Several non-negative dimensions, each at most once."""
    wrapped = tuple([wrap_dim(dim, ndim) for dim in dims])
    if len(set(wrapped)) != len(wrapped):
        repeated = next(dim for dim in wrapped if wrapped.count(dim) > 1)
        raise RuntimeError(f"dim {repeated} appears multiple times in the list of dims")
    return wrapped
