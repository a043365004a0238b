"""Which module a class or function says it is from: PyTorch's, whichever file defines it.

The package has two names. It is imported as ``rushlight``, and `compat` gives it and everything in it the name ``torch``. So nothing
keeps the first part of a module's name: it asks `root`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import TypeVar

__all__ = ["is_own", "place", "root", "settle", "shown_in"]

_NAMES = ("rushlight", "torch")
Shown = TypeVar("Shown")


def root() -> str:
    """The package's name now: "rushlight" or "torch"."""
    return __name__.partition(".")[0]


def place(path: str) -> str:
    """The full name of one of our modules: ``place("nn.functional")``; the package itself for ""."""
    return f"{root()}.{path}" if path else root()


def is_own(module: str | None) -> bool:
    """Whether a module's name (or a class's ``__module__``) is one of ours, under either of the names."""
    return module is not None and module.partition(".")[0] in _NAMES


def shown_in(path: str) -> Callable[[Shown], Shown]:
    """A decorator: the class or function says it is from this module of ours ("" is the package itself)."""
    def move(found: Shown) -> Shown:
        found.__module__ = place(path)
        return found
    return move


def settle(path: str, namespace: Mapping[str, object], names: Iterable[str] | None = None) -> None:
    """The same for what stands under these names in a module's namespace (default: its ``__all__``), as far as it is ours."""
    home = place(path)
    for name in namespace["__all__"] if names is None else names:  # type: ignore[attr-defined]
        found = namespace.get(name)
        if isinstance(found, (type, FunctionType)) and is_own(found.__module__):
            found.__module__ = home
