"""Batch norm on (N, C, *): statistics and gradients per channel, by many blocks per channel whose results are combined in a fixed order.

The work of a channel is a list of *items*: pieces of its N planes. A block takes a slice of the items; its threads stand in rows of 2 **
shift, one row per item. Mean and squares are taken within the slice, about its own mean, and combined as by Chan, Golub and LeVeque
("Updating formulae", 1979), so that a large mean costs no precision. Elements are read 16 bytes at a time where planes are whole multiples
of that. Weights, bias and statistics are in the arithmetic type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...vocabulary import Array, NumpyDtype
from . import driver
from .implicit_gemm import ELEMENTS
from .source import ACCUMULATE, THREADS, Kernel, blocks

if TYPE_CHECKING:
    from .driver import CupyArray

__all__ = ["batch", "batch_backward", "fixed", "fixed_backward", "move", "channels_statistics", "channels_apply", "channels_backward"]

_PIECE = 2048           # units of a plane that one item takes at most
_COMMON = r"""
#define CHUNK (16 / (int)sizeof(T))
struct __align__(16) Chunk { T v[CHUNK]; };
// f(element number of the plane, how many follow there) for what this thread takes of units [start, end).
template <class F> __device__ __forceinline__ void elements(int start, int end, int per_unit, int shift, F f) {
    for (int i = start + (threadIdx.x & ((1 << shift) - 1)); i < end; i += 1 << shift) {
        if (per_unit > 1) f(i * CHUNK, CHUNK);
        else f(i, 1);
    }
}
__device__ __forceinline__ Chunk fetch(const T* p, int many) {
    Chunk r;
    if (many == CHUNK) r = *(const Chunk*)p;
    else r.v[0] = *p;
    return r;
}
__device__ __forceinline__ void put(T* p, const Chunk& r, int many) {
    if (many == CHUNK) *(Chunk*)p = r;
    else *p = r.v[0];
}
// f(start of the plane, first unit, end) for each item of [first, last) that this row of threads takes.
template <class F> __device__ __forceinline__ void items(int first, int last, int channels, long long span, int units, int pieces, int piece, int shift, F f) {
    int rows = blockDim.x >> shift;
    for (int item = first + (threadIdx.x >> shift); item < last; item += rows) {
        int n = item / pieces, start = (item - n * pieces) * piece;
        f(((long long)n * channels + blockIdx.x) * span, start, min(start + piece, units));
    }
}
// Elements in items [first, last).
__device__ __forceinline__ long long counted(int first, int last, int units, int pieces, int piece, int per_unit) {
    return ((long long)(last - first) * piece - (long long)(last / pieces - first / pieces) * ((long long)pieces * piece - units)) * per_unit;
}
"""
_SHAPE = "int channels, long long span, int units, int pieces, int piece, int per_unit, int shift, int item_count, int per_slice"
_STATISTICS = Kernel("norm_channel_statistics", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, A* means, A* squares, """ + _SHAPE + r""") {
    int first = blockIdx.y * per_slice, last = min(first + per_slice, item_count);
    A sum = (A)0;
    items(first, last, channels, span, units, pieces, piece, shift, [&](long long at, int start, int end) {
        elements(start, end, per_unit, shift, [&](int i, int many) {
            Chunk v = fetch(x + at + i, many);
            for (int e = 0; e < many; e++) sum += load(v.v[e]);
        });
    });
    A mean = block_sum(sum) / (A)counted(first, last, units, pieces, piece, per_unit);
    sum = (A)0;
    items(first, last, channels, span, units, pieces, piece, shift, [&](long long at, int start, int end) {
        elements(start, end, per_unit, shift, [&](int i, int many) {
            Chunk v = fetch(x + at + i, many);
            for (int e = 0; e < many; e++) { A d = load(v.v[e]) - mean; sum += d * d; }
        });
    });
    sum = block_sum(sum);
    if (threadIdx.x == 0) { means[blockIdx.y * (long long)channels + blockIdx.x] = mean; squares[blockIdx.y * (long long)channels + blockIdx.x] = sum; }
}
""")
# One warp per channel.
_COMBINE = Kernel("norm_channel_combine", _COMMON + r"""
extern "C" __global__ void kernel(const A* means, const A* squares, A* mean, A* var, int slices, """ + _SHAPE + r""") {
    int c = blockIdx.x;
    A total = (A)counted(0, item_count, units, pieces, piece, per_unit), sum = (A)0;
    for (int s = threadIdx.x; s < slices; s += 32) {
        int first = s * per_slice, last = min(first + per_slice, item_count);
        sum += (A)counted(first, last, units, pieces, piece, per_unit) / total * means[s * (long long)channels + c];
    }
    A m = warp_sum(sum);
    sum = (A)0;
    for (int s = threadIdx.x; s < slices; s += 32) {
        int first = s * per_slice, last = min(first + per_slice, item_count);
        A d = means[s * (long long)channels + c] - m;
        sum += squares[s * (long long)channels + c] + (A)counted(first, last, units, pieces, piece, per_unit) * d * d;
    }
    sum = warp_sum(sum);
    if (threadIdx.x == 0) { mean[c] = m; var[c] = sum / total; }
}
""", ("float32", "float64"))
_SUMS = Kernel("norm_channel_gradient_sums", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ x, const A* mean, const A* var, A* gw, A* gb, double eps, """ + _SHAPE + r""") {
    int first = blockIdx.y * per_slice, last = min(first + per_slice, item_count);
    A m = mean[blockIdx.x], r = rsqrt_(var[blockIdx.x] + (A)eps), a = (A)0, b = (A)0;
    items(first, last, channels, span, units, pieces, piece, shift, [&](long long at, int start, int end) {
        elements(start, end, per_unit, shift, [&](int i, int many) {
            Chunk v = fetch(g + at + i, many), u = fetch(x + at + i, many);
            for (int e = 0; e < many; e++) { A d = load(v.v[e]); a += d * (load(u.v[e]) - m); b += d; }
        });
    });
    a = block_sum(a) * r;
    b = block_sum(b);
    if (threadIdx.x == 0) { gw[blockIdx.y * (long long)channels + blockIdx.x] = a; gb[blockIdx.y * (long long)channels + blockIdx.x] = b; }
}
""")
_ADD_SLICES = Kernel("norm_channel_add_slices", r"""
extern "C" __global__ void kernel(const A* first, const A* second, A* a, A* b, int slices, int channels) {
    A u = (A)0, v = (A)0;
    for (int s = threadIdx.x; s < slices; s += 32) { u += first[s * (long long)channels + blockIdx.x]; v += second[s * (long long)channels + blockIdx.x]; }
    u = warp_sum(u);
    v = warp_sum(v);
    if (threadIdx.x == 0) { a[blockIdx.x] = u; b[blockIdx.x] = v; }
}
""", ("float32", "float64"))
# A row of threads takes a tile of 4 << shift units of one plane.
_PLANES = r"""
    int rows = blockDim.x >> shift, tiles = (units + (4 << shift) - 1) / (4 << shift);
    long long plane = (long long)(blockIdx.x / tiles) * rows + (threadIdx.x >> shift);
    if (plane >= planes) return;
    int c = (int)(plane % channels), start = (int)(blockIdx.x % tiles) * (4 << shift);
    long long at = plane * span;
"""
_APPLY = Kernel("norm_channel_apply", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, const A* mean, const A* var, const A* w, const A* b, T* __restrict__ y, double eps, long long planes,
                                  int channels, long long span, int units, int per_unit, int shift) {
""" + _PLANES + r"""
    A m = mean[c], scale = rsqrt_(var[c] + (A)eps) * (w ? w[c] : (A)1), more = b ? b[c] : (A)0;
    elements(start, min(start + (4 << shift), units), per_unit, shift, [&](int i, int many) {
        Chunk v = fetch(x + at + i, many);
        for (int e = 0; e < many; e++) store(&v.v[e], (load(v.v[e]) - m) * scale + more);
        put(y + at + i, v, many);
    });
}
""")
_INPUT = Kernel("norm_channel_input_gradient", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ x, const A* mean, const A* var, const A* w, const A* gw, const A* gb, T* __restrict__ gx,
                                  double eps, long long count, long long planes, int channels, long long span, int units, int per_unit, int shift) {
""" + _PLANES + r"""
    A m = mean[c], r = rsqrt_(var[c] + (A)eps), scale = w ? w[c] * r : r;
    A even = count ? gb[c] / (A)count : (A)0, slope = count ? gw[c] / (A)count * r : (A)0;
    elements(start, min(start + (4 << shift), units), per_unit, shift, [&](int i, int many) {
        Chunk v = fetch(g + at + i, many), u = fetch(x + at + i, many);
        for (int e = 0; e < many; e++) store(&v.v[e], scale * (load(v.v[e]) - even - (load(u.v[e]) - m) * slope));
        put(gx + at + i, v, many);
    });
}
""")
_UPDATE = Kernel("norm_channel_update", r"""
extern "C" __global__ void kernel(T* running_mean, T* running_var, const A* mean, const A* var, int n, double momentum, double factor) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    A k = (A)momentum, rest = (A)(1.0 - momentum);
    store(running_mean + i, k * mean[i] + rest * load(running_mean[i]));
    store(running_var + i, k * (var[i] * (A)factor) + rest * load(running_var[i]));
}
""")


class _Plan(NamedTuple):
    """How the kernels walk through arrays of one shape."""

    slices: int
    shape: tuple[Any, ...]       # _SHAPE
    blocks: int                  # of the elementwise kernels
    planes: tuple[Any, ...]      # their last arguments


def _plan(arrays: tuple[CupyArray, ...]) -> _Plan:
    x = arrays[0]
    batch, channels = x.shape[:2]
    span, elements = x.size // (batch * channels), ELEMENTS[x.dtype.name]
    per_unit = elements if span % elements == 0 and all(a.data.ptr % 16 == 0 for a in arrays) else 1
    units = span // per_unit
    shift = min(8, (units - 1).bit_length())
    pieces = blocks(units, _PIECE)
    piece = blocks(units, pieces)
    items, rows = batch * pieces, THREADS >> shift
    per_slice = max(4 * rows, blocks(items, max(1, min(65535, 1024 // channels + 1))))
    tiles = blocks(units, 4 << shift)
    return _Plan(blocks(items, per_slice),
                 (np.int32(channels), np.int64(span), np.int32(units), np.int32(pieces), np.int32(piece), np.int32(per_unit),
                                                     np.int32(shift), np.int32(items), np.int32(per_slice)),
                 blocks(batch * channels, rows)
                 * tiles, (np.int64(batch * channels), np.int32(channels), np.int64(span), np.int32(units), np.int32(per_unit),
                                                          np.int32(shift)))


def _arithmetic(dtype: NumpyDtype) -> NumpyDtype:
    """The dtype of statistics, weights and bias."""
    return np.dtype(np.float64 if ACCUMULATE[dtype.name] == "double" else np.float32)


def _weights(a: CupyArray | None, dtype: NumpyDtype) -> Array | np.uint64:
    """A weight or bias in the arithmetic type, or the null pointer."""
    return np.uint64(0) if a is None else driver.needed().ascontiguousarray(a.astype(_arithmetic(dtype), copy=False))


def channels_statistics(x: CupyArray) -> tuple[Array, Array]:
    """(mean, biased variance) per channel of (N, C, *), in the arithmetic type."""
    module = driver.needed()
    x = module.ascontiguousarray(x)
    plan, kind, channels = _plan((x,)), _arithmetic(x.dtype), x.shape[1]
    means, squares = module.empty((plan.slices, channels), kind), module.empty((plan.slices, channels), kind)
    _STATISTICS(x.dtype.name)((channels, plan.slices), (THREADS,), (x, means, squares, *plan.shape))
    mean, var = module.empty(channels, kind), module.empty(channels, kind)
    _COMBINE(kind.name)((channels,), (32,), (means, squares, mean, var, np.int32(plan.slices), *plan.shape))
    return mean, var


def channels_apply(x: CupyArray, mean: Array, var: Array, w: CupyArray | None, b: CupyArray | None, eps: float) -> CupyArray:
    """Normalise (N, C, *) by statistics per channel."""
    module = driver.needed()
    x = module.ascontiguousarray(x)
    y = module.empty(x.shape, x.dtype)
    plan = _plan((x, y))
    _APPLY(x.dtype.name)((plan.blocks,), (THREADS,), (x, mean, var, _weights(w, x.dtype), _weights(b, x.dtype), y, np.float64(eps),
                                                      *plan.planes))
    return y


def channels_backward(g: CupyArray, x: CupyArray, w: CupyArray | None, mean: CupyArray, var: CupyArray, eps: float,
                      batch_statistics: bool) -> tuple[Array, Array, Array]:
    """Gradients of the input, the weight and the bias; `batch_statistics`: they came from x and so depend on it."""
    module = driver.needed()
    g, x = module.ascontiguousarray(g), module.ascontiguousarray(x)
    gx = module.empty(x.shape, x.dtype)
    plan, kind, channels, name = _plan((g, x, gx)), _arithmetic(x.dtype), x.shape[1], x.dtype.name
    gw, gb = module.empty((plan.slices, channels), kind), module.empty((plan.slices, channels), kind)
    _SUMS(name)((channels, plan.slices), (THREADS,), (g, x, mean, var, gw, gb, np.float64(eps), *plan.shape))
    if plan.slices > 1:
        parts, (gw, gb) = (gw, gb), (module.empty(channels, kind), module.empty(channels, kind))
        _ADD_SLICES(kind.name)((channels,), (32,), (*parts, gw, gb, np.int32(plan.slices), np.int32(channels)))
    else:
        gw, gb = gw[0], gb[0]
    _INPUT(name)((plan.blocks,), (THREADS,), (g, x, mean, var, _weights(w, x.dtype), gw, gb, gx, np.float64(eps),
                                                   np.int64(x.size // channels if batch_statistics else 0), *plan.planes))
    return gx, gw, gb


def batch(x: CupyArray, weight: CupyArray | None, bias: CupyArray | None, eps: float) -> tuple[Array, Array, Array]:
    """(y, mean, variance) of the channels of (N, C, *), as ``kernels/norm.py: batch``."""
    if not x.size:
        return NotImplemented
    mean, var = channels_statistics(x)
    return channels_apply(x, mean, var, weight, bias, eps), mean, var


def _wanted(gradients: tuple[Array, ...], *wanted: bool) -> tuple[Array | None, ...]:
    return tuple([each if want else None for each, want in zip(gradients, wanted, strict=True)])


def batch_backward(g: CupyArray, x: CupyArray, weight: CupyArray | None, mean: CupyArray, var: CupyArray, eps: float, want_x: bool,
                   want_w: bool, want_b: bool) -> tuple[Array | None, ...]:
    """Gradients of the input, the weight and the bias."""
    return _wanted(channels_backward(g, x, weight, mean, var, eps, True), want_x, want_w, want_b) if x.size else NotImplemented


def fixed(x: CupyArray, weight: CupyArray | None, bias: CupyArray | None, mean: CupyArray, var: CupyArray, eps: float) -> CupyArray:
    """(N, C, *) normalised by given statistics."""
    return channels_apply(x, mean, var, weight, bias, eps) if x.size else NotImplemented


def fixed_backward(g: CupyArray, x: CupyArray, weight: CupyArray | None, mean: CupyArray, var: CupyArray, eps: float, want_x: bool,
                   want_w: bool, want_b: bool) -> tuple[Array | None, ...]:
    """Gradients of the input, the weight and the bias of `fixed`."""
    return _wanted(channels_backward(g, x, weight, mean, var, eps, False), want_x, want_w, want_b) if x.size else NotImplemented


def move(running_mean: CupyArray, running_var: CupyArray, mean: CupyArray, var: CupyArray, momentum: float, factor: float) -> None:
    """running = momentum * value + (1 - momentum) * running for both running statistics, in place; the variance times `factor`."""
    n, dtype = running_mean.size, running_mean.dtype
    if (running_var.dtype != dtype or dtype.name not in ACCUMULATE or _arithmetic(dtype) != mean.dtype
        or not running_mean.flags.c_contiguous
            or not running_var.flags.c_contiguous or not n):
        return NotImplemented
    _UPDATE(dtype.name)((blocks(n),), (THREADS,),
                        (running_mean, running_var, mean, var, np.int32(n), np.float64(momentum), np.float64(factor)))
    return None
