"""What happens when a Module is called: hooks before, after, and around the backward pass.

A module without hooks never comes here (see `Module.__call__`): a module's `_plain` is True until its first hook, and `GLOBAL` holds the
ids of the hooks that all modules share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...autograd.grad_mode import is_grad_enabled
from ...hooks import RemovableHandle
from ...tensor import Tensor
from .._torch import torch

__all__ = ["Calling", "register_module_forward_pre_hook", "register_module_forward_hook", "register_module_backward_hook",
           "register_module_full_backward_pre_hook", "register_module_full_backward_hook"]

Hook = Callable[..., Any]

_global_forward_pre_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_forward_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_forward_hooks_always_called: OrderedDict[int, bool] = OrderedDict()
_global_forward_hooks_with_kwargs: OrderedDict[int, bool] = OrderedDict()
_global_backward_pre_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_backward_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_is_full_backward_hook: bool | None = None
GLOBAL: dict[int, bool] = {}

_MIXED = ("Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only one of them.")
_MIXED_GLOBAL = "Cannot use both regular backward hooks and full backward hooks as a global Module hook. Please use only one of them."


def _add_global(hooks: Any, hook: Hook, *flags: Any) -> RemovableHandle:
    handle = RemovableHandle(hooks, extra_dict=[GLOBAL, *flags])
    hooks[handle.id] = hook
    GLOBAL[handle.id] = True
    return handle


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, args)`` before the forward of every module; what it returns (if not None) replaces the arguments."""
    return _add_global(_global_forward_pre_hooks, hook)


def register_module_forward_hook(hook: Hook, *, with_kwargs: bool = False, always_call: bool = False) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after the forward of every module; what it returns (if not None) replaces the output."""
    handle = _add_global(_global_forward_hooks, hook, _global_forward_hooks_with_kwargs, _global_forward_hooks_always_called)
    if with_kwargs:
        _global_forward_hooks_with_kwargs[handle.id] = True
    if always_call:
        _global_forward_hooks_always_called[handle.id] = True
    return handle


def _set_global_kind(full: bool) -> None:
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is not None and _global_is_full_backward_hook is not full:
        raise RuntimeError(_MIXED_GLOBAL)
    _global_is_full_backward_hook = full


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """The old kind of backward hook for every module: prefer `register_module_full_backward_hook`."""
    _set_global_kind(False)
    return _add_global(_global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before the backward of every module."""
    return _add_global(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` after the backward of every module."""
    _set_global_kind(True)
    return _add_global(_global_backward_hooks, hook)


class Calling:
    """The part of Module that registers hooks and runs them."""

    _plain: bool
    _is_full_backward_hook: bool | None
    _forward_hooks: OrderedDict[int, Hook]
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _forward_pre_hooks: OrderedDict[int, Hook]
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]
    _backward_hooks: OrderedDict[int, Hook]
    _backward_pre_hooks: OrderedDict[int, Hook]
    forward: Callable[..., Any]

    # --- registering ----------------------------------------------------------------------------------------------------------------

    def _add_hook(self, hooks: Any, hook: Hook, prepend: bool, *flags: Any) -> RemovableHandle:
        handle = RemovableHandle(hooks, extra_dict=list(flags))
        hooks[handle.id] = hook
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        self.__dict__["_plain"] = False
        return handle

    def register_forward_pre_hook(self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args)`` before each forward; a returned value (a tuple, or one value) replaces the arguments.

        prepend      run it before the module's other hooks
        with_kwargs  the hook is ``hook(module, args, kwargs)`` and returns None or a pair of new (args, kwargs)
        """
        handle = self._add_hook(self._forward_pre_hooks, hook, prepend, self._forward_pre_hooks_with_kwargs)
        if with_kwargs:
            self._forward_pre_hooks_with_kwargs[handle.id] = True
        return handle

    def register_forward_hook(self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each forward; what it returns (if not None) replaces the output.

        with_kwargs  the hook is ``hook(module, args, kwargs, output)``
        always_call  run it also when forward (or another hook) raised
        """
        handle = self._add_hook(self._forward_hooks, hook, prepend, self._forward_hooks_with_kwargs, self._forward_hooks_always_called)
        if with_kwargs:
            self._forward_hooks_with_kwargs[handle.id] = True
        if always_call:
            self._forward_hooks_always_called[handle.id] = True
        return handle

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """The old kind of backward hook, on the last node only: prefer `register_full_backward_hook`."""
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED)
        self._is_full_backward_hook = False
        return self._add_hook(self._backward_hooks, hook, False)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of the outputs are there; what it returns replaces them."""
        return self._add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the inputs are there; what it returns replaces
        grad_input."""
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED)
        self._is_full_backward_hook = True
        return self._add_hook(self._backward_hooks, hook, prepend)

    def _get_backward_hooks(self) -> tuple[list[Hook], list[Hook]]:
        """(full hooks, old hooks), the global ones first."""
        full: list[Hook] = []
        old: list[Hook] = []
        (full if _global_is_full_backward_hook else old).extend(_global_backward_hooks.values())
        (full if self._is_full_backward_hook else old).extend(self._backward_hooks.values())
        return full, old

    def _get_backward_pre_hooks(self) -> list[Hook]:
        return [*_global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]

    # --- calling --------------------------------------------------------------------------------------------------------------------

    def _call_impl(self, *args: Any, **kwargs: Any) -> Tensor | dict[Any, Any] | tuple[Any, ...]:
        """A call with hooks."""
        if not (self._backward_hooks or self._backward_pre_hooks or self._forward_hooks or self._forward_pre_hooks
                or _global_backward_pre_hooks or _global_backward_hooks or _global_forward_hooks or _global_forward_pre_hooks):
            return self.forward(*args, **kwargs)
        called: set[int] = set()
        try:
            return self._call_with_hooks(args, kwargs, called)
        except Exception:
            self._call_always(args, kwargs, called)
            raise

    def _call_with_hooks(self, args: tuple[Tensor, ...], kwargs: dict[Any, Any], called: set[int]) -> Tensor | dict[Any, Any] | tuple[Any,
                         ...]:
        args, kwargs = self._run_pre_hooks(args, kwargs)
        around = None
        full, old = self._get_backward_hooks()
        pre = self._get_backward_pre_hooks()
        if full or pre:
            from ._backward_hooks import BackwardHook
            around = BackwardHook(self, full, pre)
            args = around.setup_input_hook(args)
        result = self.forward(*args, **kwargs)
        for hooks, with_kwargs in ((_global_forward_hooks, _global_forward_hooks_with_kwargs),
                                   (self._forward_hooks, self._forward_hooks_with_kwargs)):
            for key, hook in [*hooks.items()]:
                called.add(key)
                replaced = hook(self, args, kwargs, result) if key in with_kwargs else hook(self, args, result)
                if replaced is not None:
                    result = replaced
        if around is not None:
            if not isinstance(result, (Tensor, tuple)):
                import warnings
                warnings.warn("For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                              f"{type(result)}", stacklevel=4)
            result = around.setup_output_hook(result)
        if old:
            from ._backward_hooks import attach_old_hooks
            attach_old_hooks(self, old, args, result)
        return result

    def _run_pre_hooks(self, args: tuple[Tensor, ...], kwargs: dict[Any, Any]) -> tuple[Any, Any]:
        for hook in [*_global_forward_pre_hooks.values()]:
            replaced = hook(self, args)
            if replaced is not None:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
        for key, hook in [*self._forward_pre_hooks.items()]:
            if key in self._forward_pre_hooks_with_kwargs:
                replaced = hook(self, args, kwargs)
                if replaced is not None:
                    if not (isinstance(replaced, tuple) and len(replaced) == 2):
                        raise RuntimeError(f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {replaced}.")
                    args, kwargs = replaced
            else:
                replaced = hook(self, args)
                if replaced is not None:
                    args = replaced if isinstance(replaced, tuple) else (replaced,)
        return args, kwargs

    def _call_always(self, args: tuple[Tensor, ...], kwargs: dict[Any, Any], called: set[int]) -> None:
        """After an exception: the hooks that asked to be called always, and were not yet."""
        for hooks, always, with_kwargs, which in (
                (_global_forward_hooks, _global_forward_hooks_always_called, _global_forward_hooks_with_kwargs, "global module"),
                (self._forward_hooks, self._forward_hooks_always_called, self._forward_hooks_with_kwargs, "module")):
            for key, hook in [*hooks.items()]:
                if key not in always or key in called:
                    continue
                try:
                    hook(self, args, kwargs, None) if key in with_kwargs else hook(self, args, None)
                except Exception as error:
                    import warnings
                    warnings.warn(f"{which} forward hook with ``always_call=True`` raised an exception that was silenced as another error "
                                  f"was raised in forward: {error}", stacklevel=4)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile this module's calls in place; the arguments are those of ``torch.compile``."""
        self.__dict__["_compiled_call_impl"] = torch.compile(self._call_impl, *args, **kwargs)
        self.__dict__["_plain"] = False


def grad_enabled_for(tensors: list[Tensor]) -> bool:
    """Whether a gradient can flow into one of the tensors."""
    return is_grad_enabled() and any(t.requires_grad for t in tensors)
