"""Order: sort, topk, kthvalue, median, mode, quantile, unique, searchsorted, histograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import return_types
from ..dims import wrap_dim
from ..dtypes import float32, float64, int32
from ..kernels import sorting as K
from ..kernels.arrays import as_array
from ..kernels.indexing import gather, scatter, select_masked
from ..kernels.reduce import amax, amin
from ..kernels.strides import zeros_for
from ..kind import Kind
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Dims, Function, PerDim
from .errors import not_a_tensor, not_implemented, title
from .joining import stack
from .public import op
from .record import record
from .reduction import _evenly

__all__: list[str] = []


def _comparable(input: Tensor, name: str) -> Array:
    """The array to compare by: float32 for reduced precision, int8 for bool."""
    kind = input._kind
    if kind.is_complex:
        raise not_implemented(name, kind)
    return input._a.astype(np.float32) if kind.reduced else input._a


def _picked(input: Tensor, at: Array, dim: int, name: str) -> tuple[Tensor, Tensor]:
    """(values, indices) for indices along a dimension, with gradient."""
    at = np.ascontiguousarray(at, like=at)
    index = wrap(at, input._kind.int64)
    values = wrap(gather(input._a, dim, at), input._kind)
    shape = input._a.shape

    def array_grad(g: Array, at: Any) -> Any:
        full = zeros_for(g, shape)
        scatter(full, dim, at, g)
        return full
    record(values, name, (input,), lambda g, index: g.new_zeros(shape).scatter(dim, index, g), (index,), array_grad=array_grad)
    return values, index


def _check_flags(name: str, **flags: Any) -> None:
    for argument, value in flags.items():
        if not isinstance(value, (bool, np.bool_, int)):
            raise TypeError(f"{name}(): argument '{argument}' must be bool, not {type(value).__name__}")


@op(method=True, out=True)
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) sorted along a dimension; equal elements keep their order; nan counts as the largest."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("sort", "input", 1, input)
    dim = wrap_dim(dim, input._a.ndim)
    _check_flags("sort", descending=descending)
    a = _comparable(input, "sort")
    if a.ndim == 0:
        return return_types.sort((input.clone(), wrap(input._kind.xp.zeros((), np.int64), input._kind.int64)))
    return return_types.sort(_picked(input, K.order(a, dim, descending), dim, "SortBackward0"))


@op(method=True, out=True)
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort along a dimension."""
    return sort(input.detach(), dim, descending)[1]


@op(method=True, out=True)
def msort(input: Tensor) -> Tensor:
    """Sorted along the first dimension."""
    return sort(input, 0)[0]


@op(method=True, out=True)
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(values, indices) of the k largest (or smallest) elements along a dimension, in order."""
    dim = wrap_dim(dim, input._a.ndim)
    a = _comparable(input, "topk")
    if a.dtype == bool and input._kind.device.type == "cpu":
        raise RuntimeError("topk does not support bool dtypes on CPU")
    size = a.shape[dim] if a.ndim else 1
    _check_flags("topk", largest=largest, sorted=sorted)
    k = k.item() if isinstance(k, Tensor) else k
    if not 0 <= k <= size:
        raise RuntimeError("selected index k out of range")
    if a.ndim == 0:
        return return_types.topk((input.clone(), wrap(input._kind.xp.zeros((), np.int64), input._kind.int64)))
    return return_types.topk(_picked(input, K.first(a, dim, k, largest), dim, "TopkBackward0"))


@op(method=True, out="fresh")
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(value, index) of the k-th smallest element along a dimension (k counts from 1)."""
    dim = wrap_dim(dim, input._a.ndim)
    size = input._a.shape[dim] if input._a.ndim else 1
    if not size:
        raise IndexError(f"kthvalue(): Expected reduction dim {dim} to have non-zero size.")
    a = _comparable(input, "kthvalue")
    if a.dtype == bool:
        raise not_implemented("kthvalue", input._kind)
    if not 1 <= k <= size:
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(dim))
    if a.ndim == 0:
        return return_types.kthvalue((input.clone(), wrap(input._kind.xp.zeros((), np.int64), input._kind.int64)))
    at = K.selected_places(a, dim, k - 1)
    if at is NotImplemented:
        at = K.at_rank(a, dim, np.full([1 if i == dim else n for i, n in enumerate(a.shape)], k - 1, like=a).astype(np.int64))
    return return_types.kthvalue(_maybe_squeezed(_picked(input, at, dim, "KthvalueBackward0"), dim, keepdim))


def _maybe_squeezed(pair: tuple[Tensor, Tensor], dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return pair if keepdim else (pair[0].squeeze(dim), pair[1].squeeze(dim))


def _median(name: str, skip_nan: bool, kind_of_result: type[Any]) -> Function:
    def fn(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Any:
        if dim is not None and isinstance(dim, int):
            wrap_dim(dim, input._a.ndim)
        a = _comparable(input, name) if input._a.size or dim is not None else input._a
        if a.dtype == bool and a.size:
            raise not_implemented(name + "_out", input._kind)
        if dim is None:
            if a.size == 0:
                whole = not input._kind.differentiable and a.dtype != bool
                nothing = np.iinfo(input._kind.np).min if whole else np.nan       # nan, converted
                return wrap(as_array(np.array(nothing, input._kind.np)), input._kind)
            value = _median_along(input.detach().reshape(-1), 0, False)[0]
            return record(value, "MedianBackward0", (input,), lambda g, x, y: _evenly(g, x, y, None), (input, value))
        dim = wrap_dim(dim, a.ndim)
        if a.ndim == 0:
            return kind_of_result((input.clone(), wrap(input._kind.xp.zeros((), np.int64), input._kind.int64)))
        if a.shape[dim] == 0:
            raise IndexError(f"median(): Expected reduction dim {dim} to have non-zero size.")
        return kind_of_result(_median_along(input, dim, keepdim))

    def _median_along(input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
        a = _comparable(input, name)
        at = K.median_places(a, dim, skip_nan)
        return _maybe_squeezed(_picked(input, at, dim, "MedianBackward0" if not skip_nan else "NanmedianBackward0"), dim, keepdim)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = "The lower median of all elements, or (values, indices) along a dimension" + ("; nan is left out." if skip_nan else ".")
    return op(method=True, out=True)(fn)


median = _median("median", False, return_types.median)
nanmedian = _median("nanmedian", True, return_types.nanmedian)


@op(method=True, out=True)
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the most frequent element along a dimension (the smallest of several; its last place)."""
    dim = wrap_dim(dim, input._a.ndim)
    if input._a.ndim and input._a.shape[dim] == 0:
        raise IndexError(f"mode(): Expected reduction dim {dim} to have non-zero size.")
    a = _comparable(input, "mode")
    if a.ndim == 0:
        return return_types.mode((input.clone(), wrap(input._kind.xp.zeros((), np.int64), input._kind.int64)))
    at = K.mode_places(a, dim)
    return return_types.mode(_maybe_squeezed(_picked(input, at, dim, "ModeBackward0"), dim, keepdim))


def _quantile(input: Tensor, q: Any, dim: PerDim, keepdim: bool, interpolation: str, skip_nan: bool) -> Tensor:
    kind = input._kind
    if kind.dtype not in (float32, float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q}")
        q = wrap(as_array(q, kind.np), kind)
    if q._kind is not kind:
        raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
    if q._a.ndim > 1:
        raise RuntimeError("quantile() q must be a scalar or 1D tensor")
    if ((q._a < 0) | (q._a > 1)).any():
        raise RuntimeError("quantile() q values must be in the range [0, 1]")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(f"quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}")
    if input._a.size == 0:
        raise RuntimeError("quantile() input tensor must be non-empty")
    ndim = input._a.ndim
    x = input.reshape(-1) if dim is None else input.unsqueeze(0) if ndim == 0 else input
    axis = 0 if dim is None else wrap_dim(dim, ndim)
    values = sort(x, axis)[0]
    size = x._a.shape[axis]
    nans = np.isnan(values._a).sum(axis=axis, keepdims=True)
    last = np.maximum(size - nans - 1, 0) if skip_nan else np.full(nans.shape, size - 1, like=nans)
    results = []
    for each in q.reshape(-1).unbind(0):
        results.append(_quantile_at(values, each, axis, last, nans, interpolation, skip_nan))
    if not results:
        rest = (1,) * ndim if dim is None else (*x._a.shape[:axis], 1, *x._a.shape[axis + 1:])
        return input.new_empty((0, *(rest if keepdim else () if dim is None or not ndim else (*rest[:axis], *rest[axis + 1:]))))
    if ndim == 0:
        return stack(results).reshape(q._a.shape)
    shaped = [r if keepdim and dim is not None else r.reshape([1] * ndim) if keepdim else r.squeeze(axis) for r in results]
    return stack(shaped) if q._a.ndim else shaped[0]


def _quantile_at(values: Tensor, q: Tensor, axis: int, last: Any, nans: Any, interpolation: str, skip_nan: bool) -> Tensor:
    rank = q._a.astype(np.float64) * last
    if not skip_nan:
        rank = np.where(nans > 0, last, rank)
    if interpolation == "nearest":
        rank = np.rint(rank)
    elif interpolation == "lower":
        rank = np.floor(rank)
    elif interpolation == "higher":
        rank = np.ceil(rank)
    low = np.floor(rank).astype(np.int64)
    high = np.ceil(rank).astype(np.int64)
    below = values.gather(axis, wrap(low, values._kind.int64))
    if interpolation in ("nearest", "lower", "higher"):
        return below
    weight = np.full(rank.shape, 0.5, like=rank) if interpolation == "midpoint" else rank - low
    above = values.gather(axis, wrap(high, values._kind.int64))
    share = wrap(as_array(weight, values._a.dtype), values._kind)
    if q._node is not None and interpolation == "linear":
        record(share, "QuantileRankBackward0", (q,), lambda g: (g * wrap(as_array(last, values._a.dtype), values._kind)).sum())
    return below.lerp(above, share)


@op(method=True, out=True)
def quantile(input: Tensor, q: Any, dim: Dims = None, keepdim: bool = False, *, interpolation: str = "linear") -> Tensor:
    """The q-quantiles (q in [0, 1], a number or 1-D tensor) of all elements or along a dimension."""
    return _quantile(input, q, dim, keepdim, interpolation, False)


@op(method=True, out=True)
def nanquantile(input: Tensor, q: Any, dim: Dims = None, keepdim: bool = False, *, interpolation: str = "linear") -> Tensor:
    """`quantile` without nan."""
    return _quantile(input, q, dim, keepdim, interpolation, True)


# --- sets -----------------------------------------------------------------------------------------------------------------------------

def _results(values: Tensor, inverse: Any, counts: Any, return_inverse: bool, return_counts: bool, input: Tensor) -> Any:
    def no_gradient(g: Tensor) -> Any:
        raise NotImplementedError("the derivative for 'unique' is not implemented.")
    record(values, "NotImplemented", (input,), no_gradient)
    int64 = input._kind.int64
    out: list[Any] = [values]
    if return_inverse:
        out.append(wrap(as_array(inverse, np.int64), int64))
    if return_counts:
        out.append(wrap(as_array(counts, np.int64), int64))
    return out[0] if len(out) == 1 else tuple(out)


def _no_complex(kind: Kind) -> None:
    if kind.is_complex:
        raise NotImplementedError(f"\"unique\" not implemented for 'Complex{kind.dtype.to_real().alias.capitalize()}'")


def _distinct(a: Any, with_inverse: bool, with_counts: bool) -> tuple[Any, Any, Any]:
    """(the different elements of a vector in order, where each went, how often each occurs); nan differs from nan."""
    n = a.size
    if a.__class__ is not np.ndarray or n < 64 or a.dtype.char not in "fdlihbB":
        return np.unique(a, return_inverse=True, return_counts=True, equal_nan=False)  # type: ignore[return-value]
    if a.dtype == np.int64:
        low, high = int(amin(a, None, False)), int(amax(a, None, False))
        if high - low < 2 * n:                       # close to one another: counted instead of sorted
            counts = K.count_each(a, low, high - low + 1)
            used = np.flatnonzero(counts)
            inverse = (np.cumsum(counts != 0) - 1)[a - low] if with_inverse else None
            return used + low, inverse, counts[used]
    at = K.order(a, 0, False)
    ordered = a[at]
    first = _changes(ordered)
    values, starts = ordered[first], np.flatnonzero(first) if with_counts else None
    inverse = None
    if with_inverse:
        inverse = np.empty(n, np.int64)
        inverse[at] = np.cumsum(first) - 1
    return values, inverse, None if starts is None else np.diff(starts, append=n)


def _changes(a: Any) -> Any:
    """Where an element differs from the one before (and at the first one)."""
    new = np.empty(a.shape, bool)
    new[:1] = True
    np.not_equal(a[1:], a[:-1], out=new[1:])
    return new


@op(method=True)
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: Dims = None) -> Any:
    """The different elements (or slices along `dim`), sorted; with where each went, and how often each occurs, if asked."""
    kind, a = input._kind, input._a
    _no_complex(kind)
    if dim is None:
        work = a.astype(np.float32) if kind.reduced else a
        values, inverse, counts = _distinct(work.reshape(-1), return_inverse, return_counts)
        inverse = inverse if inverse is None else inverse.reshape(-1)
        return _results(wrap(as_array(values, kind.np), kind), inverse if inverse is None else inverse.reshape(a.shape), counts,
                        return_inverse, return_counts, input)
    dim = wrap_dim(dim, a.ndim)
    if a.size == 0 and any(n == 0 for i, n in enumerate(a.shape) if i != dim):
        raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique cannot be applied")
    values, inverse, counts = np.unique(a, return_inverse=True, return_counts=True, axis=dim)
    return _results(wrap(values, kind), inverse.reshape(-1), counts, return_inverse, return_counts, input)


@op(method=True)
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: Dims = None) -> Any:
    """Like `unique`, but only neighbours that are equal are merged."""
    kind, a = input._kind, input._a
    _no_complex(kind)
    rows = a.reshape(-1) if dim is None else np.moveaxis(a, wrap_dim(dim, a.ndim), 0)
    n = rows.shape[0]
    if dim is None and a.__class__ is np.ndarray:
        new = _changes(rows)
        values = select_masked(rows, new)
        counts = np.diff(np.flatnonzero(new), append=n) if return_counts else None
        inverse = (np.cumsum(new) - 1).reshape(a.shape) if return_inverse else None
        return _results(wrap(rows[new] if values is None else values, kind), inverse, counts, return_inverse, return_counts, input)
    flat = rows.reshape(n, rows.size // n if n else 0)
    new = np.ones(n, bool, like=a)
    new[1:] = (flat[1:] != flat[:-1]).any(axis=1)
    starts = np.flatnonzero(new)
    counts = np.diff(np.append(starts, n))
    inverse = np.cumsum(new) - 1
    values = rows[starts]
    if dim is None:
        return _results(wrap(values, kind), inverse.reshape(a.shape), counts, return_inverse, return_counts, input)
    values = np.ascontiguousarray(np.moveaxis(values, 0, wrap_dim(dim, a.ndim)))
    return _results(wrap(values, kind), inverse, counts, return_inverse, return_counts, input)


@op(out=True)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Where `elements` are among `test_elements`."""
    t = elements if isinstance(elements, Tensor) else test_elements
    if not isinstance(t, Tensor):
        raise TypeError("isin() needs at least one tensor")
    for each in (elements, test_elements):
        if isinstance(each, Tensor) and (each._kind.is_complex or each._kind is each._kind.bool_):
            raise RuntimeError(f"Unsupported input type encountered for isin(): {title(each._kind.dtype)}")
        if isinstance(each, (bool, complex)):
            raise RuntimeError(f"Unsupported input type encountered for isin(): {'Bool' if isinstance(each, bool) else 'ComplexDouble'}")
    a = elements._a if isinstance(elements, Tensor) else np.asarray(elements)
    b = test_elements._a if isinstance(test_elements, Tensor) else np.asarray(test_elements)
    return wrap(as_array(np.isin(a, b, assume_unique=False, invert=invert)), t._kind.bool_)


# --- binary search and histograms -----------------------------------------------------------------------------------------------------

@op(out=True)
def searchsorted(sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
                 sorter: Any = None) -> Tensor:
    """Where values would have to be inserted in the sorted last dimension; side "left" (first place) or "right" (last)."""
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True")
    sequence = sorted_sequence._a
    if isinstance(input, Tensor) and input._kind.dtype is not sorted_sequence._kind.dtype:
        raise RuntimeError("torch.searchsorted(): boundary tensor and input value tensor should have same dtype, but got boundary tensor "
                           f"dtype {sorted_sequence._kind.dtype.alias} and input value tensor dtype {input._kind.dtype.alias}")
    values = input._a if isinstance(input, Tensor) else np.asarray(input)
    for each in (values, sequence):
        if each.dtype.kind == "c":
            raise NotImplementedError(f"\"searchsorted_out_cpu\" not implemented for '{title(sorted_sequence._kind.dtype)}'")
    if sequence.ndim > 1 and (sequence.shape[:-1] != values.shape[:-1]):
        raise RuntimeError("torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
                           f"tensor and input value tensor must match, but we got boundaries tensor {list(sequence.shape)} and input value "
                           f"tensor {list(values.shape)}")
    if sorter is not None:
        if sorter._a.shape != sequence.shape:
            raise RuntimeError("torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
                               f"{list(sequence.shape)} and got sorter tensor {list(sorter._a.shape)}")
        sequence = np.take_along_axis(sequence, sorter._a, -1)
    r = as_array(K.search(sequence, values, right or side == "right"))
    kind = sorted_sequence._kind.int64
    if out_int32:
        kind = kind.with_dtype(int32)
    return wrap(r.astype(kind.np, copy=False), kind)


@op(method=True, out=True)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket of each value between sorted 1-D boundaries."""
    if boundaries._a.ndim != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries._a.ndim})")
    if isinstance(input, Tensor) and input._kind.dtype is not boundaries._kind.dtype:
        boundaries = boundaries.to(input._kind.dtype) if input._kind.differentiable else boundaries
        input = input.to(boundaries._kind.dtype)
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@op(method=True)
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number 0, 1, 2, ... occurs in a 1-D tensor of non-negative integers (or the sums of their weights)."""
    a = input._a
    if input._kind.differentiable or a.dtype == bool:
        raise not_implemented("bincount", input._kind)
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if a.ndim != 1 or (a.size and amin(a, None, False) < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights._a.shape != a.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    if weights is None:
        if a.__class__ is np.ndarray:
            return wrap(K.count_each(a, 0, max(minlength, int(amax(a, None, False)) + 1 if a.size else 0)), input._kind.int64)
        return wrap(np.bincount(a, minlength=minlength).astype(np.int64), input._kind.int64)
    r = np.bincount(a, weights=weights._a.astype(np.float64), minlength=minlength)
    kind = weights._kind if weights._kind.dtype is float32 else weights._kind.with_dtype(float64)
    return wrap(r.astype(kind.np), kind)
