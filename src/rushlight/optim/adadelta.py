"""Adadelta."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .checks import check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

__all__ = ["Adadelta"]

_LAYOUT: Any = (("step",), ("square_avg", "acc_delta"))


class Adadelta(PointwiseOptimizer):
    """Adadelta (Zeiler, 2012): d = sqrt(a + eps) / sqrt(s + eps) * g, p -= lr * d, with the running means (weight rho) s of g*g, a of d*d.

    weight_decay is an L2 penalty; foreach makes no difference here; differentiable records the step for autograd.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
                 foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False, differentiable: bool = False) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative("epsilon value", eps)
        check_not_negative("weight_decay value", weight_decay)
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                                  "capturable": capturable, "foreach": foreach, "differentiable": differentiable})

    def _layout(self, group: dict[str, Any]) -> Any:
        return _LAYOUT

    def _advance(self, group: dict[str, Any], lr: Any, scalars: list[float], fresh: bool) -> Any:
        rho = float(group["rho"])
        return [scalars[0] + 1.0], (lr, rho, 1.0 - rho, float(group["eps"]), float(group["weight_decay"]), group["maximize"])

    @staticmethod
    def _rule(xp: Any, h: Any, t: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        lr, rho, gain, eps, decay, maximize = h
        g = effective_grad(xp, t, p, g, maximize, decay)
        s, a = state
        s = xp.add(xp.multiply(s, rho, s), xp.multiply(xp.multiply(g, gain, t[0]), g, t[0]), s)
        d = xp.sqrt(xp.add(a, eps, t[0]), t[0])
        d = xp.divide(d, xp.sqrt(xp.add(s, eps, t[2]), t[2]), t[0])
        d = xp.multiply(d, g, t[0])
        a = xp.add(xp.multiply(a, rho, a), xp.multiply(xp.multiply(d, gain, t[2]), d, t[2]), a)
        return xp.multiply(d, lr, t[0]), s, a
