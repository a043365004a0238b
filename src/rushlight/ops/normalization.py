"""Normalisation: batch, layer, group, instance, RMS, local response, and `normalize`.

Batch, layer, group and instance norm are one computation over different axes: subtract the mean, divide by the standard deviation, scale and
shift. It is one node; the usual backward runs on arrays, the differentiable one is the same formula in tensor ops.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..kernels import norm as K
from ..tensor import Tensor, wrap
from .define import export, functional
from .promotion import not_a_tensor
from .record import record
from .write import title

__all__ = ["batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "normalize"]

Axes = tuple[int, ...]


def _mean(a: Any, axes: Axes, count: int) -> Any:
    return np.add.reduce(a, axis=axes, keepdims=True) / a.dtype.type(count)


def _standardized(x: Tensor, axes: Axes, eps: float, weight: Tensor | None, bias: Tensor | None, shape: Axes, name: str,
                  grouped: Axes | None = None) -> tuple[Tensor, Any, Any]:
    """(result, mean, variance as arrays). `shape`: that of weight and bias, to broadcast; `grouped`: compute on x in this shape."""
    kind = x._kind
    if kind.xp is not np and x._a.size and kind.xp.fused_for(x._a, *[None if t is None else t._a for t in (weight, bias)]):
        return _standardized_on_device(x, axes, eps, weight, bias, shape, name, grouped)
    if K.available(x._a, weight, bias):
        return _native(x, axes, eps, weight, bias, shape, name, grouped)
    a = x._a.astype(np.float32) if kind.reduced else x._a
    a = a if grouped is None else a.reshape(grouped)
    count = prod([a.shape[i] for i in axes])
    mean = _mean(a, axes, count)
    r = a - mean
    variance = _mean(r * r, axes, count)
    rstd = 1 / np.sqrt(variance + a.dtype.type(eps))
    r *= rstd
    if grouped is not None:
        r = r.reshape(x._a.shape)
    w = None if weight is None else weight._a.reshape(shape)
    if w is not None:
        r *= w
    if bias is not None:
        r += bias._a.reshape(shape)
    out = wrap(r.astype(kind.np) if kind.reduced else r, kind)
    if x._node is None and (weight is None or weight._node is None) and (bias is None or bias._node is None):
        return out, mean, variance
    need_x = x._node is not None
    full = x._a.shape
    padded = (1,) * (len(full) - len(shape)) + shape
    outer = tuple([i for i, n in enumerate(padded) if n == 1])  # what weight and bias are broadcast over

    def arrays(g: Any, x: Any, *more: Any) -> Any:
        centered = (x if grouped is None else x.reshape(grouped)) - mean
        centered *= rstd
        xhat = centered if grouped is None else centered.reshape(full)
        gw = gb = gx = None
        if weight is not None and weight._node is not None:
            gw = np.add.reduce(g * xhat, axis=outer).reshape(weight._a.shape)
        if bias is not None and bias._node is not None:
            gb = np.add.reduce(g, axis=outer).reshape(bias._a.shape)
        if need_x:
            gh = g if w is None else g * w
            if grouped is not None:
                gh = gh.reshape(grouped)
            first = _mean(gh, axes, count)
            second = _mean(gh * centered, axes, count)
            centered *= second
            gx = gh - first
            gx -= centered
            gx *= rstd
            gx = gx if grouped is None else gx.reshape(full)
        return gx, gw, gb

    saved = (x,) if weight is None else (x, weight)
    grad = _differentiable(axes, eps, weight, bias, shape, outer, grouped, full)
    record(out, name, (x, weight, bias), grad, saved, array_grad=None if kind.reduced else arrays)
    return out, mean, variance


def _differentiable(axes: Axes, eps: float, weight: Tensor | None, bias: Tensor | None, shape: Axes, outer: Axes, grouped: Axes | None,
                    full: Axes) -> Any:
    """The gradients of x, weight and bias in differentiable ops."""
    def grad(g: Tensor, x: Tensor, *more: Tensor) -> Any:
        v = x if grouped is None else x.reshape(grouped)
        centered = v - v.mean(axes, True)
        r = ((centered * centered).mean(axes, True) + eps).rsqrt()
        xhat = centered * r
        gh = g if weight is None else g * more[0].reshape(shape)
        gh = gh if grouped is None else gh.reshape(grouped)
        gx = r * (gh - gh.mean(axes, True) - xhat * (gh * xhat).mean(axes, True))
        gw = None if weight is None else (g * xhat.reshape(full)).sum(outer).reshape(weight._a.shape)
        gb = None if bias is None else g.sum(outer).reshape(bias._a.shape)
        return gx.reshape(full), gw, gb
    return grad


def _native(x: Tensor, axes: Axes, eps: float, weight: Tensor | None, bias: Tensor | None, shape: Axes, name: str,
            grouped: Axes | None) -> tuple[Tensor, Any, Any]:
    """`_standardized` by the native kernels."""
    a, kind = x._a, x._kind
    full = a.shape
    kept = tuple([1 if i in axes else n for i, n in enumerate(full if grouped is None else grouped)])
    plan = K.plan(full, axes, shape, grouped)
    w, b = None if weight is None else weight._a, None if bias is None else bias._a
    r, mean, variance = K.forward(plan, a, w, b, eps)
    out = wrap(r, kind)
    wanted = x._node is not None, weight is not None and weight._node is not None, bias is not None and bias._node is not None
    if True in wanted:
        padded = (1,) * (len(full) - len(shape)) + shape
        outer = tuple([i for i, n in enumerate(padded) if n == 1])

        def arrays(g: Any, x: Any, *more: Any) -> Any:
            gx, gw, gb = K.backward(plan, g, x, w, mean, variance, eps, *wanted)
            return gx, None if gw is None else gw.reshape(w.shape), None if gb is None else gb.reshape(b.shape)
        record(out, name, (x, weight, bias), _differentiable(axes, eps, weight, bias, shape, outer, grouped, full),
               (x,) if weight is None else (x, weight), array_grad=arrays)
    return out, mean.reshape(kept), variance.reshape(kept)


def _standardized_on_device(x: Tensor, axes: Axes, eps: float, weight: Tensor | None, bias: Tensor | None, shape: Axes, name: str,
                            grouped: Axes | None) -> tuple[Tensor, Any, Any]:
    """`_standardized` by the device's kernels: rows where the statistics are over trailing dimensions, channels for batch norm."""
    fused, kind, a = x._kind.xp.fused, x._kind, x._a
    full = a.shape
    w, b = (None if t is None else t._a.reshape(-1) for t in (weight, bias))
    view = full if grouped is None else grouped
    padded = (1,) * (len(full) - len(shape)) + tuple(shape)
    outer = tuple([i for i, n in enumerate(padded) if n == 1])
    trailing, affine = axes == tuple(range(len(view) - len(axes), len(view))), weight is not None or bias is not None
    keep = tuple([1 if i in axes else n for i, n in enumerate(view)])
    if not trailing:
        mean, variance = fused.channels_statistics(a)
        y = fused.channels_apply(a, mean, variance, w, b, eps)
    else:
        n = prod(view[len(view) - len(axes):])
        w, b = (None if t is None else t.astype(kind.np, copy=False) for t in (w, b))
        if grouped is None and (len(shape) == len(axes) or (weight is None and bias is None)):
            groups, per_group, span, column = 1, 0, 1, True        # layer norm: a weight per column
        else:                                                       # group and instance norm: a weight per channel
            span, column = prod(full[2:]), False
            per_group = n // span
            groups = full[1] // per_group
        y, mean, rstd = fused.rows_forward(a, w, b, n, eps, False, groups, per_group, span)
        variance = 1 / (rstd * rstd) - eps if name == "NativeBatchNormBackward0" else mean      # others don't look at it
    out = wrap(y, kind)
    if x._node is None and (weight is None or weight._node is None) and (bias is None or bias._node is None):
        return out, mean.reshape(keep), variance.reshape(keep)

    def arrays(g: Any, x: Any, *more: Any) -> Any:
        if not trailing:
            gx, gw, gb = fused.channels_backward(g, x, w, mean, variance, eps, True)
        else:
            gx, gw, gb = fused.rows_backward(g, x, w, mean, rstd, n, False, groups, per_group, span, need_w=column and affine)
            if gw is None and affine:
                xhat = (x.reshape(-1, n) - mean[:, None]) * rstd[:, None]
                gw, gb = np.add.reduce(g * xhat.reshape(full), axis=outer), np.add.reduce(g, axis=outer)
        return (gx, None if weight is None else _fitted(gw, weight._a), None if bias is None else _fitted(gb, bias._a))
    grad = _differentiable(axes, eps, weight, bias, shape, outer, grouped, full)
    record(out, name, (x, weight, bias), grad, (x,) if weight is None else (x, weight), array_grad=arrays)
    return out, mean.reshape(keep), variance.reshape(keep)


def _fitted(g: Any, like: Any) -> Any:
    """A gradient in the shape and dtype of its tensor; itself where it has them, so that it can be taken over."""
    return (g if g.shape == like.shape else g.reshape(like.shape)).astype(like.dtype, copy=False)


def _check(input: Any, name: str) -> None:
    if not isinstance(input, Tensor):
        raise not_a_tensor(name, "input", 1, input)
    if not input._kind.is_floating:
        raise NotImplementedError(f'"{name}" not implemented for \'{title(input._kind.dtype)}\'')


# --- batch norm -----------------------------------------------------------------------------------------------------------------------

def _check_channels(input: Tensor, **tensors: Tensor | None) -> None:
    channels = input._a.shape[1]
    for name, t in tensors.items():
        if t is not None and t._a.size != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {t._a.size}")


def _update(running: Tensor, value: Any, momentum: float) -> None:
    """running = momentum * value + (1 - momentum) * running, in place."""
    a = running._a
    a[...] = a.dtype.type(momentum) * value.reshape(a.shape).astype(a.dtype) + a.dtype.type(1 - momentum) * a
    running._ver += 1


def _move(running_mean: Tensor, running_var: Tensor, mean: Any, variance: Any, momentum: float, factor: float) -> None:
    """Both running statistics towards the batch's, the variance times `factor`."""
    kind, a, b = running_mean._kind, running_mean._a, running_var._a
    if kind.xp is not np and running_var._kind is kind and kind.is_floating and (kind.reduced or kind.np == mean.dtype) and (
            fused := kind.xp.fused_for(a, b, mean, variance)) is not None and a.flags.c_contiguous and b.flags.c_contiguous:
        fused.channels_update(a, b, mean, variance, momentum, factor)
        running_mean._ver += 1
        running_var._ver += 1
        return
    _update(running_mean, mean, momentum)
    _update(running_var, variance * factor, momentum)


@functional
def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None, bias: Tensor | None = None,
               training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """(N, C, *) normalised per channel: by the batch's statistics in training (which then move the running ones), else by the running ones.

    Ioffe and Szegedy, "Batch Normalization", 2015.
    """
    _check(input, "batch_norm")
    if training and eps <= 0.0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    shape = input._a.shape
    if len(shape) < 2:
        if not input._a.size:
            return input.clone()
        raise IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 1)")
    if training and prod(shape[:1] + shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    _same_types(input, running_mean, running_var, weight, bias)
    channel = (1, -1) + (1,) * (len(shape) - 2)
    channel_shape = (1, shape[1]) + (1,) * (len(shape) - 2)
    axes = (0, *range(2, len(shape)))
    if training or running_mean is None:
        out, mean, variance = _standardized(input, axes, eps, weight, bias, channel_shape, "NativeBatchNormBackward0")
        if training and running_mean is not None and input._a.size:
            count = prod(shape[:1] + shape[2:])
            _move(running_mean, running_var, mean, variance, momentum, count / (count - 1))
        return out
    return _frozen(input, running_mean, running_var, weight, bias, eps, channel, axes)


def _frozen(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, channel: Axes, axes: Axes) -> Tensor:
    """Normalise by given statistics."""
    kind = x._kind
    if kind.xp is not np and x._a.size and kind.xp.fused_for(x._a, mean._a, var._a, *[None if t is None else t._a for t in (weight, bias)]):
        return _frozen_on_device(x, mean, var, weight, bias, eps, channel, axes)
    work = np.float32 if kind.reduced else kind.np
    m, rstd = mean._a.reshape(channel).astype(work), (1 / np.sqrt(var._a.astype(work) + np.dtype(work).type(eps))).reshape(channel)
    scale = rstd if weight is None else rstd * weight._a.reshape(channel).astype(work)
    r = x._a - m
    r = r * scale
    if bias is not None:
        r += bias._a.reshape(channel)
    out = wrap(r.astype(kind.np, copy=False), kind)

    def arrays(g: Any, x: Any, *more: Any) -> Any:
        return (g * scale, None if weight is None else np.add.reduce(g * ((x - m) * rstd), axis=axes),
                None if bias is None else np.add.reduce(g, axis=axes))
    grad = _frozen_gradient(kind, rstd, m, weight, bias, channel, axes)
    return record(out, "NativeBatchNormBackward0", (x, weight, bias), grad, (x,) if weight is None else (x, weight),
                  array_grad=None if kind.reduced else arrays)


def _frozen_gradient(kind: Any, rstd: Any, m: Any, weight: Tensor | None, bias: Tensor | None, channel: Axes, axes: Axes) -> Any:
    """The gradient of `_frozen` in tensor ops; rstd and m broadcast."""
    def grad(g: Tensor, x: Tensor, *more: Tensor) -> Any:
        r, center = wrap(rstd.astype(kind.np), kind), wrap(m.astype(kind.np), kind)
        s = r if weight is None else r * more[0].view(channel)
        return (g * s, None if weight is None else (g * (x - center) * r).sum(axes), None if bias is None else g.sum(axes))
    return grad


def _frozen_on_device(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, channel: Axes, axes: Axes) -> Tensor:
    """`_frozen` by the device's kernels."""
    fused, kind = x._kind.xp.fused, x._kind
    work = np.float32 if kind.reduced else kind.np
    m, v = mean._a.astype(work), var._a.astype(work)       # copies: what the gradient sees
    w, b = (None if t is None else t._a for t in (weight, bias))
    out = wrap(fused.channels_apply(x._a, m, v, w, b, eps), kind)

    def arrays(g: Any, x: Any, *more: Any) -> Any:
        gx, gw, gb = fused.channels_backward(g, x, w, m, v, eps, False)
        return gx, None if weight is None else gw.astype(weight._a.dtype, copy=False), None if bias is None else gb.astype(bias._a.dtype, copy=False)

    def grad(g: Tensor, x: Tensor, *more: Tensor) -> Any:
        rstd = (1 / np.sqrt(v + np.dtype(work).type(eps))).reshape(channel)
        return _frozen_gradient(kind, rstd, m.reshape(channel), weight, bias, channel, axes)(g, x, *more)
    return record(out, "NativeBatchNormBackward0", (x, weight, bias), grad, (x,) if weight is None else (x, weight), array_grad=arrays)


@functional
def instance_norm(input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
                  bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """(N, C, *) normalised per sample and channel over the spatial dimensions."""
    _check(input, "instance_norm")
    shape = input._a.shape
    if use_input_stats and prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    _same_types(input, running_mean, running_var, weight, bias)
    channel = (1, shape[1]) + (1,) * (len(shape) - 2)
    axes = tuple(range(2, len(shape)))
    out, mean, variance = _standardized(input, axes, eps, weight, bias, channel, "NativeBatchNormBackward0")
    if running_mean is not None and running_var is not None:
        count = prod(shape[2:])
        _update(running_mean, mean.mean(0), momentum)
        _update(running_var, variance.mean(0) * (count / (count - 1)), momentum)
    return out


# --- layer, group, RMS ----------------------------------------------------------------------------------------------------------------

def _same_types(x: Tensor, *parameters: Tensor | None) -> None:
    """PyTorch's error for parameters of another dtype than the input's; float32 goes with half precision."""
    want = x._kind.dtype
    for t in parameters:
        if t is not None and t._kind.dtype is not want and not (x._kind.reduced and t._kind.dtype.name == "float32"):
            raise RuntimeError(f"mixed dtype (CPU): expect parameter to have scalar type of {title(want)}")


def _normalized_shape(input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None) -> Axes:
    """The checked shape over which layer_norm and rms_norm work."""
    wanted = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not wanted:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
                           "normalized_shape = []")
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t._a.shape != wanted:
            raise RuntimeError(f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(t._a.shape)} and "
                               f"normalized_shape = {list(wanted)}")
    if input._a.shape[-len(wanted):] != wanted:
        raise RuntimeError(f"Given normalized_shape={list(wanted)}, expected input with shape [*, {', '.join(map(str, wanted))}], but got input of "
                           f"size{list(input._a.shape)}")
    return wanted


@functional
def layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalised over the last dimensions, `normalized_shape`. Ba, Kiros and Hinton, "Layer Normalization", 2016."""
    _check(input, "LayerNormKernelImpl")
    shape = _normalized_shape(input, normalized_shape, weight, bias)
    if prod(shape) == 0:
        return input.clone()
    _same_types(input, weight, bias)
    ndim = input._a.ndim
    return _standardized(input, tuple(range(ndim - len(shape), ndim)), eps, weight, bias, shape, "NativeLayerNormBackward0")[0]


export(layer_norm)


@functional
def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """(N, C, *) normalised per sample over groups of channels. Wu and He, "Group Normalization", 2018."""
    _check(input, "GroupNormKernelImpl")
    shape = input._a.shape
    if len(shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    if num_groups <= 0 or shape[1] % num_groups:
        raise RuntimeError(f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(shape)} and "
                           f"num_groups={num_groups}")
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t._a.shape != (shape[1],):
            raise RuntimeError(f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of shape "
                               f"{list(t._a.shape)} and input of shape {list(shape)}")
    _same_types(input, weight, bias)
    grouped = (shape[0], num_groups, prod(shape[1:]) // num_groups)
    return _standardized(input, (2,), eps, weight, bias, (1, shape[1]) + (1,) * (len(shape) - 2), "NativeGroupNormBackward0", grouped)[0]


export(group_norm)


def _native_rms(input: Tensor, weight: Tensor | None, eps: float, axes: Axes, length: int) -> Tensor:
    """`rms_norm` as one node."""
    w = None if weight is None else weight._a
    out = wrap(K.rms(input._a, w, eps, length), input._kind)
    outer = tuple(range(axes[0]))

    def grad(g: Tensor, x: Tensor, *more: Tensor) -> Any:
        rstd = ((x * x).mean(axes, True) + eps).rsqrt()
        gh = g * more[0] if more else g
        gx = rstd * (gh - x * ((gh * x).mean(axes, True) * (rstd * rstd)))
        return gx, (g * x * rstd).sum(outer) if more and outer else g * x * rstd if more else None

    def arrays(g: Any, x: Any, *more: Any) -> Any:
        gx, gw = K.rms_backward(g, x, w, eps, length)
        return gx, None if gw is None else gw.reshape(w.shape)
    return record(out, "MulBackward0", (input, weight), grad, (input,) if weight is None else (input, weight), array_grad=arrays)


@functional(guard=True)
def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Divided by the root of the mean square over the last dimensions. Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019."""
    if not input._kind.is_complex:
        _check(input, "rms_norm")
    shape = _normalized_shape(input, normalized_shape, weight, None)
    if eps is None:
        eps = float(np.finfo(np.float32 if input._kind.reduced else input._kind.np).eps)
    axes = tuple(range(input._a.ndim - len(shape), input._a.ndim))
    if K.available(input._a, weight, None):
        return _native_rms(input, weight, float(eps), axes, prod(shape))
    x = input.float() if input._kind.reduced else input
    r = x * ((x * x).mean(axes, True) + eps).rsqrt()
    r = r if weight is None else r * weight
    return r.to(input._kind.dtype)


export(rms_norm, guard=True)


# --- others ---------------------------------------------------------------------------------------------------------------------------

@functional(guard=True)
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of squares over `size` neighbouring channels) ** beta. Krizhevsky et al., 2012."""
    if input._a.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality                          input (got {input._a.ndim} dimensions)")
    if input._a.size == 0:
        return input
    square = input * input
    from .padding import pad
    widths = [0, 0] * (input._a.ndim - 2) + [size // 2, (size - 1) // 2]
    padded = pad(square, widths)
    channels = input._a.shape[1]
    total = padded.narrow(1, 0, channels)
    for i in range(1, size):
        total = total + padded.narrow(1, i, channels)
    return input / (total / size * alpha + k) ** beta


@functional
def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """input / max(norm, eps) along a dimension."""
    r = input / input.norm(p, dim, True).clamp_min(eps).expand_as(input)
    if out is None:
        return r
    from .write import write_out
    return write_out(out, r, "normalize")
