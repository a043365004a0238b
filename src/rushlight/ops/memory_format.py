"""Memory formats: results of image ops lie in memory as their inputs do, with the channels innermost or not."""

from __future__ import annotations

import numpy as np

from ..tensor import Tensor
from ..vocabulary import Array

__all__ = ["channels_last", "in_format_of"]

_ORDER = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
_BACK = {4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}


def channels_last(a: Array) -> bool:
    """Whether an array of images or volumes, or a part of one, has its channels innermost in memory, and not by chance alone: PyTorch's
    rule."""
    if a.ndim not in _ORDER or a.__class__ is not np.ndarray or a.flags.c_contiguous:
        return False
    sizes, strides, least = a.shape, a.strides, 0
    if strides[1] == 0 or 0 in sizes:
        return False
    for d in (1, *range(a.ndim - 1, 1, -1), 0):
        step = strides[d]
        if step < least or d == 0 and least == strides[1]:
            return False
        least = step * sizes[d]
    return True


def in_format_of(r: Tensor, *inputs: Tensor) -> Tensor:
    """The result `r`, which nobody has seen yet, with channels last in memory if one of the inputs has them so."""
    a = r._a
    if a.ndim in _ORDER and r._view is None and a.__class__ is np.ndarray and any(channels_last(t._a) for t in inputs):
        r._a = np.ascontiguousarray(a.transpose(_ORDER[a.ndim])).transpose(_BACK[a.ndim])
    return r
