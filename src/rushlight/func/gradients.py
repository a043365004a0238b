"""``autograd.grad(..., is_grads_batched=True)``: the gradients for a batch of gradients of the outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import services
from ..autograd.api import grad
from ..kind import NotBatched
from ..ops.joining import stack
from .vmap import Level, batch_tensor, unbatch_tensor

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["batched_gradients"]


@services.batched_gradients.given
def batched_gradients(outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], given: tuple[Tensor, ...], retain: bool, graph: bool,
                      allow_unused: bool, materialize: bool) -> tuple[Any, ...]:
    """One backward pass for all slices of the batch, or one per slice where an op has no batched form."""
    sizes = {g.shape[0] for g in given if g is not None}
    if len(sizes) != 1:
        raise RuntimeError("is_grads_batched=True needs grad_outputs with one common first dimension")
    size = sizes.pop()
    try:
        with Level(size, "different") as level:
            batched = tuple(None if g is None else batch_tensor(g, 0, level) for g in given)
            found = grad(outputs, inputs, batched, True, graph, True, allow_unused, False, materialize)
            return tuple(None if g is None else unbatch_tensor(g, level, size, 0) for g in found)
    except NotBatched:
        pass
    rows = []
    for i in range(size):
        part = tuple(None if g is None else g[i] for g in given)
        rows.append(grad(outputs, inputs, part, retain or i + 1 < size, graph, True, allow_unused, False, materialize))
    return tuple(None if column[0] is None else stack(column) for column in zip(*rows, strict=True))
