"""Adagrad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..kernels.formula import sqrt
from ..tensor import Tensor
from .checks import check_fused, check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

if TYPE_CHECKING:
    from ..sparse.tensor import SparseTensor

__all__ = ["Adagrad"]

_LAYOUT: Any = (("step",), ("sum",))


class Adagrad(PointwiseOptimizer):
    """Adagrad (Duchi et al., 2011): p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps), with the sum of all g*g so far.

    The state exists from the start, with initial_accumulator_value in the sum. weight_decay is an L2 penalty; foreach and fused make
    no difference here; differentiable records the step for autograd.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, fused: bool | None = None) -> None:
        check_lr(lr)
        check_not_negative("lr_decay value", lr_decay)
        check_not_negative("weight_decay value", weight_decay)
        check_not_negative("initial_accumulator_value value", initial_accumulator_value)
        check_not_negative("epsilon value", eps)
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                                  "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
                                  "differentiable": differentiable, "fused": fused})
        check_fused(self, fused, foreach, differentiable)
        for group in self.param_groups:
            for p in group["params"]:
                self._make_state(group, p)

    def share_memory(self) -> None:
        """Move the state to memory that other processes see."""
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["sum"].share_memory_()

    def _check_sparse(self, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")

    def _step_sparse(self, group: dict[str, Any], p: Tensor, grad: SparseTensor) -> None:
        self._make_state(group, p)
        state = self.state[p]
        state["step"] += 1
        size = float(group["lr"]) / (1.0 + (float(state["step"]) - 1.0) * group["lr_decay"])
        grad = grad.coalesce()
        at, g = tuple(grad.indices()), -grad.values() if group["maximize"] else grad.values()
        total = state["sum"][at] + g * g
        state["sum"][at] = total
        p[at] -= size * (g / (total.sqrt() + group["eps"]))

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _LAYOUT

    def _initial(self, group: dict[str, Any], name: str) -> float:
        return float(group["initial_accumulator_value"]) if name == "sum" else 0.0

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        step = scalars[0] + 1.0
        return [step], (lr / (1.0 + (step - 1.0) * group["lr_decay"]), float(group["eps"]), float(group["weight_decay"]), group["maximize"])

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, total: Any) -> tuple[Any, ...]:
        size, eps, decay, maximize = h
        g = effective_grad(p, g, maximize, decay)
        total = total + g * g
        return g / (sqrt(total) + eps) * size, total
