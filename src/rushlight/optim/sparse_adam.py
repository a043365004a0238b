"""Adam for sparse gradients."""

from __future__ import annotations

from typing import Any

from ..autograd.grad_mode import no_grad
from ..tensor import Tensor
from .optimizer import Optimizer, ParamsT

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    """Adam (Kingma & Ba, 2015) for the sparse gradients of embeddings: only the rows that have a gradient are updated, and only their
    moments move ("lazy" Adam); the bias correction counts all steps.

    maximize  climb instead of descend
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 maximize: bool = False) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for index, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {index}: {beta}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        sparse = [[i, j] for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"]) if p._kind.sparse]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        complex_ = [[i, j] for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"]) if p.is_complex()]
        if complex_:
            raise ValueError(f"Complex params at indices {complex_}: SparseAdam does not support complex parameters")

    def step(self, closure: Any = None) -> Any:
        """One update of all parameters; returns what the closure, if given, returns."""
        loss = self._loss(closure)
        used = [(group, p) for group in self.param_groups for p in group["params"] if p._grad is not None]
        if any(not p._grad._kind.sparse for _, p in used):
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
        with no_grad():
            for group, p in used:
                self._update(group, p, self.state[p])
        return loss

    @staticmethod
    def _update(group: dict[str, Any], p: Tensor, state: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["exp_avg"] = p.detach().new_zeros(p.shape)
            state["exp_avg_sq"] = p.detach().new_zeros(p.shape)
        state["step"] += 1
        grad = p._grad.coalesce()
        if not grad._nnz():
            return
        at, g = tuple(grad.indices()), -grad.values() if group["maximize"] else grad.values()
        beta1, beta2 = group["betas"]
        first = state["exp_avg"][at]
        first = first + (g - first) * (1 - beta1)
        second = state["exp_avg_sq"][at]
        second = second + (g * g - second) * (1 - beta2)
        state["exp_avg"][at], state["exp_avg_sq"][at] = first, second
        step = state["step"]
        size = float(group["lr"]) * (1 - beta2 ** step) ** 0.5 / (1 - beta1 ** step)
        p[at] -= size * first / (second.sqrt() + group["eps"])
