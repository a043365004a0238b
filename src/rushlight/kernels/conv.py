"""Convolution on arrays, any number of spatial dimensions: the three products that forward and backward are made of.

    forward(x, w)          y[n, o] = sum over c, k of w[o, c, k] * x[n, c, out * stride + k * dilation - padding]
    input_gradient(g, w)   its adjoint in x (which is transposed convolution)
    weight_gradient(x, g)  its adjoint in w

x is (N, C, *spatial), w (O, C / groups, *kernel), y and g (N, O, *out). The columns of im2col lie as (N, C, *kernel, *out), so that copying
them moves whole rows, and one matrix product per image gives the result in its final layout. The native library (native/conv.cpp) computes
the same without ever storing the columns.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..vocabulary import Array
from .door import kernel

__all__ = ["forward", "input_gradient", "weight_gradient", "gradients", "output_size", "slices_at"]

Sizes = tuple[int, ...]


def output_size(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    """The spatial size of a convolution's result."""
    return tuple([(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)])


def _padded(x: Array, padding: Sizes) -> Array:
    """x with zeros around its spatial dimensions."""
    if not any(padding):
        return x
    out = np.zeros(x.shape[:2] + tuple([n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]), x.dtype, like=x)
    out[(slice(None), slice(None), *[slice(p, p + n) for n, p in zip(x.shape[2:], padding, strict=True)])] = x
    return out


def _windows(x: Any, kernel: Sizes, out: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """A view of a padded array as (N, C, *kernel, *out)."""
    steps = x.strides[2:]
    strides = x.strides[:2] + tuple([s * d for s, d in zip(steps, dilation, strict=True)]) + tuple(
        [s * t for s, t in zip(steps, stride, strict=True)])
    shape = x.shape[:2] + kernel + out
    if x.__class__ is not np.ndarray:
        return x.strided(shape, strides)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


def _columns(x: Array, kernel: Sizes, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Array:
    """(N, groups, C / groups * kernel, out), copied unless the kernel is a single point."""
    n, c = x.shape[:2]
    if prod(kernel) == 1 and not any(padding) and all(s == 1 for s in stride):
        return np.ascontiguousarray(x).reshape(n, groups, c // groups, prod(out))
    windows = _windows(_padded(x, padding), kernel, out, stride, dilation)
    return windows.reshape(n, groups, c // groups * prod(kernel), prod(out))


def _is_depthwise(c: int, w: Array, groups: int) -> bool:
    return groups > 1 and groups == c and w.shape[1] == 1


@kernel(halves=True)
def forward(x: Array, w: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, bias: Array | None = None) -> Array:
    """The convolution of x with w, plus the bias (O,)."""
    y = _forward(x, w, stride, padding, dilation, groups)
    if bias is not None:
        y += bias.reshape(1, -1, *(1,) * (y.ndim - 2))
    return y


def _forward(x: Array, w: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Array:
    kernel = w.shape[2:]
    out = output_size(x.shape[2:], kernel, stride, padding, dilation)
    n, o = x.shape[0], w.shape[0]
    if _is_depthwise(x.shape[1], w, groups) and o == groups:
        return _depthwise(x, w, out, stride, padding, dilation)
    columns = _columns(x, kernel, out, stride, padding, dilation, groups)
    if groups == 1:
        return np.matmul(w.reshape(o, -1), columns[:, 0]).reshape(n, o, *out)
    return np.matmul(w.reshape(groups, o // groups, -1), columns).reshape(n, o, *out)


def _offsets(kernel: Sizes) -> Any:
    return np.ndindex(*kernel)


def slices_at(at: Sizes, out: Sizes, stride: Sizes, dilation: Sizes) -> tuple[Any, ...]:
    """The slices of a padded array that kernel offset `at` meets."""
    return (slice(None), slice(None), *[slice(k * d, k * d + (n - 1) * s + 1, s)
                                        for k, n, s, d in zip(at, out, stride, dilation, strict=True)])


def _depthwise(x: Array, w: Array, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """One kernel per channel: multiply and add, offset by offset."""
    padded = _padded(x, padding)
    shape = (1, -1) + (1,) * len(out)
    y = np.zeros((x.shape[0], w.shape[0], *out), x.dtype, like=x)
    for at in _offsets(w.shape[2:]):
        y += padded[slices_at(at, out, stride, dilation)] * w[(slice(None), 0, *at)].reshape(shape)
    return y


@kernel(halves=True)
def input_gradient(g: Array, w: Array, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Array:
    """The gradient of the input, of spatial size `size`."""
    kernel, out = w.shape[2:], g.shape[2:]
    n, o = g.shape[:2]
    c = w.shape[1] * groups
    if prod(kernel) == 1 and not any(padding) and all(s == 1 for s in stride):
        return np.matmul(w.reshape(groups, o // groups, -1).swapaxes(1, 2), g.reshape(n, groups, o // groups, -1)).reshape(n, c, *size)
    padded = np.zeros((n, c, *[s + 2 * p for s, p in zip(size, padding, strict=True)]), g.dtype, like=g)
    if _is_depthwise(c, w, groups) and o == groups:
        shape = (1, -1) + (1,) * len(out)
        for at in _offsets(kernel):
            padded[slices_at(at, out, stride, dilation)] += g * w[(slice(None), 0, *at)].reshape(shape)
    else:
        weights = w.reshape(groups, o // groups, -1).swapaxes(1, 2)
        columns = np.matmul(weights, g.reshape(n, groups, o // groups, -1)).reshape(n, c, *kernel, *out)
        for at in _offsets(kernel):
            padded[slices_at(at, out, stride, dilation)] += columns[(slice(None), slice(None), *at)]
    if not any(padding):
        return padded
    return np.ascontiguousarray(padded[(slice(None), slice(None), *[slice(p, p + s) for s, p in zip(size, padding, strict=True)])],
                                like=padded)


@kernel(halves=True)
def weight_gradient(x: Array, g: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Array:
    """The gradient of the weight, (O, C / groups, *kernel)."""
    n, o = g.shape[:2]
    c, out = x.shape[1], g.shape[2:]
    if groups == c == o and groups > 1:
        padded = _padded(x, padding)
        w = np.empty((o, 1, *kernel), x.dtype, like=x)
        for at in _offsets(kernel):
            part = padded[slices_at(at, out, stride, dilation)]
            w[(slice(None), 0, *at)] = np.einsum("nci,nci->c", part.reshape(n, c, -1), g.reshape(n, c, -1))
        return w
    columns = _columns(x, kernel, out, stride, padding, dilation, groups)
    gs = g.reshape(n, groups, o // groups, prod(out))
    if groups == 1 and prod(out) < 64:
        # Few positions per image: one product over all images at once.
        flat_g = gs[:, 0].transpose(1, 0, 2).reshape(o, -1)
        flat_c = columns[:, 0].transpose(0, 2, 1).reshape(flat_g.shape[1], -1)
        return flat_g.dot(flat_c).reshape(o, c, *kernel)
    return np.add.reduce(np.matmul(gs, columns.swapaxes(2, 3)), axis=0).reshape(o, c // groups, *kernel)


@kernel
def gradients(g: Array, x: Array, w: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> tuple[Any, Any]:
    """The gradients of input and weight; a device prepares g once for both."""
    return (input_gradient(g, w, x.shape[2:], stride, padding, dilation, groups),
            weight_gradient(x, g, w.shape[2:], stride, padding, dilation, groups))
