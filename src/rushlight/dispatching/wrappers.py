"""Tensors that compute by themselves: subclasses whose shape and dtype are seen from outside, and whose ``__torch_dispatch__`` does the
rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import services
from ..devices import device as Place
from ..dtypes import dtype as Type
from ..dtypes import float32
from ..kind import kind_of
from ..layout import contiguous_format
from ..meta import array as meta
from ..meta import finding as _finding  # noqa: F401
from ..ops.record import share_version
from ..tensor import Tensor, watch_subclass

__all__ = ["is_traceable_wrapper_subclass", "make_wrapper_subclass", "return_and_correct_aliasing", "transform_subclass"]

_VIEWS = frozenset(("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "select", "slice", "squeeze", "unsqueeze",
                    "alias", "as_strided", "split", "split_with_sizes", "unbind", "diagonal", "unfold", "narrow", "detach", "real", "imag",
                    "view_as_real", "view_as_complex", "movedim"))


@services.wrapper_subclass.given
def make_wrapper_subclass(cls: type, size: Sequence[int], strides: Sequence[int] | None = None, storage_offset: int | None = None,
                          memory_format: Any = None, dtype: Type | None = None, layout: Any = None, device: Any = None,
                          pin_memory: bool = False, requires_grad: bool = False, dispatch_sizes_strides_policy: str | None = None,
                          dispatch_device: bool = False, dispatch_layout: bool = False,
                          _extra_dispatch_keys: Any = None, storage_size: int | None = None) -> Any:
    """A tensor of a subclass that has a shape, strides, a dtype and a device, and no memory: its ``__torch_dispatch__`` computes.

    RuntimeError for a class without ``__torch_dispatch__``.
    """
    if getattr(cls, "__torch_dispatch__", None) is Tensor._disabled_torch_dispatch:
        raise RuntimeError(f"{cls.__name__} must define __torch_dispatch__: _make_wrapper_subclass makes tensors without memory")
    wanted = float32 if dtype is None else dtype
    kind = kind_of(wanted, Place("cpu") if device is None else Place(device) if not isinstance(device, Place) else device)
    shape = tuple(int(n) for n in size)
    array = meta.fresh(shape, kind.np)
    if strides is not None and shape:
        array = array.strided(shape, tuple(int(s) * kind.np.itemsize for s in strides))
    elif memory_format not in (None, contiguous_format):
        raise NotImplementedError("Tensor._make_wrapper_subclass(memory_format): give strides")
    watch_subclass(cls)
    r: Any = object.__new__(cls)
    r._a, r._kind, r._node, r._ver, r._view, r._grad = array, kind, None, 0, None, None
    return r.requires_grad_(True) if requires_grad else r


def is_traceable_wrapper_subclass(t: Any) -> bool:
    """Whether a tensor (or class) says what is inside: it has ``__tensor_flatten__`` and ``__tensor_unflatten__``."""
    subclass = isinstance(t, Tensor) and type(t) is not Tensor
    if isinstance(t, type):
        subclass = issubclass(t, Tensor) and t is not Tensor
    return subclass and hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")


def transform_subclass(t: Any, callback: Callable[[str, Any], Any], outer_size: Any = None, outer_stride: Any = None) -> Any:
    """The same wrapper around what ``callback(attribute, tensor)`` gives for each tensor inside."""
    size = t.size() if outer_size is None else outer_size
    stride = t.stride() if outer_stride is None else outer_stride
    names, context = t.__tensor_flatten__()
    inner = {name: callback(name, getattr(t, name)) for name in names}
    return type(t).__tensor_unflatten__(inner, context, size, stride)


def return_and_correct_aliasing(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
    """What a ``__torch_dispatch__`` returns for wrappers: the very argument that an in-place operator or ``out=`` wrote into, and for views
    a result that shares the version of what it is a view of."""
    name = func._opname
    if func._takes_out:
        return kwargs.get("out", out)
    if name[-1:] == "_" and not name.startswith("__") and args:
        return args[0]
    if name in _VIEWS and args and isinstance(args[0], Tensor):
        version = share_version(args[0])
        for each in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(each, Tensor) and each is not args[0]:
                each._ver = version
    return out
