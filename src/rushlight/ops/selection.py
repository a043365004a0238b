"""Choosing elements: where, masks, nonzero, take, index_select, and the forms that put a slice back into a copy."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dims import wrap_dim
from ..kernels import indexing as K
from ..kernels.arrays import as_array
from ..kernels.fuse import fuse
from ..kernels.native import kernel, takes_target
from ..kernels.shapes import broadcast_shapes
from ..kernels.strides import zeros_for
from ..kind import kind_of
from ..settings import alert_not_deterministic
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Operand
from .accumulate import add_rows, put_add
from .creation import _fits
from .errors import broadcast_error, title
from .indexing import _plain
from .joining import cat
from .promotion import in_64_bits, result_dtype
from .public import export, method, op
from .record import record
from .slices import _at, basic, diagonal
from .write import AT_ONCE, inplace_from, writable, write_out

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["where", "masked_fill", "index_select", "out_of_range", "vector_index"]

_NUMBERS = (int, float, complex, np.number, np.bool_)


_select = kernel("where", np.where)
_shares = fuse(lambda g, m: (np.where(m, g, 0.0), np.where(m, 0.0, g)))       # gradients of where's two operands
_unmasked = fuse(lambda g, m: np.where(m, 0.0, g))


# --- where ----------------------------------------------------------------------------------------------------------------------------

def where(condition: Tensor, input: Any = None, other: Any = None, *, out: Tensor | None = None) -> Tensor:
    """`input` where the condition holds, else `other` (tensors or numbers, broadcast and promoted). With the condition alone: its
    ``nonzero(as_tuple=True)``."""
    if input.__class__ is other.__class__ is condition.__class__ is Tensor and out is None and input._kind is other._kind:
        kind = input._kind
        if kind.fast and condition._kind is kind.bool_:
            try:
                r = wrap(_select(condition._a, input._a, other._a), kind)
            except ValueError:
                raise _where_error(condition._a.shape, input._a.shape, other._a.shape) from None
            if input._node is None and other._node is None:
                return r
            return record(r, "WhereBackward0", (input, other), _where_grads, (condition,), _shares)
    if not isinstance(condition, Tensor):
        raise TypeError(f"where(): argument 'condition' (position 1) must be Tensor, not {type(condition).__name__}")
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    for each in (input, other):
        in_64_bits(each)
    if not isinstance(input, (Tensor, *_NUMBERS)) or not isinstance(other, (Tensor, *_NUMBERS)):
        raise TypeError("where() received an invalid combination of arguments: expected (Tensor condition, Tensor or Number input, Tensor "
                        f"or Number other), got ({type(condition).__name__}, {type(input).__name__}, {type(other).__name__})")
    d = condition._kind.dtype.name
    if d not in ("bool", "uint8"):
        raise RuntimeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {title(condition.dtype)}")
    a_tensor, b_tensor = isinstance(input, Tensor), isinstance(other, Tensor)
    if a_tensor and b_tensor and input._kind is other._kind:
        kind = input._kind
    else:
        kind = kind_of(result_dtype("where", input, other), condition._kind.device)
    x, y = _operand(input, kind), _operand(other, kind)
    c = condition._a if d == "bool" else condition._a != 0
    try:
        array = _select(c, x, y)
    except ValueError:
        raise _where_error(c.shape, x.shape, y.shape) from None
    r = wrap(array, kind)
    a, b = input if a_tensor else None, other if b_tensor else None
    if (a is None or a._node is None) and (b is None or b._node is None):
        return r if out is None else write_out(out, r, "where")
    if kind.differentiable:
        mask = condition if d == "bool" else wrap(c, condition._kind.bool_)
        record(r, "WhereBackward0", (a, b), _where_grads, (mask,), _shares)
    return r if out is None else write_out(out, r, "where")


_where_grads = (lambda g, m: where(m, g, 0), lambda g, m: where(m, 0, g))


def _operand(value: Operand, kind: Kind) -> Array:
    if isinstance(value, Tensor):
        if value._kind.device is not kind.device:
            if value._a.ndim:
                raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {kind.device} and "
                                   f"{value._kind.device}!")
            value = value.to(kind.device)
        return value._a if value._kind.dtype is kind.dtype else value._a.astype(kind.np)
    return kind.xp.asarray(_fits(value, kind), kind.np)


def _where_error(*shapes: tuple[int, ...]) -> RuntimeError:
    c, x, y = shapes
    for first, second in ((x, y), (c, x), (c, y)):
        try:
            broadcast_shapes(first, second)
        except ValueError:
            return broadcast_error(first, second)
    return broadcast_error(broadcast_shapes(x, y), c)


export(where)


def _where_method(self: Tensor, condition: Tensor, other: Operand) -> Tensor:
    """`self` where the condition holds, else `other`."""
    return where(condition, self, other)


method(_where_method, "where")


# --- masks ----------------------------------------------------------------------------------------------------------------------------

_C_NAMES = {"float32": "float", "float64": "double", "uint8": "unsigned char", "int64": "long int", "int32": "int", "int16": "short int",
            "int8": "signed char", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "complex64": "c10::complex<float>",
            "complex128": "c10::complex<double>"}


def _fill_value(input: Tensor, value: Operand, name: str) -> Array:
    """The value of a fill as an array of the input's dtype."""
    kind = input._kind
    if isinstance(value, Tensor):
        if value._a.ndim:
            raise RuntimeError(f"{name} only supports a 0-dimensional value tensor, but got tensor with {value._a.ndim} dimension(s).")
        if value._kind.is_complex and not kind.is_complex:
            raise RuntimeError(f"value cannot be converted to type {_C_NAMES[kind.dtype.name]} without overflow")
        return _operand(value.detach(), kind)
    if not isinstance(value, _NUMBERS):
        raise TypeError(f"{name.rstrip('_')}() received an invalid combination of arguments: 'value' must be Number or Tensor, not "
                        f"{type(value).__name__}")
    return kind.xp.asarray(_fits(value, kind), kind.np)


@op(method=True)
def masked_fill(input: Tensor, mask: Tensor, value: Operand) -> Tensor:
    """A copy with `value` (a number or 0-dim tensor) where the mask holds; mask and input broadcast."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"masked_fill() received an invalid combination of arguments - got ({type(mask).__name__}, {type(value).__name__})")
    if mask._kind.dtype.name != "bool":
        raise RuntimeError("masked_fill_ only supports boolean masks, but got mask with dtype "
                           f"{_C_NAMES.get(mask._kind.dtype.name, mask.dtype)}")
    v = _fill_value(input, value, "masked_fill_")
    try:
        array = _select(mask._a, v, input._a)
    except ValueError:
        raise broadcast_error(mask._a.shape, input._a.shape) from None
    r = wrap(array, input._kind)
    if isinstance(value, Tensor):
        return record(r, "MaskedFillBackward1", (input, value), (lambda g, m: masked_fill(g, m, 0), lambda g, m: where(m, g, 0).sum()),
                      (mask,))
    if input._node is None:
        return r
    return record(r, "MaskedFillBackward0", (input,), lambda g, m: masked_fill(g, m, 0), (mask,), _unmasked)


@method
def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """In-place form of `masked_fill`."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"masked_fill_(): argument 'mask' (position 1) must be Tensor, not {type(mask).__name__}")
    if mask._kind.dtype.name == "bool" and _plain(self, value):
        shows_twice = not self._a.flags.writeable
        if shows_twice:
            writable(self, by_index=True)
        v = _fill_value(self, value, "masked_fill_")
        try:
            if self._kind.fast and not shows_twice and mask._a.shape == self._a.shape and takes_target(_select):
                _select(mask._a, v, self._a, self._a)
            else:
                np.copyto(self._a, v, where=mask._a)
        except ValueError:
            return inplace_from(self, masked_fill, (self, mask, value), {})
        self._ver += 1
        return self
    return inplace_from(self, masked_fill, (self, mask, value), {})


@op(method=True, out="fresh")
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, as a vector; mask and input broadcast."""
    if mask._kind.dtype.name != "bool":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    a, m = input._a, mask._a
    try:
        full = a.shape if a.shape == m.shape else broadcast_shapes(a.shape, m.shape)
    except ValueError:
        raise broadcast_error(a.shape, m.shape) from None
    array = K.select_masked(a, m)
    if array is None:
        array = (a if a.shape == full else np.broadcast_to(a, full))[m if m.shape == full else np.broadcast_to(m, full)]
    r = wrap(array, input._kind)
    return record(r, "MaskedSelectBackward0", (input,), lambda g, m: g.new_zeros(full).masked_scatter(m, g), (mask,))


@op(method=True, inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy with the elements of `source`, in order, where the mask holds."""
    if mask._kind.dtype.name != "bool":
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {title(mask.dtype)}")
    if source._kind is not input._kind:
        raise RuntimeError(f"masked_scatter: expected self and source to have same dtypes but got {title(input.dtype)} and "
                           f"{title(source.dtype)}")
    array, m, full = input._a.copy(), mask._a, input._a.shape
    if K.fill_masked(array, m, source._a) is None:      # else shapes are equal and there are enough elements
        try:
            full = broadcast_shapes(full, m.shape)
        except ValueError:
            raise broadcast_error(input._a.shape, m.shape) from None
        array, m = np.broadcast_to(input._a, full).copy(), np.broadcast_to(m, full)
        if np.count_nonzero(m) > source._a.size:
            raise RuntimeError("Number of elements of source < number of ones in mask")
        np.place(array, m, source._a.reshape(-1))
    shape = source._a.shape

    def source_grad(g: Tensor, m: Tensor) -> Tensor:
        picked = masked_select(g, m)
        rest = prod(shape) - picked._a.size
        if rest:
            picked = cat([picked, g.new_zeros(rest)])
        return picked.reshape(shape)
    return record(wrap(array, input._kind), "MaskedScatterBackward0", (input, source), (lambda g, m: masked_fill(g, m, 0), source_grad),
                  (mask,))


# --- positions ------------------------------------------------------------------------------------------------------------------------

@op(method=True, out="fresh")
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not zero: one row each, or (as_tuple) one vector per dimension, fit for indexing."""
    kind = input._kind.int64
    rows = K.positions(input._a if input._kind.dtype.name == "bool" else input._a != 0)
    if rows is not None:
        return tuple([wrap(each.copy(), kind) for each in rows]) if as_tuple else wrap(rows.T, kind)
    if as_tuple:
        return tuple([wrap(each.copy(), kind) for each in (input._a if input._a.ndim else input._a.reshape(1)).nonzero()])
    if input._a.ndim == 0:
        return wrap(np.empty((int(input._a != 0), 0), np.int64, like=input._a), kind)
    return wrap(np.stack(input._a.nonzero()).T, kind)


@op(method=True)
def argwhere(input: Tensor) -> Tensor:
    """The positions of the elements that are not zero, one row each."""
    return nonzero(input)


@op(method=True, out="fresh")
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of the flattened tensor, in the shape of `index`; negative numbers count from the end."""
    if not isinstance(index, Tensor):
        raise TypeError(f"take(): argument 'index' (position 1) must be Tensor, not {type(index).__name__}")
    if index._kind.dtype.name != "int64":
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {title(index.dtype)}")
    flat, i = input._a.reshape(-1), index._a
    array = K.take_slices(flat, 0, i)
    if array is None:
        _flat_range(i, flat.size)
        array = as_array(flat[i])
    shape = input._a.shape
    return record(wrap(array, input._kind), "TakeBackward0", (input,), lambda g, i: put(g.new_zeros(shape), i, g, True), (index,),
                  lambda g, i: add_rows(zeros_for(g, (flat.size,)), i.reshape(-1), g.reshape(-1)).reshape(shape))


def _flat_range(index: Array, size: int) -> None:
    if index.size:
        wrong = index[(index < -size) | (index >= size)] if index.min() < -size or index.max() >= size else ()
        if len(wrong):
            raise IndexError(f"out of range: tried to access index {wrong[0]} on a tensor of {size} elements.")
        if not size:
            raise IndexError("take(): tried to take from an empty tensor")


def _put_places(input: Tensor, index: Tensor, source: Tensor) -> Array:
    """The positions as a flat array; PyTorch's errors for operands that do not fit."""
    if index._kind.dtype.name != "int64":
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {title(index.dtype)}")
    if source._kind is not input._kind:
        raise RuntimeError(f"put_(): self and source expected to have the same dtype, but got self.dtype = {title(input.dtype)} and "
                           f"source.dtype = {title(source.dtype)}")
    if source._a.size != index._a.size:
        raise IndexError("put_(): Expected source and index to have the same number of elements, but got source.numel() = "
                         f"{source._a.size}, index.numel() = {index._a.size}")
    i = index._a.reshape(-1)
    _flat_range(i, input._a.size)
    return i


def _put_into(flat: Array, i: Array, source: Tensor, accumulate: bool) -> None:
    if not accumulate:
        alert_not_deterministic("put_")
    if accumulate:
        add_rows(flat, i, source._a.reshape(-1))
    else:
        flat[i] = source._a.reshape(-1)


@op(method=True, inplace="apart")
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with the elements of `source` at positions of the flattened tensor, written or (accumulate) added."""
    i = _put_places(input, index, source)
    flat = input._a.flatten()
    _put_into(flat, i, source, accumulate)
    r = wrap(flat.reshape(input._a.shape), input._kind)
    shape = source._a.shape
    return record(r, "PutBackward0", (input, source),
                  (lambda g, i: g if accumulate else put(g, i, g.new_zeros(i._a.shape)), lambda g, i: take(g, i).reshape(shape)), (index,))


def _put_at_once(self: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> bool:
    a = self._a
    if not (a.__class__ is index._a.__class__ is source._a.__class__ is np.ndarray and a.flags.c_contiguous and a.flags.writeable):
        return False
    _put_into(a.reshape(-1), _put_places(self, index, source), source, accumulate)
    self._ver += 1
    return True


AT_ONCE[put] = _put_at_once


@export
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Tensor:
    """Elements along a dimension, by an index tensor that broadcasts with the input in the others; without dim, of the flattened tensor."""
    if not isinstance(input, Tensor) or not isinstance(indices, Tensor):
        raise TypeError("take_along_dim(): arguments 'input' and 'indices' must be Tensor")
    from .scatter import gather
    if dim is not None and indices._kind.dtype.name != "int64":
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {title(indices._kind.dtype)}")
    if dim is None:
        r = gather(input.reshape(-1), 0, indices.reshape(-1))
    else:
        if input._a.ndim != indices._a.ndim:
            raise RuntimeError("torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
                               f"{input._a.ndim} dimensions for input, and {indices._a.ndim} dimensions for indices")
        dim = wrap_dim(dim, input._a.ndim)
        a, b = list(input._a.shape), list(indices._a.shape)
        if a:
            a[dim] = b[dim] = 1
        try:
            common = list(broadcast_shapes(tuple(a), tuple(b)))
        except ValueError:
            raise broadcast_error(tuple(a), tuple(b)) from None
        if common:
            wide, narrow = list(common), list(common)
            wide[dim], narrow[dim] = input._a.shape[dim], indices._a.shape[dim]
            input, indices = input.expand(wide), indices.expand(narrow)
            if indices._a.size and indices._a.min() < 0:
                indices = where(indices < 0, indices % wide[dim], indices)
        r = gather(input, dim, indices)
    return r if out is None else write_out(out, r, "take_along_dim")


Tensor.take_along_dim = take_along_dim


# --- slices by number -----------------------------------------------------------------------------------------------------------------

def vector_index(index: Tensor, n: int, name: str) -> Array:
    """The array of an index vector, checked to be integers from 0 to n - 1."""
    if index._a.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    if index._kind.dtype.name not in ("int64", "int32"):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index")
    i = index._a.reshape(-1) if index._a.ndim != 1 else index._a
    if i.size and out_of_range(i, n):
        raise IndexError("index out of range in self")
    return i


def out_of_range(index: Array, n: int) -> bool:
    """Whether an integer array has an element below 0 or from n on. One pass: read as unsigned, negative numbers are huge."""
    if index.dtype == np.int64:
        return bool(index.view(np.uint64).max() >= n)
    return bool(index.min() < 0 or index.max() >= n)


@op(method=True, out="fresh")
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of a dimension that `index` (a vector) names, as a copy."""
    a = input._a
    quick = K.take_slices(a, dim, index._a) if index._a.ndim == 1 else None
    if quick is not None:
        r = wrap(quick, input._kind)
        return r if input._node is None else _record_index_select(r, input, dim if dim >= 0 else dim + a.ndim, index)
    dim = wrap_dim(dim, a.ndim)
    if a.ndim == 0:
        if index._a.size != 1:
            raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {index._a.size} value(s)")
        vector_index(index, 1, "index_select")
        return record(wrap(a.copy(), input._kind), "IndexSelectBackward0", (input,), lambda g: g)
    i = vector_index(index, a.shape[dim], "index_select")
    r = wrap(a.take(i, dim), input._kind)
    return r if input._node is None else _record_index_select(r, input, dim, index)


def _record_index_select(r: Tensor, input: Tensor, dim: int, index: Tensor) -> Tensor:
    shape = input._a.shape
    return record(r, "IndexSelectBackward0", (input,), lambda g, i: g.new_zeros(shape).index_add(dim, i, g), (index,),
                  lambda g, i: put_add(shape, {dim: i.reshape(-1)}, g))


# --- a slice put back into a copy -----------------------------------------------------------------------------------------------------

def _replaced(input: Tensor, src: Tensor, view: Any, name: str, undo: Any) -> Tensor:
    """A copy of `input` with `src` written into a view of it; `undo` gives the view of a gradient."""
    array = input._a.copy()
    target = view(array)
    if target.shape != src._a.shape:
        raise RuntimeError("expected src to have a size equal to the slice of self. "
                           f"src size = {list(src._a.shape)}, slice size = {list(target.shape)}")
    target[...] = src._a

    shape = src._a.shape

    def input_grad(g: Tensor) -> Tensor:
        return _replaced(g, g.new_zeros(shape), view, name, undo)
    return record(wrap(array, input._kind), name, (input, src), (input_grad, undo))


@op(method=True, out=True)
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with `src` as slice number `index` of a dimension."""
    shape = input._a.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, len(shape))
    if not -shape[dim] <= index < shape[dim]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {dim}")
    at = _at(dim, index)
    return _replaced(input, src, lambda a: a[at], "SelectScatterBackward0", lambda g: basic(g, at, "SelectBackward0"))


@op(method=True, out=True)
def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """A copy with `src` written into ``[start:end:step]`` of a dimension."""
    dim = wrap_dim(dim, input._a.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    at = _at(dim, slice(start, end, step))
    return _replaced(input, src, lambda a: a[at], "SliceScatterBackward0", lambda g: basic(g, at))


@op(method=True, out=True)
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy with `src` written onto a diagonal."""
    d1, d2 = wrap_dim(dim1, input._a.ndim), wrap_dim(dim2, input._a.ndim)
    if d1 == d2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")

    def view(a: Any) -> Any:
        r = a.diagonal(offset, d1, d2)
        r.flags.writeable = True
        return r
    return _replaced(input, src, view, "DiagonalScatterBackward0", lambda g: diagonal(g, offset, d1, d2))
