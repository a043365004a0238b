"""Transforms of vectors and matrices, and those that are made of others along a dimension. Public through `transforms`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from ..homes import settle
from ..nn._torch import torch
from ..size import Size
from ..tensor import Tensor
from ..vocabulary import Shape
from . import constraints
from .transforms import Transform, _at_least, _inside, _Simple, _softplus
from .utils import _sum_rightmost, lazy_property, tril_matrix_to_vec, vec_to_tril_matrix

if TYPE_CHECKING:
    from ..distributions.constraints import Constraint

__all__ = ["CorrCholeskyTransform", "SoftmaxTransform", "StickBreakingTransform", "LowerCholeskyTransform", "PositiveDefiniteTransform",
           "CatTransform", "StackTransform"]


def _shifted(products: Tensor) -> Tensor:
    """A running product with 1 in front, without its last element."""
    return torch.nn.functional.pad(products[..., :-1], [1, 0], value=1)


class CorrCholeskyTransform(Transform):
    """Vectors of n (n - 1) / 2 numbers to Cholesky factors of n x n correlation matrices.

    Each row is made from signed stick breaking with tanh of the numbers (Lewandowski, Kurowicka and Joe, 2009; as in Stan's manual).
    """

    domain, codomain, bijective = constraints.real_vector, constraints.corr_cholesky, True

    def _call(self, x: Tensor) -> Tensor:
        x = torch.tanh(x)
        eps = torch.finfo(x.dtype).eps
        r = vec_to_tril_matrix(x.clamp(min=-1 + eps, max=1 - eps), diag=-1)
        rest = (1 - r ** 2).sqrt().cumprod(-1)
        r = r + torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
        return r * _shifted(rest)

    def _inverse(self, y: Tensor) -> Tensor:
        rest = _shifted(1 - torch.cumsum(y * y, dim=-1))
        t = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(rest, diag=-1).sqrt()
        return (t.log1p() - t.neg().log1p()) / 2

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor, intermediates: Any = None) -> Tensor:
        rest = tril_matrix_to_vec(1 - (y * y).cumsum(dim=-1), diag=-2)
        return 0.5 * rest.log().sum(-1) - 2 * (x + _softplus(-2 * x) - math.log(2.0)).sum(dim=-1)

    def forward_shape(self, shape: Sequence[int]) -> Shape:
        _at_least(len(shape), 1)
        n = round((0.25 + 2 * shape[-1]) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != shape[-1]:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return Size((*shape[:-1], n, n))

    def inverse_shape(self, shape: Sequence[int]) -> Any:
        _at_least(len(shape), 2)
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return Size((*shape[:-2], shape[-1] * (shape[-1] - 1) // 2))


class SoftmaxTransform(_Simple):
    """Vectors to points of the simplex by softmax; not one to one."""

    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        weights = (x - x.max(-1, True)[0]).exp()
        return weights / weights.sum(-1, True)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def forward_shape(self, shape: Sequence[int]) -> Any:
        _at_least(len(shape), 1)
        return shape

    inverse_shape = forward_shape


class StickBreakingTransform(_Simple):
    """Vectors of n numbers to points of the simplex in n + 1 dimensions, one to one: each number takes a share of what is left."""

    domain, codomain, bijective = constraints.real_vector, constraints.simplex, True

    @staticmethod
    def _log_offset(x: Tensor, n: int, first: int) -> Tensor:
        return (first - x.new_ones(n).cumsum(-1)).log()

    def _call(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        z = _inside(torch.sigmoid(x - self._log_offset(x, n, n + 1)))
        pad = torch.nn.functional.pad
        return pad(z, [0, 1], value=1) * pad((1 - z).cumprod(-1), [1, 0], value=1)

    def _inverse(self, y: Tensor) -> Tensor:
        shares = y[..., :-1]
        left = (1 - shares.cumsum(-1)).clamp(min=torch.finfo(y.dtype).tiny)
        return shares.log() - left.log() + self._log_offset(y, shares.shape[-1], y.shape[-1])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        n = x.shape[-1]
        x = x - self._log_offset(x, n, n + 1)
        return (-x + torch.nn.functional.logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Sequence[int]) -> Shape:
        _at_least(len(shape), 1)
        return Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: Sequence[int]) -> Any:
        _at_least(len(shape), 1)
        return Size((*shape[:-1], shape[-1] - 1))


class LowerCholeskyTransform(_Simple):
    """Matrices to lower triangular ones with a positive diagonal."""

    domain, codomain = constraints.independent(constraints.real, 2), constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(_Simple):
    """Matrices to positive definite ones."""

    domain, codomain = constraints.independent(constraints.real, 2), constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        x = LowerCholeskyTransform()(x)
        return x @ x.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inv(torch.linalg.cholesky(y))


class _Parts(Transform):
    """Transforms along one dimension."""

    def __init__(self, tseq: Sequence[Transform], dim: int, cache_size: int) -> None:
        assert all(isinstance(each, Transform) for each in tseq), "All elements of tseq must be Transform instances"
        super().__init__(cache_size)
        self.transforms = [each.with_cache(cache_size) for each in tseq] if cache_size else list(tseq)
        self.dim = dim

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        return all(each.bijective for each in self.transforms)

    def _split(self, value: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def _check(self, value: Tensor, length: int) -> None:
        assert -value.dim() <= self.dim < value.dim(), f"dim {self.dim} out of range for tensor with {value.dim()} dimensions"
        assert value.size(self.dim) == length, f"size {value.size(self.dim)} of dimension {self.dim} must equal {length}"

    def _apply(self, join: Callable[..., Tensor], functions: list[Any], value: Tensor) -> Tensor:
        return join([function(part) for function, part in zip(functions, self._split(value), strict=True)], dim=self.dim)


class CatTransform(_Parts):
    """Transforms for consecutive parts, of the given lengths, of a dimension."""

    _arguments = ("transforms", "dim", "lengths")

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None, cache_size: int = 0) -> None:
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        assert len(self.lengths) == len(self.transforms), f"lengths ({len(self.lengths)}) must match transforms ({len(self.transforms)})"

    @lazy_property
    def event_dim(self) -> int:  # type: ignore[override]
        return max(each.event_dim for each in self.transforms)

    @lazy_property
    def length(self) -> int:
        return sum(self.lengths)

    def _split(self, value: Tensor) -> list[Tensor]:
        self._check(value, self.length)
        return list(value.split(self.lengths, self.dim))

    def _call(self, x: Tensor) -> Tensor:
        return self._apply(torch.cat, self.transforms, x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._apply(torch.cat, [each.inv for each in self.transforms], y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        terms = [_sum_rightmost(each.log_abs_det_jacobian(before, after), self.event_dim - each.event_dim)
                 for each, before, after in zip(self.transforms, self._split(x), self._split(y), strict=True)]
        dim = (self.dim - x.dim() if self.dim >= 0 else self.dim) + self.event_dim
        return torch.cat(terms, dim=dim) if dim < 0 else reduce(add, terms)

    @constraints.dependent_property
    def domain(self) -> Constraint:
        return constraints.cat([each.domain for each in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self) -> Constraint:
        return constraints.cat([each.codomain for each in self.transforms], self.dim, self.lengths)


class StackTransform(_Parts):
    """A transform for each index of a dimension."""

    _arguments = ("transforms", "dim")

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(tseq, dim, cache_size)

    def _split(self, value: Tensor) -> list[Tensor]:
        self._check(value, len(self.transforms))
        return list(value.unbind(self.dim))

    def _call(self, x: Tensor) -> Tensor:
        return self._apply(torch.stack, self.transforms, x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._apply(torch.stack, [each.inv for each in self.transforms], y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([each.log_abs_det_jacobian(before, after)
                            for each, before, after in zip(self.transforms, self._split(x), self._split(y), strict=True)], dim=self.dim)

    @constraints.dependent_property
    def domain(self) -> Constraint:
        return constraints.stack([each.domain for each in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self) -> Constraint:
        return constraints.stack([each.codomain for each in self.transforms], self.dim)

settle("distributions.transforms", globals())
