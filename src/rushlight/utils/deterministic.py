"""``torch.utils.deterministic``: settings of deterministic algorithms."""

from __future__ import annotations

import sys
from types import ModuleType

__all__ = ["fill_uninitialized_memory"]

# Whether `empty` and its like fill their memory (with nan, or the largest integer) where deterministic algorithms are on.
fill_uninitialized_memory = True


class _Deterministic(ModuleType):
    """The module's class: its switch takes bools alone."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "fill_uninitialized_memory" and not isinstance(value, bool):
            raise RuntimeError(f"expected a bool, but got {type(value).__name__}")
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Deterministic
