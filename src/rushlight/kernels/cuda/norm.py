"""Layer, group, instance and RMS norm with their gradients; batch norm is in channel_norm.py.

They work on rows: one block per row. Element `col` of row `row` has weight number ``row % groups * per_group + col / span``: layer and RMS
norm have groups = 1 and span = 1. Statistics are kept in the arithmetic type.
"""

from __future__ import annotations

import numpy as np

from ...vocabulary import Array, NumpyDtype
from . import driver
from .channel_norm import batch, batch_backward, fixed, fixed_backward, move
from .columns import sum_parts
from .source import ACCUMULATE, Kernel, blocks, row_threads

__all__ = ["rows", "rows_backward", "rms", "rms_backward", "batch", "batch_backward", "fixed", "fixed_backward", "move"]

_INDEX = r"""
__device__ __forceinline__ int weight_of(long long row, int col, int groups, int per_group, int span) {
    return (int)(row % groups) * per_group + col / span;
}
"""
_ROWS = Kernel("norm_rows", _INDEX + r"""
extern "C" __global__ void kernel(const T* __restrict__ x, const T* w, const T* b, T* __restrict__ y, A* mean, A* var, int n, double eps,
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
    v = block_sum(v) / (A)n;
    A r = rsqrt_(v + (A)eps);
    if (threadIdx.x == 0) { mean[row] = m; var[row] = v; }
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
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ x, const T* w, const A* mean, const A* var, T* __restrict__ gx,
                                  int n, double eps, int rms, int groups, int per_group, int span) {
    long long row = blockIdx.x, start = row * n;
    A m = mean[row], r = rsqrt_(var[row] + (A)eps), first = (A)0, second = (A)0;
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
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ x, const A* mean, const A* var, A* gw, A* gb, long long rows, int n,
                                  int per_slice, double eps) {
    __shared__ A sums[2][8][33];
    int lane = threadIdx.x & 31, part = threadIdx.x >> 5, col = blockIdx.x * 32 + lane;
    A a = (A)0, c = (A)0;
    long long last = (long long)(blockIdx.y + 1) * per_slice;
    if (last > rows) last = rows;
    if (col < n) for (long long row = (long long)blockIdx.y * per_slice + part; row < last; row += 8) {
        A v = load(g[row * n + col]);
        a += v * (load(x[row * n + col]) - mean[row]) * rsqrt_(var[row] + (A)eps);
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


def _arithmetic(dtype: NumpyDtype) -> NumpyDtype:
    """The dtype that statistics are kept in."""
    return np.dtype(np.float64 if ACCUMULATE[dtype.name] == "double" else np.float32)


def _weights(a: Array | None, x: Array) -> Array | np.uint64:
    """A weight or bias in the dtype of x, or the null pointer."""
    return np.uint64(0) if a is None else driver.needed().ascontiguousarray(a.astype(x.dtype, copy=False))


def _dense(a: Array) -> Array:
    return a if a.flags.c_contiguous else a.copy()


def _forward(x: Array, w: Array | None, b: Array | None, eps: float, rows: int, groups: int, spatial: int,
             centered: bool) -> tuple[Array, Array, Array]:
    module = driver.needed()
    x = _dense(x)
    n, kind = x.size // rows, _arithmetic(x.dtype)
    y, mean, var = module.empty(x.shape, x.dtype), module.empty(rows, kind), module.empty(rows, kind)
    _ROWS(x.dtype.name)((rows,), (row_threads(n),),
                        (x, _weights(w, x), _weights(b, x), y, mean, var, np.int32(n), np.float64(eps), np.int32(not centered),
                                                     np.int32(groups), np.int32(n // spatial), np.int32(spatial)))
    return y, mean, var


def _input_gradient(g: Array, x: Array, w: Array | None, mean: Array, var: Array, eps: float, rows: int, groups: int, spatial: int,
                    centered: bool) -> Array:
    gx, n = driver.needed().empty(x.shape, x.dtype), x.size // rows
    _ROWS_INPUT(x.dtype.name)((rows,), (row_threads(n),),
                              (g, x, _weights(w, x), mean, var, gx, np.int32(n), np.float64(eps), np.int32(not centered), np.int32(groups),
                                                           np.int32(n // spatial), np.int32(spatial)))
    return gx


def _column_gradients(g: Array, x: Array, mean: Array, var: Array, eps: float, rows: int) -> tuple[Array, Array]:
    """The gradients of a weight and a bias per column."""
    module, n = driver.needed(), x.size // rows
    columns = blocks(n, 32)
    slices = max(1, min(-(-rows // 64), 512 // columns + 1, 65535))
    parts = module.empty((2, slices, n), mean.dtype)
    _ROWS_WEIGHT(x.dtype.name)((columns, slices), (256,),
                               (g, x, mean, var, parts[0], parts[1], np.int64(rows), np.int32(n), np.int32(-(-rows // slices)),
                                                           np.float64(eps)))
    gw, gb = module.empty(n, x.dtype), module.empty(n, x.dtype)
    sum_parts(parts, gw, gb)
    return gw, gb


def rows(x: Array, weight: Array | None, bias: Array | None, eps: float, rows: int, groups: int,
         spatial: int) -> tuple[Array, Array, Array]:
    """(y, mean, variance), as ``kernels/norm.py: rows``."""
    return _forward(x, weight, bias, eps, rows, groups, spatial, True) if x.size else NotImplemented


def rows_backward(g: Array, x: Array, weight: Array | None, mean: Array, var: Array, eps: float, rows: int, groups: int, spatial: int,
                  want_x: bool, want_w: bool, want_b: bool) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of the input, the weight and the bias."""
    if not x.size:
        return NotImplemented
    g, x = _dense(g), _dense(x)
    gx = _input_gradient(g, x, weight, mean, var, eps, rows, groups, spatial, True) if want_x else None
    gw = gb = None
    if (want_w or want_b) and groups == spatial == 1:
        gw, gb = _column_gradients(g, x, mean, var, eps, rows)
    elif want_w or want_b:
        n, kind = x.size // rows, mean.dtype
        parts = (rows // groups, groups, n // spatial, spatial)
        wide = g.astype(kind, copy=False).reshape(rows, n)
        xhat = (x.astype(kind, copy=False).reshape(rows, n) - mean[:, None]) / driver.needed().sqrt(var + kind.type(eps))[:, None]
        gw, gb = (each.reshape(parts).sum((0, 3)).reshape(-1) for each in (wide * xhat, wide))
    return gx, gw if want_w else None, gb if want_b else None


def rms(x: Array, weight: Array | None, eps: float, length: int) -> Array:
    """x / root of the mean square of each row * weight."""
    return _forward(x, weight, None, eps, x.size // length, 1, 1, False)[0] if x.size else NotImplemented


def rms_backward(g: Array, x: Array, weight: Array | None, eps: float, length: int) -> tuple[Array, Array | None]:
    """Gradients of the input and the weight."""
    if not x.size:
        return NotImplemented
    g, x, rows = _dense(g), _dense(x), x.size // length
    mean, var = _forward(x, None, None, eps, rows, 1, 1, False)[1:]
    return _input_gradient(g, x, weight, mean, var, eps, rows, 1, 1,
                           False), None if weight is None else _column_gradients(g, x, mean, var, eps, rows)[0]
