"""Normalisation: batch, layer, group, instance, RMS, local response, and `normalize`.

Batch, layer, group and instance norm are one computation over different axes: subtract the mean, divide by the standard deviation, scale
and shift. It is one node; the usual backward runs on arrays, the differentiable one is the same formula in tensor ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..kernels import norm as K
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, PerDim
from .errors import not_a_tensor, title
from .memory_format import in_format_of
from .padding import pad
from .public import export, functional
from .record import record
from .write import write_out

__all__ = ["batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "normalize"]

Axes = tuple[int, ...]


def _wanted(*tensors: Tensor | None) -> tuple[bool, ...]:
    """Which of them need a gradient."""
    return tuple([t is not None and t._node is not None for t in tensors])


def _like(g: Array | None, t: Tensor | None) -> Array | None:
    """A flat gradient in the shape and dtype of its tensor; itself where it has them, so that it can be taken over."""
    if g is None or t is None:
        return None
    a = t._a
    return (g if g.shape == a.shape else g.reshape(a.shape)).astype(a.dtype, copy=False)


def _standardized(x: Tensor, axes: Axes, eps: float, weight: Tensor | None, bias: Tensor | None, shape: Axes, name: str,
                  grouped: Axes | None = None) -> tuple[Tensor, Any, Any]:
    """(result, mean, variance as flat arrays). `shape`: that of weight and bias, to broadcast; `grouped`: compute on x in this shape."""
    full = x._a.shape
    plan = K.plan(full, axes, shape, grouped)
    w, b = None if weight is None else weight._a, None if bias is None else bias._a
    forward, backward, plan = (K.batch, K.batch_backward, ()) if plan is None else (K.rows, K.rows_backward, plan)
    r, mean, variance = forward(x._a, w, b, eps, *plan)
    out = wrap(r, x._kind)
    wanted = _wanted(x, weight, bias)
    if True in wanted:
        padded = (1,) * (len(full) - len(shape)) + shape
        outer = tuple([i for i, n in enumerate(padded) if n == 1])      # what weight and bias are broadcast over

        def arrays(g: Array, x: Array, *more: Any) -> tuple[Any, ...]:
            gx, gw, gb = backward(g, x, w, mean, variance, eps, *plan, *wanted)
            return gx, _like(gw, weight), _like(gb, bias)
        record(out, name, (x, weight, bias), _differentiable(axes, eps, weight, bias, shape, outer, grouped, full),
               (x,) if weight is None else (x, weight), array_grad=arrays)
    return out, mean, variance


def _differentiable(axes: Axes, eps: float, weight: Tensor | None, bias: Tensor | None, shape: Axes, outer: Axes, grouped: Axes | None,
                    full: Axes) -> Function:
    """The gradients of x, weight and bias in differentiable ops."""
    def grad(g: Tensor, x: Tensor, *more: Tensor) -> tuple[Any, ...]:
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


def _move(running_mean: Tensor, running_var: Tensor, mean: Array, variance: Array, momentum: float, factor: float) -> None:
    """Both running statistics towards the batch's, the variance times `factor`."""
    K.move(running_mean._a, running_var._a, mean, variance, momentum, factor)
    running_mean._ver += 1
    running_var._ver += 1


@functional
def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None,
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
        in_format_of(out, input)
        if training and running_mean is not None and input._a.size:
            count = prod(shape[:1] + shape[2:])
            _move(running_mean, running_var, mean, variance, momentum, count / (count - 1))
        return out
    return _frozen(input, running_mean, running_var, weight, bias, eps, channel, axes)


def _frozen(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, channel: Axes,
            axes: Axes) -> Tensor:
    """Normalise by given statistics."""
    kind = x._kind
    work = np.float32 if kind.reduced else kind.np
    m, v = mean._a.astype(work), var._a.astype(work)        # copies: what the gradient sees
    w, b = None if weight is None else weight._a, None if bias is None else bias._a
    out = wrap(K.fixed(x._a, w, b, m, v, eps), kind)
    wanted = _wanted(x, weight, bias)
    if True not in wanted:
        return out

    def arrays(g: Array, x: Array, *more: Any) -> Any:
        gx, gw, gb = K.fixed_backward(g, x, w, m, v, eps, *wanted)
        return gx, _like(gw, weight), _like(gb, bias)

    def grad(g: Tensor, x: Tensor, *more: Tensor) -> Any:
        rstd = (1 / np.sqrt(v + np.dtype(work).type(eps))).reshape(channel)
        r, center = wrap(rstd.astype(kind.np), kind), wrap(m.reshape(channel).astype(kind.np), kind)
        s = r if weight is None else r * more[0].view(channel)
        return (g * s, None if weight is None else (g * (x - center) * r).sum(axes), None if bias is None else g.sum(axes))
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
        _move(running_mean, running_var, mean.reshape(shape[:2]).mean(0), variance.reshape(shape[:2]).mean(0), momentum,
              count / (count - 1))
    return out


# --- layer, group, RMS ----------------------------------------------------------------------------------------------------------------

def _same_types(x: Tensor, *parameters: Tensor | None) -> None:
    """PyTorch's error for parameters of another dtype than the input's; float32 goes with half precision."""
    want = x._kind.dtype
    for t in parameters:
        if t is not None and t._kind.dtype is not want and not (x._kind.reduced and t._kind.dtype.name == "float32"):
            raise RuntimeError(f"mixed dtype (CPU): expect parameter to have scalar type of {title(want)}")


def _normalized_shape(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None) -> Axes:
    """The checked shape over which layer_norm and rms_norm work."""
    wanted = tuple(normalized_shape)
    if not wanted:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
                           "normalized_shape = []")
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t._a.shape != wanted:
            raise RuntimeError(f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(t._a.shape)} and "
                               f"normalized_shape = {list(wanted)}")
    if input._a.shape[-len(wanted):] != wanted:
        raise RuntimeError(f"Given normalized_shape={list(wanted)}, expected input with shape [*, {', '.join(map(str, wanted))}], but got "
                           f"input of size{list(input._a.shape)}")
    return wanted


@functional
def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:
    """Normalised over the last dimensions, `normalized_shape`. Ba, Kiros and Hinton, "Layer Normalization", 2016."""
    if isinstance(normalized_shape, int):
        raise TypeError("layer_norm(): argument 'normalized_shape' (position 2) must be tuple of ints, not int")
    _check(input, "LayerNormKernelImpl")
    shape = _normalized_shape(input, normalized_shape, weight, bias)
    if prod(shape) == 0:
        return input.clone()
    _same_types(input, weight, bias)
    ndim = input._a.ndim
    return _standardized(input, tuple(range(ndim - len(shape), ndim)), eps, weight, bias, shape, "NativeLayerNormBackward0")[0]


@export(name="layer_norm", guard=True)
def _torch_layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
                      cudnn_enable: bool = True) -> Tensor:
    """`layer_norm`; it makes no difference whether cuDNN may compute it."""
    return layer_norm(input, normalized_shape, weight, bias, eps)


@functional
def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """(N, C, *) normalised per sample over groups of channels. Wu and He, "Group Normalization", 2018."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("group_norm", "input", 1, input)
    shape = input._a.shape
    if len(shape) > 1 and not input._kind.is_floating and isinstance(num_groups, int) and num_groups and (
            shape[0] * shape[1] // num_groups * prod(shape[2:]) == 1):
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(shape)}")
    _check(input, "GroupNormKernelImpl")
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
    return in_format_of(_standardized(input, (2,), eps, weight, bias, (1, shape[1]) + (1,) * (len(shape) - 2), "NativeGroupNormBackward0",
                                      grouped)[0], input)


@export(name="group_norm", guard=True)
def _torch_group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
                      cudnn_enabled: bool = True) -> Tensor:
    """`group_norm`; it makes no difference whether cuDNN may compute it."""
    return group_norm(input, num_groups, weight, bias, eps)


@functional(guard=True)
def rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Divided by the root of the mean square over the last dimensions. Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019."""
    kind = input._kind
    if not kind.is_complex:
        _check(input, "rms_norm")
    shape = _normalized_shape(input, normalized_shape, weight, None)
    eps = float(np.finfo(np.float32 if kind.reduced else kind.np).eps) if eps is None else float(eps)
    axes, length = tuple(range(input._a.ndim - len(shape), input._a.ndim)), prod(shape)
    w = None if weight is None else weight._a
    out = wrap(K.rms(input._a, w, eps, length), kind)
    if input._node is None and (weight is None or weight._node is None):
        return out
    outer = tuple(range(axes[0]))

    def grad(g: Tensor, x: Tensor, *more: Tensor) -> Any:
        rstd = ((x * x).mean(axes, True) + eps).rsqrt()
        gh = g * more[0] if more else g
        gx = rstd * (gh - x * ((gh * x).mean(axes, True) * (rstd * rstd)))
        return gx, (g * x * rstd).sum(outer) if more and outer else g * x * rstd if more else None

    def arrays(g: Array, x: Array, *more: Any) -> Any:
        gx, gw = K.rms_backward(g, x, w, eps, length)
        return gx, _like(gw, weight)
    return record(out, "MulBackward0", (input, weight), grad, (input,) if weight is None else (input, weight),
                  array_grad=None if kind.is_complex else arrays)


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
    widths = [0, 0] * (input._a.ndim - 2) + [size // 2, (size - 1) // 2]
    padded = pad(square, widths)
    channels = input._a.shape[1]
    total = padded.narrow(1, 0, channels)
    for i in range(1, size):
        total = total + padded.narrow(1, i, channels)
    return input / (total / size * alpha + k) ** beta


@functional
def normalize(input: Tensor, p: float = 2.0, dim: PerDim = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """input / max(norm, eps) along a dimension."""
    r = input / input.norm(p, dim, True).clamp_min(eps).expand_as(input)
    if out is None:
        return r
    return write_out(out, r, "normalize")
