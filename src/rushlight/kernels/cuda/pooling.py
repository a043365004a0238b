"""Pooling on the device: one thread per element, also in the gradients, which gather: an element looks up the windows that show it, so that
nothing is added atomically. Max pooling keeps one byte per window for it, the number of the tap that met the maximum.

The maximum of a window is the first of equals, or the last nan, as in PyTorch. Adaptive window i of n elements in `out` is
[floor(i * n / out), ceil((i + 1) * n / out)).
"""

from __future__ import annotations

from math import prod

import numpy as np

from ...vocabulary import Array, NumpyDtype
from . import driver
from .depthwise import three
from .source import THREADS, Kernel, blocks

__all__ = ["max_forward", "max_with_taps", "max_gradient", "max_places", "average", "average_gradient", "adaptive_average",
           "adaptive_average_gradient", "adaptive_max_indices"]

Sizes = tuple[int, ...]
FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
_GEOMETRY = ("int d0, int d1, int d2, int k0, int k1, int k2, int o0, int o1, int o2, int s0, int s1, int s2, int p0, int p1, int p2, "
             "int l0, int l1, int l2")
_COMMON = r"""
#define INTEGER(E) __device__ __forceinline__ E load(E v) { return v; } __device__ __forceinline__ void store(E* p, E v) { *p = v; }
INTEGER(long long) INTEGER(int) INTEGER(short) INTEGER(signed char) INTEGER(unsigned char)
template <class E> __device__ __forceinline__ E lowest() { return (E)-1 < (E)0 ? (E)((E)1 << (8 * (int)sizeof(E) - 1)) : (E)0; }
template <> __device__ __forceinline__ float lowest<float>() { return -infinity_<float>(); }
template <> __device__ __forceinline__ double lowest<double>() { return -infinity_<double>(); }

// The plane of this block, and this thread's element of it; false beyond the end.
__device__ __forceinline__ bool placed(int area, long long& plane, int& p) {
    int across = (area + blockDim.x - 1) / blockDim.x;
    plane = blockIdx.x / across;
    p = blockIdx.x % across * blockDim.x + threadIdx.x;
    return p < area;
}
// Along one dimension: the window that has `at` under tap `k`, negative where there is none.
__device__ __forceinline__ int window(int at, int k, int stride, int padding, int dilation) {
    int w = at + padding - k * dilation;
    return stride == 1 ? w : w % stride ? -1 : w / stride;
}
"""
_MAX = Kernel("max_pool", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ y, unsigned char* bytes, int* taps, """ + _GEOMETRY + r""") {
    long long plane; int p;
    if (!placed(o0 * o1 * o2, plane, p)) return;
    const T* in = x + plane * d0 * d1 * d2;
    int a0 = p / (o1 * o2) * s0 - p0, b0 = p / o2 % o1 * s1 - p1, c0 = p % o2 * s2 - p2, tap = -1;
    A best = lowest<A>();
    for (int i = 0, a = a0; i < k0; i++, a += l0) {
        if ((unsigned)a >= (unsigned)d0) continue;
        for (int j = 0, b = b0; j < k1; j++, b += l1) {
            if ((unsigned)b >= (unsigned)d1) continue;
            for (int k = 0, c = c0; k < k2; k++, c += l2) {
                if ((unsigned)c >= (unsigned)d2) continue;
                A v = load(in[(a * d1 + b) * d2 + c]);
                if (tap < 0 || v > best || v != v) { best = v; tap = (i * k1 + j) * k2 + k; }
            }
        }
    }
    long long to = plane * o0 * o1 * o2 + p;
    store(y + to, best);
    if (bytes) bytes[to] = tap < 0 ? 255 : tap;
    if (taps) taps[to] = tap < 0 ? 0x7fffffff : tap;
}
""", FLOATS + INTEGERS)
# An element gets the gradient of each window whose maximum it is.
_MAX_GRADIENT = Kernel("max_pool_gradient", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const unsigned char* __restrict__ bytes, const int* __restrict__ taps, T* __restrict__ gx, """ + _GEOMETRY + r""") {
    long long plane; int p;
    if (!placed(d0 * d1 * d2, plane, p)) return;
    int a0 = p / (d1 * d2), b0 = p / d2 % d1, c0 = p % d2;
    A sum = (A)0;
    for (int i = 0; i < k0; i++) {
        int a = window(a0, i, s0, p0, l0);
        if ((unsigned)a >= (unsigned)o0) continue;
        for (int j = 0; j < k1; j++) {
            int b = window(b0, j, s1, p1, l1);
            if ((unsigned)b >= (unsigned)o1) continue;
            for (int k = 0; k < k2; k++) {
                int c = window(c0, k, s2, p2, l2);
                if ((unsigned)c >= (unsigned)o2) continue;
                long long at = ((plane * o0 + a) * o1 + b) * o2 + c;
                if ((bytes ? bytes[at] : taps[at]) == (i * k1 + j) * k2 + k) sum += load(g[at]);
            }
        }
    }
    store(gx + plane * d0 * d1 * d2 + p, sum);
}
""", FLOATS)
_MAX_PLACES = Kernel("max_pool_places", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ taps, long long* __restrict__ index, """ + _GEOMETRY + r""") {
    long long plane; int p;
    if (!placed(o0 * o1 * o2, plane, p)) return;
    long long at = plane * o0 * o1 * o2 + p;
    int tap = taps[at];
    int a = p / (o1 * o2) * s0 - p0 + tap / (k1 * k2) * l0, b = p / o2 % o1 * s1 - p1 + tap / k2 % k1 * l1, c = p % o2 * s2 - p2 + tap % k2 * l2;
    index[at] = tap < k0 * k1 * k2 ? ((long long)a * d1 + b) * d2 + c : 0;
}
""", ("uint8", "int32"))
_AVERAGE = Kernel("sum_pool", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ y, """ + _GEOMETRY + r""") {
    long long plane; int p;
    if (!placed(o0 * o1 * o2, plane, p)) return;
    const T* in = x + plane * d0 * d1 * d2;
    int a0 = p / (o1 * o2) * s0 - p0, b0 = p / o2 % o1 * s1 - p1, c0 = p % o2 * s2 - p2;
    A sum = (A)0;
    for (int a = max(a0, 0); a < min(a0 + k0, d0); a++)
        for (int b = max(b0, 0); b < min(b0 + k1, d1); b++)
            for (int c = max(c0, 0); c < min(c0 + k2, d2); c++) sum += load(in[(a * d1 + b) * d2 + c]);
    store(y + plane * o0 * o1 * o2 + p, sum);
}
""", FLOATS + INTEGERS)
_AVERAGE_GRADIENT = Kernel("sum_pool_gradient", _COMMON + r"""
extern "C" __global__ void kernel(const T* __restrict__ g, T* __restrict__ gx, """ + _GEOMETRY + r""") {
    long long plane; int p;
    if (!placed(d0 * d1 * d2, plane, p)) return;
    const T* above = g + plane * o0 * o1 * o2;
    int a0 = p / (d1 * d2), b0 = p / d2 % d1, c0 = p % d2;
    A sum = (A)0;
    for (int i = 0; i < k0; i++) {
        int a = window(a0, i, s0, p0, 1);
        if ((unsigned)a >= (unsigned)o0) continue;
        for (int j = 0; j < k1; j++) {
            int b = window(b0, j, s1, p1, 1);
            if ((unsigned)b >= (unsigned)o1) continue;
            for (int k = 0; k < k2; k++) {
                int c = window(c0, k, s2, p2, 1);
                if ((unsigned)c < (unsigned)o2) sum += load(above[(a * o1 + b) * o2 + c]);
            }
        }
    }
    store(gx + plane * d0 * d1 * d2 + p, sum);
}
""", FLOATS)
_ADAPTIVE = _COMMON + r"""
__device__ __forceinline__ int first(int i, int n, int out) { return (int)((long long)i * n / out); }
__device__ __forceinline__ int end(int i, int n, int out) { return (int)(((long long)(i + 1) * n + out - 1) / out); }
"""
_ADAPTIVE_AVERAGE = Kernel("adaptive_average_pool", _ADAPTIVE + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ y, int d0, int d1, int d2, int o0, int o1, int o2) {
    long long plane; int p;
    if (!placed(o0 * o1 * o2, plane, p)) return;
    const T* in = x + plane * d0 * d1 * d2;
    int i = p / (o1 * o2), j = p / o2 % o1, k = p % o2;
    int a0 = first(i, d0, o0), a1 = end(i, d0, o0), b0 = first(j, d1, o1), b1 = end(j, d1, o1), c0 = first(k, d2, o2), c1 = end(k, d2, o2);
    A sum = (A)0;
    for (int a = a0; a < a1; a++) for (int b = b0; b < b1; b++) for (int c = c0; c < c1; c++) sum += load(in[(a * d1 + b) * d2 + c]);
    store(y + plane * o0 * o1 * o2 + p, sum / (A)((a1 - a0) * (b1 - b0) * (c1 - c0)));
}
""", FLOATS)
_ADAPTIVE_AVERAGE_GRADIENT = Kernel("adaptive_average_pool_gradient", _ADAPTIVE + r"""
extern "C" __global__ void kernel(const T* __restrict__ g, T* __restrict__ gx, int d0, int d1, int d2, int o0, int o1, int o2) {
    long long plane; int p;
    if (!placed(d0 * d1 * d2, plane, p)) return;
    const T* above = g + plane * o0 * o1 * o2;
    int a = p / (d1 * d2), b = p / d2 % d1, c = p % d2;
    A sum = (A)0;                                   // the windows with an element are the same rule with sizes exchanged
    for (int i = first(a, o0, d0); i < end(a, o0, d0); i++)
        for (int j = first(b, o1, d1); j < end(b, o1, d1); j++)
            for (int k = first(c, o2, d2); k < end(c, o2, d2); k++) {
                int count = (end(i, d0, o0) - first(i, d0, o0)) * (end(j, d1, o1) - first(j, d1, o1)) * (end(k, d2, o2) - first(k, d2, o2));
                sum += load(above[(i * o1 + j) * o2 + k]) / (A)count;
            }
    store(gx + plane * d0 * d1 * d2 + p, sum);
}
""", FLOATS)
_ADAPTIVE_MAX = Kernel("adaptive_max_pool", _ADAPTIVE + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, long long* __restrict__ index, int d0, int d1, int d2, int o0, int o1, int o2) {
    long long plane; int p;
    if (!placed(o0 * o1 * o2, plane, p)) return;
    const T* in = x + plane * d0 * d1 * d2;
    int i = p / (o1 * o2), j = p / o2 % o1, k = p % o2, at = -1;
    A best = (A)0;
    for (int a = first(i, d0, o0); a < end(i, d0, o0); a++)
        for (int b = first(j, d1, o1); b < end(j, d1, o1); b++)
            for (int c = first(k, d2, o2); c < end(k, d2, o2); c++) {
                A v = load(in[(a * d1 + b) * d2 + c]);
                if (at < 0 || v > best || v != v) { best = v; at = (a * d1 + b) * d2 + c; }
            }
    index[plane * o0 * o1 * o2 + p] = at;
}
""", FLOATS + INTEGERS)


def _launch(kernel: Kernel, dtype: NumpyDtype, planes: int, area: int, arrays: tuple[Array | np.uint64, ...], *sizes: Sizes) -> None:
    """One thread per element of `area` on each plane."""
    threads = min(THREADS, -(-area // 32) * 32)
    if planes * area:
        kernel(dtype.name)((blocks(area, threads) * planes,), (threads,), (*arrays, *[np.int32(v) for each in sizes for v in each]))


def _sizes(size: Sizes, kernel: Sizes, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes | None = None) -> tuple[Sizes, ...]:
    return (three(size, 1), three(kernel, 1), three(out, 1), three(stride, 1), three(padding, 0), three(dilation or (), 1))


def _maxima(x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, taps: Array | None) -> Array:
    module = driver.needed()
    y = module.empty(x.shape[:2] + tuple(out), x.dtype)
    _launch(_MAX, x.dtype, x.shape[0] * x.shape[1], prod(out), (module.ascontiguousarray(x), y, *_either(taps)),
            *_sizes(x.shape[2:], kernel, out, stride, padding, dilation))
    return y


def max_forward(x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """The largest value of each window of x (N, C, *size)."""
    return _maxima(x, out, kernel, stride, padding, dilation, None)


def max_with_taps(x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> tuple[Array, Array]:
    """The same, and the number of the tap that meets it, in bytes where that is enough."""
    taps = driver.needed().empty(x.shape[:2] + tuple(out), np.uint8 if prod(kernel) < 255 else np.int32)
    return _maxima(x, out, kernel, stride, padding, dilation, taps), taps


def _either(taps: Array | None) -> tuple[Array | np.uint64, Array | np.uint64]:
    """The arguments `bytes` and `taps`, one of them the null pointer."""
    null = np.uint64(0)
    return (null, null) if taps is None else (taps, null) if taps.dtype.itemsize == 1 else (null, taps)


def max_gradient(g: Array, taps: Array, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """The gradient of the input."""
    module = driver.needed()
    gx = module.empty(g.shape[:2] + tuple(size), g.dtype)
    _launch(_MAX_GRADIENT, g.dtype, g.shape[0] * g.shape[1], prod(size), (module.ascontiguousarray(g), *_either(taps), gx),
            *_sizes(size, kernel, g.shape[2:], stride, padding, dilation))
    return gx


def max_places(taps: Array, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """The flat place (int64) of each window's maximum in its plane."""
    index = driver.needed().empty(taps.shape, np.int64)
    _launch(_MAX_PLACES, taps.dtype, taps.shape[0] * taps.shape[1], prod(taps.shape[2:]), (taps, index),
            *_sizes(size, kernel, taps.shape[2:], stride, padding, dilation))
    return index


def _planes(kernel: Kernel, x: Array, size: Sizes, dtype: NumpyDtype, *sizes: Sizes) -> Array:
    """A new array of planes of this size, each filled by the kernel from the plane of x."""
    module = driver.needed()
    y = module.empty(x.shape[:2] + tuple(size), dtype)
    _launch(kernel, x.dtype, x.shape[0] * x.shape[1], prod(size), (module.ascontiguousarray(x), y), *sizes)
    return y


def average(x: Array, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Array:
    """The sum of each window."""
    return _planes(_AVERAGE, x, out, x.dtype, *_sizes(x.shape[2:], kernel, out, stride, padding))


def average_gradient(g: Array, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Array:
    """The adjoint of `average`."""
    return _planes(_AVERAGE_GRADIENT, g, size, g.dtype, *_sizes(size, kernel, g.shape[2:], stride, padding))


def adaptive_average(x: Array, out: Sizes) -> Array:
    """The mean of each adaptive window."""
    if x.dtype.kind not in "fV" or 0 in out:
        return NotImplemented
    return _planes(_ADAPTIVE_AVERAGE, x, out, x.dtype, three(x.shape[2:], 1), three(out, 1))


def adaptive_average_gradient(g: Array, size: Sizes) -> Array:
    """The adjoint of `adaptive_average`."""
    return _planes(_ADAPTIVE_AVERAGE_GRADIENT, g, size, g.dtype, three(size, 1), three(g.shape[2:], 1))


def adaptive_max_indices(x: Array, out: Sizes) -> Array:
    """The flat place, int64, of each adaptive window's maximum."""
    return _planes(_ADAPTIVE_MAX, x, out, np.dtype(np.int64), three(x.shape[2:], 1), three(out, 1))
