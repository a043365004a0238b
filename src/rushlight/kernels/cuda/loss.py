"""Cross-entropy of rows of logits: log_softmax, the pick and their gradient without the table of probabilities in memory."""

from __future__ import annotations

import numpy as np

from ...vocabulary import Array, NumpyDtype
from . import driver
from .source import Kernel, row_threads

__all__ = ["mean_entropy", "mean_entropy_backward"]

_FORWARD = Kernel("cross_entropy", r"""
extern "C" __global__ void kernel(const T* __restrict__ x, const long long* target, A* loss, A* shift, int n, long long ignored) {
    const T* row = x + (long long)blockIdx.x * n;
    A top = -infinity_<A>();
    for (int i = threadIdx.x; i < n; i += blockDim.x) top = max_(top, load(row[i]));
    top = block_max(top);
    A total = (A)0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += exp_(load(row[i]) - top);
    total = block_sum(total);
    if (threadIdx.x == 0) {
        long long t = target[blockIdx.x];
        A s = top + log_(total);
        shift[blockIdx.x] = s;
        if (t != ignored && (t < 0 || t >= n)) __trap();
        loss[blockIdx.x] = t == ignored ? (A)0 : s - load(row[t]);
    }
}
""")
# One block: the mean over the rows that count, always added in the same order. The result goes to `out`, or in the arithmetic type to
# `wide`.
_MEAN = Kernel("cross_entropy_mean", r"""
extern "C" __global__ void kernel(const A* __restrict__ loss, const long long* target, T* out, A* wide, A* count, long long rows, long long ignored) {
    A total = (A)0, n = (A)0;
    for (long long i = threadIdx.x; i < rows; i += blockDim.x) { total += loss[i]; n += target[i] != ignored ? (A)1 : (A)0; }
    total = block_sum(total);
    n = block_sum(n);
    if (threadIdx.x == 0) {
        *count = n;
        if (wide) *wide = total / n; else store(out, total / n);
    }
}
""")
_BACKWARD = Kernel("cross_entropy_backward", r"""
extern "C" __global__ void kernel(const T* __restrict__ x, const long long* target, const A* shift, const T* g, const A* wide, const A* count,
                                  T* __restrict__ gx, int n, long long ignored) {
    long long start = (long long)blockIdx.x * n, t = target[blockIdx.x];
    A s = shift[blockIdx.x], k = (wide ? *wide : load(*g)) / *count;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        store(gx + start + i, t == ignored ? (A)0 : k * (exp_(load(x[start + i]) - s) - (i == t ? (A)1 : (A)0)));
}
""")


def _either(a: Array, dtype: NumpyDtype) -> tuple[Array | np.uint64, Array | np.uint64]:
    """A number of the logits' dtype, or of the arithmetic type: (pointer, null) or (null, pointer)."""
    null = np.uint64(0)
    return (a, null) if a.dtype == dtype else (null, a)


def mean_entropy(x: Array, target: Array, ignored: int, wide: bool) -> tuple[Array, Array, Array]:
    """(mean loss, how many rows count, log of the sum of exponentials per row) of logits (N, C); rows whose target is `ignored` don't
    count.

    The mean has the logits' dtype; with `wide` it is float32 for 16-bit logits.
    """
    module = driver.needed()
    x, target = x if x.flags.c_contiguous else x.copy(), module.ascontiguousarray(target)
    rows, n = x.shape
    kind = np.dtype(np.float64 if x.dtype.name == "float64" else np.float32)
    loss, shift, count = module.empty(rows, kind), module.empty(rows, kind), module.empty((), kind)
    mean = module.empty((), kind if wide else x.dtype)
    _FORWARD(x.dtype.name)((rows,), (row_threads(n),), (x, target, loss, shift, np.int32(n), np.int64(ignored)))
    _MEAN(x.dtype.name)((1,), (min(row_threads(rows), 1024),), (loss, target,
                                                                *_either(mean, x.dtype), count, np.int64(rows), np.int64(ignored)))
    return mean, count, shift


def mean_entropy_backward(g: Array, x: Array, target: Array, count: Array, shift: Array, ignored: int) -> Array:
    """The gradient of the logits from that of the mean."""
    module = driver.needed()
    x, target = x if x.flags.c_contiguous else x.copy(), module.ascontiguousarray(target)
    gx = module.empty(x.shape, x.dtype)
    _BACKWARD(x.dtype.name)(x.shape[:1], (row_threads(x.shape[1]),),
                            (x, target, shift, *_either(g, x.dtype), count, gx, np.int32(x.shape[1]), np.int64(ignored)))
    return gx
