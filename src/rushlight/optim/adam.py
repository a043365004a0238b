"""Adam, and with decoupled weight decay AdamW."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..kernels.formula import maximum, sqrt
from ..tensor import Tensor
from ..vocabulary import Operand
from .checks import check_betas, check_fused, check_lr, check_not_negative
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

__all__ = ["Adam"]

_PLAIN: Any = (("step",), ("exp_avg", "exp_avg_sq"))
_AMSGRAD: Any = (("step",), ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"))


def check_tensor_options(lr: Operand, betas: tuple[Any, ...], foreach: bool | None, capturable: bool) -> None:
    """ValueError for combinations of tensor options that PyTorch refuses."""
    if isinstance(lr, Tensor) and foreach and not capturable:
        raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
    if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
        raise ValueError("betas must be either both floats or both Tensors")
    for index in (0, 1):
        if isinstance(betas[index], Tensor):
            if foreach and not capturable:
                raise ValueError(f"betas[{index}] as a Tensor is not supported for capturable=False and foreach=True")
            if betas[index].numel() != 1:
                raise ValueError(f"Tensor betas[{index}] must be 1-element")


class Adam(PointwiseOptimizer):
    """Adam (Kingma & Ba, 2015): p -= lr * m' / (sqrt(v') + eps), with the bias-corrected running means m' of g and v' of g*g.

    amsgrad                  divide by the largest v so far (Reddi et al., 2018)
    weight_decay             an L2 penalty in the gradient; with decoupled_weight_decay, p shrinks by lr * weight_decay * p instead
    foreach, fused           which of its loops PyTorch takes; all of them are the one blocked step here
    differentiable           record the step for autograd
    """

    _decoupled = False

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-3, betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
                 capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
                 decoupled_weight_decay: bool = False) -> None:
        check_tensor_options(lr, betas, foreach, capturable)
        check_lr(lr)
        check_not_negative("epsilon value", eps)
        check_betas(betas)
        check_not_negative("weight_decay value", weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                                  "maximize": maximize,
                                  "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
                                  "decoupled_weight_decay": decoupled_weight_decay})
        check_fused(self, fused, foreach, differentiable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("amsgrad", False)
            group.setdefault("decoupled_weight_decay", self._decoupled)

    _sparse_name, _sparse_hint = "Adam", ", please consider SparseAdam instead"

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _AMSGRAD if group["amsgrad"] else _PLAIN

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        step = scalars[0] + 1.0
        beta1, beta2 = group["betas"]
        beta1, beta2 = float(beta1), float(beta2)
        root = math.sqrt(1.0 - beta2 ** step)
        # m / bias1 / (sqrt(v) / root + eps), multiplied out
        return [step], (lr * (root / (1.0 - beta1 ** step)), 1.0 - beta1, beta2, 1.0 - beta2, float(group["eps"]) * root,
                        0.0 if group["decoupled_weight_decay"] else float(group["weight_decay"]), group["maximize"])

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, m: Any, v: Any, *largest: Any) -> tuple[Any, ...]:
        size, gain1, beta2, gain2, eps, decay, maximize = h
        g = effective_grad(p, g, maximize, decay)
        m = m + (g - m) * gain1
        v = v * beta2 + g * gain2 * g
        if not largest:
            return m / (sqrt(v) + eps) * size, m, v
        top = maximum(largest[0], v)
        return m / (sqrt(top) + eps) * size, m, v, top
