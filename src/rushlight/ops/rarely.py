"""Older and rarer functions and methods of tensors: Python functions per element, layouts in words, time-batch-channel convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import storage
from ..autograd.grad_mode import no_grad
from ..storage import map_file
from ..tensor import Tensor, wrap
from ..vocabulary import Device, Dtype, Layout, MemoryFormat
from .conv import conv1d
from .creation import creation_kind
from .public import export, functional, method

__all__: list[str] = []


@method
def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Each element replaced, in place, by what a Python function makes of it (slow; CPU only)."""
    _no_history(self, "apply_")
    values = [callable(v) for v in self._a.reshape(-1).tolist()]
    with no_grad():
        return self.copy_(wrap(np.array(values, self._kind.np).reshape(self._a.shape), self._kind))


@method
def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Each element replaced, in place, by callable(element, element of `tensor`); the shapes broadcast (slow; CPU only)."""
    _no_history(self, "map_")
    if not isinstance(tensor, Tensor):
        raise TypeError(f"map_(): argument 'tensor' (position 1) must be Tensor, not {type(tensor).__name__}")
    others = tensor.expand(self._a.shape)._a.reshape(-1).tolist()
    values = [callable(a, b) for a, b in zip(self._a.reshape(-1).tolist(), others, strict=True)]
    with no_grad():
        return self.copy_(wrap(np.array(values, self._kind.np).reshape(self._a.shape), self._kind))


@method
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Tensor:
    """Each element replaced, in place, by callable(element, element of `x`, element of `y`); the shapes broadcast (slow; CPU only)."""
    _no_history(self, "map2_")
    columns = [each.expand(self._a.shape)._a.reshape(-1).tolist() for each in (self, x, y)]
    values = [callable(*row) for row in zip(*columns, strict=True)]
    with no_grad():
        return self.copy_(wrap(np.array(values, self._kind.np).reshape(self._a.shape), self._kind))


def _no_history(t: Tensor, name: str) -> None:
    if t.requires_grad:
        raise RuntimeError(f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead.")


@method
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both show the same memory in the same way: offset, size and strides."""
    return self.data_ptr() == tensor.data_ptr() and self.shape == tensor.shape and self.stride() == tensor.stride()


@method
def dim_order(self: Tensor, *, ambiguity_check: bool | list[Any] = False) -> tuple[int, ...]:
    """The dimensions from the outermost in memory to the innermost."""
    strides = self.stride()
    if ambiguity_check and len(set(strides)) < len(strides):
        raise RuntimeError("The tensor does not have unique dim order, or cannot map to exact one of the given memory formats.")
    return tuple(sorted(range(self._a.ndim), key=lambda d: (-strides[d], d)))


@method
def storage_type(self: Tensor) -> Any:
    """The class of the typed storage, torch.FloatStorage and its like."""
    return getattr(storage, type(self).type(self).rpartition(".")[2].replace("Tensor", "Storage"))


@method
def const_data_ptr(self: Tensor) -> int:
    """The address of the first element, to read from."""
    return self.data_ptr()


@method
def module_load(self: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """What `load_state_dict` puts in this tensor's place: its copy of `other`, or (assign) `other` itself, without history."""
    return other.detach() if assign else self.copy_(other).detach()


@method
def chalf(self: Tensor, memory_format: MemoryFormat = None) -> Tensor:
    """complex32, which NumPy lacks: an error that names what there is."""
    raise NotImplementedError("Tensor.chalf(): rushlight has no complex32; use cfloat() for complex64")


@functional(guard=True)
@export(guard=True)
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution over time of (time, batch, channels) with a weight (width, channels, out channels)."""
    if input._a.ndim != 3 or weight._a.ndim != 3:
        raise RuntimeError(f"Input and weight must have 3 dims: time, batch, in_channel, but got {input._a.ndim} and {weight._a.ndim}")
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)


@export
def from_file(filename: str, shared: bool | None = None, size: int = 0, *, dtype: Dtype = None, layout: Layout = None,
              device: Device = None,
              pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """A vector of `size` elements in a memory-mapped file; shared: changes are written to it, and it is created where it is missing."""
    kind = creation_kind(dtype, device)
    if kind.device.type != "cpu" or pin_memory:
        raise RuntimeError("from_file(): only unpinned CPU tensors can be mapped to files")
    r = wrap(map_file(filename, bool(shared), size * kind.np.itemsize).view(kind.np), kind)
    return r.requires_grad_() if requires_grad else r
