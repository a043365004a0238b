"""Discrete Fourier transforms of arrays: complex to complex, real to complex, and half a spectrum to real. NumPy is the reference.

A scaling is named by what the sums are divided by: "none", "root" or "n".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array
from .door import kernel

__all__ = ["complex_transform", "real_transform", "half_transform"]

_FORWARD: Any = {"none": "backward", "root": "ortho", "n": "forward"}     # our scalings as NumPy's norm= of a forward transform
_INVERSE: Any = {"none": "forward", "root": "ortho", "n": "backward"}     # ... and of an inverse one


@kernel
def complex_transform(a: Array, axes: tuple[int, ...], scaling: str, forward: bool) -> Array:
    """All terms over the dimensions, of complex values."""
    return np.fft.fftn(a, axes=axes, norm=_FORWARD[scaling]) if forward else np.fft.ifftn(a, axes=axes, norm=_INVERSE[scaling])


@kernel
def real_transform(a: Array, axes: tuple[int, ...], scaling: str, forward: bool, full: bool) -> Array:
    """The terms of real values; of the last dimension the n // 2 + 1 that determine the others, or all. Of the inverse they are
    conjugated."""
    if full:
        return np.fft.fftn(a, axes=axes, norm=_FORWARD[scaling]) if forward else np.fft.ifftn(a, axes=axes, norm=_INVERSE[scaling])
    r = np.fft.rfftn(a, axes=axes, norm=_FORWARD[scaling])
    return r if forward else np.conj(r)


@kernel
def half_transform(a: Array, axes: tuple[int, ...], scaling: str, n: int) -> Array:
    """The inverse of `real_transform`: n real values along the last of the dimensions."""
    sizes = [a.shape[d] for d in axes[:-1]] + [n]
    return np.fft.irfftn(a, s=sizes, axes=axes, norm=_INVERSE[scaling])
