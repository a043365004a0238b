"""Distances between rows: cdist and pdist."""

from __future__ import annotations

from math import inf

import numpy as np

from ..autograd.grad_mode import no_grad
from ..kernels import distance as D
from ..kernels import door as M
from ..kernels.arrays import as_array
from ..kernels.shapes import broadcast_shapes
from ..tensor import Tensor, wrap
from ..vocabulary import Array
from .errors import title
from .joining import cat
from .public import op
from .record import record

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
    many = x1._a.shape[-2] > _FEW or x2._a.shape[-2] > _FEW
    if p == 2 and (compute_mode == "use_mm_for_euclid_dist" or many
                   and compute_mode == "use_mm_for_euclid_dist_if_necessary") and x1._a.size and x2._a.size:
        if x1._a.shape[-1] > _SHORT or compute_mode == "use_mm_for_euclid_dist":
            return _euclidean(x1, x2)
        return _between(x1, x2, 2.0, "EuclideanDistBackward0")
    return _between(x1, x2, float(p), "CdistBackward0")


def _between(x1: Tensor, x2: Tensor, p: float, node: str) -> Tensor:
    """The distances through the kernels."""
    batch = broadcast_shapes(x1._a.shape[:-2], x2._a.shape[:-2])
    x1, x2 = [x if x._a.shape[:-2] == batch else x.expand(*batch, *x._a.shape[-2:]) for x in (x1, x2)]
    kind = x1._kind
    if kind is not x2._kind:
        raise RuntimeError(f"expected scalar type {title(kind.dtype)} but found {title(x2._kind.dtype)}")
    a, b = (M.widened(x1._a), M.widened(x2._a)) if kind.reduced else (x1._a, x2._a)
    r = wrap(as_array(D.between(a, b, p), kind.np), kind)

    def grad(g: Tensor, x1: Tensor, x2: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        each = _slope(g, x1.unsqueeze(-2) - x2.unsqueeze(-3), p, r)
        return each.sum(-2), -each.sum(-3)

    def arrays(g: Array, a: Array, b: Array, r: Array) -> tuple[Array, Array]:
        return D.between_slope(g, a, b, p, r)
    return record(r, node, (x1, x2), grad, (x1, x2, r), None if kind.reduced else arrays)


def _slope(g: Tensor, d: Tensor, p: float, r: Tensor) -> Tensor:
    """g times the slope of the norm r by each difference, from ops; nothing where that has none."""
    g, r = g.unsqueeze(-1), r.unsqueeze(-1)
    if p == 0:
        return d.new_zeros(d._a.shape) * g
    if p == 1:
        return d.sign().where(d == d, d) * g
    if p == inf:
        return (d.sign() * g).masked_fill(d.abs() != r, 0).where(d == d, d)
    if p == 2:
        return d * (g / r).masked_fill(r == 0, 0)
    return (d.sign() * d.abs() ** (p - 1)).masked_fill(d == 0, 0) * (g / r ** (p - 1)).masked_fill(r == 0, 0)


_FEW = 25       # rows from which on PyTorch, too, takes |a|^2 + |b|^2 - 2 a b for the square of |a - b|, by a product
_SHORT = 16     # up to which length of rows the differences themselves cost less


def _euclidean(x1: Tensor, x2: Tensor) -> Tensor:
    """Euclidean distances by one product of matrices, in which the squares are two more columns."""
    batch = broadcast_shapes(x1._a.shape[:-2], x2._a.shape[:-2])
    x1, x2 = [x if x._a.shape[:-2] == batch else x.expand(*batch, *x._a.shape[-2:]) for x in (x1, x2)]
    with no_grad():
        squares = [x.square().sum(-1, True) for x in (x1, x2)]
        one, two = (square.new_ones(square.shape) for square in squares)
        r = cat([x1 * -2, squares[0], one], -1).matmul(cat([x2, two, squares[1]], -1).mT).clamp_min_(0).sqrt_()
    return record(r, "EuclideanDistBackward0", (x1, x2), (_first_gradient, lambda g, x1, x2, r: _first_gradient(g.mT, x2, x1, r.mT)),
                  (x1, x2, r))


def _first_gradient(g: Tensor, x1: Tensor, x2: Tensor, r: Tensor) -> Tensor:
    """(x1 - x2) / r, weighted by g; nothing where the distance is 0."""
    share = (g / r).masked_fill(r == 0, 0)
    return x1 * share.sum(-1, True) - share.matmul(x2)


@op(functional=True)
def pdist(input: Tensor, p: float = 2) -> Tensor:
    """The p-norm distances of all pairs of rows i < j of an (N, M) matrix."""
    if input._a.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input._a.ndim}D")
    if not input._kind.is_floating:
        raise RuntimeError("pdist only supports floating-point dtypes")
    _check_p(p, "pdist")
    kind, p = input._kind, float(p)
    a = M.widened(input._a) if kind.reduced else input._a
    r = wrap(as_array(D.pairs(a, p), kind.np), kind)

    def grad(g: Tensor, x: Tensor, r: Tensor) -> Tensor:
        rows, columns = [wrap(kind.xp.asarray(each), kind.int64) for each in np.triu_indices(x._a.shape[0], 1)]
        each = _slope(g, x.index_select(0, rows) - x.index_select(0, columns), p, r)
        return x.new_zeros(x._a.shape).index_add(0, rows, each).index_add(0, columns, each, alpha=-1)
    return record(r, "PdistBackward0", (input,), grad, (input, r), None if kind.reduced else lambda g, a, r: D.pairs_slope(g, a, p, r))
