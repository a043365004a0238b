"""Adafactor."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from ..dtypes import finfo
from ..homes import settle
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Number
from .optimizer import Optimizer, ParamsT
from .pointwise import _new_scalar, _number

__all__ = ["Adafactor"]


def _require(ok: bool, what: str, value: Number | None) -> None:
    if not ok:
        raise ValueError(f"{what} but is: {value}")


def _norm(array: Array) -> float:
    flat = array.reshape(-1)
    return sqrt(float(np.dot(flat, flat)))


class Adafactor(Optimizer):
    """Adafactor (Shazeer & Stern, 2018): Adam's second moment kept as the outer product of a row and a column vector for matrices
    (in full for vectors), no first moment, updates clipped to a root mean square of d, and step sizes relative to the parameter's.

    eps = (regulariser of the squared gradient, None: the dtype's epsilon; least relative scale of a parameter). foreach makes no
    difference here.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-2, beta2_decay: float = -0.8,
                 eps: tuple[float | None, float] = (None, 1e-3),
                 d: float = 1.0, weight_decay: float = 0.0, *, foreach: bool | None = None, maximize: bool = False) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        _require(lr >= 0.0, "Learning rate should be >= 0", lr)
        _require(beta2_decay <= 0.0, "beta2_decay should be <= 0", beta2_decay)
        _require(eps[0] is None or eps[0] >= 0.0, "epsilon1 should be >= 0", eps[0])
        _require(eps[1] >= 0.0, "epsilon2 should be >= 0", eps[1])
        _require(d >= 1.0, "Clipping threshold d should be >= 1", d)
        _require(weight_decay >= 0.0, "weight_decay should be >= 0", weight_decay)
        super().__init__(params, {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
                                  "foreach": foreach,
                                  "maximize": maximize})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters; returns what the closure, if given, returns."""
        loss = self._loss(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p._kind.is_complex:
                    raise RuntimeError("Adafactor does not support complex parameters")
            for p in group["params"]:
                if p._grad is not None:
                    self._update(group, p, self._state(p))
                    p._ver += 1
        return loss

    def _state(self, p: Tensor) -> dict[str, Any]:
        state = self.state[p]
        if not state:
            zeros = p._kind.xp.zeros
            shape, kind = p._a.shape, p._kind
            state["step"] = _new_scalar(0.0)
            if len(shape) > 1:
                state["row_var"] = wrap(zeros((*shape[:-1], 1), kind.np), kind)
                state["col_var"] = wrap(zeros((*shape[:-2], 1, shape[-1]), kind.np), kind)
            else:
                state["variance"] = wrap(zeros(shape, kind.np), kind)
        elif not isinstance(state["step"], Tensor):
            state["step"] = _new_scalar(state["step"])
        return state

    def _update(self, group: dict[str, Any], p: Tensor, state: dict[str, Any]) -> None:
        a, g = p._a, p._grad._a
        if group["maximize"]:
            g = -g
        state["step"]._a += 1
        step, lr = _number(state["step"]), float(group["lr"])
        small, least = group["eps"]
        if small is None:
            small = finfo(p.dtype).eps
        fresh = step ** group["beta2_decay"]            # the weight of the new squared gradient
        size = max(least, _norm(a) / sqrt(max(a.size, 1))) * min(lr, 1.0 / sqrt(step))
        if group["weight_decay"]:
            a *= 1.0 - lr * group["weight_decay"]
        if g.ndim > 1:
            row, column = state["row_var"]._a, state["col_var"]._a
            squares = g * g
            row += (squares.mean(axis=-1, keepdims=True) - row) * fresh
            column += (squares.mean(axis=-2, keepdims=True) - column) * fresh
            estimate = row @ column
            estimate /= np.maximum(row.mean(axis=-2, keepdims=True), small)
        else:
            variance = state["variance"]._a
            variance += (g * g - variance) * fresh
            estimate = variance.copy()
        np.maximum(estimate, small * small, out=estimate)
        np.sqrt(estimate, estimate)
        update = np.divide(g, estimate, estimate)
        a -= update * (size / max(1.0, _norm(update) / (sqrt(max(update.size, 1)) * group["d"])))

settle("optim", globals())
