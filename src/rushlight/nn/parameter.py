"""`Parameter` and `Buffer`: the tensors a Module owns, and their uninitialised forms for lazy modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..kind import kind_of
from ..tensor import Tensor, new, wrap
from ..vocabulary import Device, Dtype
from ._torch import torch

if TYPE_CHECKING:
    from ..dtypes import dtype
    from ..kind import Kind

__all__ = ["Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer", "UninitializedTensorMixin", "is_lazy"]

_slot_a: Any = Tensor.__dict__["_a"]


class _ParameterMeta(type):
    """Tensors of other subclasses are Parameters too when they are marked with ``_is_param``."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Parameter and isinstance(instance, Tensor) and instance.__dict__.get("_is_param", False)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that becomes a parameter of the Module it is assigned to.

    data           the values (memory is shared with them); an empty tensor when left out
    requires_grad  whether gradients are computed for it
    """

    __torch_function__ = Tensor._disabled_torch_function     # what is computed from parameters are plain tensors
    _prints_as_tensor = True

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = torch.empty(0)
        if type(data) is Tensor or isinstance(data, Parameter):
            detached = data.detach()
            r = new(cls)
            r._a, r._kind, r._node, r._ver, r._view, r._grad = detached._a, detached._kind, None, detached._ver, None, None
            return _require(r, requires_grad)
        # A tensor of a subclass stays one; a mark makes it a Parameter.
        r = data.detach()
        if type(r) is not type(data):
            r = r.as_subclass(type(data))
        r = _require(r, requires_grad)
        r._is_param = True
        return r

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.detach().clone(), self.requires_grad)
        memo[id(self)] = result
        return result

    def __repr__(self) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()


def _require(t: Any, requires_grad: bool) -> Any:
    if requires_grad:
        if not t._kind.differentiable:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        t.requires_grad_(True)
    return t


class _BufferMeta(type):
    def __instancecheck__(cls, instance: Tensor | None) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Buffer and isinstance(instance, Tensor) and instance.__dict__.get("_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that becomes a buffer of the Module it is assigned to (``self.x = nn.Buffer(t)``); it is an ordinary tensor with a mark.

    persistent  whether it is part of the module's state_dict
    """

    __torch_function__ = Tensor._disabled_torch_function
    persistent: bool
    _is_buffer: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Tensor:
        if data is None:
            data = torch.empty(0)
        r = data.detach().requires_grad_(data.requires_grad)
        r._is_buffer = True
        r.persistent = persistent
        return r


class UninitializedTensorMixin:
    """A tensor without shape and memory yet: only its dtype and device are known until `materialize`."""

    __slots__ = ()
    cls_to_become: Any = None
    _kind: Any

    @property
    def _a(self) -> Any:
        # Every op reads its operands' arrays, so every op on an uninitialised tensor ends up here.
        import sys
        frame = sys._getframe(1)
        name = frame.f_locals.get("name", frame.f_code.co_name)     # the closures of ops/define.py have their op's name in `name`
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {name}. This error happens when you are using a `LazyModule` or explicitly "
            "manipulating `torch.nn.parameter.UninitializedParameter` objects. When using LazyModules Call `forward` with a dummy batch to "
            "initialize the parameters before calling torch functions")

    @_a.setter
    def _a(self, array: Any) -> None:
        _slot_a.__set__(self, array)

    @property
    def shape(self) -> Any:
        """RuntimeError: there is no shape yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` when trying "
            "to load an uninitialized parameter into an initialized one. Call `forward` to initialize the parameters before accessing "
            "their attributes.")

    def materialize(self, shape: Sequence[int], device: Device = None, dtype: Dtype = None) -> None:
        """Become an ordinary parameter (or buffer) of this shape, with uninitialised values."""
        data = torch.empty(shape, device=self._kind.device if device is None else device, dtype=self._kind.dtype if dtype is None
                           else dtype)
        _slot_a.__set__(self, data._a)
        self._kind = data._kind
        self.__class__ = self.cls_to_become

    @property
    def data(self) -> Tensor:
        """An empty tensor of this dtype and device."""
        return wrap(_slot_a.__get__(self), self._kind)

    @data.setter
    def data(self, value: Any) -> None:
        self._kind = value._kind

    def detach(self) -> Any:
        """This tensor, as another object that requires no gradient."""
        return self._like(self._kind, requires_grad=False)

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """An uninitialised tensor of another dtype or device."""
        return self._like(self.data.to(*args, **kwargs)._kind)

    def cpu(self) -> Any:
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, device: Device = None, non_blocking: bool = False) -> Any:
        """On a GPU."""
        return self._like(self.data.cuda(device, non_blocking)._kind)

    def float(self) -> Any:
        """As float32."""
        return self.to(torch.float32)

    def double(self) -> Any:
        """As float64."""
        return self.to(torch.float64)

    def half(self) -> Any:
        """As float16."""
        return self.to(torch.float16)

    def bfloat16(self) -> Any:
        """As bfloat16."""
        return self.to(torch.bfloat16)

    def share_memory_(self) -> Any:
        """RuntimeError: there is no memory to share."""
        raise RuntimeError("Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters before "
                           "calling `module.share_memory()`.")

    def _like(self, kind: Kind, requires_grad: bool | None = None) -> Tensor:
        want = self.requires_grad if requires_grad is None else requires_grad  # type: ignore[attr-defined]
        cls: Any = type(self)
        return cls(device=kind.device, dtype=kind.dtype, **({"requires_grad": want} if isinstance(self, Parameter) else {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self._like(self._kind)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # PyTorch's classes take the same arguments.
        return type(self), (self.requires_grad, self._kind.device, self._kind.dtype)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _make_uninitialized(cls: type[Any], device: Device, dtype: dtype | None, requires_grad: bool) -> Any:
    empty = torch.empty(0, device=device, dtype=dtype)
    r = new(cls)
    _slot_a.__set__(r, empty._a)
    r._kind, r._node, r._ver, r._view, r._grad = kind_of(empty.dtype, empty.device), None, 0, None, None
    return r.requires_grad_(True) if requires_grad else r


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose shape is not known yet; lazy modules give it one at their first forward."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Device = None, dtype: Dtype = None) -> Tensor:
        return _make_uninitialized(cls, device, dtype, requires_grad)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape is not known yet."""

    cls_to_become = Tensor

    def __new__(cls, requires_grad: bool = False, device: Device = None, dtype: Dtype = None, persistent: bool = True) -> Tensor:
        r = _make_uninitialized(cls, device, dtype, requires_grad)
        r._is_buffer = True
        r.persistent = persistent
        return r


def is_lazy(param: Tensor | None) -> bool:
    """Whether `param` is still uninitialised."""
    return isinstance(param, UninitializedTensorMixin)
