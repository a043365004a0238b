"""Backward hooks of modules: identity nodes around inputs and outputs see the gradients that pass."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ...tensor import Tensor
from .._torch import torch
from ._calling import Hook, grad_enabled_for

if TYPE_CHECKING:
    from ...nn.modules.module import Module

__all__ = ["BackwardHook", "attach_old_hooks"]

_identity: Any = None


def _identity_function() -> type[Any]:
    """The autograd Function whose node is the identity; made at first use."""
    global _identity
    if _identity is None:
        class BackwardHookFunction(torch.autograd.Function):  # type: ignore[misc]
            @staticmethod
            def forward(ctx: Any, *args: Tensor) -> tuple[Tensor, ...]:
                ctx.mark_non_differentiable(*[arg for arg in args if not arg.requires_grad])
                return args

            @staticmethod
            def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
                return grads
        _identity = BackwardHookFunction
    return _identity


class BackwardHook:
    """The full backward hooks (and pre hooks) of one call of one module."""

    def __init__(self, module: Module, hooks: list[Hook], pre_hooks: list[Hook]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: tuple[Any, ...] | None = None
        self.n_inputs = self.n_outputs = -1
        self.input_places: list[int] = []
        self.output_places: list[int] = []
        self.watches_inputs = False

    def setup_input_hook(self, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Put the identity before the module's tensors; returns the arguments to call forward with."""
        self.n_inputs = len(args)
        args, self.input_places, node = self._through_identity(args)
        if node is not None:
            self.watches_inputs = True
            node.register_hook(self._inputs_done)
        return args

    def setup_output_hook(self, result: Tensor | dict[Any, Any] | tuple[Any, ...]) -> Tensor | dict[Any, Any] | tuple[Any, ...]:
        """Put the identity after the module's result."""
        single = isinstance(result, Tensor)
        outputs = (result,) if single else result
        if not isinstance(outputs, tuple):
            return result
        self.n_outputs = len(outputs)
        new, self.output_places, node = self._through_identity(outputs)
        if node is not None:
            node.register_prehook(self._outputs_ready)
        if single:
            return new[0]
        return type(result)(*new) if hasattr(result, "_fields") else new

    def _through_identity(self, values: tuple[Any, ...]) -> tuple[Any, list[int], Any]:
        places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
        tensors = [values[i] for i in places]
        if not grad_enabled_for(tensors):
            return values, places, None
        passed = _identity_function().apply(*tensors)
        if isinstance(passed, Tensor):
            passed = (passed,)
        node = next(t.grad_fn for t in passed if t.grad_fn is not None)
        new = list(values)
        for i, t in zip(places, passed, strict=True):
            new[i] = t
        return tuple(new), places, node

    @staticmethod
    def _spread(places: list[int], grads: tuple[Tensor, ...], size: int) -> tuple[Any, ...]:
        """Gradients at the places of the tensors among all values, None elsewhere."""
        full: list[Any] = [None] * size
        for place, grad in zip(places, grads, strict=False):
            full[place] = grad
        return tuple(full)

    def _outputs_ready(self, grad_outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        self.grad_outputs = self._spread(self.output_places, grad_outputs, self.n_outputs)
        replaced = False
        for hook in self.pre_hooks:
            result = hook(self.module, self.grad_outputs)
            if result is None:
                continue
            result = result if isinstance(result, tuple) else (result,)
            if len(result) != len(self.grad_outputs):
                raise RuntimeError(f"Backward pre hook returned an invalid number of grad_output, got {len(result)}, "
                                   f"but expected {len(self.grad_outputs)}")
            self.grad_outputs, replaced = result, True
        local = tuple(self.grad_outputs[i] for i in self.output_places)
        if not self.watches_inputs:
            self._no_input_gradients()
        return local if replaced else None

    def _no_input_gradients(self) -> None:
        """No input needs a gradient: the hooks run now, as no node of the inputs will."""
        if self.hooks:
            warnings.warn("Full backward hook is firing when gradients are computed with respect to module outputs since no inputs require "
                          "gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
                          "#torch.nn.Module.register_full_backward_hook for more details.", stacklevel=5)
        inputs = (None,) * self.n_inputs
        for hook in self.hooks:
            result = hook(self.module, inputs, self.grad_outputs)
            if result is not None and not (isinstance(result, tuple) and all(each is None for each in result)):
                raise RuntimeError("Backward hook for Modules where no input requires gradient should always return None or None for all "
                                   "gradients.")
        self.grad_outputs = None

    def _inputs_done(self, grad_inputs: tuple[Tensor, ...], _: tuple[Any, ...]) -> tuple[Tensor, ...] | None:
        if self.grad_outputs is None:
            # No gradient came through the outputs' node (another path led to the inputs).
            return None
        grads = self._spread(self.input_places, grad_inputs, self.n_inputs)
        for hook in self.hooks:
            result = hook(self.module, grads, self.grad_outputs)
            if result is None:
                continue
            result = result if isinstance(result, tuple) else (result,)
            if len(result) != len(grads):
                raise RuntimeError(f"Backward hook returned an invalid number of grad_input, got {len(result)}, but expected {len(grads)}")
            grads = result
        self.grad_outputs = None
        return tuple(grads[i] for i in self.input_places)


def attach_old_hooks(module: Any, hooks: list[Hook], inputs: tuple[Tensor, ...], result: Tensor) -> None:
    """Old backward hooks sit on the node of the (first tensor of the) result and see that node's inputs only."""
    value = result
    while not isinstance(value, Tensor):
        value = next((v for v in value.values() if isinstance(v, Tensor)), None) if isinstance(value, dict) else value[0]
        if value is None:
            return
    node = value.grad_fn
    if node is None:
        return
    for hook in hooks:
        node.register_hook(_bound(hook, module))
    _warn_old(inputs, result, node)


def _bound(hook: Hook, module: Module) -> Hook:
    def call(grad_inputs: tuple[Tensor, ...], grad_outputs: tuple[Tensor, ...]) -> Any:
        return hook(module, grad_inputs, grad_outputs)
    return call


def _warn_old(inputs: tuple[Tensor, ...], result: Tensor, node: Any) -> None:
    many = isinstance(result, tuple)
    advice = "Please use register_full_backward_hook to get the documented behavior."
    if not isinstance(result, Tensor) and not (many and all(isinstance(r, Tensor) for r in result)):
        text = ("Using non-full backward hooks on a Module that does not return a single Tensor or a tuple of Tensors is deprecated and "
                "will be removed in future versions. This hook will be missing some of the grad_output. ")
    elif not all(isinstance(i, Tensor) for i in inputs):
        text = ("Using non-full backward hooks on a Module that does not take as input a single Tensor or a tuple of Tensors is deprecated "
                "and will be removed in future versions. This hook will be missing some of the grad_input. ")
    elif many and any(r.grad_fn is not node for r in result):
        text = ("Using a non-full backward hook when outputs are generated by different autograd Nodes is deprecated and will be removed "
                "in future versions. This hook will be missing some grad_output. ")
    else:
        # One node between the inputs' nodes and the result. (A leaf among the inputs counts as "several", as in PyTorch.)
        if {each for each, _ in node.next_functions} == {i.grad_fn for i in inputs if i.grad_fn is not None}:
            return
        text = ("Using a non-full backward hook when the forward contains multiple autograd Nodes is deprecated and will be removed in "
                "future versions. This hook will be missing some grad_input. ")
    warnings.warn(text + advice, FutureWarning, stacklevel=5)
