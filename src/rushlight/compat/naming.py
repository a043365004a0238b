"""A package and everything in it get another name."""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["rename"]


def rename(old: str, new: str) -> None:
    """Give the loaded modules of package `old`, their classes and functions the name `new`. In ``sys.modules`` they stand under both.

    What is imported later comes under the new name by itself: packages find their parts by their name.
    """
    lead, skip = old + ".", len(old)
    for name, module in list(sys.modules.items()):
        if (name == old or name.startswith(lead)) and getattr(module, "__name__", None) == name:
            fresh = new + name[skip:]
            sys.modules[fresh] = module
            _rename_module(module, fresh)
            _rename_contents(vars(module), old, lead, new, skip)


def _rename_module(module: ModuleType, name: str) -> None:
    module.__name__ = name
    spec: Any = module.__spec__
    if spec is None:
        return
    spec.name = name
    if getattr(spec.loader, "name", None) is not None:
        spec.loader.name = name
    module.__package__ = spec.parent


def _rename_contents(namespace: dict[str, Any], old: str, lead: str, new: str, skip: int) -> None:
    for value in list(namespace.values()):
        if isinstance(value, (type, FunctionType)):
            home = value.__module__
        elif hasattr(type(value), "__wrapped__"):       # an op of the native library
            value = value.__wrapped__
            home = getattr(value, "__module__", None)
        else:
            continue
        if home is not None and (home == old or home.startswith(lead)):
            try:
                value.__module__ = new + home[skip:]
            except (AttributeError, TypeError):
                continue        # a type of the native library: its name is part of it
