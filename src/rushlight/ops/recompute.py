"""Differentiable gradients of fused ops: compute the op anew out of plain ops, and differentiate that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.api import grad as gradient
from ..autograd.grad_mode import enable_grad
from ..tensor import NotBatched, Tensor

__all__ = ["recomputed_grad", "taken"]


def recomputed_grad(function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], g: Any) -> tuple[Any, ...]:
    """One gradient (or None) per input of ``function(*inputs)``, a tuple of tensors whose gradients are `g`; they have a graph themselves.

    For nodes whose array gradient is a fused kernel: this is what they answer under ``create_graph=True``, and where their arrays are
    batched by vmap (then the inputs come without histories, and all that can have a gradient get one, without a graph).
    """
    graph = any(t._node is not None for t in inputs)
    with enable_grad():
        # Aliases, so that the inputs' own histories (which may contain one another) stay out of it.
        if graph:
            aliases = [t.view(t.shape) if t._node is not None else t for t in inputs]
        else:
            aliases = [t.detach().requires_grad_() if t._kind.differentiable else t for t in inputs]
        pairs = [(out, each) for out, each in zip(function(*aliases), g, strict=True) if each is not None and out._node is not None]
        wanted = [t for t in aliases if t._node is not None]
        if not pairs or not wanted:
            return tuple(None for _ in aliases)
        grads = iter(gradient([out for out, _ in pairs], wanted, [each for _, each in pairs], create_graph=graph, allow_unused=True))
    return tuple(next(grads) if t._node is not None else None for t in aliases)


def taken(grads: Any) -> Any:
    """What a kernel gave for the gradients of what it computed. NotBatched where it steps aside, for vmap's arrays: then the engine goes on
    without it."""
    if grads is NotImplemented:
        raise NotBatched("the gradients of a fused op, of batched arrays")
    return grads
