"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..tensor import Tensor
from .checks import check_fused, check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

if TYPE_CHECKING:
    from ..sparse.tensor import SparseTensor

__all__ = ["SGD"]

_PLAIN: Any = ((), ())
_MOMENTUM: Any = ((), ("momentum_buffer",))


class SGD(PointwiseOptimizer):
    """``p -= lr * g``, where g may contain an L2 penalty and (Nesterov) momentum.

    momentum         b = momentum * b + (1 - dampening) * g; the first step takes g itself
    nesterov         step along g + momentum * b instead of b
    weight_decay     adds weight_decay * p to the gradient
    maximize         climb instead of descend
    foreach, fused   which of its loops PyTorch takes; all of them are the one blocked step here
    differentiable   record the step for autograd (also through the first momentum, where PyTorch cuts the graph)
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float | Tensor = 0, nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None,
                 differentiable: bool = False, fused: bool | None = None) -> None:
        check_lr(lr)
        check_not_negative("momentum value", momentum)
        check_not_negative("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov,
                                  "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused})
        check_fused(self, fused, foreach, differentiable)

    _absent = {**PointwiseOptimizer._absent, "nesterov": False}

    def _check_sparse(self, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            raise RuntimeError("add(sparse, dense) is not supported: weight_decay can't be used with sparse gradients")

    def _step_sparse(self, group: dict[str, Any], p: Tensor, grad: SparseTensor) -> None:
        if group["maximize"]:
            grad = -grad
        momentum = group["momentum"]
        if momentum:
            state = self.state[p]
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = grad.clone()
            else:
                buffer = (buffer * momentum).add(grad, alpha=1 - group["dampening"])
            state["momentum_buffer"] = buffer
            grad = grad.add(buffer, alpha=momentum) if group["nesterov"] else buffer
        if not p.is_contiguous():
            p.add_(grad, alpha=-float(group["lr"]))
            return
        grad.sparse_array().add_to(p._a, -float(group["lr"]))
        p._ver += 1

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _MOMENTUM if group["momentum"] else _PLAIN

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        decay = group["weight_decay"]
        if not (group["differentiable"] and isinstance(decay, Tensor)):
            decay = float(decay)
        return scalars, (lr, float(group["momentum"]), 1.0 - group["dampening"], decay, group["nesterov"], group["maximize"], fresh)

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        lr, momentum, gain, decay, nesterov, maximize, fresh = h
        g = effective_grad(p, g, maximize, decay)
        if not momentum:
            return (g * lr,)
        b = g if fresh else state[0] * momentum + (g if gain == 1.0 else g * gain)
        return (g + b * momentum if nesterov else b) * lr, b
