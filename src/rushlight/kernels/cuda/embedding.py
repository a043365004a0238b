"""Rows picked by index, and rows added at an index."""

from __future__ import annotations

import numpy as np

from ...vocabulary import Array
from . import driver
from .source import THREADS, Kernel, blocks

__all__ = ["take_rows", "add_rows", "in_range"]

_ALL = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "uint8")
_TAKE = Kernel("take_rows", r"""
extern "C" __global__ void kernel(const T* __restrict__ table, const long long* index, T* __restrict__ out, long long n, long long width, long long rows) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long row = index[i / width];
    if (row < 0 || row >= rows) __trap();
    out[i] = table[row * width + i % width];
}
""", _ALL)
_ADD = Kernel("add_rows", r"""
extern "C" __global__ void kernel(const T* __restrict__ values, const long long* index, A* out, long long n, long long width, long long rows) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long row = index[i / width];
    if (row < -rows || row >= rows) __trap();
    atomicAdd(out + (row < 0 ? row + rows : row) * width + i % width, (A)load(values[i]));
}
""")


def take_rows(table: Array, index: Array) -> Array:
    """table[index] along the first dimension; the device stops where an index is out of range."""
    module = driver.needed()
    table, index = module.ascontiguousarray(table), module.ascontiguousarray(index, np.int64)
    out = module.empty(index.shape + table.shape[1:], table.dtype)
    width = table.size // max(table.shape[0], 1)
    if out.size:
        _TAKE(table.dtype.name)((blocks(out.size),), (THREADS,),
                                (table, index, out, np.int64(out.size), np.int64(width), np.int64(table.shape[0])))
    return out


def in_range(index: Array, rows: int) -> bool:
    """True: the kernels check, and stop the device; nobody waits for an answer."""
    return True


def add_rows(rows: int, index: Array, values: Array) -> Array:
    """A (rows, width) array of zeros to which values (N, width) are added at index (N). float16 and bfloat16 are added up in float32.

    The order of the additions is not fixed, so results may differ in the last bits from run to run, as on PyTorch.
    """
    if values.dtype.name not in _ADD.dtypes:
        return NotImplemented
    module = driver.needed()
    values, index = module.ascontiguousarray(values), module.ascontiguousarray(index, np.int64)
    name = values.dtype.name
    out = module.zeros((rows, values.shape[1]), np.float64 if name == "float64" else np.float32)
    if values.size:
        _ADD(name)((blocks(values.size),), (THREADS,),
                   (values, index, out, np.int64(values.size), np.int64(values.shape[1]), np.int64(rows)))
    return out if out.dtype == values.dtype else out.astype(values.dtype)
