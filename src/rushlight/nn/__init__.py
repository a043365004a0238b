"""Neural networks: layers, losses and containers, with `functional`, `init` and `utils`.

What is large and seldom needed at start is imported at first use (`__getattr__`).
"""

from __future__ import annotations

from typing import Any

from . import functional, init, modules, parameter
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

_LAYERS = {name: getattr(modules, name) for name in modules.__all__ if name in vars(modules)}
globals().update(_LAYERS)
_SUBMODULES = ("attention", "common_types", "grad", "parallel", "utils")

__all__ = ["Buffer", "DataParallel", "Parameter", "UninitializedBuffer", "UninitializedParameter", "factory_kwargs", "functional", "init",
           "modules", "parameter", *modules.__all__]


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The device, dtype and memory_format among `kwargs` (or in its entry 'factory_kwargs'); TypeError for anything else in it."""
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    unexpected = kwargs.keys() - simple - {"factory_kwargs"}
    if unexpected:
        raise TypeError(f"unexpected kwargs {unexpected}")
    result = dict(kwargs.get("factory_kwargs", {}))
    for key in ("device", "dtype", "memory_format"):
        if key in kwargs:
            if key in result:
                raise TypeError(f"{key} specified twice, in **kwargs and in factory_kwargs")
            result[key] = kwargs[key]
    return result


def __getattr__(name: str) -> Any:
    from importlib import import_module
    if name in modules._HOME:
        value = getattr(modules, name)
    elif name == "DataParallel":
        value = import_module(".parallel", __name__).DataParallel
    elif name in _SUBMODULES:
        try:
            return import_module("." + name, __name__)
        except ModuleNotFoundError as error:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *modules._HOME, *_SUBMODULES, "DataParallel"})
