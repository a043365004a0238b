"""``torch._refs.nn``: holds ``functional``."""

from . import functional

__all__ = ["functional"]
