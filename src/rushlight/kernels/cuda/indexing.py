"""Kernels about indices."""

from __future__ import annotations

import numpy as np

from ...vocabulary import Array
from .source import THREADS, Kernel, blocks

__all__ = ["check_bounds"]

_BOUNDS = Kernel("check_bounds", r"""
extern "C" __global__ void kernel(const T* index, long long n, long long size) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n && !(-size <= (long long)index[i] && (long long)index[i] < size)) __trap();
}
""", ("int64", "int32", "int16", "int8", "uint8"))


def check_bounds(index: Array, size: int) -> None:
    """Stop the device with an error, as PyTorch's device-side assertions do, if an index lies outside of [-size, size)."""
    name = index.dtype.name
    if name not in _BOUNDS.dtypes:
        return
    flat = index if index.flags.c_contiguous else index.copy()
    _BOUNDS(name)((blocks(index.size),), (THREADS,), (flat, np.int64(index.size), np.int64(size)))
