"""The old constructors: ``Tensor(2, 3)``, ``x.new(...)``, ``FloatTensor(...)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..devices import as_device
from ..dtypes import get_default_dtype
from ..kind import Kind, kind_of
from ..size import Size
from ..tensor import Tensor, wrap
from ..vocabulary import Device
from .convert import TYPE_NAMES
from .creation import size_of, tensor
from .public import export, method

__all__ = ["legacy_tensor", "legacy_types"]


def legacy_tensor(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any], kind: Kind | None = None) -> Any:
    """``Tensor(2, 3)``, ``Tensor([1, 2])``, ``Tensor(tensor)``, ``FloatTensor(...)`` and their like."""
    device = kwargs.pop("device", None)
    if kwargs:
        raise TypeError(f"{cls.__name__}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    if kind is None:
        kind = kind_of(get_default_dtype(), as_device(device))
    if not args:
        r = wrap(np.empty(0, kind.np), kind)
    elif len(args) == 1 and isinstance(args[0], Tensor):
        source = args[0]
        if source._kind.dtype is not kind.dtype:
            raise TypeError(f"expected {kind.dtype} (got {source._kind.dtype}): use .to() to convert")
        r = wrap(source._a, source._kind)
    elif len(args) == 1 and not isinstance(args[0], (int, np.integer, Size)):
        if isinstance(args[0], (float, str)):
            raise TypeError(f"new(): data must be a sequence (got {type(args[0]).__name__})")
        r = tensor(args[0], dtype=kind.dtype)
    else:
        r = wrap(np.empty(size_of(args, "Tensor"), kind.np), kind)
    return r if cls is Tensor else Tensor._make_subclass(cls, r)


def _new(cls: Any, *args: Any, **kwargs: Any) -> Any:
    return legacy_tensor(cls, args, kwargs)


Tensor.__new__ = _new  # type: ignore[assignment]


@method
def new(self: Tensor, *args: Any, device: Device = None) -> Tensor:
    """``x.new(2, 3)``, ``x.new([1, 2])``, ``x.new(tensor)``: the old constructor with x's dtype and device."""
    if len(args) == 1 and isinstance(args[0], str):
        raise TypeError("new(): invalid data type 'str'")
    kind = self._kind if device is None else kind_of(self._kind.dtype, as_device(device))
    return legacy_tensor(Tensor, args[0] if len(args) == 1 and args[0].__class__ is Size else args, {}, kind)


class _LegacyType(type):
    """``torch.FloatTensor``: constructs float tensors, and isinstance asks about dtype and device."""

    dtype: Any
    is_cuda: bool

    def __call__(cls, *args: Any, **kwargs: Any) -> Tensor:
        return legacy_tensor(Tensor, args, kwargs, kind_of(cls.dtype, as_device("cuda" if cls.is_cuda else "cpu")))

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor) and value._kind.dtype is cls.dtype and (value._kind.device.type == "cuda") == cls.is_cuda


def legacy_types(module: str, is_cuda: bool) -> dict[str, Any]:
    """FloatTensor, LongTensor, ... of a module."""
    return {f"{title}Tensor": _LegacyType(f"{title}Tensor", (), {"dtype": dtypes.DTYPES[name], "is_cuda": is_cuda, "__module__": module})
            for name, title in TYPE_NAMES.items() if not title.startswith(("UInt", "Complex"))}


for _title, _type in legacy_types("torch", False).items():
    export(_type, _title)
