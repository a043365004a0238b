"""Adamax: Adam with the infinity norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..kernels.formula import absolute, maximum
from ..tensor import Tensor
from .checks import check_betas, check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

__all__ = ["Adamax"]

_LAYOUT: Any = (("step",), ("exp_avg", "exp_inf"))


class Adamax(PointwiseOptimizer):
    """Adamax (Kingma & Ba, 2015): p -= lr / (1 - beta1^t) * m / u, with m the running mean of g and u = max(beta2 * u, |g| + eps).

    weight_decay is an L2 penalty; foreach makes no difference here; differentiable records the step for autograd.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
                 capturable: bool = False) -> None:
        check_lr(lr)
        check_not_negative("epsilon value", eps)
        check_betas(betas)
        check_not_negative("weight_decay value", weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
                                  "maximize": maximize,
                                  "differentiable": differentiable, "capturable": capturable})

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _LAYOUT

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        step = scalars[0] + 1.0
        beta1, beta2 = float(group["betas"][0]), float(group["betas"][1])
        return [step], (lr / (1.0 - beta1 ** step), 1.0 - beta1, beta2, float(group["eps"]), float(group["weight_decay"]),
                        group["maximize"])

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, m: Any, u: Any) -> tuple[Any, ...]:
        size, gain1, beta2, eps, decay, maximize = h
        g = effective_grad(p, g, maximize, decay)
        m = m + (g - m) * gain1
        u = maximum(u * beta2, absolute(g) + eps)
        return m / u * size, m, u
