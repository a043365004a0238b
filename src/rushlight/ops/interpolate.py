"""Resizing images: nearest, linear, cubic and area interpolation.

Every mode is separable: along one dimension after another, the result is a weighted sum of a few picked elements (1 for nearest, 2 for
linear, 4 for cubic). So there is one mechanism, made of `index_select` and products, and gradients follow.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .define import check_tensor
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

__all__ = ["interpolate", "upsample", "upsample_nearest", "upsample_bilinear"]

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}


def _sources(size: int, out: int, align_corners: bool, scale: float | None) -> Any:
    """The place in the input that each output element looks at (float64)."""
    i = np.arange(out, dtype=np.float64)
    if align_corners:
        return i * ((size - 1) / (out - 1)) if out > 1 else i * 0
    step = 1.0 / scale if scale else size / out
    return (i + 0.5) * step - 0.5


def _taps(mode: str, size: int, out: int, align_corners: bool, scale: float | None) -> list[tuple[Any, Any]]:
    """(indices, weights or None) per tap."""
    if mode in ("nearest", "nearest-exact"):
        step = np.float32(1.0 / scale) if scale else np.float32(size) / np.float32(out)
        offset = np.float32(0.5 if mode == "nearest-exact" else 0.0)
        i = np.floor((np.arange(out, dtype=np.float32) + offset) * step).astype(np.int64)
        return [(np.minimum(i, size - 1), None)]
    x = _sources(size, out, align_corners, scale)
    if mode in _LINEAR:
        x = np.maximum(x, 0)
        low = np.minimum(np.floor(x).astype(np.int64), size - 1)
        part = np.minimum(x - low, 1.0)
        return [(low, 1 - part), (np.minimum(low + 1, size - 1), part)]
    low = np.floor(x)
    t = x - low
    return [(np.clip(low.astype(np.int64) + k, 0, size - 1), _cubic(np.abs(t - k))) for k in (-1, 0, 1, 2)]


def _cubic(d: Any) -> Any:
    """Keys' cubic convolution with A = -0.75."""
    a = -0.75
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _resampled(x: Tensor, dim: int, taps: list[tuple[Any, Any]]) -> Tensor:
    total = None
    shape = [1] * x._a.ndim
    shape[dim] = -1
    for index, weight in taps:
        part = x.index_select(dim, wrap(x._kind.xp.asarray(index), x._kind.int64))
        if weight is not None:
            part = part * wrap(x._kind.xp.asarray(weight.astype(x._kind.np).reshape(shape)), x._kind)
        total = part if total is None else total + part
    return total


def _output_size(input: Tensor, n: int, size: Any, scale_factor: Any) -> tuple[list[int], list[float | None]]:
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        sizes = list(size) if isinstance(size, (tuple, list)) else [size] * n
        if len(sizes) != n:
            raise ValueError("Input and output must have the same number of spatial dimensions, but got input with spatial dimensions of "
                             f"{list(input._a.shape[2:])} and output size of {size}. Please provide input tensor in (N, C, d1, d2, ...,dK) format "
                             "and output size in (o1, o2, ...,oK) format.")
        return [int(s) for s in sizes], [None] * n
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    scales = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * n
    if len(scales) != n:
        raise ValueError("Input and scale_factor must have the same number of spatial dimensions, but got input with spatial dimensions of "
                         f"{list(input._a.shape[2:])} and scale_factor of shape {scale_factor}.")
    return [math.floor(i * s) for i, s in zip(input._a.shape[2:], scales, strict=True)], [float(s) for s in scales]


def interpolate(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
                recompute_scale_factor: bool | None = None, antialias: bool = False) -> Tensor:
    """(N, C, *spatial) resized to `size`, or by `scale_factor`.

    mode: "nearest", "nearest-exact", "area" (any), "linear" (3-D input), "bilinear" and "bicubic" (4-D), "trilinear" (5-D).
    """
    check_tensor("interpolate", input=input)
    if antialias:
        raise NotImplementedError("interpolate(antialias=True) is not supported: use mode='area' to shrink images")
    n = input._a.ndim - 2
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear")
    elif mode not in (*_LINEAR, "bicubic"):
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {n + 2}D) for the modes: nearest | linear | bilinear | "
                                  f"bicubic | trilinear | area | nearest-exact (got {mode})")
    sizes, scales = _output_size(input, n, size, scale_factor)
    wants = 2 if mode == "bicubic" else _LINEAR.get(mode, n)
    if n not in (1, 2, 3) or wants != n:
        if n in (1, 2, 3) and wants != n:
            raise NotImplementedError(f"Got {n + 2}D input, but {mode} mode needs {wants + 2}D input")
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {n + 2}D) for the modes: nearest | linear | bilinear | "
                                  f"bicubic | trilinear | area | nearest-exact (got {mode})")
    if any(s <= 0 for s in sizes):
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got input ({list(input._a.shape[2:])}) output ({sizes})")
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[n - 1](input, sizes)
    if recompute_scale_factor:
        scales = [None] * n
    for i in range(n):
        old = input._a.shape[i + 2]
        if old != sizes[i] or mode == "bicubic" or (scales[i] not in (None, 1.0)):
            input = _resampled(input, i + 2, _taps(mode, old, sizes[i], bool(align_corners), scales[i]))
    return input


def _deprecated(name: str) -> None:
    import warnings
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", UserWarning, stacklevel=3)


def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None) -> Tensor:
    """`interpolate` under its old name."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode "nearest" under its old name."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode "bilinear" and align_corners under its old name."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)
