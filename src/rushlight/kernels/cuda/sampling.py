"""Samplers with a stream per thread: permutations, multinomial, Poisson and gamma numbers.

Thread and element have the same number; each thread takes its Philox words one after the other, as cuRAND's ``curand``, ``curand_uniform``
and ``curand_normal`` do. Which of them give PyTorch's numbers stands in docs/cuda.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...vocabulary import Array
from . import driver
from .philox import FLOATS, PHILOX, STATE, integers
from .source import Kernel, blocks

if TYPE_CHECKING:
    from ...cuda.generator import CudaGenerator

__all__ = ["permutation", "multinomial", "poisson", "standard_gamma"]

_STREAM = PHILOX + r"""
struct Stream {
    unsigned long long seed, offset, id, step;
    unsigned word[4];
    int used;
    float waiting;
    bool waits;
    __device__ __forceinline__ Stream(unsigned long long s, unsigned long long o, unsigned long long i, const unsigned long long* cell)
        : seed(s), offset(o), id(i), step(0), used(4), waiting(0), waits(false) { if (cell) { seed = cell[0]; offset += cell[1]; } }
    __device__ __forceinline__ uint4 four() { return draw(seed, offset, id, step++); }
    __device__ unsigned next() {
        if (used == 4) { uint4 q = four(); word[0] = q.x; word[1] = q.y; word[2] = q.z; word[3] = q.w; used = 0; }
        return word[used++];
    }
    __device__ __forceinline__ float uniform() { return unit(next()); }
    __device__ float normal() {            // the second of a pair waits
        if (waits) { waits = false; return waiting; }
        unsigned x = next(), y = next();
        float r;
        box_muller(x, y, &r, &waiting);
        waits = true;
        return r;
    }
};
"""

# Keys are sorted; where some are equal (an island), a shuffle decides (Fisher and Yates).
_ISLANDS = Kernel("random_permutation_islands", _STREAM + r"""
extern "C" __global__ void kernel(const T* __restrict__ keys, long long* __restrict__ places, long long bits, long long n, """ + STATE + r""") {
    long long at = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    T mask = (T)bits;
    if (at >= n - 1 || (keys[at] & mask) != (keys[at + 1] & mask) || (at && (keys[at] & mask) == (keys[at - 1] & mask))) return;
    long long size = 1;
    while (at + size < n && (keys[at + size] & mask) == (keys[at] & mask)) size++;
    Stream stream(seed, offset, at, cell);
    for (long long i = size - 1; i > 0; i--) {
        long long other = stream.next() % (unsigned)(i + 1), moved = places[at + i];
        places[at + i] = places[at + other];
        places[at + other] = moved;
    }
}
""", ("int32", "int64"))

# One thread per sample: the first place where the cumulative distribution reaches a uniform number, back over places of weight zero.
_MULTINOMIAL = Kernel("random_multinomial", _STREAM + r"""
extern "C" __global__ void kernel(const T* __restrict__ cumulative, const T* __restrict__ weights, long long* __restrict__ out, long long rows, int samples,
                                  int categories, """ + STATE + r""") {
    Stream stream(seed, offset, blockIdx.y * (unsigned long long)gridDim.x * blockDim.x + blockIdx.x * blockDim.x + threadIdx.x, cell);
    int sample = blockIdx.x * blockDim.x + threadIdx.x;
    if (sample >= samples) return;
    for (long long row = blockIdx.y; row < rows; row += gridDim.y) {
        T r;
        put(&r, unit(stream.four().x));
        const T *c = cumulative + row * categories, *w = weights + row * categories;
        int start = 0, end = categories;
        while (start < end) {
            int middle = start + (end - start) / 2;
            if (load(c[middle]) < load(r)) start = middle + 1; else end = middle;
        }
        if (start == categories) start--;
        while (start >= 1 && load(w[start]) == 0) start--;
        out[row * samples + sample] = start;
    }
}
""", FLOATS)

# Small rates: multiply uniform numbers (Knuth). Large ones: a rounded normal number. Between: transformed rejection (Hoermann 1993, PTRS).
_POISSON = Kernel("random_poisson", _STREAM + r"""
extern "C" __global__ void kernel(const T* __restrict__ rates, T* __restrict__ out, long long n, """ + STATE + r""") {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    double rate = load(rates[i]);
    if (!(rate >= 0)) __trap();
    Stream stream(seed, offset, i, cell);
    double count = 0;
    if (rate < 64) {
        float p = expf((float)rate);
        do { count += 1; p *= stream.uniform(); } while (p > 1.0f);
        count -= 1;
    } else if (rate > 4000) {
        double a, b;
        box_muller2(stream.four(), &a, &b);
        count = floor(sqrt(rate) * a + rate + 0.5);
    } else {
        double root = sqrt(rate), log_rate = log(rate), b = 0.931 + 2.53 * root, a = -0.059 + 0.02483 * b, sure = 0.9277 - 3.6224 / (b - 2);
        double inverse = 1.1239 + 1.1328 / (b - 3.4);
        for (;;) {
            uint4 q = stream.four();
            double u = unit2(q.x, q.y) - 0.5, v = unit2(q.z, q.w), us = 0.5 - fabs(u);
            count = us > 0 ? floor((2 * a / us + b) * u + rate + 0.43) : -1.0;
            if (us >= 0.07 && v <= sure) break;
            if (count < 0 || (us < 0.013 && v > us)) continue;
            if (log(v) + log(inverse) - log(a / (us * us) + b) <= -rate + count * log_rate - lgamma(count + 1)) break;
        }
    }
    put(out + i, count);
}
""", FLOATS)

# Marsaglia and Tsang, "A simple method for generating gamma variables", 2000; shapes below one are drawn one higher and scaled back.
_GAMMA = Kernel("random_gamma", _STREAM + r"""
extern "C" __global__ void kernel(const T* __restrict__ shapes, T* __restrict__ out, long long n, double least, """ + STATE + r""") {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    Stream stream(seed, offset, i, cell);
    A shape = load(shapes[i]), scale = 1, r = 0;
    if (shape < 1) {
        if (shape > 0) scale = pow_((A)(1 - stream.uniform()), (A)1 / shape);
        else scale = shape != shape ? shape : (A)0;
        shape += 1;
    }
    if (scale != 0) {
        A d = shape - (A)1 / (A)3, c = (A)1 / sqrt_((A)9 * d);
        for (;;) {
            A x, y;
            do { x = stream.normal(); y = 1 + c * x; } while (y <= 0);
            A v = y * y * y, u = 1 - stream.uniform(), xx = x * x;
            if (u < (A)1 - (A)0.0331 * xx * xx || log_(u) < (A)0.5 * xx + d * (1 - v + log_(v)) || d != d) { r = scale * d * v; break; }
        }
    }
    put(out + i, r < (A)least ? (A)least : r);
}
""", FLOATS)


def key_bits(n: int) -> int:
    """How many bits random keys need, that n of them are all different with probability 0.9."""
    return min(64, math.ceil(math.log2(n - (6.0 * n * n + 1) / (math.log(0.9) * 12))))


def permutation(gen: CudaGenerator, n: int) -> Array:
    """A random permutation of 0 ... n - 1 (int64): sorted by random keys; where keys are equal, shuffled."""
    module = driver.needed()
    if n == 0:
        return module.empty(0, np.int64)
    bits = key_bits(n)
    integer: type[np.int32 | np.int64] = np.int32 if bits <= 32 else np.int64
    dtype, least, most = np.dtype(integer), int(np.iinfo(integer).min), int(np.iinfo(integer).max)
    keys = module.empty(n, dtype)
    integers(keys, gen, least, most - least)
    mask = -1 if bits == 8 * dtype.itemsize else (1 << bits) - 1
    if mask != -1:
        keys &= dtype.type(mask)
    places = module.argsort(keys)
    _ISLANDS(dtype.name)((blocks(n, 512),), (512,), (keys[places], places, np.int64(mask), np.int64(n), *gen.advance(n)))
    return places


def multinomial(gen: CudaGenerator, weights: Array, samples: int) -> Array:
    """For each row of weights (2-D, normalised here), that many places, drawn with replacement."""
    module = driver.needed()
    rows, categories = weights.shape
    wide = weights.astype(np.float32) if weights.dtype.itemsize == 2 else weights
    share = module.ascontiguousarray((wide / wide.sum(-1, keepdims=True)).astype(weights.dtype, copy=False))
    cumulative = module.cumsum(share.astype(wide.dtype, copy=False), -1).astype(weights.dtype, copy=False)
    out = module.empty((rows, samples), np.int64)
    high = min(rows, 65535)
    _MULTINOMIAL(weights.dtype.name)((blocks(samples, 128), high), (128,),
                                     (cumulative, share, out, np.int64(rows), np.int32(samples), np.int32(categories),
                                                                          *gen.advance(((rows - 1) // high + 1) * 4)))
    return out


def _per_element(kernel: Kernel, gen: CudaGenerator, a: Array, offset: int, *parameters: np.generic) -> Array:
    module = driver.needed()
    a = module.ascontiguousarray(a)
    out = module.empty(a.shape, a.dtype)
    if a.size:
        kernel(a.dtype.name)((blocks(a.size, 512),), (512,), (a, out, np.int64(a.size), *parameters, *gen.advance(offset)))
    return out


def poisson(gen: CudaGenerator, rates: Array) -> Array:
    """Poisson counts of these rates. The device stops at negative ones."""
    return _per_element(_POISSON, gen, rates, 20)


def standard_gamma(gen: CudaGenerator, shapes: Array, least: float) -> Array:
    """Gamma numbers of rate 1 with these shape parameters, none below `least`."""
    return _per_element(_GAMMA, gen, shapes, 10, np.float64(least))
