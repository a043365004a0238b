"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import float64, get_default_dtype
from ..kernels.formula import sqrt
from ..tensor import Tensor
from .checks import check_betas, check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

__all__ = ["NAdam"]

_LAYOUT: Any = (("step", "mu_product"), ("exp_avg", "exp_avg_sq"))


def _rounded_product(a: Any, b: float) -> Any:
    """a * b in the precision that mu_product is kept in (a is a tensor where it is part of a graph)."""
    if isinstance(a, Tensor):
        return a * b
    return a * b if get_default_dtype() is float64 else float(np.float32(a) * np.float32(b))


class NAdam(PointwiseOptimizer):
    """NAdam (Dozat, 2016): Adam that looks one momentum step ahead; the momentum follows
    mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2).

    weight_decay is an L2 penalty, or with decoupled_weight_decay a direct shrinking as in AdamW; foreach makes no difference here;
    differentiable records the step for autograd.
    """

    _absent = {**PointwiseOptimizer._absent, "decoupled_weight_decay": False}

    def __init__(self, params: ParamsT, lr: float | Tensor = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False) -> None:
        check_lr(lr)
        check_not_negative("epsilon value", eps)
        check_betas(betas)
        check_not_negative("weight_decay value", weight_decay)
        check_not_negative("momentum_decay value", momentum_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
                                  "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
                                  "capturable": capturable, "differentiable": differentiable})

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _LAYOUT

    def _initial(self, group: dict[str, Any], name: str) -> float:
        return 1.0 if name == "mu_product" else 0.0

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        step, product = scalars[0] + 1.0, scalars[1]
        beta1, beta2 = float(group["betas"][0]), float(group["betas"][1])
        rate = group["momentum_decay"]
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * rate))
        ahead = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1.0) * rate))
        product = _rounded_product(product, mu)
        return [step, product], (lr * ((1.0 - mu) / (1.0 - product)), lr * (ahead / (1.0 - product * ahead)), 1.0 - beta1, beta2,
                                 1.0 - beta2,
                                 1.0 / (1.0 - beta2 ** step), float(group["eps"]),
                                 0.0 if group["decoupled_weight_decay"] else float(group["weight_decay"]),
                        group["maximize"])

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, m: Any, v: Any) -> tuple[Any, ...]:
        size_g, size_m, gain1, beta2, gain2, correction, eps, decay, maximize = h
        g = effective_grad(p, g, maximize, decay)
        m = m + (g - m) * gain1
        v = v * beta2 + g * gain2 * g
        return (g * size_g + m * size_m) / (sqrt(v * correction) + eps), m, v
