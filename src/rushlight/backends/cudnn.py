"""``torch.backends.cudnn``: cuDNN's switches. `benchmark` and `deterministic` are remembered."""

from __future__ import annotations

from ._switches import flags_of

__all__ = ["is_available", "enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32", "flags"]

enabled = True
benchmark = False
benchmark_limit = 10
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """Whether it is used: no."""
    return False


def version() -> int | None:
    """cuDNN's version; None where it is not used."""
    return None


def is_acceptable(tensor: object) -> bool:
    """Whether cuDNN would work on a tensor: no."""
    return False


flags = flags_of(__name__, "enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
