"""A set of switches that can be changed for a while."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["flags_of"]


def flags_of(module: str, *names: str) -> Callable[..., Any]:
    """The ``flags`` context of a module of switches: inside, those that are named have other values."""
    @contextmanager
    def flags(**values: Any) -> Iterator[None]:
        unknown = values.keys() - set(names)
        if unknown:
            raise TypeError(f"flags() got unexpected keyword arguments: {', '.join(sorted(unknown))}")
        place = sys.modules[module]
        before = {name: getattr(place, name) for name in values}
        for name, value in values.items():
            setattr(place, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(place, name, value)
    flags.__doc__ = f"A context in which {', '.join(names)} can be given other values."
    return flags
