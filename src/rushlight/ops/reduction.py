"""Reductions: sum, mean, prod, extremes, any and all, variance, norms."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from math import prod as _product
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import return_types, services
from ..dims import wrap_dim, wrap_dims
from ..dtypes import bool_, dtype_of
from ..dtypes import dtype as dtype_type
from ..kernels import formula as f
from ..kernels import reduce as R
from ..kernels.arrays import as_array
from ..kernels.door import widened
from ..kernels.fuse import fuse
from ..kernels.shapes import broadcast_shapes
from ..kernels.strides import zeros_for
from ..kind import Kind
from ..layout import SparseRefusal
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Dims, Dtype, Function, Operand, PerDim
from .convert import convert
from .creation import _dtype_argument
from .deferred import function_of
from .errors import broadcast_error, not_a_tensor, not_implemented, title
from .joining import cat
from .promotion import real
from .public import export, method, op
from .record import record
from .registry import FUNCTIONS
from .signatures import SignatureOf
from .write import write_out

if TYPE_CHECKING:
    from ..dtypes import dtype

__all__ = ["reduced_dims"]

ndarray = np.ndarray


def reduced_dims(dim: PerDim | None, ndim: int) -> tuple[int, ...]:
    """The dimensions that a reduction runs over: all of them for None and for an empty tuple."""
    if dim is None:
        return tuple(range(ndim))
    if dim.__class__ is int or not isinstance(dim, (tuple, list)):
        return (wrap_dim(dim, ndim),) if ndim else (wrap_dim(dim, ndim),)[:0]
    dims = wrap_dims(dim, ndim)
    return (dims or tuple(range(ndim))) if ndim else ()


def _renamed(dim: int, keepdim: bool, axis: Any, keepdims: Any) -> tuple[Any, bool]:
    """NumPy's names of the arguments, which PyTorch accepts."""
    return (dim if axis is None else axis), (keepdim if keepdims is None else keepdims)


def _expander(shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[Any, Any]:
    """(on tensors, on arrays): the gradient of a reduction, seen again at the input's shape."""
    if keepdim or len(dims) == len(shape):
        kept = None
    else:
        kept = tuple([1 if i in dims else n for i, n in enumerate(shape)])

    def tensors(g: Tensor) -> Tensor:
        return (g if kept is None else g.reshape(kept)).expand(shape)

    def arrays(g: Array) -> Array:
        return np.broadcast_to(g if kept is None else g.reshape(kept), shape)
    return tensors, arrays


def _sum_kind(kind: Kind, dtype: dtype | None) -> Kind:
    if dtype is not None:
        if dtype.__class__ is not dtype_type:
            dtype = _dtype_argument(dtype)
        return kind.with_dtype(dtype)
    return kind if kind.differentiable else kind.int64


def sum(input: Tensor, dim: PerDim | None = None, keepdim: bool = False, *, dtype: Dtype = None, axis: Any = None,
        keepdims: Any = None) -> Tensor:
    """The sum over the given dimensions (an int or several; all of them by default). Integers and bool add up in int64."""
    if axis is not None or keepdims is not None:
        dim, keepdim = _renamed(dim, keepdim, axis, keepdims)
    kind = input._kind
    try:
        a = input._a
    except SparseRefusal:
        return services.sparse_form("sum", input, dim, keepdim, dtype=dtype)
    shape = a.shape
    if dtype is not None or not kind.fast:
        return _sum_slow(input, dim, keepdim, dtype)
    if dim is None:
        dims = None
        r = R.sum(a, None, keepdim)
    else:
        dims = reduced_dims(dim, len(shape))
        r = R.sum(a, dims, keepdim)
    if r.__class__ is not ndarray:
        r = as_array(r)
    out = wrap(r, kind)
    if input._node is None:
        return out
    tensors, arrays = _expander(shape, tuple(range(len(shape))) if dims is None else dims, keepdim)
    return record(out, "SumBackward0" if dims is None else "SumBackward1", (input,), tensors, array_grad=arrays)


def _sum_slow(input: Tensor, dim: PerDim | None, keepdim: bool, dtype: dtype | None) -> Tensor:
    kind = _sum_kind(input._kind, dtype)
    a = input._a
    dims = reduced_dims(dim, a.ndim)
    if a.dtype != kind.np and (dtype is not None or a.__class__ is not ndarray):     # else the kernel adds up in int64
        input = convert(input, kind)
        a = input._a
    r = R.sum(widened(a) if kind.reduced else a, dims, keepdim)
    out = wrap(as_array(r, kind.np), kind)
    tensors, arrays = _expander(a.shape, dims, keepdim)
    return record(out, "SumBackward0" if dim is None else "SumBackward1", (input,), tensors, array_grad=arrays)


def mean(input: Tensor, dim: PerDim | None = None, keepdim: bool = False, *, dtype: Dtype = None, axis: Any = None,
         keepdims: Any = None) -> Tensor:
    """The mean over the given dimensions (all by default) of a floating-point or complex tensor."""
    if axis is not None or keepdims is not None:
        dim, keepdim = _renamed(dim, keepdim, axis, keepdims)
    if dtype is not None:
        input = input.to(dtype)
    kind = input._kind
    if not kind.differentiable:
        name = {"int64": "Long", "int32": "Int", "bool": "Bool"}.get(kind.dtype.name, kind.dtype.name.capitalize())
        raise RuntimeError("mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
                           f"Got: {name}")
    a = input._a
    shape = a.shape
    dims = reduced_dims(dim, len(shape))
    count = 1
    for i in dims:
        count *= shape[i]
    if kind.reduced:
        r = as_array(R.sum(widened(a), dims, keepdim) / np.float32(count), kind.np)
    else:
        r = R.mean(a, dims, keepdim)
        if r.__class__ is not ndarray:
            r = as_array(r)
    out = wrap(r, kind)
    if input._node is None:
        return out
    tensors, arrays = _expander(shape, dims, keepdim)
    return record(out, "MeanBackward0" if dim is None else "MeanBackward1", (input,), lambda g: tensors(g) / count,
                  array_grad=lambda g: arrays(g / count))


def _public(fn: Function, name: str) -> None:
    """Register a reduction: function with out=, method without."""
    def function(input: Tensor, *args: Any, out: Tensor | None = None, **kwargs: Any) -> Tensor:
        if not isinstance(input, Tensor):
            raise not_a_tensor(name, "input", 1, input)
        r = fn(input, *args, **kwargs)
        return r if out is None else write_out(out, r, name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = fn.__doc__
    function.__signature__ = SignatureOf(fn, out=True)  # type: ignore[attr-defined]
    export(function, name)
    method(fn, name)


_public(sum, "sum")
_public(mean, "mean")


@op(method=True, out=True)
def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Dtype = None) -> Tensor:
    """The sum with nan counted as zero."""
    if input._kind.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    if dtype is not None and dtype_of(dtype).is_complex and input._a.size:
        raise NotImplementedError(f"\"nansum_cpu\" not implemented for '{title(dtype)}'")
    if not input._kind.is_floating:
        return sum(input, dim, keepdim, dtype=dtype)
    if dtype is not None or not input._kind.fast:
        return sum(input.masked_fill(input.isnan(), 0), dim, keepdim, dtype=dtype)
    shape = input._a.shape
    dims = reduced_dims(dim, len(shape))
    out = wrap(as_array(R.nansum(input._a, dims, keepdim)), input._kind)
    if input._node is None:
        return out
    tensors, _ = _expander(shape, dims, keepdim)
    return record(out, "NansumBackward0", (input,), lambda g, x: tensors(g).masked_fill(x.isnan(), 0), (input,))


@op(method=True, out=True)
def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Dtype = None) -> Tensor:
    """The mean of what is not nan."""
    if not input._kind.differentiable:
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {title(input._kind.dtype)}")
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError("nanmean(): could not infer output dtype. Optional dtype must be either a floating point or complex dtype. Got: "
                           f"{title(dtype)}")
    count = sum(~input.isnan(), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


@op(method=True, out=True)
def prod(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Dtype = None) -> Tensor:
    """The product of all elements, or along one dimension. Integers and bool multiply in int64."""
    kind = _sum_kind(input._kind, dtype)
    if input._kind is not kind and (dtype is not None or input._a.__class__ is not ndarray):     # else the kernel multiplies in int64
        input = input.to(kind.dtype)
    a = widened(input._a) if kind.reduced else input._a
    if dim is None:
        r = R.prod(a, None, False)
    else:
        dim = wrap_dim(dim, a.ndim)
        r = R.prod(a, dim, keepdim) if a.ndim else a.copy()
    out = wrap(as_array(r, kind.np), kind)
    if input._node is None:
        return out
    if dim is None:
        return record(out, "ProdBackward0", (input,), lambda g, x: _prod_grad(g, x.reshape(-1), 0).reshape(x.shape), (input,))
    if a.ndim == 0:
        return record(out, "ProdBackward1", (input,), lambda g: g)
    return record(out, "ProdBackward1", (input,), lambda g, x: _prod_grad(g if keepdim else g.unsqueeze(dim), x, dim), (input,))


def _prod_grad(g: Tensor, x: Tensor, dim: int) -> Tensor:
    """g times the product of all other elements, which is right with zeros as well (and differentiable)."""
    if bool((x._a != 0).all()):
        return g * (x.prod(dim, keepdim=True) / x)
    n = x.shape[dim]
    before = [None] * n
    after = [None] * n
    parts = [x.narrow(dim, i, 1) for i in range(n)]
    ones = parts[0].detach() * 0 + 1
    running = ones
    for i in range(n):
        before[i] = running
        running = running * parts[i]
    running = ones
    for i in range(n - 1, -1, -1):
        after[i] = running
        running = running * parts[i]
    return g * cat([b * c for b, c in zip(before, after, strict=True)], dim)


# --- extremes -------------------------------------------------------------------------------------------------------------------------

def _empty_error(name: str, input: Tensor, dim: int | None) -> None:
    if input._a.size == 0:
        if dim is None:
            kind = IndexError if name.startswith("arg") else RuntimeError
            raise kind(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' "
                       "argument.")
        if input._a.ndim and input._a.shape[wrap_dim(dim, input._a.ndim)] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")


def _no_complex(name: str, input: Tensor) -> None:
    if input._kind.is_complex:
        raise not_implemented(name, input._kind)


def _along(name: str, extremes: Function, kind_of_result: type[Any]) -> Function:
    def along(input: Tensor, dim: int, keepdim: bool) -> Any:
        a = input._a
        _empty_error(name, input, dim)
        dim = wrap_dim(dim, a.ndim)
        _no_complex(name, input)
        if a.ndim == 0:
            values, index = input.clone(), wrap(input._kind.xp.zeros((), np.int64), input._kind.int64)
            return kind_of_result((values, index))
        r, at = extremes(a, dim, keepdim)
        index = wrap(at, input._kind.int64)
        values = wrap(r, input._kind)
        if input._node is not None:
            shape = a.shape
            at = at if keepdim else np.expand_dims(at, dim)
            kept = wrap(at, input._kind.int64)

            def grad(g: Tensor, _: Tensor) -> Tensor:
                zeros = g.new_zeros(shape)
                return zeros.scatter(dim, kept, g if keepdim else g.unsqueeze(dim))

            def array_grad(g: Array, _: Any) -> Any:
                full = zeros_for(g, shape)
                np.put_along_axis(full, at, g if keepdim else np.expand_dims(g, dim), dim)
                return full
            record(values, f"{name.capitalize()}Backward0", (input,), grad, (index,), array_grad)
        return kind_of_result((values, index))
    return along


_max_along = _along("max", R.max_along, return_types.max)
_min_along = _along("min", R.min_along, return_types.min)


def _full_extreme(input: Tensor, reduce: Function, name: str) -> Tensor:
    _no_complex(name, input)
    _empty_error(name, input, None)
    a = input._a
    out = wrap(as_array(reduce(a, None, False), a.dtype), input._kind)
    if input._node is None:
        return out
    return record(out, f"{name.capitalize()}Backward1", (input,), lambda g, x, y: _evenly(g, x, y, None), (input, out))


def _evenly(g: Tensor, x: Tensor, y: Tensor, dims: Sequence[int]) -> Tensor:
    """The gradient shared by all elements that are equal to the extreme."""
    mask = x == y if dims else (x == y) | (x.isnan() & y.isnan())
    share = mask.to(g.dtype)
    return share * (g / share.sum(dims, keepdim=True) if dims else g / share.sum())


def _extreme(name: str, reduce: Function, along: Function) -> None:
    def function(input: Tensor, *args: Any, out: Tensor | None = None, **kwargs: Any) -> Any:
        if not isinstance(input, Tensor):
            raise not_a_tensor(name, "input", 1, input)
        other = args[0] if args else kwargs.get("other")
        if isinstance(other, Tensor) and not (other._a.ndim == 0 and "dim" in kwargs):
            r = FUNCTIONS[name + "imum"](input, other)
        elif not args and not kwargs:
            r = _full_extreme(input, reduce, name)
        else:
            r = _with_dim(*args, input=input, **kwargs)
        return r if out is None else write_out(out, r, name)

    def _with_dim(dim: int | None = None, keepdim: bool = False, *, input: Tensor, axis: Any = None, keepdims: Any = None) -> Any:
        dim, keepdim = _renamed(dim, keepdim, axis, keepdims)
        if dim.__class__ is not int and not (hasattr(dim, "__index__") and not isinstance(dim, bool)):
            raise TypeError(f"{name}() received an invalid combination of arguments - got (Tensor, {type(dim).__name__}), but expected "
                            f"one of: (Tensor input), (Tensor input, Tensor other), (Tensor input, int dim, bool keepdim)")
        return along(input, dim, keepdim)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (f"{name}(input) is the {name}imum of all elements; {name}(input, dim, keepdim=False) gives (values, indices) "
                        f"along a dimension; {name}(input, other) is `{name}imum`.")
    export(function)
    method(function)


_extreme("max", R.amax, _max_along)
_extreme("min", R.amin, _min_along)


def _amax(name: str, reduce: Function) -> Function:
    def fn(input: Tensor, dim: PerDim | None = (), keepdim: bool = False) -> Tensor:
        a = input._a
        dims = reduced_dims(dim if dim is not None else (), a.ndim)
        if a.size == 0:
            if dim is None or (isinstance(dim, (tuple, list)) and not dim):
                raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                                   "with the 'dim' argument.")
            for i in dims:
                if a.shape[i] == 0:
                    raise IndexError(f"{name}(): Expected reduction dim {i} to have non-zero size.")
        _no_complex(name, input)
        out = wrap(as_array(reduce(a, dims, keepdim), a.dtype), input._kind)
        if input._node is None:
            return out
        shape = tuple([1 if i in dims else n for i, n in enumerate(a.shape)])
        return record(out, f"{name.capitalize()}Backward0", (input,),
                      lambda g, x, y: _evenly(g.reshape(shape), x, y.reshape(shape), dims), (input, out))
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"The {name[1:]}imum over the given dimensions; equal extremes share the gradient."
    return op(method=True, out=True)(fn)


amax = _amax("amax", R.amax)
amin = _amax("amin", R.amin)


@op(method=True, out=True)
def aminmax(input: Tensor, *, dim: Dims = None, keepdim: bool = False) -> Any:
    """(min, max), over one dimension or over everything."""
    _empty_error("aminmax", input, dim)
    if input._node is None and input._a.ndim and not input._kind.is_complex:
        axis = None if dim is None else wrap_dim(dim, input._a.ndim)
        low, high = R.amin(input._a, axis, keepdim), R.amax(input._a, axis, keepdim)
        return return_types.aminmax((wrap(as_array(low, input._a.dtype), input._kind), wrap(as_array(high, input._a.dtype), input._kind)))
    dims = () if dim is None else dim
    return return_types.aminmax((amin(input, dims, keepdim), amax(input, dims, keepdim)))


def _argument(name: str, largest: bool) -> None:
    def fn(input: Tensor, dim: Dims = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Tensor:
        if axis is not None or keepdims is not None:
            dim, keepdim = _renamed(dim, keepdim, axis, keepdims)
        kind = input._kind
        if kind.is_complex or kind.dtype is bool_:
            raise not_implemented(name, kind)
        a = input._a
        _empty_error(name, input, dim)
        if kind.reduced:
            a = a.astype(np.float32)
        find, along = (np.argmax, R.max_along) if largest else (np.argmin, R.min_along)
        if dim is None:
            r = find(a)
            r = np.full((1,) * a.ndim, r) if keepdim else as_array(r)
        elif a.ndim == 0:
            wrap_dim(dim, 0)
            r = np.zeros((), np.int64)
        else:
            dim = wrap_dim(dim, a.ndim)
            r = along(a, dim, keepdim)[1] if a.__class__ is ndarray else find(a, axis=dim, keepdims=keepdim)
            if r.__class__ is not ndarray:
                r = as_array(r)
        return wrap(r, kind.int64)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"The index of the {'largest' if largest else 'smallest'} element, in the flattened tensor or along one dimension."
    _public(fn, name)


_argument("argmax", True)
_argument("argmin", False)


# --- truth ----------------------------------------------------------------------------------------------------------------------------

def _truth(name: str, reduce: Function) -> None:
    def fn(input: Tensor, dim: Dims = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Tensor:
        if axis is not None or keepdims is not None:
            dim, keepdim = _renamed(dim, keepdim, axis, keepdims)
        a = input._a
        kind = input._kind
        if dim is not None and not isinstance(dim, int) and len(dim) == 0:
            r = a != 0                                   # over no dimension
        else:
            r = as_array(reduce(a, None if dim is None else reduced_dims(dim, a.ndim), keepdim))
        return wrap(r.astype(np.uint8), kind) if kind.dtype.name == "uint8" else wrap(r, kind.bool_)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"Whether {name} element is true, over the given dimensions."
    _public(fn, name)


_truth("any", R.any)
_truth("all", R.all)


@op(method=True)
def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not zero."""
    a = input._a
    return wrap(as_array(R.count_nonzero(a, None if dim is None else reduced_dims(dim, a.ndim), False)), input._kind.int64)


# --- variance -------------------------------------------------------------------------------------------------------------------------

def _variance_arguments(args: tuple[Any, ...], dim: PerDim, unbiased: Any, correction: Any, keepdim: bool) -> tuple[Any, Any, bool]:
    """The overloads of var and std: (unbiased), (dim, unbiased, keepdim), (dim, *, correction, keepdim)."""
    given = list(args)
    if given and isinstance(given[0], bool):
        unbiased = given.pop(0)
    elif given:
        dim = given.pop(0)
        if given:
            unbiased = given.pop(0)
        if given:
            keepdim = given.pop(0)
    if unbiased is not None:
        correction = 1 if unbiased else 0
    return dim, 1 if correction is None else real(correction), keepdim


_variance_grad = fuse(lambda g, x, center, factor: g * ((x - center) * factor))


def _variance(input: Tensor, dim: int, correction: int, keepdim: bool, name: str) -> tuple[Tensor, Tensor]:
    """(variance, mean): two passes."""
    kind = input._kind
    if not kind.differentiable:
        raise RuntimeError(f"{name} only support floating point and complex dtypes")
    a = widened(input._a) if kind.reduced else input._a
    dims = reduced_dims(dim, a.ndim)
    count = _product([a.shape[i] for i in dims])
    freedom = max(0, count - correction) if count else 0
    if freedom <= 0:
        import warnings
        warnings.warn(f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor (input numel "
                      "divided by output numel).", UserWarning, stacklevel=4)
    r, center = R.variance(a, dims, keepdim, freedom)
    real = kind.with_dtype(kind.dtype.to_real())
    variance = wrap(as_array(r, real.np), real)
    mean_value = wrap(as_array(center, kind.np), kind)
    if input._node is not None:
        kept = tuple([1 if i in dims else n for i, n in enumerate(a.shape)])

        def grad(g: Tensor, x: Tensor) -> Tensor:
            return g.reshape(kept) * ((x - mean(x, dims, True)) * (2.0 / freedom if freedom else inf))
        around = center.reshape(kept)
        record(variance, "VarBackward0", (input,), grad, (input,),
               (lambda g, x: _variance_grad(g.reshape(kept), x, around, 2.0 / freedom)) if kind.fast and freedom else None,
               holomorphic=False)
        tensors, arrays = _expander(a.shape, dims, keepdim)
        record(mean_value, "MeanBackward1", (input,), lambda g: tensors(g) / count, array_grad=lambda g: arrays(g) / count)
    return variance, mean_value


@op(method=True, out=True)
def var(input: Tensor, *args: Any, dim: Dims = None, unbiased: Any = None, correction: Any = None, keepdim: bool = False) -> Tensor:
    """The variance over the given dimensions, dividing by n - correction (1 by default)."""
    dim, correction, keepdim = _variance_arguments(args, dim, unbiased, correction, keepdim)
    return _variance(input, dim, correction, keepdim, "var")[0]


@op(method=True, out=True)
def std(input: Tensor, *args: Any, dim: Dims = None, unbiased: Any = None, correction: Any = None, keepdim: bool = False) -> Tensor:
    """The standard deviation over the given dimensions, dividing by n - correction (1 by default)."""
    dim, correction, keepdim = _variance_arguments(args, dim, unbiased, correction, keepdim)
    variance = _variance(input.detach(), dim, correction, keepdim, "std")[0]
    out = wrap(np.sqrt(variance._a) if variance._a.ndim else as_array(np.sqrt(variance._a)), variance._kind)
    if input._node is None:
        return out
    a = input._a
    dims = reduced_dims(dim, a.ndim)
    kept = tuple([1 if i in dims else n for i, n in enumerate(a.shape)])
    count = _product([a.shape[i] for i in dims])
    freedom = max(0, count - correction) if count else 0

    def grad(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
        scale = (g / (y * freedom)).masked_fill(y == 0, 0)
        return scale.reshape(kept) * (x - mean(x, dims, True))
    return record(out, "StdBackward0", (input,), grad, (input, out), holomorphic=False)


@op
def var_mean(input: Tensor, *args: Any, dim: Dims = None, unbiased: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    """(variance, mean)."""
    dim, correction, keepdim = _variance_arguments(args, dim, unbiased, correction, keepdim)
    return _variance(input, dim, correction, keepdim, "var_mean")


@op
def std_mean(input: Tensor, *args: Any, dim: Dims = None, unbiased: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    """(standard deviation, mean)."""
    dim, correction, keepdim = _variance_arguments(args, dim, unbiased, correction, keepdim)
    return std(input, dim=dim, correction=correction, keepdim=keepdim), mean(input, dim, keepdim)


# --- norms and logsumexp --------------------------------------------------------------------------------------------------------------

_logsumexp_gradient = fuse(lambda g, x, y: g * f.exp(x - y))


@op(method=True, out=True)
def logsumexp(input: Tensor, dim: PerDim, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over the given dimensions, without overflow."""
    if not input._kind.differentiable:
        input = input.to(input._kind.float_.dtype)
    kind = input._kind
    a = widened(input._a) if kind.reduced else input._a
    if a.ndim and not keepdim and isinstance(dim, (tuple, list)) and not dim and a.size:
        raise RuntimeError(f"output with shape [] doesn't match the broadcast shape {[1] * a.ndim}")
    dims = reduced_dims(dim, a.ndim)
    out = wrap(as_array(R.logsumexp(a, dims, keepdim), kind.np), kind)
    if input._node is None:
        return out
    kept = tuple([1 if i in dims else n for i, n in enumerate(a.shape)])

    def gradient(g: Array, x: Array, y: Array) -> Array:
        return _logsumexp_gradient(g.reshape(kept), x, y.reshape(kept))
    return record(out, "LogsumexpBackward0", (input,), gradient, (input, out), gradient)


def _vector_norm(x: Tensor, p: float, dims: PerDim | None, keepdim: bool) -> Tensor:
    """The p-norm over dims, from differentiable ops."""
    if p == 2:
        return _euclidean(x, dims, keepdim)
    if p == 1 and x._node is None and x._kind.fast:
        return wrap(as_array(R.size_sum(x._a, reduced_dims(dims, x._a.ndim), keepdim)), x._kind)
    size = x.abs()
    if p == inf:
        return amax(size, dims, keepdim)
    if p == -inf:
        return amin(size, dims, keepdim)
    if p == 0:
        count = sum((x != 0).to(size.dtype), dims, keepdim)
        return record(count, "LinalgVectorNormBackward0", (x,), lambda g, x: x * 0, (x,))
    if p == 1:
        return sum(size, dims, keepdim)
    return _power_norm(x, p, dims, keepdim)


def _power_norm(x: Tensor, p: float, dims: PerDim | None, keepdim: bool) -> Tensor:
    """(sum |x|^p)^(1/p); its gradient sgn(x) (|x| / norm)^(p - 1) is zero where all elements are zero (for p < 1, where the element is)."""
    a = x._a.astype(np.float32) if x._kind.reduced else x._a
    dims = reduced_dims(dims, a.ndim)
    real = x._kind.with_dtype(x._kind.dtype.to_real())
    out = wrap(as_array(np.add.reduce(np.abs(a) ** p, axis=dims, keepdims=keepdim) ** (1.0 / p), real.np), real)
    kept = tuple([1 if i in dims else n for i, n in enumerate(a.shape)])

    def grad(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
        y, size = y.reshape(kept), x.abs()
        scale = (g.reshape(kept) / y ** (p - 1)).masked_fill(y == 0, 0)
        if p >= 2:
            return x * (size if p == 3 else size ** (p - 2)) * scale
        power = size ** (p - 1)
        return x.sgn() * (power if p >= 1 else power.masked_fill(x == 0, 0)) * scale
    return record(out, "LinalgVectorNormBackward0", (x,), grad, (x, out), holomorphic=False)


def _euclidean(x: Tensor, dims: PerDim | None, keepdim: bool) -> Tensor:
    """The 2-norm; its gradient at zero is zero."""
    kind = x._kind
    a = x._a
    dims = reduced_dims(dims, a.ndim)
    work = a.astype(np.float32) if kind.reduced else a
    real = kind.with_dtype(kind.dtype.to_real())
    if kind.is_complex:
        work = np.abs(work)
    out = wrap(as_array(R.norm(work, dims, keepdim), real.np), real)
    kept = tuple([1 if i in dims else n for i, n in enumerate(a.shape)])

    def grad(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
        y = y.reshape(kept)
        return x * (g.reshape(kept) / y).masked_fill(y == 0, 0) if x._a.size else x
    return record(out, "LinalgVectorNormBackward0", (x,), grad, (x, out), holomorphic=False)


@op(method=True, out=True)
def norm(input: Tensor, p: Operand | str = "fro", dim: PerDim | None = None, keepdim: bool = False, dtype: Dtype = None) -> Tensor:
    """The p-norm of all elements or over dimensions; "fro" is the 2-norm, "nuc" the sum of singular values."""
    if dtype is not None:
        if not isinstance(dtype, dtype_type):
            raise TypeError(f"linalg_vector_norm(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
        if not isinstance(p, str) or p == "fro":
            return function_of("linalg", "vector_norm")(input, 2.0 if p is None or p == "fro" else p, dim, keepdim, dtype=dtype)
        input = input.to(dtype)
    if not input._kind.differentiable:
        raise RuntimeError("linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
                           f"{input._kind.dtype.alias.capitalize() or input._kind.dtype.name}")
    if isinstance(p, str):
        if p == "nuc":
            return function_of("linalg", "matrix_norm")(input, "nuc", dim=(-2, -1) if dim is None else dim, keepdim=keepdim)
        if p != "fro":
            raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
        p = 2.0
    return _vector_norm(input, 2.0 if p is None else float(p), dim, keepdim)


# --- comparisons of whole tensors -----------------------------------------------------------------------------------------------------

@op(method=True)
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements."""
    if "meta" in (input._kind.device.type, other._kind.device.type):
        raise NotImplementedError("equal: tensors on the meta device have no values to compare")
    if input._kind.device is not other._kind.device:
        raise RuntimeError(f"Cannot compare two tensors on different devices. Got: {input._kind.device} and {other._kind.device}")
    return bool(input._a.shape == other._a.shape and (input._a == other._a).all())


def _tolerance(value: Any, name: str, position: int) -> float:
    """A tolerance as a number; it may be a tensor of one that does not require grad (TypeError)."""
    if isinstance(value, Tensor):
        if value.requires_grad or value._a.ndim:
            raise TypeError(f"isclose(): argument '{name}' (position {position}) must be float, not Tensor")
        return float(value._a)
    return value


@op(method=True)
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Where |input - other| <= atol + rtol * |other|."""
    rtol, atol = _tolerance(rtol, "rtol", 3), _tolerance(atol, "atol", 4)
    if input._kind.dtype is not other._kind.dtype:
        raise RuntimeError(f"{input._kind.dtype.alias.capitalize()} did not match {other._kind.dtype.alias.capitalize()}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"{'rtol' if rtol < 0 else 'atol'} must be greater than or equal to zero, but got {rtol if rtol < 0 else atol}")
    a, b = input._a, other._a
    if a.dtype.kind in "biu":
        a, b = a.astype(np.float64), b.astype(np.float64)
    elif input._kind.reduced:
        a, b = a.astype(np.float32), b.astype(np.float32)
    try:
        broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise broadcast_error(a.shape, b.shape) from None
    close = (a == b) | (np.isfinite(b) & (np.abs(a - b) <= atol + np.abs(rtol * b)))
    if equal_nan:
        close = close | (np.isnan(a) & np.isnan(b))
    return wrap(as_array(close), input._kind.bool_)


@op(method=True)
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@op(method=True)
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    return norm(input - other, p)
