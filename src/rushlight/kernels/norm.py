"""Normalisation on arrays: rows that lie behind one another (layer, group and instance norm, RMS norm), and channels of (N, C, *) (batch
norm).

Statistics, weight and bias are flat. float16 and bfloat16 are computed in float32, and so are their statistics.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..vocabulary import Array, PerDim, Shape
from .arrays import add_reduce
from .door import is_half, kernel, narrowed, widened
from .fuse import fuse

__all__ = ["plan", "rows", "rows_backward", "batch", "batch_backward", "fixed", "fixed_backward", "move", "rms", "rms_backward"]

Axes = tuple[int, ...]


def plan(full: Axes, axes: Axes, shape: Axes, grouped: Axes | None) -> Shape | None:
    """How the kernels see an array of shape `full`: (rows, groups, spatial), or None for (images, channels, spatial) along the channels.

    axes      what is normalised over (of the shape `grouped`, if that is given)
    shape     that of weight and bias: (1, channels, 1, ...), or the last dimensions
    """
    if grouped is not None:
        rows = grouped[0] * grouped[1]
        return rows, grouped[1], prod(full[2:])
    if axes[0] == 0 and axes != tuple(range(len(full))):
        return None
    rows = prod(full[:axes[0]])
    if len(shape) == len(full) and len(full) > 2 and shape[0] == 1 and axes == tuple(range(2, len(full))):
        return rows, full[1], prod(full[2:])            # instance norm: a row per image and channel
    return rows, 1, 1


def _like(g: Array, a: Array) -> Any:
    """A gradient in the dtype of what it belongs to."""
    return g if g is None or a is None else g.astype(a.dtype, copy=False)


def _mean(a: Array, axes: PerDim, count: int) -> Array:
    return add_reduce(a, axes, None, None, True) / a.dtype.type(count)


# --- rows -------------------------------------------------------------------------------------------------------------------------------

def _layout(size: int, rows: int, groups: int, spatial: int) -> tuple[Axes, Axes, Any, Any, Any]:
    """How rows of `size` elements lie: (shape, that of statistics, that of weights, the axes of a row, those that weights are repeated
    along)."""
    if groups == spatial == 1:
        return (rows, size), (rows, 1), (size,), 1, 0
    entries = size // spatial       # of a row, each with weights of its own; groups of rows have theirs, too
    return (rows // groups, groups, entries, spatial), (rows // groups, groups, 1, 1), (groups, entries, 1), (2, 3), (0, 3)


@kernel
def rows(x: Array, weight: Array | None, bias: Array | None, eps: float, rows: int, groups: int, spatial: int) -> tuple[Any, Any, Any]:
    """(result, mean, variance): element j of row r has the weight of number ``r % groups * (n / spatial) + j / spatial``."""
    if is_half(x):
        y, mean, variance = _rows(widened(x), widened(weight), widened(bias), eps, rows, groups, spatial)
        return narrowed(y, x.dtype), mean, variance
    if not x.size:
        return x.copy(), np.full(rows, np.nan, x.dtype, like=x), np.full(rows, np.nan, x.dtype, like=x)
    count = x.size // rows
    shape, _, entries, axes, _ = _layout(count, rows, groups, spatial)
    a = x.reshape(shape)
    mean = _mean(a, axes, count)
    r = a - mean
    variance = _mean(r * r, axes, count)
    r *= 1 / np.sqrt(variance + a.dtype.type(eps))
    if weight is not None:
        r *= weight.reshape(entries)
    if bias is not None:
        r += bias.reshape(entries)
    return r.reshape(x.shape), mean.reshape(-1), variance.reshape(-1)


@kernel
def rows_backward(g: Array, x: Array, weight: Array | None, mean: Array, variance: Array, eps: float, rows: int, groups: int, spatial: int,
                  want_x: bool, want_w: bool,
                  want_b: bool) -> tuple[Any, Any, Any]:
    """The gradients of x, weight and bias (flat), None for those that are not wanted."""
    if is_half(x):
        gx, gw, gb = _rows_backward(widened(g), widened(x), widened(weight), mean, variance, eps, rows, groups, spatial, want_x, want_w,
                                    want_b)
        return _like(gx, x), gw, gb
    if not x.size:
        empty = 0 if weight is None else weight.size
        return x.copy(), np.zeros(empty, x.dtype, like=x), np.zeros(empty, x.dtype, like=x)
    count = x.size // rows
    shape, each, entries, axes, shared = _layout(count, rows, groups, spatial)
    gs, rstd = g.reshape(shape), (1 / np.sqrt(variance + variance.dtype.type(eps))).reshape(each)
    xhat = x.reshape(shape) - mean.reshape(each)
    xhat *= rstd
    gx = None
    gw = np.add.reduce(gs * xhat, axis=shared).reshape(-1) if want_w else None
    gb = np.add.reduce(gs, axis=shared).reshape(-1) if want_b else None
    if want_x:
        gh = gs if weight is None else gs * weight.reshape(entries)
        first = _mean(gh, axes, count)
        xhat *= _mean(gh * xhat, axes, count)
        gx = gh - first
        gx -= xhat
        gx *= rstd
        gx = gx.reshape(x.shape)
    return gx, gw, gb


@kernel
def rms(x: Array, weight: Array, eps: float, length: int) -> Array:
    """x / root of the mean square of each row of `length` elements * weight."""
    if is_half(x):
        return narrowed(_rms(widened(x), widened(weight), eps, length), x.dtype)
    a = x.reshape(-1, length) if x.size else x
    r = a * (1 / np.sqrt(_mean(a * a, -1, length) + a.dtype.type(eps))) if x.size else x.copy()
    return (r if weight is None or not x.size else r * weight.reshape(-1)).reshape(x.shape).astype(x.dtype, copy=False)


@kernel
def rms_backward(g: Array, x: Array, weight: Array, eps: float, length: int) -> tuple[Any, Any]:
    """The gradients of x and weight (flat; None without weight)."""
    if is_half(x):
        gx, gw = _rms_backward(widened(g), widened(x), widened(weight), eps, length)
        return _like(gx, x), gw
    if not x.size:
        return x.copy(), None if weight is None else np.zeros(weight.size, x.dtype, like=x)
    gs, a = g.reshape(-1, length), x.reshape(-1, length)
    rstd = 1 / np.sqrt(_mean(a * a, -1, length) + a.dtype.type(eps))
    gh = gs if weight is None else gs * weight.reshape(-1)
    gx = rstd * (gh - a * (_mean(gh * a, -1, length) * (rstd * rstd)))
    return gx.reshape(x.shape), None if weight is None else np.add.reduce(gs * a * rstd, axis=0)


_rows, _rows_backward, _rms, _rms_backward = rows, rows_backward, rms, rms_backward      # where a parameter has the name


# --- channels ---------------------------------------------------------------------------------------------------------------------------

def _channels(a: Array, ndim: int) -> Array:
    """Numbers per channel, to broadcast against (N, C, *)."""
    return a.reshape((1, -1) + (1,) * (ndim - 2))


def _but_channels(x: Array) -> Axes:
    return 0, *range(2, x.ndim)


@kernel
def batch(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Any, Any, Any]:
    """(result, mean, variance) of the channels of (N, C, *)."""
    if is_half(x):
        y, mean, variance = batch(widened(x), widened(weight), widened(bias), eps)
        return narrowed(y, x.dtype), mean, variance
    axes, count = _but_channels(x), prod(x.shape[:1] + x.shape[2:])
    mean = _mean(x, axes, count)
    r = x - mean
    variance = _mean(r * r, axes, count)
    r *= 1 / np.sqrt(variance + x.dtype.type(eps))
    if weight is not None:
        r *= _channels(weight, x.ndim)
    if bias is not None:
        r += _channels(bias, x.ndim)
    return r, mean.reshape(-1), variance.reshape(-1)


@kernel
def batch_backward(g: Array, x: Array, weight: Array | None, mean: Array, variance: Array, eps: float, want_x: bool, want_w: bool,
                   want_b: bool) -> tuple[Any, Any, Any]:
    """The gradients of x, weight and bias, None for those that are not wanted."""
    if is_half(x):
        gx, gw, gb = batch_backward(widened(g), widened(x), widened(weight), mean, variance, eps, want_x, want_w, want_b)
        return _like(gx, x), gw, gb
    axes, ndim = _but_channels(x), x.ndim
    rstd = _channels(1 / np.sqrt(variance + variance.dtype.type(eps)), ndim)
    xhat = x - _channels(mean, ndim)
    xhat *= rstd
    gx = None
    gw = np.add.reduce(g * xhat, axis=axes) if want_w else None
    gb = np.add.reduce(g, axis=axes) if want_b else None
    if want_x:
        gh = g if weight is None else g * _channels(weight, ndim)
        count = prod(x.shape[:1] + x.shape[2:])
        first = _mean(gh, axes, count)
        xhat *= _mean(gh * xhat, axes, count)
        gx = gh - first
        gx -= xhat
        gx *= rstd
    return gx, gw, gb


def _scale(x: Array, weight: Array, variance: Array, eps: float) -> tuple[Any, Any]:
    """(1 / deviation, the same times the weight), per channel, in the dtype of the computation."""
    dtype = np.dtype(np.float32) if is_half(x) else x.dtype
    rstd = _channels(1 / np.sqrt(variance.astype(dtype, copy=False) + dtype.type(eps)), x.ndim)
    return rstd, rstd if weight is None else rstd * _channels(weight.astype(dtype, copy=False), x.ndim)


@kernel
def fixed(x: Array, weight: Array, bias: Array | None, mean: Array, variance: Array, eps: float) -> Array:
    """(N, C, *) normalised by given statistics."""
    scale = _scale(x, weight, variance, eps)[1]
    shift = -_channels(mean.astype(scale.dtype, copy=False), x.ndim) * scale
    if bias is not None:
        shift += _channels(bias, x.ndim)
    return _scaled(x, scale, shift).astype(x.dtype, copy=False)


_scaled = fuse(lambda x, scale, shift: x * scale + shift)


@kernel
def fixed_backward(g: Array, x: Array, weight: Array, mean: Array, variance: Any, eps: float, want_x: bool, want_w: bool,
                   want_b: bool) -> tuple[Any, Any, Any]:
    """The gradients of `fixed` in x, weight and bias, None for those that are not wanted."""
    axes = _but_channels(x)
    rstd, scale = _scale(x, weight, variance, eps)
    wide = widened(g)
    return (_like(wide * scale, x) if want_x else None,
            np.add.reduce(wide * ((x - _channels(mean.astype(rstd.dtype, copy=False), x.ndim)) * rstd), axis=axes) if want_w else None,
            np.add.reduce(wide, axis=axes) if want_b else None)


@kernel
def move(running_mean: Array, running_variance: Array, mean: Array, variance: Array, momentum: float, factor: float) -> None:
    """running = momentum * value + (1 - momentum) * running for both, in place; the variance times `factor`."""
    for running, value in ((running_mean, mean), (running_variance, variance * factor)):
        running[...] = running.dtype.type(momentum) * value.reshape(running.shape).astype(running.dtype) + running.dtype.type(1 - momentum) * running
