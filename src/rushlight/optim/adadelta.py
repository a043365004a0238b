"""Adadelta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..kernels.formula import sqrt
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

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        rho = float(group["rho"])
        return [scalars[0] + 1.0], (lr, rho, 1.0 - rho, float(group["eps"]), float(group["weight_decay"]), group["maximize"])

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, s: Any, a: Any) -> tuple[Any, ...]:
        lr, rho, gain, eps, decay, maximize = h
        g = effective_grad(p, g, maximize, decay)
        s = s * rho + g * gain * g
        d = sqrt(a + eps) / sqrt(s + eps) * g
        return d * lr, s, a * rho + d * gain * d
