"""``torch.cuda.make_graphed_callables``: the forward and backward passes of functions and modules as CUDA graphs."""

from __future__ import annotations

from typing import Any

from ..amp import casting
from ..autograd.api import grad
from ..autograd.function import Function, once_differentiable
from ..nn import Module
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor
from ..utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from . import synchronize
from .graphs import CUDAGraph, Handle, graph, graph_pool_handle
from .streams import Stream, stream

__all__ = ["make_graphed_callables"]


def make_graphed_callables(callables: Any, sample_args: Any, num_warmup_iters: int = 3, allow_unused_input: bool = False,
                           pool: Handle | None = None) -> Any:
    """Functions or modules whose forward and backward passes each run as one CUDA graph, inside one node of the autograd graph.

    callables         one, or a tuple in the order in which the program will call them (their memory is shared)
    sample_args       a tuple of CUDA tensors for each, with the shapes and `requires_grad` of the later arguments
    allow_unused_input  whether inputs may have no part in the outputs

    A module is returned itself, with a `forward` that runs the graph while `training` is as it is now. No double backward.
    """
    if casting.is_autocast_enabled("cuda") and casting.is_autocast_cache_enabled():
        raise RuntimeError("make_graphed_callables does not support the autocast caching. Please set `cache_enabled=False`.")
    single = not isinstance(callables, tuple)
    functions, samples = ((callables,), (sample_args,)) if single else (callables, sample_args)
    surfaces = [_surface(function, args) for function, args in zip(functions, samples, strict=True)]
    handle = graph_pool_handle() if pool is None else pool
    _warm_up(functions, samples, surfaces, num_warmup_iters, allow_unused_input)
    parts = [_record_forward(function, args, surface, handle) for function, args, surface in zip(functions, samples, surfaces, strict=True)]
    for part in reversed(parts):
        part.record_backward(handle, allow_unused_input)
    graphed = tuple(_installed(function, part) for function, part in zip(functions, parts, strict=True))
    return graphed[0] if single else graphed


def _surface(function: Any, args: Any) -> tuple[Any, ...]:
    """All tensors that a callable's work depends on: its arguments and, of a module, its parameters. Raises for what can't be recorded."""
    leaves = tree_leaves(args)
    if any(not isinstance(each, Tensor) for each in leaves):
        raise TypeError("make_graphed_callables: sample_args may hold nothing but tensors")
    if not isinstance(function, Module):
        return tuple(leaves)
    if function._backward_hooks or function._forward_hooks or function._forward_pre_hooks:
        raise RuntimeError("make_graphed_callables: modules must not have hooks yet; register them on the module afterwards")
    if any(b.requires_grad for b in function.buffers()):
        raise RuntimeError("make_graphed_callables: buffers must have requires_grad=False; only parameters can be trained")
    return (*leaves, *function.parameters())


def _outputs(value: Any) -> tuple[list[Any], Any]:
    leaves, spec = tree_flatten(value)
    return leaves, spec


def _gradients(outputs: list[Any], inputs: tuple[Any, ...], grads: list[Any], allow_unused: bool) -> tuple[Any, ...]:
    outs = [o for o in outputs if o.requires_grad]
    wanted = [i for i in inputs if i.requires_grad]
    return grad(outs, wanted, [g for g in grads if g is not None], allow_unused=allow_unused) if outs and wanted else ()


def _warm_up(functions: Any, samples: Any, surfaces: Any, rounds: int, allow_unused: bool) -> None:
    """Run everything on a side stream first: what is set up at first use must not be recorded."""
    synchronize()
    with stream(Stream()):
        for function, args, surface in zip(functions, samples, surfaces, strict=True):
            for _ in range(rounds):
                outputs, _ = _outputs(function(*args))
                _gradients(outputs, surface, [FUNCTIONS["empty_like"](o) if o.requires_grad else None for o in outputs], allow_unused)
    synchronize()


class _Graphed:
    """The recorded passes of one callable: two graphs and the tensors that they read and write."""

    def __init__(self, surface: tuple[Any, ...], arguments: int, forward: CUDAGraph, outputs: list[Any], spec: Any) -> None:
        self.surface, self.arguments, self.forward, self.outputs, self.spec = surface, arguments, forward, outputs, spec
        self.backward: CUDAGraph | None = None
        self.grad_outputs: list[Any] = []
        self.grad_inputs: list[Any] = []

    def record_backward(self, handle: Handle, allow_unused: bool) -> None:
        """Record the gradients, for gradients of the outputs that come into memory kept for them."""
        self.grad_outputs = [FUNCTIONS["empty_like"](o) if o.requires_grad else None for o in self.outputs]
        if not any(g is not None for g in self.grad_outputs) or not any(t.requires_grad for t in self.surface):
            self.grad_inputs = [None] * len(self.surface)
            return
        self.backward = CUDAGraph()
        with graph(self.backward, handle):
            found = iter(_gradients(self.outputs, self.surface, self.grad_outputs, allow_unused))
        self.grad_inputs = [next(found) if t.requires_grad else None for t in self.surface]

    def run(self) -> Any:
        """The autograd function that replays the graphs."""
        part = self

        class Graphed(Function):
            @staticmethod
            def forward(ctx: Any, *inputs: Any) -> Any:
                for kept, given in zip(part.surface[:part.arguments], inputs, strict=False):
                    if kept.data_ptr() != given.data_ptr():
                        kept.copy_(given)
                part.forward.replay()
                return tuple(o.detach() for o in part.outputs)

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, *grads: Any) -> Any:
                if part.backward is None:
                    return tuple(None for _ in part.surface)
                for kept, given in zip(part.grad_outputs, grads, strict=True):
                    if kept is not None and kept.data_ptr() != given.data_ptr():
                        kept.copy_(given)
                part.backward.replay()
                return tuple(None if g is None else g.detach() for g in part.grad_inputs)
        return Graphed

    def callable(self) -> Any:
        """A function that takes what the original takes."""
        apply, rest = self.run().apply, self.surface[self.arguments:]

        def call(*args: Any) -> Any:
            return tree_unflatten(list(apply(*tree_leaves(args), *rest)), self.spec)
        return call


def _record_forward(function: Any, args: Any, surface: tuple[Any, ...], handle: Handle) -> _Graphed:
    forward = CUDAGraph()
    with graph(forward, handle):
        value = function(*args)
    outputs, spec = _outputs(value)
    return _Graphed(surface, len(tree_leaves(args)), forward, outputs, spec)


def _installed(function: Any, part: _Graphed) -> Any:
    graphed = part.callable()
    if not isinstance(function, Module):
        return graphed
    module, training, original = function, function.training, function.forward

    def forward(*args: Any) -> Any:
        return graphed(*args) if module.training == training else original(*args)
    module.forward = forward  # type: ignore[method-assign]
    return module
