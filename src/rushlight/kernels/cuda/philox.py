"""Random numbers on the GPU: the Philox4x32-10 counters that PyTorch's CUDA generator uses.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011. The key is the seed. The upper half of the counter is
the thread's number, the lower half the generator's offset divided by four plus the step of the thread's loop. A launch has
``min(blocks that fit the GPU at once, enough for all elements)`` blocks of 256 threads; each step of the loop gives a thread four numbers,
which go to four elements one grid apart (two where a number takes 64 bits). So the numbers depend on how many multiprocessors the GPU has,
as PyTorch's do. Words become numbers by cuRAND's formulas, with the fast functions (``__logf``, ``__sincosf``, ...) where PyTorch has them.

Every kernel ends in three parameters: seed, offset, and a cell. While a CUDA graph is recorded, seed and offset stand in the cell, so that
each replay draws new numbers (cuda/graphs.py); otherwise the cell is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...vocabulary import Array
from . import driver
from .source import Kernel

if TYPE_CHECKING:
    from ...cuda.generator import CudaGenerator
    from .driver import CupyArray

__all__ = ["PHILOX", "STATE", "uniform", "normal", "log_normal", "exponential", "cauchy", "geometric", "bernoulli", "bernoulli_each",
           "integers", "full_range", "dropout", "grid", "increment", "philox_numbers", "philox_words"]

BLOCK = 256
STATE = "unsigned long long seed, unsigned long long offset, const unsigned long long* __restrict__ cell"
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
__device__ __forceinline__ unsigned long long bits53(unsigned a, unsigned b) { return (unsigned long long)a ^ ((unsigned long long)b << 21); }
__device__ __forceinline__ double unit2(unsigned a, unsigned b) { return bits53(a, b) * 1.1102230246251565e-16 + 5.5511151231257827e-17; }
// Box and Muller: of each pair of words, the sine first.
__device__ __forceinline__ void box_muller(unsigned x, unsigned y, float* sine, float* cosine) {
    float s = sqrtf(-2.0f * logf(unit(x))), a, b;
    __sincosf(y * (2.3283064e-10f * 6.2831855f) + (2.3283064e-10f * 6.2831855f) / 2, &a, &b);
    *sine = a * s; *cosine = b * s;
}
__device__ __forceinline__ void box_muller2(uint4 q, double* sine, double* cosine) {
    double s = sqrt(-2.0 * log(unit2(q.x, q.y))), a, b;
    sincospi(bits53(q.z, q.w) * 2.2204460492503131e-16 + 1.1102230246251565e-16, &a, &b);
    *sine = a * s; *cosine = b * s;
}
// What one step gives a thread: four numbers, or two of 64 bits.
__device__ __forceinline__ void uniforms(float* v, uint4 q) { v[0] = unit(q.x); v[1] = unit(q.y); v[2] = unit(q.z); v[3] = unit(q.w); }
__device__ __forceinline__ void uniforms(double* v, uint4 q) { v[0] = unit2(q.x, q.y); v[1] = unit2(q.z, q.w); }
__device__ __forceinline__ void normals(float* v, uint4 q) { box_muller(q.x, q.y, v, v + 1); box_muller(q.z, q.w, v + 2, v + 3); }
__device__ __forceinline__ void normals(double* v, uint4 q) { box_muller2(q, v, v + 1); }
__device__ __forceinline__ void words(unsigned* v, uint4 q) { v[0] = q.x; v[1] = q.y; v[2] = q.z; v[3] = q.w; }
__device__ __forceinline__ void words(unsigned long long* v, uint4 q) {
    v[0] = (unsigned long long)q.x << 32 | q.y; v[1] = (unsigned long long)q.z << 32 | q.w;
}
// The functions that PyTorch uses in the formulas of distributions: fast ones for float.
__device__ __forceinline__ float quick_log(float x) { return __logf(x); }
__device__ __forceinline__ double quick_log(double x) { return log(x); }
__device__ __forceinline__ float quick_log1p(float x) { return __logf(1.0f + x); }
__device__ __forceinline__ double quick_log1p(double x) { return log1p(x); }
__device__ __forceinline__ float quick_exp(float x) { return __expf(x); }
__device__ __forceinline__ double quick_exp(double x) { return exp(x); }
__device__ __forceinline__ float quick_tan(float x) { return __tanf(x); }
__device__ __forceinline__ double quick_tan(double x) { return tan(x); }
template <class P, class V> __device__ __forceinline__ void put(P* p, V v) { *p = (P)v; }
template <class V> __device__ __forceinline__ void put(half_t* p, V v) { store(p, (float)v); }
template <class V> __device__ __forceinline__ void put(bfloat_t* p, V v) { store(p, (float)v); }
// The type that a distribution over elements of type T is computed in: double for double, else float.
template <class X> struct Real { typedef float D; };
template <> struct Real<double> { typedef double D; };
"""
# The loop that all distributions share: `source` fills v[] from the four words of a step, `store` writes the element out[i] from its number
# u.
_LOOP = r"""
extern "C" __global__ void kernel(T* __restrict__ out, long long n, %(parameters)s, """ + STATE + r""") {
    if (cell) { seed = cell[0]; offset += cell[1]; }
    const int EACH = sizeof(D) == 8 ? 2 : 4;
    long long threads = (long long)gridDim.x * blockDim.x, id = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    unsigned long long step = 0;
    for (long long at = id; at < n; at += threads * EACH, step++) {
        D v[EACH];
        %(source)s(v, draw(seed, offset, id, step));
        for (int k = 0; k < EACH; k++) {
            long long i = at + threads * k;
            if (i < n) { D u = v[k]; %(store)s }
        }
    }
}
"""
FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
UNSIGNED = ("uint16", "uint32", "uint64")


def _distribution(name: str, source: str, store: str, dtypes: tuple[str, ...] = FLOATS, number: str = "Real<T>::D",
                  parameters: str = "double p0, double p1, double p2") -> Kernel:
    return Kernel(f"random_{name}", PHILOX + f"typedef {number} D;\n"
                  + _LOOP % {"source": source, "store": store, "parameters": parameters}, dtypes)


_UNIFORM = _distribution("uniform", "uniforms", "T r; put(&r, u * (D)p1 + (D)p0); if (load(r) == (D)p2) put(&r, (D)p0); out[i] = r;")
_NORMAL = _distribution("normal", "normals", "put(out + i, u * (D)p1 + (D)p0);")
_LOG_NORMAL = _distribution("log_normal", "normals", "put(out + i, quick_exp(u * (D)p1 + (D)p0));")
_EXPONENTIAL = _distribution("exponential", "uniforms", "const D half = sizeof(D) == 8 ? (D)1.1102230246251565e-16 : (D)5.9604645e-08; "
                             "D l = u >= (D)1 - half ? -half : quick_log(u); put(out + i, (D)-1 / (D)p0 * l);")
_CAUCHY = _distribution("cauchy", "uniforms", "if (sizeof(D) == 4) { const D e = (D)1.1920929e-07; u = u > (D)1 - e ? (D)1 - e : u < e ? "
                                              "e : u; } "
                        "put(out + i, (D)p0 + (D)p1 * quick_tan((D)3.141592653589793 * (u - (D)0.5)));")
_GEOMETRIC = _distribution("geometric", "uniforms", "put(out + i, ceil(quick_log(u) / quick_log1p(-(D)p0)));", (*FLOATS, *INTEGERS))
_BERNOULLI = _distribution("bernoulli", "uniforms", "put(out + i, u < (D)p0);", (*FLOATS, *INTEGERS, "bool"))
_RANGE = "unsigned long long span, long long low"
_INTEGERS, _WIDE_INTEGERS = (
    _distribution(name, "words", f"put(out + i, (long long)({modulo} + (unsigned long long)low));", (*FLOATS, *INTEGERS, *UNSIGNED, "bool"),
                  number, _RANGE)
    for name, number, modulo in (("integers", "unsigned", "u % (unsigned)span"),
                                 ("wide_integers", "unsigned long long", "(span ? u % span : u)")))

_BERNOULLI_EACH = Kernel("random_bernoulli_each", PHILOX + r"""
extern "C" __global__ void kernel(T* __restrict__ out, const Real<T>::D* __restrict__ p, long long n, """ + STATE + r""") {
    if (cell) { seed = cell[0]; offset += cell[1]; }
    long long id = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    float v[4];
    uniforms(v, draw(seed, offset, id, 0));
    for (int k = 0; k < 4 && id * 4 + k < n; k++) {
        Real<T>::D chance = p[id * 4 + k];
        if (!(chance >= 0 && chance <= 1)) __trap();
        put(out + id * 4 + k, v[k] <= chance);
    }
}
""", (*FLOATS, *INTEGERS, "bool"))

# Dropout has layouts of its own: each thread takes VEC neighbours at a time, or, where the size is odd, single elements one grid apart.
_DROPOUT = r"""
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ y, bool* __restrict__ kept, long long n, double keep, """ + STATE + r""") {
    if (cell) { seed = cell[0]; offset += cell[1]; }
    const int VEC = %(vec)d, EACH = VEC == 1 ? 4 : VEC;
    long long threads = (long long)gridDim.x * blockDim.x, id = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    A chance = (A)keep, scale = (A)(1.0 / chance);
    unsigned long long step = 0;
    for (long long at = id * VEC; at < n; at += threads * EACH) {
        float v[8];
        for (int k = 0; k < EACH; k += 4) uniforms(v + k, draw(seed, offset, id, step++));
        struct __align__(VEC * sizeof(T)) Pack { T e[VEC]; };
        struct __align__(VEC) Mask { bool e[VEC]; };
        if (VEC == 1) {
            for (int k = 0; k < 4; k++) {
                long long i = at + threads * k;
                if (i < n) { bool keeps = v[k] < chance; kept[i] = keeps; store(y + i, load(x[i]) * (A)keeps * scale); }
            }
        } else {
            Pack in = *(const Pack*)(x + at), r;
            Mask m;
            for (int k = 0; k < VEC; k++) { m.e[k] = v[k] < chance; store(r.e + k, load(in.e[k]) * (A)m.e[k] * scale); }
            *(Pack*)(y + at) = r;
            *(Mask*)(kept + at) = m;
        }
    }
}
"""
_DROPOUTS = {vec: Kernel(f"random_dropout_{vec}", PHILOX + _DROPOUT % {"vec": vec},
                         FLOATS if vec <= 2 else ("float32", "float16", "bfloat16")[vec > 4:])
             for vec in (1, 2, 4, 8)}

_capacity: dict[tuple[Any, int], int] = {}      # how many blocks of 256 threads a GPU holds at once


def grid(n: int) -> int:
    """Blocks of a launch over n elements: one per 256, at most as many as the GPU holds at once."""
    module = driver.needed()
    key = (module, module.cuda.runtime.getDevice())
    most = _capacity.get(key)
    if most is None:
        attributes = module.cuda.Device().attributes
        most = _capacity[key] = attributes["MultiProcessorCount"] * (attributes["MaxThreadsPerMultiProcessor"] // BLOCK)
    return min(-(-n // BLOCK), most)


def increment(n: int, blocks: int, each: int = 4) -> int:
    """By how much a launch moves the generator's offset on, where a step gives a thread so many numbers."""
    return ((n - 1) // (BLOCK * blocks * each) + 1) * 4


def _fill(kernel: Kernel, out: CupyArray, gen: CudaGenerator, each: int, *parameters: np.generic) -> None:
    """Fill a contiguous cupy array from a generator."""
    n = out.size
    if n:
        blocks = grid(n)
        kernel(out.dtype.name)((blocks,), (BLOCK,), (out, np.int64(n), *parameters, *gen.advance(increment(n, blocks, each))))


def _real(kernel: Kernel, out: CupyArray, gen: CudaGenerator, p0: float, p1: float = 0.0, p2: float = 0.0) -> None:
    _fill(kernel, out, gen, 2 if out.dtype == np.float64 else 4, np.float64(p0), np.float64(p1), np.float64(p2))


def uniform(out: CupyArray, gen: CudaGenerator, low: float, high: float) -> None:
    """Uniform numbers of [low, high): what cuRAND gives in (0, 1], with the ends exchanged."""
    first, last = out.dtype.type(low), out.dtype.type(high)
    with np.errstate(over="ignore"):
        _real(_UNIFORM, out, gen, float(first), float(last - first), float(last))


def normal(out: CupyArray, gen: CudaGenerator, mean: float, std: float) -> None:
    """Normal numbers."""
    _real(_NORMAL, out, gen, mean, std)


def log_normal(out: CupyArray, gen: CudaGenerator, mean: float, std: float) -> None:
    """exp of normal numbers."""
    _real(_LOG_NORMAL, out, gen, mean, std)


def exponential(out: CupyArray, gen: CudaGenerator, rate: float) -> None:
    """Exponential numbers, never zero."""
    _real(_EXPONENTIAL, out, gen, rate)


def cauchy(out: CupyArray, gen: CudaGenerator, median: float, sigma: float) -> None:
    """median + sigma * tan(pi (u - 1/2))."""
    _real(_CAUCHY, out, gen, median, sigma)


def geometric(out: CupyArray, gen: CudaGenerator, p: float) -> None:
    """How many trials of chance p the first success takes."""
    _real(_GEOMETRIC, out, gen, p)


def bernoulli(out: CupyArray, gen: CudaGenerator, p: float) -> None:
    """1 with probability p, else 0, in any dtype."""
    _real(_BERNOULLI, out, gen, p)


def bernoulli_each(out: CupyArray, gen: CudaGenerator, p: CupyArray) -> None:
    """1 with the probability of the element of `p` (contiguous, float64 for a float64 result, else float32). The device stops at p outside
    [0, 1]."""
    if out.size:
        kernel = _BERNOULLI_EACH(out.dtype.name)
        kernel((-(-out.size // 2048),), (512,), (out, p, np.int64(out.size), *gen.advance(10)))


def integers(out: CupyArray, gen: CudaGenerator, low: int, span: int) -> None:
    """Integers of [low, low + span): 32 random bits modulo the span, 64 from 2**28 on."""
    wide = span >= 1 << 28
    _fill(_WIDE_INTEGERS if wide else _INTEGERS, out, gen, 2 if wide else 4, np.uint64(span % 2 ** 64), np.int64(low))


def full_range(out: CupyArray, gen: CudaGenerator) -> None:
    """Integers over what the dtype can count: 0 ... max for integers, 0 ... 2**digits for floats."""
    dtype = out.dtype
    digits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}.get(dtype.name)
    span = (1 << digits) + 1 if digits is not None else 2 if dtype == np.bool_ else int(np.iinfo(dtype).max) + 1
    wide = dtype in (np.int64, np.float64)
    _fill(_WIDE_INTEGERS if wide else _INTEGERS, out, gen, 2 if wide else 4, np.uint64(span), np.int64(0))


def vector_width(x: CupyArray) -> int:
    """How many neighbours a thread of dropout takes at once: up to 16 bytes, as the address and the size allow."""
    if not (x.flags.c_contiguous or x.flags.f_contiguous):
        return 1
    width = 16 // x.dtype.itemsize
    while width > 1 and (x.size % width or x.data.ptr % (width * x.dtype.itemsize)):
        width //= 2
    return width


def dropout(x: CupyArray, gen: CudaGenerator, keep: float) -> tuple[Array, Array]:
    """(x with elements kept with probability `keep` and scaled by 1 / keep, the mask)."""
    module = driver.needed()
    width = vector_width(x)
    if width == 1 and not x.flags.f_contiguous:
        x = module.ascontiguousarray(x)
    y, kept = module.empty_like(x), module.empty_like(x, np.bool_)
    if x.size:
        blocks = grid(x.size)
        _DROPOUTS[width](x.dtype.name)((blocks,), (BLOCK,), (x, y, kept, np.int64(x.size), np.float64(keep),
                                                             *gen.advance(increment(x.size, blocks))))
    return y, kept


def philox_numbers(seed: int, offset: int, thread: int, steps: int) -> Array:
    """The words that a thread draws in its first steps, computed by NumPy: what the kernels are checked against."""
    counters = [(offset // 4 + step) | thread << 64 for step in range(steps)]
    return philox_words(np.array([[c >> 32 * i & 0xFFFFFFFF for i in range(4)] for c in counters], np.uint64), seed & 0xFFFFFFFF,
                        seed >> 32)


def philox_words(counters: Array, k0: int, k1: int) -> Array:
    """Philox4x32-10 of rows of four counter words, under a key of two."""
    low = np.uint64(0xFFFFFFFF)
    c = list(counters.T)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, 1).astype(np.uint32)
