"""`fully_shard`: makes a module one of FSDP, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import rushlight as torch

from ...homes import settle
from ...tensor import Tensor
from ..device_mesh import DeviceMesh, init_device_mesh
from ..groups import get_world_size
from .group import MixedPrecisionPolicy, ParameterGroup, Schedule

__all__ = ["FSDPModule", "UnshardHandle", "fully_shard", "register_fsdp_forward_method"]

_classes: dict[type, type] = {}
_AS_IT_IS = MixedPrecisionPolicy()


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same containers with other tensors."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_mapped(each, change) for each in value])
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(each, change) for each in value)
    if type(value) is dict:
        return {key: _mapped(each, change) for key, each in value.items()}
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        for name in value.__dataclass_fields__:
            setattr(value, name, _mapped(getattr(value, name), change))
    return value


class UnshardHandle:
    """A gathering under way."""

    def __init__(self, group: ParameterGroup) -> None:
        self._group = group

    def wait(self) -> None:
        """Until the whole parameters are in the module."""
        self._group.unshard()


class FSDPModule:
    """What `fully_shard` adds to a module's class."""

    _fsdp_group: ParameterGroup
    modules: Callable[[], Iterable[Any]]

    def _groups(self, recurse: bool = True) -> list[ParameterGroup]:
        modules = self.modules() if recurse else [self]
        return [each._fsdp_group for each in modules if isinstance(each, FSDPModule)]

    def unshard(self, async_op: bool = False) -> UnshardHandle | None:
        """Put the whole parameters into this module (not those below); `async_op`: when the handle's `wait` returns."""
        if async_op:
            self._fsdp_group.begin()
            return UnshardHandle(self._fsdp_group)
        self._fsdp_group.unshard()
        return None

    def reshard(self) -> None:
        """Let the whole parameters of this module go."""
        self._fsdp_group.reshard()

    def set_requires_gradient_sync(self, requires_gradient_sync: bool, *, recurse: bool = True) -> None:
        """Whether backward sums gradients up over the processes; else they add up in this one, whole."""
        for group in self._groups(recurse):
            group.syncs = requires_gradient_sync

    def set_reshard_after_forward(self, reshard_after_forward: bool, recurse: bool = True) -> None:
        """Whether the whole parameters go after forward, and are gathered again for backward."""
        for group in self._groups(recurse):
            group.reshard_after_forward = reshard_after_forward

    def set_reshard_after_backward(self, reshard_after_backward: bool, *, recurse: bool = True) -> None:
        """Whether the whole parameters go after backward."""
        for group in self._groups(recurse):
            group.reshard_after_backward = reshard_after_backward

    def set_modules_to_forward_prefetch(self, modules: list[Any]) -> None:
        """Begin to gather these modules' parameters while this one runs."""
        self._fsdp_group.next_forward = [each._fsdp_group for each in modules]


def _default_mesh() -> DeviceMesh:
    return init_device_mesh("cpu", (get_world_size(),))


def _owned(module: Any, ignored: set[int]) -> list[Any]:
    """The module and those below that no other call has taken."""
    found = [module]
    for child in module.children():
        if not isinstance(child, FSDPModule):
            found += _owned(child, ignored)
    return found


def fully_shard(
    module: Any,
    *,
    mesh: DeviceMesh | None = None,
    reshard_after_forward: bool | int | None = None,
    shard_placement_fn: Any = None,
    mp_policy: MixedPrecisionPolicy = _AS_IT_IS,
    offload_policy: Any = None,
    ignored_params: set[Any] | None = None,
    dp_mesh_dims: Any = None,
) -> Any:
    """Share a module's parameters out, in place: its own and those below that no other call has. First the layers, then the whole.

    mesh                   one dimension to cut along (default: all processes), or two, of which the first holds copies
    reshard_after_forward  let the whole parameters go after forward (default: but for the outermost module)
    mp_policy              other dtypes for computing and for gradients
    ignored_params         parameters that stay as they are

    The optimizer is made afterwards, of the parameters that are DTensors then.
    """
    for name, value in (("shard_placement_fn", shard_placement_fn), ("offload_policy", offload_policy), ("dp_mesh_dims", dp_mesh_dims)):
        if value is not None and not (name == "offload_policy" and type(value).__name__ == "OffloadPolicy"):
            raise NotImplementedError(f"fully_shard({name}=...) is missing in rushlight: leave it out")
    if isinstance(module, (list, tuple)):
        raise NotImplementedError("fully_shard of a list of modules: call it for each")
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"fully_shard expects a module, not {type(module).__name__}")
    if isinstance(module, (torch.nn.ModuleList, torch.nn.ModuleDict)):
        raise ValueError(f"fully_shard does not support containers that do not implement forward: {module}")
    if isinstance(module, FSDPModule):
        raise AssertionError(f"fully_shard was called twice for {type(module).__name__}")
    if isinstance(reshard_after_forward, int) and not isinstance(reshard_after_forward, bool):
        raise NotImplementedError("fully_shard(reshard_after_forward=number) is missing in rushlight: give True or False")
    mesh = _default_mesh() if mesh is None else mesh
    if mesh.ndim not in (1, 2):
        raise ValueError(f"fully_shard expects a 1D or 2D DeviceMesh but got {mesh}")
    ignored = {id(p) for p in ignored_params or ()}
    group = ParameterGroup(_owned(module, ignored), ignored, mesh, mp_policy, reshard_after_forward is not False)
    group.automatic = reshard_after_forward is None
    cls = type(module)
    if cls not in _classes:
        _classes[cls] = type(f"FSDP{cls.__name__}", (FSDPModule, cls), {"__module__": cls.__module__})
    module.__class__ = _classes[cls]
    module._fsdp_group = group
    _hooked(module, group)
    return module


def _hooked(module: Any, group: ParameterGroup) -> None:
    """Gather before forward, let go after it; the same around backward."""
    policy = group.policy

    def before(module: Any, args: Any, kwargs: Any) -> Any:
        if not group.in_backward and group.schedule.root is None:
            _root(module)
        if not group.in_backward:
            if group.schedule.root is group:
                group.schedule.forward(module._groups())
            group.schedule.order.append(group)
        group.unshard()
        for each in group.next_forward:
            each.begin()
        if policy.param_dtype is None or not policy.cast_forward_inputs:
            return None
        return _mapped((args, kwargs), lambda t: t.to(policy.param_dtype) if t.is_floating_point() else t)

    def after(module: Any, args: Any, output: Any) -> Any:
        if policy.output_dtype is not None:
            output = _mapped(output, lambda t: t.to(policy.output_dtype) if t.is_floating_point() else t)
        if group.in_backward:  # run again by activation checkpointing
            return output
        if torch.is_grad_enabled():
            _mapped(output, lambda t: (t.register_hook(lambda grad: group.enter_backward()), t)[1] if t.requires_grad else t)
        root = group.schedule.root is group
        if group.reshard_after_forward and not (root and group.automatic and torch.is_grad_enabled()):
            group.reshard()
        return output

    module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
    module.register_forward_hook(after)
    module.register_state_dict_pre_hook(lambda module, prefix, keep: group.reshard())
    module.register_load_state_dict_pre_hook(lambda module, *rest: group.reshard())


def _root(module: Any) -> None:
    """The first module that runs is the outermost: its groups share a schedule."""
    schedule = Schedule()
    schedule.root = module._fsdp_group
    for each in module.modules():
        if isinstance(each, FSDPModule):
            each._fsdp_group.schedule = schedule


def register_fsdp_forward_method(module: Any, method_name: str) -> None:
    """Gather before another method, too, and let go after it."""
    if not isinstance(module, FSDPModule):
        return
    inner, group = getattr(module, method_name), module._fsdp_group

    def method(*args: Any, **kwargs: Any) -> Any:
        group.unshard()
        output = inner(*args, **kwargs)
        _mapped(output, lambda t: (t.register_hook(lambda grad: group.enter_backward()), t)[1] if t.requires_grad else t)
        if group.reshard_after_forward:
            group.reshard()
        return output

    setattr(module, method_name, method)


settle("distributed.fsdp", globals())
