"""``torch.backends.mps``: Apple's GPUs."""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether it is used: no."""
    return False


def is_built() -> bool:
    """Whether there is support for it: no."""
    return False


def is_macos13_or_newer(minor: int = 0) -> bool:
    """Whether this is macOS 13 or newer, as far as that matters to the GPUs: no."""
    return False
