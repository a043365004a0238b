"""Muon: momentum, orthogonalised."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from ..homes import settle
from ..tensor import Tensor, wrap
from ..vocabulary import Array
from .optimizer import Optimizer, ParamsT

__all__ = ["Muon"]


def _bfloat16(array: Array) -> Array:
    """A float32 array (of one dimension at least) rounded to nearest even in the precision of bfloat16."""
    whole = np.ascontiguousarray(array, np.float32) if isinstance(array, (np.ndarray, np.generic)) else array.astype(np.float32, "C")
    bits = (whole if whole.ndim else whole.reshape(1)).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def orthogonalize(matrix: Array, coefficients: tuple[float, float, float], steps: int, eps: float) -> Array:
    """The nearest (semi-)orthogonal matrix, roughly: the quintic Newton-Schulz iteration X <- a X + (b G + c G G) X with G = X X'.

    It runs with bfloat16's precision, as PyTorch does: the singular values come out near 1, which is all Muon asks for.
    """
    a, b, c = coefficients
    x = _bfloat16(matrix)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = _bfloat16(x / max(float(_bfloat16(np.sqrt(np.sum(x * x)))[0]), eps))
    for _ in range(steps):
        gram = _bfloat16(x @ x.T)
        x = _bfloat16(a * x + _bfloat16(b * gram + c * (gram @ gram)) @ x)
    return x.T if tall else x


class Muon(Optimizer):
    """Muon (Jordan, 2024) for matrices: the momentum of the gradient, orthogonalised by Newton-Schulz iterations, with decoupled
    weight decay.

    adjust_lr_fn  how the step depends on the shape (A, B): "original" (or None) sqrt(max(1, A / B)), "match_rms_adamw" 0.2 sqrt(max(A, B))
    """

    def __init__(self, params: ParamsT, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95, nesterov: bool = True,
                 ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315), eps: float = 1e-7, ns_steps: int = 5,
                 adjust_lr_fn: str | None = None) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for what, value in (("Learning rate", lr), ("momentum", momentum), ("weight decay", weight_decay)):
            if not value >= 0.0:
                raise ValueError(f"{what} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
                                  "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters; returns what the closure, if given, returns."""
        loss = self._loss(closure)
        for group in self.param_groups:
            if group["ns_steps"] >= 100:
                raise ValueError("Number of steps must be less than 100 for computational efficiency")
            if len(group["ns_coefficients"]) != 3:
                raise ValueError("Coefficients must be a tuple of exactly 3 values")
            for p in group["params"]:
                if p._grad is not None:
                    if p._kind.is_complex:
                        raise RuntimeError("Muon does not support complex parameters")
                    self._update(group, p)
                    p._ver += 1
        return loss

    def _update(self, group: dict[str, Any], p: Tensor) -> None:
        a, g = p._a, p._grad._a
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = wrap(np.zeros_like(g), p._kind)
        buffer, momentum, lr = state["momentum_buffer"]._a, group["momentum"], float(group["lr"])
        buffer += (g - buffer) * (1.0 - momentum)
        direction = g + (buffer - g) * momentum if group["nesterov"] else buffer
        update = orthogonalize(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = a.shape
        ratio = 0.2 * sqrt(max(rows, columns)) if group["adjust_lr_fn"] == "match_rms_adamw" else sqrt(max(1.0, rows / columns))
        a *= 1.0 - lr * group["weight_decay"]
        a -= (update * (lr * ratio)).astype(a.dtype, copy=False)

settle("optim", globals())
