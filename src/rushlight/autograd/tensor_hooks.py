"""Hooks that users attach to tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from ..hooks import RemovableHandle
from ..tensor import attach
from ..vocabulary import Function, Operand
from .graph import AccumulateGrad, Hooks, Port

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["register_hook", "register_post_accumulate_grad_hook", "retain_grad", "move_history"]


def _hooks(tensor: Tensor) -> tuple[Hooks, int]:
    node = tensor._node
    return (node.node.own_hooks(), node.index) if node.__class__ is Port else (node.own_hooks(), 0)


@attach
def register_hook(self: Tensor, hook: Function | Operand) -> RemovableHandle:
    """Call ``hook(grad)`` when this tensor's gradient is ready; what it returns (if not None) is used instead. Returns a handle."""
    if self._node is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not callable(hook):
        raise TypeError(f"a hook must be callable, not {type(hook).__name__}")
    hooks, index = _hooks(self)
    handle = RemovableHandle(hooks.tensor_pre)
    hooks.tensor_pre[handle.id] = (index, hook)
    return handle


@attach
def register_post_accumulate_grad_hook(self: Tensor, hook: Function) -> RemovableHandle:
    """Call ``hook(self)`` after a gradient was added to this leaf's ``.grad``. Returns a handle."""
    if self._node is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self._node.__class__ is not AccumulateGrad:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return RemovableHandle.into(self._node.own_hooks().post_accumulate, hook)


@attach
def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this non-leaf tensor in ``.grad``."""
    if self._node is None:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self._node.__class__ is AccumulateGrad:
        return
    hooks, index = _hooks(self)
    hooks.retain[index] = ref(self)


def move_history(tensor: Tensor, node: Any) -> None:
    """Give a tensor that was changed in place its new history; ``.grad`` that it retains is from now on the new value's (hooks stay)."""
    old = tensor._node
    tensor._node = node
    if old is None or old is node:
        return
    hooks, index = (old.node.hooks, old.index) if old.__class__ is Port else (old.hooks, 0)
    if hooks is not None and hooks.retain.get(index, _nobody)() is tensor:
        del hooks.retain[index]
        if node is not None:
            retain_grad(tensor)


def _nobody() -> None:
    """What a dead reference gives."""
