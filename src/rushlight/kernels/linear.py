"""A linear layer on arrays: the product with its bias."""

from __future__ import annotations

import numpy as np

from ..vocabulary import Array
from . import native
from .door import kernel

__all__ = ["linear"]


@kernel
def linear(x: Array, w: Array, bias: Array) -> Array:
    """x w' + bias of matrices (n, in), (out, in) and a vector (out)."""
    if x.itemsize == 2 and native.library is None and x.__class__ is np.ndarray:       # NumPy has no product of halves that would do
        r = native.matmul(x.astype(np.float32), w.astype(np.float32).T).astype(x.dtype)
    else:
        r = native.matmul(x, w.T)
    r += bias
    return r
