"""Forward mode from the recorded graph.

Every op's gradient is linear in the gradient that arrives, and is itself made of differentiable ops. So backward, run on a dummy `u` and
recorded, is a linear function of u, and its own backward applied to tangents is the Jacobian times these tangents: transposing twice. The
values of u play no part. (Custom Functions with a `jvp` of their own get to use it, see `function.FunctionNode`.)

No op knows about tangents, and nested levels can't be confused: derivatives are taken with respect to the tensors of one level alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops.record import record, share_version
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function
from .engine import _reachable, run
from .grad_mode import LOCAL, adjust, enable_grad
from .graph import AccumulateGrad, Node, wrap_array

__all__ = ["alias", "depends_on_others", "peeled", "pushforward", "recording_forward", "is_dual_node", "zeros_for"]


def alias(t: Tensor, record_outside: bool) -> Tensor:
    """The tensor as a new place in the graph, to take derivatives by: a leaf, or (so that outer derivatives see it) a child of t."""
    r = wrap(t._a, t._kind)
    r._ver = share_version(t)
    if t._node is not None and record_outside:
        return record(r, "AliasBackward0", (t,), lambda g: g, array_grad=lambda g: g)
    r._node = AccumulateGrad(r)
    return r


def is_dual_node(node: Node) -> bool:
    """Whether a node is where a dual tensor (forward_ad.make_dual) starts."""
    return node.label == "DualBackward0"


def depends_on_others(tensors: Sequence[Tensor], own: Sequence[Tensor]) -> bool:
    """Whether some tensor's history reaches a leaf (or dual tensor) that is not one of `own`."""
    roots = [(t._node, None) for t in tensors if t._node is not None]
    if not roots:
        return False
    order, leaves = _reachable(roots)
    mine = {t._node for t in own}
    return any(leaf not in mine for leaf in leaves) or any(is_dual_node(node) and node not in mine for node in order)


def peeled(t: Tensor, own: Sequence[Tensor]) -> Tensor:
    """The tensor as seen from outside: without history, unless that reaches leaves outside."""
    if not isinstance(t, Tensor) or t._node is None or depends_on_others((t,), own):
        return t
    return t.detach()


class recording_forward:
    """Context: operations are recorded for forward mode, in `no_grad` too (which concerns backward alone)."""

    def __enter__(self) -> None:
        LOCAL.dual += 1
        adjust(1)

    def __exit__(self, *exception: object) -> None:
        LOCAL.dual -= 1
        adjust(-1)


def pushforward(outputs: Sequence[Tensor], inputs: Sequence[Any]) -> Function:
    """A function of tangents (one per input, None for zero) that gives the outputs' tangents (None where an output does not depend on the
    inputs). `outputs` were computed from `inputs`, which are places in the graph."""
    with enable_grad():
        used = [i for i, t in enumerate(outputs) if t._node is not None]
        dummies = []
        for i in used:
            u = zeros_for(outputs[i])
            u._node = AccumulateGrad(u)
            dummies.append(u)
        edges = [t._node for t in inputs]
        LOCAL.transposing += 1
        try:
            back: list[Any] = run([(outputs[i]._node, u) for i, u in zip(used, dummies, strict=True)], True, True, edges,
                                  accumulate=False) if used else []
        finally:
            LOCAL.transposing -= 1

    def tangents_of(tangents: Sequence[Any], create_graph: bool) -> list[Any]:
        pairs = [(g, t) for g, t in zip(back, tangents, strict=False) if g is not None and t is not None and g._node is not None]
        results: list[Any] = [None] * len(outputs)
        if not pairs:
            return results
        roots = [(g._node, _tangent(t, g, create_graph)) for g, t in pairs]
        found = run(roots, create_graph, True, [u._node for u in dummies], accumulate=False)
        for i, each in zip(used, found, strict=True):
            if each is not None and not create_graph:
                each = wrap_array(each)
            results[i] = each
        return results
    return tangents_of


def _tangent(t: Tensor, like: Tensor, graph: bool) -> Array | Tensor:
    if t._kind is not like._kind:
        t = t.to(like._kind.dtype)
    return t if graph else t._a


def zeros_for(t: Tensor) -> Tensor:
    """A zero tangent (of each sample, where t is batched by vmap)."""
    return wrap(np.zeros_like(t._a), t._kind)
