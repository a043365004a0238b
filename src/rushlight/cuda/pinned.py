"""Page-locked host memory: NumPy arrays over blocks that CuPy allocates, and copies between them and a GPU that do not wait."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.cuda import driver
from ..vocabulary import Array, Dtype

__all__ = ["copy", "empty", "is_pinned", "to_device", "to_host"]

_blocks: dict[int, tuple[int, Any]] = {}          # address -> (size, weak reference to the array over the block)


def empty(shape: tuple[int, ...], dtype: Dtype) -> Any:
    """An uninitialised NumPy array in page-locked memory."""
    import weakref
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    block = driver.needed().cuda.alloc_pinned_memory(max(count * dtype.itemsize, 1))
    flat = np.frombuffer(block, np.uint8, max(count * dtype.itemsize, 1))
    address = flat.__array_interface__["data"][0]
    _blocks[address] = (flat.nbytes, weakref.ref(flat, lambda _: _blocks.pop(address, None)))
    return np.ndarray(shape, dtype, flat)


def copy(a: Any) -> Any:
    """A copy of a NumPy array in page-locked memory."""
    r = empty(a.shape, a.dtype)
    r[...] = a
    return r


def is_pinned(a: Array) -> bool:
    """Whether a NumPy array lies in page-locked memory."""
    if a.__class__ is not np.ndarray or not _blocks:
        return False
    at = a.__array_interface__["data"][0]
    return any(start <= at < start + size for start, (size, _) in list(_blocks.items()))


def to_device(a: Array, index: int) -> Any:
    """A cupy array of a NumPy array; from page-locked memory the copy is only queued on the current stream."""
    module = driver.needed()
    with module.cuda.Device(index):
        if not (is_pinned(a) and a.flags.c_contiguous):
            return module.asarray(a)
        r = module.empty(a.shape, a.dtype)
        r.set(a, stream=module.cuda.get_current_stream())
        return r


def to_host(c: Any) -> Any:
    """A page-locked NumPy array that a cupy array is being copied to: read it after the stream (or the GPU) was waited for."""
    module = driver.needed()
    with module.cuda.Device(c.device.id):
        whole = c if c.flags.c_contiguous else c.copy()
        r = empty(whole.shape, whole.dtype)
        whole.get(stream=module.cuda.get_current_stream(), out=r, blocking=False)
        return r
