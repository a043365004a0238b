"""Pooling on arrays (N, C, *spatial): window by window offset, which is one strided slice per offset."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import prod
from typing import Any

import numpy as np

from . import native

__all__ = ["max_forward", "max_with_taps", "max_gradient", "max_places", "average", "average_gradient", "out_size", "on_device"]

Sizes = tuple[int, ...]
_library = native.library


def _native(x: Any) -> bool:
    return _library is not None and x.__class__ is np.ndarray and x.dtype.char in "fd"


@cache
def on_device(name: str) -> Any:
    """The CUDA form of one of the functions below."""
    from ..cuda.array import kernel_on_arrays
    from .cuda import pooling
    return kernel_on_arrays(getattr(pooling, name))


def out_size(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """The number of windows; with `ceil`, a last one may reach over the end, but has to start inside the input or its left padding."""
    span = n + 2 * padding - dilation * (kernel - 1) - 1
    size = (span + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (size - 1) * stride >= n + padding:
        size -= 1
    return size


def _framed(x: Any, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, fill: Any) -> Any:
    """x inside a frame of `fill` that is large enough for all windows."""
    need = [max((o - 1) * s + d * (k - 1) + 1, n + p) for n, o, k, s, p, d in zip(x.shape[2:], out, kernel, stride, padding, dilation, strict=True)]
    if not any(padding) and all(have >= want for have, want in zip(x.shape[2:], need, strict=True)):
        return x
    frame = np.full(x.shape[:2] + tuple(need), fill, x.dtype, like=x)
    frame[(slice(None), slice(None), *[slice(p, p + n) for p, n in zip(padding, x.shape[2:], strict=True)])] = x
    return frame


def _part(at: Sizes, out: Sizes, stride: Sizes, dilation: Sizes) -> tuple[Any, ...]:
    return (slice(None), slice(None), *[slice(k * d, k * d + (o - 1) * s + 1, s) for k, o, s, d in zip(at, out, stride, dilation, strict=True)])


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def max_forward(x: Any, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """The largest value of each window (nan wins)."""
    if _native(x):
        return _library.max_pool(x, out, kernel, stride, padding, dilation, False)
    if hasattr(x, "c"):      # an array on a device
        return on_device("max_forward")(x, out, kernel, stride, padding, dilation, False)[0]
    frame = _framed(x, out, kernel, stride, padding, dilation, _lowest(x.dtype))
    best = None
    for at in np.ndindex(*kernel):
        part = frame[_part(at, out, stride, dilation)]
        if best is None:
            best = part.copy()
        else:
            np.maximum(best, part, out=best)
    return best


def _winners(x: Any, y: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Iterator[tuple[Sizes, Any]]:
    """For each offset of the window where it holds the maximum: the first of equals, the last nan; never outside of the input."""
    out = y.shape[2:]
    frame = _framed(x, out, kernel, stride, padding, dilation, _lowest(x.dtype))
    bad = np.isnan(y) if y.dtype.kind == "f" else np.zeros(y.shape, bool, like=y)
    free = ~bad
    starts = np.meshgrid(*[np.arange(o, like=x) * s - p for o, s, p in zip(out, stride, padding, strict=True)], indexing="ij")
    offsets = list(np.ndindex(*kernel))
    for at in offsets:
        hit = frame[_part(at, out, stride, dilation)] == y
        hit &= free
        for start, k, d, n in zip(starts, at, dilation, x.shape[2:], strict=True):
            hit &= (start + k * d >= 0) & (start + k * d < n)
        free ^= hit
        yield at, hit
    if bad.any():
        for at in reversed(offsets):
            hit = np.isnan(frame[_part(at, out, stride, dilation)]) & bad
            bad ^= hit
            yield at, hit


def max_with_taps(x: Any, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> tuple[Any, Any]:
    """`max_forward`, and which tap of the kernel (its flat number) holds each window's maximum: the first of equals, the last nan. In bytes where
    that is enough; the type's highest number stands for windows that meet nothing."""
    if _native(x):
        return _library.max_pool(x, out, kernel, stride, padding, dilation, True)
    if hasattr(x, "c"):
        return on_device("max_forward")(x, out, kernel, stride, padding, dilation, True)
    y = max_forward(x, out, kernel, stride, padding, dilation)
    dtype = np.uint8 if prod(kernel) < 255 else np.int32
    taps = np.full(y.shape, np.iinfo(dtype).max, dtype, like=y)
    numbers = {at: number for number, at in enumerate(np.ndindex(*kernel))}
    for at, hit in _winners(x, y, kernel, stride, padding, dilation):
        taps[hit] = numbers[at]
    return y, taps


def max_gradient(g: Any, taps: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """Each window's gradient goes to its maximum."""
    if _native(g):
        return _library.max_pool_gradient(g, taps, size, kernel, stride, padding, dilation)
    if hasattr(g, "c"):
        return on_device("max_gradient")(g, taps, size, kernel, stride, padding, dilation)
    out = g.shape[2:]
    need = [max((o - 1) * s + d * (k - 1) + 1, n + p) for n, o, k, s, p, d in zip(size, out, kernel, stride, padding, dilation, strict=True)]
    gx = np.zeros((*g.shape[:2], *need), g.dtype, like=g)
    for number, at in enumerate(np.ndindex(*kernel)):
        gx[_part(at, out, stride, dilation)] += np.where(taps == number, g, np.zeros((), g.dtype, like=g))
    return np.ascontiguousarray(gx[(slice(None), slice(None), *[slice(p, p + n) for p, n in zip(padding, size, strict=True)])], like=gx)


def max_places(taps: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """The flat spatial index (int64) of each window's maximum."""
    if _library is not None and taps.__class__ is np.ndarray:
        return _library.max_pool_places(taps, size, kernel, stride, padding, dilation)
    if hasattr(taps, "c"):
        return on_device("max_places")(taps, size, kernel, stride, padding, dilation)
    out = taps.shape[2:]
    starts = np.meshgrid(*[np.arange(o, like=taps) * s - p for o, s, p in zip(out, stride, padding, strict=True)], indexing="ij")
    index = np.zeros(taps.shape, np.int64, like=taps)
    for number, at in enumerate(np.ndindex(*kernel)):
        flat: Any = 0
        for start, k, d, n in zip(starts, at, dilation, size, strict=True):
            flat = flat * n + start + k * d
        hit = taps == number
        index[hit] = np.broadcast_to(flat, taps.shape)[hit]
    return index


def average(x: Any, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Any:
    """The sum of each window."""
    if _native(x):
        return _library.sum_pool(x, out, kernel, stride, padding)
    if hasattr(x, "c"):
        return on_device("average")(x, out, kernel, stride, padding)
    ones = (1,) * len(kernel)
    frame = _framed(x, out, kernel, stride, padding, ones, 0)
    total = None
    for at in np.ndindex(*kernel):
        part = frame[_part(at, out, stride, ones)]
        if total is None:
            total = part.copy()
        else:
            total += part
    return total


def average_gradient(g: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Any:
    """The adjoint of `average`: each window's value added to all its elements."""
    if _native(g):
        return _library.sum_pool_gradient(g, tuple(size), kernel, stride, padding)
    if hasattr(g, "c"):
        return on_device("average_gradient")(g, tuple(size), kernel, stride, padding)
    out = g.shape[2:]
    need = tuple([max((o - 1) * s + k, n + p) for n, o, k, s, p in zip(size, out, kernel, stride, padding, strict=True)])
    frame = np.zeros(g.shape[:2] + need, g.dtype, like=g)
    for at in np.ndindex(*kernel):
        frame[_part(at, out, stride, (1,) * len(kernel))] += g
    if need == tuple(size):
        return frame
    return np.ascontiguousarray(frame[(slice(None), slice(None), *[slice(p, p + n) for p, n in zip(padding, size, strict=True)])], like=frame)
