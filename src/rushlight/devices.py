"""`device`: where a tensor lives. ``cpu`` is NumPy, ``cuda`` is CuPy; others are named so that the error can name them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from .homes import place, settle

__all__ = ["device", "as_device", "CPU", "array_module", "register_device"]

_TYPES = ("cpu", "cuda", "meta", "mps", "xpu", "ipu", "xla", "hpu", "mtia", "privateuseone", "vulkan", "lazy", "fpga", "maia", "hip", "ve",
          "mkldnn", "opengl", "opencl", "ideep")
_interned: dict[tuple[str, int | None], device] = {}


class device:
    """``device("cuda:1")``, ``device("cuda", 1)``, ``device(0)`` or ``device("cpu")``. Equal devices are one object.

    Used as a context (``with torch.device("cuda"):``) it becomes the default of the creation functions inside.
    """

    __slots__ = ("type", "index", "_contexts", "__weakref__")

    type: str
    index: int | None

    def __new__(cls, type: str | int | device = "cpu", index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            if type < 0:
                raise RuntimeError(f"Device index must be non-negative, got {type}")
            return _intern("cuda", type)
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' (position 1) must be str, not {type.__class__.__name__}")
        name, colon, number = type.partition(":")
        if name not in _TYPES:
            raise RuntimeError(f"Expected one of {', '.join(_TYPES)} device type at start of device string: {name or type}")
        if colon:
            if index is not None:
                raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {type}")
            if not number.isdecimal() or (len(number) > 1 and number[0] == "0"):
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if index is not None and index < 0:
            raise RuntimeError(f"Device index must be -1 or non-negative, got {index}")
        return _intern(name, index)

    def __repr__(self) -> str:
        return f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple[Any, ...]:
        return device, ((self.type,) if self.index is None else (self.type, self.index))

    def __copy__(self) -> device:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> device:
        return self

    def __enter__(self) -> device:
        _defaults.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _defaults.pop()


def _intern(type: str, index: int | None) -> device:
    found = _interned.get((type, index))
    if found is None:
        found = object.__new__(device)
        found.type, found.index = type, index
        found = _interned.setdefault((type, index), found)
    return found


CPU = _intern("cpu", None)
_defaults: list[device] = [CPU]


def default_device() -> device:
    """Where tensors are created when no device is named."""
    return _defaults[-1]


def set_default_device(device_: str | int | device | None) -> None:
    """Create tensors on this device from now on; None means cpu again."""
    _defaults[0] = CPU if device_ is None else resolve(device(device_))


def as_device(value: device | str | None) -> device:
    """The concrete device that a `device=` argument means: None is the default, "cuda" is "cuda:<current>"."""
    if value is None:
        value = _defaults[-1]
        return value if value.type == "cpu" else resolve(value)
    if value.__class__ is not device:
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise TypeError(f"device must be a torch.device, str or int, not {type(value).__name__}")
        value = device(value)
    return value if value is CPU else resolve(value)


def resolve(value: device) -> device:
    """Fill in the current index, and refuse devices that are not here before anything is made on them."""
    if value.type == "cpu":
        return value if value.index is None else CPU
    return array_module(value)[1]


# Device types other than the CPU: the module that registers each, and what it has registered: a function of the device that gives
# (array module, concrete device) or raises.
_PROVIDERS = {"cuda": "cuda.finding", "meta": "meta.finding"}
_finders: dict[str, Callable[[device], tuple[Any, device]]] = {}


def register_device(type: str, find: Callable[[device], tuple[Any, device]]) -> None:
    """Make a device type known: `find(device)` returns its array module and the device with its index filled in, or raises."""
    _finders[type] = find


def has_provider(type: str) -> bool:
    """Whether something has made this device type known."""
    return type in _finders


def array_module(device: device) -> tuple[Any, device]:
    """(array module, concrete device) for a device, or an error that says what to install."""
    if device.type == "cpu":
        return np, CPU
    if device.type not in _finders and device.type in _PROVIDERS:
        import_module(place(_PROVIDERS[device.type]))
    find = _finders.get(device.type)
    if find is None:
        raise NotImplementedError(f"rushlight has no '{device.type}' device: use 'cpu', or 'cuda' with pip install 'rushlight[cuda]'")
    return find(device)


settle("", globals(), ("device",))
