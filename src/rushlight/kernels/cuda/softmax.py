"""Softmax and log_softmax with their gradients: one block per row; one thread per column where the dimension is not the last."""

from __future__ import annotations

from math import prod

import numpy as np

from ...vocabulary import Array
from . import driver
from .source import THREADS, Kernel, blocks, row_threads

__all__ = ["softmax", "log_softmax", "softmax_backward", "log_softmax_backward"]

_ROW = r"""
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ y, int n) {
    const T* row = x + (long long)blockIdx.x * n;
    T* out = y + (long long)blockIdx.x * n;
    A top = -infinity_<A>();
    for (int i = threadIdx.x; i < n; i += blockDim.x) top = max_(top, load(row[i]));
    top = block_max(top);
    A total = (A)0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += exp_(load(row[i]) - top);
    total = block_sum(total);
    %s
}
"""
_COLUMN = r"""
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ y, int n, long long inner, long long columns) {
    long long c = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (c >= columns) return;
    long long start = c / inner * inner * n + c %% inner;
    A top = -infinity_<A>(), total = (A)0;
    for (int i = 0; i < n; i++) top = max_(top, load(x[start + i * inner]));
    for (int i = 0; i < n; i++) total += exp_(load(x[start + i * inner]) - top);
    %s
}
"""
_BACK_ROW = r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ out, int n) {
    long long start = (long long)blockIdx.x * n;
    A total = (A)0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += %s;
    total = block_sum(total);
    for (int i = threadIdx.x; i < n; i += blockDim.x) store(out + start + i, %s);
}
"""
_BACK_COLUMN = r"""
extern "C" __global__ void kernel(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ out, int n, long long inner, long long columns) {
    long long c = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (c >= columns) return;
    long long start = c / inner * inner * n + c %% inner;
    A total = (A)0;
    for (int i = 0; i < n; i++) total += %s;
    for (int i = 0; i < n; i++) store(out + start + i * inner, %s);
}
"""
_WRITE = {"softmax": ("A scale = (A)1 / total;", "exp_({x} - top) * scale"),
          "log_softmax": ("A shift = top + log_(total);", "{x} - shift")}
_FORWARD: dict[str, tuple[Kernel, Kernel]] = {}
for _name, (_before, _value) in _WRITE.items():
    _FORWARD[_name] = (
        Kernel(_name, _ROW % (f"{_before} for (int i = threadIdx.x; i < n; i += blockDim.x) store(out + i, "
                              f"{_value.format(x='load(row[i])')});")),
        Kernel(f"{_name}_columns", _COLUMN % (f"{_before} for (int i = 0; i < n; i++) store(y + start + i * inner, "
                                              f"{_value.format(x='load(x[start + i * inner])')});")))
_BACKWARD: dict[str, tuple[Kernel, Kernel]] = {}
for _name, _sum, _value in (("softmax", "load(g[@]) * load(y[@])", "load(y[@]) * (load(g[@]) - total)"),
                            ("log_softmax", "load(g[@])", "load(g[@]) - exp_(load(y[@])) * total")):
    _BACKWARD[_name] = (Kernel(f"{_name}_backward", _BACK_ROW % (_sum.replace("@", "start + i"), _value.replace("@", "start + i"))),
                        Kernel(f"{_name}_backward_columns",
                               _BACK_COLUMN % (_sum.replace("@", "start + i * inner"), _value.replace("@", "start + i * inner"))))


def _run(kernels: tuple[Kernel, Kernel], arrays: list[Array], axis: int) -> Array:
    """Launch over one axis; a new array of the same shape."""
    arrays = [a if a.flags.c_contiguous else a.copy() for a in arrays]
    a = arrays[0]
    out = driver.needed().empty(a.shape, a.dtype)
    axis %= a.ndim
    n, inner = a.shape[axis], prod(a.shape[axis + 1:])
    if not a.size:
        return out
    name = a.dtype.name
    columns = a.size // n
    if inner == 1:
        kernels[0](name)((columns,), (row_threads(n),), (*arrays, out, np.int32(n)))
    else:
        kernels[1](name)((blocks(columns),), (THREADS,), (*arrays, out, np.int32(n), np.int64(inner), np.int64(columns)))
    return out


def softmax(a: Array, axis: int) -> Array:
    """exp(a) / sum(exp(a)) along an axis, in a's dtype."""
    return _run(_FORWARD["softmax"], [a], axis)


def log_softmax(a: Array, axis: int) -> Array:
    """a - log(sum(exp(a))) along an axis, in a's dtype."""
    return _run(_FORWARD["log_softmax"], [a], axis)


def softmax_backward(g: Array, y: Array, axis: int) -> Array:
    """The gradient of the input from the result y."""
    return _run(_BACKWARD["softmax"], [g, y], axis)


def log_softmax_backward(g: Array, y: Array, axis: int) -> Array:
    """The gradient of the input from the result y."""
    return _run(_BACKWARD["log_softmax"], [g, y], axis)
