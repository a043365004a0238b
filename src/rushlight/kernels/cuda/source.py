"""`Kernel`: one CUDA kernel from source text. Types are chosen by a preamble, so one text serves all of them.

Every kernel registers here under its name with the dtypes it exists for; `all_sources` lists them for the test that compiles each one for
every supported architecture.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from os.path import dirname
from pkgutil import iter_modules
from typing import Any

from . import driver
from .driver import AcceleratorError

__all__ = ["Kernel", "all_sources", "C_TYPES", "ACCUMULATE", "PRELUDE", "THREADS", "blocks", "row_threads"]

THREADS = 256

# How elements lie in memory, and in which type they are computed.
C_TYPES = {"float16": "half_t", "bfloat16": "bfloat_t", "float32": "float", "float64": "double", "int64": "long long", "int32": "int",
           "int16": "short", "int8": "signed char", "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int",
           "uint64": "unsigned long long", "bool": "bool"}
ACCUMULATE = {"float16": "float", "bfloat16": "float", "float32": "float", "float64": "double"}

PRELUDE = r"""
// Elements of two bytes: kept as bits, computed as float. No CUDA headers are needed, so NVRTC alone compiles this.
struct half_t { unsigned short bits; };
struct bfloat_t { unsigned short bits; };
__device__ __forceinline__ float load(float v) { return v; }
__device__ __forceinline__ double load(double v) { return v; }
__device__ __forceinline__ float load(bfloat_t v) { return __uint_as_float((unsigned)v.bits << 16); }
__device__ __forceinline__ float load(half_t v) {
#ifdef EMULATED
    _Float16 h; memcpy(&h, &v, 2); return (float)h;
#else
    float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits)); return f;
#endif
}
__device__ __forceinline__ void store(float* p, float v) { *p = v; }
__device__ __forceinline__ void store(double* p, double v) { *p = v; }
__device__ __forceinline__ void store(bfloat_t* p, float v) {
    unsigned u = __float_as_uint(v);
    p->bits = (u & 0x7fffffffu) > 0x7f800000u ? 0x7fff : (unsigned short)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);   // to nearest even
}
__device__ __forceinline__ void store(half_t* p, float v) {
#ifdef EMULATED
    _Float16 h = (_Float16)v; memcpy(p, &h, 2);
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(p->bits) : "f"(v));
#endif
}
__device__ __forceinline__ float exp_(float x) { return expf(x); }
__device__ __forceinline__ double exp_(double x) { return exp(x); }
__device__ __forceinline__ float log_(float x) { return logf(x); }
__device__ __forceinline__ double log_(double x) { return log(x); }
__device__ __forceinline__ float sqrt_(float x) { return sqrtf(x); }
__device__ __forceinline__ double sqrt_(double x) { return sqrt(x); }
__device__ __forceinline__ float rsqrt_(float x) { return rsqrtf(x); }
__device__ __forceinline__ double rsqrt_(double x) { return rsqrt(x); }
__device__ __forceinline__ float pow_(float x, float y) { return powf(x, y); }
__device__ __forceinline__ double pow_(double x, double y) { return pow(x, y); }
__device__ __forceinline__ float max_(float a, float b) { return a != a ? a : (a > b || b != b) ? (b != b ? b : a) : b; }
__device__ __forceinline__ double max_(double a, double b) { return a != a ? a : (a > b || b != b) ? (b != b ? b : a) : b; }
template <class A> __device__ __forceinline__ A infinity_();
template <> __device__ __forceinline__ float infinity_<float>() { return __uint_as_float(0x7f800000u); }
template <> __device__ __forceinline__ double infinity_<double>() { return __longlong_as_double(0x7ff0000000000000ll); }

// Sums and maxima over a block of up to 1024 threads; every thread gets the result.
template <class A> __device__ __forceinline__ A warp_sum(A v) {
    for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}
template <class A> __device__ __forceinline__ A warp_max(A v) {
    for (int o = 16; o; o >>= 1) v = max_(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}
template <class A> __device__ A block_sum(A v) {
    __shared__ A part[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = warp_sum(v);
    if (warps == 1) return v;
    __syncthreads();
    if (lane == 0) part[warp] = v;
    __syncthreads();
    return warp_sum(lane < warps ? part[lane] : (A)0);
}
template <class A> __device__ A block_max(A v) {
    __shared__ A part[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = warp_max(v);
    if (warps == 1) return v;
    __syncthreads();
    if (lane == 0) part[warp] = v;
    __syncthreads();
    return warp_max(lane < warps ? part[lane] : -infinity_<A>());
}
"""

_registered: list[Kernel] = []


class Kernel:
    """``Kernel(name, text, dtypes)``: `text` is CUDA C++ that uses T (element) and A (arithmetic) as types and defines ``kernel``.

    ``kernel(dtype_name)(grid, block, args)`` launches. Where it uses dynamic shared memory, `shared` is how many bytes a launch may ask
    for.
    """

    __slots__ = ("name", "text", "dtypes", "shared", "_ready")

    def __init__(self, name: str, text: str, dtypes: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16"),
                 shared: int = 0) -> None:
        self.name, self.text, self.dtypes, self.shared = name, text, dtypes, shared
        self._ready: dict[tuple[Any, ...], Any] = {}
        _registered.append(self)

    def source(self, dtype: str) -> str:
        """The whole source for one dtype."""
        types = f"typedef {C_TYPES[dtype]} T;\ntypedef {ACCUMULATE.get(dtype, C_TYPES[dtype])} A;\n"
        return PRELUDE + types + f'#define kernel {self.entry(dtype)}\n' + self.text.replace(" kernel(", f" {self.entry(dtype)}(")

    def entry(self, dtype: str) -> str:
        """The kernel's name in the compiled module."""
        return f"{self.name}_{dtype}"

    def __call__(self, dtype: str) -> Any:
        """The compiled kernel: ``(grid, block, args)``. AcceleratorError where it does not compile."""
        module = driver.needed()
        key = (module, dtype, module.cuda.runtime.getDevice()) if self.shared else (module, dtype)      # the limit is set GPU by GPU
        found = self._ready.get(key)
        if found is None:
            found = self._ready[key] = module.RawKernel(self.source(dtype), self.entry(dtype), options=("--std=c++17",))
            try:
                found.compile()
                if self.shared > 48 << 10:
                    found.max_dynamic_shared_size_bytes = self.shared
            except Exception as error:
                del self._ready[key]
                raise AcceleratorError(f"CUDA error: the kernel {self.entry(dtype)} does not compile: {error}") from error
        return found


def all_sources() -> Iterator[tuple[str, str]]:
    """(name, source) of every kernel for every dtype."""
    for module in iter_modules([dirname(__file__)]):
        import_module(f"{__package__}.{module.name}")
    for each in _registered:
        for dtype in each.dtypes:
            yield each.entry(dtype), each.source(dtype)


def blocks(work: int, per_block: int = THREADS, most: int = 1 << 30) -> int:
    """How many blocks cover so much work."""
    return max(1, min(-(-work // per_block), most))


def row_threads(n: int) -> int:
    """Threads of a block that works on one row of n elements: a power of two from 32 to 1024."""
    threads = 32
    while threads < 1024 and threads * 4 < n:
        threads *= 2
    return threads
