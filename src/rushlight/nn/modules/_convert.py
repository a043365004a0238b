"""Moving a Module to other dtypes and devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import __future__
from ...autograd.grad_mode import no_grad
from ...dtypes import dtype_of
from ...utils._swap import swap_tensors
from ...vocabulary import Device
from .._torch import torch
from ..parameter import Parameter, is_lazy

if TYPE_CHECKING:
    from ...dtypes import dtype
    from ...nn.modules.module import Module
    from ...tensor import Tensor

__all__ = ["Converting"]


class Converting:
    """The part of Module that applies a function to all its tensors: to, float, cuda, to_empty, share_memory and their like."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    children: Callable[..., Any]

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        """Replace every parameter's data, its gradient, and every buffer by `fn` of it. Parameters stay the same objects where they can."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, param in self._parameters.items():
            if param is not None:
                self._apply_to_parameter(name, param, fn)
        for name, buf in self._buffers.items():
            if buf is not None:
                self._buffers[name] = fn(buf)
        return self

    def _apply_to_parameter(self, name: str, param: Tensor, fn: Callable[[Any], Any]) -> None:
        with no_grad():
            applied = fn(param)
        grad = param.grad
        if __future__.get_swap_module_params_on_conversion():
            kept = self._swap(name, param, Parameter(applied, param.requires_grad))
        elif is_lazy(param) or _compatible(param, applied):
            param.data = applied
            kept = param
        else:
            kept = Parameter(applied, param.requires_grad)
            self._parameters[name] = kept
        if grad is not None:
            self._apply_to_gradient(name, kept, grad, fn)

    def _apply_to_gradient(self, name: str, kept: Any, grad: Any, fn: Callable[[Any], Any]) -> None:
        with no_grad():
            applied = fn(grad)
        if __future__.get_swap_module_params_on_conversion():
            kept.grad = self._swap(f"{name}.grad", grad, applied.requires_grad_(grad.requires_grad))
        elif _compatible(grad, applied):
            grad.data = applied
            kept.grad = grad
        else:
            kept.grad = applied.requires_grad_(grad.requires_grad)

    def _swap(self, name: str, old: Any, new: Any) -> Any:
        """`old`, which is now what `new` was."""
        grad, old.grad = old.grad, None
        try:
            swap_tensors(old, new)
        except Exception as error:
            old.grad = grad
            raise RuntimeError(f"_apply(): Couldn't swap {type(self).__name__}.{name}") from error
        return old

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Move and/or cast parameters and buffers, in place.

        ``to(device, dtype, non_blocking)``, ``to(dtype, non_blocking)``, ``to(tensor)`` (its dtype and device), ``to(memory_format=...)``.
        The dtype, a floating or complex one, applies to floating and complex tensors only.
        """
        device, dtype, non_blocking, memory_format = parse_to(args, kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}")
            if dtype.is_complex:
                import warnings
                warnings.warn("Complex modules are a new feature under active development whose design may change, and some modules might "
                              "not work as expected when using complex tensors as parameters or buffers. Please file an issue at "
                              "https://github.com/pytorch/pytorch/issues/new?template=bug-report.yml if a complex module does not work as "
                              "expected.", stacklevel=2)

        def convert(t: Tensor) -> Tensor:
            options: dict[str, Any] = {}
            if memory_format is not None and t.dim() in (4, 5):
                options["memory_format"] = memory_format
            if device is not None and t.is_meta and torch.device(device).type != "meta":
                raise NotImplementedError("Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of "
                                          "torch.nn.Module.to() when moving module from meta to a different device.")
            target = t.device if device is None else device
            return t.to(target, dtype if dtype is not None and (t.is_floating_point() or t.is_complex()) else t.dtype, non_blocking,
                        **options)
        return self._apply(convert)

    def to_empty(self, *, device: Device, recurse: bool = True) -> Module:
        """Move to a device without copying values: parameters and buffers become uninitialised memory there."""
        return self._apply(lambda t: torch.empty_like(t, device=device), recurse=recurse)

    def type(self, dst_type: dtype) -> Module:
        """Cast all parameters and buffers, the integer ones too."""
        return self._apply(lambda t: t.type(dst_type))

    def _cast(self, dtype: dtype) -> Module:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self) -> Module:
        """Cast floating-point tensors to float32."""
        return self._cast(torch.float32)

    def double(self) -> Module:
        """Cast floating-point tensors to float64."""
        return self._cast(torch.float64)

    def half(self) -> Module:
        """Cast floating-point tensors to float16."""
        return self._cast(torch.float16)

    def bfloat16(self) -> Any:
        """Cast floating-point tensors to bfloat16."""
        return self._cast(torch.bfloat16)

    def cpu(self) -> Any:
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    def _to_accelerator(self, kind: str, device: Device) -> Any:
        if device is None or isinstance(device, int):
            device = kind if device is None else f"{kind}:{device}"
        return self._apply(lambda t: t.to(device))

    def cuda(self, device: Device = None) -> Any:
        """Move to a GPU (the current one by default)."""
        return self._to_accelerator("cuda", device)

    def ipu(self, device: Device = None) -> Any:
        """Move to an IPU."""
        return self._to_accelerator("ipu", device)

    def xpu(self, device: Device = None) -> Any:
        """Move to an XPU."""
        return self._to_accelerator("xpu", device)

    def mtia(self, device: Device = None) -> Any:
        """Move to an MTIA device."""
        return self._to_accelerator("mtia", device)

    def share_memory(self) -> Module:
        """Move all memory to where other processes can share it."""
        return self._apply(lambda t: t.share_memory_())


def _compatible(old: Tensor, new: Tensor) -> bool:
    """Whether `old` can take over `new`'s data and stay the object it is: not between the meta device and one with memory."""
    return old.is_meta == new.is_meta and not __future__.get_overwrite_module_params_on_conversion()


_TO = ("to() received an invalid combination of arguments - got ({}), but expected one of:\n"
       " * (torch.device device = None, torch.dtype dtype = None, bool non_blocking = False, bool copy = False, *, torch.memory_format "
       "memory_format = None)\n"
       " * (torch.dtype dtype, bool non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)\n"
       " * (Tensor tensor, bool non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)\n")


def parse_to(args: tuple[Any, ...], kwargs: dict[Any, Any]) -> tuple[Any, Any, bool, Any]:
    """(device, dtype, non_blocking, memory_format) from the three forms of ``to``."""
    if len(args) > 4:
        raise TypeError(f"to() takes from 0 to 4 positional arguments but {len(args)} were given")
    left = dict(kwargs)
    device, dtype = left.pop("device", None), left.pop("dtype", None)
    other, memory_format = left.pop("tensor", None), left.pop("memory_format", None)
    rest, dtype = [dtype_of(arg) for arg in args], dtype_of(dtype)
    if rest and isinstance(rest[0], torch.Tensor):
        other = rest.pop(0)
    elif rest and isinstance(rest[0], torch.dtype):
        dtype = rest.pop(0)
    elif rest and (rest[0] is None or isinstance(rest[0], (str, int, torch.device))) and not isinstance(rest[0], bool):
        device = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], torch.dtype)):
            dtype = rest.pop(0)
    flags = [left.pop("non_blocking", rest.pop(0) if rest else False), left.pop("copy", rest.pop(0) if rest else False)]
    if rest or left or not all(isinstance(flag, bool) for flag in flags):
        raise TypeError(_TO.format(", ".join([type(a).__name__ for a in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()])))
    if other is not None:
        device, dtype = other.device, other.dtype
    return (None if device is None else torch.device(device)), dtype, flags[0], memory_format
