"""Resilient backpropagation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..kernels.formula import maximum, minimum, sign, where
from ..tensor import Tensor
from .checks import check_lr
from .optimizer import ParamsT
from .pointwise import PointwiseOptimizer, effective_grad

__all__ = ["Rprop"]

_LAYOUT: Any = (("step",), ("prev", "step_size"))


class Rprop(PointwiseOptimizer):
    """Rprop (Riedmiller & Braun, 1993): each element has a step size of its own, which grows (etas[1]) while its gradient keeps its
    sign and shrinks (etas[0]) when it flips, within step_sizes; only the sign of the gradient counts. lr is the first step size.

    foreach makes no difference here; differentiable records the step for autograd.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
                 step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False, foreach: bool | None = None,
                 maximize: bool = False, differentiable: bool = False) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
                                  "differentiable": differentiable, "capturable": capturable})

    def _layout(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return _LAYOUT

    def _initial(self, group: dict[str, Any], name: str) -> float:
        return float(group["lr"]) if name == "step_size" else 0.0

    def _advance(self, group: dict[str, Any], lr: float, scalars: list[float], fresh: bool) -> tuple[Any, ...]:
        (low, high), (least, most) = group["etas"], group["step_sizes"]
        return [scalars[0] + 1.0], (float(low), float(high), float(least), float(most), group["maximize"])

    @staticmethod
    def _rule(h: Sequence[Any], p: Any, g: Any, previous: Any, sizes: Any) -> tuple[Any, ...]:
        low, high, least, most, maximize = h
        g = effective_grad(p, g, maximize, 0.0)
        agreement = g * previous
        flipped = agreement < 0
        sizes = minimum(maximum(where(agreement > 0, sizes * high, where(flipped, sizes * low, sizes)), least), most)
        # Where the sign flipped, this step is left out, and the next one starts afresh.
        previous = where(flipped, 0.0, g)
        return sign(previous) * sizes, previous, sizes
