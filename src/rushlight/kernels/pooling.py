"""Pooling on arrays (N, C, *spatial): window by window offset, which is one strided slice per offset."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..vocabulary import Array, Number, NumpyDtype
from .conv import slices_at
from .door import is_half, kernel
from .resample import Table, resample

__all__ = ["max_forward", "max_with_taps", "max_gradient", "max_places", "average", "average_gradient", "adaptive_average",
           "adaptive_average_gradient", "adaptive_max_indices", "adaptive_bounds", "out_size"]

Sizes = tuple[int, ...]


def out_size(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """The number of windows; with `ceil`, a last one may reach over the end, but has to start inside the input or its left padding."""
    span = n + 2 * padding - dilation * (kernel - 1) - 1
    size = (span + (stride - 1 if ceil else 0)) // stride + 1
    if ceil and (size - 1) * stride >= n + padding:
        size -= 1
    return size


def _framed(x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, fill: Number) -> Array:
    """x inside a frame of `fill` that is large enough for all windows."""
    need = [max((o - 1) * s + d * (k - 1) + 1, n
                + p) for n, o, k, s, p, d in zip(x.shape[2:], out, kernel, stride, padding, dilation, strict=True)]
    if not any(padding) and all(have >= want for have, want in zip(x.shape[2:], need, strict=True)):
        return x
    frame = np.full(x.shape[:2] + tuple(need), fill, x.dtype, like=x)
    frame[(slice(None), slice(None), *[slice(p, p + n) for p, n in zip(padding, x.shape[2:], strict=True)])] = x
    return frame


def _lowest(dtype: NumpyDtype) -> float:
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


@kernel(halves=True)
def max_forward(x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """The largest value of each window (nan wins)."""
    frame = _framed(x, out, kernel, stride, padding, dilation, _lowest(x.dtype))
    best = None
    for at in np.ndindex(*kernel):
        part = frame[slices_at(at, out, stride, dilation)]
        if best is None:
            best = part.copy()
        else:
            np.maximum(best, part, out=best)
    return best


def _winners(x: Array, y: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Iterator[tuple[Sizes, Any]]:
    """For each offset of the window where it holds the maximum: the first of equals, the last nan; never outside of the input."""
    out = y.shape[2:]
    frame = _framed(x, out, kernel, stride, padding, dilation, _lowest(x.dtype))
    bad = np.isnan(y) if y.dtype.kind == "f" else np.zeros(y.shape, bool, like=y)
    free = ~bad
    starts = np.meshgrid(*[np.arange(o, like=x) * s - p for o, s, p in zip(out, stride, padding, strict=True)], indexing="ij")
    offsets = list(np.ndindex(*kernel))
    for at in offsets:
        hit = frame[slices_at(at, out, stride, dilation)] == y
        hit &= free
        for start, k, d, n in zip(starts, at, dilation, x.shape[2:], strict=True):
            hit &= (start + k * d >= 0) & (start + k * d < n)
        free ^= hit
        yield at, hit
    if bad.any():
        for at in reversed(offsets):
            hit = np.isnan(frame[slices_at(at, out, stride, dilation)]) & bad
            bad ^= hit
            yield at, hit


@kernel(halves=True)
def max_with_taps(x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> tuple[Any, Any]:
    """`max_forward`, and which tap of the kernel (its flat number) holds each window's maximum: the first of equals, the last nan. In bytes
    where that is enough; the type's highest number stands for windows that meet nothing."""
    y = max_forward(x, out, kernel, stride, padding, dilation)
    dtype = np.uint8 if prod(kernel) < 255 else np.int32
    taps = np.full(y.shape, np.iinfo(dtype).max, dtype, like=y)
    numbers = {at: number for number, at in enumerate(np.ndindex(*kernel))}
    for at, hit in _winners(x, y, kernel, stride, padding, dilation):
        taps[hit] = numbers[at]
    return y, taps


@kernel(halves=True)
def max_gradient(g: Array, taps: Array, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """Each window's gradient goes to its maximum."""
    out = g.shape[2:]
    need = [max((o - 1) * s + d * (k - 1) + 1, n
                + p) for n, o, k, s, p, d in zip(size, out, kernel, stride, padding, dilation, strict=True)]
    gx = np.zeros((*g.shape[:2], *need), g.dtype, like=g)
    for number, at in enumerate(np.ndindex(*kernel)):
        gx[slices_at(at, out, stride, dilation)] += np.where(taps == number, g, np.zeros((), g.dtype, like=g))
    return np.ascontiguousarray(gx[(slice(None), slice(None), *[slice(p, p + n) for p, n in zip(padding, size, strict=True)])], like=gx)


@kernel
def max_places(taps: Array, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """The flat spatial index (int64) of each window's maximum."""
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


@kernel(halves=True)
def average(x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Any:
    """The sum of each window."""
    ones = (1,) * len(kernel)
    frame = _framed(x, out, kernel, stride, padding, ones, 0)
    total = None
    for at in np.ndindex(*kernel):
        part = frame[slices_at(at, out, stride, ones)]
        if total is None:
            total = part.copy()
        else:
            total += part
    return total


@kernel(halves=True)
def average_gradient(g: Array, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Array:
    """The adjoint of `average`: each window's value added to all its elements."""
    out = g.shape[2:]
    need = tuple([max((o - 1) * s + k, n + p) for n, o, k, s, p in zip(size, out, kernel, stride, padding, strict=True)])
    frame = np.zeros(g.shape[:2] + need, g.dtype, like=g)
    for at in np.ndindex(*kernel):
        frame[slices_at(at, out, stride, (1,) * len(kernel))] += g
    if need == tuple(size):
        return frame
    return np.ascontiguousarray(frame[(slice(None), slice(None), *[slice(p, p + n) for p, n in zip(padding, size, strict=True)])],
                                like=frame)


# --- adaptive ---------------------------------------------------------------------------------------------------------------------------

def adaptive_bounds(n: int, out: int) -> list[tuple[int, int]]:
    """The start and end of each adaptive window."""
    return [((i * n) // out, -((-(i + 1) * n) // out)) for i in range(out)]


@lru_cache(256)
def _mean_table(n: int, out: int, dtype: str) -> Table | None:
    """The windows' elements and weights."""
    if n == out:
        return None
    start, end = np.array(adaptive_bounds(n, out)).T
    k = np.arange((end - start).max())[:, None]
    inside = k < end - start
    return Table(np.where(inside, start + k, -1), np.where(inside, 1 / (end - start), 0).astype(dtype), n)


def _mean_tables(size: Sizes, out: Sizes, dtype: NumpyDtype) -> tuple[Table | None, ...]:
    return tuple([_mean_table(n, o, dtype.char) for n, o in zip(size, out, strict=True)])


@kernel(halves=True)
def adaptive_average(x: Array, out: Sizes) -> Array:
    """The mean of each of the windows that divide the spatial dimensions into `out` parts."""
    return resample(x, _mean_tables(x.shape[2:], out, x.dtype))


@kernel(halves=True)
def adaptive_average_gradient(g: Array, size: Sizes) -> Array:
    """The adjoint of `adaptive_average`."""
    return resample(g, tuple([None if t is None else t.adjoint() for t in _mean_tables(size, g.shape[2:], g.dtype)]))


@kernel
def adaptive_max_indices(x: Array, out: Sizes) -> Array:
    """The flat place (int64) of each adaptive window's maximum in its plane."""
    size = x.shape[2:]
    flat = np.arange(prod(size)).reshape(size)
    index = np.empty(x.shape[:2] + tuple(out), np.int64, like=x)
    bounds = [adaptive_bounds(n, o) for n, o in zip(size, out, strict=True)]
    wide = x.astype(np.float32) if is_half(x) else x
    for at in np.ndindex(*out):
        window = tuple([slice(*bounds[i][j]) for i, j in enumerate(at)])
        best = wide[(slice(None), slice(None), *window)].reshape(*x.shape[:2], -1).argmax(-1)
        index[(slice(None), slice(None), *at)] = np.asarray(flat[window].reshape(-1), like=x)[best]
    return index
