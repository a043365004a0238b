"""How tensors become pickles and copies: ``Tensor.__reduce_ex__`` and ``Tensor.__deepcopy__``, Parameters and subclasses included."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

from .. import _utils as rebuild
from ..homes import place
from ..storage import TypedStorage, UntypedStorage, array_over, storage_name, storage_of, storage_offset
from ..tensor import Tensor, attach, wrap

__all__ = ["deepcopy_tensor", "is_parameter", "reduce_tensor"]


def is_parameter(t: Tensor) -> bool:
    """Whether the class of `t` is ``nn.Parameter`` or derives from it (while nn is not imported there are none)."""
    module = sys.modules.get(place("nn.parameter"))
    return module is not None and issubclass(type(t), module.Parameter)


def _placed(t: Tensor) -> tuple[UntypedStorage, int, tuple[int, ...], tuple[int, ...]]:
    """(storage, offset, size, stride) of a tensor, in elements. Arrays that PyTorch's strides can't describe are copied."""
    array, item = t._a, t._kind.dtype.itemsize
    storage = storage_of(array)
    start = array.__array_interface__["data"][0] if storage.device.type == "cpu" else int(array.data.ptr)
    if array.size and ((start - storage.data_ptr()) % item or any(step < 0 or step % item for step in array.strides)):
        array = array.copy()
        storage = storage_of(array)
    if array.size == 0:
        return storage, 0, tuple(array.shape), _contiguous(array.shape)
    return storage, storage_offset(array), tuple(array.shape), tuple(step // item for step in array.strides)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= max(size, 1)
    return tuple(reversed(steps))


def reduce_tensor(t: Tensor, protocol: int = 2) -> tuple[Any, ...]:
    """What ``t.__reduce_ex__(protocol)`` returns. Non-leaves become leaves; the gradient is not kept (both as in PyTorch)."""
    state = _state(t)
    if is_parameter(t):      # a class derived from Parameter is not kept, as in PyTorch
        data = t.detach()
        plain = data if type(data) is Tensor else data.as_subclass(Tensor)
        args = (plain, t.requires_grad, OrderedDict())
        return (rebuild._rebuild_parameter, args) if state is None else (rebuild._rebuild_parameter_with_state, (*args, state))
    function, args = _reduce_plain(t)
    if type(t) is Tensor and state is None:
        return function, args
    return rebuild._rebuild_from_type_v2, (function, type(t), args, state)


def _reduce_plain(t: Tensor) -> tuple[Any, tuple[Any, ...]]:
    dtype = t._kind.dtype
    if t._kind.device.type == "meta":
        return rebuild._rebuild_meta_tensor_no_storage, (dtype, tuple(t.shape), tuple(t.stride()), t.requires_grad)
    storage, offset, size, stride = _placed(t)
    geometry = (offset, size, stride, t.requires_grad, OrderedDict())
    try:
        storage_name(dtype)
    except KeyError:
        return rebuild._rebuild_tensor_v3, (storage, *geometry, dtype)
    return rebuild._rebuild_tensor_v2, (TypedStorage(wrap_storage=storage, dtype=dtype), *geometry)


def _state(t: Tensor) -> Any:
    """The attributes that the user has set: a dict, (dict, dict of slots), or None."""
    if "__getstate__" in vars(type(t)):
        return t.__getstate__()
    attributes = getattr(t, "__dict__", None)
    slots = {name: getattr(t, name) for name in rebuild.user_slots(type(t)) if hasattr(t, name)}
    if slots:
        return dict(attributes or {}), slots
    return dict(attributes) if attributes else None


def deepcopy_tensor(t: Tensor, memo: dict[int, Any]) -> Tensor:
    """What ``t.__deepcopy__(memo)`` returns: tensors that share memory share it in the copy too. RuntimeError for non-leaves."""
    found = memo.get(id(t))
    if found is not None:
        return found
    if not t.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment. This one is the "
            f"result of {t.grad_fn.name()}: copy t.detach() or t.clone() instead. (If a module was copied: one of its attributes holds "
            "it.)")
    from copy import deepcopy
    if t._kind.device.type == "meta":
        found = rebuild._rebuild_meta_tensor_no_storage(t._kind.dtype, t.shape, t.stride(), False)
    else:
        storage, offset, size, stride = _placed(t)
        found = wrap(array_over(deepcopy(storage, memo), t._kind.dtype, offset, size, stride), t._kind)
    if type(t) is not Tensor:
        found = found.as_subclass(type(t))
    memo[id(t)] = found
    if t.requires_grad:
        found.requires_grad_(True)
    if t.grad is not None:
        found.grad = deepcopy(t.grad, memo)
    attributes = getattr(t, "__dict__", None)
    if attributes:
        found.__dict__.update(deepcopy(attributes, memo))
    return found


attach(deepcopy_tensor, "__deepcopy__")
attach(reduce_tensor, "__reduce_ex__")
