"""``torch.backends.mha``: the fast path of Transformer layers in evaluation mode."""

from __future__ import annotations

__all__ = ["get_fastpath_enabled", "set_fastpath_enabled"]

_enabled = True


def get_fastpath_enabled() -> bool:
    """Whether Transformer layers may take a fast path; rushlight's layers have one path."""
    return _enabled


def set_fastpath_enabled(value: bool) -> None:
    """Remember whether they may."""
    global _enabled
    _enabled = bool(value)
