"""``torch.backends.opt_einsum``: the order of contractions in einsum."""

from __future__ import annotations

from ._switches import flags_of

__all__ = ["is_available", "enabled", "strategy", "flags"]

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """Whether it is used: no."""
    return False


def get_opt_einsum() -> object:
    """The package opt_einsum; it is not used, NumPy's path optimiser is."""
    return None


flags = flags_of(__name__, "enabled", "strategy")
