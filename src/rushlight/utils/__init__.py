"""``torch.utils``: data loading and helpers. Its modules are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    """``rushlight.utils.data`` and its like, imported on first use."""
    if name == "swap_tensors":
        from ._swap import swap_tensors
        return swap_tensors
    if not name.startswith("__"):
        full = f"{__name__}.{name}"
        try:
            return import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
