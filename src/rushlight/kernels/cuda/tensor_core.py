"""`TENSOR_CORE`: products of small matrices by one warp, and copies into shared memory that go on beside the arithmetic; from sm_80 on.

A text for the kernels that use it, put before theirs: ``Kernel(name, TENSOR_CORE + text)``. The 32 threads of a warp hold a matrix
together, each a fragment of it, in the layouts that the PTX ISA documents for ``mma.m16n8k16`` and ``mma.m16n8k8``. With ``group = lane /
4`` and ``member = lane % 4``:

    16-bit A (16 x 16)  a[r] = elements (group + 8 * (r & 1), 2 * member + 8 * (r >> 1)) and its right neighbour
    16-bit B (16 x 8)   b[r] = elements (2 * member + 8 * r, group) and the one below
    tf32 A (16 x 8)     a[r] = element (group + 8 * (r & 1), member + 4 * (r >> 1))
    tf32 B (8 x 8)      b[r] = element (member + 4 * r, group)
    C, D (16 x 8)       d[r] = element (group + 8 * (r >> 1), 2 * member + (r & 1))

`load4` reads four 8 x 8 matrices of 16-bit elements (or 8 x 4 of 32-bit ones) from shared memory: lane l gives the address of row l % 8 of
matrix l / 8, and gets of each matrix the two elements (lane / 4, 2 * (lane % 4)), which is a fragment of A as it lies in memory by rows, or
one of B by columns. `load4_transposed` is for B by rows. Rows lie on 16 bytes. Blocks are one-dimensional, whole warps take part, and every
call is made by all 32 threads.

The emulator (tests/support/cuda_emulator.h) computes the same from the same fragments, and copies only when they are waited for.
"""

from __future__ import annotations

from typing import Any

from . import driver

__all__ = ["TENSOR_CORE", "available"]

TENSOR_CORE = r"""
#ifdef EMULATED
#define DYNAMIC_SHARED(name) unsigned char* name = emulator::dynamic_shared()
#else
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
__device__ __forceinline__ unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
#endif

// d += a * b: 16x16 times 16x8 of half_t or bfloat_t.
template <class E> __device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
template <> __device__ __forceinline__ void mma<half_t>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef EMULATED
    emulator::product16(d, a, b, [](unsigned short bits) { return load(half_t{bits}); });
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
template <> __device__ __forceinline__ void mma<bfloat_t>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef EMULATED
    emulator::product16(d, a, b, [](unsigned short bits) { return load(bfloat_t{bits}); });
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
// d += a * b: 16x8 times 8x8 of float32 that `tf32` has rounded.
__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef EMULATED
    emulator::product8(d, a, b);
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
// Rounded to the nearest number of 10 bits after the point, ties away from zero.
__device__ __forceinline__ unsigned tf32(float v) {
#ifdef EMULATED
    unsigned u = __float_as_uint(v);
    return (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & 0xffffe000u;
#else
    unsigned r; asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v)); return r;
#endif
}
// Two numbers as a pair of 16-bit elements, the first in the low half: what a fragment's register holds.
template <class E> __device__ __forceinline__ unsigned pack(float low, float high) {
    E pair[2];
    store(pair, low); store(pair + 1, high);
    return pair[0].bits | (unsigned)pair[1].bits << 16;
}
#ifndef EMULATED
template <> __device__ __forceinline__ unsigned pack<half_t>(float low, float high) {
    unsigned r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r;
}
template <> __device__ __forceinline__ unsigned pack<bfloat_t>(float low, float high) {
    unsigned r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r;
}
#endif

__device__ __forceinline__ void load4(unsigned (&r)[4], const void* row) {
#ifdef EMULATED
    emulator::load4(r, row, false);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
#endif
}
__device__ __forceinline__ void load4_transposed(unsigned (&r)[4], const void* row) {
#ifdef EMULATED
    emulator::load4(r, row, true);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
#endif
}

// Copies of 16 bytes (4 bytes) into shared memory; where `valid` is false zeros are written and `from` is not read. They are under way until
// copies_wait<n>(): all but the last n groups have arrived then, for the thread that asked; a barrier makes them visible to the others.
__device__ __forceinline__ void copy16(void* to, const void* from, bool valid = true) {
#ifdef EMULATED
    emulator::copy(to, from, 16, valid);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
#endif
}
__device__ __forceinline__ void copy4(void* to, const void* from, bool valid = true) {
#ifdef EMULATED
    emulator::copy(to, from, 4, valid);
#else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" :: "r"(shared_address(to)), "l"(from), "r"(valid ? 4 : 0) : "memory");
#endif
}
__device__ __forceinline__ void copies_commit() {
#ifdef EMULATED
    emulator::commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int n> __device__ __forceinline__ void copies_wait() {
#ifdef EMULATED
    emulator::arrive(n);
#else
    asm volatile("cp.async.wait_group %0;" :: "n"(n) : "memory");
#endif
}
"""

_able: dict[tuple[object, int], bool] = {}


def available() -> bool:
    """Whether the current GPU has the instructions: compute capability 8.0 and above."""
    module: Any = driver.needed()
    key = (module, module.cuda.runtime.getDevice())
    found = _able.get(key)
    if found is None:
        found = _able[key] = int(module.cuda.Device(key[1]).compute_capability) >= 80
    return found
