"""`torch.ops.aten`: every op under its public name, and those of `lowlevel.py`, each with its overloads (which are one function here)."""

from __future__ import annotations

from typing import Any

from .deferred import function as public
from .lowlevel import ATEN

__all__ = ["Packet"]


class Packet:
    """An op: it is called itself, or one of its overloads (``.default``, ``.Tensor``, ...)."""

    __slots__ = ("_function", "__name__")

    def __init__(self, name: str, function: Any) -> None:
        self._function, self.__name__ = function, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, overload: str) -> Any:
        if overload.startswith("__"):
            raise AttributeError(overload)
        return self._function

    def __repr__(self) -> str:
        return f"<aten.{self.__name__}>"


def __getattr__(name: str) -> Any:
    function = ATEN.get(name) or public(name)
    if function is None:
        raise AttributeError(f"torch.ops.aten.{name} is not supported by rushlight")
    packet = globals()[name] = Packet(name, function)
    return packet
