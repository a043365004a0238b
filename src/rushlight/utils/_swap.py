"""`swap_tensors`: two tensors exchange everything that they are."""

from __future__ import annotations

from weakref import getweakrefcount, ref

from ..autograd.graph import AccumulateGrad, remember
from ..tensor import Tensor

__all__ = ["swap_tensors"]

_SLOTS = [Tensor.__dict__[name] for name in ("_a", "_kind", "_node", "_ver", "_view", "_grad")]


def swap_tensors(t1: Tensor, t2: Tensor) -> None:
    """Exchange the memory, history, attributes and class of two tensors, so that whoever holds one sees the other. RuntimeError for tensors
    with weak references to them; nodes that saved one of them keep its old values."""
    for name, t in (("t1", t1), ("t2", t2)):
        if t._node.__class__ is not AccumulateGrad and t._view is None and getweakrefcount(t):
            raise RuntimeError(f"Cannot swap {name} because it has weakref associated with it")
    remember(t1)
    remember(t2)
    for slot in _SLOTS:
        first, second = slot.__get__(t1), slot.__get__(t2)
        slot.__set__(t1, second)
        slot.__set__(t2, first)
    for t in (t1, t2):
        t.__dict__.setdefault("_swapped_cdata", id(t))
    t1.__dict__, t2.__dict__ = t2.__dict__, t1.__dict__
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    for t in (t1, t2):
        if t._node.__class__ is AccumulateGrad:
            t._node.tensor = ref(t)
