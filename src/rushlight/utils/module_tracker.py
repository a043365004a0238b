"""``torch.utils.module_tracker``: which modules run now, in the forward and in the backward pass."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from ..autograd.saved_hooks import register_multi_grad_hook
from ..nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from ..tensor import Tensor
from . import _pytree as pytree

__all__ = ["ModuleTracker"]


class ModuleTracker:
    """A context in which `parents` is the set of names of the modules that run: "Global", and "Net", "Net.layer", ... by the classes of the
    outermost modules and the names of their parts. `is_bw` is True while a backward pass is inside of a module."""

    def __init__(self) -> None:
        self.parents: set[str] = {"Global"}
        self.is_bw = False
        self._known: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()
        self._handles: list[Any] = []
        self._hooks: list[Any] = []
        self._backward: set[str] = set()

    def __enter__(self) -> ModuleTracker:
        self._handles = [register_module_forward_pre_hook(self._before), register_module_forward_hook(self._after)]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in (*self._handles, *self._hooks):
            handle.remove()
        self._handles, self._hooks = [], []

    def _name(self, module: Any) -> str:
        if module not in self._known:
            self._known[module] = type(module).__name__
        name = self._known[module]
        if module not in self._seen:
            for key, child in module.named_children():
                self._known[child] = f"{name}.{key}"
                self._name(child)
            self._seen.add(module)
        return name

    def _before(self, module: Any, args: Any) -> None:
        if self._backward:            # what a backward pass left, whose inputs needed no gradient
            self._leave_backward()
        name = self._name(module)
        self._push(name, False)
        tensors = _differentiable(args)
        if tensors:
            self._hooks.append(register_multi_grad_hook(tensors, self._hook(self._pop, name)))

    def _after(self, module: Any, args: Any, output: Any) -> None:
        name = self._name(module)
        self._pop(name, False)
        tensors = _differentiable(output)
        if tensors:
            self._hooks.append(register_multi_grad_hook(tensors, self._hook(self._push, name)))

    def _hook(self, act: Callable[[str, bool], None], name: str) -> Callable[[Any], None]:
        return functools.partial(_in_backward, weakref.ref(self), act.__name__, name)

    def _push(self, name: str, backward: bool) -> None:
        if backward:
            self.is_bw = True
            self._backward.add(name)
        elif name in self.parents:
            warnings.warn(f"The module hierarchy tracking saw {name} begin twice, in a module that calls itself; what it says may be wrong",
                          stacklevel=4)
        self.parents.add(name)

    def _pop(self, name: str, backward: bool) -> None:
        self.parents.discard(name)
        self._backward.discard(name)
        self.is_bw = bool(self._backward)

    def _leave_backward(self) -> None:
        self.parents -= self._backward
        self._backward.clear()
        self.is_bw = False


def _in_backward(tracker: Any, act: str, name: str, grads: Any) -> None:
    found = tracker()
    if found is not None:
        getattr(found, act)(name, True)


def _differentiable(value: Any) -> list[Tensor]:
    return [each for each in pytree.tree_leaves(value) if isinstance(each, Tensor) and each.requires_grad]
