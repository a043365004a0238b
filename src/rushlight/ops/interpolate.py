"""Resizing images: nearest, linear, cubic and area interpolation.

Every mode is separable: along one dimension after another, the result is a weighted sum of a few picked elements (1 for nearest, 2 for
linear, 4 for cubic, more where a filter is smoothed). So there is one mechanism, tables (kernels/resample.py), and gradients are transposed
tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..dtypes import float32 as _float32
from ..kernels import resample as K
from ..tensor import Tensor, wrap
from .errors import not_implemented
from .memory_format import in_format_of
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .public import functional
from .record import Outline, depending, record

__all__ = ["interpolate", "upsample", "upsample_nearest", "upsample_bilinear"]

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}        # how far the filter of an image that is smoothed while it shrinks reaches


def _sources(size: int, out: int, align_corners: bool, scale: float | None) -> Any:
    """The place in the input that each output element looks at (float64)."""
    i = np.arange(out, dtype=np.float64)
    if align_corners:
        return i * ((size - 1) / (out - 1)) if out > 1 else i * 0
    step = 1.0 / scale if scale else size / out
    return (i + 0.5) * step - 0.5


def _picks(mode: str, size: int, out: int, align_corners: bool, scale: float | None) -> tuple[Any, Any]:
    """Which elements each result sums, (taps, out), and their weights (None: as they are)."""
    if mode in ("nearest", "nearest-exact"):
        step = np.float32(1.0 / scale) if scale else np.float32(size) / np.float32(out)
        offset = np.float32(0.5 if mode == "nearest-exact" else 0.0)
        i = np.floor((np.arange(out, dtype=np.float32) + offset) * step).astype(np.int64)
        return np.minimum(i, size - 1)[None], None
    x = _sources(size, out, align_corners, scale)
    if mode in _LINEAR:
        x = np.maximum(x, 0)
        low = np.minimum(np.floor(x).astype(np.int64), size - 1)
        part = np.minimum(x - low, 1.0)
        return np.stack([low, np.minimum(low + 1, size - 1)]), np.stack([1 - part, part])
    low = np.floor(x)
    t = x - low
    near = range(-1, 3)
    return np.stack([np.clip(low.astype(np.int64) + k, 0, size - 1) for k in near]), np.stack([_cubic(np.abs(t - k)) for k in near])


def _smooth_picks(mode: str, size: int, out: int, align_corners: bool, scale: float | None) -> tuple[Any, Any]:
    """The same with antialias=True: where an image shrinks, the filter widens with the step, so that every element counts."""
    if align_corners:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
    else:
        step = 1.0 / scale if scale else size / out
    wide = max(step, 1.0)
    reach = wide * _REACH[mode]
    center = step * (np.arange(out) + 0.5)
    first = np.maximum((center - reach + 0.5).astype(np.int64), 0)
    count = np.minimum((center + reach + 0.5).astype(np.int64), size) - first
    k = np.arange(max(int(count.max(initial=1)), 1))[:, None]
    d = np.abs((k + first - center + 0.5) / wide)
    shape = np.maximum(1 - d, 0) if mode == "bilinear" else _cubic(d, -0.5) if mode == "bicubic" else np.where(d < 3, np.sinc(d) * np.sinc(d / 3), 0)
    weight = np.where(k < count, shape, 0)
    total = weight.sum(0)
    return np.where(k < count, first + k, -1), weight / np.where(total == 0, 1, total)


def _cubic(d: Any, a: float = -0.75) -> Any:
    """Keys' cubic convolution."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


@lru_cache(256)
def _table(mode: str, size: int, out: int, align_corners: bool, scale: float | None, antialias: bool, dtype: str) -> K.Table:
    index, weight = (_smooth_picks if antialias else _picks)(mode, size, out, align_corners, scale)
    return K.Table(index, None if weight is None else weight.astype(dtype), size)


def resampled(x: Tensor, tables: tuple[K.Table | None, ...], name: str, dependent: bool = False) -> Tensor:
    """x (N, C, *spatial) resized by one table or None per dimension; `name` is the node's. `dependent`: the gradient is a function of x
    too."""
    kind = x._kind
    if not kind.is_floating:
        for dim, table in enumerate(tables, 2):
            if table is not None:
                x = _composed(x, dim, table)
        return x
    outline = Outline(x) if dependent and x._node is not None else None

    def grad(g: Tensor) -> Tensor:
        r = resampled(g, _adjoint(tables), name)
        return r if outline is None else depending(r, outline, name=f"{name[:-1]}Backward0")
    return record(wrap(K.resample(x._a, tables), kind), name, (x,), grad,
                  array_grad=lambda g: K.resample(g, _adjoint(tables)))


def _adjoint(tables: tuple[K.Table | None, ...]) -> tuple[K.Table | None, ...]:
    return tuple([None if t is None else t.adjoint() for t in tables])


def _composed(x: Tensor, dim: int, table: K.Table) -> Tensor:
    """One dimension resized by other ops: for integers, and for arrays elsewhere."""
    total = None
    shape = [1] * x._a.ndim
    shape[dim] = -1
    for t, index in enumerate(table.index):
        part = x.index_select(dim, wrap(x._kind.xp.asarray(np.maximum(index, 0).astype(np.int64)), x._kind.int64))
        if table.weight is not None or (index < 0).any():
            weight = (index >= 0) * (1 if table.weight is None else table.weight[t])
            part = part * wrap(x._kind.xp.asarray(weight.astype(x._kind.np).reshape(shape)), x._kind)
        total = part if total is None else total + part
    return total


def _output_size(input: Tensor, n: int, size: Any, scale_factor: float | Sequence[float]) -> tuple[list[int], list[float | None]]:
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        sizes = list(size) if isinstance(size, (tuple, list)) else [size] * max(n, 0)
        if len(sizes) != max(n, 0):
            raise ValueError("Input and output must have the same number of spatial dimensions, but got input with spatial dimensions of "
                             f"{list(input._a.shape[2:])} and output size of {size}. Please provide input tensor in (N, C, d1, d2, "
                             "...,dK) format and output size in (o1, o2, ...,oK) format.")
        return [int(s) for s in sizes], [None] * n
    if scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    scales = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * max(n, 0)
    if len(scales) != max(n, 0):
        raise ValueError("Input and scale_factor must have the same number of spatial dimensions, but got input with spatial dimensions of "
                         f"{list(input._a.shape[2:])} and scale_factor of shape {scale_factor}.")
    return [math.floor(i * s) for i, s in zip(input._a.shape[2:], scales, strict=True)], [float(s) for s in scales]


@functional
def interpolate(input: Tensor, size: Any = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
                align_corners: bool | None = None,
                recompute_scale_factor: bool | None = None, antialias: bool = False) -> Tensor:
    """(N, C, *spatial) resized to `size`, or by `scale_factor`.

    mode: "nearest", "nearest-exact", "area" (any), "linear" (3-D input), "bilinear" and "bicubic" (4-D), "trilinear" (5-D), "lanczos" (4-D
    with antialias). antialias widens the filter of "bilinear", "bicubic" and "lanczos" where an image shrinks, as image libraries do.
    """
    if align_corners is not None and mode in ("nearest", "area", "nearest-exact"):
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear")
    n = input.dim() - 2
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if antialias and not (mode in _REACH and n == 2):
        raise ValueError(f"antialias=True works on 4-D input with mode 'bilinear', 'bicubic' or 'lanczos', but got {n + 2}-D input and "
                         f"mode '{mode}'")
    if mode == "lanczos" and (not antialias or align_corners):
        raise ValueError("mode 'lanczos' needs antialias=True and no align_corners")
    if mode not in ("nearest", "area", "nearest-exact") and mode not in (*_LINEAR, "bicubic", "lanczos"):
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {n + 2}D) for the modes: nearest | "
                                  f"linear | bilinear | bicubic | trilinear | area | nearest-exact (got {mode})")
    sizes, scales = _output_size(input, n, size, scale_factor)
    wants = 2 if mode in ("bicubic", "lanczos") else _LINEAR.get(mode, n)
    if n not in (1, 2, 3) or wants != n:
        if n in (1, 2, 3) and wants != n:
            raise NotImplementedError(f"Got {n + 2}D input, but {mode} mode needs {wants + 2}D input")
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {n + 2}D) for the modes: nearest | "
                                  f"linear | bilinear | bicubic | trilinear | area | nearest-exact (got {mode})")
    if any(s <= 0 for s in sizes):
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got input ({list(input._a.shape[2:])}) output ({sizes})")
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[n - 1](input, sizes)
    kind = input._kind
    if not kind.is_floating and "nearest" not in mode and kind.np.name != "uint8":
        raise not_implemented(f"upsample_{mode}{n}d", kind)
    if recompute_scale_factor:
        scales = [None] * n
    work = "f4" if kind.reduced or not kind.is_floating else kind.np.char
    tables = tuple([None if old == new and mode not in ("bicubic", "lanczos") and scale in (None, 1.0) else
                    _table(mode, old, new, bool(align_corners), scale, antialias, work)
                    for old, new, scale in zip(input._a.shape[2:], sizes, scales, strict=True)])
    if kind.is_floating or "nearest" in mode:
        return in_format_of(resampled(input, tables, f"Upsample{_NODES.get(mode, mode.title())}{n}D{'Aa' if antialias else ''}Backward0"),
                            input)
    y = resampled(input.to(_float32), tables, "")          # bytes: rounded
    return in_format_of(y.round().clamp(0, 255).to(kind.dtype), input)


_NODES = {"nearest-exact": "NearestExact"}


def _deprecated(name: str) -> None:
    import warnings
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", UserWarning, stacklevel=3)


@functional
def upsample(input: Tensor, size: Any = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Tensor:
    """`interpolate` under its old name."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


@functional
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: float | Sequence[float] | None = None) -> Tensor:
    """`interpolate` with mode "nearest" under its old name."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


@functional
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: float | Sequence[float] | None = None) -> Tensor:
    """`interpolate` with mode "bilinear" and align_corners under its old name."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)
