"""Rearranging images: pixel shuffles, unfold and fold."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..kernels import conv as K
from ..tensor import Tensor, wrap
from ..vocabulary import PerDim
from .public import export, functional, op
from .record import record

__all__ = ["pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "unfold", "fold"]


@op(functional=True)
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C * r^2, H, W) to (*, C, H * r, W * r)."""
    if input._a.ndim < 3:
        raise RuntimeError(f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input._a.ndim} dimension(s)")
    if upscale_factor <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {upscale_factor}")
    *lead, c, h, w = input._a.shape
    r = upscale_factor
    if c % (r * r):
        raise RuntimeError(f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but "
                           f"input.size(-3)={c} is not divisible by {r * r}")
    x = input.reshape(*lead, c // (r * r), r, r, h, w)
    n = len(lead)
    return x.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2).reshape(*lead, c // (r * r), h * r, w * r)


@op(functional=True)
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H * r, W * r) to (*, C * r^2, H, W)."""
    if input._a.ndim < 3:
        raise RuntimeError(f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {input._a.ndim} dimension(s)")
    r = downscale_factor
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = input._a.shape
    for size, what in ((h, "height"), (w, "width")):
        if size % r:
            raise RuntimeError(f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but "
                               f"input.size({-2 if what == 'height' else -1})="
                               f"{size} is not divisible by {r}")
    x = input.reshape(*lead, c, h // r, r, w // r, r)
    n = len(lead)
    return x.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3).reshape(*lead, c * r * r, h // r, w // r)


@op(functional=True)
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of (N, C, *) in g groups, interleaved."""
    if input._a.ndim <= 2:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input._a.shape)}")
    n, c, *rest = input._a.shape
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)


native_channel_shuffle = channel_shuffle
for _export in (export, functional):
    _export(channel_shuffle, "native_channel_shuffle", guard=True)


def _pair(value: Any, name: str = "im2col") -> tuple[int, int]:
    for each in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(each, (bool, str, float)) or each is None:
            raise TypeError(f"{name}(): sizes must be tuple of ints, but found element of type {type(each).__name__}")
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1] if len(value) > 1 else value[0]))


@functional(guard=True)
def unfold(input: Tensor, kernel_size: PerDim, dilation: PerDim = 1, padding: PerDim | str = 0, stride: PerDim = 1) -> Tensor:
    """The windows of images (N, C, H, W) as columns (N, C * KH * KW, L)."""
    kernel, dilation, padding, stride = _pair(kernel_size), _pair(dilation), _pair(padding), _pair(stride)
    if input._a.ndim == 1:
        wrap_dim(1, 1)
    if input._a.ndim not in (3, 4):
        raise RuntimeError("Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
                           f"but got: {list(input._a.shape)}")
    x = input.unsqueeze(0) if input._a.ndim == 3 else input
    size = x._a.shape[2:]
    out = K.output_size(size, kernel, stride, padding, dilation)
    if any(o < 1 for o in out):
        raise RuntimeError(f"Given input with spatial size ({size[0]}, {size[1]}), kernel_size={kernel}, dilation={dilation}, "
                           f"padding={padding}, calculated shape of the array of sliding blocks as {out}, but its components must be at "
                           "least one.")
    columns = K._columns(x._a, kernel, out, stride, padding, dilation, 1)[:, 0]
    r = wrap(columns if columns.base is None else columns.copy(), x._kind)
    record(r, "Im2ColBackward0", (x,), lambda g: fold(g, size, kernel, dilation, padding, stride))
    return r.squeeze(0) if input._a.ndim == 3 else r


@functional(guard=True)
def fold(input: Tensor, output_size: PerDim, kernel_size: PerDim, dilation: PerDim = 1, padding: PerDim | str = 0,
         stride: PerDim = 1) -> Tensor:
    """Columns (N, C * KH * KW, L) added up into images (N, C, H, W): the adjoint of `unfold`."""
    size, kernel = _pair(output_size), _pair(kernel_size)
    dilation, padding, stride = _pair(dilation), _pair(padding), _pair(stride)
    if input._a.ndim not in (2, 3):
        raise RuntimeError("Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
                           f"input, but got: {list(input._a.shape)}")
    x = input.unsqueeze(0) if input._a.ndim == 2 else input
    n, rows, length = x._a.shape
    if rows % (kernel[0] * kernel[1]):
        raise RuntimeError("Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
                           f"input.size(1)={rows} and kernel_size={kernel}.")
    out = K.output_size(size, kernel, stride, padding, dilation)
    if length != out[0] * out[1]:
        raise RuntimeError(f"Given output_size={size}, kernel_size={kernel}, dilation={dilation}, padding={padding}, stride={stride}, "
                           f"expected size of input's dimension 2 to match the calculated number of sliding blocks {out[0]} * {out[1]} = "
                           f"{out[0] * out[1]}, but got input.size(2)={length}.")
    c = rows // (kernel[0] * kernel[1])
    columns = x._a.reshape(n, c, *kernel, *out)
    padded = x._kind.xp.zeros((n, c, size[0] + 2 * padding[0], size[1] + 2 * padding[1]), x._kind.np)
    for at in np.ndindex(*kernel):
        padded[K.slices_at(at, out, stride, dilation)] += columns[:, :, at[0], at[1]]
    r = wrap(np.ascontiguousarray(padded[:, :, padding[0]:padding[0] + size[0], padding[1]:padding[1] + size[1]], like=padded), x._kind)
    record(r, "Col2ImBackward0", (x,), lambda g: unfold(g, kernel, dilation, padding, stride))
    return r.squeeze(0) if input._a.ndim == 2 else r
