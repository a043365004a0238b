"""p-norm distances between rows of matrices, and their gradients."""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import Any

import numpy as np

from ..vocabulary import Array
from .door import kernel

__all__ = ["between", "between_slope", "pairs", "pairs_slope"]


def _norm(d: Any, p: float) -> Any:
    """The p-norm over the last dimension."""
    size = np.abs(d)
    if p == 0:
        return np.add.reduce((d != 0).astype(d.dtype), axis=-1)
    if p == inf:
        return np.maximum.reduce(size, axis=-1) if d.shape[-1] else np.add.reduce(size, axis=-1)
    if p == 1:
        return np.add.reduce(size, axis=-1)
    return np.sqrt(np.add.reduce(d * d, axis=-1)) if p == 2 else np.add.reduce(size ** p, axis=-1) ** (1.0 / p)


def _slope(g: Any, d: Any, p: float, r: Any) -> Any:
    """g times the slope of the norm r by each difference; nothing where that has none."""
    g, r = g[..., None], r[..., None]
    if p == 0:
        return np.zeros_like(d)
    if p == 1:
        return np.sign(d) * g
    if p == inf:
        return np.where((np.abs(d) == r) | (d != d), np.sign(d), d.dtype.type(0)) * g
    safe = np.where(r == 0, d.dtype.type(1), r)
    if p == 2:
        return d * np.where(r == 0, d.dtype.type(0), g / safe)
    size = np.where(d == 0, d.dtype.type(1), np.abs(d))
    return np.where((r == 0) | (d == 0), d.dtype.type(0), np.sign(d) * size ** (p - 1)) * (g / safe ** (p - 1))


@kernel
def between(a: Array, b: Array, p: float) -> Array:
    """The distances (..., P, R) of the rows of (..., P, M) and (..., R, M)."""
    if p == 2 and 0 < a.shape[-1] <= 16:        # for many rows what lies between would be large
        squares = 0
        for k in range(a.shape[-1]):
            squares = squares + np.square(a[..., :, None, k] - b[..., None, :, k])
        return np.sqrt(squares)
    return _norm(a[..., :, None, :] - b[..., None, :, :], p)


@kernel
def between_slope(g: Array, a: Array, b: Array, p: float, r: Array) -> tuple[Any, Any]:
    """The gradients of both, given that of the distances r."""
    each = _slope(g, a[..., :, None, :] - b[..., None, :, :], p, r)
    return np.add.reduce(each, axis=-2), -np.add.reduce(each, axis=-3)


@lru_cache(maxsize=8)
def _upper(n: int) -> tuple[Any, Any]:
    return np.triu_indices(n, 1)


@kernel
def pairs(a: Array, p: float) -> Array:
    """The distances of the pairs of rows i < j of a matrix."""
    rows, columns = _upper(a.shape[0])
    return _norm(a[rows] - a[columns], p)


@kernel
def pairs_slope(g: Array, a: Array, p: float, r: Array) -> Array:
    """The gradient of the matrix, given that of the distances r."""
    rows, columns = _upper(a.shape[0])
    each = _slope(g, a[rows] - a[columns], p, r)
    out = np.zeros_like(a)
    np.add.at(out, rows, each)
    np.subtract.at(out, columns, each)
    return out
