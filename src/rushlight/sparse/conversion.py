"""Between layouts, and between a sparse tensor and its parts: values, indices, dense and sparse forms, with gradients.

Two functions carry all gradients of sparse tensors: `values_of` takes the values out of a tensor, `build` makes a tensor of values; what
happens to the values in between is ordinary differentiable arithmetic. `values_at` is the gradient of `build`: the values that a dense
or sparse tensor has at a pattern's places.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from .. import services
from ..layout import sparse_coo, sparse_csc, sparse_csr, strided
from ..ops.accumulate import add_rows
from ..ops.record import record
from ..tensor import Tensor, wrap
from ..unsupported import NotSupported
from ..vocabulary import Array, Dtype, Layout, MemoryFormat, Operand, PerDim
from .patterns import Compressed, Coo, Pattern, flat_keys, group
from .tensor import SparseTensor, kind_of_array, make, rule, unsupported

__all__ = ["build", "coalesced", "index_tensor", "link", "to_dense", "values_at", "values_of"]


def index_tensor(array: Array) -> Tensor:
    """Indices as a tensor that shares their memory."""
    return wrap(array, kind_of_array(array))


class _Edge:
    """What `record` asks of an input, for a sparse one."""

    __slots__ = ("_node", "_kind", "_a")

    def __init__(self, t: SparseTensor) -> None:
        self._node, self._kind, self._a = t._node, t._kind, t.sparse_array()


Made = TypeVar("Made")


def link(out: Made, name: str, inputs: tuple[Any, ...], grad: Any, saved: tuple[Any, ...] = ()) -> Made:
    """`record` for inputs that may be sparse."""
    record(out, name, tuple(_Edge(t) if isinstance(t, SparseTensor) else t for t in inputs), grad, saved)
    return out


def values_of(x: SparseTensor) -> Tensor:
    """The values (nnz, *dense dimensions) as a tensor with history; memory is shared."""
    pattern = x.pattern
    return link(wrap(x.stored, x._kind.dense), "ValuesBackward0", (x,), lambda g: build(pattern, g))


def build(pattern: Pattern, values: Tensor, name: str = "SparseCooTensorWithDimsAndTensorsBackward0") -> SparseTensor:
    """The sparse tensor with these values, with history."""
    return link(make(pattern, values._a, values._kind), name, (values,), lambda g: values_at(g, pattern))


def values_at(t: Tensor, pattern: Pattern) -> Tensor:
    """The values of a tensor of any layout at a pattern's places, zero where it has none: (nnz, *dense dimensions)."""
    if not isinstance(t, SparseTensor):
        if not pattern.sparse_dim:
            return t.unsqueeze(0).expand(pattern.nnz, *t.shape)
        return t[tuple(index_tensor(each) for each in pattern.coords())]
    if t.pattern is pattern:
        return values_of(t)
    t = coalesced(t)
    keys, wanted = t.pattern.keys(), pattern.keys()
    order = None if not isinstance(t.pattern, Compressed) else np.argsort(keys, kind="stable")
    ordered = keys if order is None else keys[order]
    if not keys.size:
        return wrap(t._kind.xp.zeros((wanted.size, *t.stored.shape[1:]), t.stored.dtype), t._kind.dense)
    where = np.minimum(np.searchsorted(ordered, wanted), keys.size - 1)
    found = ordered[where] == wanted
    values = values_of(t).index_select(0, index_tensor(where if order is None else order[where]))
    if found.all():
        return values
    missing = wrap(~found.reshape(-1, *[1] * (values.dim() - 1)), values._kind.bool_)
    return values.masked_fill(missing, 0)


def expect_coo(name: str, x: Tensor) -> Pattern:
    """Raise PyTorch's error unless the layout is sparse_coo; else the pattern."""
    if isinstance(x, SparseTensor) and isinstance(x.pattern, Coo):
        return x.pattern
    raise RuntimeError(f"{name} expected sparse coordinate tensor layout but got {_title(x)}")


def _title(x: Tensor) -> str:
    return x.pattern.title if isinstance(x, SparseTensor) else "Strided"


# --- parts --------------------------------------------------------------------------------------------------------------------------

@rule()
def coalesce(self: SparseTensor) -> SparseTensor:
    """The same tensor with its elements sorted and every place at most once: values at equal places are added."""
    expect_coo("coalesce", self)
    return coalesced(self)


def coalesced(x: SparseTensor) -> SparseTensor:
    """`coalesce` for all layouts: a compressed tensor is taken as it is."""
    pattern = x.pattern
    if pattern.coalesced:
        return x
    first, where, count = group(pattern.keys())
    values = x.stored
    summed = np.zeros((count, *values.shape[1:]), values.dtype, like=values)
    if values.ndim == 1:
        add_rows(summed, where, values)
    elif values.size:
        add_rows(summed.reshape(count, -1), where, values.reshape(values.shape[0], -1))
    out = make(Coo(np.ascontiguousarray(pattern.indices[:, first], like=first), pattern.shape, True), summed, x._kind)
    return link(out, "CoalesceBackward0", (x,), lambda g: g)


@rule()
def is_coalesced(self: Tensor) -> bool:
    """Whether the elements are known to be sorted and unique."""
    return expect_coo("is_coalesced", self).coalesced


@rule("_coalesced_")
def _coalesced_(self: SparseTensor, coalesced: bool) -> SparseTensor:
    """Say whether the elements are sorted and unique; nothing is looked at."""
    pattern: Any = expect_coo("_coalesced_", self)
    self.pattern = Coo(pattern.indices, pattern.shape, bool(coalesced))
    return self


@rule()
def indices(self: Any) -> Tensor:
    """The coordinates (sparse_dim, nnz) of a coalesced tensor."""
    if not expect_coo("indices", self).coalesced:
        raise RuntimeError("Cannot get indices on an uncoalesced tensor, please call .coalesce() first")
    return index_tensor(self.pattern.indices)


@rule()
def values(self: Tensor) -> Tensor:
    """The values (nnz, *dense dimensions), with history."""
    if not isinstance(self, SparseTensor):
        raise RuntimeError("values expected sparse tensor layout but got Strided")
    if not self.pattern.coalesced:
        raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")
    return values_of(self)


@rule()
def _indices(self: SparseTensor) -> Tensor:
    """The coordinates, coalesced or not."""
    if not isinstance(self, SparseTensor) or not isinstance(self.pattern, Coo):
        raise _no_part("_indices", self)
    return index_tensor(self.pattern.indices)


@rule()
def _values(self: SparseTensor) -> Tensor:
    """The values without history, coalesced or not."""
    if not isinstance(self, SparseTensor) or not isinstance(self.pattern, Coo):
        raise _no_part("_values", self)
    return wrap(self.stored, self._kind.dense)


@rule()
def _nnz(self: SparseTensor) -> int:
    """The number of specified elements."""
    if not isinstance(self, SparseTensor):
        raise _no_part("_nnz", self)
    return self.pattern.nnz


def _no_part(name: str, x: Tensor) -> NotImplementedError:
    if isinstance(x, SparseTensor):
        return unsupported(name, (x,))
    return NotImplementedError(f"Could not run 'aten::{name}' with arguments from the 'CPU' backend: the tensor is dense")


@rule()
def sparse_dim(self: SparseTensor) -> int:
    """How many of the first dimensions are sparse."""
    return self.pattern.sparse_dim if isinstance(self, SparseTensor) else 0


@rule()
def dense_dim(self: SparseTensor) -> int:
    """How many of the last dimensions are dense."""
    return self.dim() - (self.pattern.sparse_dim if isinstance(self, SparseTensor) else 0)


def _compressed_part(name: str, part: str, by_column: bool) -> None:
    def get(self: Tensor) -> Tensor:
        if not isinstance(self, SparseTensor) or not isinstance(self.pattern, Compressed) or self.pattern.by_column is not by_column:
            raise RuntimeError(f"{name} expected sparse {'column' if by_column else 'row'} compressed tensor layout but got {_title(self)}")
        return index_tensor(getattr(self.pattern, part))
    get.__name__ = get.__qualname__ = name
    get.__doc__ = f"The {name.replace('_', ' ')} of a tensor of layout sparse_{'csc' if by_column else 'csr'}."
    globals()[name] = rule(name)(get)


for _name, _part, _by_column in (("crow_indices", "crow", False), ("col_indices", "col", False), ("ccol_indices", "crow", True),
                                 ("row_indices", "col", True)):
    _compressed_part(_name, _part, _by_column)


# --- layouts ------------------------------------------------------------------------------------------------------------------------

@rule()
def to_dense(self: Tensor, dtype: Dtype = None, *, masked_grad: bool | None = None) -> Tensor:
    """All elements as a dense tensor. Its gradient reaches the specified elements; all of them with masked_grad=False."""
    if not isinstance(self, SparseTensor):
        return self if dtype is None else self.to(dtype)
    if dtype is not None:
        raise RuntimeError("dtype argument is not supported by sparse_to_dense")
    self = coalesced(self)
    pattern = self.pattern
    out = wrap(self.sparse_array().dense(), self._kind.dense)
    return link(out, "ToDenseBackward0", (self,), lambda g: g if masked_grad is False else build(pattern, values_at(g, pattern)))


@rule()
def to_sparse(self: Tensor, sparse_dim: int | None = None, *, layout: Layout = None, blocksize: Any = None,
              dense_dim: int | None = None) -> SparseTensor:
    """The tensor in layout sparse_coo (or `layout`): `sparse_dim` first dimensions are sparse, all of them if left out."""
    if layout is not None and layout is not sparse_coo:
        if sparse_dim is not None:
            raise RuntimeError("to_sparse: sparse_dim and layout can't be given together")
        if layout is strided:
            return to_dense(self)
        if layout in (sparse_csr, sparse_csc):
            return _compressed(self, layout is sparse_csc, dense_dim)
        raise NotImplementedError(f"to_sparse(layout={layout}): the block layouts are not supported; use torch.sparse_csr or "
                                  "torch.sparse_csc")
    if blocksize is not None:
        raise RuntimeError("to_sparse: blocksize is for the block layouts only")
    if isinstance(self, SparseTensor):
        if sparse_dim is not None and sparse_dim != self.pattern.sparse_dim:
            raise RuntimeError("to_sparse: conversion from Sparse to Sparse with sparse_dim argument !=self.sparse_dim() is not supported")
        if isinstance(self.pattern, Coo):
            return self
        coords = self.pattern.coords()
        order = np.argsort(flat_keys(coords, self.pattern.shape), kind="stable")
        pattern = Coo(np.ascontiguousarray(coords[:, order], like=coords), self.pattern.shape, True)
        return link(make(pattern, self.stored[order], self._kind), "ToSparseBackward0", (self,), lambda g: to_sparse(g, layout=self.layout))
    n = self.dim()
    if sparse_dim is None:
        sparse_dim = n - (dense_dim or 0)
    if not 0 <= sparse_dim <= n:
        raise RuntimeError(f"dense_to_sparse: sparse_dim argument must be in [0,{n}] range, but {sparse_dim} is given")
    if n and not sparse_dim:
        raise RuntimeError("dense_to_sparse: sparse_dim argument must be in >0 when self.dim()>0")
    pattern = Coo(_nonzero(self._a, sparse_dim), self._a.shape, True)
    values = values_at(self.detach(), pattern)
    return link(make(pattern, values._a, values._kind), "ToSparseBackward1" if sparse_dim == n else "ToSparseBackward0", (self,), to_dense)


def _nonzero(a: Array, sparse_dim: int) -> Array:
    used = a != 0
    if a.ndim > sparse_dim:
        used = used.any(tuple(range(sparse_dim, a.ndim)))
    if not sparse_dim:
        return np.zeros((0, int(bool(used))), np.int64, like=a)
    return np.stack(np.nonzero(used)).astype(np.int64)


def _compressed(self: Tensor, by_column: bool, dense_dim: int | None) -> SparseTensor:
    name = "to_sparse_csc" if by_column else "to_sparse_csr"
    if self.dim() - (dense_dim or 0) != 2:
        raise NotSupported(f"{name}: tensors of {self.dim()} dimensions (batches of matrices) are not supported; only matrices, with "
                           "dense_dim dense dimensions behind them" if self.dim() > 2 else
                           f"{name} needs a matrix, but got a tensor of {self.dim()} dimensions")
    if not isinstance(self, SparseTensor):
        self = to_sparse(self, 2)
    elif isinstance(self.pattern, Compressed) and self.pattern.by_column is by_column:
        return self
    self = coalesced(self)
    coords = self.pattern.coords()
    long, short = (coords[1], coords[0]) if by_column else (coords[0], coords[1])
    order = np.lexsort((short, long))
    pattern = Compressed.from_sorted(long[order], np.ascontiguousarray(short[order], like=short), self.pattern.shape, by_column)
    layout = self.layout
    return link(make(pattern, self.stored[order], self._kind), "ToSparseBackward0", (self,), lambda g: to_sparse(g, layout=layout))


@rule()
def to_sparse_coo(self: Tensor) -> SparseTensor:
    """The tensor in layout sparse_coo."""
    return to_sparse(self)


@rule()
def to_sparse_csr(self: Tensor, dense_dim: int | None = None) -> SparseTensor:
    """The matrix in layout sparse_csr."""
    return _compressed(self, False, dense_dim)


@rule()
def to_sparse_csc(self: Tensor, dense_dim: int | None = None) -> SparseTensor:
    """The matrix in layout sparse_csc."""
    return _compressed(self, True, dense_dim)


@rule()
def to_sparse_bsr(self: Tensor, blocksize: Operand | PerDim | None = None, dense_dim: int | None = None) -> Any:
    """NotImplementedError: there are no block layouts."""
    raise NotSupported("to_sparse_bsr: the block layouts are not supported; use to_sparse_csr")


@rule()
def to_sparse_bsc(self: SparseTensor, blocksize: Operand | None = None, dense_dim: int | None = None) -> Any:
    """NotImplementedError: there are no block layouts."""
    raise NotSupported("to_sparse_bsc: the block layouts are not supported; use to_sparse_csc")


@rule()
def sparse_mask(self: Tensor, mask: Operand) -> SparseTensor:
    """The elements of self at the places that the sparse tensor `mask` specifies."""
    if not isinstance(mask, SparseTensor):
        raise NotImplementedError("Could not run 'aten::sparse_mask' with arguments from the 'CPU' backend: mask must be a sparse tensor")
    if self.shape != mask.shape:
        raise RuntimeError(f"sparse_mask(): operands have incompatible sizes; self has size {list(self.shape)} but mask has size "
                           f"{list(mask.shape)}")
    mask = coalesced(mask)
    return build(mask.pattern, values_at(self, mask.pattern), "SparseMaskBackward0")


@rule()
def clone(self: SparseTensor, *, memory_format: MemoryFormat = None) -> SparseTensor:
    """A copy with memory of its own."""
    return link(make(self.pattern, self.stored.copy(), self._kind), "CloneBackward0", (self,), lambda g: g)


@services.convert_sparse.given
def convert_sparse(self: SparseTensor, kind: Any, copy: bool) -> SparseTensor:
    """The tensor with another dtype (``to``, ``double`` and the like)."""
    dense = kind.dense if kind.sparse else kind
    if dense is self._kind.dense:
        return clone(self) if copy else self
    have = self._kind
    pattern = self.pattern if dense.device is have.device else self.pattern.on(dense.device)
    out = make(pattern, wrap(self.stored, have.dense).to(dense.device, dense.dtype)._a, dense)
    return link(out, "ToCopyBackward0", (self,), lambda g: g.to(have.device, have.dtype)) if dense.differentiable else out


@rule("type")
def type_(self: SparseTensor, dtype: Dtype = None, non_blocking: bool = False) -> Any:
    """Without argument the type's name, e.g. 'torch.sparse.FloatTensor'; else the tensor as that type."""
    if dtype is None:
        if not isinstance(self.pattern, Coo):
            raise RuntimeError("Unimplemented backend SparseCsrCPU")
        return wrap(self.stored, self._kind.dense).type().replace("torch.", "torch.sparse.")
    if isinstance(dtype, str):
        return self.to(wrap(self.stored[:0], self._kind.dense).type(dtype.replace("torch.sparse.", "torch.")).dtype)
    return self.to(dtype)


@services.sparse_rows.given
def rows_of(indices: Array, rows: int, values: Tensor) -> SparseTensor:
    """The sparse matrix of `rows` rows that has the rows of `values` at these indices (added up where one comes again)."""
    return build(Coo(indices[None], (rows, values.shape[1])), values)
