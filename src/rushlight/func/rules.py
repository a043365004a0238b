"""How NumPy's functions and ufunc methods work on `BatchedArray`s: a rule each for the usual ones, a call per sample for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels import lapack
from ..kernels.shapes import broadcast_shapes
from ..vocabulary import Array, Axes, Dtype, Function, Index, PerDim, Scalar
from .batched import (
    BatchedArray,
    NotBatched,
    Truth,
    batch_size,
    data_dependent,
    expanded,
    is_at,
    lined_up,
    max_level,
    normal_axis,
    physical_axis,
    shared_write,
    unwrapped,
    wrapped,
)

__all__ = ["call", "ufunc_method"]

RULES: dict[Any, Callable[..., Any]] = {}


def call(function: Function, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
    """``function(*args, **kwargs)`` where some argument is batched."""
    rule = RULES.get(function)
    if rule is None:
        return per_sample(function, args, kwargs)
    return rule(*args, **kwargs)


# --- one call per sample --------------------------------------------------------------------------------------------------------------

# What writes into its first argument.
_WRITES = {np.put_along_axis, np.put, np.place, np.putmask, np.fill_diagonal}


def sample_of(x: Any, level: int, i: int) -> Any:
    """Sample i of a value (or of those in a list, tuple or dict) that is batched at the level."""
    if is_at(x, level):
        return x.physical[i, ...]
    if x.__class__ is tuple or x.__class__ is list:
        return x.__class__([sample_of(each, level, i) for each in x])
    if x.__class__ is dict:
        return {key: sample_of(each, level, i) for key, each in x.items()}
    return x


def per_sample(function: Function, args: tuple[Array, ...], kwargs: dict[Any, Any]) -> Any:
    """Call a function once per sample and stack the results."""
    level = max_level((args, kwargs))
    batch = batch_size((args, kwargs), level)
    if function in _WRITES and not is_at(args[0], level):
        raise shared_write()
    results = [function(*sample_of(args, level, i), **sample_of(kwargs, level, i)) for i in range(batch)]
    if not results:
        raise NotBatched(f"{getattr(function, '__name__', function)} of an empty batch")
    return stacked(results, level)


def stacked(results: list[Any], level: int) -> Any:
    """The results of all samples as batched arrays."""
    first = results[0]
    if first is None:
        return None
    if isinstance(first, (tuple, list)):
        parts = [stacked([each[k] for each in results], level) for k in range(len(first))]
        return getattr(type(first), "_make", type(first))(parts)
    if isinstance(first, (bool, int, str)):
        if any(each != first for each in results):
            raise data_dependent("control flow")
        return first
    if any(np.shape(each) != np.shape(first) for each in results):
        raise RuntimeError("vmap: the result of an operation has a shape that depends on the values, so that samples differ: "
                           f"{[np.shape(each) for each in results][:4]}")
    return BatchedArray(np.stack(results), level)


# --- ufunc methods --------------------------------------------------------------------------------------------------------------------

def ufunc_method(ufunc: np.ufunc, method: str, level: int, inputs: tuple[Any, ...], outs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """ufunc.reduce, accumulate, reduceat, outer and at."""
    if method == "outer":
        a, b = inputs
        n = np.ndim(b)
        return ufunc(a[(..., *(None,) * n)] if np.ndim(a) or is_at(a, level) else a, b, **kwargs)
    if method == "at":
        return _at(ufunc, level, *inputs)
    a = inputs[0]
    if not is_at(a, level):
        raise NotBatched(f"{ufunc.__name__}.{method} with batched indices")
    axis = physical_axis(kwargs.pop("axis", 0), a.ndim)
    if method == "reduceat" and is_at(inputs[1], level):
        raise NotBatched("reduceat with batched indices")
    if kwargs.get("where", True) is not True:
        kwargs["where"] = lined_up(kwargs["where"], level, a.ndim)
    if outs and outs[0] is not None:
        kwargs["out"] = outs[0].physical
        getattr(ufunc, method)(a.physical, *inputs[1:], axis=axis, **kwargs)
        return outs[0]
    return BatchedArray(getattr(ufunc, method)(a.physical, *inputs[1:], axis=axis, **kwargs), level)


def _at(ufunc: np.ufunc, level: int, a: BatchedArray, index: Index, value: Array | Scalar | None = None) -> None:
    if not is_at(a, level):
        raise shared_write()
    for i in range(a.batch):
        at = sample_of(index, level, i)
        if value is None:
            ufunc.at(a.physical[i, ...], at)
        else:
            ufunc.at(a.physical[i, ...], at, sample_of(value, level, i))


# --- kinds of functions ---------------------------------------------------------------------------------------------------------------

def rule(*functions: Function) -> Callable[[Function], Function]:
    """Register a rule for functions; it gets the function's arguments."""
    def register(fn: Function) -> Function:
        for function in functions:
            RULES[function] = fn
        return fn
    return register


def _elementwise(function: Function, arrays: int) -> None:
    """The first `arrays` arguments broadcast against each other."""
    def call(*args: Any, **kwargs: Any) -> Array:
        level = max_level(args)
        given = args[:arrays]
        n = max(np.ndim(x) for x in given if x is not None)
        out = kwargs.pop("out", None)
        result = function(*[lined_up(x, level, n) for x in given], *args[arrays:], **kwargs)
        if out is None:
            return wrapped(result, level)
        out[...] = wrapped(result, level)
        return out
    RULES[function] = call


for _function, _arrays in ((np.where, 3), (np.clip, 3), (np.isclose, 2), (np.nan_to_num, 1), (np.round, 1), (np.around, 1), (np.real, 1),
                           (np.imag, 1), (np.angle, 1), (np.sinc, 1), (np.i0, 1), (np.copy, 1), (np.iscomplex, 1), (np.isreal, 1),
                           (np.real_if_close, 1), (np.fix, 1), (np.isposinf, 1), (np.isneginf, 1), (np.unwrap, 1)):
    _elementwise(_function, _arrays)


def _along(function: Function, default: int | None, position: int = 1, keepdims: bool = False) -> None:
    """The argument `axis` (at this position) says along which dimension; None means all of them, or the flat array."""
    def call(a: Any, *args: Any, **kwargs: Any) -> Array:
        level = max_level((a, args, kwargs))
        if not is_at(a, level) or max_level((args, kwargs)) >= level:
            return per_sample(function, (a, *args), kwargs)
        others = list(args)
        axis = others.pop(position - 1) if len(args) >= position else kwargs.pop("axis", default)
        if len(others) >= position:      # arguments after the axis, given by position
            return per_sample(function, (a, *args), kwargs)
        if axis is None and not keepdims:
            p, axis = a.physical.reshape(a.batch, -1), 1
        else:
            p, axis = a.physical, physical_axis(axis, a.ndim)
        return wrapped(function(p, *others, axis=axis, **kwargs), level)
    RULES[function] = call


for _function in (np.sum, np.prod, np.mean, np.std, np.var, np.max, np.min, np.amax, np.amin, np.any, np.all, np.median, np.nansum,
                  np.nanmean, np.nanmax, np.nanmin, np.count_nonzero, np.ptp):
    _along(_function, None, keepdims=True)
def _truth(function: Function, plain: Function) -> None:
    def call(a: Array, axis: Any = None, *args: Any, **kwargs: Any) -> Truth:
        r = plain(a, axis, *args, **kwargs)
        return Truth(r.physical, r.level, function) if axis is None else r
    RULES[function] = call


_truth(np.all, RULES[np.all])
_truth(np.any, RULES[np.any])
for _function in (np.cumsum, np.cumprod, np.nancumsum):
    _along(_function, None)
for _function in (np.sort, np.argsort):
    _along(_function, -1)
for _function in (np.partition, np.argpartition):
    _along(_function, -1, 2)
_along(np.diff, -1, 2)
_along(np.flip, None, keepdims=True)
_along(np.repeat, None, 2)


def _extreme(function: Function) -> None:
    def call(a: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        if axis is None:
            r = function(a.physical.reshape(a.batch, -1), axis=1)
            return a.like(r.reshape(a.batch, *(1,) * a.ndim) if keepdims else r)
        return a.like(function(a.physical, axis=physical_axis(axis, a.ndim), keepdims=keepdims))
    RULES[function] = call


_extreme(np.argmax)
_extreme(np.argmin)


def _like(function: Function) -> None:
    """zeros_like and its kind."""
    def call(a: Any, *args: Any, **kwargs: Any) -> Array:
        shape = kwargs.pop("shape", None)
        level = max_level((a, args))
        if not is_at(a, level) or max_level(args) >= level:
            return per_sample(function, (a, *args), kwargs)
        kwargs.pop("subok", None)
        return BatchedArray(function(a.physical, *args, **kwargs) if shape is None else function(a.physical, *args, shape=(
            a.batch, *((shape,) if isinstance(shape, int) else shape)), **kwargs), level)
    RULES[function] = call


for _function in (np.zeros_like, np.ones_like, np.empty_like, np.full_like):
    _like(_function)


# --- shape ----------------------------------------------------------------------------------------------------------------------------

RULES[np.shape] = lambda a: a.shape
RULES[np.ndim] = lambda a: a.ndim
RULES[np.size] = lambda a, axis=None: a.size if axis is None else a.shape[axis]
RULES[np.iscomplexobj] = lambda a: a.dtype.kind == "c"
RULES[np.isrealobj] = lambda a: a.dtype.kind != "c"
RULES[np.result_type] = lambda *args: np.result_type(*[x.dtype if isinstance(x, BatchedArray) else x for x in args])
RULES[np.may_share_memory] = RULES[np.shares_memory] = lambda a, b, max_work=None: bool(np.may_share_memory(
    a.physical if isinstance(a, BatchedArray) else a, b.physical if isinstance(b, BatchedArray) else b))
RULES[np.ascontiguousarray] = lambda a, dtype=None: a.like(np.ascontiguousarray(a.physical, dtype, like=a.physical))
RULES[np.reshape] = lambda a, shape=None, order="C", **kwargs: a.reshape(shape)
RULES[np.ravel] = lambda a, order="C": a.reshape(-1)
RULES[np.transpose] = lambda a, axes=None: a.transpose(axes) if axes is not None else a.transpose()
RULES[np.matrix_transpose] = lambda a: a.swapaxes(-1, -2)
RULES[np.swapaxes] = lambda a, axis1, axis2: a.swapaxes(axis1, axis2)
RULES[np.squeeze] = lambda a, axis=None: a.squeeze(axis)


@rule(np.broadcast_to)
def _broadcast_to(array: BatchedArray, shape: Sequence[int], subok: bool = False) -> Array:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return array.like(np.broadcast_to(lined_up(array, array.level, len(shape)), (array.batch, *shape)))


@rule(np.broadcast_arrays)
def _broadcast_arrays(*args: Array, subok: bool = False) -> tuple[Array, ...]:
    shape = broadcast_shapes(*[np.shape(x) for x in args])
    return tuple([np.broadcast_to(x, shape) for x in args])


@rule(np.expand_dims)
def _expand_dims(a: BatchedArray, axis: PerDim) -> BatchedArray:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    n = a.ndim + len(axes)
    return a.like(np.expand_dims(a.physical, tuple([normal_axis(each, n) + 1 for each in axes])))


@rule(np.moveaxis)
def _moveaxis(a: BatchedArray, source: int, destination: int) -> Array:
    return a.like(np.moveaxis(a.physical, physical_axis(source, a.ndim), physical_axis(destination, a.ndim)))


@rule(np.concatenate)
def _concatenate(arrays: list[Array], axis: int = 0, out: Array | None = None, **kwargs: Any) -> Array:
    level = max_level((tuple(arrays),))
    batch = batch_size((tuple(arrays),), level)
    if axis is None:
        arrays, axis = [x.reshape(-1) for x in arrays], 0
    for x in arrays:
        if np.ndim(x) == 0:
            raise ValueError("zero-dimensional arrays cannot be concatenated")
    r = np.concatenate([expanded(x, level, batch) for x in arrays], axis=physical_axis(axis, np.ndim(arrays[0])), **kwargs)
    if out is None:
        return BatchedArray(r, level)
    out[...] = BatchedArray(r, level)
    return out


@rule(np.stack)
def _stack(arrays: Sequence[Array], axis: int = 0, out: Array | None = None, **kwargs: Any) -> Array:
    level = max_level((tuple(arrays),))
    batch = batch_size((tuple(arrays),), level)
    r = BatchedArray(np.stack([expanded(x, level, batch) for x in arrays], axis=normal_axis(axis, np.ndim(arrays[0]) + 1) + 1, **kwargs),
                     level)
    if out is None:
        return r
    out[...] = r
    return out


@rule(np.split, np.array_split)
def _split(ary: BatchedArray, indices_or_sections: PerDim | BatchedArray, axis: int = 0) -> list[BatchedArray]:
    if isinstance(indices_or_sections, BatchedArray):
        raise data_dependent("control flow")
    return [ary.like(part) for part in np.array_split(ary.physical, indices_or_sections, axis=physical_axis(axis, ary.ndim))]


@rule(np.roll)
def _roll(a: BatchedArray, shift: PerDim, axis: Axes = None) -> BatchedArray:
    if axis is None:
        return a.like(np.roll(a.physical.reshape(a.batch, -1), shift, 1)).reshape(a.shape)
    return a.like(np.roll(a.physical, shift, physical_axis(axis, a.ndim)))


@rule(np.pad)
def _pad(array: BatchedArray, pad_width: PerDim | Sequence[Sequence[int]], mode: str = "constant", **kwargs: Any) -> BatchedArray:
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    return array.like(np.pad(array.physical, [(0, 0), *widths], mode, **kwargs))


@rule(np.tile)
def _tile(A: BatchedArray, reps: PerDim) -> BatchedArray:
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    n = max(len(reps), A.ndim)
    return A.like(np.tile(lined_up(A, A.level, n), (1, *(1,) * (n - len(reps)), *reps)))


@rule(np.diagonal)
def _diagonal(a: BatchedArray, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    r = np.diagonal(a.physical, offset, physical_axis(axis1, a.ndim), physical_axis(axis2, a.ndim))
    if isinstance(r, np.ndarray) and a.physical.flags.writeable:
        r.flags.writeable = True        # the ops decide, as with arrays that are not batched
    return a.like(r)


@rule(np.trace)
def _trace(a: BatchedArray, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Dtype = None, out: Array | None = None) -> BatchedArray:
    return a.like(np.trace(a.physical, offset, physical_axis(axis1, a.ndim), physical_axis(axis2, a.ndim), dtype))


@rule(np.rot90)
def _rot90(m: BatchedArray, k: int = 1, axes: Sequence[int] = (0, 1)) -> BatchedArray:
    return m.like(np.rot90(m.physical, k, physical_axis(axes, m.ndim)))


def _triangle(function: Function) -> None:
    RULES[function] = lambda m, k=0: m.like(function(m.physical, k)) if m.ndim > 1 else per_sample(function, (m, k), {})


_triangle(np.tril)
_triangle(np.triu)


@rule(np.copyto)
def _copyto(dst: BatchedArray, src: Array | Scalar, casting: str = "same_kind", where: Array | bool = True) -> None:
    level = max_level((dst, src, where))
    if not is_at(dst, level):
        raise shared_write()
    np.copyto(dst.physical, lined_up(src, level, dst.ndim), casting=casting, where=lined_up(where, level, dst.ndim))


# --- picking elements -----------------------------------------------------------------------------------------------------------------

@rule(np.take)
def _take(a: BatchedArray, indices: Array | BatchedArray, axis: int | None = None, out: Array | None = None, mode: str = "raise") -> Array:
    if axis is None:
        a, axis = a.reshape(-1), 0
    level = max_level((a, indices))
    if is_at(a, level) and not is_at(indices, level):
        return BatchedArray(np.take(a.physical, indices, axis=physical_axis(axis, a.ndim), mode=mode), level)
    if not is_at(a, level):
        axis = normal_axis(axis, np.ndim(a))
        r = np.take(a, indices.physical, axis=axis, mode=mode)
        return BatchedArray(np.moveaxis(r, axis, 0), level)
    return per_sample(np.take, (a, indices), {"axis": axis, "mode": mode})


@rule(np.take_along_axis)
def _take_along_axis(arr: Array, indices: Array, axis: int = -1) -> Array:
    if axis is None:
        arr, axis = arr.reshape(-1), 0
    level = max_level((arr, indices))
    batch = batch_size((arr, indices), level)
    axis = physical_axis(axis, np.ndim(arr))
    return BatchedArray(np.take_along_axis(expanded(arr, level, batch), expanded(indices, level, batch), axis=axis), level)


@rule(np.put_along_axis)
def _put_along_axis(arr: BatchedArray, indices: Array, values: Array | Scalar, axis: Axes) -> None:
    level = max_level((arr, indices, values))
    if not is_at(arr, level):
        raise shared_write()
    if axis is None:
        per_sample(np.put_along_axis, (arr, indices, values, axis), {})
        return
    np.put_along_axis(arr.physical, expanded(indices, level, arr.batch), lined_up(values, level, arr.ndim), physical_axis(axis, arr.ndim))


# --- products and linear algebra ------------------------------------------------------------------------------------------------------

@rule(np.dot)
def _dot(a: Array, b: Array, out: Array | None = None) -> Array:
    na, nb = np.ndim(a), np.ndim(b)
    if na == 0 or nb == 0:
        return np.multiply(a, b)
    if nb == 1 or (na <= 2 and nb <= 2):
        return np.matmul(a, b)
    return per_sample(np.dot, (a, b), {})


@rule(np.vdot)
def _vdot(a: BatchedArray, b: Array) -> Array:
    return np.matmul(a.reshape(-1).conj(), b.reshape(-1))


@rule(np.outer)
def _outer(a: BatchedArray, b: Array, out: Array | None = None) -> Array:
    return a.reshape(-1)[:, None] * b.reshape(-1)[None, :]


@rule(np.einsum)
def _einsum(*operands: Any, out: Array | None = None, **kwargs: Any) -> Array:
    if not isinstance(operands[0], str):
        return per_sample(np.einsum, operands, kwargs)
    level = max_level(operands)
    left, arrow, right = operands[0].replace(" ", "").partition("->")
    parts = left.split(",")
    if not arrow:
        letters = "".join(parts).replace(".", "")
        right = ("..." if "..." in left else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    letter = next(c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBAzyxwvutsrqponmlkjihgfedcba" if c not in operands[0])
    equation = ",".join([letter + part if is_at(x, level) else part
                         for part, x in zip(parts, operands[1:], strict=True)]) + "->" + letter + right
    if "..." in left:
        # The ellipses line up from the right, so that a batch in front of them stays in front only for equal numbers of dimensions.
        inner = [np.ndim(x) - len(part.replace(".", "")) for part, x in zip(parts, operands[1:], strict=True) if "..." in part]
        if len(set(inner)) > 1:
            return per_sample(np.einsum, operands, kwargs)
    return BatchedArray(np.einsum(equation, *[unwrapped(x, level) for x in operands[1:]], **kwargs), level)


@rule(np.tensordot)
def _tensordot(a: Array, b: Array, axes: int | Sequence[PerDim] = 2) -> Array:
    na, nb = np.ndim(a), np.ndim(b)
    if isinstance(axes, int):
        axes_a, axes_b = list(range(na - axes, na)), list(range(axes))
    else:
        axes_a, axes_b = [[each] if isinstance(each, int) else list(each) for each in axes]
    axes_a, axes_b = [normal_axis(i, na) for i in axes_a], [normal_axis(i, nb) for i in axes_b]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM"
    left, right = list(letters[:na]), list(letters[na:na + nb])
    for i, j in zip(axes_a, axes_b, strict=True):
        right[j] = left[i]
    result = [c for i, c in enumerate(left) if i not in axes_a] + [c for j, c in enumerate(right) if j not in axes_b]
    return np.einsum(f"{''.join(left)},{''.join(right)}->{''.join(result)}", a, b, optimize=True)


def _stacked_linalg(name: str) -> None:
    """np.linalg functions of one (stack of) matrices: the batch is one more dimension of the stack."""
    numpy_function = getattr(np.linalg, name)
    function = getattr(lapack, name, numpy_function) if name != "cholesky" else numpy_function
    RULES[numpy_function] = lambda a, *args, **kwargs: (per_sample(function, (a, *args), kwargs) if max_level((args, kwargs))
                                                  else wrapped(function(a.physical, *args, **kwargs), a.level))


for _name in ("inv", "det", "slogdet", "cholesky", "qr", "svd", "eig", "eigh", "eigvals", "eigvalsh", "pinv", "matrix_power", "svdvals"):
    if hasattr(np.linalg, _name):
        _stacked_linalg(_name)


@rule(np.linalg.solve)
def _solve(a: Array, b: Array) -> Array:
    level = max_level((a, b))
    if np.ndim(b) == 1:
        return np.linalg.solve(a, b[:, None])[..., 0]
    n = max(np.ndim(a), np.ndim(b))
    return BatchedArray(np.linalg.solve(lined_up(a, level, n), lined_up(b, level, n)), level)


def _transform(function: Function) -> None:
    """np.fft functions along one axis."""
    RULES[function] = lambda a, n=None, axis=-1, norm=None, out=None: a.like(function(a.physical, n, physical_axis(axis, a.ndim), norm))


def _transforms(function: Function) -> None:
    """np.fft functions along several axes."""
    def call(a: Any, s: Any = None, axes: Sequence[int] | None = None, norm: str | None = None, out: Any = None) -> Array:
        if axes is None:
            axes = tuple(range(-len(s), 0)) if s is not None else tuple(range(a.ndim))
        return a.like(function(a.physical, s, physical_axis(tuple(axes), a.ndim), norm))
    RULES[function] = call


for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    _transform(getattr(np.fft, _name))
for _name in ("fftn", "ifftn", "rfftn", "irfftn"):
    _transforms(getattr(np.fft, _name))
