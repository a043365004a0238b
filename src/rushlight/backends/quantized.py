"""``torch.backends.quantized``: quantised arithmetic: there is none."""

from __future__ import annotations

__all__ = ["is_available"]

engine = "none"
supported_engines: list[str] = ["none"]


def is_available() -> bool:
    """Whether it is used: no."""
    return False
