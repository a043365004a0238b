"""Scaled dot-product attention without the score matrix in memory, forward and backward.

Dao, Fu, Ermon, Rudra and Re, "FlashAttention", 2022. A block of 64 threads holds 64 queries, one per thread, and walks over the keys in tiles
of 32 in shared memory, keeping the running maximum and sum. The backward pass recomputes the probabilities: once per query for its gradient,
once per key for those of keys and values, so nothing is added atomically. Head sizes up to 128; sums in the arithmetic type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...cuda import driver
from .source import Kernel

__all__ = ["attention", "attention_backward", "fits"]

THREADS, TILE, LARGEST = 64, 32, 128
_HEAD = f"#define TILE {TILE}\n#define LARGEST {LARGEST}\n" + r"""
__device__ __forceinline__ void fetch(A* to, const T* from, int first, int rows, int dim) {
    for (int i = threadIdx.x; i < TILE * dim; i += blockDim.x) {
        int row = first + i / dim;
        to[i] = row < rows ? load(from[(long long)row * dim + i % dim]) : (A)0;
    }
}
"""
_FORWARD = Kernel("attention", _HEAD + r"""
extern "C" __global__ void kernel(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* bias, T* __restrict__ out,
                                  A* shift, int rows, int columns, int dim, int causal, long long bias_step, double scale) {
    __shared__ A tile[TILE * LARGEST];
    long long batch = blockIdx.y;
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    const T* mine = q + (batch * rows + row) * dim;
    A sum[LARGEST];
    A top = -infinity_<A>(), total = (A)0;
    for (int c = 0; c < dim; c++) sum[c] = (A)0;
    for (int first = 0; first < columns; first += TILE) {
        A score[TILE];
        __syncthreads();
        fetch(tile, k + batch * columns * dim, first, columns, dim);
        __syncthreads();
        A best = top;
        for (int j = 0; j < TILE; j++) {
            A s = -infinity_<A>();
            if (row < rows && first + j < columns && !(causal && first + j > row)) {
                s = (A)0;
                for (int c = 0; c < dim; c++) s += load(mine[c]) * tile[j * dim + c];
                s *= (A)scale;
                if (bias) s += load(bias[batch * bias_step + (long long)row * columns + first + j]);
            }
            score[j] = s;
            best = max_(best, s);
        }
        __syncthreads();
        fetch(tile, v + batch * columns * dim, first, columns, dim);
        __syncthreads();
        if (best == -infinity_<A>()) continue;
        A shrink = exp_(top - best);
        total *= shrink;
        for (int c = 0; c < dim; c++) sum[c] *= shrink;
        for (int j = 0; j < TILE; j++) {
            A p = exp_(score[j] - best);
            total += p;
            for (int c = 0; c < dim; c++) sum[c] += p * tile[j * dim + c];
        }
        top = best;
    }
    if (row < rows) {
        for (int c = 0; c < dim; c++) store(out + (batch * rows + row) * dim + c, total > (A)0 ? sum[c] / total : (A)0);
        shift[batch * rows + row] = total > (A)0 ? top + log_(total) : infinity_<A>();
    }
}
""")
_BACK_QUERY = Kernel("attention_query_gradient", _HEAD + r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* bias,
                                  const T* __restrict__ out, const A* shift, A* inner, T* __restrict__ gq, int rows, int columns, int dim, int causal,
                                  long long bias_step, double scale) {
    __shared__ A keys[TILE * LARGEST], values[TILE * LARGEST];
    long long batch = blockIdx.y;
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    long long start = (batch * rows + row) * dim;
    A sum[LARGEST];
    A d = (A)0;
    for (int c = 0; c < dim; c++) sum[c] = (A)0;
    if (row < rows) {
        for (int c = 0; c < dim; c++) d += load(g[start + c]) * load(out[start + c]);
        inner[batch * rows + row] = d;
    }
    for (int first = 0; first < columns; first += TILE) {
        __syncthreads();
        fetch(keys, k + batch * columns * dim, first, columns, dim);
        fetch(values, v + batch * columns * dim, first, columns, dim);
        __syncthreads();
        if (row < rows) for (int j = 0; j < TILE && first + j < columns && !(causal && first + j > row); j++) {
            A s = (A)0, gp = (A)0;
            for (int c = 0; c < dim; c++) { s += load(q[start + c]) * keys[j * dim + c]; gp += load(g[start + c]) * values[j * dim + c]; }
            s *= (A)scale;
            if (bias) s += load(bias[batch * bias_step + (long long)row * columns + first + j]);
            A gs = exp_(s - shift[batch * rows + row]) * (gp - d) * (A)scale;
            for (int c = 0; c < dim; c++) sum[c] += gs * keys[j * dim + c];
        }
    }
    if (row < rows) for (int c = 0; c < dim; c++) store(gq + start + c, sum[c]);
}
""")
_BACK_KEY = Kernel("attention_key_gradient", _HEAD + r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* bias,
                                  const A* shift, const A* inner, T* __restrict__ gk, T* __restrict__ gv, int rows, int columns, int dim, int causal,
                                  long long bias_step, double scale) {
    __shared__ A queries[TILE * LARGEST], above[TILE * LARGEST];
    long long batch = blockIdx.y;
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    long long start = (batch * columns + column) * dim;
    A sum_k[LARGEST], sum_v[LARGEST];
    for (int c = 0; c < dim; c++) sum_k[c] = sum_v[c] = (A)0;
    for (int first = 0; first < rows; first += TILE) {
        __syncthreads();
        fetch(queries, q + batch * rows * dim, first, rows, dim);
        fetch(above, g + batch * rows * dim, first, rows, dim);
        __syncthreads();
        if (column < columns) for (int i = 0; i < TILE && first + i < rows; i++) {
            int row = first + i;
            if (causal && column > row) continue;
            A s = (A)0, gp = (A)0;
            for (int c = 0; c < dim; c++) { s += queries[i * dim + c] * load(k[start + c]); gp += above[i * dim + c] * load(v[start + c]); }
            s *= (A)scale;
            if (bias) s += load(bias[batch * bias_step + (long long)row * columns + column]);
            A p = exp_(s - shift[batch * rows + row]), gs = p * (gp - inner[batch * rows + row]) * (A)scale;
            for (int c = 0; c < dim; c++) { sum_v[c] += p * above[i * dim + c]; sum_k[c] += gs * queries[i * dim + c]; }
        }
    }
    if (column < columns) for (int c = 0; c < dim; c++) { store(gk + start + c, sum_k[c]); store(gv + start + c, sum_v[c]); }
}
""", ("float32", "float16", "bfloat16"))
_FORWARD.dtypes = _BACK_QUERY.dtypes = _BACK_KEY.dtypes      # float64 tiles of 128 would not fit the shared memory


def fits(q: Any, k: Any, v: Any) -> bool:
    """Whether the kernels take these arrays (batch, length, head size)."""
    return (q.dtype.name in _FORWARD.dtypes and k.dtype == q.dtype == v.dtype and 0 < q.shape[-1] <= LARGEST and v.shape[-1] == q.shape[-1]
            and q.size > 0 and k.size > 0 and q.shape[0] < 65536)


def _bias(bias: Any, q: Any, k: Any) -> tuple[Any, Any]:
    if bias is None:
        return np.uint64(0), np.int64(0)
    return driver.needed().ascontiguousarray(bias, q.dtype), np.int64(q.shape[1] * k.shape[1] if bias.ndim == 3 and bias.shape[0] > 1 else 0)


def attention(q: Any, k: Any, v: Any, bias: Any, causal: bool, scale: float) -> tuple[Any, Any]:
    """(softmax(q k' scale + bias) v, log of the sum of exponentials per query). q: (batch, rows, dim); bias: (rows, columns), with or
    without a batch dimension, or None."""
    module = driver.needed()
    q, k, v = (module.ascontiguousarray(a) for a in (q, k, v))
    batch, rows, dim = q.shape
    columns = k.shape[1]
    out, shift = module.empty(q.shape, q.dtype), module.empty((batch, rows), np.float32)
    array, step = _bias(bias, q, k)
    _FORWARD(q.dtype.name)((-(-rows // THREADS), batch), (THREADS,), (q, k, v, array, out, shift, np.int32(rows), np.int32(columns), np.int32(dim),
                                                                      np.int32(causal), step, np.float64(scale)))
    return out, shift


def attention_backward(g: Any, q: Any, k: Any, v: Any, bias: Any, out: Any, shift: Any, causal: bool, scale: float) -> tuple[Any, Any, Any]:
    """The gradients of q, k and v."""
    module = driver.needed()
    g, q, k, v, out = (module.ascontiguousarray(a) for a in (g, q, k, v, out))
    batch, rows, dim = q.shape
    columns = k.shape[1]
    gq, gk, gv = module.empty(q.shape, q.dtype), module.empty(k.shape, k.dtype), module.empty(v.shape, v.dtype)
    inner = module.empty((batch, rows), np.float32)
    array, step = _bias(bias, q, k)
    rest = (np.int32(rows), np.int32(columns), np.int32(dim), np.int32(causal), step, np.float64(scale))
    name = q.dtype.name
    _BACK_QUERY(name)((-(-rows // THREADS), batch), (THREADS,), (g, q, k, v, array, out, shift, inner, gq, *rest))
    _BACK_KEY(name)((-(-columns // THREADS), batch), (THREADS,), (g, q, k, v, array, shift, inner, gk, gv, *rest))
    return gq, gk, gv
