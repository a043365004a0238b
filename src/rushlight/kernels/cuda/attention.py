"""Scaled dot-product attention without the score matrix in memory, forward and backward, on tensor cores.

Dao, "FlashAttention-2", 2023. Four warps hold a block of queries (64 or 128) and walk over the keys in tiles that come into shared memory
beside the arithmetic; scores, the running maximum and sum, and the output stay in registers. The backward pass computes the probabilities
anew from the kept log of the sum of exponentials: once per block of queries for their gradient, once per block of keys for those of keys
and values, so that nothing is added atomically and results repeat bit by bit. Causal attention leaves out the tiles that it hides.

float16 and bfloat16 multiply as such, with float32 sums. float32 multiplies as TF32 where the settings allow it, else as three TF32
products of high and low parts, which keeps all but about two of float32's bits. Head sizes up to 128, rows on any strides, and several
heads of queries per head of keys and values.
"""

from __future__ import annotations

from functools import cache
from math import log2
from typing import TYPE_CHECKING, Any

import numpy as np

from ...vocabulary import Array, Function, NumpyDtype
from ..shapes import broadcast_shapes
from . import driver, tensor_core, tiles
from .matmul import tf32
from .source import Kernel

if TYPE_CHECKING:
    from .driver import CupyArray

__all__ = ["attention", "attention_gradient"]

LARGEST, WARPS = 128, 4
SIZES = (32, 64, 128)
# Head size: (16 queries of a warp how many times, keys in a tile) forward; (elements of a tile, tiles in shared memory at once) backward.
_SHAPES = {False: {32: (2, 64, 64, 2), 64: (2, 64, 64, 2), 128: (2, 32, 32, 2)},
           True: {32: (1, 64, 32, 2), 64: (1, 64, 32, 2), 128: (1, 32, 16, 1)}}

_CORE = r"""
// SINGLE is 0 for 16-bit elements; for float32 the number of TF32 products that stand for one. A product takes DEPTH columns of its left factor.
#if SINGLE
#define DEPTH 8
#else
#define DEPTH 16
#endif
#define CHUNK (16 / (int)sizeof(T))
#define PITCH (D + CHUNK)               // of rows in shared memory: without bank conflicts
#define EVERY(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)
#define LANE ((int)threadIdx.x & 31)
#define WARP ((int)threadIdx.x >> 5)
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

struct Left {
    unsigned v[4];
#if SINGLE == 3
    unsigned rest[4];
#endif
};
struct Right {
    unsigned v[2];
#if SINGLE == 3
    unsigned rest[2];
#endif
};
template <class F> __device__ __forceinline__ void set(F& f, int i, unsigned bits) {
#if SINGLE == 3
    f.v[i] = bits & 0xffffe000u;
    f.rest[i] = tf32(__uint_as_float(bits) - __uint_as_float(f.v[i]));
#elif SINGLE
    f.v[i] = tf32(__uint_as_float(bits));
#else
    f.v[i] = bits;
#endif
}
__device__ __forceinline__ void multiply(float (&d)[4], const Left& a, const Right& b) {
#if SINGLE == 3
    mma_tf32(d, a.rest, b.v);
    mma_tf32(d, a.v, b.rest);
#endif
#if SINGLE
    mma_tf32(d, a.v, b.v);
#else
    mma<T>(d, a.v, b.v);
#endif
}
// Fragments from shared memory: 16 x DEPTH as it lies; the transpose of 16 x DEPTH; DEPTH x 16 as it lies.
__device__ __forceinline__ void left_of(Left& a, const T* tile) {
    unsigned r[4];
    load4(r, tile + (LANE & 15) * PITCH + (LANE >> 4) * (DEPTH / 2));
    EVERY(i, 4) set(a, i, r[i]);
}
__device__ __forceinline__ void right_of(Right (&b)[2], const T* tile) {
    unsigned r[4];
    load4(r, tile + ((LANE & 7) + (LANE >> 4) * 8) * PITCH + (LANE >> 3 & 1) * (DEPTH / 2));
    EVERY(i, 4) set(b[i >> 1], i & 1, r[i]);
}
// With tf32, the DEPTH rows are taken in the order in which `left_from` has them: 0 2 4 6 1 3 5 7.
__device__ __forceinline__ void right_across(Right (&b)[2], const T* tile) {
#if SINGLE
    EVERY(i, 4) set(b[i >> 1], i & 1, __float_as_uint(tile[((LANE & 3) * 2 + (i & 1)) * PITCH + (LANE >> 2) + (i >> 1) * 8]));
#else
    unsigned r[4];
    load4_transposed(r, tile + (LANE & 15) * PITCH + (LANE >> 4) * 8);
    EVERY(i, 4) set(b[i >> 1], i & 1, r[i]);
#endif
}
// A left factor from results: one of them with tf32, two side by side else.
__device__ __forceinline__ void left_from(Left& a, const float (*c)[4]) {
#if SINGLE
    set(a, 0, __float_as_uint(c[0][0])); set(a, 1, __float_as_uint(c[0][2]));
    set(a, 2, __float_as_uint(c[0][1])); set(a, 3, __float_as_uint(c[0][3]));
#else
    EVERY(i, 2) { a.v[i * 2] = pack<T>(c[i][0], c[i][1]); a.v[i * 2 + 1] = pack<T>(c[i][2], c[i][3]); }
#endif
}
// s = left right' of M * 16 and N rows of D.
template <int M, int N> __device__ __forceinline__ void products(float (&s)[M][N / 8][4], const T* left, const T* right) {
    EVERY(m, M) EVERY(n, N / 8) EVERY(i, 4) s[m][n][i] = 0.0f;
    _Pragma("unroll") for (int k = 0; k < D; k += DEPTH) {
        Left a[M];
        EVERY(m, M) left_of(a[m], left + m * 16 * PITCH + k);
        _Pragma("unroll") for (int n = 0; n < N; n += 16) {
            Right b[2];
            right_of(b, right + n * PITCH + k);
            EVERY(m, M) { multiply(s[m][n / 8], a[m], b[0]); multiply(s[m][n / 8 + 1], a[m], b[1]); }
        }
    }
}
// o += s right, of M * 16 rows of N and N rows of D.
template <int M, int N> __device__ __forceinline__ void accumulate(float (&o)[M][D / 8][4], const float (&s)[M][N / 8][4], const T* right) {
    _Pragma("unroll") for (int k = 0; k < N; k += DEPTH) {
        Left a[M];
        EVERY(m, M) left_from(a[m], &s[m][k / 8]);
        _Pragma("unroll") for (int n = 0; n < D; n += 16) {
            Right b[2];
            right_across(b, right + k * PITCH + n);
            EVERY(m, M) { multiply(o[m][n / 8], a[m], b[0]); multiply(o[m][n / 8 + 1], a[m], b[1]); }
        }
    }
}
// N rows from row `first` on into shared memory, zeros beyond `rows` and `dim`. They have arrived after copies_wait and a barrier.
template <int N> __device__ __forceinline__ void fetch(T* to, const T* from, long long step, int first, int rows, int dim, bool aligned) {
    if (aligned) {
        for (int i = threadIdx.x; i < N * (D / CHUNK); i += blockDim.x) {
            int row = i / (D / CHUNK), col = i % (D / CHUNK) * CHUNK;
            bool valid = first + row < rows && col < dim;
            copy16(to + row * PITCH + col, valid ? from + (first + row) * step + col : from, valid);
        }
    } else {
        for (int i = threadIdx.x; i < N * D; i += blockDim.x) {
            int row = i / D, col = i % D;
            if (first + row < rows && col < dim) to[row * PITCH + col] = from[(first + row) * step + col];
            else store(to + row * PITCH + col, 0.0f);
        }
    }
}
__device__ __forceinline__ float exp2_(float x) {
#ifdef EMULATED
    return exp2f(x);
#else
    float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y;
#endif
}
// What is added to the scores: nothing (0), numbers of type T (1), or -infinity where a bool is false (2); strides may be 0.
struct Bias { const void* data; int kind; long long row, col; };
__device__ __forceinline__ float masked(float s, const Bias& bias, int row, int col, int rows, int columns, int causal) {
    if (row >= rows || col >= columns || (causal && col > row)) return -infinity_<float>();
    if (bias.kind == 1) s += load(((const T*)bias.data)[row * bias.row + col * bias.col]) * LOG2E;
    else if (bias.kind == 2 && !((const bool*)bias.data)[row * bias.row + col * bias.col]) return -infinity_<float>();
    return s;
}
__device__ __forceinline__ const void* shifted(const void* bias, int kind, long long by) {
    return kind == 1 ? (const void*)((const T*)bias + by) : (const void*)((const bool*)bias + by);
}
template <int M> __device__ __forceinline__ void write(T* to, long long step, const float (&o)[M][D / 8][4], int first, int rows, int dim, const float* scale) {
    EVERY(m, M) EVERY(h, 2) {
        int row = first + m * 16 + h * 8 + (LANE >> 2);
        if (row < rows) {
            EVERY(n, D / 8) EVERY(e, 2) {
                int col = n * 8 + (LANE & 3) * 2 + e;
                if (col < dim) store(to + row * step + col, o[m][n][h * 2 + e] * scale[m * 2 + h]);
            }
        }
    }
}
"""
# The strides of q, k, v are those of batch, head and row; the last dimension has stride 1.
_FORWARD = r"""
extern "C" __global__ void __launch_bounds__(128) kernel(
        const T* q, const T* k, const T* v, const void* bias, T* out, float* shift, int rows, int columns, int dim, int out_dim, int group, int causal,
        int bias_kind, int aligned, float scale, long long q_batch, long long q_head, long long q_row, long long k_batch, long long k_head,
        long long k_row, long long v_batch, long long v_head, long long v_row, long long bias_batch, long long bias_head, long long bias_row,
        long long bias_col, long long out_batch, long long out_head, long long out_row) {
    DYNAMIC_SHARED(memory);
    T* queries = (T*)memory;
    T* keys = queries + WARPS * 16 * TIMES * PITCH;
    T* values = keys + TILE * PITCH;
    int head = blockIdx.y, batch = blockIdx.z;
    int block = causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x;          // the longest first
    int start = block * WARPS * 16 * TIMES, mine = start + WARP * 16 * TIMES;
    q += batch * q_batch + head * q_head;
    k += batch * k_batch + head / group * k_head;
    v += batch * v_batch + head / group * v_head;
    Bias b = {shifted(bias, bias_kind, batch * bias_batch + head * bias_head), bias_kind, bias_row, bias_col};
    int end = causal && start + WARPS * 16 * TIMES < columns ? start + WARPS * 16 * TIMES : columns;
    float o[TIMES][D / 8][4], top[TIMES * 2], total[TIMES * 2];
    EVERY(m, TIMES) EVERY(n, D / 8) EVERY(i, 4) o[m][n][i] = 0.0f;
    EVERY(i, TIMES * 2) { top[i] = -infinity_<float>(); total[i] = 0.0f; }
    fetch<WARPS * 16 * TIMES>(queries, q, q_row, start, rows, dim, aligned);
    fetch<TILE>(keys, k, k_row, 0, columns, dim, aligned);
    copies_commit();
    for (int first = 0; first < end; first += TILE) {
        copies_wait<0>();
        __syncthreads();                                   // the keys are there, and the values before are done with
        fetch<TILE>(values, v, v_row, first, columns, out_dim, aligned);
        copies_commit();
        float s[TIMES][TILE / 8][4];
        products<TIMES, TILE>(s, queries + WARP * 16 * TIMES * PITCH, keys);
        copies_wait<0>();
        __syncthreads();
        if (first + TILE < end) fetch<TILE>(keys, k, k_row, first + TILE, columns, dim, aligned);
        copies_commit();
        EVERY(m, TIMES) EVERY(n, TILE / 8) EVERY(i, 4) s[m][n][i] *= scale;
        if (bias_kind || first + TILE > columns || (causal && first + TILE - 1 > mine))
            EVERY(m, TIMES) EVERY(n, TILE / 8) EVERY(i, 4)
                s[m][n][i] = masked(s[m][n][i], b, mine + m * 16 + i / 2 * 8 + (LANE >> 2), first + n * 8 + (LANE & 3) * 2 + i % 2, rows, columns, causal);
        EVERY(m, TIMES) EVERY(h, 2) {
            float best = top[m * 2 + h];
            EVERY(n, TILE / 8) EVERY(e, 2) best = fmaxf(best, s[m][n][h * 2 + e]);
            best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 1));
            best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 2));
            float base = best == -infinity_<float>() ? 0.0f : best, shrink = exp2_(top[m * 2 + h] - base), sum = 0.0f;
            EVERY(n, TILE / 8) EVERY(e, 2) {
                float& x = s[m][n][h * 2 + e];
                x = exp2_(x - base);
                sum += x;
            }
            total[m * 2 + h] = total[m * 2 + h] * shrink + sum;
            top[m * 2 + h] = best;
            EVERY(n, D / 8) EVERY(e, 2) o[m][n][h * 2 + e] *= shrink;
        }
        accumulate<TIMES, TILE>(o, s, values);
    }
    copies_wait<0>();
    EVERY(i, TIMES * 2) {
        total[i] += __shfl_xor_sync(0xffffffffu, total[i], 1);
        total[i] += __shfl_xor_sync(0xffffffffu, total[i], 2);
        int row = mine + i / 2 * 16 + i % 2 * 8 + (LANE >> 2);
        bool any = total[i] > 0.0f || total[i] != total[i];
        if (row < rows && (LANE & 3) == 0)
            shift[((long long)batch * gridDim.y + head) * rows + row] = any ? top[i] * LN2 + logf(total[i]) : infinity_<float>();
        total[i] = any ? 1.0f / total[i] : 0.0f;
    }
    write<TIMES>(out + batch * out_batch + head * out_head, out_row, o, mine, rows, out_dim, total);
}
"""
_BACK_QUERY = r"""
extern "C" __global__ void __launch_bounds__(128) kernel(
        const T* g, const T* q, const T* k, const T* v, const void* bias, const T* out, const float* shift, float* inner, T* gq, int rows, int columns,
        int dim, int out_dim, int group, int causal, int bias_kind, int aligned, float scale, float factor, long long g_batch, long long g_head,
        long long g_row, long long q_batch, long long q_head, long long q_row, long long k_batch, long long k_head, long long k_row, long long v_batch,
        long long v_head, long long v_row, long long bias_batch, long long bias_head, long long bias_row, long long bias_col, long long out_batch,
        long long out_head, long long out_row, long long gq_batch, long long gq_head, long long gq_row) {
    DYNAMIC_SHARED(memory);
    T* queries = (T*)memory;
    T* above = queries + WARPS * 16 * PITCH;
    T* tiles = above + WARPS * 16 * PITCH;                                 // keys and values, STAGES times
    int head = blockIdx.y, batch = blockIdx.z;
    int start = (causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * WARPS * 16, mine = start + WARP * 16;
    g += batch * g_batch + head * g_head;
    q += batch * q_batch + head * q_head;
    k += batch * k_batch + head / group * k_head;
    v += batch * v_batch + head / group * v_head;
    out += batch * out_batch + head * out_head;
    Bias b = {shifted(bias, bias_kind, batch * bias_batch + head * bias_head), bias_kind, bias_row, bias_col};
    long long at = ((long long)batch * gridDim.y + head) * rows;
    int end = causal && start + WARPS * 16 < columns ? start + WARPS * 16 : columns;
    fetch<WARPS * 16>(queries, q, q_row, start, rows, dim, aligned);
    fetch<WARPS * 16>(above, g, g_row, start, rows, out_dim, aligned);
    fetch<TILE>(tiles, k, k_row, 0, columns, dim, aligned);
    fetch<TILE>(tiles + TILE * PITCH, v, v_row, 0, columns, out_dim, aligned);
    copies_commit();
    float top[2], dot[2] = {0.0f, 0.0f};                                   // of this thread's two rows
    for (int r = 0; r < 16; r++) {
        float d = 0.0f;
        if (mine + r < rows) for (int c = LANE; c < out_dim; c += 32) d += load(g[(mine + r) * g_row + c]) * load(out[(mine + r) * out_row + c]);
        d = warp_sum(d);
        if (mine + r < rows && LANE == 0) inner[at + mine + r] = d;
        if ((LANE >> 2) == r) dot[0] = d;
        if ((LANE >> 2) + 8 == r) dot[1] = d;
    }
    EVERY(h, 2) {
        int row = mine + h * 8 + (LANE >> 2);
        top[h] = row < rows ? shift[at + row] * LOG2E : infinity_<float>();
    }
    float o[1][D / 8][4];
    EVERY(n, D / 8) EVERY(i, 4) o[0][n][i] = 0.0f;
    for (int first = 0, stage = 0; first < end; first += TILE) {
        T* keys = tiles + stage * 2 * TILE * PITCH;
        if (STAGES == 2) {
            stage ^= 1;
            if (first + TILE < end) {
                fetch<TILE>(tiles + stage * 2 * TILE * PITCH, k, k_row, first + TILE, columns, dim, aligned);
                fetch<TILE>(tiles + (stage * 2 + 1) * TILE * PITCH, v, v_row, first + TILE, columns, out_dim, aligned);
            }
            copies_commit();
        }
        copies_wait<STAGES - 1>();
        __syncthreads();
        float s[1][TILE / 8][4], p[1][TILE / 8][4];
        products<1, TILE>(s, queries + WARP * 16 * PITCH, keys);
        products<1, TILE>(p, above + WARP * 16 * PITCH, keys + TILE * PITCH);
        EVERY(n, TILE / 8) EVERY(i, 4) s[0][n][i] *= scale;
        if (bias_kind || first + TILE > columns || (causal && first + TILE - 1 > mine))
            EVERY(n, TILE / 8) EVERY(i, 4)
                s[0][n][i] = masked(s[0][n][i], b, mine + i / 2 * 8 + (LANE >> 2), first + n * 8 + (LANE & 3) * 2 + i % 2, rows, columns, causal);
        EVERY(n, TILE / 8) EVERY(i, 4) s[0][n][i] = exp2_(s[0][n][i] - top[i / 2]) * (p[0][n][i] - dot[i / 2]);
        accumulate<1, TILE>(o, s, keys);
        __syncthreads();
        if (STAGES == 1 && first + TILE < end) {
            fetch<TILE>(tiles, k, k_row, first + TILE, columns, dim, aligned);
            fetch<TILE>(tiles + TILE * PITCH, v, v_row, first + TILE, columns, out_dim, aligned);
            copies_commit();
        }
    }
    copies_wait<0>();
    float factors[2] = {factor, factor};
    write<1>(gq + batch * gq_batch + head * gq_head, gq_row, o, mine, rows, dim, factors);
}
"""
_BACK_KEY = r"""
extern "C" __global__ void __launch_bounds__(128) kernel(
        const T* g, const T* q, const T* k, const T* v, const void* bias, const float* shift, const float* inner, T* gk, T* gv, int rows, int columns,
        int dim, int out_dim, int group, int causal, int bias_kind, int aligned, float scale, float factor, long long g_batch, long long g_head,
        long long g_row, long long q_batch, long long q_head, long long q_row, long long k_batch, long long k_head, long long k_row, long long v_batch,
        long long v_head, long long v_row, long long bias_batch, long long bias_head, long long bias_row, long long bias_col, long long gk_batch,
        long long gk_head, long long gk_row, long long gv_batch, long long gv_head, long long gv_row) {
    DYNAMIC_SHARED(memory);
    T* keys = (T*)memory;
    T* values = keys + WARPS * 16 * PITCH;
    T* tiles = values + WARPS * 16 * PITCH;                                // queries and the gradients of their outputs, STAGES times
    float* sums = (float*)(tiles + STAGES * 2 * TILE * PITCH);                // of a tile: the shift and the inner product of each query
    int head = blockIdx.y, batch = blockIdx.z, start = blockIdx.x * WARPS * 16, mine = start + WARP * 16;
    k += batch * k_batch + head * k_head;
    v += batch * v_batch + head * v_head;
    g += batch * g_batch; q += batch * q_batch;
    int begin = causal ? start / TILE * TILE : 0, tiles_of_head = begin < rows ? (rows - begin + TILE - 1) / TILE : 0, count = tiles_of_head * group;
    float ok[1][D / 8][4], ov[1][D / 8][4];
    EVERY(n, D / 8) EVERY(i, 4) ok[0][n][i] = ov[0][n][i] = 0.0f;
    fetch<WARPS * 16>(keys, k, k_row, start, columns, dim, aligned);
    fetch<WARPS * 16>(values, v, v_row, start, columns, out_dim, aligned);
    if (count) {
        fetch<TILE>(tiles, q + head * group * q_head, q_row, begin, rows, dim, aligned);
        fetch<TILE>(tiles + TILE * PITCH, g + head * group * g_head, g_row, begin, rows, out_dim, aligned);
    }
    copies_commit();
    for (int t = 0, stage = 0; t < count; t++) {
        int of = head * group + t / tiles_of_head, first = begin + t % tiles_of_head * TILE;
        int next_of = head * group + (t + 1) / tiles_of_head, next = begin + (t + 1) % tiles_of_head * TILE;
        T* queries = tiles + stage * 2 * TILE * PITCH;
        if (STAGES == 2) {
            stage ^= 1;
            if (t + 1 < count) {
                fetch<TILE>(tiles + stage * 2 * TILE * PITCH, q + next_of * q_head, q_row, next, rows, dim, aligned);
                fetch<TILE>(tiles + (stage * 2 + 1) * TILE * PITCH, g + next_of * g_head, g_row, next, rows, out_dim, aligned);
            }
            copies_commit();
        }
        long long at = ((long long)batch * gridDim.y * group + of) * rows;
        for (int i = threadIdx.x; i < TILE; i += blockDim.x) {
            sums[i] = first + i < rows ? shift[at + first + i] * LOG2E : infinity_<float>();
            sums[TILE + i] = first + i < rows ? inner[at + first + i] : 0.0f;
        }
        copies_wait<STAGES - 1>();
        __syncthreads();
        Bias b = {shifted(bias, bias_kind, batch * bias_batch + of * bias_head), bias_kind, bias_row, bias_col};
        float s[1][TILE / 8][4], p[1][TILE / 8][4];
        products<1, TILE>(s, keys + WARP * 16 * PITCH, queries);
        products<1, TILE>(p, values + WARP * 16 * PITCH, queries + TILE * PITCH);
        EVERY(n, TILE / 8) EVERY(i, 4) s[0][n][i] *= scale;
        if (bias_kind || mine + 16 > columns || (causal && mine + 15 > first))
            EVERY(n, TILE / 8) EVERY(i, 4)
                s[0][n][i] = masked(s[0][n][i], b, first + n * 8 + (LANE & 3) * 2 + i % 2, mine + i / 2 * 8 + (LANE >> 2), rows, columns, causal);
        EVERY(n, TILE / 8) EVERY(i, 4) {
            int query = n * 8 + (LANE & 3) * 2 + i % 2;
            s[0][n][i] = exp2_(s[0][n][i] - sums[query]);
            p[0][n][i] = s[0][n][i] * (p[0][n][i] - sums[TILE + query]);
        }
        accumulate<1, TILE>(ov, s, queries + TILE * PITCH);
        accumulate<1, TILE>(ok, p, queries);
        __syncthreads();
        if (STAGES == 1 && t + 1 < count) {
            fetch<TILE>(tiles, q + next_of * q_head, q_row, next, rows, dim, aligned);
            fetch<TILE>(tiles + TILE * PITCH, g + next_of * g_head, g_row, next, rows, out_dim, aligned);
            copies_commit();
        }
    }
    copies_wait<0>();
    float factors[2] = {factor, factor}, ones[2] = {1.0f, 1.0f};
    write<1>(gk + batch * gk_batch + head * gk_head, gk_row, ok, mine, columns, dim, factors);
    write<1>(gv + batch * gv_batch + head * gv_head, gv_row, ov, mine, columns, out_dim, ones);
}
"""


_TEXTS = {"attention": _FORWARD, "attention_query_gradient": _BACK_QUERY, "attention_key_gradient": _BACK_KEY}


def _usual(name: str, single: int, size: int) -> tuple[int, ...]:
    both = _SHAPES[bool(single)][size]
    return both[:2] if name == "attention" else both[2:]


@cache
def _kernel(name: str, size: int, single: int, shape: tuple[int, int]) -> tuple[Kernel, int]:
    """The kernel and the shared memory that its block takes; `single`: products per float32 product, or 0."""
    pitch = size * (4 if single else 2) + 16
    head = f"#define D {size}\n#define SINGLE {single}\n#define WARPS {WARPS}\n"
    if name == "attention":
        times, keys = shape
        head, shared, wrong = f"{head}#define TIMES {times}\n#define TILE {keys}\n", (64 * times + 2 * keys) * pitch, times > 4 or keys % 16
    else:
        tile, stages = shape
        head, shared = f"{head}#define STAGES {stages}\n#define TILE {tile}\n", (128 + stages * 2 * tile) * pitch
        shared, wrong = shared + 8 * tile * (name == "attention_key_gradient"), stages > 2 or tile % 16
    if wrong:
        raise ValueError(f"attention: {shape} is no shape of {name}")
    end = f"{size}" + ("_tf32" if single == 1 else "") + ("" if shape == _usual(name, single, size) else f"_{shape[0]}x{shape[1]}")
    dtypes = ("float32",) if single else ("float16", "bfloat16")
    return Kernel(f"{name}_{end}", head + tensor_core.TENSOR_CORE + _CORE + _TEXTS[name], dtypes), shared


for _single in (0, 1, 3):
    for _head in SIZES:
        for _name in _TEXTS:
            _kernel(_name, _head, _single, _usual(_name, _single, _head))


def _size(q: CupyArray, v: CupyArray) -> int:
    """The head size of the kernel for these queries and values."""
    return next(size for size in SIZES if size >= max(q.shape[3], v.shape[3]))


def _shape(name: str, single: int, size: int) -> tuple[int, ...]:
    """The shape that was measured to be the fastest on this kind of GPU, else the one by reckoning."""
    return tiles.attention("forward" if name == "attention" else "backward", bool(single), size) or _usual(name, single, size)


def _fits(q: CupyArray, k: CupyArray, v: CupyArray) -> bool:
    """Whether the kernels take these arrays (batch, heads, length, head size)."""
    return (q.dtype.name in ("float16", "bfloat16", "float32") and k.dtype == q.dtype == v.dtype and 0 < q.shape[3] <= LARGEST
            and 0 < v.shape[3] <= LARGEST
            and min(q.size, k.size, v.size) > 0 and max(q.shape[:2]) < 65536 and tensor_core.available())


def _launch(name: str, q: CupyArray, v: CupyArray, grid: tuple[int, int, int], args: tuple[Any, ...]) -> None:
    dtype = q.dtype.name
    single = 0 if dtype != "float32" else 1 if tf32() else 3
    size = _size(q, v)
    kernel, shared = _kernel(name, size, single, _shape(name, single, size))
    ready = kernel(dtype)
    if shared > 48 << 10 and ready.max_dynamic_shared_size_bytes < shared:
        ready.max_dynamic_shared_size_bytes = shared
    ready(grid, (32 * WARPS,), args, shared_mem=shared)


def _rows_dense(a: CupyArray) -> CupyArray:
    """The array, or a copy where its last dimension has gaps."""
    return a if a.strides[-1] == a.itemsize or a.shape[-1] == 1 else a.copy()


def _strides(*arrays: CupyArray) -> list[np.int64]:
    """Of batch, head and row, in elements, one array after the other."""
    return [np.int64(step // a.itemsize) for a in arrays for step in a.strides[:3]]


def _aligned(*arrays: CupyArray) -> np.int32:
    """Whether all rows begin on 16 bytes and end there."""
    return np.int32(all(not (a.data.ptr | a.shape[3] * a.itemsize) & 15 and not any(step & 15 for step in a.strides[:3]) for a in arrays))


def _bias(bias: CupyArray | None, dtype: NumpyDtype) -> tuple[Array | np.uint64, np.int32, list[np.int64]]:
    """(array or null pointer, kind, strides)."""
    if bias is None:
        return np.uint64(0), np.int32(0), [np.int64(0)] * 4
    if bias.dtype.kind != "b" and bias.dtype != dtype:
        bias = bias.astype(dtype)
    return bias, np.int32(2 if bias.dtype.kind == "b" else 1), [np.int64(step // bias.itemsize) for step in bias.strides]


def _same_layout(a: CupyArray, shape: tuple[int, ...]) -> CupyArray:
    """An empty array of this shape whose dimensions lie in memory as those of `a`."""
    module = driver.needed()
    if a.shape == shape and 0 not in a.strides:
        return module.empty_like(a)
    return module.empty(shape, a.dtype)


def _four(a: CupyArray, leading: tuple[int, ...]) -> CupyArray:
    """An array with these leading dimensions as (batch, heads, length, size); what is broadcast has strides of 0."""
    if a.shape[:-2] != leading:
        a = driver.needed().broadcast_to(a, (*leading, *a.shape[-2:]))
    return a if a.ndim == 4 else a.reshape((*(1,) * (4 - a.ndim), *a.shape) if a.ndim < 4 else (-1, *a.shape[-3:]))


def _leading(q: CupyArray, k: CupyArray, v: CupyArray, bias: CupyArray | None) -> tuple[tuple[int, ...], ...] | None:
    """The leading dimensions with which q, k and v go to the kernels; None where those don't take them."""
    first, second = q.shape[:-2], k.shape[:-2]
    if first and second and v.shape[:-2] == second and first[:-1] == second[:-1] and second[-1] and first[-1] % second[-1] == 0:
        found = first, second, second                     # each head of k serves several of q
    else:
        try:
            found = (broadcast_shapes(first, second, v.shape[:-2]),) * 3
        except ValueError:
            return None
    return found if bias is None or broadcast_shapes(bias.shape[:-2], found[0]) == found[0] else None


def attention(q: CupyArray, k: CupyArray, v: CupyArray, bias: CupyArray | None, noise: Function | None, causal: bool, scale: float,
              of_bias: bool) -> tuple[Array, Array]:
    """(softmax(q k' scale + bias) v, log of the sum of exponentials per query); the result lies in memory as q does."""
    leading = None if noise is not None or of_bias else _leading(q, k, v, bias)
    if leading is None:
        return NotImplemented
    first, width = leading[0], v.shape[-1]
    if bias is not None:
        bias = _four(driver.needed().broadcast_to(bias, (*first, q.shape[-2], k.shape[-2])), first)
    q, k, v = map(_four, (q, k, v), leading)
    if not _fits(q, k, v):
        return NotImplemented
    out, shift = _attention(q, k, v, bias, causal, scale)
    return out.reshape(*first, out.shape[2], width), shift


def attention_gradient(g: CupyArray, q: CupyArray, k: CupyArray, v: CupyArray, bias: CupyArray | None, noise: Function | None, causal: bool,
                       scale: float, of_bias: bool, out: CupyArray, *kept: CupyArray) -> tuple[Array, Array, Array, Array | None]:
    """The gradients of q, k and v, each in the layout of its tensor, and None; `kept` is what the forward pass kept."""
    leading = _leading(q, k, v, bias)
    if leading is None or len(kept) != 1:
        return NotImplemented
    first = leading[0]
    if bias is not None:
        bias = _four(driver.needed().broadcast_to(bias, (*first, q.shape[-2], k.shape[-2])), first)
    four = [_four(a, like) for a, like in zip((q, k, v), leading, strict=True)]
    grads = _attention_gradient(_four(g, first), four[0], four[1], four[2], bias, _four(out, first), kept[0], causal, scale)
    dq, dk, dv = (grad.reshape(*like, *a.shape[-2:]) for grad, a, like in zip(grads, (q, k, v), leading, strict=True))
    return dq, dk, dv, None


def _attention(q: CupyArray, k: CupyArray, v: CupyArray, bias: CupyArray | None, causal: bool, scale: float) -> tuple[Array, Array]:
    """The same of q: (batch, heads, rows, dim); k, v: as many heads or a divisor of it; bias: None, numbers, or bools (False hides), of the
    scores' shape, with strides of 0 where it is broadcast."""
    q, k, v = map(_rows_dense, (q, k, v))
    batch, heads, rows, dim = q.shape
    out = _same_layout(q, (batch, heads, rows, v.shape[3]))
    shift = driver.needed().empty((batch, heads, rows), np.float32)
    array, kind, steps = _bias(bias, q.dtype)
    block = 16 * WARPS * _shape("attention", int(q.itemsize == 4), _size(q, v))[0]
    _launch("attention", q, v, (-(-rows // block), heads, batch),
            (q, k, v, array, out, shift, np.int32(rows), np.int32(k.shape[2]), np.int32(dim), np.int32(v.shape[3]),
             np.int32(heads // k.shape[1]), np.int32(causal), kind, _aligned(q, k, v), np.float32(scale * log2(np.e)), *_strides(q, k, v),
             *steps, *_strides(out)))
    return out, shift


def _attention_gradient(g: CupyArray, q: CupyArray, k: CupyArray, v: CupyArray, bias: CupyArray | None, out: CupyArray, shift: CupyArray,
                        causal: bool, scale: float) -> tuple[Array, Array, Array]:
    """The gradients of q, k and v."""
    g, q, k, v = map(_rows_dense, (g, q, k, v))
    batch, heads, rows, dim = q.shape
    groups, columns = k.shape[1:3]
    gq, gk, gv = (_same_layout(a, a.shape) for a in (q, k, v))
    inner = driver.needed().empty((batch, heads, rows), np.float32)
    array, kind, steps = _bias(bias, q.dtype)
    rest = (np.int32(rows), np.int32(columns), np.int32(dim), np.int32(v.shape[3]), np.int32(heads // groups), np.int32(causal), kind,
            _aligned(g, q, k, v), np.float32(scale * log2(np.e)), np.float32(scale), *_strides(g, q, k, v), *steps)
    _launch("attention_query_gradient", q, v, (-(-rows // (16 * WARPS)), heads, batch),
            (g, q, k, v, array, out, shift, inner, gq, *rest, *_strides(out, gq)))
    _launch("attention_key_gradient", q, v, (-(-columns // (16 * WARPS)), groups, batch),
            (g, q, k, v, array, shift, inner, gk, gv, *rest, *_strides(gk, gv)))
    return gq, gk, gv
