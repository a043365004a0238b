"""Sums over the rows of a matrix, always in the same order: gradients of biases and of the weights of norms."""

from __future__ import annotations

import numpy as np

from ...vocabulary import Array
from . import driver
from .source import ACCUMULATE, THREADS, Kernel, blocks

__all__ = ["column_sums", "sum_parts"]

# Eight warps take every eighth row of their slice; a lane has four neighbouring columns.
_PARTS = Kernel("column_parts", r"""
struct __align__(4 * sizeof(T)) Four { T v[4]; };
extern "C" __global__ void kernel(const T* __restrict__ x, A* parts, long long rows, int n, int per_slice) {
    __shared__ A sums[8][128];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, col = blockIdx.x * 128 + lane * 4;
    long long first = (long long)blockIdx.y * per_slice, last = first + per_slice < rows ? first + per_slice : rows;
    bool whole = n % 4 == 0 && col < n && !((unsigned long long)x & (4 * sizeof(T) - 1));
    A sum[4] = {(A)0, (A)0, (A)0, (A)0};
    for (long long row = first + warp; row < last; row += 8) {
        if (whole) {
            Four four = *(const Four*)(x + row * n + col);
            for (int i = 0; i < 4; i++) sum[i] += load(four.v[i]);
        } else {
            for (int i = 0; i < 4; i++) if (col + i < n) sum[i] += load(x[row * n + col + i]);
        }
    }
    for (int i = 0; i < 4; i++) sums[warp][lane * 4 + i] = sum[i];
    __syncthreads();
    if (threadIdx.x < 128 && blockIdx.x * 128 + threadIdx.x < n) {
        A total = (A)0;
        for (int k = 0; k < 8; k++) total += sums[k][threadIdx.x];
        parts[(long long)blockIdx.y * n + blockIdx.x * 128 + threadIdx.x] = total;
    }
}
""")
_SUM = Kernel("sum_parts", r"""
extern "C" __global__ void kernel(const A* __restrict__ parts, T* first, T* second, int slices, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    for (int which = 0; which < (second ? 2 : 1); which++) {
        A total = (A)0;
        for (int k = 0; k < slices; k++) total += parts[((long long)which * slices + k) * n + i];
        store((which ? second : first) + i, total);
    }
}
""")


def sum_parts(parts: Array, first: Array, second: Array | None = None) -> None:
    """first = parts[0].sum(0), second = parts[1].sum(0): `parts` (1 or 2, slices, n) is in the arithmetic type of the results' dtype."""
    slices, n = parts.shape[1:]
    _SUM(first.dtype.name)((blocks(n),), (THREADS,), (parts, first, np.uint64(0) if second is None
                                                      else second, np.int32(slices), np.int32(n)))


def column_sums(x: Array) -> Array:
    """x.sum(0) of a matrix of floating dtype, summed in the arithmetic type."""
    module = driver.needed()
    if not x.size:
        return module.zeros(x.shape[1], x.dtype)
    x = x if x.flags.c_contiguous else x.copy()
    rows, n = x.shape
    columns = blocks(n, 128)
    slices = max(1, min(-(-rows // 64), 512 // columns + 1))
    parts = module.empty((1, slices, n), np.float64 if ACCUMULATE[x.dtype.name] == "double" else np.float32)
    _PARTS(x.dtype.name)((columns, slices), (256,), (x, parts, np.int64(rows), np.int32(n), np.int32(-(-rows // slices))))
    out = module.empty(n, x.dtype)
    sum_parts(parts, out)
    return out
