"""``torch.functional``: functions of ``torch`` under their older address."""

from __future__ import annotations

from typing import Any

from .nn._torch import torch

_NAMES = ("atleast_1d", "atleast_2d", "atleast_3d", "align_tensors", "broadcast_shapes", "broadcast_tensors", "cartesian_prod",
          "block_diag", "cdist", "chain_matmul", "einsum", "istft", "lu", "norm", "meshgrid", "split", "stft", "tensordot", "unique",
          "unique_consecutive", "unravel_index")
__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(torch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
