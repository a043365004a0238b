"""Parts of PyTorch that rushlight does not have: using one says so, and what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from .homes import place

__all__ = ["NotSupported", "not_supported", "absent_class", "attribute_of", "partly", "why_absent", "why_partly", "is_available",
           "device_count", "is_initialized"]


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
    __getattr__.absent = instead       # type: ignore[attr-defined]
    return __getattr__


def not_supported(name: str, instead: str) -> Callable[..., Any]:
    """A function of PyTorch that raises when it is called."""
    def function(*args: Any, **kwargs: Any) -> Any:
        raise NotSupported(f"torch.{name} is not supported by rushlight: {instead}")
    function.__name__ = function.__qualname__ = name.rpartition(".")[2]
    function.__doc__ = f"Not supported (NotImplementedError): {instead}"
    function.absent = instead       # type: ignore[attr-defined]
    return function


def absent_class(name: str, instead: str) -> type:
    """A class of PyTorch of which nothing is an instance here: programs test against it, and making one raises."""
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        raise NotSupported(f"torch.{name} is not supported by rushlight: {instead}")
    namespace, _, last = name.rpartition(".")
    return type(last, (), {"__init__": __init__, "__doc__": "Not supported (NotImplementedError); nothing is an instance of it.",
                           "__module__": place(namespace), "absent": instead})


def partly(how: str) -> Callable[[Any], Any]:
    """A decorator for what is here in part: `how` it differs is what ``rushlight check`` tells."""
    def mark(found: Any) -> Any:
        found.partly = how
        return found
    return mark


def why_absent(found: Any) -> str:
    """What to use instead of something that is not supported; "" for all else."""
    if isinstance(found, ModuleType):
        # others have names of their own beside the absent
        wholly = vars(found).get("__loader__").__class__.__module__ == place("absent")
        found = vars(found).get("__getattr__") if wholly else None
    return _own_text(found, "absent")


def why_partly(found: Any) -> str:
    """How something that is here in part differs; "" for all else."""
    return _own_text(found, "partly")


def _own_text(found: Any, name: str) -> str:
    text = vars(found).get(name, "") if isinstance(found, (type, FunctionType)) else ""
    return text if isinstance(text, str) else ""


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
