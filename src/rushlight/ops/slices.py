"""Views of parts: slices, diagonals, windows, any strides, and splits into several tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..kernels.strides import sample_strided, strided, zeros_for
from ..storage import array_over, untyped_storage
from ..storage import storage_offset as offset_of
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, Operand, PerDim
from .joining import cat, stack
from .public import op
from .record import multi_view, record
from .record import view as make_view
from .shape import sizes

__all__ = ["basic", "embed"]

def embed(g: Tensor, shape: tuple[int, ...], index: slice | tuple[Any, ...], name: str = "SliceBackward0") -> Tensor:
    """Zeros of `shape` with `g` at ``[index]`` (a NumPy basic index): what undoes a slice in the backward pass."""
    zeros = zeros_for(g._a, shape)
    zeros[index] = g._a
    return record(wrap(zeros, g._kind), name, (g,), lambda gg: basic(gg, index), (), lambda gg: gg[index])


def basic(self: Tensor, index: int | slice | tuple[Any, ...], name: str = "SliceBackward0") -> Tensor:
    """The view ``self[index]`` for an index that NumPy knows as basic (ints, slices, None, Ellipsis), already checked."""
    a = self._a
    r = a[index]
    if self._node is None:
        return make_view(self, r, name, None, basic, (index, name))
    shape = a.shape

    def array_back(g: Array) -> Array:
        zeros = zeros_for(g, shape)
        zeros[index] = g
        return zeros
    return make_view(self, r, name, lambda g: embed(g, shape, index), basic, (index, name), array_back)


def _at(dim: int, what: int | slice) -> tuple[Any, ...]:
    """The index that applies `what` in dimension `dim`. Always with an Ellipsis, so that NumPy gives arrays, never scalars."""
    return (slice(None),) * dim + (what, ...)


@op(method=True)
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice number `index` of dimension `dim`, without that dimension."""
    shape = input._a.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, len(shape))
    index = index.__index__()
    if not -shape[dim] <= index < shape[dim]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {dim}")
    return basic(input, _at(dim, index), "SelectBackward0")


@op(method=True)
def narrow(input: Tensor, dim: int, start: Operand, length: int) -> Tensor:
    """`length` slices of dimension `dim`, from `start` on."""
    shape = input._a.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if isinstance(start, Tensor) and (start._a.ndim or start._kind.differentiable or start._kind.dtype.name == "bool"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    dim = wrap_dim(dim, len(shape))
    n = shape[dim]
    start = start.__index__()
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    if start < 0:
        start += n
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return basic(input, _at(dim, slice(start, start + length)))


@op(method=True, out=True)
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A copy of ``narrow(input, dim, start, length)``."""
    return narrow(input, dim, start, length).clone()


@op(method=True)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal over two dimensions, as the last dimension; `offset` > 0 is above the main one."""
    a = input._a
    n = a.ndim
    d1, d2 = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if d1 == d2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape = a.shape
    r = a.diagonal(offset, d1, d2)
    if a.flags.writeable:
        r.flags.writeable = True
    return make_view(input, r, "DiagonalBackward0", lambda g: _undiagonal(g, shape, offset, d1, d2), diagonal, (offset, d1, d2))


def _undiagonal(g: Tensor, shape: tuple[int, ...], offset: int, d1: int, d2: int) -> Tensor:
    """Zeros of `shape` with `g` on a diagonal."""
    zeros = zeros_for(g._a, shape)
    target = zeros.diagonal(offset, d1, d2)
    target.flags.writeable = True
    target[...] = g._a
    return record(wrap(zeros, g._kind), "DiagonalBackwardBackward0", (g,), lambda gg: diagonal(gg, offset, d1, d2))


@op(torch=False, method=True)
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` elements along a dimension, `step` apart; the window is a new last dimension."""
    a = self._a
    shape = a.shape
    dim = wrap_dim(dimension, a.ndim)
    n = shape[dim] if shape else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (n - size) // step + 1
    full = a if shape else a.reshape(1)
    stride = full.strides[dim]
    if shape:
        new_shape, strides = (*shape[:dim], count, *shape[dim + 1:], size), (*a.strides[:dim], stride * step, *a.strides[dim + 1:], stride)
    else:
        new_shape, strides = (size,), (a.itemsize,)
    r = strided(full, new_shape, strides) if full.size else full.reshape(-1)[:0].reshape(new_shape)
    if step < size and count > 1:
        r.flags.writeable = False
    return make_view(self, r, "UnfoldBackward0", lambda g: _refold(g, shape, dim, size, step), unfold, (dim, size, step))


def _refold(g: Tensor, shape: tuple[int, ...], dim: int, size: int, step: int) -> Tensor:
    """The adjoint of `unfold`: windows added into place."""
    zeros = zeros_for(g._a, shape)
    if not shape:
        zeros[...] = g._a.sum()
    else:
        count = g._a.shape[dim]
        for k in range(size):
            zeros[(slice(None),) * dim + (slice(k, k + (count - 1) * step + 1, step),)] += g._a[..., k]
    return record(wrap(zeros, g._kind), "UnfoldBackwardBackward0", (g,), lambda gg: unfold(gg, dim, size, step))


@op(method=True)
def as_strided(input: Tensor, size: PerDim, stride: PerDim, storage_offset: int | None = None) -> Tensor:
    """A view of the tensor's storage with any size, stride and offset (in elements)."""
    for at, (name, given) in enumerate((("size", size), ("stride", stride)), 1):
        if not isinstance(given, (tuple, list)):
            raise TypeError(f"as_strided(): argument '{name}' (position {at}) must be tuple of ints, not {type(given).__name__}")
    size, stride = sizes((size,), "as_strided"), sizes((stride,), "as_strided", "stride")
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(step < 0 for step in stride):
        raise RuntimeError("as_strided: Negative strides are not supported at the moment, got strides: " + str(list(stride)))
    array, start, offset = sample_strided(input._a, size, stride, storage_offset or 0), storage_offset or 0, 0
    if array is NotImplemented:
        start = offset_of(input._a) if storage_offset is None else storage_offset
        offset = offset_of(input._a) if input._node is not None else 0
        array = array_over(untyped_storage(input), input._kind.dtype, start, size, stride)
    if not input._a.flags.writeable or any(step == 0 and n > 1 for step, n in zip(stride, size, strict=True)):
        array.flags.writeable = False
    geometry = (input._a.shape, input.stride(), offset)
    return make_view(input, array, "AsStridedBackward0", lambda g: _unstride(g, geometry, size, stride, start), as_strided,
                     (size, stride, storage_offset))


def _unstride(g: Tensor, geometry: Any, size: tuple[int, ...], stride: tuple[int, ...], start: int) -> Tensor:
    """The adjoint of `as_strided`: what arrives is added at its place in the storage, and read through the input's geometry."""
    shape, strides, offset = geometry

    def index(array: Any) -> Tensor:
        return wrap(g._kind.xp.asarray(array), g._kind.int64)
    where_in, where_out = _positions(shape, strides, offset).ravel(), _positions(size, stride, start).ravel()
    length = max(int(where_in.max(initial=0)), int(where_out.max(initial=0))) + 1
    flat = g.new_zeros(length).index_add(0, index(where_out), g.reshape(-1))
    times = np.bincount(where_in, minlength=length)
    if times.max(initial=0) > 1:      # elements of the input that share a place in memory share its gradient
        flat = flat / wrap(g._kind.xp.asarray(np.maximum(times, 1), g._kind.np), g._kind)
    return flat.index_select(0, index(where_in)).reshape(shape)


def _positions(shape: tuple[int, ...], strides: tuple[int, ...], start: int) -> Any:
    where = np.full(shape, start, np.int64)
    for dim, (n, step) in enumerate(zip(shape, strides, strict=True)):
        where += (np.arange(n) * step).reshape((n,) + (1,) * (len(shape) - dim - 1))
    return where


# --- splits ---------------------------------------------------------------------------------------------------------------------------

def _pieces(input: Tensor, dim: int, lengths: list[int], name: str) -> tuple[Tensor, ...]:
    """Neighbouring slices of the given lengths along `dim`, made by one op."""
    a = input._a
    lead = (slice(None),) * dim
    arrays, start = [], 0
    for n in lengths:
        arrays.append(a[(*lead, slice(start, start + n), ...)])
        start += n
    shapes = [array.shape for array in arrays]

    def back(gs: list[Tensor]) -> Tensor:
        some = next(g for g in gs if g is not None)
        return cat([some.new_zeros(shape) if g is None else g for g, shape in zip(gs, shapes, strict=True)], dim)
    return multi_view(input, arrays, name, back)


@op(method=True)
def split(tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None) -> tuple[Tensor, ...]:
    """Pieces of `split_size` slices each along `dim` (the last may be smaller), or of the given sizes."""
    if split_size is not None:
        split_size_or_sections = split_size
    if split_size_or_sections is None:
        raise TypeError('split() missing 1 required positional argument: "split_size_or_sections"')
    if isinstance(split_size_or_sections, (tuple, list)):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    if not hasattr(split_size_or_sections, "__index__"):
        raise TypeError("split_with_sizes(): argument 'split_sizes' (position 2) must be tuple of ints, not "
                        f"{type(split_size_or_sections).__name__}")
    shape = tensor._a.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    step = split_size_or_sections.__index__()
    if step < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
    dim = wrap_dim(dim, len(shape))
    n = shape[dim]
    if step == 0:
        if n:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
        return _pieces(tensor, dim, [0], "SplitBackward0")
    lengths = [step] * (n // step) + ([n % step] if n % step else [])
    return _pieces(tensor, dim, lengths or [0], "SplitBackward0")


@op(method=True)
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the given sizes along `dim`."""
    shape = input._a.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = wrap_dim(dim, len(shape))
    wrong = next((each for each in split_sizes if not hasattr(each, "__index__")), None)
    if wrong is not None or None in split_sizes:
        raise TypeError("split_with_sizes(): argument 'split_sizes' (position 2) must be tuple of ints, but found element of type "
                        f"{type(wrong).__name__}")
    lengths = [n.__index__() for n in split_sizes]
    if lengths and min(lengths) < 0:
        raise RuntimeError(f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={lengths}")
    if sum(lengths) != shape[dim]:
        raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {shape[dim]} (input tensor's size at dimension {dim}), "
                           f"but got split_sizes={lengths}")
    return _pieces(input, dim, lengths, "SplitWithSizesBackward0")


@op(method=True)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size along `dim` (the last may be smaller)."""
    shape = input._a.shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = wrap_dim(dim, len(shape))
    step = -(-shape[dim] // chunks)
    if step == 0:
        return _pieces(input, dim, [0] * chunks, "SplitWithSizesBackward0")
    return split(input, step, dim)


@op(method=True)
def unsafe_split(tensor: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`split` whose pieces are tensors of their own, which may be changed in place while gradients are recorded."""
    return tuple([each.clone() for each in split(tensor, split_size, dim)])


@op(method=True)
def unsafe_split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """The same for `split_with_sizes`."""
    return tuple([each.clone() for each in split_with_sizes(input, split_sizes, dim)])


@op(method=True)
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """The same for `chunk`."""
    return tuple([each.clone() for each in chunk(input, chunks, dim)])


@op(method=True)
def tensor_split(input: Tensor, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None, sections: Any = None,
                 tensor_indices_or_sections: Any = None) -> tuple[Tensor, ...]:
    """Slices along `dim`: that many, as equal as possible, or cut at the given places (ints, or a tensor of them)."""
    if isinstance(indices, int) or isinstance(sections, (list, tuple)):
        raise TypeError("tensor_split() received an invalid combination of arguments: indices are a tuple of ints, sections an int")
    given = [each for each in (indices_or_sections, indices, sections, tensor_indices_or_sections) if each is not None]
    if len(given) != 1:
        raise TypeError("tensor_split() takes one of indices, sections, tensor_indices_or_sections, or indices_or_sections")
    indices_or_sections = given[0]
    shape = input._a.shape
    if not shape:
        raise RuntimeError(f"tensor_split expected at least a 1-dimensional tensor, but got a tensor with {len(shape)} dims")
    if isinstance(indices_or_sections, Tensor):
        if indices_or_sections._kind.dtype.name != "int64":
            raise RuntimeError("tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
                               f"{indices_or_sections._kind.dtype.alias.capitalize()}")
        if indices_or_sections._a.ndim > 1:
            raise RuntimeError("tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor, but "
                               f"got a tensor with {indices_or_sections._a.ndim} dims")
        indices_or_sections = indices_or_sections.tolist()
    dim = wrap_dim(dim, len(shape))
    n = shape[dim]
    if isinstance(indices_or_sections, int):
        parts = indices_or_sections
        if parts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {parts}")
        if parts > 1 << 27:
            raise RuntimeError(f"tensor_split: not enough memory: there is none for {parts} tensors")
        size, more = divmod(n, parts)
        cuts = [i * size + min(i, more) for i in range(1, parts)]
    else:
        cuts = [cut.__index__() for cut in indices_or_sections]
    bounds = [0, *cuts, n]
    return tuple([basic(input, _at(dim, slice(start, stop))) for start, stop in zip(bounds, bounds[1:], strict=False)])


def _axis_split(name: str, axis: int, least: int) -> Function:
    def fn(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        shape = input._a.shape
        if len(shape) < least:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with "
                               f"{len(shape)} dimensions!")
        dim = 0 if name == "hsplit" and len(shape) == 1 else axis
        if isinstance(indices_or_sections, str):
            raise TypeError(f"{name}() received an invalid combination of arguments - got (Tensor, str): 'indices_or_sections' must be "
                            "int or ints")
        if isinstance(indices_or_sections, int):
            if indices_or_sections <= 0 or shape[dim] % indices_or_sections:
                raise RuntimeError(f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {shape[dim]} is "
                                   f"not divisible by the split_size {indices_or_sections}!")
        return tensor_split(input, indices_or_sections, dim)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"`tensor_split` along dimension {axis}; a number of pieces has to divide its size."
    return op(fn, name=name, method=True)


hsplit, vsplit, dsplit = _axis_split("hsplit", 1, 1), _axis_split("vsplit", 0, 2), _axis_split("dsplit", 2, 3)


@op(method=True)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All slices of a dimension, without that dimension."""
    a = input._a
    if a.ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = wrap_dim(dim, a.ndim)
    moved = a if dim == 0 else np.moveaxis(a, dim, 0)
    arrays = [moved[i, ...] for i in range(a.shape[dim])]

    def back(gs: list[Tensor]) -> Tensor:
        some = next(g for g in gs if g is not None)
        return stack([some.new_zeros(some._a.shape) if g is None else g for g in gs], dim)
    return multi_view(input, arrays, "UnbindBackward0", back)
