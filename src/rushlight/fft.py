"""``torch.fft``: discrete Fourier transforms. The functions are in `ops/fft.py`."""

from __future__ import annotations

from .ops import fft as _fft  # noqa: F401
from .ops.deferred import namespace
from .tensor import Tensor

globals().update(namespace("fft"))
__all__ = [*sorted(namespace("fft")), "Tensor"]
