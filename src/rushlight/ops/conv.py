"""Convolutions of 1, 2 and 3 dimensions, and transposed ones.

Three ops are closed under differentiation: the convolution, its adjoint in the input (transposed convolution) and its adjoint in the
weight. Each one's gradients are the other two, so gradients of any order follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import conv as K
from ..kernels import reduce as R
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, PerDim
from .errors import not_a_tensor, title
from .matmul import _c_name as name
from .memory_format import in_format_of
from .padding import pad
from .public import export, functional
from .record import record

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"]

Sizes = tuple[int, ...]


class _Geometry:
    """Stride, padding, dilation and groups of a convolution; computes it and its adjoints, as tensors and as arrays."""

    __slots__ = ("stride", "padding", "dilation", "groups")

    def __init__(self, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> None:
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    @property
    def arguments(self) -> tuple[Sizes, Sizes, Sizes, int]:
        return self.stride, self.padding, self.dilation, self.groups

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        size, kernel = x._a.shape[2:], w._a.shape[2:]
        out = wrap(K.forward(x._a, w._a, *self.arguments), x._kind)
        return record(out, "ConvolutionBackward0", (x, w), (lambda g, x, w: self.input_gradient(g, w, size),
                                                            lambda g, x, w: self.weight_gradient(x, g, kernel)), (x, w))

    def input_gradient(self, g: Tensor, w: Tensor, size: Sizes) -> Tensor:
        kernel = w._a.shape[2:]
        out = wrap(K.input_gradient(g._a, w._a, size, *self.arguments), g._kind)
        return record(out, "ConvolutionBackward0", (g, w), (lambda gg, g, w: _cropped(self.forward(gg, w), g),
                                                            lambda gg, g, w: self.weight_gradient(gg, g, kernel)), (g, w))

    def weight_gradient(self, x: Tensor, g: Tensor, kernel: Sizes) -> Tensor:
        size = x._a.shape[2:]
        out = wrap(K.weight_gradient(x._a, g._a, kernel, *self.arguments), x._kind)
        return record(out, "ConvolutionBackward0", (x, g), (lambda gg, x, g: self.input_gradient(g, gg, size),
                                                            lambda gg, x, g: self.forward(x, gg)), (x, g))


def _cropped(y: Tensor, like: Tensor) -> Tensor:
    """y without positions that only a transposed convolution's output_padding has made room for."""
    shape = like._a.shape
    return y if y._a.shape == shape else y[tuple([slice(0, n) for n in shape])]


def _tuple(value: PerDim, n: int, name: str) -> Sizes:
    if isinstance(value, int):
        return (value,) * n
    values = tuple([int(v) for v in value])
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise RuntimeError(f"expected {name} to be a single integer value or a list of {n} values to match the convolution dimensions, "
                           f"but got {name}={list(values)}")
    return values


def _checked(x: Tensor, w: Tensor, bias: Tensor | None, n: int, name: str, transposed: bool, groups: int) -> tuple[Tensor, bool]:
    """The input with a batch dimension, and whether it had none."""
    for position, (parameter, value) in enumerate((("input", x), ("weight", w)), 1):
        if not isinstance(value, Tensor):
            raise not_a_tensor(name, parameter, position, value)
    dims = f"{n + 1}D (unbatched) or {n + 2}D (batched)"
    if x._a.ndim not in (n + 1, n + 2):
        raise RuntimeError(f"Expected {dims} input to {name}, but got input of size: {list(x._a.shape)}")
    if w._a.ndim != n + 2:
        raise RuntimeError(f"Expected {n + 2}-dimensional weight for {name}, but got weight of size {list(w._a.shape)}")
    for other in (w, bias):
        if other is not None and other._kind.dtype is not x._kind.dtype:
            raise RuntimeError(f"Input type ({title(x._kind.dtype)}) and {'bias' if other is bias else 'weight'} type "
                               f"({title(other._kind.dtype)}) should be the same" if not x._kind.is_floating else
                               f"Input type ({_c_name(x)}) and {'bias' if other is bias else 'weight'} type ({_c_name(other)}) should be "
                               "the same")
        if other is not None and other._kind is not x._kind:
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices, "
                               f"{x._kind.device} and {other._kind.device}!")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    unbatched = x._a.ndim == n + 1
    if unbatched:
        x = x.unsqueeze(0)
    channels = x._a.shape[1]
    if transposed:
        if channels != w._a.shape[0]:
            raise RuntimeError(f"Given transposed=1, weight of size {list(w._a.shape)}, expected input{list(x._a.shape)} to have "
                               f"{w._a.shape[0]} channels, but got {channels} channels instead")
        outputs = w._a.shape[1] * groups
    else:
        outputs = w._a.shape[0]
        if outputs % groups:
            raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size "
                               f"{list(w._a.shape)} instead")
        if channels != w._a.shape[1] * groups:
            raise RuntimeError(f"Given groups={groups}, weight of size {list(w._a.shape)}, expected input{list(x._a.shape)} to have "
                               f"{w._a.shape[1] * groups} channels, but got {channels} channels instead")
    if bias is not None and bias._a.shape != (outputs,):
        raise RuntimeError(f"Given {'transposed=1' if transposed else f'weight of size {list(w._a.shape)}'}, expected bias to be "
                           f"1-dimensional with {outputs} elements, but got bias of size {list(bias._a.shape)} instead")
    return x, unbatched


def _c_name(t: Tensor) -> str:
    return name(t._kind)


def _positive(stride: Sizes, padding: Sizes, dilation: Sizes) -> None:
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(dilation) <= 0:
        raise RuntimeError("dilation should be greater than zero")


def _with_bias(y: Tensor, bias: Tensor, n: int) -> Tensor:
    return y + bias.view(1, -1, *(1,) * n)


def _convolve(x: Tensor, w: Tensor, bias: Tensor | None, geometry: _Geometry, n: int) -> Tensor:
    """Convolution and bias as one node on the usual path."""
    kind, a, wa = x._kind, x._a, w._a
    r = K.forward(a, wa, *geometry.arguments, None if bias is None else bias._a)
    out = wrap(r, kind)
    need_x, need_w, need_b = x._node is not None, w._node is not None, bias is not None and bias._node is not None
    if not (need_x or need_w or need_b):
        return out
    size, kernel = a.shape[2:], wa.shape[2:]
    axes = (0, *range(2, n + 2))

    def arrays(g: Array, x: Array, w: Array) -> tuple[Any, ...]:
        if need_x and need_w:
            gx, gw = K.gradients(g, x, w, *geometry.arguments)
        else:
            gx = K.input_gradient(g, w, size, *geometry.arguments) if need_x else None
            gw = K.weight_gradient(x, g, kernel, *geometry.arguments) if need_w else None
        return gx, gw, (_channel_sums(g) if need_b else None)
    return record(out, "ConvolutionBackward0", (x, w, bias), (lambda g, x, w: geometry.input_gradient(g, w, size),
                                                              lambda g, x, w: geometry.weight_gradient(x, g, kernel),
                                                              lambda g, x, w: g.sum(axes)), (x, w), array_grad=arrays)


def _channel_sums(g: Array) -> Array:
    """Sums over all dimensions but the second."""
    g = g.reshape(g.shape[0], g.shape[1], -1)
    return R.sum(g, (0, 2), False) if g.dtype.itemsize > 2 else R.sum(g.astype(np.float32), (0, 2), False).astype(g.dtype)


def _same_padding(x: Tensor, kernel: Sizes, dilation: Sizes) -> tuple[Tensor, Sizes]:
    """Padding that keeps the size; where it is uneven, the extra zeros go to the end, into x itself."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    left = tuple([t // 2 for t in total])
    if all(t % 2 == 0 for t in total):
        return x, left
    extra = []
    for t in reversed(total):
        extra += [0, t - 2 * (t // 2)]
    return pad(x, extra), left


def convolution(x: Tensor, w: Tensor, bias: Tensor | None, stride: PerDim, padding: PerDim | str, dilation: PerDim, groups: int, n: int,
                name: str) -> Tensor:
    """conv1d, conv2d and conv3d."""
    x, unbatched = _checked(x, w, bias, n, name, False, groups)
    stride, dilation = _tuple(stride, n, "stride"), _tuple(dilation, n, "dilation")
    kernel = w._a.shape[2:]
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"Invalid padding string: '{padding}'. Valid padding strings are 'valid' and 'same'")
        if padding == "same":
            if any(s != 1 for s in stride):
                raise RuntimeError("padding='same' is not supported for strided convolutions")
            x, padding = _same_padding(x, kernel, dilation)
        else:
            padding = 0
    padding = _tuple(padding, n, "padding")
    _positive(stride, padding, dilation)
    for s, k, p, d in zip(x._a.shape[2:], kernel, padding, dilation, strict=True):
        if s + 2 * p < d * (k - 1) + 1:
            raise RuntimeError("Calculated padded input size per channel: "
                               f"({' x '.join(str(i + 2 * q) for i, q in zip(x._a.shape[2:], padding))}). "
                               f"Kernel size: ({' x '.join(str(e * (j - 1) + 1) for j, e in zip(kernel, dilation))}). Kernel size can't be "
                               "greater than actual input size")
    y = _convolve(x, w, bias, _Geometry(stride, padding, dilation, groups), n)
    return y.squeeze(0) if unbatched else in_format_of(y, x, w)


def _transposed(x: Tensor, w: Tensor, bias: Tensor | None, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any,
                n: int,
                name: str) -> Tensor:
    x, unbatched = _checked(x, w, bias, n, name, True, groups)
    stride, padding, dilation = _tuple(stride, n, "stride"), _tuple(padding, n, "padding"), _tuple(dilation, n, "dilation")
    extra = _tuple(output_padding, n, "output_padding")
    _positive(stride, padding, dilation)
    for e, s, d in zip(extra, stride, dilation, strict=True):
        if e >= max(s, d):
            raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got output_padding_height: {extra[0]} "
                               f"output_padding_width: {extra[-1]} stride_height: {stride[0]} stride_width: {stride[-1]} dilation_height: "
                               f"{dilation[0]} dilation_width: {dilation[-1]}")
    size = tuple([(i - 1) * s - 2 * p + d * (k - 1) + e + 1
                  for i, k, s, p, d, e in zip(x._a.shape[2:], w._a.shape[2:], stride, padding, dilation, extra, strict=True)])
    if any(i < 0 for i in size):
        raise RuntimeError(f"Given input size per channel: {list(x._a.shape[2:])}. Calculated output size per channel: {list(size)}. "
                           "Output size is too small")
    if any(e >= s for e, s in zip(extra, stride, strict=True)):
        # More output padding than a stride: as if there were more input, of zeros.
        x = pad(x, [width for e, s in zip(extra[::-1], stride[::-1], strict=True) for width in (0, e // s)])
    y = _Geometry(stride, padding, dilation, groups).input_gradient(x, w, size)
    if bias is not None:
        y = _with_bias(y, bias, n)
    return y.squeeze(0) if unbatched else in_format_of(y, x, w)


@functional
def conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: PerDim = 1, padding: PerDim | str = 0, dilation: PerDim = 1,
           groups: int = 1) -> Tensor:
    """Convolution of (N, C, L) or (C, L) with weight (O, C / groups, K). padding: numbers, "valid" or "same"."""
    return convolution(input, weight, bias, stride, padding, dilation, groups, 1, "conv1d")


@functional
def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: PerDim = 1, padding: PerDim | str = 0, dilation: PerDim = 1,
           groups: int = 1) -> Tensor:
    """Convolution of (N, C, H, W) or (C, H, W) with weight (O, C / groups, KH, KW). padding: numbers, "valid" or "same"."""
    return convolution(input, weight, bias, stride, padding, dilation, groups, 2, "conv2d")


@functional
def conv3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: PerDim = 1, padding: PerDim | str = 0, dilation: PerDim = 1,
           groups: int = 1) -> Tensor:
    """Convolution of (N, C, D, H, W) or (C, D, H, W) with weight (O, C / groups, KD, KH, KW). padding: numbers, "valid" or "same"."""
    return convolution(input, weight, bias, stride, padding, dilation, groups, 3, "conv3d")


def _make_transposed(n: int) -> Function:
    name = f"conv_transpose{n}d"

    def fn(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: PerDim = 1, padding: PerDim | str = 0,
           output_padding: PerDim = 0,
           groups: int = 1, dilation: PerDim = 1) -> Tensor:
        return _transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, n, name)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"Transposed {n}-dimensional convolution; the weight is (C, O / groups, *kernel)."
    return functional(fn)


conv_transpose1d, conv_transpose2d, conv_transpose3d = (_make_transposed(n) for n in (1, 2, 3))
for _fn in (conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d):
    export(_fn)
