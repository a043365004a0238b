"""Tensors without data: `FakeTensorMode` runs a program on shapes, dtypes and devices, by the meta device's rules."""

from __future__ import annotations

from typing import Any

from ..devices import device as Place
from ..dispatching.modes import TorchDispatchMode, flat
from ..dispatching.wrappers import make_wrapper_subclass, return_and_correct_aliasing
from ..dtypes import get_default_dtype
from ..kind import kind_of
from ..meta.array import META, MetaArray
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor, wrap
from ..utils import _pytree as pytree

__all__ = ["DataDependentOutputException", "DynamicOutputShapeException", "FakeTensor", "FakeTensorMode", "UnsupportedFakeTensorException",
           "is_fake"]


class UnsupportedFakeTensorException(RuntimeError):  # noqa: N818
    """What tensors without data cannot do."""


class DynamicOutputShapeException(RuntimeError):  # noqa: N818
    """An operator was called whose result's shape depends on values. `func` is the operator."""

    def __init__(self, func: Any) -> None:
        super().__init__(func)
        self.func = func


class DataDependentOutputException(RuntimeError):  # noqa: N818
    """An operator was called whose result depends on values. `func` is the operator."""

    def __init__(self, func: Any) -> None:
        super().__init__(func)
        self.func = func


_BY_VALUES = frozenset(("_local_scalar_dense", "equal", "allclose"))
_SHAPED_BY_VALUES = frozenset(("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "repeat_interleave",
                               "argwhere", "unique"))


class FakeTensor(Tensor):
    """A tensor with a shape, strides, a dtype and a device, and no data. Operators on it give such tensors."""

    fake_mode: FakeTensorMode

    @staticmethod
    def __new__(cls: Any, fake_mode: FakeTensorMode, elem: Tensor, device: Any, **options: Any) -> Any:
        if elem._a.__class__ is not MetaArray:
            raise AssertionError(f"FakeTensor: elem has to be a tensor on the device meta, not {elem.device}")
        r = make_wrapper_subclass(cls, elem._a.shape, dtype=elem.dtype, device=device)
        r._a = elem._a
        r.fake_mode = fake_mode
        return r.requires_grad_() if elem.requires_grad else r

    def __init__(self, fake_mode: FakeTensorMode, elem: Tensor, device: Any, **options: Any) -> None:
        pass

    __torch_function__ = Tensor._disabled_torch_function

    @property
    def fake_device(self) -> Place:
        """The device that it stands for."""
        return self._kind.device

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        mode = next(each.fake_mode for each in flat((args, kwargs or {})) if isinstance(each, FakeTensor))
        with mode:
            return func(*args, **(kwargs or {}))

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        parts = [] if self.device.type == "cpu" else [f"device='{self.device}'"]
        parts += [f"size={tuple(self._a.shape)}"]
        if self.dtype is not get_default_dtype():
            parts.append(f"dtype={self.dtype}")
        return f"FakeTensor(..., {', '.join(parts)})"


class FakeTensorMode(TorchDispatchMode):
    """A context in which tensors are made without data, and operators give tensors without data.

    allow_non_fake_inputs  real tensors may be arguments: their values are not looked at (else an error)

    `from_tensor` makes such a tensor of a real one. What depends on values is `DataDependentOutputException` or
    `DynamicOutputShapeException`.
    """

    def __init__(self, *, allow_fallback_kernels: bool = True, allow_non_fake_inputs: bool = False, shape_env: Any = None,
                 static_shapes: bool | None = None, export: bool = False) -> None:
        super().__init__()
        if shape_env is not None:
            raise NotImplementedError("FakeTensorMode(shape_env) is not supported by rushlight: sizes are numbers here, never symbols")
        self.allow_fallback_kernels, self.allow_non_fake_inputs = allow_fallback_kernels, allow_non_fake_inputs
        self.static_shapes, self.shape_env = True, None

    def from_tensor(self, tensor: Tensor, *, static_shapes: bool | None = None, **options: Any) -> Any:
        """A tensor without data that is like another one. AssertionError for one of another mode."""
        if isinstance(tensor, FakeTensor) and tensor.fake_mode is not self:
            raise AssertionError("Mixing fake modes NYI")
        return self._wrapped(self._meta(tensor), tensor.device, tensor.requires_grad)

    def _wrapped(self, elem: Tensor, device: Place, requires_grad: bool = False) -> Any:
        r = FakeTensor(self, elem, device)
        return r.requires_grad_() if requires_grad else r

    def _meta(self, x: Tensor) -> Tensor:
        """The tensor on the meta device that stands for one."""
        kind = kind_of(x.dtype, META)
        if x._a.__class__ is MetaArray:
            return wrap(x._a, kind)
        return FUNCTIONS["empty_strided"](tuple(x.shape), x.stride(), dtype=x.dtype, device="meta")

    def _checked(self, func: Any, x: Tensor) -> Tensor:
        if x._a.__class__ is not MetaArray and not self.allow_non_fake_inputs:
            raise AssertionError("Please convert all Tensors to FakeTensors first or instantiate FakeTensorMode with "
                                 f"'allow_non_fake_inputs'. Found in {func}")
        return self._meta(x)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._opname
        if name in _BY_VALUES:
            raise DataDependentOutputException(func)
        if name in _SHAPED_BY_VALUES and not (name == "repeat_interleave" and len(args) > 1 and isinstance(args[1], int)):
            raise DynamicOutputShapeException(func)
        if name == "lift_fresh":
            return self.from_tensor(args[0])
        tensors = [each for each in flat((args, kwargs)) if isinstance(each, Tensor)]
        device = self._device(func, tensors, kwargs)
        plain, named = pytree.tree_map(lambda each: self._checked(func, each) if isinstance(each, Tensor) else each, (tuple(args), kwargs))
        if "device" in named or not tensors:
            named["device"] = META
        out = func(*plain, **named)
        made = pytree.tree_map(lambda each: self._wrapped(each, device) if isinstance(each, Tensor) else each, out)
        return return_and_correct_aliasing(func, args, kwargs, made)

    def _device(self, func: Any, tensors: list[Tensor], kwargs: dict[str, Any]) -> Place:
        """The device of the results."""
        asked = kwargs.get("device")
        if asked is not None or not tensors:
            return Place("cpu") if asked is None else asked if isinstance(asked, Place) else Place(asked)
        places = [each.device for each in tensors if each._a.ndim] or [each.device for each in tensors]
        for each in places[1:]:
            if each != places[0] and func._opname not in ("copy_", "index", "index_put", "index_put_"):
                raise RuntimeError(f"Unhandled FakeTensor Device Propagation for {func}, found two different devices {places[0]}, {each}")
        return places[0]


def is_fake(x: Any) -> bool:
    """Whether a tensor has no data."""
    return isinstance(x, FakeTensor)
