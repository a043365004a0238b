"""What NumPy's ufuncs and functions give for arrays without memory: the shape by a rule, the dtype by asking NumPy on arrays of one
element."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, NoReturn, TypeAlias

import numpy as np

from ..kernels.shapes import broadcast_shapes
from ..vocabulary import Array, Axes, Dtype, Function, Number, NumpyDtype, PerDim, Scalar
from .array import META, MetaArray, fresh, like, no_data, order_of, shape_of

__all__ = ["call", "call_ufunc", "elementwise", "RULES", "rule"]

Given: TypeAlias = MetaArray | Array | Scalar                # what NumPy's functions are called with
Results: TypeAlias = MetaArray | tuple[MetaArray | None, ...]
RULES: dict[Any, Callable[..., Any]] = {}
_dtypes: dict[Any, Any] = {}


def rule(*functions: Function) -> Callable[[Function], Function]:
    """Register a rule for functions of NumPy; it gets their arguments."""
    def register(fn: Function) -> Function:
        for function in functions:
            RULES[function] = fn
        return fn
    return register


def call(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``function(*args, **kwargs)`` where some argument is a MetaArray."""
    found = RULES.get(function)
    if found is None:
        raise NotImplementedError(f"numpy.{function.__name__} has no form for the meta device")
    return found(*args, **kwargs)


# --- elementwise -------------------------------------------------------------------------------------------------------------------------

def _one(value: MetaArray | Array | Number) -> Array | Number:
    """An array of one element in the place of an operand; numbers as they are."""
    return np.ones((1,), value.dtype) if hasattr(value,
                                                 "dtype") and value.ndim else np.ones((), value.dtype) if hasattr(value, "dtype") else value


def _key(value: Given | str | None) -> object:
    return (value.dtype, value.ndim > 0) if hasattr(value,
                                                    "dtype") else value if value.__class__ is str or value is None else value.__class__


def dtype_of(function: Function, operands: Sequence[Given],
             options: dict[str, Any] | None = None) -> NumpyDtype | tuple[NumpyDtype | None, ...]:
    """The dtype of an elementwise function's result, or a tuple of them."""
    key = (function, *map(_key, operands), None if not options else tuple(sorted((k, str(v)) for k, v in options.items())))
    found = _dtypes.get(key)
    if found is None:
        with np.errstate(all="ignore"):
            r = function(*map(_one, operands), **(options or {}))
        found = tuple([None if each is None else each.dtype for each in r]) if r.__class__ is tuple else r.dtype
        if not hasattr(function, "__closure__") or not function.__closure__:
            _dtypes[key] = found
    return found


def on_one_device(operands: Iterable[Given]) -> None:
    """PyTorch's error for an operand with memory beside those without; a number in memory may stand there."""
    for each in operands:
        if each.__class__ is np.ndarray and each.ndim:
            raise RuntimeError("Tensor on device cpu is not on the expected device meta!")


def elementwise(function: Function, operands: Sequence[Given], out: Results | None = None, **options: Any) -> Results:
    """A function of elements: operands broadcast, and the result lies in memory as they do."""
    on_one_device(operands)
    shape = broadcast_shapes(*[shape_of(each) for each in operands])
    dtype = dtype_of(function, operands, options)
    if out is not None:
        return _into(out, shape)
    order = order_of(shape, [each for each in operands if each.__class__ is MetaArray])
    if not shape and (function, getattr(operands[0], "answer", None)) in _BOUNDS:
        r = fresh(shape, dtype)
        r.answer = _BOUNDS[function, operands[0].answer]
        return r
    if dtype.__class__ is tuple:
        return tuple([None if each is None else fresh(shape, each, order) for each in dtype])
    return fresh(shape, dtype, order)


# Whether a bound holds for the least or the largest of values that are all taken to be in bounds.
_BOUNDS = {**{(function, "min"): function in (np.greater, np.greater_equal)
              for function in (np.less, np.less_equal, np.greater, np.greater_equal)},
           **{(function, "max"): function in (np.less, np.less_equal)
              for function in (np.less, np.less_equal, np.greater, np.greater_equal)}}


def _into(out: Results, shape: tuple[int, ...]) -> Results:
    targets = out if out.__class__ is tuple else (out,)
    for each in targets:
        if each is not None and broadcast_shapes(shape, each.shape) != each.shape:
            raise ValueError(f"non-broadcastable output operand with shape {each.shape} doesn't match the broadcast shape {shape}")
    return targets[0] if len(targets) == 1 else targets


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Results:
    """A ufunc, or one of its methods."""
    if any(hasattr(each, "physical") for each in inputs):
        return NotImplemented
    if method != "__call__":
        return _METHODS[method](ufunc, inputs, kwargs)
    if ufunc.signature is not None:
        return RULES[ufunc](*inputs, **kwargs)
    where = kwargs.get("where", True)
    out = kwargs.get("out")
    options = {key: value for key, value in kwargs.items() if key in ("dtype", "casting")}
    if where is not True:
        on_one_device((where,))
    return elementwise(ufunc, inputs, out, **options)


def _reduced(shape: tuple[int, ...], axis: Axes, keepdims: bool) -> tuple[int, ...]:
    n = len(shape)
    axes = set(range(n)) if axis is None else {normal(each, n)
                                               for each in (axis if isinstance(axis, (tuple, list)) else (axis,))} if n else set()
    return tuple([1 if i in axes else size for i, size in enumerate(shape) if keepdims or i not in axes])


def normal(axis: int, n: int) -> int:
    """An axis counted from the front; AxisError where there is none."""
    axis = int(axis)
    if not -n <= axis < n:
        raise np.exceptions.AxisError(axis, n)
    return axis % n


def _reduce(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Results:
    values = dict(zip(("axis", "dtype", "out", "keepdims", "initial", "where"), inputs[1:], strict=False)) | kwargs
    a, axis = inputs[0], values.get("axis", 0)
    keepdims = bool(values.get("keepdims", False))
    shape = _reduced(a.shape, axis, keepdims)
    out = values.get("out")
    if out is not None and out != (None,):
        return _into(out, shape)
    if ufunc in (np.maximum, np.minimum) and values.get("initial", np._NoValue) is np._NoValue and not a.size and prod(shape):
        raise ValueError(f"zero-size array to reduction operation {ufunc.__name__} which has no identity")
    dtype = ufunc.reduce(np.ones(1, a.dtype), dtype=values.get("dtype")).dtype
    r = fresh(shape, dtype)
    if axis is None or not shape:
        r.answer = {np.logical_and: True, np.logical_or: False, np.minimum: "min", np.maximum: "max"}.get(ufunc)
    return r


def _accumulate(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Results:
    values = dict(zip(("axis", "dtype", "out"), inputs[1:], strict=False)) | kwargs
    a = inputs[0]
    normal(values.get("axis", 0), a.ndim)
    if values.get("out") is not None:
        return _into(values["out"], a.shape)
    return like(a, ufunc.accumulate(np.ones(1, a.dtype), dtype=values.get("dtype")).dtype)


def _outer(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Results:
    a, b = inputs
    return ufunc(a.reshape(a.shape + (1,) * b.ndim), b, **kwargs)


def _reduceat(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> MetaArray:
    values = dict(zip(("indices", "axis", "dtype", "out"), inputs[1:], strict=False)) | kwargs
    a, axis = inputs[0], normal(values.get("axis", 0), inputs[0].ndim)
    shape = (*a.shape[:axis], shape_of(values["indices"])[0], *a.shape[axis + 1:])
    return fresh(shape, ufunc.reduce(np.ones(1, a.dtype), dtype=values.get("dtype")).dtype)


_METHODS = {"reduce": _reduce, "accumulate": _accumulate, "at": lambda ufunc, inputs, kwargs: None, "outer": _outer, "reduceat": _reduceat}

for _function in (np.isclose, np.nan_to_num, np.round, np.around, np.angle, np.sinc, np.i0, np.iscomplex, np.isreal, np.fix, np.isposinf,
                  np.isneginf, np.unwrap):
    RULES[_function] = lambda *args, _function=_function, out=None, **kwargs: elementwise(_function, args, out, **kwargs)


@rule(np.where)
def _where(condition: Array | MetaArray, *args: Given) -> Results:
    if not args:
        raise no_data("nonzero: how many elements are not zero is not known on the meta device. Use torch.where(condition, a, b)")
    return elementwise(np.where, (condition, *args))


@rule(np.clip)
def _clip(a: MetaArray, a_min: Given | None = None, a_max: Given | None = None, out: Results | None = None, **kwargs: Any) -> Results:
    low, high = kwargs.get("min", a_min), kwargs.get("max", a_max)
    r = a
    for function, limit in ((np.maximum, low), (np.minimum, high)):
        if limit is not None:
            r = elementwise(function, (r, limit))
    return (r.copy() if r is a else r) if out is None else _into(out, r.shape)


# --- reductions and scans ----------------------------------------------------------------------------------------------------------------

def _reduction(function: Function) -> None:
    def reduction(a: MetaArray, axis: Axes = None, dtype: Dtype = None, out: Results | None = None,
                  keepdims: bool = False, **kwargs: Any) -> Results:
        shape = _reduced(a.shape, axis, keepdims is not np._NoValue and keepdims)
        if out is not None:
            return _into(out, shape)
        given = {} if dtype is None else {"dtype": dtype}
        return fresh(shape, function(np.ones(1, a.dtype), **given).dtype)
    RULES[function] = reduction


for _function in (np.sum, np.prod, np.mean, np.std, np.var, np.nansum, np.nanmean):
    _reduction(_function)
for _function in (np.max, np.min, np.amax, np.amin, np.any, np.all, np.median, np.nanmax, np.nanmin, np.ptp):
    def _plain(a: MetaArray, axis: Axes = None, out: Results | None = None, keepdims: bool = False,
               _function: Function = _function, **kwargs: Any) -> Results:
        return _reduce_plain(_function, a, axis, out, keepdims)
    RULES[_function] = _plain


def _reduce_plain(function: Function, a: MetaArray, axis: Axes, out: Results | None, keepdims: bool) -> Results:
    shape = _reduced(a.shape, axis, keepdims is not np._NoValue and keepdims)
    if out is not None:
        return _into(out, shape)
    r = fresh(shape, np.asarray(function(np.ones(1, a.dtype))).dtype)
    if not shape:
        r.answer = {np.all: True, np.any: False, np.min: "min", np.max: "max", np.amin: "min", np.amax: "max"}.get(function)
    return r


@rule(np.count_nonzero)
def _count(a: MetaArray, axis: Axes = None, *, keepdims: bool = False) -> MetaArray:
    r = fresh(_reduced(a.shape, axis, keepdims), np.int64)
    r.answer = "max"
    return r


def _argument(a: MetaArray, axis: Axes = None, out: Results | None = None, *, keepdims: bool = False) -> MetaArray:
    if not a.size and (axis is None or not a.shape[axis]):
        raise ValueError("attempt to get argmax of an empty sequence")
    return fresh(_reduced(a.shape, axis, keepdims is not np._NoValue and keepdims), np.int64)


RULES[np.argmax] = RULES[np.argmin] = _argument


def _scan(function: Function) -> Function:
    def scan(a: MetaArray, axis: Axes = None, dtype: Dtype = None, out: Results | None = None) -> Results:
        a = a.reshape(-1) if axis is None else a
        return _into(out, a.shape) if out is not None else fresh(a.shape, function(np.ones(1, a.dtype), dtype=dtype).dtype)
    return scan


for _function in (np.cumsum, np.cumprod, np.nancumsum):
    RULES[_function] = _scan(_function)
RULES[np.sort] = lambda a, axis=-1, **kwargs: like(a)
RULES[np.partition] = lambda a, kth, axis=-1, **kwargs: like(a)
RULES[np.argsort] = lambda a, axis=-1, **kwargs: like(a, np.int64)
RULES[np.argpartition] = lambda a, kth, axis=-1, **kwargs: like(a, np.int64)
RULES[np.lexsort] = lambda keys, axis=-1: fresh(keys[0].shape, np.int64)


@rule(np.diff)
def _diff(a: MetaArray, n: int = 1, axis: int = -1, prepend: Given = np._NoValue, append: Given = np._NoValue) -> MetaArray:
    axis = normal(axis, a.ndim)
    more = [each for each in (prepend, append) if each is not np._NoValue]
    size = a.shape[axis] + sum(each.shape[axis] if np.ndim(each) else 1 for each in more)
    return fresh((*a.shape[:axis], max(size - n, 0), *a.shape[axis + 1:]),
                 np.subtract(*[np.ones(1, a.dtype if a.dtype != bool else np.int8)] * 2).dtype
                 if a.dtype != bool else a.dtype)


# --- making ------------------------------------------------------------------------------------------------------------------------------

def _asarray(a: MetaArray | Array, dtype: Dtype = None, *args: Any, copy: bool | None = None, **kwargs: Any) -> MetaArray:
    if a.__class__ is MetaArray:
        return a if (dtype is None or a.dtype == dtype) and not copy else a.astype(a.dtype if dtype is None else dtype)
    a = np.asarray(a, dtype)
    return fresh(a.shape, a.dtype, order_of(a.shape, (a,)))


RULES[np.asarray] = _asarray
RULES[np.array] = lambda a, dtype=None, *args, **kwargs: _asarray(a, dtype, copy=True)
RULES[np.ascontiguousarray] = lambda a, dtype=None, **kwargs: (
    a if a.__class__ is MetaArray and a.flags.c_contiguous and (dtype is None or a.dtype == dtype) else fresh(
        shape_of(a) or (1,), dtype or np.asarray(a).dtype if a.__class__ is not MetaArray else dtype or a.dtype))
RULES[np.copy] = lambda a, order="K", subok=False: a.copy(order)
RULES[np.empty] = RULES[np.zeros] = RULES[np.ones] = lambda shape, dtype=float, order="C", **kwargs: fresh(shape, float if dtype is None else dtype)
RULES[np.full] = lambda shape, fill_value, dtype=None, order="C", **kwargs: fresh(shape, dtype or np.asarray(fill_value).dtype)
RULES[np.eye] = lambda N, M=None, k=0, dtype=float, order="C", **kwargs: fresh((N, N if M is None else M), dtype)
RULES[np.tri] = lambda N, M=None, k=0, dtype=float, **kwargs: fresh((N, N if M is None else M), dtype)
RULES[np.identity] = lambda n, dtype=float, **kwargs: fresh((n, n), dtype)
RULES[np.linspace] = lambda start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0, **kwargs: fresh((num,), dtype or float)


@rule(np.arange)
def _arange(*args: Any, dtype: Dtype = None, **kwargs: Any) -> MetaArray:
    start, stop, step = (0, args[0], 1) if len(args) == 1 else (*args, 1)[:3]
    if len(args) > 3:
        dtype = args[3]
    n = max(0, -int((start - stop) // step))
    return fresh((n,), dtype or np.arange(*[type(each)(0) for each in args[:1]]).dtype)


def _like(a: MetaArray, *args: Any, dtype: Dtype = None, shape: PerDim | None = None, **kwargs: Any) -> MetaArray:
    dtype = args[0] if args and dtype is None else dtype
    return like(a, dtype, None if shape is None else (shape,) if isinstance(shape, int) else shape)


RULES[np.empty_like] = RULES[np.zeros_like] = RULES[np.ones_like] = _like
RULES[np.full_like] = lambda a, fill_value, *args, **kwargs: _like(a, *args, **kwargs)

# --- shapes ------------------------------------------------------------------------------------------------------------------------------

RULES[np.shape] = lambda a: a.shape
RULES[np.ndim] = lambda a: a.ndim
RULES[np.size] = lambda a, axis=None: a.size if axis is None else a.shape[axis]
RULES[np.iscomplexobj] = lambda a: a.dtype.kind == "c"
RULES[np.isrealobj] = lambda a: a.dtype.kind != "c"
RULES[np.real] = lambda a: a.real
RULES[np.imag] = lambda a: a.imag
RULES[np.result_type] = lambda *args: np.result_type(*[each.dtype if each.__class__ is MetaArray else each for each in args])
RULES[np.can_cast] = lambda from_, to, casting="safe": np.can_cast(from_.dtype if from_.__class__ is MetaArray else from_, to, casting)
RULES[np.may_share_memory] = RULES[np.shares_memory] = lambda a, b, max_work=None: (
    a.__class__ is b.__class__ and bool(a.size and b.size and np.may_share_memory(a.p, b.p)))
RULES[np.reshape] = lambda a, shape=None, order="C", **kwargs: a.reshape(shape, order=order)
RULES[np.ravel] = lambda a, order="C": a.ravel(order)
RULES[np.transpose] = lambda a, axes=None: a.transpose() if axes is None else a.transpose(axes)
RULES[np.matrix_transpose] = lambda a: a.swapaxes(-1, -2)
RULES[np.swapaxes] = lambda a, axis1, axis2: a.swapaxes(axis1, axis2)
RULES[np.squeeze] = lambda a, axis=None: a.squeeze(axis)
RULES[np.moveaxis] = lambda a, source, destination: a.view_of(np.moveaxis(a.p, source, destination))
RULES[np.rollaxis] = lambda a, axis, start=0: a.view_of(np.rollaxis(a.p, axis, start))
RULES[np.expand_dims] = lambda a, axis: a.view_of(np.expand_dims(a.p, axis))
RULES[np.flip] = lambda m, axis=None: m.view_of(np.flip(m.p, axis))
RULES[np.diagonal] = lambda a, offset=0, axis1=0, axis2=1: a.diagonal(offset, axis1, axis2)
RULES[np.atleast_1d] = lambda a: a.reshape(1) if not a.ndim else a
RULES[np.atleast_2d] = lambda a: a.reshape(1, -1) if a.ndim < 2 else a
RULES[np.lib.stride_tricks.as_strided] = lambda x, shape=None, strides=None, **kwargs: x.strided(shape, strides)
RULES[np.lib.stride_tricks.sliding_window_view] = lambda x, window_shape, axis=None, **kwargs: x.view_of(
    np.lib.stride_tricks.sliding_window_view(x.p, window_shape, axis))


@rule(np.broadcast_to)
def _broadcast_to(array: MetaArray, shape: PerDim, subok: bool = False) -> MetaArray:
    r = array.view_of(np.broadcast_to(array.p, shape))
    r.writeable = False
    return r


@rule(np.broadcast_arrays)
def _broadcast_arrays(*args: Given, subok: bool = False) -> tuple[MetaArray, ...]:
    shape = broadcast_shapes(*[shape_of(each) for each in args])
    return tuple([np.broadcast_to(each, shape) for each in args])


@rule(np.concatenate)
def _concatenate(arrays: Sequence[MetaArray], axis: Axes = 0, out: Results | None = None, dtype: Dtype = None, **kwargs: Any) -> Results:
    arrays = list(arrays)
    on_one_device(arrays)
    if axis is None:
        arrays, axis = [each.reshape(-1) for each in arrays], 0
    first = arrays[0]
    if not first.ndim:
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    axis = normal(axis, first.ndim)
    if any(each.ndim != first.ndim or any(i != axis and n != m for i, (n, m) in enumerate(zip(each.shape, first.shape, strict=True)))
           for each in arrays):
        raise ValueError("all the input array dimensions except for the concatenation axis must match exactly")
    shape = (*first.shape[:axis], sum(each.shape[axis] for each in arrays), *first.shape[axis + 1:])
    if out is not None:
        return _into(out, shape)
    return fresh(shape, dtype or np.result_type(*[each.dtype for each in arrays]), _common_order(arrays))


def _common_order(arrays: Sequence[MetaArray]) -> list[int] | None:
    """The order that all arrays share, where they do: a result of joined images lies as the images do."""
    orders = [order_of(each.shape, (each,)) for each in arrays]
    return orders[0] if all(each == orders[0] for each in orders) else None


@rule(np.stack)
def _stack(arrays: Sequence[MetaArray], axis: int = 0, out: Results | None = None, dtype: Dtype = None, **kwargs: Any) -> Results:
    arrays = list(arrays)
    if any(each.shape != arrays[0].shape for each in arrays):
        raise ValueError("all input arrays must have the same shape")
    axis = normal(axis, arrays[0].ndim + 1)
    shape = (*arrays[0].shape[:axis], len(arrays), *arrays[0].shape[axis:])
    return _into(out, shape) if out is not None else fresh(shape, dtype or np.result_type(*[each.dtype for each in arrays]))


@rule(np.array_split, np.split)
def _split(ary: MetaArray, indices_or_sections: PerDim, axis: int = 0) -> list[MetaArray]:
    return [ary.view_of(part) for part in np.array_split(ary.p, indices_or_sections, axis)]


RULES[np.roll] = lambda a, shift, axis=None: fresh(a.shape, a.dtype)
RULES[np.tril] = RULES[np.triu] = lambda m, k=0: fresh(m.shape, m.dtype)
RULES[np.rot90] = lambda m, k=1, axes=(0, 1): m.view_of(np.rot90(m.p, k, axes))


@rule(np.pad)
def _pad(array: MetaArray, pad_width: PerDim | Sequence[Sequence[int]], mode: str = "constant", **kwargs: Any) -> MetaArray:
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    return fresh([n + before + after for n, (before, after) in zip(array.shape, widths, strict=True)], array.dtype)


@rule(np.tile)
def _tile(A: MetaArray, reps: PerDim) -> MetaArray:
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    n = max(len(reps), A.ndim)
    whole, times = (1,) * (n - A.ndim) + A.shape, (1,) * (n - len(reps)) + reps
    return fresh([size * each for size, each in zip(whole, times, strict=True)], A.dtype)


@rule(np.repeat)
def _repeat(a: MetaArray, repeats: PerDim | MetaArray | Array, axis: Axes = None) -> MetaArray:
    if repeats.__class__ is MetaArray:
        raise RuntimeError("cannot repeat_interleave a meta tensor without output_size")
    a, axis = (a.reshape(-1), 0) if axis is None else (a, normal(axis, a.ndim))
    n = a.shape[axis] * int(repeats) if np.ndim(repeats) == 0 or np.size(repeats) == 1 else int(np.sum(repeats))
    return fresh((*a.shape[:axis], n, *a.shape[axis + 1:]), a.dtype)


@rule(np.meshgrid)
def _meshgrid(*xi: MetaArray, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[MetaArray, ...]:
    shape = [each.size for each in xi]
    if indexing == "xy" and len(shape) > 1:
        shape[:2] = shape[1::-1]
    return tuple([fresh(shape, each.dtype) for each in xi])


# --- indices -----------------------------------------------------------------------------------------------------------------------------

@rule(np.take)
def _take(a: MetaArray, indices: MetaArray | Array | PerDim, axis: Axes = None, out: Results | None = None, mode: str = "raise") -> Results:
    a, axis = (a.reshape(-1), 0) if axis is None else (a, normal(axis, a.ndim))
    shape = (*a.shape[:axis], *shape_of(indices), *a.shape[axis + 1:])
    return _into(out, shape) if out is not None else fresh(shape, a.dtype)


@rule(np.take_along_axis)
def _take_along_axis(arr: MetaArray, indices: MetaArray | Array, axis: Axes = -1) -> MetaArray:
    arr, axis = (arr.reshape(-1), 0) if axis is None else (arr, normal(axis, arr.ndim))
    whole = [1 if i == axis else n for i, n in enumerate(arr.shape)]
    return fresh(broadcast_shapes(tuple(whole), indices.shape), arr.dtype)


RULES[np.put_along_axis] = RULES[np.put] = RULES[np.putmask] = RULES[np.place] = RULES[np.fill_diagonal] = lambda *args, **kwargs: None


@rule(np.copyto)
def _copyto(dst: MetaArray, src: Given, casting: str = "same_kind", where: Given = True) -> None:
    if broadcast_shapes(shape_of(src), dst.shape) != dst.shape:
        raise ValueError(f"could not broadcast input array from shape {shape_of(src)} into shape {dst.shape}")


def _unknown(name: str) -> Function:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise no_data(f"{name}: the result's shape depends on the values, which tensors on the meta device do not have")
    return refuse


for _name in ("nonzero", "flatnonzero", "argwhere", "unique", "intersect1d", "setdiff1d"):
    RULES[getattr(np, _name)] = _unknown(_name)
RULES[np.bincount] = lambda x, weights=None, minlength=0: fresh((minlength,),
                                                                np.int64 if weights is None else np.float64) if minlength else _unknown("bincount")()
RULES[np.array_equal] = RULES[np.allclose] = RULES[np.array_equiv] = _unknown("equal")
RULES[np.searchsorted] = lambda a, v, side="left", sorter=None: fresh(shape_of(v), np.int64)
RULES[np.isin] = lambda element, test_elements, **kwargs: fresh(shape_of(element), bool)
RULES[np.unravel_index] = lambda indices, shape, order="C": tuple([fresh(indices.shape, np.int64) for _ in shape])
RULES[np.trace] = lambda a, offset=0, axis1=0, axis2=1, dtype=None, out=None: fresh(a.diagonal(offset, axis1, axis2).shape[:-1], dtype or a.dtype)

# --- products ----------------------------------------------------------------------------------------------------------------------------


@rule(np.matmul)
def matmul(a: MetaArray, b: MetaArray, out: Results | None = None, **kwargs: Any) -> Results:
    """a @ b."""
    on_one_device((a, b))
    if not a.ndim or not b.ndim:
        raise ValueError("matmul: Input operand does not have enough dimensions")
    left, right = a.shape if a.ndim > 1 else (1, *a.shape), b.shape if b.ndim > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise ValueError(f"matmul: Input operand 1 has a mismatch in its core dimension 0 (size {right[-2]} is different from {left[-1]})")
    shape = broadcast_shapes(left[:-2], right[:-2]) + (left[-2:-1] if a.ndim > 1 else ()) + (right[-1:] if b.ndim > 1 else ())
    return _into(out, shape) if out is not None else fresh(shape, np.result_type(a.dtype, b.dtype))


@rule(np.dot)
def dot(a: MetaArray, b: MetaArray, out: Results | None = None) -> Results:
    """np.dot."""
    if not np.ndim(a) or not np.ndim(b):
        return elementwise(np.multiply, (a, b), out)
    if b.ndim <= 2:
        if a.ndim > 2:
            r = matmul(a.reshape(-1, a.shape[-1]), b)
            return r.reshape((*a.shape[:-1], *b.shape[1:]))
        return matmul(a, b, out)
    return fresh((*a.shape[:-1], *b.shape[:-2], b.shape[-1]), np.result_type(a.dtype, b.dtype))


MetaArray.dot = dot  # type: ignore[attr-defined]
RULES[np.outer] = lambda a, b, out=None: fresh((a.size, b.size), np.result_type(a.dtype, b.dtype))
RULES[np.inner] = lambda a, b: fresh((*a.shape[:-1], *b.shape[:-1]), np.result_type(a.dtype, b.dtype))
RULES[np.vecdot] = lambda a, b, **kwargs: fresh(broadcast_shapes(a.shape, b.shape)[:-1], np.result_type(a.dtype, b.dtype))
RULES[np.tensordot] = lambda a, b, axes=2: _tensordot(a, b, axes)


def _tensordot(a: MetaArray, b: MetaArray, axes: int | Sequence[PerDim]) -> MetaArray:
    if isinstance(axes, int):
        axes = (list(range(a.ndim - axes, a.ndim)), list(range(axes)))
    left, right = ([normal(each, n) for each in (part if np.iterable(part) else [part])]
                   for part, n in zip(axes, (a.ndim, b.ndim), strict=True))
    return fresh([n for i, n in enumerate(a.shape) if i not in left] + [n for i, n in enumerate(b.shape) if i not in right],
                 np.result_type(a.dtype, b.dtype))


@rule(np.einsum)
def _einsum(subscripts: str, *operands: MetaArray, **kwargs: Any) -> MetaArray:
    ins, _, to = subscripts.replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for part, each in zip(ins.split(","), operands, strict=True):
        for letter, n in zip(part, each.shape, strict=True):
            sizes[letter] = n if sizes.get(letter, 1) == 1 else sizes[letter]
    return fresh([sizes[letter] for letter in to], np.result_type(*[each.dtype for each in operands]))


# --- linear algebra and transforms -------------------------------------------------------------------------------------------------------

def columns(shape: Sequence[int], dtype: Dtype) -> MetaArray:
    """New matrices that lie column by column, as LAPACK leaves them."""
    return fresh((*shape[:-2], shape[-1], shape[-2]), dtype).swapaxes(-1, -2)


def _float(a: MetaArray) -> NumpyDtype:
    return a.dtype if a.dtype.kind in "fc" else np.dtype(float)


def _real(a: MetaArray) -> NumpyDtype:
    return np.ones(1, _float(a)).real.dtype


def _square(a: MetaArray) -> MetaArray:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")
    return a


def _solve(a: MetaArray, b: MetaArray) -> MetaArray:
    _square(a)
    vector = b.ndim == 1
    lead = broadcast_shapes(a.shape[:-2], () if vector else b.shape[:-2])
    dtype = np.result_type(_float(a), _float(b))
    return fresh((*lead, *b.shape), dtype) if vector else columns((*lead, *b.shape[-2:]), dtype)


def _svd(a: MetaArray, full_matrices: bool = True, compute_uv: bool = True,
         hermitian: bool = False) -> MetaArray | tuple[MetaArray, MetaArray, MetaArray]:
    *lead, m, n = a.shape
    k = min(m, n)
    s = fresh((*lead, k), _real(a))
    if not compute_uv:
        return s
    return columns((*lead, m, m if full_matrices else k), _float(a)), s, columns((*lead, n if full_matrices else k, n), _float(a))


def _qr(a: MetaArray, mode: str = "reduced") -> MetaArray | tuple[MetaArray, MetaArray]:
    *lead, m, n = a.shape
    k = m if mode == "complete" else min(m, n)
    r = columns((*lead, min(m, n) if mode == "r" else k, n), _float(a))
    return r if mode == "r" else (columns((*lead, m, k), _float(a)), r)


RULES.update({
    np.linalg.inv: lambda a: columns(_square(a).shape, _float(a)),
    np.linalg.cholesky: lambda a, **kwargs: columns(_square(a).shape, _float(a)),
    np.linalg.det: lambda a: fresh(_square(a).shape[:-2], _float(a)),
    np.linalg.slogdet: lambda a: (fresh(_square(a).shape[:-2], _float(a)), fresh(a.shape[:-2], _real(a))),
    np.linalg.solve: _solve, np.linalg.svd: _svd, np.linalg.qr: _qr,
    np.linalg.eigh: lambda a, UPLO="L": (fresh(_square(a).shape[:-1], _real(a)), columns(a.shape, _float(a))),
    np.linalg.eigvalsh: lambda a, UPLO="L": fresh(_square(a).shape[:-1], _real(a)),
    np.linalg.eig: lambda a: (fresh(_square(a).shape[:-1], np.result_type(_float(a), np.complex64)),
                              fresh(a.shape, np.result_type(_float(a), np.complex64))),
    np.linalg.eigvals: lambda a: fresh(_square(a).shape[:-1], np.result_type(_float(a), np.complex64)),
    np.linalg.pinv: lambda a, *args, **kwargs: fresh((*a.shape[:-2], a.shape[-1], a.shape[-2]), _float(a)),
    np.linalg.matrix_rank: lambda A, *args, **kwargs: fresh(A.shape[:-2], np.int64),
    np.linalg.norm: lambda x, ord=None, axis=None, keepdims=False: fresh(_reduced(x.shape, axis, keepdims), _real(x)),
})


def _transform(name: str) -> Function:
    function = getattr(np.fft, name)
    half, inverse = name.startswith("r"), name.startswith("ir")

    def transform(a: MetaArray, s: PerDim | None = None, axes: PerDim | None = None, *args: Any, **kwargs: Any) -> MetaArray:
        many = name.endswith(("n", "2"))
        if not many:
            axes = (-1 if axes is None else axes,)
            s = None if s is None else (s,)
        elif axes is None:
            axes = tuple(range(a.ndim)) if s is None else tuple(range(-len(s), 0))
            axes = axes if name[-1] != "2" else (-2, -1)
        shape = list(a.shape)
        for i, axis in enumerate(axes):
            if s is not None and s[i] is not None and s[i] != -1:
                shape[axis] = s[i]
        last = axes[-1] if len(axes) else -1
        if half:
            shape[last] = shape[last] // 2 + 1
        elif inverse or name == "hfft":
            shape[last] = s[-1] if s is not None and s[-1] is not None else 2 * (a.shape[last] - 1)
        ahead = [axis % a.ndim for axis in axes]
        batch = sorted([i for i in range(a.ndim) if i not in ahead], key=lambda i: -a.strides[i])
        return fresh(shape, function(np.ones((2,) * max(a.ndim, 1), a.dtype)).dtype, [*batch, *dict.fromkeys(ahead)])
    return transform


for _name in ("fft", "ifft", "rfft", "irfft", "fft2", "ifft2", "fftn", "ifftn", "rfftn", "irfftn", "rfft2", "irfft2", "hfft"):
    RULES[getattr(np.fft, _name)] = _transform(_name)
RULES[np.fft.fftshift] = RULES[np.fft.ifftshift] = lambda x, axes=None: fresh(x.shape, x.dtype)

# --- methods -----------------------------------------------------------------------------------------------------------------------------

for _function in (np.sum, np.prod, np.mean, np.cumsum, np.cumprod, np.argmax, np.argmin, np.all, np.any, np.nonzero, np.take, np.trace,
                  np.std, np.var, np.max, np.min, np.argsort, np.repeat, np.searchsorted, np.round):
    _rule = RULES[_function]
    setattr(MetaArray, _function.__name__, lambda self, *args, _rule=_rule, **kwargs: _rule(self, *args, **kwargs))
MetaArray.conj = MetaArray.conjugate = lambda self: like(self) if self.dtype.kind == "c" else self  # type: ignore[attr-defined]
MetaArray.clip = lambda self, min=None, max=None, out=None: _clip(self, min, max, out)  # type: ignore[attr-defined]
MetaArray.byteswap = lambda self, inplace=False: self if inplace else like(self)  # type: ignore[attr-defined]
MetaArray.device = property(lambda self: META)  # type: ignore[assignment]
