"""``torch.mps``: not supported; using it says what to do instead."""

from __future__ import annotations

from .unsupported import attribute_of

__all__ = ["is_available", "device_count", "is_initialized"]


def is_available() -> bool:
    """Whether there is such a device: no."""
    return False


def device_count() -> int:
    """How many such devices there are: none."""
    return 0


def is_initialized() -> bool:
    """Whether such a device is in use: no."""
    return False


__getattr__ = attribute_of("mps", "there is the CPU, and cuda")
