"""RAdam: Adam with a rectified warm-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..kernels.formula import sqrt
from ..tensor import Tensor
from .checks import check_betas, check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

__all__ = ["RAdam"]

_LAYOUT: Any = (("step",), ("exp_avg", "exp_avg_sq"))


class RAdam(PointwiseOptimizer):
    """RAdam (Liu et al., 2020): Adam whose division by sqrt(v) starts only when the variance of v is tractable (rho_t > 5), rectified.

    weight_decay is an L2 penalty, or with decoupled_weight_decay a direct shrinking as in AdamW; foreach makes no difference here;
    differentiable records the step for autograd.
    """

    _absent = {**PointwiseOptimizer._absent, "decoupled_weight_decay": False}

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None, maximize: bool = False,
                 capturable: bool = False, differentiable: bool = False) -> None:
        check_lr(lr)
        check_not_negative("epsilon value", eps)
        check_betas(betas)
        check_not_negative("weight_decay value", weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                                  "foreach": foreach,
                                  "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
                                  "differentiable": differentiable})

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _LAYOUT

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        step = scalars[0] + 1.0
        beta1, beta2 = float(group["betas"][0]), float(group["betas"][1])
        left1, left2 = 1.0 - beta1 ** step, 1.0 - beta2 ** step
        longest = 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * step * beta2 ** step / left2
        size = lr / left1
        rectified = length > 5.0
        if rectified:
            size = size * math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) * math.sqrt(left2)
        return [step], (size, rectified, 1.0 - beta1, beta2, 1.0 - beta2, float(group["eps"]),
                        0.0 if group["decoupled_weight_decay"] else float(group["weight_decay"]),
                        group["maximize"])

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, m: Any, v: Any) -> tuple[Any, ...]:
        size, rectified, gain1, beta2, gain2, eps, decay, maximize = h
        g = effective_grad(p, g, maximize, decay)
        m = m + (g - m) * gain1
        v = v * beta2 + g * gain2 * g
        d = m * size
        return d / (sqrt(v) + eps) if rectified else d, m, v
