"""SparseAdam: refused until there are sparse gradients."""

from __future__ import annotations

from ..tensor import Tensor
from .optimizer import Optimizer, ParamsT

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    """Adam for sparse gradients. rushlight's gradients are dense, for which PyTorch's SparseAdam refuses to work, too."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 maximize: bool = False) -> None:
        raise NotImplementedError("SparseAdam needs sparse gradients, which rushlight does not have: use Adam")
