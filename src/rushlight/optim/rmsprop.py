"""RMSprop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..kernels.formula import sqrt
from ..tensor import Tensor
from .checks import check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

__all__ = ["RMSprop"]

# By (momentum, centered).
_LAYOUTS: dict[Any, Any] = {
    (False, False): (("step",), ("square_avg",)),
    (True, False): (("step",), ("square_avg", "momentum_buffer")),
    (False, True): (("step",), ("square_avg", "grad_avg")),
    (True, True): (("step",), ("square_avg", "momentum_buffer", "grad_avg")),
}


class RMSprop(PointwiseOptimizer):
    """RMSprop (Hinton): p -= lr * g / (sqrt(s) + eps), with s the running mean (of weight alpha) of g*g.

    centered   subtract the square of g's running mean from s: a variance (Graves, 2013)
    momentum   accumulate the normalised gradients: b = momentum * b + g / (sqrt(s) + eps), p -= lr * b
    weight_decay is an L2 penalty; foreach makes no difference here; differentiable records the step for autograd.
    """

    _absent = {**PointwiseOptimizer._absent, "momentum": 0, "centered": False}

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
                 momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
                 maximize: bool = False, differentiable: bool = False) -> None:
        check_lr(lr)
        check_not_negative("epsilon value", eps)
        check_not_negative("momentum value", momentum)
        check_not_negative("weight_decay value", weight_decay)
        check_not_negative("alpha value", alpha)
        super().__init__(params, {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                                  "weight_decay": weight_decay,
                                  "capturable": capturable, "foreach": foreach, "maximize": maximize, "differentiable": differentiable})

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _LAYOUTS[group["momentum"] > 0, bool(group["centered"])]

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        alpha = float(group["alpha"])
        return [scalars[0] + 1.0], (lr, alpha, 1.0 - alpha, float(group["eps"]), float(group["momentum"]), group["centered"],
                                    float(group["weight_decay"]), group["maximize"])

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, s: Any, *more: Any) -> tuple[Any, ...]:
        lr, alpha, gain, eps, momentum, centered, decay, maximize = h
        g = effective_grad(p, g, maximize, decay)
        s = s * alpha + g * gain * g
        new, spread = [s], s
        if centered:
            mean = more[-1]
            mean = mean + (g - mean) * gain
            spread = s - mean * mean
            new.append(mean)
        d = g / (sqrt(spread) + eps)
        if momentum > 0:
            d = more[0] * momentum + d
            new.insert(1, d)
        return d * lr, *new
