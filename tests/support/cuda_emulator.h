// Runs CUDA kernels on the host, one block after another. Every thread of a block is a fiber; barriers and warp shuffles switch between
// fibers, so kernels with shared memory and warp reductions compute what they would on a GPU. For tests only: slow, and blind to races
// inside a warp.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <stdexcept>
#include <vector>
#define EMULATED 1
#define __global__
#define __device__ inline
#define __forceinline__
#define __host__
#define __shared__ static
#define __restrict__
#define __launch_bounds__(...)
#define __constant__ static const
#define __align__(n) __attribute__((aligned(n)))

struct dim3 { unsigned x, y, z; };
struct float4 { float x, y, z, w; };
struct int4 { int x, y, z, w; };
struct uint4 { unsigned x, y, z, w; };
struct uint2 { unsigned x, y; };
static inline uint4 make_uint4(unsigned a, unsigned b, unsigned c, unsigned d) { return {a, b, c, d}; }

namespace emulator {
enum State { READY, BLOCK, WARP, DONE };
struct Fiber { ucontext_t context; State state; char* stack; dim3 index; int number; };
static ucontext_t scheduler;
static std::vector<Fiber> fibers;
static Fiber* current;
static bool trapped;
static uint64_t exchange[1024];
static int votes[1024];
static unsigned char* dynamic_memory;          // of the size that the launch asked for
static inline unsigned char* dynamic_shared() { return dynamic_memory; }
static void forget_copies();
static const size_t STACK = 64 * 1024;
static void (*body)(void**);
static void** arguments;

static void entry() { body(arguments); current->state = DONE; swapcontext(&current->context, &scheduler); }
static void wait(State state) { current->state = state; swapcontext(&current->context, &scheduler); }

// Whether everybody in [from, to) waits at the same kind of barrier (or has finished); then they go on.
static bool release(int from, int to, State state) {
    bool any = false;
    for (int i = from; i < to; i++) {
        if (fibers[i].state != state && fibers[i].state != DONE) return false;
        any |= fibers[i].state == state;
    }
    if (any) for (int i = from; i < to; i++) if (fibers[i].state == state) fibers[i].state = READY;
    return any;
}

static void block(int threads) {
    for (;;) {
        bool ran = false, alive = false;
        for (int i = 0; i < threads; i++) {
            if (fibers[i].state == READY) { current = &fibers[i]; swapcontext(&scheduler, &current->context); ran = true; }
            if (trapped) return;
        }
        for (int w = 0; w < threads; w += 32) ran |= release(w, w + 32 < threads ? w + 32 : threads, WARP);
        ran |= release(0, threads, BLOCK);
        for (int i = 0; i < threads; i++) alive |= fibers[i].state != DONE;
        if (!alive) return;
        if (!ran) { trapped = true; return; }     // a barrier that not all threads reach
    }
}
}

static dim3 gridDim, blockDim, blockIdx;
#define threadIdx (emulator::current->index)
static const int warpSize = 32;

static int emulate(dim3 grid, dim3 size, void (*kernel)(void**), void** args, size_t shared) {
    using namespace emulator;
    int threads = size.x * size.y * size.z;
    while ((int)fibers.size() < threads) { Fiber f{}; f.stack = (char*)malloc(STACK); fibers.push_back(f); }
    gridDim = grid; blockDim = size; body = kernel; arguments = args; trapped = false;
    std::vector<std::aligned_storage<128, 128>::type> dynamic(shared / 128 + 1);
    dynamic_memory = (unsigned char*)dynamic.data();
    for (unsigned z = 0; z < grid.z; z++) for (unsigned y = 0; y < grid.y; y++) for (unsigned x = 0; x < grid.x; x++) {
        blockIdx = {x, y, z};
        memset(dynamic_memory, 0xff, shared);           // nan: what a block finds there is not zero
        forget_copies();
        for (int i = 0; i < threads; i++) {
            Fiber& f = fibers[i];
            getcontext(&f.context);
            f.context.uc_stack.ss_sp = f.stack; f.context.uc_stack.ss_size = STACK; f.context.uc_link = nullptr;
            makecontext(&f.context, entry, 0);
            f.state = READY; f.number = i;
            f.index = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
        }
        block(threads);
        if (trapped) return 1;
    }
    return 0;
}

static inline void __syncthreads() { emulator::wait(emulator::BLOCK); }
static inline void __syncwarp(unsigned = ~0u) { emulator::wait(emulator::WARP); }
static inline void __threadfence() {}
static inline void __trap() { emulator::trapped = true; emulator::wait(emulator::DONE); }

template <class T> static inline T shuffle(T value, int lane) {
    int me = emulator::current->number, base = me & ~31;
    memcpy(&emulator::exchange[me], &value, sizeof(T));
    emulator::wait(emulator::WARP);
    T result;
    int from = base + lane;
    memcpy(&result, &emulator::exchange[lane >= 0 && lane < 32 && from < (int)emulator::fibers.size() ? from : me], sizeof(T));
    emulator::wait(emulator::WARP);
    return result;
}
// --- what rushlight's tensor_core.py uses -----------------------------------------------------------------------------------------------
namespace emulator {
static uint32_t fragments[1024][6];
static inline const uint32_t* fragment_of(int lane) { return fragments[(current->number & ~31) + lane]; }
static inline void share(const unsigned (&a)[4], const unsigned (&b)[2]) {
    uint32_t* mine = fragments[current->number];
    memcpy(mine, a, 16); memcpy(mine + 4, b, 8);
    wait(WARP);
}

// d += a * b of 16x16 and 16x8. Where an element lies is computed from its row and column, the other way around than the kernels do.
template <class F> static void product16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], F number) {
    share(a, b);
    int lane = current->number & 31;
    for (int r = 0; r < 4; r++) {
        int row = lane / 4 + (r < 2 ? 0 : 8), column = lane % 4 * 2 + r % 2;
        float sum = d[r];
        for (int k = 0; k < 16; k++) {
            int member = k % 8 / 2, shift = k % 2 * 16;
            unsigned left = fragment_of(row % 8 * 4 + member)[(k < 8 ? 0 : 2) + (row < 8 ? 0 : 1)];
            unsigned right = fragment_of(column * 4 + member)[4 + (k < 8 ? 0 : 1)];
            sum += number(left >> shift & 0xffff) * number(right >> shift & 0xffff);
        }
        d[r] = sum;
    }
    wait(WARP);
}
// d += a * b of 16x8 and 8x8; the low 13 bits, which tensor cores don't read, have to be zero already.
static inline void product8(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    for (unsigned v : a) if (v & 0x1fff && (v & 0x7f800000) != 0x7f800000) trapped = true;
    for (unsigned v : b) if (v & 0x1fff && (v & 0x7f800000) != 0x7f800000) trapped = true;
    share(a, b);
    int lane = current->number & 31;
    for (int r = 0; r < 4; r++) {
        int row = lane / 4 + (r < 2 ? 0 : 8), column = lane % 4 * 2 + r % 2;
        float sum = d[r];
        for (int k = 0; k < 8; k++) {
            float left, right;
            memcpy(&left, fragment_of(row % 8 * 4 + k % 4) + (k < 4 ? 0 : 2) + (row < 8 ? 0 : 1), 4);
            memcpy(&right, fragment_of(column * 4 + k % 4) + 4 + (k < 4 ? 0 : 1), 4);
            sum += left * right;
        }
        d[r] = sum;
    }
    wait(WARP);
}
static inline void load4(unsigned (&result)[4], const void* row, bool transposed) {
    int me = current->number, base = me & ~31, lane = me & 31;
    if ((uintptr_t)row & 15) trapped = true;           // misaligned address
    exchange[me] = (uint64_t)row;
    wait(WARP);
    for (int i = 0; i < 4; i++) {
        uint16_t pair[2];
        for (int j = 0; j < 2; j++) {
            int r = transposed ? lane % 4 * 2 + j : lane / 4, c = transposed ? lane / 4 : lane % 4 * 2 + j;
            pair[j] = ((const uint16_t*)exchange[base + i * 8 + r])[c];
        }
        result[i] = pair[0] | (uint32_t)pair[1] << 16;
    }
    wait(WARP);
}

// Copies are made when they are waited for, so that a kernel which reads too early finds what was there before.
struct Copy { void* to; const void* from; int bytes; bool valid; };
static std::vector<std::vector<Copy>> groups[1024];
static std::vector<Copy> open[1024];
static inline void copy(void* to, const void* from, int bytes, bool valid) {
    if (((uintptr_t)to | (valid ? (uintptr_t)from : 0)) & (bytes - 1)) trapped = true;
    open[current->number].push_back({to, from, bytes, valid});
}
static inline void commit() {
    int me = current->number;
    groups[me].push_back(open[me]);
    open[me].clear();
}
static inline void arrive(int left) {
    auto& mine = groups[current->number];
    while ((int)mine.size() > left) {
        for (const Copy& c : mine.front()) { if (c.valid) memcpy(c.to, c.from, c.bytes); else memset(c.to, 0, c.bytes); }
        mine.erase(mine.begin());
    }
}
static void forget_copies() { for (int i = 0; i < 1024; i++) { groups[i].clear(); open[i].clear(); } }
}

static inline int lane_of() { return emulator::current->number & 31; }
template <class T> static inline T __shfl_xor_sync(unsigned, T v, int mask) { return shuffle(v, lane_of() ^ mask); }
template <class T> static inline T __shfl_down_sync(unsigned, T v, int by) { return shuffle(v, lane_of() + by); }
template <class T> static inline T __shfl_up_sync(unsigned, T v, int by) { return shuffle(v, lane_of() - by); }
template <class T> static inline T __shfl_sync(unsigned, T v, int lane) { return shuffle(v, lane); }

template <class T> static inline T atomicAdd(T* p, T v) { T old = *p; *p = old + v; return old; }
template <class T> static inline T atomicMax(T* p, T v) { T old = *p; if (v > old) *p = v; return old; }
template <class T> static inline T atomicMin(T* p, T v) { T old = *p; if (v < old) *p = v; return old; }
template <class T> static inline T atomicCAS(T* p, T seen, T v) { T old = *p; if (old == seen) *p = v; return old; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
static inline float __uint_as_float(unsigned v) { float f; memcpy(&f, &v, 4); return f; }
static inline unsigned __float_as_uint(float f) { unsigned v; memcpy(&v, &f, 4); return v; }
static inline float __int_as_float(int v) { return __uint_as_float(v); }
static inline int __float_as_int(float f) { return __float_as_uint(f); }
static inline double __longlong_as_double(long long v) { double d; memcpy(&d, &v, 8); return d; }
static inline long long __double_as_longlong(double d) { long long v; memcpy(&v, &d, 8); return v; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
#define __expf expf
#define __logf logf
static inline float __fdividef(float a, float b) { return a / b; }
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
#define __sincosf emulated_sincosf
static inline void emulated_sincosf(float x, float* s, float* c) { *s = sinf(x); *c = cosf(x); }
static inline void sincospi(double x, double* s, double* c) { *s = sin(x * 3.14159265358979323846); *c = cos(x * 3.14159265358979323846); }
static inline void sincospif(float x, float* s, float* c) { *s = sinf(x * 3.14159265358979f); *c = cosf(x * 3.14159265358979f); }
template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T min(T a, T b) { return a < b ? a : b; }
template <class T> static inline T max(T a, T b) { return a > b ? a : b; }

// Unpack the argument array by the kernel's parameter types.
template <class... A, size_t... I> static void unpack(void (*f)(A...), void** args, std::index_sequence<I...>) {
    f(*(A*)args[I]...);
}
template <class... A> static void call(void (*f)(A...), void** args) { unpack(f, args, std::index_sequence_for<A...>{}); }
