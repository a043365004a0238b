"""Convolution as a matrix product: the windows of the input laid out as columns by one kernel, then cuBLAS; any number of dimensions up to 3.

`columns` gathers, `images` is its adjoint and gathers too (each element looks up the windows that show it), so no atomic additions are
needed and results are the same in every run.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...cuda import driver
from .matmul import matmul
from .source import THREADS, Kernel, blocks

__all__ = ["forward", "input_gradient", "weight_gradient", "columns", "images"]

Sizes = tuple[int, ...]
_GEOMETRY = ("int channels, int d0, int d1, int d2, int k0, int k1, int k2, int o0, int o1, int o2, int s0, int s1, int s2, int p0, int p1, int p2, "
             "int l0, int l1, int l2")
_COLUMNS = Kernel("conv_columns", r"""
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ columns, long long n, """ + _GEOMETRY + r""") {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long r = i;
    int z = r % o2; r /= o2;
    int y = r % o1; r /= o1;
    int w = r % o0; r /= o0;
    int c2 = r % k2; r /= k2;
    int c1 = r % k1; r /= k1;
    int c0 = r % k0; r /= k0;                       // r: sample * channels + channel
    int a = w * s0 - p0 + c0 * l0, b = y * s1 - p1 + c1 * l1, c = z * s2 - p2 + c2 * l2;
    if (a >= 0 && a < d0 && b >= 0 && b < d1 && c >= 0 && c < d2) columns[i] = x[((r * d0 + a) * d1 + b) * d2 + c];
    else store(columns + i, (A)0);
}
""")
_IMAGES = Kernel("conv_images", r"""
extern "C" __global__ void kernel(const T* __restrict__ columns, T* __restrict__ x, long long n, """ + _GEOMETRY + r""") {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long r = i;
    int c = r % d2; r /= d2;
    int b = r % d1; r /= d1;
    int a = r % d0; r /= d0;
    A total = (A)0;
    for (int c0 = 0; c0 < k0; c0++) {
        int w = a + p0 - c0 * l0;
        if (w < 0 || w % s0 || w / s0 >= o0) continue;
        for (int c1 = 0; c1 < k1; c1++) {
            int y = b + p1 - c1 * l1;
            if (y < 0 || y % s1 || y / s1 >= o1) continue;
            for (int c2 = 0; c2 < k2; c2++) {
                int z = c + p2 - c2 * l2;
                if (z < 0 || z % s2 || z / s2 >= o2) continue;
                total += load(columns[(((((r * k0 + c0) * k1 + c1) * k2 + c2) * o0 + w / s0) * o1 + y / s1) * o2 + z / s2]);
            }
        }
    }
    store(x + i, total);
}
""")


def _three(values: Sizes, fill: int) -> list[int]:
    return [fill] * (3 - len(values)) + list(values)


def _geometry(channels: int, size: Sizes, kernel: Sizes, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> list[Any]:
    return [np.int32(v) for v in (channels, *_three(size, 1), *_three(kernel, 1), *_three(out, 1), *_three(stride, 1), *_three(padding, 0),
                                  *_three(dilation, 1))]


def _output(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    return tuple([(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)])


def columns(x: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """(N, C * kernel, out) of (N, C, *size)."""
    module = driver.needed()
    x = module.ascontiguousarray(x)
    n, c = x.shape[:2]
    out = _output(x.shape[2:], kernel, stride, padding, dilation)
    if prod(kernel) == 1 and not any(padding) and all(s == 1 for s in stride):
        return x.reshape(n, c, prod(out))
    r = module.empty((n, c * prod(kernel), prod(out)), x.dtype)
    if r.size:
        _COLUMNS(x.dtype.name)((blocks(r.size),), (THREADS,), (x, r, np.int64(r.size), *_geometry(c, x.shape[2:], kernel, out, stride, padding, dilation)))
    return r


def images(cols: Any, c: int, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """The adjoint of `columns`: (N, C, *size)."""
    module = driver.needed()
    n = cols.shape[0]
    if prod(kernel) == 1 and not any(padding) and all(s == 1 for s in stride):
        return cols.reshape(n, c, *size)
    x = module.empty((n, c, *size), cols.dtype)
    out = _output(size, kernel, stride, padding, dilation)
    if x.size:
        _IMAGES(x.dtype.name)((blocks(x.size),), (THREADS,), (module.ascontiguousarray(cols), x, np.int64(x.size),
                                                              *_geometry(c, size, kernel, out, stride, padding, dilation)))
    return x


def forward(x: Any, w: Any, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The convolution of x with w."""
    kernel = tuple(w.shape[2:])
    out = _output(x.shape[2:], kernel, stride, padding, dilation)
    n, o = x.shape[0], w.shape[0]
    cols = columns(x, kernel, stride, padding, dilation)
    cols = cols.reshape(n, groups, -1, prod(out)) if cols.size else cols.reshape(n, groups, w.shape[1] * prod(kernel), prod(out))
    return matmul(w.reshape(1, groups, o // groups, -1), cols).reshape(n, o, *out)


def input_gradient(g: Any, w: Any, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The gradient of the input, of spatial size `size`."""
    kernel = tuple(w.shape[2:])
    n, o = g.shape[:2]
    c = w.shape[1] * groups
    g = g.reshape(n, groups, o // groups, prod(g.shape[2:]))
    cols = matmul(w.reshape(1, groups, o // groups, -1).swapaxes(2, 3), g)
    return images(cols.reshape(n, c * prod(kernel), g.shape[3]), c, tuple(size), kernel, stride, padding, dilation)


def weight_gradient(x: Any, g: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Any:
    """The gradient of the weight, (O, C / groups, *kernel)."""
    n, o = g.shape[:2]
    c = x.shape[1]
    cols = columns(x, kernel, stride, padding, dilation)
    positions = prod(g.shape[2:])
    cols = cols.reshape(n, groups, c // groups * prod(kernel), positions)
    parts = matmul(g.reshape(n, groups, o // groups, positions), cols.swapaxes(2, 3))
    wide = parts.sum(0, np.float32) if parts.dtype.itemsize == 2 else parts.sum(0)
    return wide.astype(g.dtype, copy=False).reshape(o, c // groups, *kernel)
