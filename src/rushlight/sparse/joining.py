"""Shape and indexing of sparse tensors: transposing, selecting, joining."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Device, Dtype, Layout, MemoryFormat, Operand
from .conversion import build, coalesced, index_tensor, link, values_of
from .elementwise import _named
from .patterns import Compressed, Coo, without
from .tensor import SparseTensor, define, make, rule, unsupported

__all__: list[str] = []


@rule("transpose", "swapaxes", "swapdims")
def transpose(self: SparseTensor, dim0: int, dim1: int) -> SparseTensor:
    """Two sparse dimensions exchanged."""
    n, p = self.dim(), self.pattern
    a, b = wrap_dim(dim0, n), wrap_dim(dim1, n)
    if max(a, b) >= p.sparse_dim and a != b:
        raise RuntimeError(f"sparse transpose: transposed dimensions must be sparse Got sparse_dim: {p.sparse_dim}, d0: {a}, d1: {b}")
    if a == b:
        return self
    order = list(range(n))
    order[a], order[b] = b, a
    return _permuted(self, order, "Transpose")


def _permuted(x: SparseTensor, order: list[int], name: str) -> SparseTensor:
    """The dimensions in another order; a gradient of any layout goes back in the old one."""
    p = x.pattern
    values = wrap(x.stored, x._kind.dense)
    sparse, dense = order[:p.sparse_dim], order[p.sparse_dim:]
    if isinstance(p, Compressed):
        pattern: Any = p if sparse == [0, 1] else p.transposed()
    else:
        indices = p.indices[sparse]
        pattern = Coo(np.ascontiguousarray(indices, like=indices), tuple(p.shape[d] for d in order),
                      p.coalesced and sparse == sorted(sparse))
    if dense != sorted(dense):
        values = values.permute(0, *[d - p.sparse_dim + 1 for d in dense])
    back = [order.index(d) for d in range(len(order))]
    return link(make(pattern, values._a, x._kind), name + "Backward0", (x,), lambda g: g.permute(back))


@rule("permute")
def permute(self: SparseTensor, *dims: Any) -> SparseTensor:
    """The dimensions in another order; sparse ones stay before dense ones."""
    order = list(dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims)
    if len(order) != self.dim():
        raise RuntimeError("permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
                           f"ordering of dimensions i.e. input.dim() = {self.dim()} is not equal to len(dims) = {len(order)}")
    order = [wrap_dim(d, self.dim()) for d in order]
    if len(set(order)) != len(order):
        raise RuntimeError("permute(sparse_coo): duplicate dims are not allowed.")
    n = self.pattern.sparse_dim
    if any(d >= n for d in order[:n]):
        raise RuntimeError("permute(sparse_coo): transpositions between sparse and dense dimensions are not allowed.")
    return _permuted(self, order, "Permute")


@rule("t")
def t(self: SparseTensor) -> SparseTensor:
    """The transposed matrix."""
    if self.pattern.sparse_dim > 2 or self.dim() > self.pattern.sparse_dim:
        raise RuntimeError(f"t() expects a tensor with <= 2 sparse and 0 dense dimensions, but got {self.pattern.sparse_dim} sparse and "
                           f"{self.dim() - self.pattern.sparse_dim} dense dimensions")
    return _permuted(self, [1, 0], "T") if self.dim() == 2 else self


for _name, _doc in (("T", "The transposed matrix."), ("mT", "The transposed matrix."), ("H", "The conjugate transpose."),
                    ("mH", "The conjugate transpose.")):
    def _get(self: SparseTensor, conjugate: bool = _name.endswith("H")) -> SparseTensor:
        r = t(self)
        return r.conj() if conjugate and r.is_complex() else r
    setattr(SparseTensor, _name, property(_get, doc=_doc))


@rule("unsqueeze")
def unsqueeze(self: SparseTensor, dim: int) -> SparseTensor:
    """A new dimension of size 1."""
    p = self.pattern
    if isinstance(p, Compressed):
        raise RuntimeError("Sparse CSR tensors do not have strides: unsqueeze is not supported; use to_sparse_coo() first")
    dim = wrap_dim(dim, self.dim() + 1)
    shape = (*p.shape[:dim], 1, *p.shape[dim:])
    if dim > p.sparse_dim:
        return _named(build(Coo(p.indices, shape, p.coalesced), values_of(self).unsqueeze(dim - p.sparse_dim + 1)), "unsqueeze")
    indices = np.insert(p.indices, dim, 0, 0)
    return _named(build(Coo(np.ascontiguousarray(indices, like=indices), shape, p.coalesced), values_of(self)), "unsqueeze")


# --- indexing -----------------------------------------------------------------------------------------------------------------------

@rule("select")
def select(self: SparseTensor, dim: int, index: int) -> Tensor:
    """One slice along a dimension: sparse, or dense where the last sparse dimension was selected."""
    dim = wrap_dim(dim, self.dim())
    size = self.shape[dim]
    if not -size <= index < size:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(self.shape)} at dimension {dim}")
    index %= max(size, 1)
    p, n = self.pattern, self.pattern.sparse_dim
    if isinstance(p, Compressed):
        return select(self.to_sparse_coo(), dim, index)
    shape = (*p.shape[:dim], *p.shape[dim + 1:])
    if dim >= n:
        return _named(build(Coo(p.indices, shape, p.coalesced), values_of(self).select(dim - n + 1, index)), "select")
    keep = np.flatnonzero(p.indices[dim] == index)
    values = values_of(self).index_select(0, index_tensor(keep))
    if n == 1:
        return _named(values.sum(0, dtype=values.dtype), "select")
    return _named(build(Coo(without(p.indices[:, keep], dim), shape, p.coalesced), values), "select")


@rule("unbind")
def unbind(self: SparseTensor, dim: int = 0) -> tuple[Any, ...]:
    """All slices along a dimension."""
    dim = wrap_dim(dim, self.dim())
    return tuple(select(self, dim, i) for i in range(self.shape[dim]))


def _rearranged(x: SparseTensor, dim: int, source: Array, target: Array, size: int) -> SparseTensor:
    """Elements at place source[i] along `dim` go to place target[i] (each source may occur several times)."""
    p = x.pattern
    order = np.argsort(source, kind="stable")
    starts = np.searchsorted(source[order], np.arange(p.shape[dim] + 1, like=source))
    at = p.indices[dim]
    counts = (starts[1:] - starts[:-1])[at]
    element = np.repeat(np.arange(at.size, like=at), counts)
    within = np.arange(element.size, like=at) - np.repeat(np.cumsum(counts) - counts, counts)
    indices = p.indices[:, element].copy()
    indices[dim] = target[order[starts[at][element] + within]]
    shape = (*p.shape[:dim], size, *p.shape[dim + 1:])
    return build(Coo(indices, shape), values_of(x).index_select(0, index_tensor(element)))


@rule("index_select")
def index_select(self: SparseTensor, dim: int, index: Tensor) -> SparseTensor:
    """The slices that `index` names along a dimension."""
    p = self.pattern
    if isinstance(p, Compressed):
        raise unsupported("index_select", (self,))
    dim = wrap_dim(dim, self.dim())
    if index.dim() != 1 or index.dtype.name not in ("int64", "int32"):
        raise IndexError(f"index_select() argument index must be 1-D long-tensor, but got a {index.dim()}-D tensor of {index.dtype}")
    at, size = index._a.astype(np.int64), p.shape[dim]
    if at.size and (at.min() < -size or at.max() >= size):
        bad = int(at.max() if at.max() >= size else at.min())
        raise IndexError(f"index_select(): index contains {bad} that is out of range for tensor of size {list(p.shape)} at dimension {dim}")
    at = np.where(at < 0, at + size, at)
    if dim >= p.sparse_dim:
        values = values_of(self).index_select(dim - p.sparse_dim + 1, index_tensor(at))
        shape = (*p.shape[:dim], at.size, *p.shape[dim + 1:])
        return _named(build(Coo(p.indices, shape, p.coalesced), values), "index_select")
    return _named(_rearranged(self, dim, at, np.arange(at.size, like=at), at.size), "index_select")


@rule("narrow_copy")
def narrow_copy(self: SparseTensor, dim: int, start: int, length: int) -> SparseTensor:
    """`length` slices from `start` on."""
    dim = wrap_dim(dim, self.dim())
    size = self.shape[dim]
    start = start + size if start < 0 else start
    if not 0 <= start <= size - length:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    r = index_select(self, dim, index_tensor(self._kind.xp.arange(start, start + length)))
    return coalesced(r) if self.pattern.coalesced else r


def getitem(self: SparseTensor, index: Operand | slice | tuple[Any, ...] | None) -> Tensor:
    """Integers, full slices and None, one per dimension. Everything else is for dense tensors."""
    items = index if isinstance(index, tuple) else (index,)
    given = sum(1 for each in items if each is not None and each is not Ellipsis)
    if given > self.dim():
        raise IndexError(f"too many indices for tensor of dimension {self.dim()}")
    if Ellipsis in items and any(each is Ellipsis for each in items):
        at = next(i for i, each in enumerate(items) if each is Ellipsis)
        items = (*items[:at], *[slice(None)] * (self.dim() - given), *items[at + 1:])
    r, dim = self, 0
    for each in items:
        if each is None:
            r, dim = unsqueeze(r, dim), dim + 1
        elif isinstance(each, slice):
            if each.indices(r.shape[dim]) != (0, r.shape[dim], 1):
                raise NotImplementedError(f"Could not run 'aten::as_strided' with arguments from the '{self.pattern.backend}' backend: "
                                          "sparse tensors have no slices; use narrow_copy or index_select")
            dim += 1
        elif isinstance(each, Tensor) and each.dim() or isinstance(each, (list, np.ndarray)):
            raise unsupported("index.Tensor", (self,))
        else:
            at = each.__index__()
            if not -r.shape[dim] <= at < r.shape[dim]:
                raise IndexError(f"index {at} is out of bounds for dimension {dim} with size {r.shape[dim]}")
            r = select(r, dim, at) if isinstance(r, SparseTensor) else r.select(dim, at)
    return r


define("__getitem__", getitem)


# --- joining ------------------------------------------------------------------------------------------------------------------------

@rule("cat", "concat", "concatenate", method=False)
def cat(tensors: list[Any], dim: int = 0, *, axis: int | None = None) -> SparseTensor:
    """Sparse tensors joined along a dimension."""
    tensors = list(tensors)
    for i, x in enumerate(tensors):
        if not isinstance(x, SparseTensor):
            raise RuntimeError(f"Concatenating sparse tensors, but a dense tensor was found at position {i}.")
        if not isinstance(x.pattern, Coo):
            raise RuntimeError("Sparse CSR tensors do not have is_contiguous: cat is not supported; use to_sparse_coo() first")
    first = tensors[0]
    dim = wrap_dim(dim if axis is None else axis, first.dim())
    for i, x in enumerate(tensors):
        if x.dim() != first.dim() or any(a != b for d, (a, b) in enumerate(zip(x.shape, first.shape, strict=True)) if d != dim):
            raise RuntimeError(f"All tensors must have the same shape: {list(first.shape)} (except in the concatenating dimension), but "
                               f"found shape: {list(x.shape)} at position {i}.")
        if x.pattern.sparse_dim != first.pattern.sparse_dim:
            raise RuntimeError(f"All tensors must have the same sparse_dim and dense_dim: {first.pattern.sparse_dim}, "
                               f"{first.dim() - first.pattern.sparse_dim}, but tensor at position {i} has {x.pattern.sparse_dim}")
    n, total = first.pattern.sparse_dim, sum(x.shape[dim] for x in tensors)
    shape = (*first.shape[:dim], total, *first.shape[dim + 1:])
    if dim < n:
        parts, start = [], 0
        for x in tensors:
            moved = x.pattern.indices.copy()
            moved[dim] += start
            parts.append(moved)
            start += x.shape[dim]
        values = FUNCTIONS["cat"]([values_of(x) for x in tensors])
    else:
        parts = [x.pattern.indices for x in tensors]
        values = FUNCTIONS["cat"]([_padded(x, dim - n + 1, i, tensors, dim) for i, x in enumerate(tensors)])
    return _named(build(Coo(np.concatenate(parts, 1), shape), values), "cat")


def _padded(x: SparseTensor, axis: int, position: int, tensors: list[Any], dim: int) -> Tensor:
    """The values with zeros in the place of the other tensors' values."""
    sizes = [each.shape[dim] for each in tensors]
    values = values_of(x)

    def zeros(count: int) -> Tensor:
        shape = list(values.shape)
        shape[axis] = count
        return values.new_zeros(shape)
    return FUNCTIONS["cat"]([zeros(sum(sizes[:position])), values, zeros(sum(sizes[position + 1:]))], axis)


@rule("stack", method=False)
def stack(tensors: list[Any], dim: int = 0, *, axis: int | None = None) -> SparseTensor:
    """Sparse tensors of one shape joined along a new dimension."""
    return cat([unsqueeze(x, dim if axis is None else axis) if isinstance(x, SparseTensor) else x for x in tensors],
               dim if axis is None else axis)


@rule("vstack", "row_stack", method=False)
def vstack(tensors: list[Any]) -> SparseTensor:
    """Joined along the first dimension."""
    return cat([unsqueeze(x, 0) if x.dim() < 2 else x for x in tensors], 0)


@rule("hstack", method=False)
def hstack(tensors: list[Any]) -> SparseTensor:
    """Joined along the second dimension (the first of vectors)."""
    tensors = list(tensors)
    return cat(tensors, 0 if tensors[0].dim() == 1 else 1)


# --- tensors like a sparse one --------------------------------------------------------------------------------------------------------

@rule("zeros_like", "empty_like", method=False)
def zeros_like(input: SparseTensor, *, dtype: Dtype = None, layout: Layout = None, device: Device = None, requires_grad: bool = False,
               pin_memory: bool = False,
               memory_format: MemoryFormat = None) -> SparseTensor:
    """No elements (zeros in the compressed layouts), of the same shape and layout."""
    if layout is not None and layout is not input.layout:
        return FUNCTIONS["zeros"](tuple(input.shape), dtype=dtype or input.dtype, layout=layout, device=device, requires_grad=requires_grad)
    r = make(input.pattern, input.stored, input._kind).to(dtype or input.dtype, copy=True).zero_()
    return r.requires_grad_() if requires_grad else r


@rule("ones_like", "full_like", method=False)
def full_like(input: SparseTensor, fill_value: int = 1, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
              requires_grad: bool = False) -> Any:
    """A compressed tensor of the same pattern with one value everywhere in it."""
    if not isinstance(input.pattern, Compressed):
        raise unsupported("fill_", (input,))
    values = FUNCTIONS["full_like"](wrap(input.stored, input._kind.dense), fill_value, dtype=dtype)
    r = make(input.pattern, values._a, values._kind)
    return r.requires_grad_() if requires_grad else r


@rule("new_zeros", "new_empty")
def new_zeros(self: SparseTensor, *size: Any, dtype: Dtype = None, device: Device = None, requires_grad: bool = False,
              layout: Layout = None,
              pin_memory: bool = False) -> SparseTensor:
    """A sparse tensor without elements."""
    size = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    return FUNCTIONS["zeros"](size, dtype=dtype or self.dtype, layout=layout or self.layout, requires_grad=requires_grad)


@rule("new_tensor")
def new_tensor(self: SparseTensor, data: Operand, *, dtype: Dtype = None, device: Device = None, requires_grad: bool = False) -> Tensor:
    """A dense tensor of the same dtype."""
    return wrap(self.stored, self._kind.dense).new_tensor(data, dtype=dtype, requires_grad=requires_grad)
