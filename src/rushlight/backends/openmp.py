"""``torch.backends.openmp``: OpenMP, which rushlight's own thread pool stands in for."""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether it is used: no."""
    return False
