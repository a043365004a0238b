"""Cross-entropy of rows of logits: log_softmax, the pick and their gradient without the table of probabilities in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...cuda import driver
from .source import Kernel, row_threads

__all__ = ["cross_entropy", "cross_entropy_backward"]

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
_BACKWARD = Kernel("cross_entropy_backward", r"""
extern "C" __global__ void kernel(const T* __restrict__ x, const long long* target, const A* shift, const A* scale, T* __restrict__ gx, int n,
                                  long long ignored, int per_row) {
    long long start = (long long)blockIdx.x * n, t = target[blockIdx.x];
    A s = shift[blockIdx.x], k = scale[per_row ? blockIdx.x : 0];
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        store(gx + start + i, t == ignored ? (A)0 : k * (exp_(load(x[start + i]) - s) - (i == t ? (A)1 : (A)0)));
}
""")


def cross_entropy(x: Any, target: Any, ignored: int) -> tuple[Any, Any]:
    """(loss per row, log of the sum of exponentials per row) of logits (N, C); rows whose target is `ignored` have loss 0."""
    module = driver.needed()
    x = x if x.flags.c_contiguous else x.copy()
    rows, n = x.shape
    kind = np.dtype(np.float64 if x.dtype.name == "float64" else np.float32)
    loss, shift = module.empty(rows, kind), module.empty(rows, kind)
    if rows:
        _FORWARD(x.dtype.name)((rows,), (row_threads(n),), (x, module.ascontiguousarray(target), loss, shift, np.int32(n), np.int64(ignored)))
    return loss, shift


def cross_entropy_backward(x: Any, target: Any, shift: Any, scale: Any, ignored: int) -> Any:
    """The gradient of the logits; `scale`: what arrives per row, or one number for all (an array of one element)."""
    module = driver.needed()
    x = x if x.flags.c_contiguous else x.copy()
    rows, n = x.shape
    gx = module.empty(x.shape, x.dtype)
    scale = scale.astype(shift.dtype, copy=False).reshape(-1)
    if rows:
        _BACKWARD(x.dtype.name)((rows,), (row_threads(n),), (x, module.ascontiguousarray(target), shift, scale, gx, np.int32(n), np.int64(ignored),
                                                             np.int32(scale.size > 1)))
    return gx
