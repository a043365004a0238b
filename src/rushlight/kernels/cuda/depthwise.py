"""Depthwise convolution (one input channel per group): a thread per element, no shared memory; the weight gradient sums by blocks, in a
fixed order."""

from __future__ import annotations

from math import prod

import numpy as np

from ...vocabulary import Array
from . import driver
from .implicit_gemm import SUM_SLICES
from .source import ACCUMULATE, THREADS, Kernel, blocks

__all__ = ["forward", "input_gradient", "weight_gradient", "three"]

Sizes = tuple[int, ...]
_GEOMETRY = ("int outputs, int per, int d0, int d1, int d2, int k0, int k1, int k2, int o0, int o1, int o2, int s0, int s1, int s2, "
             "int p0, int p1, int p2, int l0, int l1, int l2")
_FORWARD = Kernel("depthwise", r"""
extern "C" __global__ void kernel(const T* __restrict__ x, const T* __restrict__ w, const T* bias, T* __restrict__ y, """ + _GEOMETRY + r""") {
    int area = o0 * o1 * o2, across = (area + blockDim.x - 1) / blockDim.x;
    int p = blockIdx.x % across * blockDim.x + threadIdx.x;
    long long plane = blockIdx.x / across;                   // sample * outputs + output
    if (p >= area) return;
    int o = (int)(plane % outputs);
    const T *in = x + (plane / outputs * (outputs / per) + o / per) * d0 * d1 * d2, *weight = w + (long long)o * k0 * k1 * k2;
    int a0 = p / (o1 * o2) * s0 - p0, b0 = p / o2 % o1 * s1 - p1, c0 = p % o2 * s2 - p2;
    A sum = bias ? load(bias[o]) : (A)0;
    for (int i = 0; i < k0; i++) {
        int a = a0 + i * l0;
        if ((unsigned)a >= (unsigned)d0) { weight += k1 * k2; continue; }
        for (int j = 0; j < k1; j++, weight += k2) {
            int b = b0 + j * l1;
            if ((unsigned)b >= (unsigned)d1) continue;
            const T* line = in + ((long long)a * d1 + b) * d2;
            for (int k = 0; k < k2; k++) {
                int c = c0 + k * l2;
                if ((unsigned)c < (unsigned)d2) sum += load(line[c]) * load(weight[k]);
            }
        }
    }
    store(y + plane * area + p, sum);
}
""")
_INPUT = Kernel("depthwise_input_gradient", r"""
// Along one dimension: the output position that reads `at` with tap `k`, negative where there is none.
__device__ __forceinline__ int reader(int at, int k, int stride, int padding, int dilation) {
    int w = at + padding - k * dilation;
    return stride == 1 ? w : w % stride ? -1 : w / stride;
}
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ w, T* __restrict__ gx, """ + _GEOMETRY + r""") {
    int area = d0 * d1 * d2, across = (area + blockDim.x - 1) / blockDim.x;
    int p = blockIdx.x % across * blockDim.x + threadIdx.x;
    long long plane = blockIdx.x / across;                   // sample * channels + channel; its outputs are side by side
    if (p >= area) return;
    int channels = outputs / per, first = (int)(plane % channels) * per, a0 = p / (d1 * d2), b0 = p / d2 % d1, c0 = p % d2;
    A sum = (A)0;
    for (int m = 0; m < per; m++) {
        const T *above = g + (plane * per + m) * o0 * o1 * o2, *weight = w + (long long)(first + m) * k0 * k1 * k2;
        for (int i = 0; i < k0; i++) {
            int a = reader(a0, i, s0, p0, l0);
            if ((unsigned)a >= (unsigned)o0) continue;
            for (int j = 0; j < k1; j++) {
                int b = reader(b0, j, s1, p1, l1);
                if ((unsigned)b >= (unsigned)o1) continue;
                for (int k = 0; k < k2; k++) {
                    int c = reader(c0, k, s2, p2, l2);
                    if ((unsigned)c < (unsigned)o2) sum += load(above[((long long)a * o1 + b) * o2 + c]) * load(weight[(i * k1 + j) * k2 + k]);
                }
            }
        }
    }
    store(gx + plane * area + p, sum);
}
""")
# A block takes one output channel and a slice of the samples, 8 taps at a time.
_WEIGHT = Kernel("depthwise_weight_gradient", r"""
extern "C" __global__ void kernel(const T* __restrict__ x, const T* __restrict__ g, A* __restrict__ partial, int samples, int per_slice, """ + _GEOMETRY + r""") {
    int o = blockIdx.x, area = o0 * o1 * o2, taps = k0 * k1 * k2, channels = outputs / per;
    int from = blockIdx.y * per_slice, count = min(per_slice, samples - from) * area;
    for (int first = 0; first < taps; first += 8) {
        A sums[8] = {};
        for (int i = threadIdx.x; i < count; i += blockDim.x) {
            int n = i / area, p = i - n * area;
            long long sample = from + n;
            A above = load(g[(sample * outputs + o) * area + p]);
            const T* in = x + (sample * channels + o / per) * d0 * d1 * d2;
            int a0 = p / (o1 * o2) * s0 - p0, b0 = p / o2 % o1 * s1 - p1, c0 = p % o2 * s2 - p2;
#pragma unroll
            for (int t = 0; t < 8; t++) {
                int tap = first + t;
                if (tap >= taps) break;
                int a = a0 + tap / (k1 * k2) * l0, b = b0 + tap / k2 % k1 * l1, c = c0 + tap % k2 * l2;
                if ((unsigned)a < (unsigned)d0 && (unsigned)b < (unsigned)d1 && (unsigned)c < (unsigned)d2)
                    sums[t] += above * load(in[((long long)a * d1 + b) * d2 + c]);
            }
        }
        for (int t = 0; t < 8 && first + t < taps; t++) {
            A sum = block_sum(sums[t]);
            if (threadIdx.x == 0) partial[((long long)blockIdx.y * outputs + o) * taps + first + t] = sum;
        }
    }
}
""")


def three(values: Sizes, fill: int) -> Sizes:
    """Sizes of 1, 2 or 3 dimensions as those of 3."""
    return (fill,) * (3 - len(values)) + tuple(values)


def _geometry(outputs: int, channels: int, size: Sizes, kernel: Sizes, out: Sizes, stride: Sizes, padding: Sizes,
              dilation: Sizes) -> list[np.int32]:
    return [np.int32(v) for v in (outputs, outputs // channels, *three(size, 1), *three(kernel, 1), *three(out, 1), *three(stride, 1),
                                  *three(padding, 0), *three(dilation, 1))]


def _threads(area: int) -> int:
    return min(THREADS, -(-area // 32) * 32)


def forward(x: Array, w: Array, bias: Array | None, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """The convolution, (N, O, *out), of contiguous x (N, C, *size) with w (O, 1, *kernel); O is a multiple of C."""
    y = driver.needed().empty((x.shape[0], w.shape[0], *out), x.dtype)
    threads = _threads(prod(out))
    _FORWARD(x.dtype.name)((blocks(prod(out), threads) * x.shape[0] * w.shape[0],), (threads,), (
        x, w, np.uint64(0) if bias is None else bias, y,
        *_geometry(w.shape[0], x.shape[1], x.shape[2:], w.shape[2:], out, stride, padding, dilation)))
    return y


def input_gradient(g: Array, w: Array, channels: int, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """The gradient of the input, (N, C, *size)."""
    gx = driver.needed().empty((g.shape[0], channels, *size), g.dtype)
    threads = _threads(prod(size))
    _INPUT(g.dtype.name)((blocks(prod(size), threads) * g.shape[0] * channels,), (threads,), (
        g, w, gx, *_geometry(w.shape[0], channels, size, w.shape[2:], g.shape[2:], stride, padding, dilation)))
    return gx


def weight_gradient(x: Array, g: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Array:
    """The gradient of the weight, (O, 1, *kernel)."""
    module = driver.needed()
    samples, outputs, area = g.shape[0], g.shape[1], prod(g.shape[2:])
    slices = max(1, min(samples, 1024 // outputs, -(-samples * area // 2048)))
    per_slice = min(-(-samples // slices), max(1, (1 << 30) // area))
    slices = -(-samples // per_slice)
    total = outputs * prod(kernel)
    partial = module.empty((slices, total), np.float64 if ACCUMULATE[x.dtype.name] == "double" else np.float32)
    _WEIGHT(x.dtype.name)((outputs, slices), (THREADS,), (x, g, partial, np.int32(samples), np.int32(per_slice), *_geometry(
        outputs, x.shape[1], x.shape[2:], kernel, g.shape[2:], stride, padding, dilation)))
    gw = module.empty((outputs, 1, *kernel), x.dtype)
    SUM_SLICES(x.dtype.name)((blocks(total),), (THREADS,),
                             (partial, gw, np.int64(total), np.int32(slices), np.int32(1), np.int32(1), np.int32(prod(kernel))))
    return gw
