"""Divergences of multivariate normal distributions, with full covariance matrices and with those of low rank plus a diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..nn._torch import torch
from ..tensor import Tensor
from .kl import register_kl
from .lowrank_multivariate_normal import LowRankMultivariateNormal, _batch_lowrank_logdet, _batch_lowrank_mahalanobis, _weighted
from .multivariate_normal import MultivariateNormal, _batch_mahalanobis

if TYPE_CHECKING:
    from ..distributions.distribution import Distribution

__all__: list[str] = []


def _same_events(p: Distribution, q: Distribution, what: str) -> int:
    if p.event_shape != q.event_shape:
        raise ValueError(f"KL-divergence between two {what} with different event shapes cannot be computed")
    return p.event_shape[0]


def _square_sum(matrix: Tensor) -> Tensor:
    """trace(M M^T)."""
    return matrix.pow(2).sum((-2, -1))


def _log_det(factor: Tensor) -> Tensor:
    """log det(L L^T)."""
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    """L^-1 R in broadcast batches."""
    batch = torch.broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    return torch.linalg.solve_triangular(factor.expand((*batch, *factor.shape[-2:])), right.expand((*batch, *right.shape[-2:])),
                                         upper=False)


@register_kl(MultivariateNormal, MultivariateNormal)
def _kl_mvn_mvn(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    n = _same_events(p, q, "Multivariate Normals")
    lp, lq = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    return 0.5 * (_log_det(lq) - _log_det(lp) + _square_sum(_solve(lq, lp)) + _batch_mahalanobis(lq, q.loc - p.loc) - n)


def _log_det_low(d: Any) -> Tensor:
    return _batch_lowrank_logdet(d._unbroadcasted_cov_diag, d._capacitance_tril)


def _distance_low(q: Any, p: Any) -> Tensor:
    return _batch_lowrank_mahalanobis(q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag, q.loc - p.loc, q._capacitance_tril)


def _correction(q: Any) -> Tensor:
    """A with covariance_q^-1 = D^-1 - A^T A."""
    return torch.linalg.solve_triangular(q._capacitance_tril, _weighted(q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag),
                                         upper=False)


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _kl_low_low(p: LowRankMultivariateNormal, q: LowRankMultivariateNormal) -> Tensor:
    n = _same_events(p, q, "Low Rank Multivariate Normals")
    a, wp, dp, dq = _correction(q), p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag, q._unbroadcasted_cov_diag
    trace = ((dp / dq).sum(-1) + _square_sum(wp * dq.rsqrt().unsqueeze(-1)) - _square_sum(a * dp.sqrt().unsqueeze(-2)) -
             _square_sum(a @ wp))
    return 0.5 * (_log_det_low(q) - _log_det_low(p) + trace + _distance_low(q, p) - n)


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _kl_mvn_low(p: MultivariateNormal, q: LowRankMultivariateNormal) -> Tensor:
    n = _same_events(p, q, "(Low Rank) Multivariate Normals")
    lp = p._unbroadcasted_scale_tril
    trace = _square_sum(lp * q._unbroadcasted_cov_diag.rsqrt().unsqueeze(-1)) - _square_sum(_correction(q) @ lp)
    return 0.5 * (_log_det_low(q) - _log_det(lp) + trace + _distance_low(q, p) - n)


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _kl_low_mvn(p: LowRankMultivariateNormal, q: MultivariateNormal) -> Tensor:
    n = _same_events(p, q, "(Low Rank) Multivariate Normals")
    lq = q._unbroadcasted_scale_tril
    trace = (_square_sum(_solve(lq, p._unbroadcasted_cov_factor)) +
             _square_sum(_solve(lq, torch.diag_embed(p._unbroadcasted_cov_diag.sqrt()))))
    return 0.5 * (_log_det(lq) - _log_det_low(p) + trace + _batch_mahalanobis(lq, q.loc - p.loc) - n)
