"""The backward pass while operators are looked at: gradients are tensors, and every formula calls operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import engine
from ..autograd.anomaly_mode import run_checked
from ..autograd.grad_mode import LOCAL, _set_grad
from ..autograd.graph import AccumulateGrad, Node, array_of, wrap_array
from ..layout import preserve_format
from ..ops import aten as A
from ..tensor import Tensor
from ..vocabulary import Function
from . import derivatives

__all__ = ["observe"]


def observe(asked: Callable[[], bool] | None) -> None:
    """Let backward passes run here where ``asked()`` says so, and where a class with ``__torch_dispatch__`` had a part in the graph."""
    engine.observer = None if asked is None else lambda roots: _Pass if asked() or _has_wrappers(roots) else None


def _has_wrappers(roots: list[tuple[Any, Any]]) -> bool:
    return bool(derivatives.OF_WRAPPERS) and any(node in derivatives.OF_WRAPPERS for node in engine._reachable(roots)[0])


class _Pass(engine._Pass):
    """A backward pass on tensors; without create_graph nothing is recorded."""

    __slots__ = ("recorded",)

    @staticmethod
    def ones(tensor: Tensor) -> Tensor:
        """The gradient that a pass starts from."""
        grad = LOCAL.grad
        _set_grad(False)
        try:
            return A.ones_like.default(tensor, pin_memory=False, memory_format=preserve_format)
        finally:
            _set_grad(grad)

    def run(self, roots: list[tuple[Any, Any]], order: list[Node]) -> None:
        self.recorded, self.graph = self.graph, True
        roots[:] = [(edge, g if isinstance(g, Tensor) else wrap_array(g)) for edge, g in roots]
        super().run(roots, order)
        if not self.recorded:
            for key, g in self.captured.items():
                self.captured[key] = g if g is None or g.__class__ is not Tensor else array_of(g)

    def checked(self) -> Function:
        """Nodes run by PyTorch's formulas, where they are known, so that the operators are PyTorch's."""
        return self._node

    def _node(self, node: Node, g: Any, graph: bool) -> Any:
        if LOCAL.anomaly:
            return run_checked(node, g, True)
        found = None if self.recorded else derivatives.of(node)
        return node.tensors(g) if found is None else found.gradients(node, g)

    def leaves(self, ready: list[Any]) -> None:
        for leaf in ready:
            if leaf in self.pending and not self.recorded and leaf.hooks is None and not self.wanted:
                self._accumulate(leaf, self.pending.pop(leaf))
        super().leaves(ready)

    def _accumulate(self, leaf: AccumulateGrad, g: Any) -> None:
        tensor = leaf.variable
        if tensor is None:
            return
        if tensor._grad is None:
            tensor._grad = A.detach.default(g)
        else:
            A.add_.Tensor(tensor._grad, g)
