"""`ExponentialFamily`: densities exp(t(x) . theta - F(theta) + k(x)); entropy and divergence follow from F by automatic differentiation.

(Nielsen and Nock, Entropies and cross-entropies of exponential families, 2010.)
"""

from __future__ import annotations

from typing import Any

from ..autograd.api import grad
from ..tensor import Tensor
from .distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """Subclasses define `_natural_params` (theta), ``_log_normalizer(*theta)`` (F), and `_mean_carrier_measure` (the mean of k)."""

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """F(theta) - theta . dF/dtheta - E k."""
        result = -self._mean_carrier_measure
        theta = [each.detach().requires_grad_() for each in self._natural_params]
        normalizer = self._log_normalizer(*theta)
        result = normalizer + result
        for each, slope in zip(theta, grad(normalizer.sum(), theta, create_graph=True), strict=True):
            result = result - (each * slope).reshape((*self._batch_shape, -1)).sum(-1)
        return result
