"""``torch.backends.cusparselt``: NVIDIA's library for structured sparsity."""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether it is used: no."""
    return False


def version() -> int | None:
    """Its version; None where it is not used."""
    return None
