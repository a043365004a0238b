"""Random numbers on the GPU: the Philox4x32-10 counters that PyTorch's CUDA generator uses.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011. The key is the seed. The upper half of the counter is the
thread's number, the lower half the generator's offset divided by four plus the step of the thread's loop. A launch has
``min(blocks that fit the GPU at once, enough for all elements)`` blocks of 256 threads; each step of the loop gives a thread four numbers,
which go to four elements one grid apart (two for float64). So the numbers depend on how many multiprocessors the GPU has, as PyTorch's do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...cuda import driver
from .source import Kernel

__all__ = ["PHILOX", "uniform", "normal", "bernoulli", "exponential", "integers", "dropout", "increment", "philox_numbers", "philox_words"]

BLOCK = 256
PHILOX = r"""
__device__ __forceinline__ uint4 philox(unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned k0, unsigned k1) {
    for (int round = 0; round < 10; round++) {
        unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0, h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0; c1 = l1; c2 = h0 ^ c3 ^ k1; c3 = l0;
        k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
    }
    return make_uint4(c0, c1, c2, c3);
}
// What thread `id` draws in step `step` of its loop, from a generator at `offset` (in single numbers, a multiple of four).
__device__ __forceinline__ uint4 draw(unsigned long long seed, unsigned long long offset, unsigned long long id, unsigned long long step) {
    unsigned long long at = offset / 4 + step;
    return philox((unsigned)at, (unsigned)(at >> 32), (unsigned)id, (unsigned)(id >> 32), (unsigned)seed, (unsigned)(seed >> 32));
}
__device__ __forceinline__ float unit(unsigned v) { return v * 2.3283064e-10f + 1.1641532e-10f; }        // in (0, 1]
__device__ __forceinline__ double unit2(unsigned a, unsigned b) {
    unsigned long long z = (unsigned long long)a ^ ((unsigned long long)b << 21);
    return z * 1.1102230246251565e-16 + 5.5511151231257827e-17;
}
"""
# The loop that all distributions share: MAKE fills v[] of D (float or double) from the four words q.
_LOOP = r"""
extern "C" __global__ void kernel(T* __restrict__ out, long long n, unsigned long long seed, unsigned long long offset, double p0, double p1) {
    const int UNROLL = sizeof(D) == 8 && %(wide)d ? 2 : 4;
    long long threads = (long long)gridDim.x * blockDim.x, id = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    long long rounded = ((n - 1) / (threads * UNROLL) + 1) * threads * UNROLL;
    unsigned long long step = 0;
    for (long long at = id; at < rounded; at += threads * UNROLL, step++) {
        uint4 q = draw(seed, offset, id, step);
        D v[4];
        %(make)s
        for (int k = 0; k < UNROLL; k++) {
            long long i = at + threads * k;
            if (i < n) { D u = v[k]; %(store)s }
        }
    }
}
"""
_UNIT = ("if (sizeof(D) == 8) { v[0] = unit2(q.x, q.y); v[1] = unit2(q.z, q.w); } "
         "else { v[0] = unit(q.x); v[1] = unit(q.y); v[2] = unit(q.z); v[3] = unit(q.w); }")
# Box and Muller: of each pair of words, the sine first.
_NORMAL = r"""
        if (sizeof(D) == 8) {
            double s = sqrt(-2.0 * log(unit2(q.x, q.y))), w = unit2(q.z, q.w) * 6.283185307179586;
            v[0] = s * sin(w); v[1] = s * cos(w);
        } else {
            float a = sqrtf(-2.0f * logf(unit(q.x))), w = q.y * 1.46291807e-09f + 7.3145904e-10f;
            float b = sqrtf(-2.0f * logf(unit(q.z))), z = q.w * 1.46291807e-09f + 7.3145904e-10f;
            v[0] = a * sinf(w); v[1] = a * cosf(w); v[2] = b * sinf(z); v[3] = b * cosf(z);
        }"""
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_ALL = (*_FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")


def _distribution(name: str, make: str, store: str, dtypes: tuple[str, ...] = _FLOATS, wide: bool = True, type_: str = "A") -> Kernel:
    return Kernel(f"random_{name}", PHILOX + f"typedef {type_} D;\n" + _LOOP % {"make": make, "store": store, "wide": wide}, dtypes)


_UNIFORM = _distribution("uniform", _UNIT, "store(out + i, (A)((u == (D)1 ? (D)0 : u) * (D)(p1 - p0) + (D)p0));")
_GAUSS = _distribution("normal", _NORMAL, "store(out + i, (A)(u * (D)p1 + (D)p0));")
_EXPONENTIAL = _distribution("exponential", _UNIT, "D l = u >= (D)1 - (sizeof(D) == 8 ? (D)1.1102230246251565e-16 : (D)5.9604645e-08) ? "
                             "(sizeof(D) == 8 ? (D)-1.1102230246251565e-16 : (D)-5.9604645e-08) : log_(u); store(out + i, (A)(-l / (D)p0));")
_BERNOULLI = _distribution("bernoulli", _UNIT, "out[i] = (T)(u <= (D)p0);", ("int64", "int32", "int16", "int8", "uint8", "bool"), type_="float")
_BERNOULLI_FLOAT = _distribution("bernoulli_float", _UNIT, "store(out + i, (A)(u <= (D)p0));", _FLOATS)
_INTEGERS = _distribution("integers", "v[0] = q.x; v[1] = q.y; v[2] = q.z; v[3] = q.w;",
                          "out[i] = (T)((long long)(u % (unsigned)(unsigned long long)p1) + (long long)p0);",
                          ("int64", "int32", "int16", "int8", "uint8"), wide=False, type_="unsigned")
_DROPOUT = Kernel("random_dropout", PHILOX + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ y, bool* kept, long long n, unsigned long long seed,
                                  unsigned long long offset, double keep) {
    long long threads = (long long)gridDim.x * blockDim.x, id = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    A scale = (A)1 / (A)keep;
    unsigned long long step = 0;
    for (long long at = id * 4; at < n; at += threads * 4, step++) {
        uint4 q = draw(seed, offset, id, step);
        unsigned words[4] = {q.x, q.y, q.z, q.w};
        for (int k = 0; k < 4 && at + k < n; k++) {
            bool keeps = unit(words[k]) < (float)keep;
            kept[at + k] = keeps;
            store(y + at + k, keeps ? load(x[at + k]) * scale : (A)0);
        }
    }
}
""")


def grid(n: int, unroll: int = 1) -> int:
    """Blocks of a launch over n elements: as many as the GPU holds at once, at most one per 256 elements (times `unroll`)."""
    attributes = driver.needed().cuda.Device().attributes
    return max(1, min(-(-n // (BLOCK * unroll)), attributes["MultiProcessorCount"] * (attributes["MaxThreadsPerMultiProcessor"] // BLOCK)))


def increment(n: int, blocks: int, unroll: int = 4) -> int:
    """By how much a launch moves the generator's offset on."""
    return ((n - 1) // (BLOCK * blocks * unroll) + 1) * 4


def _fill(kernel: Kernel, out: Any, gen: Any, p0: float, p1: float = 0.0, unroll: int = 0) -> None:
    """Fill a contiguous cupy array from a generator."""
    n = out.size
    if not n:
        return
    unroll = unroll or (2 if out.dtype == np.float64 else 4)
    blocks = grid(n)
    seed, offset = gen.advance(increment(n, blocks, unroll))
    kernel(out.dtype.name)((blocks,), (BLOCK,), (out, np.int64(n), np.uint64(seed), np.uint64(offset), np.float64(p0), np.float64(p1)))


def uniform(out: Any, gen: Any, low: float, high: float) -> None:
    """Uniform numbers of [low, high)."""
    _fill(_UNIFORM, out, gen, low, high)


def normal(out: Any, gen: Any, mean: float, std: float) -> None:
    """Normal numbers."""
    _fill(_GAUSS, out, gen, mean, std)


def exponential(out: Any, gen: Any, rate: float) -> None:
    """Exponential numbers."""
    _fill(_EXPONENTIAL, out, gen, rate)


def bernoulli(out: Any, gen: Any, p: float) -> None:
    """1 with probability p, else 0, in any dtype."""
    _fill(_BERNOULLI_FLOAT if out.dtype.name in _FLOATS else _BERNOULLI, out, gen, p)


def integers(out: Any, gen: Any, low: int, high: int) -> None:
    """Integers of [low, high), for ranges below 2**32."""
    _fill(_INTEGERS, out, gen, low, high - low, unroll=4)


def dropout(x: Any, gen: Any, keep: float) -> tuple[Any, Any]:
    """(x with elements kept with probability `keep` and scaled by 1 / keep, the mask)."""
    module = driver.needed()
    x = module.ascontiguousarray(x)
    y, kept = module.empty(x.shape, x.dtype), module.empty(x.shape, np.bool_)
    if x.size:
        blocks = grid(x.size, 4)
        seed, offset = gen.advance(increment(x.size, blocks))
        _DROPOUT(x.dtype.name)((blocks,), (BLOCK,), (x, y, kept, np.int64(x.size), np.uint64(seed), np.uint64(offset), np.float64(keep)))
    return y, kept


def philox_numbers(seed: int, offset: int, thread: int, steps: int) -> Any:
    """The words that a thread draws in its first steps, computed by NumPy: what the kernels are checked against."""
    counters = [(offset // 4 + step) | thread << 64 for step in range(steps)]
    return philox_words(np.array([[c >> 32 * i & 0xFFFFFFFF for i in range(4)] for c in counters], np.uint64), seed & 0xFFFFFFFF, seed >> 32)


def philox_words(counters: Any, k0: int, k1: int) -> Any:
    """Philox4x32-10 of rows of four counter words, under a key of two."""
    low = np.uint64(0xFFFFFFFF)
    c = list(counters.T)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, 1).astype(np.uint32)
