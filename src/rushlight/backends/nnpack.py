"""``torch.backends.nnpack``: NNPACK."""

from __future__ import annotations

from ._switches import flags_of

__all__ = ["is_available", "enabled", "flags"]

enabled = False


def is_available() -> bool:
    """Whether it is used: no."""
    return False


flags = flags_of(__name__, "enabled")
