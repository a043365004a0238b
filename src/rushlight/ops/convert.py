"""Changing dtype, device and memory: to, type, float(), contiguous, clone, copy_."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from .. import dtypes, services
from ..autograd.grad_mode import LOCAL
from ..devices import CPU, array_module, as_device, device
from ..dtypes import dtype
from ..kernels import memory as M
from ..kernels.arrays import as_array
from ..kernels.shapes import broadcast_shapes
from ..kind import Kind, kind_of
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Device, Dtype, Function, MemoryFormat, Operand
from .errors import not_a_tensor
from .public import export, method, op
from .record import record
from .write import check_inplace, check_overlap, rebase, writable

__all__: list[str] = []


def move(array: Any, source: device, target: device, non_blocking: bool = False) -> Array:
    """An array on another device. `non_blocking`: the copy is only queued, where the host's side of it is page-locked memory."""
    if source is target:
        return array
    if array.__class__ is np.ndarray and not array.ndim:      # a number, which a device tensor may hold as a 0-dim NumPy array
        source = CPU
    if target is CPU:
        pinned = getattr(array_module(source)[0], "pinned", None) if non_blocking else None
        if pinned is None:
            return array.copy() if source is CPU else array.get()
        return pinned.to_host(array.c)
    module = array_module(target)[0]
    if source is CPU and non_blocking and hasattr(module, "queued"):     # a device that queues nothing copies at once
        return module.queued(array)
    return module.asarray(array)


def convert(input: Tensor, kind: Kind, copy: bool = False, non_blocking: bool = False) -> Tensor:
    """The tensor in another kind; itself where nothing changes."""
    have = input._kind
    if have is kind and not copy:
        return input
    if have.sparse:
        return services.convert_sparse(input, kind, copy)
    if kind.sparse:
        return convert(input, kind.dense, copy)   # type: ignore[attr-defined]
    a = input._a
    if have.device is not kind.device:
        a = move(a, have.device, kind.device, non_blocking and have.dtype is kind.dtype)
    if have.dtype is not kind.dtype:
        if have.is_complex and not kind.is_complex:
            if kind.dtype is not dtypes.bool_:
                import warnings
                warnings.warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=3)
                a = a.real
        a = M.converted(a, kind.np)
    elif a is input._a:
        a = M.copied_like(a)
    r = wrap(a, kind)
    if not kind.differentiable:
        return r
    # The gradient of a real tensor is real: taking that part of it is no loss to warn of.
    return record(r, "ToCopyBackward0", (input,), lambda g: convert(g if have.is_complex or not g._kind.is_complex else g.real, have),
                  array_grad=None)


def _target(input: Tensor, args: tuple[Any, ...], dtype_: dtype | None, device_: device | str | None, other: Operand) -> tuple[Kind, bool]:
    """What .to(...) asks for: the kind, and its positional `copy`."""
    have = input._kind
    copy = False
    flags: list[Any] = []
    for i, arg in enumerate(args):
        if isinstance(arg, dtype) or arg.__class__ is builtins.type and dtypes.dtype_of(arg) is not arg:
            dtype_ = arg
        elif isinstance(arg, Tensor):
            other = arg
        elif isinstance(arg, bool):
            flags.append(arg)
        elif isinstance(arg, (str, device)) or (isinstance(arg, int) and i == 0):
            device_ = arg
        elif arg is not None:
            raise TypeError(f"to() received an invalid combination of arguments - got ({', '.join(type(a).__name__ for a in args)}), but "
                            "expected one of: (device, dtype, non_blocking, copy), (dtype, non_blocking, copy) or (other, non_blocking, "
                            "copy)")
    if len(flags) > 1:
        copy = flags[1]
    if other is not None:
        return other._kind, copy
    dtype_ = dtypes.dtype_of(dtype_)
    if dtype_ is not None and not isinstance(dtype_, dtype):
        raise TypeError(f"to(): argument 'dtype' must be torch.dtype, not {type(dtype_).__name__}")
    target_device = have.device if device_ is None else as_device(device_)
    return kind_of(have.dtype if dtype_ is None else dtype_, target_device), copy


def to(self: Tensor, *args: Any, dtype: Dtype = None, device: Device = None, other: Operand | None = None, non_blocking: bool = False,
       copy: bool = False,
       memory_format: MemoryFormat = None) -> Tensor:
    """The tensor with another dtype and/or device: ``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(other)``.

    Returns self where nothing changes, unless `copy`. `non_blocking` lets a copy between a GPU and page-locked memory run beside the
    program:
    read what came to the CPU only after the GPU was waited for.
    """
    kind, positional_copy = _target(self, args, dtype, device, other)
    non_blocking = non_blocking or (kind.device is not self._kind.device and next((arg for arg in args if isinstance(arg, bool)), False))
    r = convert(self, kind, copy or positional_copy, non_blocking)
    if memory_format is not None and memory_format.name != "preserve_format":
        return r.contiguous(memory_format=memory_format)
    return r


method(to)


def _caster(d: dtype) -> Function:
    def cast(self: Tensor, memory_format: MemoryFormat = None) -> Tensor:
        r = convert(self, kind_of(d, self._kind.device))
        return r if memory_format is None or memory_format.name == "preserve_format" else r.contiguous(memory_format=memory_format)
    cast.__doc__ = f"The tensor as {d}."
    return cast


for _name, _dtype in {"float": dtypes.float32, "double": dtypes.float64, "half": dtypes.float16, "bfloat16": None, "int": dtypes.int32,
                      "long": dtypes.int64, "short": dtypes.int16, "char": dtypes.int8, "byte": dtypes.uint8, "bool": dtypes.bool_,
                      "cfloat": dtypes.complex64, "cdouble": dtypes.complex128}.items():
    method(_caster(_dtype or dtypes.bfloat16), _name)


@method
def cpu(self: Tensor, memory_format: MemoryFormat = None) -> Tensor:
    """The tensor on the CPU."""
    return convert(self, kind_of(self._kind.dtype, CPU))


@method
def cuda(self: Tensor, device: Device = None, non_blocking: bool = False, memory_format: MemoryFormat = None) -> Tensor:
    """The tensor on a CUDA device (the current one unless said otherwise)."""
    return convert(self, kind_of(self._kind.dtype, as_device("cuda" if device is None else device)), False, non_blocking)


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype and device of another."""
    if not isinstance(other, Tensor):
        raise TypeError(f"type_as(): argument 'other' (position 1) must be Tensor, not {other.__class__.__name__}")
    return convert(self, other._kind)


TYPE_NAMES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int",
               "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat",
               "complex128": "ComplexDouble", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64"}


@method
def type(self: Tensor, dtype: Dtype = None, non_blocking: bool = False) -> Tensor | str:
    """Without argument the type's name, e.g. 'torch.FloatTensor'; else the tensor as that type (a dtype, a name or a type)."""
    if dtype is None:
        place = self._kind.device.type
        return f"torch.{'' if place == 'cpu' else place + '.'}{TYPE_NAMES[self._kind.dtype.name]}Tensor"
    if isinstance(dtype, str):
        names = {f"torch.{value}Tensor": key for key, value in TYPE_NAMES.items()}
        if dtype not in names:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = dtypes.DTYPES[names[dtype]]
    return convert(self, self._kind.with_dtype(getattr(dtype, "dtype", dtype)))


@op(method=True)
def clone(input: Tensor, *, memory_format: MemoryFormat = None) -> Tensor:
    """A copy with its own memory; gradients flow through."""
    a = input._a
    if memory_format is not None and memory_format.name != "preserve_format":
        return record(wrap(_in_format(a, memory_format), input._kind), "CloneBackward0", (input,), lambda g: g, array_grad=lambda g: g)
    # Dense memory keeps its strides; broadcast (expanded) memory becomes contiguous.
    r = wrap(M.copied(a) if 0 in a.strides else M.copied_like(a), input._kind)
    return record(r, "CloneBackward0", (input,), lambda g: g, array_grad=lambda g: g)


def _in_format(a: Array, memory_format: MemoryFormat) -> Array:
    """A fresh copy of the array in a memory format."""
    axes = {"channels_last": (0, 2, 3, 1), "channels_last_3d": (0, 2, 3, 4, 1)}.get(memory_format.name)
    if axes is None:
        return M.copied(a)
    if a.ndim != len(axes):
        raise RuntimeError(f"required rank {len(axes)} tensor to use {memory_format.name} format")
    inverse = np.argsort(axes)
    return M.copied(a.transpose(axes)).transpose(tuple(inverse))


@method
def contiguous(self: Tensor, memory_format: MemoryFormat = None) -> Tensor:
    """The tensor itself if its elements lie in order in memory, else a copy that does."""
    if memory_format is None or memory_format.name in ("contiguous_format", "preserve_format"):
        if self._a.flags.c_contiguous:
            return self
        return record(wrap(M.copied(self._a), self._kind), "CloneBackward0", (self,), lambda g: g, array_grad=lambda g: g)
    if self.is_contiguous(memory_format=memory_format):
        return self
    return self.clone(memory_format=memory_format)


@method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Write the values of `src` (broadcast, converted to self's dtype and device) into self."""
    if (src.__class__ is Tensor and src._kind is self._kind and self._view is None and self._ver.__class__ is int and self._node is None
            and src._node is None and src._a.shape == self._a.shape and self._a.flags.writeable):
        M.assign(self._a, src._a)
        self._ver += 1
        return self
    if not isinstance(src, Tensor):
        if not isinstance(src, (int, float, complex, bool)):
            raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {builtins.type(src).__name__}")
        src = wrap(as_array(src, self._kind.np), self._kind)
    check_inplace(self, src._node is not None)
    check_overlap(self, src)
    a, b = self._a, src._a
    if src._kind.device is not self._kind.device:
        b = move(b, src._kind.device, self._kind.device)
    if not a.flags.writeable:
        writable(self, values=True)
    try:
        broadcast_shapes(b.shape, a.shape)
        if len(b.shape) > len(a.shape):
            raise ValueError
        if src._kind.is_complex and not self._kind.is_complex:
            b = b.real
        M.assign(a, b)
    except ValueError:
        where = next((i for i in range(1, min(a.ndim, b.ndim) + 1) if b.shape[-i] not in (1, a.shape[-i])), 1)
        if b.ndim > a.ndim:
            raise RuntimeError(f"output with shape {list(a.shape)} doesn't match the broadcast shape {list(b.shape)}") from None
        raise RuntimeError(f"The size of tensor a ({a.shape[-where]}) must match the size of tensor b ({b.shape[-where]}) at non-singleton "
                           f"dimension {a.ndim - where}") from None
    self._ver += 1
    if (self._node is not None or src._node is not None) and LOCAL.grad:
        kind = src._kind
        r = wrap(self._a, self._kind)
        if src._node is not None and self._kind.differentiable:
            record(r, "CopyBackwards", (src,), lambda g: convert(g.real if g._kind.is_complex and not kind.is_complex else g, kind))
        elif self._node is not None:
            before = wrap(self._a, self._kind)
            before._node = self._node
            record(r, "CopyBackwards", (before,), lambda g: g * 0)
        rebase(self, r)
    return self


def _asking(name: str) -> None:
    """torch.<name>(input): what the method of that name answers."""
    def ask(input: Tensor) -> Any:
        if not isinstance(input, Tensor):
            raise not_a_tensor(name, "input", 1, input)
        return getattr(input, name)()
    ask.__name__ = ask.__qualname__ = name
    ask.__doc__ = f"``input.{name}()``."
    export(ask)


for _name in ("is_floating_point", "is_complex", "is_signed", "numel"):
    _asking(_name)
export(lambda obj: isinstance(obj, Tensor), "is_tensor")
