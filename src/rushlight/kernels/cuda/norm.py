"""Layer, group and RMS norm with their gradients; batch norm is in channel_norm.py.

They work on rows: one block per row. Element `col` of row `row` has weight number ``row % groups * per_group + col / span``: layer and RMS norm
have groups = 1 and span = 1. Statistics are kept in the arithmetic type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import driver
from .columns import sum_parts
from .source import ACCUMULATE, Kernel, blocks, row_threads

__all__ = ["rows_forward", "rows_backward"]

_INDEX = r"""
__device__ __forceinline__ int weight_of(long long row, int col, int groups, int per_group, int span) {
    return (int)(row % groups) * per_group + col / span;
}
"""
_ROWS = Kernel("norm_rows", _INDEX + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, const T* w, const T* b, T* __restrict__ y, A* mean, A* rstd, int n, double eps,
                                  int rms, int groups, int per_group, int span) {
    long long row = blockIdx.x;
    const T* in = x + row * n;
    A m = (A)0;
    if (!rms) {
        for (int i = threadIdx.x; i < n; i += blockDim.x) m += load(in[i]);
        m = block_sum(m) / (A)n;
    }
    A v = (A)0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) { A d = load(in[i]) - m; v += d * d; }
    A r = rsqrt_(block_sum(v) / (A)n + (A)eps);
    if (threadIdx.x == 0) { mean[row] = m; rstd[row] = r; }
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        int k = weight_of(row, i, groups, per_group, span);
        A value = (load(in[i]) - m) * r;
        if (w) value *= load(w[k]);
        if (b) value += load(b[k]);
        store(y + row * n + i, value);
    }
}
""")
_ROWS_INPUT = Kernel("norm_rows_input_gradient", _INDEX + r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ x, const T* w, const A* mean, const A* rstd, T* __restrict__ gx,
                                  int n, int rms, int groups, int per_group, int span) {
    long long row = blockIdx.x, start = row * n;
    A m = mean[row], r = rstd[row], first = (A)0, second = (A)0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        A v = load(g[start + i]);
        if (w) v *= load(w[weight_of(row, i, groups, per_group, span)]);
        first += v;
        second += v * (load(x[start + i]) - m) * r;
    }
    first = rms ? (A)0 : block_sum(first) / (A)n;
    second = block_sum(second) / (A)n;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        A v = load(g[start + i]);
        if (w) v *= load(w[weight_of(row, i, groups, per_group, span)]);
        store(gx + start + i, r * (v - first - (load(x[start + i]) - m) * r * second));
    }
}
""")
# Each block adds up 32 columns over a slice of the rows; the slices are summed afterwards, always in the same order.
_ROWS_WEIGHT = Kernel("norm_rows_weight_gradient", r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ x, const A* mean, const A* rstd, A* gw, A* gb, long long rows, int n,
                                  int per_slice) {
    __shared__ A sums[2][8][33];
    int lane = threadIdx.x & 31, part = threadIdx.x >> 5, col = blockIdx.x * 32 + lane;
    A a = (A)0, c = (A)0;
    long long last = (long long)(blockIdx.y + 1) * per_slice;
    if (last > rows) last = rows;
    if (col < n) for (long long row = (long long)blockIdx.y * per_slice + part; row < last; row += 8) {
        A v = load(g[row * n + col]);
        a += v * (load(x[row * n + col]) - mean[row]) * rstd[row];
        c += v;
    }
    sums[0][part][lane] = a;
    sums[1][part][lane] = c;
    __syncthreads();
    if (part == 0 && col < n) {
        a = c = (A)0;
        for (int k = 0; k < 8; k++) { a += sums[0][k][lane]; c += sums[1][k][lane]; }
        gw[(long long)blockIdx.y * n + col] = a;
        gb[(long long)blockIdx.y * n + col] = c;
    }
}
""")


def _arithmetic(dtype: Any) -> Any:
    """The dtype that statistics are kept in."""
    return np.dtype(np.float64 if ACCUMULATE[dtype.name] == "double" else np.float32)


def _or_null(a: Any) -> Any:
    """The array, or the null pointer."""
    return np.uint64(0) if a is None else a if a.flags.c_contiguous else a.copy()


def _dense(a: Any) -> Any:
    return a if a.flags.c_contiguous else a.copy()


def rows_forward(x: Any, w: Any, b: Any, n: int, eps: float, rms: bool, groups: int = 1, per_group: int = 0, span: int = 1) -> tuple[Any, Any, Any]:
    """(y, mean, 1 / standard deviation) of rows of n elements."""
    module = driver.needed()
    x = _dense(x)
    rows, kind = x.size // n, _arithmetic(x.dtype)
    y, mean, rstd = module.empty(x.shape, x.dtype), module.empty(rows, kind), module.empty(rows, kind)
    _ROWS(x.dtype.name)((rows,), (row_threads(n),), (x, _or_null(w), _or_null(b), y, mean, rstd, np.int32(n), np.float64(eps), np.int32(rms),
                                                     np.int32(groups), np.int32(per_group), np.int32(span)))
    return y, mean, rstd


def rows_backward(g: Any, x: Any, w: Any, mean: Any, rstd: Any, n: int, rms: bool, groups: int = 1, per_group: int = 0, span: int = 1,
                  need_x: bool = True, need_w: bool = True) -> tuple[Any, Any, Any]:
    """Gradients of the input, the weight and the bias (None where not needed; per column: fold groups and spans yourself)."""
    module = driver.needed()
    g, x = _dense(g), _dense(x)
    rows, name = x.size // n, x.dtype.name
    gx = gw = gb = None
    if need_x:
        gx = module.empty(x.shape, x.dtype)
        _ROWS_INPUT(name)((rows,), (row_threads(n),), (g, x, _or_null(w), mean, rstd, gx, np.int32(n), np.int32(rms), np.int32(groups),
                                                       np.int32(per_group), np.int32(span)))
    if need_w:
        columns = blocks(n, 32)
        slices = max(1, min(-(-rows // 64), 512 // columns + 1, 65535))
        per_slice = -(-rows // slices)
        parts = module.empty((2, slices, n), mean.dtype)
        _ROWS_WEIGHT(name)((columns, slices), (256,), (g, x, mean, rstd, parts[0], parts[1], np.int64(rows), np.int32(n), np.int32(per_slice)))
        gw, gb = module.empty(n, x.dtype), module.empty(n, x.dtype)
        sum_parts(parts, gw, gb)
    return gx, gw, gb
