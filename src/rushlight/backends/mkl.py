"""``torch.backends.mkl``: Intel's math library."""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether it is used: no."""
    return False


VERBOSE_OFF, VERBOSE_ON = 0, 1


class verbose:
    """A context in which MKL would print what it does; it is not used."""

    def __init__(self, enable: int) -> None:
        self.enable = enable

    def __enter__(self) -> verbose:
        return self

    def __exit__(self, *exception: object) -> None:
        return None
