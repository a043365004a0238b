"""Sums, norms and softmax of sparse tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor, wrap
from ..vocabulary import Dtype, Operand, PerDim
from .conversion import build, coalesced, expect_coo, index_tensor, link, values_of
from .elementwise import _named
from .patterns import Compressed, Coo, flat_keys, group, without
from .tensor import SparseTensor, rule, unsupported

__all__ = ["log_softmax", "softmax", "sum_"]


def _dims(x: SparseTensor, dim: Operand | PerDim) -> list[int]:
    dims = [wrap_dim(each, x.dim()) for each in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {max(dims, key=dims.count)} appears multiple times in the list of dims")
    return dims


@rule("sum")
def _sum(self: SparseTensor, dim: Operand | None = None, keepdim: bool = False, *, dtype: Dtype = None) -> Tensor:
    """The sum of all elements (dense), or over dimensions: sparse as long as a sparse dimension is left."""
    if dim is None or dim == () or dim == []:
        out = wrap(self.stored, self._kind.dense).sum(dtype=dtype)
        shape, have = self.shape, self.dtype
        return link(out, "SumBackward0", (self,), lambda g: g.to(have).expand(shape))
    if isinstance(self.pattern, Compressed):
        if not keepdim:
            raise RuntimeError("reduction operations on CSR tensors with keepdim=False is unsupported")
        return sum_(self, dim, dtype, True).to_sparse(layout=self.layout)
    return sum_(self, dim, dtype, keepdim)


def sum_(self: SparseTensor, dim: Operand | PerDim | None = None, dtype: Dtype = None, keepdim: bool = False) -> Tensor:
    """``torch.sparse.sum``: the same, with a gradient that has the pattern of the input."""
    if not isinstance(self, SparseTensor):
        expect_coo("coalesce", self)
    if dim is None:
        expect_coo("coalesce", self)
        return values_of(coalesced(self)).sum(dtype=dtype)
    dims = _dims(self, dim)
    pattern, n = self.pattern, self.pattern.sparse_dim
    values = values_of(self)
    if dtype is not None:
        values = values.to(dtype)
    dense = [d - n + 1 for d in dims if d >= n]
    if dense:
        values = values.sum(dense, keepdim=keepdim, dtype=values.dtype)
    gone = [d for d in dims if d < n]
    rest = [1 if d in dims else size for d, size in enumerate(pattern.shape) if d not in dims or keepdim]
    if len(gone) == n and not keepdim:
        return _named(values.sum(0, dtype=values.dtype), "sparse_sum")
    coords = pattern.coords()
    if keepdim:
        coords = coords.copy()
        coords[gone] = 0
    else:
        coords = coords[[d for d in range(n) if d not in gone]]
    r = build(Coo(np.ascontiguousarray(coords, like=coords), tuple(rest), pattern.coalesced and not gone), values)
    return _named(r if r.pattern.coalesced else coalesced(r), "sparse_sum")


@rule("norm")
def norm(self: SparseTensor, p: Operand | str = "fro", dim: int | None = None, keepdim: bool = False, dtype: Dtype = None) -> Tensor:
    """The norm of all elements."""
    if dim not in (None, [], ()) and len(_dims(self, dim)) != self.dim():
        raise RuntimeError("norm_sparse currently only supports full reductions, so 'dim' must either be empty or contain all dimensions "
                           "of the input")
    if isinstance(self.pattern, Compressed):
        raise unsupported("norm", (self,))
    return values_of(coalesced(self)).norm(p if isinstance(p, (int, float)) else 2, dtype=dtype)


@rule("is_nonzero", method=False)
def is_nonzero(input: Any) -> bool:
    """Whether a one-element tensor is not zero."""
    return bool(input)


@rule("any")
def any_(self: SparseTensor, dim: Operand | None = None, keepdim: bool = False) -> Tensor:
    """Whether any element is not zero."""
    if dim is not None or isinstance(self.pattern, Compressed):
        raise unsupported("any", (self,))
    return wrap(self.stored, self._kind.dense).any()


def _groups(x: SparseTensor, dim: int) -> tuple[Any, int]:
    """Which elements lie on one line along a sparse dimension: each element's line, and how many there are."""
    coords = without(x.pattern.coords(), dim)
    shape = tuple(size for d, size in enumerate(x.pattern.shape[:x.pattern.sparse_dim]) if d != dim)
    _, where, count = group(flat_keys(coords, shape))
    return where, count


def _softmax(x: SparseTensor, dim: int, dtype: Any, log: bool) -> SparseTensor:
    name = "log_softmax" if log else "softmax"
    if not isinstance(x, SparseTensor) or not isinstance(x.pattern, Coo):
        backend = x.pattern.backend if isinstance(x, SparseTensor) else "CPU"
        raise NotImplementedError(f"Could not run 'aten::_sparse_{name}' with arguments from the '{backend}' backend: only tensors of "
                                  "layout torch.sparse_coo have it")
    dim = wrap_dim(dim, x.dim())
    if dtype is not None:
        x = x.to(dtype)
    if not x._kind.is_floating:
        raise NotImplementedError(f"\"softmax\" not implemented for '{x.dtype.alias.capitalize() or x.dtype}'")
    x = coalesced(x)
    v, n = values_of(x), x.pattern.sparse_dim
    if dim >= n:
        return _named(build(x.pattern, FUNCTIONS["softmax" if not log else "log_softmax"](v, dim - n + 1)), "sparse_" + name)
    where, count = _groups(x, dim)
    top = np.full((count, *x.stored.shape[1:]), -np.inf, x.stored.dtype, like=x.stored)
    np.maximum.at(top, where, x.stored)
    line = index_tensor(where)
    shifted = v - wrap(top[where], x._kind.dense)
    powers = shifted.exp()
    total = v.new_zeros((count, *x.stored.shape[1:])).index_add(0, line, powers)
    values = shifted - total.log().index_select(0, line) if log else powers / total.index_select(0, line)
    return _named(build(x.pattern, values), "sparse_" + name)


def softmax(input: SparseTensor, dim: int, *, dtype: Dtype = None) -> SparseTensor:
    """Softmax along a dimension over the specified elements (unspecified ones count as -inf)."""
    return _softmax(input, dim, dtype, False)


def log_softmax(input: SparseTensor, dim: int, *, dtype: Dtype = None) -> SparseTensor:
    """The logarithm of `softmax`."""
    return _softmax(input, dim, dtype, True)
