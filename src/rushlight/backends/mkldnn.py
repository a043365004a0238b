"""``torch.backends.mkldnn``: oneDNN's switches."""

from __future__ import annotations

from ._switches import flags_of

__all__ = ["is_available", "enabled", "deterministic", "allow_tf32", "flags"]

enabled = False
deterministic = False
allow_tf32 = False


def is_available() -> bool:
    """Whether it is used: no."""
    return False


flags = flags_of(__name__, "enabled", "deterministic", "allow_tf32")
