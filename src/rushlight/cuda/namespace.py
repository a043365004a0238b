"""`Namespace`: ``kind.xp`` of a CUDA kind. With this module everything that a DeviceArray answers to is there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.cuda import driver
from ..vocabulary import Array, Function
from . import pinned
from .array import DeviceArray, box
from .formulas import over_tensors, step
from .functions import SPECIAL, call_function

__all__ = ["Namespace"]

_CREATORS = ("empty", "zeros", "ones", "full", "array", "asarray", "ascontiguousarray", "arange", "eye", "identity", "tri", "linspace")


class Namespace:
    """``kind.xp`` of a CUDA kind: NumPy's functions, with results on the device. Creation happens on one GPU."""

    def __init__(self, index: int, path: str = "") -> None:
        self._index, self._path = index, path

    random: Any = None      # cuda/random.py, which draws with kernels
    pinned = pinned
    over_tensors, step = staticmethod(over_tensors), staticmethod(step)

    def queued(self, array: np.ndarray[Any, Any]) -> DeviceArray:
        """A copy of a host's array, which is only queued where the array lies in page-locked memory."""
        return box(pinned.to_device(array, self._index))

    def __getattr__(self, name: str) -> Function:
        func = getattr(np.linalg if self._path == "linalg" else np.fft if self._path == "fft" else np, name)
        if name in ("linalg", "fft"):
            value: Any = Namespace(self._index, name)
        elif isinstance(func, type) or not callable(func):
            value = func
        elif name in _CREATORS and not self._path:
            value = _on(self._index, SPECIAL.get(name) or (lambda *args, **kwargs: call_function(func, args, kwargs)))
        else:
            value = func      # finds its way by its arguments
        setattr(self, name, value)
        return value


def _on(index: int, function: Function) -> Function:
    def create(*args: Any, **kwargs: Any) -> Array:
        if not driver.several:
            return function(*args, **kwargs)
        with driver.needed().cuda.Device(index):
            return function(*args, **kwargs)
    return create
