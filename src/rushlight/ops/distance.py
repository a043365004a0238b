"""Distances between rows: cdist and pdist."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .define import op
from .reduction import _vector_norm

__all__ = ["pdist"]


def _check_p(p: float, name: str) -> None:
    if p < 0:
        raise RuntimeError(f"{name} only supports non-negative p values")


@op
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The p-norm distances (..., P, R) between the rows of (..., P, M) and of (..., R, M)."""
    if compute_mode not in ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    for t, name in ((x1, "X1"), (x2, "X2")):
        if not t._kind.is_floating:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {t.dtype}")
        if t._a.ndim < 2:
            raise RuntimeError("cdist only supports at least 2D tensors")
    if x1._a.shape[-1] != x2._a.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1._a.shape[-1]} X2: {x2._a.shape[-1]}")
    _check_p(p, "cdist")
    return _vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), float(p), -1, False)


@op(functional=True)
def pdist(input: Tensor, p: float = 2) -> Tensor:
    """The p-norm distances of all pairs of rows i < j of an (N, M) matrix."""
    if input._a.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input._a.ndim}D")
    if not input._kind.is_floating:
        raise RuntimeError("pdist only supports floating-point dtypes")
    _check_p(p, "pdist")
    rows, columns = np.triu_indices(input._a.shape[0], 1)
    int64: Any = input._kind.int64
    first, second = input.index_select(0, wrap(rows.astype(np.int64), int64)), input.index_select(0, wrap(columns.astype(np.int64), int64))
    return _vector_norm(first - second, inf if p == inf else float(p), -1, False)
