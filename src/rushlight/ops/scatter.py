"""gather, scatter and the index_* family: reading and writing along one dimension by index tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dims import wrap_dim
from ..kernels import indexing as K
from ..kernels.indexing import grid as _grid
from ..kernels.indexing import steps as _steps
from ..kernels.strides import zeros_for
from ..tensor import Tensor, wrap
from ..vocabulary import Array, NumpyDtype, Scalar
from .accumulate import add_rows, put_add
from .errors import title
from .indexing import _prepare_tensor, index_put_into
from .public import checked_inplace, export, method, op
from .record import record
from .selection import _fill_value, out_of_range, where
from .slices import embed

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["gather", "scatter", "scatter_add", "scatter_reduce"]


# --- gather and scatter ---------------------------------------------------------------------------------------------------------------

def _index_array(name: str, index: Tensor, ndim: int, what: str) -> Array:
    if not index._a.size:
        return index._a if index._kind.dtype.name in ("int64", "int32") else index._a.astype(np.int64)
    if index._kind.dtype.name not in ("int64", "int32"):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    if index._a.size and (index._a.ndim or 1) != (ndim or 1):
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {what} tensor")
    return index._a


def _in_range(index: Array, dim: int, n: int) -> None:
    if index.size and out_of_range(index, n):
        wrong = index[(index < 0) | (index >= n)].reshape(-1)[0]
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {dim} with size {n}")


@op(method=True, out="fresh")
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """``out[i][j][k] = input[index[i][j][k]][j][k]`` for dim 0, and so on: one element per element of `index`, along `dim`."""
    a = input._a
    quick = K.gathered(a, dim, index._a)
    if quick is not None:
        r = wrap(quick, input._kind)
        return r if input._node is None else _record_gather(r, input, dim if dim >= 0 else dim + a.ndim, index)
    if not index._a.size:
        dim, shape = wrap_dim(dim, a.ndim), a.shape
        return record(wrap(np.empty(index._a.shape, a.dtype, like=a), input._kind), "GatherBackward0", (input,),
                      lambda g: g.new_zeros(shape))
    dim = wrap_dim(dim, a.ndim)
    i = _index_array("gather", index, a.ndim, "input")
    shape = a.shape
    full, at = (a if a.ndim else a.reshape(1)), (i if i.ndim else i.reshape(1))
    for d, (have, want) in enumerate(zip(full.shape, at.shape, strict=True)):
        if d != dim and want > have:
            raise RuntimeError(f"Size does not match at dimension {d} expected index {list(i.shape)} to be no larger than self "
                               f"{list(shape)} apart from dimension {dim}")
    _in_range(at, dim, full.shape[dim])
    r = wrap(K.gather(full, dim, at).reshape(i.shape), input._kind)
    return r if input._node is None else _record_gather(r, input, dim, index)


def _record_gather(r: Tensor, input: Tensor, dim: int, index: Tensor) -> Tensor:
    shape = input._a.shape
    if not index._a.ndim and shape:      # one element of a vector
        return record(r, "GatherBackward0", (input,), lambda g, i: scatter_add(g.new_zeros(shape), dim, i.reshape(1), g.reshape(1)),
                      (index,))
    return record(r, "GatherBackward0", (input,), lambda g, i: scatter_add(g.new_zeros(shape), dim, i, g), (index,),
                  lambda g, i: _add_scattered(zeros_for(g, shape), dim, i, g))


def _add_scattered(target: Array, dim: int, index: Array, values: Array) -> Array:
    """``target[grid(index)] += values``, in place; a contiguous target is returned."""
    if index.size == 0:
        return target
    at = index if index.ndim else index.reshape(1)
    shape = target.shape or (1,)
    if values.shape != index.shape:
        values = values[tuple([slice(0, n) for n in index.shape])]
    if K.scatter_into(target, dim, index, values, "add"):
        return target
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * shape[d + 1]
    flat = at * strides[dim]
    for d, n in enumerate(at.shape):
        if d != dim and n > 1:
            flat = flat + _steps(n, at.ndim - d - 1, at) * strides[d]
    add_rows(target.reshape(-1), flat.reshape(-1), values.reshape(-1))
    return target


def _scatter_checks(name: str, input: Tensor, dim: int, index: Tensor, src: Tensor | None) -> tuple[int, Any]:
    dim = wrap_dim(dim, input._a.ndim)
    i = _index_array(name, index, input._a.ndim, "self")
    if src is not None:
        if src._kind.dtype is not input._kind.dtype:
            raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
        if i.size and (src._a.ndim or 1) != (i.ndim or 1):
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    if i.size == 0:
        return dim, i
    have, want = input._a.shape or (1,), i.shape or (1,)
    bad = any(want[d] > have[d] for d in range(len(want)) if d != dim)
    if src is not None and any(n > m for n, m in zip(want, src._a.shape or (1,), strict=True)):
        bad = True
    if bad:
        also = f" and to be no larger size than src {list(src._a.shape)}" if src is not None else ""
        raise RuntimeError(f"Expected index {list(i.shape)} to be no larger than self {list(input._a.shape)} apart from dimension "
                           f"{dim}{also}")
    _in_range(i, dim, have[dim])
    return dim, i


def _cut(values: Array, shape: tuple[int, ...]) -> Array:
    return values if values.shape == shape else values[tuple([slice(0, n) for n in shape])]


def _src_grad(g: Tensor, dim: int, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The gradient of scattered values: gathered, zero where the index was smaller than them."""
    r = gather(g, dim, index)
    if r._a.shape != shape:
        if r._a.size == 0:
            return g.new_zeros(shape)
        r = embed(r, shape, tuple([slice(0, n) for n in r._a.shape]))
    return r


@op(method=True, inplace="apart", out=True)
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Tensor:
    """A copy with ``out[index[i][j]][j] = src[i][j]`` (dim 0; others alike). `src` is a tensor or a number; `reduce` "add" or "multiply"
    combines with what is there. Where positions repeat, one of the values stays."""
    if value is not None:
        src = value
    if src is None:
        raise TypeError("scatter() received an invalid combination of arguments: a Tensor 'src' or a number 'value' is missing")
    if reduce is not None and reduce not in ("add", "multiply"):
        wrap_dim(dim, input._a.ndim)
        raise RuntimeError("reduce argument must be either add or multiply.")
    is_tensor = isinstance(src, Tensor)
    if is_tensor and reduce is None and src._kind is input._kind:
        quick = K.scattered(input._a, dim, index._a, src._a, 0)
        if quick is not None:
            return _record_scatter(wrap(quick, input._kind), input, dim if dim >= 0 else dim + input._a.ndim, index, src)
    dim, i = _scatter_checks("scatter", input, dim, index, src if is_tensor else None)
    if reduce is not None:
        return _scatter_combine(input, dim, i, src, reduce)
    array = input._a.copy()
    if i.size:
        target, at = (array, i) if array.ndim else (array.reshape(1), i.reshape(1))
        K.scatter(target, dim, at, _cut(src._a, i.shape).reshape(at.shape) if is_tensor else _fill_value(input, src, "scatter_"))
    r = wrap(array, input._kind)
    if not is_tensor:
        return record(r, "ScatterBackward1", (input,), lambda g, i: scatter(g, dim, i, 0), (index,))
    return _record_scatter(r, input, dim, index, src)


def _record_scatter(r: Tensor, input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    shape = src._a.shape
    return record(r, "ScatterBackward0", (input, src),
                  (lambda g, i: scatter(g, dim, i, 0), lambda g, i: _src_grad(g, dim, i, shape)), (index,))


def _scatter_combine(input: Tensor, dim: int, i: Any, src: Any, reduce: str) -> Tensor:
    """scatter(reduce=...): without gradient, as in PyTorch."""
    array = input._a.copy("C")
    values = _cut(src._a, i.shape) if isinstance(src, Tensor) else np.full(i.shape, _fill_value(input, src, "scatter_"), like=array)
    if reduce == "add":
        _add_scattered(array, dim, i, values)
    elif i.size:
        target, at = (array, i) if array.ndim else (array.reshape(1), i.reshape(1))
        values = values.reshape(at.shape)
        if not K.scatter_into(target, dim, at, values, "multiply"):
            np.multiply.at(target, _grid(at, dim), values)

    def refuse(*_: Any) -> Any:
        raise RuntimeError("derivative for aten::scatter with reduce is not implemented: use scatter_reduce or scatter_add")
    inputs = (input, src) if isinstance(src, Tensor) else (input,)
    return record(wrap(array, input._kind), "NotImplemented", inputs, refuse)


@op(method=True, inplace="apart", out=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with ``out[index[i][j]][j] += src[i][j]`` (dim 0; others alike); positions may repeat."""
    array = K.scattered(input._a, dim, index._a, src._a, 1) if src._kind is input._kind else None
    if array is None:
        dim, i = _scatter_checks("scatter", input, dim, index, src)
        array = input._a.copy("C")
        _add_scattered(array, dim, i, src._a)
    elif dim < 0:
        dim += array.ndim
    shape = src._a.shape
    return record(wrap(array, input._kind), "ScatterAddBackward0", (input, src),
                  (lambda g, i: g, lambda g, i: _src_grad(g, dim, i, shape)), (index,))


_QUICK = {"sum": K.HOW["add"], "prod": K.HOW["multiply"], "amax": K.HOW["maximum"], "amin": K.HOW["minimum"]}
_REDUCERS = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


@op(method=True, inplace="apart", out=True)
def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """A copy in which the values of `src` that go to one place are reduced there: "sum", "prod", "mean", "amax" or "amin".
    `include_self`: together with the value that is there."""
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        wrap_dim(dim, input._a.ndim)
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    return _scatter_reduce(input, dim, index, src, reduce, include_self, "ScatterReduceBackward0")


def _scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool, name: str) -> Tensor:
    array = None
    if include_self and reduce in _QUICK and src._kind is input._kind:
        array = K.scattered(input._a, dim, index._a, src._a, _QUICK[reduce])
    if array is None:
        dim, i = _scatter_checks("scatter", input, dim, index, src)
        array = _reduced(input._a, dim, i, src._a, reduce, include_self, input._kind)
    elif dim < 0:
        dim += array.ndim
    r = wrap(array, input._kind)
    shape = src._a.shape

    def grad(g: Tensor, x: Tensor, i: Tensor, s: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return _reduce_grad(g, x, dim, i, s, y, reduce, include_self, shape)
    return record(r, name, (input, src), grad, (input, index, src, r), holomorphic=False)


def _reduced(a: Array, dim: int, i: Array, values: Array, reduce: str, include_self: bool, kind: Kind) -> Array:
    work = a.astype(np.float32) if kind.reduced else a.copy("C")
    if i.size == 0:
        return work.astype(kind.np, copy=False)
    at = i if i.ndim else i.reshape(1)
    target = work if work.ndim else work.reshape(1)
    values = _cut(values, i.shape).reshape(at.shape).astype(work.dtype, copy=False)
    grid = _grid(at, dim)
    if not include_self:
        K.scatter(target, dim, at, np.asarray({"sum": 0, "mean": 0, "prod": 1, "amax": _lowest(work.dtype),
                                               "amin": _highest(work.dtype)}[reduce], work.dtype,
                                              like=work))
    if reduce in ("sum", "mean"):
        _add_scattered(target, dim, at, values)
    else:
        ufunc = _REDUCERS[reduce]
        if not K.scatter_into(target, dim, at, values, ufunc.__name__):
            ufunc.at(target, grid, values)
    if reduce == "mean":
        counts = _counts(target.shape, dim, at, include_self)
        np.floor_divide(target, counts.astype(target.dtype),
                        out=target) if target.dtype.kind in "iub" else np.divide(target, counts, out=target,
                                                                                                                  casting="unsafe")
    return work.astype(kind.np, copy=False)


def _counts(shape: tuple[int, ...], dim: int, index: Any, include_self: bool) -> Any:
    """How many values were combined at each place, at least 1."""
    counts = np.ones(shape, like=index) if include_self else np.zeros(shape, like=index)
    return np.maximum(_add_scattered(counts, dim, index, np.ones(index.shape, like=index)), 1)


def _lowest(d: NumpyDtype) -> float:
    return False if d.kind == "b" else -np.inf if d.kind in "fc" else np.iinfo(d).min


def _highest(d: NumpyDtype) -> float:
    return True if d.kind == "b" else np.inf if d.kind in "fc" else np.iinfo(d).max


def _reduce_grad(g: Tensor, x: Tensor, dim: int, i: Tensor, s: Tensor, y: Tensor, reduce: str, include_self: bool,
                 shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Gradients of scatter_reduce for the tensor and the scattered values."""
    if i._a.size == 0:
        return g, g.new_zeros(shape)
    if s._a.shape != i._a.shape:
        s = s[tuple([slice(0, n) for n in i._a.shape])]
    if reduce == "sum":
        to_x, to_s = g, gather(g, dim, i)
    elif reduce == "mean":
        at = i._a if i._a.ndim else i._a.reshape(1)
        counts = wrap(_counts(g._a.shape or (1,), dim, at, include_self).reshape(g._a.shape).astype(g._kind.np), g._kind)
        to_x = g / counts
        to_s = gather(to_x, dim, i)
    elif reduce == "prod":
        to_x, to_s = _prod_grad(g, x, dim, i, s, include_self)
    else:
        kind = g._kind
        is_x, is_s = (x.detach() == y.detach()).to(kind.dtype), (s.detach() == gather(y.detach(), dim, i)).to(kind.dtype)
        if not include_self:
            is_x = scatter(is_x, dim, i, 0)
        shared = g / scatter_add(is_x, dim, i, is_s)
        to_x, to_s = where(is_x != 0, shared * is_x, 0), gather(where(scatter_add(is_x, dim, i, is_s) != 0, shared, 0), dim, i) * is_s
    if not include_self:
        to_x = scatter(to_x, dim, i, 0)
    if to_s._a.shape != shape:
        to_s = embed(to_s, shape, tuple([slice(0, n) for n in to_s._a.shape]))
    return to_x, to_s


def _prod_grad(g: Tensor, x: Tensor, dim: int, i: Tensor, s: Tensor, include_self: bool) -> tuple[Any, Any]:
    """Each factor's gradient is the product of the others: the product without zeros, divided by the factor where it is not zero."""
    zero_x, zero_s = x.detach() == 0, s.detach() == 0
    if not include_self:
        zero_x = scatter(zero_x, dim, i, False)
    safe_x, safe_s = where(zero_x, 1, x), where(zero_s, 1, s)
    nonzero = scatter_reduce(safe_x, dim, i, safe_s, "prod", include_self=include_self)
    zeros = scatter_add(zero_x.to(g.dtype), dim, i, zero_s.to(g.dtype))
    ours = zeros.detach()

    def share(zero: Tensor, safe: Tensor, count: Tensor, product: Tensor, g: Tensor) -> Tensor:
        alone = (count == 0) | ((count == 1) & zero)          # no other factor is zero
        return where(alone, g * product / safe, 0)
    return (share(zero_x, safe_x, ours, nonzero, g),
            share(zero_s, safe_s, gather(ours, dim, i), gather(nonzero, dim, i), gather(g, dim, i)))


# --- index_add and its like -----------------------------------------------------------------------------------------------------------

def _index_checks(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor, same: str) -> tuple[int, Any]:
    dim = wrap_dim(dim, input._a.ndim)
    if index._a.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {index._a.ndim} with type: {title(index.dtype)} and "
                         f"size: {list(index._a.shape)}")
    if index._kind.dtype.name not in ("int64", "int32"):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index but got: {title(index.dtype)}")
    if source._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"{name}(): self ({title(input.dtype)}) and {same} ({title(source.dtype)}) must have the same scalar type")
    shape, have = input._a.shape, source._a.shape
    count = have[dim] if len(have) > dim else 1
    if index._a.size != count:
        raise RuntimeError(f"{name}(): Number of indices ({index._a.size}) should be equal to source.size(dim): ({count}), for dim: {dim}")
    if len(shape) != len(have) and shape and have or any(n != m for d, (n, m) in enumerate(zip(shape, have, strict=False)) if d != dim):
        raise RuntimeError("source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
                           f"{list(shape)} source.shape = {list(have)}")
    i = index._a.reshape(-1)
    _in_range(i, dim, shape[dim] if shape else 1)
    return dim, i


@op(method=True, inplace="apart", out=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Scalar = 1) -> Tensor:
    """A copy with ``alpha * source``'s slices added to the slices that `index` names; they may repeat."""
    dim, i = _index_checks("index_add_", input, dim, index, source, "source")
    values = source._a
    if alpha.__class__ is not int or alpha != 1:
        values = values * np.asarray(alpha).astype(source._kind.np)
    array = input._a.copy()
    small = values.size <= 32768 and values.ndim == array.ndim
    if not (small and K.add_slices(array, dim, i, values)):
        put_add(array.shape or (1,), {dim: i}, values if values.ndim else values.reshape(1), array if array.ndim else array.reshape(1))
    shape = source._a.shape
    return record(wrap(array, input._kind), "IndexAddBackward0", (input, source),
                  (lambda g, i: g, lambda g, i: g.index_select(dim, i).reshape(shape) * alpha), (index,))


@op(method=True, inplace="apart", out=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with the slices that `index` names replaced by those of `source`."""
    shape, have = input._a.shape, source._a.shape
    dim = wrap_dim(dim, len(shape))
    if index._a.ndim > 1:
        raise IndexError(f"index_copy_(): Index should have dimension 1 or 0 (got {index._a.ndim})")
    if len(have) != len(shape) and have and shape:
        raise IndexError("index_copy_(): When source and destination are not scalars, their dimensionality must match. Source "
                         f"dimensionality ({len(have)}), destination dimensionality ({len(shape)})")
    if index._kind.dtype.name != "int64":
        raise RuntimeError(f"index_copy_(): Expected a long tensor for index, but got {title(index.dtype)}")
    if source._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"index_copy_(): self and source expected to have the same dtype, but got (self) {title(input.dtype)} and "
                           f"(source) {title(source.dtype)}")
    if any(n != m for d, (n, m) in enumerate(zip(shape, have, strict=False)) if d != dim):
        raise RuntimeError(f"index_copy_(): Source/destination tensor must have same slice shapes. Destination slice shape: {list(shape)} "
                           f"and source slice shape: {list(have)} at dimension {dim}")
    if index._a.size != (have[dim] if have else 1):
        raise IndexError(f"index_copy_(): Number of indices ({index._a.size}) should be equal to source.size(dim) "
                         f"({have[dim] if have else 1})")
    i, n = index._a.reshape(-1), shape[dim] if shape else 1
    if i.size and (i.min() < 0 or i.max() >= n):
        raise IndexError(f"index_copy_(): index {i[(i < 0) | (i >= n)][0]} is out of bounds for dimension {dim} with size {n}")
    array = input._a.copy()
    if array.ndim:
        array[(slice(None),) * dim + (i,)] = source._a if have else source._a.reshape((1,) * len(shape))
    elif i.size:
        array[...] = source._a.reshape(())
    return record(wrap(array, input._kind), "IndexCopyBackward0", (input, source),
                  (lambda g, i: index_fill(g, dim, i, 0), lambda g, i: g.index_select(dim, i).reshape(have)), (index,))


@op(method=True, inplace="apart")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy with the slices that `index` names (negative numbers count from the end) filled with a number or 0-dim tensor."""
    v = _fill_value(input, value, "index_fill_")
    if index._kind.dtype.name != "int64":
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    dim = wrap_dim(dim, input._a.ndim)
    if index._a.ndim > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    i, n = index._a.reshape(-1), input._a.shape[dim] if input._a.ndim else 1
    if i.size and (i.min() < -n or i.max() >= n):
        raise IndexError(f"index {i[(i < -n) | (i >= n)][0]} is out of bounds for dimension {dim} with size {n}")
    array = input._a.copy()
    (array if array.ndim else array.reshape(1))[(slice(None),) * dim + (i,)] = v
    r = wrap(array, input._kind)
    if isinstance(value, Tensor):
        return record(r, "IndexFillBackward1", (input, value),
                      (lambda g, i: index_fill(g, dim, i, 0), lambda g, i: g.index_select(dim, (i % n).unique()).sum()), (index,))
    return record(r, "IndexFillBackward0", (input,), lambda g, i: index_fill(g, dim, i, 0), (index,))


def _index_tuple(name: str, input: Tensor, indices: tuple[Tensor, ...]) -> dict[int, Any]:
    """The argument `indices` of index_put: index arrays by dimension."""
    if isinstance(indices, Tensor) or not isinstance(indices, (tuple, list)):
        raise TypeError(f"{name}(): argument 'indices' (position 1) must be tuple of Tensors, not {type(indices).__name__}")
    arrays: dict[int, Any] = {}
    d = 0
    for n, index in enumerate(indices):
        if not isinstance(index, Tensor):
            raise TypeError(f"expected Tensor as element {n} in argument 0, but got {type(index).__name__}")
        prepared = _prepare_tensor(index)
        if isinstance(prepared, (int, bool)):
            prepared = input._kind.xp.asarray(prepared)
        if prepared.dtype.kind == "b":
            for each in prepared.nonzero():
                arrays[d] = each
                d += 1
        else:
            arrays[d] = prepared
            d += 1
    return arrays


@op(method=True)
def index_put(input: Tensor, indices: tuple[Tensor, ...], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with ``[indices]`` set to `values` (or, accumulate, added to; positions may repeat)."""
    return index_put_into(input.clone(), _put_arrays(input, indices), values, accumulate)


def _put_arrays(input: Tensor, indices: tuple[Tensor, ...]) -> dict[int, Any]:
    arrays = _index_tuple("index_put", input, indices)
    if arrays and max(arrays) >= input._a.ndim:
        raise IndexError(f"too many indices for tensor of dimension {input._a.ndim} (got {max(arrays) + 1})")
    return arrays


def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """In-place form of `index_put`."""
    return index_put_into(self, _put_arrays(self, indices), values, accumulate)


method(index_put_, guard=True)
export(checked_inplace(index_put_, "index_put"), "index_put_")


@op(method=True, inplace="apart", out=True)
def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """A copy in which the slices of `source` that go to one slice are reduced there: "prod", "mean", "amax" or "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    dim, i = _index_checks("index_reduce_", input, dim, index, source, "source")
    if input._a.ndim == 0:
        return _scatter_reduce(input, 0, index.reshape(()), source.reshape(()), reduce, include_self, "IndexReduceBackward0")
    shape = [1] * input._a.ndim
    shape[dim] = i.size
    spread = wrap(np.broadcast_to(i.reshape(shape), source._a.shape).copy(), index._kind)
    return _scatter_reduce(input, dim, spread, source, reduce, include_self, "IndexReduceBackward0")
