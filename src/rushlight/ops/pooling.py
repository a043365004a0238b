"""Pooling: max, average, adaptive, power average, and unpooling."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..dtypes import float32
from ..kernels import pooling as K
from ..layout import channels_last as _INNERMOST
from ..settings import alert_not_deterministic
from ..size import Size
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, PerDim
from .activation import relu
from .errors import not_a_tensor, not_implemented, title
from .fractional_pool import fractional_max_pool2d, fractional_max_pool3d
from .joining import cat
from .memory_format import channels_last, in_format_of
from .public import export, functional
from .record import Outline, depending, record

__all__ = [
    "max_pool1d", "max_pool1d_with_indices", "avg_pool1d", "lp_pool1d", "max_pool2d",
    "max_pool2d_with_indices", "avg_pool2d", "lp_pool2d", "max_pool3d", "max_pool3d_with_indices",
    "avg_pool3d", "lp_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool1d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool3d", "max_unpool1d", "max_unpool2d",
    "max_unpool3d", "fractional_max_pool2d", "fractional_max_pool3d", "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices", "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d_with_indices",
]

Sizes = tuple[int, ...]


def _tuple(value: PerDim, n: int, name: str, what: str) -> Sizes:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,) * n
    if not isinstance(value, (tuple, list, Size)) or any(isinstance(v, (bool, str, float)) or v is None for v in value):
        raise TypeError(f"{name}(): argument '{what}' must be tuple of ints, not {type(value).__name__}")
    values = tuple([int(v) for v in value])
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise RuntimeError(f"{name}: {what} must either be a single int, or a tuple of {n} ints")
    return values


def _batched(x: Tensor, n: int, name: str) -> tuple[Tensor, bool]:
    """The input with a batch dimension, and whether it had none."""
    if not isinstance(x, Tensor):
        raise not_a_tensor(name, "input", 1, x)
    if x._a.ndim == n + 1:
        if n == 1 and not x._a.shape[0] or n == 3 and 0 in x._a.shape:
            raise RuntimeError(f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but "
                               "got:"
                               f"{list(x._a.shape)}")
        return x.unsqueeze(0), True
    if x._a.ndim != n + 2:
        raise RuntimeError(f"{name}(): Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but "
                           f"got: {list(x._a.shape)}")
    if 0 in x._a.shape[1:]:
        if n == 3:
            empty = next(i for i, size in enumerate(x._a.shape[1:]) if not size)
            raise RuntimeError(f"{name}(): Expected input's non-batch dimensions to have positive length, but input has a shape of "
                               f"{list(x._a.shape)} and non-batch dimension {empty} has length zero!")
        raise RuntimeError(f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but "
                           f"got:{list(x._a.shape)}")
    return x, False


def _geometry(x: Tensor, n: int, name: str, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> tuple[Sizes, ...]:
    """(out, kernel, stride, padding, dilation), checked."""
    kernel = _tuple(kernel, n, name, "kernel_size")
    stride = kernel if stride is None or (isinstance(stride, (tuple, list)) and not stride) else _tuple(stride, n, name, "stride")
    padding, dilation = _tuple(padding, n, name, "padding"), _tuple(dilation, n, name, "dilation")
    if any(s <= 0 for s in stride):
        raise RuntimeError("stride should not be zero" if 0 in stride else "stride should be greater than zero")
    if any(k <= 0 for k in kernel):
        raise RuntimeError("kernel size should be greater than zero, but got " + str(list(kernel)))
    if any(p < 0 for p in padding):
        raise RuntimeError(f"pad must be non-negative, but got pad: {min(padding)}")
    if any(d <= 0 for d in dilation):
        raise RuntimeError("dilation should be greater than zero, but got dilation: " + str(list(dilation)))
    for k, p, d in zip(kernel, padding, dilation, strict=True):
        if p > ((k - 1) * d + 1) // 2:
            raise RuntimeError(f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and dilation={d}")
    size = x._a.shape[2:]
    out = tuple([K.out_size(i, k, s, p, d, ceil) for i, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)])
    if any(o < 1 for o in out):
        channels = x._a.shape[1]
        raise RuntimeError(f"Given input size: ({'x'.join(map(str, (channels, *size)))}). Calculated output size: "
                           f"({'x'.join(map(str, (channels, *out)))}). Output size is too small")
    return out, kernel, stride, padding, dilation


def _max_pool(x: Tensor, n: int, name: str, kernel: PerDim, stride: Any, padding: int, dilation: int, ceil: bool, indices: bool) -> Any:
    x, unbatched = _batched(x, n, name)
    kind = x._kind
    if kind.is_complex or kind.dtype is kind.bool_.dtype:
        raise not_implemented("max_pool", kind)
    out, *geometry = _geometry(x, n, name, kernel, stride, padding, dilation, ceil)
    a = x._a
    size = a.shape[2:]
    index = None
    if indices or x._node is not None:
        y, taps = K.max_with_taps(a, out, *geometry)
        if indices:
            index = wrap(K.max_places(taps, size, *geometry), kind.int64)
    else:
        y = K.max_forward(a, out, *geometry)
    r = wrap(y, kind)

    def grad(g: Tensor, x: Tensor, *_: Tensor) -> Tensor:
        at = index if index is not None else wrap(K.max_places(taps, size, *geometry), kind.int64)
        flat = g.new_zeros((*x._a.shape[:2], prod(size)))
        r = flat.scatter_add(2, at.flatten(2), g.flatten(2)).view(x._a.shape)
        return depending(r, x, name=f"MaxPool{n}DWithIndicesBackwardBackward0")
    record(r, f"MaxPool{n}DWithIndicesBackward0", (x,), grad, (x,) if index is None else (x, index),
           array_grad=lambda g, x, *_: K.max_gradient(g, taps, size, *geometry))
    in_format_of(r, x)
    shown = None if index is None else in_format_of(index, x)
    if unbatched:
        r, shown = r.squeeze(0), None if index is None else index.squeeze(0)
    return (r, shown) if indices else r


def _make_max(n: int) -> tuple[Any, ...]:
    def fn(input: Tensor, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim = 0, dilation: PerDim = 1,
           ceil_mode: bool = False,
           return_indices: bool = False) -> Tensor | tuple[Tensor, ...]:
        return _max_pool(input, n, f"max_pool{n}d", kernel_size, stride, padding, dilation, ceil_mode, return_indices)

    def with_indices(input: Tensor, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim | str = 0, dilation: PerDim = 1,
                     ceil_mode: bool = False,
                     return_indices: bool = True) -> Any:
        return _max_pool(input, n, f"max_pool{n}d", kernel_size, stride, padding, dilation, ceil_mode, True)
    for each, name in ((fn, f"max_pool{n}d"), (with_indices, f"max_pool{n}d_with_indices")):
        each.__name__ = each.__qualname__ = name
        each.__doc__ = f"The largest value of each window of (N, C, *spatial) or (C, *spatial), {n} spatial dimensions."
    export(fn, guard=f"max_pool{n}d")
    functional(fn, guard=f"max_pool{n}d")
    functional(with_indices, guard=f"max_pool{n}d_with_indices")
    return fn, with_indices


max_pool1d, max_pool1d_with_indices = _make_max(1)
max_pool2d, max_pool2d_with_indices = _make_max(2)
max_pool3d, max_pool3d_with_indices = _make_max(3)


# --- average --------------------------------------------------------------------------------------------------------------------------

def _window_sums(x: Tensor, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, name: str,
                 dependent: bool = False) -> Tensor:
    """Sums of windows; `dependent`: the gradient is a function of x too, as PyTorch's is."""
    size = x._a.shape[2:]
    outline = Outline(x) if dependent and x._node is not None else None

    def grad(g: Tensor) -> Tensor:
        r = _spread_sums(g, size, kernel, stride, padding, name)
        return r if outline is None else depending(r, outline, name=f"{name[:-1]}Backward0")
    r = wrap(K.average(x._a, out, kernel, stride, padding), x._kind)
    return record(r, name, (x,), grad, array_grad=lambda g: K.average_gradient(g, size, kernel, stride, padding))


def _spread_sums(g: Tensor, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, name: str) -> Tensor:
    out = g._a.shape[2:]
    r = wrap(K.average_gradient(g._a, size, kernel, stride, padding), g._kind)
    return record(r, name, (g,), lambda gg: _window_sums(gg, out, kernel, stride, padding, name),
                  array_grad=lambda gg: K.average(gg, out, kernel, stride, padding))


def _counts(size: Sizes, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, include_pad: bool) -> Array:
    """What each window is divided by, as an array that broadcasts over (N, C)."""
    total = np.ones((1, 1), np.float64)
    for n, o, k, s, p in zip(size, out, kernel, stride, padding, strict=True):
        start = np.arange(o) * s - p
        end = np.minimum(start + k, n + p)
        counts = (end - start) if include_pad else np.minimum(end, n) - np.maximum(start, 0)
        total = total[..., None] * counts
    return total


def _avg_pool(x: Tensor, n: int, name: str, kernel: PerDim, stride: PerDim | None, padding: PerDim, ceil: bool, include_pad: bool,
              divisor: int | None) -> Tensor:
    x, unbatched = _batched(x, n, name)
    kind = x._kind
    if not kind.is_floating and kind.dtype.name != "int64":
        raise not_implemented(name, kind)
    out, kernel, stride, padding, _ = _geometry(x, n, name, kernel, stride, padding, 1, ceil)
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    work = x.to(float32) if kind.reduced else x
    y = _window_sums(work, out, kernel, stride, padding, f"AvgPool{n}DBackward0", True)
    plain = divisor is None and not ceil and (include_pad or not any(padding))
    if plain or divisor is not None:
        count = divisor if divisor is not None else prod(kernel)
        y = y / count if kind.is_floating else y.div(count, rounding_mode="trunc")
    else:
        counts = _counts(x._a.shape[2:], out, kernel, stride, padding, include_pad)
        y = y.div(wrap(kind.xp.asarray(counts.astype(y._kind.np)), y._kind), rounding_mode=None if kind.is_floating else "trunc")
    if kind.reduced:
        y = y.to(kind.dtype)
    return y.squeeze(0) if unbatched else in_format_of(y, x) if n == 2 else y


@functional(guard="avg_pool1d")
def avg_pool1d(input: Tensor, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim = 0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> Tensor:
    """The mean of each window of (N, C, L) or (C, L)."""
    return _avg_pool(input, 1, "avg_pool1d", kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@functional(guard="avg_pool2d", out=True)
def avg_pool2d(input: Tensor, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim = 0, ceil_mode: bool = False,
               count_include_pad: bool = True,
               divisor_override: int | None = None) -> Tensor:
    """The mean of each window of (N, C, H, W) or (C, H, W)."""
    return _avg_pool(input, 2, "avg_pool2d", kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@functional(guard="avg_pool3d", out=True)
def avg_pool3d(input: Tensor, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim = 0, ceil_mode: bool = False,
               count_include_pad: bool = True,
               divisor_override: int | None = None) -> Tensor:
    """The mean of each window of (N, C, D, H, W) or (C, D, H, W)."""
    return _avg_pool(input, 3, "avg_pool3d", kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


export(avg_pool1d, guard=True)


# --- adaptive -------------------------------------------------------------------------------------------------------------------------

def _adaptive_size(x: Tensor, n: int, output_size: int | tuple[Any, ...], name: str) -> Sizes:
    if isinstance(output_size, (tuple, list)):
        if len(output_size) != n:
            raise RuntimeError(f"{name}: internal error: output_size.size() must be {n}" if n > 1 else
                               f"{name}: output_size must be a single int")
        sizes = tuple(s if want is None else int(want) for want, s in zip(output_size, x._a.shape[2:], strict=True))
    else:
        sizes = (int(output_size),) * n
    if any(s < 0 for s in sizes):
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0 but received {list(sizes)}")
    return sizes


def _check_output_size(input: Tensor, n: int, output_size: Any) -> None:
    """PyTorch's error for a list of sizes that is longer than the input has dimensions, and for what is neither a list nor an int."""
    if isinstance(output_size, bool) or isinstance(output_size, str) and n == 1:
        raise TypeError(f"adaptive pooling: argument 'output_size' (position 2) must be tuple of ints, not {type(output_size).__name__}")
    if not isinstance(input, Tensor) or n == 1 or isinstance(output_size, (int, np.integer)):
        return
    if input._a.ndim <= len(output_size):
        raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")


def _adaptive_avg(input: Tensor, output_size: int | tuple[Any, ...], n: int) -> Tensor:
    name = f"adaptive_avg_pool{n}d"
    _check_output_size(input, n, output_size)
    # a mean, whatever the dimensions
    if n > 1 and output_size == 1 and isinstance(input, Tensor) and input.dim() not in (n + 1, n + 2):
        return input.mean(tuple(range(-1, -n - 1, -1)), keepdim=True)
    x, unbatched = _batched(input, n, name)
    out = _adaptive_size(x, n, output_size, name)
    size = x._a.shape[2:]
    if all(o and s % o == 0 for s, o in zip(size, out, strict=True)):
        if all(o == 1 for o in out):
            y = x.mean(tuple(range(2, n + 2)), keepdim=True)
        else:
            kernel = tuple(s // o for s, o in zip(size, out, strict=True))
            y = _avg_pool(x, n, name, kernel, kernel, 0, False, True, None)
    else:
        y = _adaptive_means(x, out, n)
    return y.squeeze(0) if unbatched else in_format_of(y, x) if n == 2 else y


def _adaptive_means(x: Tensor, out: Sizes, n: int) -> Tensor:
    """Means of windows of different sizes."""
    if 0 not in out and x._kind.is_floating:
        return _adaptive_average(x, out, f"AdaptiveAvgPool{n}DBackward0", True)
    y = x
    for i, o in enumerate(out):
        parts = [y.narrow(i + 2, start, end - start).mean(i + 2, keepdim=True) for start, end in K.adaptive_bounds(x._a.shape[i + 2], o)]
        y = cat(parts, i + 2) if parts else y.narrow(i + 2, 0, 0)
    return y


def _adaptive_average(x: Tensor, out: Sizes, name: str, dependent: bool = False) -> Tensor:
    """As one node; `dependent`: the gradient is a function of x too."""
    size = x._a.shape[2:]
    outline = Outline(x) if dependent and x._node is not None else None

    def grad(g: Tensor) -> Tensor:
        r = _adaptive_spread(g, size, name)
        return r if outline is None else depending(r, outline, name=f"{name[:-1]}Backward0")
    return record(wrap(K.adaptive_average(x._a, out), x._kind), name, (x,), grad, array_grad=lambda g: K.adaptive_average_gradient(g, size))


def _adaptive_spread(g: Tensor, size: Sizes, name: str) -> Tensor:
    out = g._a.shape[2:]
    return record(wrap(K.adaptive_average_gradient(g._a, size), g._kind), name, (g,), lambda gg: _adaptive_average(gg, out, name),
                  array_grad=lambda gg: K.adaptive_average(gg, out))


def _adaptive_max(input: Tensor, output_size: int, n: int, return_indices: bool) -> Any:
    name = f"adaptive_max_pool{n}d"
    _check_output_size(input, n, output_size)
    x, unbatched = _batched(input, n, name)
    if not x._kind.is_floating:
        raise NotImplementedError(f"\"{'adaptive_max_pool3d_cpu' if n == 3 else 'adaptive_max_pool2d'}\" not implemented for "
                                  f"'{title(x._kind.dtype)}'")
    out = _adaptive_size(x, n, output_size, name)
    size = x._a.shape[2:]
    if all(o and s % o == 0 for s, o in zip(size, out, strict=True)):
        kernel = tuple(s // o for s, o in zip(size, out, strict=True))
        y, index = _max_pool(x, n, name, kernel, kernel, 0, 1, False, True)
    else:
        y, index = _adaptive_max_windows(x, out)
        if n == 2 and channels_last(x._a):
            y, index = [each.contiguous(memory_format=_INNERMOST) for each in (y, index)]
    if unbatched:
        y, index = y.squeeze(0), index.squeeze(0)
    return (y, index) if return_indices else y


def _adaptive_max_windows(x: Tensor, out: Sizes) -> tuple[Tensor, Tensor]:
    """Windows of different sizes, one by one."""
    at = wrap(K.adaptive_max_indices(x._a, out), x._kind.int64)
    return x.flatten(2).gather(2, at.flatten(2)).view(*x._a.shape[:2], *out), at


def _make_adaptive(n: int) -> tuple[Any, ...]:
    def avg(input: Tensor, output_size: int | tuple[Any, ...]) -> Tensor:
        return _adaptive_avg(input, output_size, n)

    def largest(input: Tensor, output_size: int, return_indices: bool = False) -> Tensor:
        return _adaptive_max(input, output_size, n, return_indices)
    for fn, name, what in ((avg, f"adaptive_avg_pool{n}d", "mean"), (largest, f"adaptive_max_pool{n}d", "largest value")):
        fn.__name__ = fn.__qualname__ = name
        fn.__doc__ = f"The {what} of windows that divide the {n} spatial dimensions into `output_size` parts."
    if n == 1:
        export(avg)
    functional(avg)
    functional(largest)
    return avg, largest


adaptive_avg_pool1d, adaptive_max_pool1d = _make_adaptive(1)
adaptive_avg_pool2d, adaptive_max_pool2d = _make_adaptive(2)
adaptive_avg_pool3d, adaptive_max_pool3d = _make_adaptive(3)


def _with_indices(pool: Function) -> Function:
    """The form of a max pooling that returns (values, indices) always."""
    def function(*args: Any, **kwargs: Any) -> Any:
        return pool(*args, **{**kwargs, "return_indices": True})
    function.__name__ = function.__qualname__ = f"{pool.__name__}_with_indices"
    function.__doc__ = f"`{pool.__name__}` with return_indices=True."
    return functional(function)


adaptive_max_pool1d_with_indices = _with_indices(adaptive_max_pool1d)
adaptive_max_pool2d_with_indices = _with_indices(adaptive_max_pool2d)
adaptive_max_pool3d_with_indices = _with_indices(adaptive_max_pool3d)
fractional_max_pool2d_with_indices = _with_indices(fractional_max_pool2d)
fractional_max_pool3d_with_indices = _with_indices(fractional_max_pool3d)


# --- power average, unpooling, fractional ---------------------------------------------------------------------------------------------

def _lp_pool(x: Tensor, n: int, norm_type: float, kernel_size: int, stride: int | None, ceil_mode: bool) -> Tensor:
    if n > 1 and isinstance(kernel_size, (tuple, list, str)) and len(kernel_size) != n:
        raise ValueError(f"lp_pool{n}d: kernel_size needs {n} numbers (expected {n}, got {len(kernel_size)})")
    powers = x.pow(norm_type)
    kernel = _tuple(kernel_size, n, f"avg_pool{n}d", "kernel_size")
    pool = (avg_pool1d, avg_pool2d, avg_pool3d)[n - 1]
    mean = pool(powers, kernel, stride, 0, ceil_mode)
    return (mean.sign() * relu(mean.abs())).mul(prod(kernel)).pow(1.0 / norm_type)


@functional
def lp_pool1d(input: Tensor, norm_type: float, kernel_size: PerDim, stride: PerDim | None = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window."""
    return _lp_pool(input, 1, norm_type, kernel_size, stride, ceil_mode)


@functional
def lp_pool2d(input: Tensor, norm_type: float, kernel_size: PerDim, stride: PerDim | None = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window."""
    return _lp_pool(input, 2, norm_type, kernel_size, stride, ceil_mode)


@functional
def lp_pool3d(input: Tensor, norm_type: float, kernel_size: PerDim, stride: PerDim | None = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of each window."""
    return _lp_pool(input, 3, norm_type, kernel_size, stride, ceil_mode)


def _max_unpool(input: Tensor, indices: Tensor, n: int, kernel_size: PerDim, stride: PerDim, padding: PerDim | str,
                output_size: PerDim) -> Tensor:
    name = f"max_unpool{n}d"
    alert_not_deterministic(f"max_unpooling{max(n, 2)}d_forward_out")
    if isinstance(input, Tensor) and input.dim() < n:
        raise IndexError(f"tuple index out of range: {name} needs {n} spatial dimensions, but got a tensor of {input.dim()} dimensions")
    kernel = _tuple(kernel_size, n, name, "kernel_size")
    stride = kernel if stride is None else _tuple(stride, n, name, "stride")
    padding = _tuple(padding, n, name, "padding")
    x, unbatched = _batched(input, n, name)
    if indices._kind.dtype.name != "int64":
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices._kind.dtype}")
    if indices._a.shape != input._a.shape:
        raise RuntimeError(f"Expected shape of indices to be same as that of the input tensor ({list(input._a.shape)}) but got indices "
                           f"tensor with shape: {list(indices._a.shape)}")
    default = tuple((i - 1) * s - 2 * p + k for i, s, p, k in zip(x._a.shape[2:], stride, padding, kernel, strict=True))
    if output_size is None:
        size = default
    else:
        size = tuple(output_size)[-n:]
        for want, have, s in zip(size, default, stride, strict=True):
            if not have - s < want < have + s:
                raise ValueError(f"invalid output_size {list(size)} (dim 0 must be between {have - s} and {have + s})")
    at = indices.reshape(*x._a.shape[:2], -1)
    if at._a.size and (at._a.min() < 0 or at._a.max() >= prod(size)):
        raise RuntimeError(f"Found an invalid max index: {int(at._a.max())} (output volumes are of size {'x'.join(map(str, size))}")
    flat = x.new_zeros((*x._a.shape[:2], prod(size)))
    y = flat.scatter(2, at, x.flatten(2)).view(*x._a.shape[:2], *size)
    return y.squeeze(0) if unbatched else y


@functional
def max_unpool1d(input: Tensor, indices: Tensor, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim | str = 0,
                 output_size: PerDim | None = None) -> Tensor:
    """Put values back where max_pool1d found them, zeros elsewhere."""
    return _max_unpool(input, indices, 1, kernel_size, stride, padding, output_size)


@functional
def max_unpool2d(input: Tensor, indices: Tensor, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim | str = 0,
                 output_size: PerDim | None = None) -> Tensor:
    """Put values back where max_pool2d found them, zeros elsewhere."""
    return _max_unpool(input, indices, 2, kernel_size, stride, padding, output_size)


@functional
def max_unpool3d(input: Tensor, indices: Tensor, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim | str = 0,
                 output_size: PerDim | None = None) -> Tensor:
    """Put values back where max_pool3d found them, zeros elsewhere."""
    return _max_unpool(input, indices, 3, kernel_size, stride, padding, output_size)
