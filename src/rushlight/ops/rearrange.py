"""Ops that copy elements into another arrangement: flip, roll, repeat, triangles, diagonals, grids; and dimensions for hstack and its
like."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .. import dtypes
from ..dims import wrap_dim, wrap_dims
from ..kernels.memory import assign, copied, copied_like, triangle
from ..kernels.strides import zeros_for
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Device, Dtype, Function, Layout
from .creation import creation_kind, finish
from .errors import no_lists, title
from .joining import _arrays, _common_kind, stack
from .memory_format import in_format_of
from .public import export, method, op
from .record import record
from .shape import _expand, _reshape, _view, sizes, unsqueeze
from .slices import _undiagonal, diagonal

__all__ = ["atleast"]


# --- reversing and rotating -----------------------------------------------------------------------------------------------------------

@op(method=True)
def flip(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """A copy with the given dimensions reversed."""
    if not args and dims is None:
        raise TypeError('flip() missing 1 required positional arguments: "dims"')
    return _flip(input, wrap_dims(sizes(args if dims is None else (dims,), "flip", "dims"), input._a.ndim))


def _flip(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    a = input._a
    array = copied(a[_reversed(dims)] if dims and a.ndim else a)
    return record(in_format_of(wrap(array, input._kind), input), "FlipBackward0", (input,), lambda g: _flip(g, dims), (),
                  lambda g: g[_reversed(dims)] if dims and g.ndim else g)


def _reversed(dims: tuple[int, ...]) -> tuple[slice, ...]:
    """The NumPy index that reverses some dimensions."""
    return tuple([slice(None, None, -1) if d in dims else slice(None) for d in range(max(dims) + 1)])


@op(method=True)
def fliplr(input: Tensor) -> Tensor:
    """A copy with the columns reversed."""
    if input._a.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return _flip(input, (1,))


@op(method=True)
def flipud(input: Tensor) -> Tensor:
    """A copy with the rows reversed."""
    if input._a.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return _flip(input, (0,))


@op(method=True)
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """A copy rotated k times by 90 degrees in the plane of two dimensions, from the first towards the second."""
    dims = tuple(dims)
    n = input._a.ndim
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    d0, d1 = wrap_dim(dims[0], n), wrap_dim(dims[1], n)
    if d0 == d1:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    k %= 4
    array = np.rot90(input._a, k, (d0, d1))
    return record(wrap(copied(array) if k != 1 and k != 3 else copied_like(array), input._kind), "Rot90Backward0", (input,),
                  lambda g: rot90(g, -k, (d0, d1)))


@op(method=True)
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """A copy with the elements shifted cyclically along dimensions (of the flattened tensor where no dims are given)."""
    shift = (shifts.__index__(),) if not isinstance(shifts, (tuple, list)) else tuple(shifts)
    axes = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if not shift:
        raise RuntimeError("`shifts` required")
    if (axes and len(shift) != len(axes)) or (not axes and len(shift) != 1):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shift)}, dims:{len(axes)}")
    a = input._a
    if axes and not a.ndim:
        raise IndexError(f"Dimension specified as {axes[0]} but tensor has no dimensions")
    axes = tuple([wrap_dim(d, a.ndim) for d in axes])
    back = tuple([-s for s in shift])
    array = _rolled(a, shift, axes)
    return record(in_format_of(wrap(array, input._kind), input), "RollBackward0", (input,), lambda g: roll(g, back, axes or None), (),
                  lambda g: _rolled(g, back, axes))


def _rolled(a: Any, shift: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """The array with its elements shifted cyclically along the axes; flattened where there are none."""
    if a.__class__ is not np.ndarray or len(shift) > 1 or not a.size:
        return np.roll(a, shift, axes) if axes and a.ndim else np.roll(a, shift[0]) if a.size else a.copy()
    shape, axis = a.shape, axes[0] if axes else 0
    if not axes:
        a = a.reshape(-1)
    n = a.shape[axis]
    by = shift[0] % n
    r = np.empty(a.shape, a.dtype)
    lead = (slice(None),) * axis
    assign(r[(*lead, slice(by, None))], a[(*lead, slice(None, n - by))])
    if by:
        assign(r[(*lead, slice(None, by))], a[(*lead, slice(n - by, None))])
    return r if axes else r.reshape(shape)


# --- repeating ------------------------------------------------------------------------------------------------------------------------

@op(torch=False, method=True)
def repeat(self: Tensor, *args: Any, repeats: Any = None) -> Tensor:
    """A copy with the tensor repeated that often per dimension; more numbers than dimensions add dimensions in front."""
    if not args and repeats is None:
        raise TypeError('repeat() missing 1 required positional arguments: "repeats"')
    return _repeat(self, sizes(args if repeats is None else (repeats,), "repeat", "repeats"))


def _repeat(self: Tensor, times: tuple[int, ...]) -> Tensor:
    a = self._a
    shape = a.shape
    if len(times) < len(shape):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(n < 0 and size for n, size in zip(times, (1,) * (len(times) - len(shape)) + shape, strict=True)):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(times)}: {list(times)}")
    times = tuple([max(n, 0) for n in times])
    full = (1,) * (len(times) - len(shape)) + shape

    def back(g: Any) -> Any:
        if 0 in times:
            return g.new_zeros(shape) if isinstance(g, Tensor) else zeros_for(g, shape)
        split = g.reshape(tuple(n for pair in zip(times, full, strict=True) for n in pair))
        axes = tuple(range(0, 2 * len(times), 2))
        return (split.sum(axes) if axes else split).reshape(shape)
    return record(wrap(_tiled(a, times, full), self._kind), "RepeatBackward0", (self,), back, (), back)


def _tiled(a: Any, times: tuple[int, ...], full: tuple[int, ...]) -> Any:
    """The array, of shape `full` with ones in front, as often as `times` says."""
    if a.__class__ is not np.ndarray:
        return np.tile(a, times)
    r = np.empty([n * t for n, t in zip(full, times, strict=True)], a.dtype)
    split = r.reshape([n for pair in zip(times, full, strict=True) for n in pair])
    assign(split, a.reshape([n for size in full for n in (1, size)]))
    return r


@op(method=True)
def tile(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """`repeat` that takes fewer numbers than dimensions (they apply to the last ones)."""
    times = sizes(args if dims is None else (dims,), "tile", "dims")
    return _repeat(input, (1,) * (input._a.ndim - len(times)) + times)


@op
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Each slice along `dim` (each element, where no dim is given) repeated in place.

    ``repeat_interleave(repeats)`` alone gives 0 repeats[0] times, 1 repeats[1] times and so on."""
    if repeats is None:
        counts = _counts(input)
        return wrap(np.repeat(np.arange(counts.size), counts), input._kind.int64 if input._kind.dtype.name != "int32" else input._kind)
    if isinstance(repeats, Tensor) and repeats._a.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if dim is None:
        input, dim = _reshape(input, (input._a.size,)), 0
    elif input._a.ndim == 0:
        input = _reshape(input, (1,))
    dim = wrap_dim(dim, input._a.ndim)
    n = input._a.shape[dim]
    if isinstance(repeats, Tensor):
        counts = _counts(repeats)
        if counts.size == 1 and n != 1:
            counts = np.full(n, counts.item())
        if counts.size != n:
            raise RuntimeError("repeats must have the same size as input along dim, but got repeats.size(0) = "
                               f"{counts.size} and input.size({dim}) = {n}")
    elif isinstance(repeats, int):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        if output_size is not None and output_size != n * repeats:
            raise RuntimeError(f"repeat_interleave: Invalid output_size, expected {n * repeats} but got {output_size}")
        shape = input._a.shape
        grown = unsqueeze(input, dim + 1)
        wide = _expand(grown, (*shape[:dim + 1], repeats, *shape[dim + 1:])).clone()
        return _view(wide.contiguous(), (*shape[:dim], n * repeats, *shape[dim + 1:]))
    else:
        raise TypeError(f"repeat_interleave(): argument 'repeats' must be int or Tensor, not {type(repeats).__name__}")
    where = np.repeat(np.arange(n), counts)
    if output_size is not None and where.size != output_size:
        raise RuntimeError("allocated size does not match required size")
    return input.index_select(dim, _index(input, where))


def _repeat_interleave_method(self: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """`repeat_interleave` of this tensor, which takes `repeats` in any case."""
    if repeats is None:
        raise TypeError("repeat_interleave(): argument 'repeats' (position 1) must be Tensor, not NoneType")
    return repeat_interleave(self, repeats, dim, output_size=output_size)


method(_repeat_interleave_method, "repeat_interleave", guard=True)


def _index(input: Tensor, array: Any) -> Tensor:
    """An index vector made by NumPy, as a tensor on the input's device."""
    return wrap(input._kind.xp.asarray(array), input._kind.int64)


def _counts(repeats: Tensor) -> Any:
    if repeats._a.ndim > 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if repeats._kind.dtype.name not in ("int64", "int32"):
        raise NotImplementedError(f"\"repeat_interleave_cpu\" not implemented for '{title(repeats.dtype)}'")
    if repeats._kind.device.type == "meta":
        raise RuntimeError("cannot repeat_interleave a meta tensor without output_size")
    counts = np.atleast_1d(repeats._a)
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    return counts


# --- triangles and diagonals ----------------------------------------------------------------------------------------------------------

_HOST = np.empty(0)


def _triangle(name: str, keep: Function) -> Function:
    def fn(input: Tensor, diagonal: int = 0) -> Tensor:
        a = input._a
        if a.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        k, kind = diagonal.__index__(), input._kind

        def array(x: Array) -> Any:
            if x.__class__ is np.ndarray:
                return triangle(x, k, name == "triu")
            return np.where(_mask(kind.xp.empty(0), x.shape[-2:], k), x, x.dtype.type(0))
        return record(wrap(array(a), kind), f"{name.capitalize()}Backward0", (input,), lambda g: fn(g, k), (), array)

    def _mask(x: Array, shape: tuple[int, int], k: int) -> Array:
        rows, columns = np.arange(shape[0], like=x)[:, None], np.arange(shape[1], like=x)
        return keep(columns - rows, k)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"The {'lower' if name == 'tril' else 'upper'} triangle of matrices up to the given diagonal, zeros elsewhere."
    op(fn, name=name, method=True, inplace=True, out=True)

    def indices(row: int, col: int, offset: int = 0, *, dtype: Dtype = None, device: Device = None, layout: Layout = None,
                requires_grad: bool = False,
                pin_memory: bool = False) -> Tensor:
        for position, (label, value) in enumerate((("row", row), ("col", col), ("offset", offset)), 1):
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise TypeError(f"{name}_indices(): argument '{label}' (position {position}) must be int, not {type(value).__name__}")
        if row < 0 or col < 0:
            raise RuntimeError(f"{'row' if row < 0 else 'col'} must be non-negative, got{row if row < 0 else col}")
        kind = creation_kind(dtypes.int64 if dtype is None else dtype, device)
        if kind.dtype.name not in ("int64", "int32"):
            raise NotImplementedError(f"\"{name}_indices\" not implemented for '{title(kind.dtype)}'")
        return finish(wrap(np.stack(np.nonzero(_mask(_HOST, (row, col), offset))).astype(kind.np), kind), requires_grad, pin_memory, layout)

    indices.__name__ = indices.__qualname__ = f"{name}_indices"
    indices.__doc__ = f"Row and column numbers (2, n) of the elements that `{name}` keeps in a row x col matrix."
    export(indices)
    return fn


tril = _triangle("tril", lambda distance, k: distance <= k)
triu = _triangle("triu", lambda distance, k: distance >= k)


@op(method=True, out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix; the diagonal of a matrix as a vector (a copy)."""
    ndim = input._a.ndim
    if ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    return diag_embed(input, diagonal) if ndim == 1 else _diagonal_view(input, diagonal).clone()


_diagonal_view = diagonal


@op(method=True)
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension spread over the diagonal of two new dimensions, zeros elsewhere."""
    a = input._a
    n = a.ndim + 1
    if a.ndim == 0:
        raise RuntimeError("diag_embed: expected a tensor with at least one dimension")
    d1, d2 = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if d1 == d2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    side = a.shape[-1] + abs(offset)
    shape = list(a.shape[:-1])
    for d in sorted((d1, d2)):
        shape.insert(d, side)
    r = wrap(_undiagonal(wrap(a, input._kind), tuple(shape), offset, d1, d2)._a, input._kind)
    return record(r, "DiagEmbedBackward0", (input,), lambda g: diagonal(g, offset, d1, d2))


@op(method=True)
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """All elements as the diagonal of a matrix."""
    return diag_embed(_reshape(input, (input._a.size,)), offset)


@export
def block_diag(*tensors: Any) -> Tensor:
    """A matrix with the given matrices (or vectors, numbers) along its diagonal."""
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
        if t._a.ndim > 2:
            raise RuntimeError(f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t._a.ndim} dimensions")
    if not tensors:
        return wrap(np.empty((1, 0), np.float32), creation_kind(None, None))
    kind = _common_kind(list(tensors), "block_diag")
    arrays = [np.atleast_2d(each) for each in _arrays(list(tensors), kind)]
    out = kind.xp.zeros((sum(m.shape[0] for m in arrays), sum(m.shape[1] for m in arrays)), kind.np)
    places, r, c = [], 0, 0
    for m in arrays:
        places.append((slice(r, r + m.shape[0]), slice(c, c + m.shape[1])))
        r, c = r + m.shape[0], c + m.shape[1]
        out[places[-1]] = m
    shapes = [t._a.shape for t in tensors]

    def back(g: Any) -> Any:
        return tuple([g[place].reshape(shape) for place, shape in zip(places, shapes, strict=True)])
    return record(wrap(out, kind), "BlockDiagBackward0", tuple(tensors), back, (), back)


# --- grids and combinations -----------------------------------------------------------------------------------------------------------

@export
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinate grids from vectors: views, expanded to the product of the sizes ("ij": matrix order, "xy": first two exchanged)."""
    tensors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    for i, each in enumerate(tensors):
        if not isinstance(each, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(each).__name__}")
    if indexing is None:
        import warnings
        warnings.warn("torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.", UserWarning,
                      stacklevel=2)
        indexing = "ij"
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"torch.meshgrid: indexing must be one of \"xy\" or \"ij\", but received: {indexing}")
    for t in tensors:
        if t._a.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(t._a.shape)}")
        if t._kind is not tensors[0]._kind:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype" if t._kind.dtype is not tensors[0]._kind.dtype
                               else
                               "torch.meshgrid expects all tensors to have the same device")
    swap = indexing == "xy" and len(tensors) >= 2
    vectors = [tensors[1], tensors[0], *tensors[2:]] if swap else list(tensors)
    shape = tuple([t._a.size for t in vectors])
    n = len(shape)
    grids = [_expand(_reshape(t, (1,) * i + (shape[i],) + (1,) * (n - i - 1)), shape) for i, t in enumerate(vectors)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@export(guard=True)
def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of one element from each vector, one per row (a single vector: itself)."""
    no_lists(tensors)
    for t in tensors:
        if t._a.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t._a.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([_reshape(g, (g._a.size,)) for g in meshgrid(*tensors, indexing="ij")], 1)


@op(method=False)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All r-element combinations of a vector's elements, one per row, in lexicographic order of position."""
    if input._a.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input._a.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return wrap(input._kind.xp.empty(0, input._kind.np), input._kind)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input._a.size), r)), np.int64).reshape(-1, r)
    return stack([input.index_select(0, _index(input, rows[:, i].copy())) for i in range(r)], 1)


# --- at least so many dimensions ------------------------------------------------------------------------------------------------------

def atleast(t: Tensor, ndim: int) -> Tensor:
    """The tensor with at least `ndim` dimensions, as atleast_1d, _2d and _3d place them."""
    shape = t._a.shape
    if len(shape) >= ndim:
        return t
    if not shape:
        return _reshape(t, (1,) * ndim)
    if len(shape) == 1:
        return unsqueeze(t, 0) if ndim == 2 else unsqueeze(unsqueeze(t, 0), -1)
    return unsqueeze(t, -1)


def _atleast(ndim: int) -> Function:
    def fn(*tensors: Any) -> Any:
        if len(tensors) == 1:
            if isinstance(tensors[0], (tuple, list)):
                return tuple([atleast(t, ndim) for t in tensors[0]])
            if not isinstance(tensors[0], Tensor):
                raise TypeError(f"atleast_{ndim}d(): argument 'input' (position 1) must be Tensor, not {type(tensors[0]).__name__}")
            return atleast(tensors[0], ndim)
        return tuple([atleast(t, ndim) for t in tensors])
    fn.__name__ = fn.__qualname__ = f"atleast_{ndim}d"
    fn.__doc__ = f"The tensor (or each of several) with at least {ndim} dimensions, added with size one."
    return export(fn, guard=True)


atleast_1d, atleast_2d, atleast_3d = _atleast(1), _atleast(2), _atleast(3)
