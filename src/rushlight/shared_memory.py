"""Memory that several processes see: an anonymous file in memory, mapped. Under it lie the tensors of ``Tensor.share_memory_``.

The file's descriptor can be sent to another process (torch.multiprocessing does), which maps the same memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from mmap import mmap
from sys import getrefcount
from typing import Any
from weakref import WeakValueDictionary, ref

import numpy as np

from .references import VARIABLE
from .storage import _address, _root, array_over, storage_of
from .vocabulary import Array, Dtype, Function

__all__ = ["SharedBlock", "shared_copy", "block_of", "attach"]


class SharedBlock(mmap):
    """A mapped anonymous file. `descriptor` stays open as long as the memory is mapped; `key` names the file among all processes."""

    descriptor: int
    key: tuple[int, int]

    def __new__(cls, descriptor: int) -> SharedBlock:
        status = os.fstat(descriptor)
        self = super().__new__(cls, descriptor, status.st_size)
        self.descriptor, self.key = descriptor, (status.st_dev, status.st_ino)
        return self

    def __del__(self, close: Function = os.close) -> None:      # bound here: at the interpreter's end `os` may be gone before the memory
        close(self.descriptor)


def _anonymous_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("rushlight-shared")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, max(size, 1))
    return descriptor


def shared_copy(array: Array) -> Array:
    """An array of the same values in new shared memory, contiguous."""
    if os.name != "posix":
        raise NotImplementedError("shared memory needs file descriptors that processes can pass to each other, which this system does not "
                                  "have: send a tensor's values instead (it is pickled by value)")
    result: Any = np.ndarray(array.shape, array.dtype, buffer=SharedBlock(_anonymous_file(array.nbytes)))
    result[...] = array
    return result


def block_of(array: Any) -> tuple[SharedBlock, int] | None:
    """(the shared block under an array, the array's place in it in bytes); None where the memory is not shared."""
    root = _root(array)
    block = root.base
    return (block, _address(array) - _address(root)) if isinstance(block, SharedBlock) else None


def move_storage(t: Any) -> None:
    """Move the memory under a tensor to where other processes see it, for the tensor, its base and all their views, if nothing else
    looks at it; else nothing is changed."""
    base = t
    while base._view is not None:
        base = base._view[0]
    root = base._a
    family = {id(base): base, id(t): t}
    for each in (base._ver.views if base._ver.__class__ is not int and base._ver.views else ()):
        view = each()
        if view is not None:
            family[id(view)] = view
    if root.base is not None or not root.flags.c_contiguous or any(each._a is not root and each._a.base is not root
                                                                   for each in family.values()):
        return
    if getrefcount(root) != len(family) - 1 + VARIABLE:      # every tensor's array, and the variable here
        return
    shared, start = shared_copy(root), _address(root)
    for each in family.values():
        a = each._a
        each._a = shared if a is root else np.ndarray(a.shape, a.dtype, shared, _address(a) - start, a.strides)


_taken: dict[int, Any] = {}      # descriptor -> weak reference to the array over its memory
_roots: WeakValueDictionary[tuple[int, int], Any] = WeakValueDictionary()      # SharedBlock.key -> the one array of bytes over it


def attach(descriptor: int, dtype: Dtype, offset: int, size: Sequence[int], stride: Sequence[int]) -> Any:
    """An array over the shared memory that another process's descriptor stands for (it is taken over). Offset and strides in elements."""
    known = _taken.get(descriptor)
    if known is not None and known() is not None:      # named a second time in one message
        return array_over(storage_of(known()), dtype, offset, size, stride)
    status = os.fstat(descriptor)
    key = status.st_dev, status.st_ino
    root = _roots.get(key)
    if root is None:
        block = SharedBlock(descriptor)
        root = np.ndarray((status.st_size,), np.uint8, buffer=block)
        root = _roots.setdefault(key, root)
        _taken[descriptor] = ref(root)
    else:
        os.close(descriptor)
    return array_over(storage_of(root), dtype, offset, size, stride)
