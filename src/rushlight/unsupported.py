"""Parts of PyTorch that rushlight does not have: using one says so, and what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .homes import place

__all__ = ["NotSupported", "not_supported", "absent_class", "attribute_of", "is_available", "device_count", "is_initialized"]


class NotSupported(NotImplementedError, AttributeError):
    """Something of PyTorch that is not here. It is an AttributeError too, so that ``hasattr`` and ``getattr`` with a default work."""


def attribute_of(namespace: str, instead: str) -> Callable[[str], Any]:
    """A module's ``__getattr__`` for a namespace of PyTorch that is not supported: names that `absent` lists can be imported."""
    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {place(namespace)!r} has no attribute {name!r}")
        from .absent import named
        found = named(namespace, name)
        if found is not None:
            return found
        raise NotSupported(f"torch.{namespace}.{name} is not supported by rushlight: {instead}")
    __getattr__.absent = True       # type: ignore[attr-defined]
    return __getattr__


def not_supported(name: str, instead: str) -> Callable[..., Any]:
    """A function of PyTorch that raises when it is called."""
    def function(*args: Any, **kwargs: Any) -> Any:
        raise NotSupported(f"torch.{name} is not supported by rushlight: {instead}")
    function.__name__ = function.__qualname__ = name.rpartition(".")[2]
    function.__doc__ = f"Not supported (NotImplementedError): {instead}"
    return function


def absent_class(name: str, instead: str) -> type:
    """A class of PyTorch of which nothing is an instance here: programs test against it, and making one raises."""
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        raise NotSupported(f"torch.{name} is not supported by rushlight: {instead}")
    namespace, _, last = name.rpartition(".")
    return type(last, (), {"__init__": __init__, "__doc__": "Not supported (NotImplementedError); nothing is an instance of it.",
                           "__module__": place(namespace)})


# What a kind of device answers that rushlight does not have (torch.mps, torch.mtia, torch.xpu).

def is_available() -> bool:
    """Whether there is such a device: no."""
    return False


def device_count() -> int:
    """How many such devices there are: none."""
    return 0


def is_initialized() -> bool:
    """Whether such a device is in use: no."""
    return False
