"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .checks import check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

__all__ = ["ASGD"]

_LAYOUT: Any = (("step", "eta", "mu"), ("ax",))


class ASGD(PointwiseOptimizer):
    """Averaged SGD (Polyak & Juditsky, 1992): p -= eta * (g + lambd * p), and ``state[p]["ax"]`` averages p from step t0 on.

    eta falls as lr / (1 + lambd * lr * t)^alpha. weight_decay is an L2 penalty; foreach makes no difference here; differentiable
    records the step for autograd.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
                 weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
                 capturable: bool = False) -> None:
        check_lr(lr)
        check_not_negative("weight_decay value", weight_decay)
        super().__init__(params, {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
                                  "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _LAYOUT

    def _initial(self, group: dict[str, Any], name: str) -> float:
        return {"eta": float(group["lr"]), "mu": 1.0}.get(name, 0.0)

    def _reads_param(self, group: dict[str, Any]) -> bool:
        return True

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        step, eta, mu = scalars
        step += 1.0
        lambd = float(group["lambd"])
        next_eta = float(lr) / (1.0 + lambd * float(lr) * step) ** group["alpha"]
        next_mu = 1.0 / max(1.0, step - group["t0"])
        return [step, next_eta, next_mu], (eta, mu, lambd * eta, float(group["weight_decay"]), group["maximize"])

    @staticmethod
    def _rule(h: list[Any], p: Any, g: Any, ax: Any) -> tuple[Any, ...]:
        eta, mu, shrink, decay, maximize = h
        g = effective_grad(p, g, maximize, decay)
        d = g * eta + p * shrink
        moved = p - d
        return d, moved if mu == 1.0 else ax + (moved - ax) * mu
