"""``torch.backends.cpu``: the CPU."""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether it is used: yes."""
    return True


def get_cpu_capability() -> str:
    """Which instructions the kernels are compiled for: "DEFAULT" for NumPy's own choice."""
    return "DEFAULT"
