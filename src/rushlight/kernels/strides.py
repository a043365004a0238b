"""Arrays that look at the memory of another array with any shape and strides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..vocabulary import Array
from .door import kernel

__all__ = ["strided", "sample_strided", "broadcast", "same_memory", "zeros_for", "iteration_order", "order_by_strides"]

ndarray = np.ndarray


def strided(a: Array, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Array:
    """A view of the memory under `a`; strides, and the offset from a's first element, in bytes. The caller has checked the bounds."""
    if not isinstance(a, ndarray):
        return a.strided(shape, strides, offset)      # on a device, or batched by vmap
    if a.__class__ is ndarray and not offset and a.flags.carray and a.dtype.kind in "fiubc" and a.size:      # aligned, contiguous, writable
        try:
            return ndarray(shape, a.dtype, a, 0, strides)
        except (ValueError, TypeError):      # reaches beyond a's own elements
            pass
    root = a if a.base is None else a.base
    if a.__class__ is ndarray and root.__class__ is ndarray and root.flags.c_contiguous and a.size and a.flags.writeable and root.dtype.kind in "fiubc":
        start = 0 if root is a else a.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        if start + offset >= 0:
            try:
                return ndarray(shape, a.dtype, root, start + offset, strides)
            except ValueError:               # views of a memory map keep their own array as base, not the whole map
                pass
    if offset:
        raise NotImplementedError("as_strided with a storage offset needs memory that NumPy owns: clone the tensor first")
    return np.lib.stride_tricks.as_strided(a, shape, strides, subok=True)


@kernel
def sample_strided(a: Array, size: tuple[int, ...], stride: tuple[int, ...], start: int) -> Array:
    """A view (sizes, strides and start in elements) where an array's storage is the array itself; NotImplemented for arrays that lie in
    larger ones.

    vmap has the rule: a sample's storage begins with its first element.
    """
    return NotImplemented


def broadcast(a: Array, shape: tuple[int, ...]) -> Array:
    """The array expanded to `shape` (which it fits), read-only where elements appear more than once."""
    if a.shape == shape:
        return a[...]
    extra = len(shape) - a.ndim
    strides = (0,) * extra + (a.strides if a.shape == shape[extra:] else tuple(
        [0 if have == 1 and want != 1 else step for have, want, step in zip(a.shape, shape[extra:], a.strides, strict=True)]))
    r = strided(a, shape, strides) if a.size else a.reshape((1,) * extra + a.shape) if 0 not in shape else a.reshape(-1)[:0].reshape(shape)
    if r.size > a.size:
        r.flags.writeable = False
    return r


def same_memory(view: Array, a: Array) -> bool:
    """Whether what `a.reshape` returned is a view of `a`, not a copy."""
    base = view.base
    return base is a or (base is not None and base is a.base) or bool(np.may_share_memory(view, a))


def zeros_for(g: Array, shape: tuple[int, ...]) -> Array:
    """Zeros with the dtype and device of a gradient array (which may be a NumPy scalar)."""
    if g.__class__ is ndarray or isinstance(g, np.generic):
        return np.zeros(shape, g.dtype)
    return np.zeros(shape, g.dtype, like=g)


def iteration_order(arrays: Sequence[Array]) -> list[int]:
    """The dimensions of what PyTorch computes elementwise from these arrays of as many dimensions, from the outermost in memory to the
    innermost."""
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    return order_by_strides(shape, [[0 if a.shape[i] == 1 != shape[i] else a.strides[i] for i in range(a.ndim)] for a in arrays])


def order_by_strides(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[int]:
    """The same for a result's shape and the strides of each operand, 0 where it is broadcast."""
    def later(i: int, j: int) -> int:
        """1 where dimension i belongs outside of j, -1 where inside, 0 where nothing says."""
        for each in strides:
            if each[i] and each[j] and (each[i] != each[j] or shape[i] > shape[j]):
                return 1 if each[i] >= each[j] else -1
        return 0

    order = list(range(len(shape)))[::-1]                  # innermost first; an insertion sort, since the order is no total one
    for i in range(1, len(order)):
        at = i
        for j in range(i)[::-1]:
            found = later(order[j], order[at])
            if found > 0:
                order[j], order[at] = order[at], order[j]
                at = j
            elif found < 0:
                break
    return order[::-1]
