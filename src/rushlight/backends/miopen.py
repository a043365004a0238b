"""``torch.backends.miopen``: AMD's counterpart of cuDNN."""

from __future__ import annotations

from ._switches import flags_of

__all__ = ["is_available", "immediate", "flags"]

immediate = False


def is_available() -> bool:
    """Whether it is used: no."""
    return False


flags = flags_of(__name__, "immediate")
