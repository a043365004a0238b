"""Parameters that can be given in several forms: probabilities or logits, a matrix by its factor, its inverse, or itself."""

from __future__ import annotations

from typing import Any

from ..nn._torch import torch
from ..tensor import Tensor
from ..vocabulary import Operand, Shape
from .utils import broadcast_all, clamp_probs, lazy_property, logits_to_probs, probs_to_logits

__all__ = ["one_of", "BinaryParameter", "OfCategorical", "MatrixParameter"]


def one_of(probs: Operand | None, logits: Tensor | None) -> str:
    """Which of the two was given; ValueError unless it is exactly one."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return "logits" if probs is None else "probs"


class BinaryParameter:
    """`probs` and `logits` (log odds) of an event: one is given, the other computed when it is needed."""

    def _set_parameter(self, probs: Operand | None, logits: Operand | None) -> Tensor:
        name = one_of(probs, logits)
        value, = broadcast_all(probs if name == "probs" else logits)
        setattr(self, name, value)
        return value

    def _set_with_count(self, total_count: Operand, probs: Operand | None, logits: Tensor | None) -> Tensor:
        name = one_of(probs, logits)
        count, value = broadcast_all(total_count, probs if name == "probs" else logits)
        self.total_count = count.type_as(value)
        setattr(self, name, value)
        return value

    @lazy_property
    def logits(self) -> Tensor:
        """The log odds."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def _param(self) -> Tensor:
        return self.__dict__["probs"] if "probs" in self.__dict__ else self.__dict__["logits"]

    @property
    def param_shape(self) -> Any:
        """The parameter's shape."""
        return self._param.size()

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._param.new(*args, **kwargs)


class ClampedBinaryParameter(BinaryParameter):
    """The same with probabilities away from 0 and 1."""

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))


class OfCategorical:
    """`probs` and `logits` of a distribution that is made of a Categorical."""

    _categorical: Any

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def _param(self) -> Tensor:
        return self._categorical._param

    @property
    def param_shape(self) -> Shape:
        """The parameter's shape."""
        return self._categorical.param_shape

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._categorical._new(*args, **kwargs)


def precision_to_scale_tril(precision: Tensor) -> Tensor:
    """The lower Cholesky factor of a matrix's inverse, without inverting it: factor it from the other end."""
    factor = torch.linalg.cholesky(torch.flip(precision, (-2, -1)))
    upper = torch.flip(factor, (-2, -1)).mT
    eye = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return torch.linalg.solve_triangular(upper, eye, upper=False)


class MatrixParameter:
    """A covariance matrix, its inverse `precision_matrix`, and its lower Cholesky factor `scale_tril`: one is given.

    `_unbroadcasted_scale_tril` is the factor with the batch shape that the given matrix had.
    """

    _unbroadcasted_scale_tril: Tensor
    _batch_shape: Any
    _event_shape: Any

    def _factor(self, covariance_matrix: Tensor | None, precision_matrix: Tensor | None, scale_tril: Tensor | None) -> Tensor:
        if scale_tril is not None:
            return scale_tril
        return precision_to_scale_tril(precision_matrix) if covariance_matrix is None else torch.linalg.cholesky(covariance_matrix)

    def _in_batch(self, matrix: Tensor) -> Tensor:
        return matrix.expand((*self._batch_shape, *matrix.shape[-2:]))

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor."""
        return self._in_batch(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The matrix itself."""
        return self._in_batch(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse."""
        factor = self._unbroadcasted_scale_tril
        inverse = torch.linalg.solve_triangular(factor, torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device), upper=False)
        return self._in_batch(inverse.mT @ inverse)
