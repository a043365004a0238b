"""What the device type "meta" means: its array module, `kind.xp`, whose random numbers are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import device, register_device
from . import kernels
from .array import META, MetaArray
from .functions import RULES

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["Namespace", "find"]

_CREATORS = ("empty", "zeros", "ones", "full", "array", "asarray", "ascontiguousarray", "arange", "eye", "identity", "tri", "linspace")


class _Random:
    """``kind.xp.random``: nothing is drawn, and the generator stays as it is."""

    @staticmethod
    def own_stream() -> bool:
        """Yes: the CPU's numbers are not used."""
        return True

    @staticmethod
    def filled(a: MetaArray, name: str, gen: Any, parameters: Any) -> None:
        """Fill an array with random numbers: nothing to do."""

    @staticmethod
    def sampled(kind: Kind, name: str, gen: Any, *parameters: Any) -> MetaArray:
        """A new array of random numbers."""
        return kernels.SAMPLED[name](kind, *parameters)


class Namespace:
    """``kind.xp`` of a kind on the meta device: NumPy's functions, with results that have no memory."""

    random = _Random

    @staticmethod
    def over_tensors(name: str, tensors: Any, *more: Any) -> Any:
        """No kernel over many tensors."""
        return NotImplemented

    @staticmethod
    def step(*args: Any) -> bool:
        """No kernel that steps many parameters."""
        return False

    @staticmethod
    def queued(array: Any) -> MetaArray:
        """A host array's shape."""
        return RULES[np.array](array)

    def __getattr__(self, name: str) -> Any:
        func = getattr(np, name)
        value = RULES[func] if name in _CREATORS else func
        setattr(self, name, value)
        return value


_NAMESPACE = Namespace()


def find(wanted: device) -> tuple[Namespace, device]:
    """The array module and the one device of this type; for `devices.register_device`."""
    return _NAMESPACE, META


register_device("meta", find)
