"""``torch._refs``: PyTorch's reference implementations in Python. All ops here are in Python: the names are those of the ops themselves."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..homes import place
from ..tensor import Tensor

__all__: list[str] = []


def _method(name: str) -> Any:
    """An op that is a method only, as a function: ``T``, or ``cauchy``, whose method works in place."""
    found = vars(Tensor).get(name) or getattr(Tensor, name, None)
    if isinstance(found, property):
        return found.fget
    written = getattr(Tensor, name + "_", None)
    return found if callable(found) or written is None else lambda x, *args, **kwargs: written(x.clone(), *args, **kwargs)


def of(namespace: str) -> Callable[[str], Any]:
    """A module's ``__getattr__``: the ops of a namespace of torch."""
    def __getattr__(name: str) -> Any:
        if not name.startswith("__"):
            found = getattr(import_module(place(namespace)), name, None)
            if callable(found) and not isinstance(found, type):
                return found
            found = None if namespace else _method(name)
            if found is not None:
                return found
        raise AttributeError(f"module {place('_refs')!r} has no attribute {name!r}: there is no op torch.{namespace or 'Tensor'}.{name}")
    return __getattr__


_ops = of("")


def __getattr__(name: str) -> Any:
    return import_module(place(f"_refs.{name}")) if name in _MODULES else _ops(name)


_MODULES = ("nn", "special", "linalg", "fft", "_conversions")
