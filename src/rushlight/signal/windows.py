"""``torch.signal.windows``: window functions of M values, symmetric ones (for filters) or periodic ones (``sym=False``, for spectra)."""

from __future__ import annotations

from collections.abc import Iterable
from math import pi
from typing import Any

import numpy as np

from ..dtypes import float32, float64
from ..layout import strided
from ..ops.creation import creation_kind
from ..ops.windows import cosine_sum, triangle
from ..ops.windows import kaiser as _kaiser
from ..tensor import Tensor, wrap
from ..vocabulary import Device, Dtype, Layout

__all__ = ["bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann", "kaiser",
           "nuttall"]


def _checked(name: str, M: int, dtype: Any, layout: Layout) -> None:  # noqa: N803
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (None, float32, float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")


def _made(M: int, sym: bool, formula: Any, dtype: Any, device: Device, requires_grad: bool) -> Tensor:  # noqa: N803
    """`formula(n)` gives a symmetric window; a periodic one is that of M + 1 values without the last. One value is always 1."""
    kind = creation_kind(dtype, device, None)
    values = np.ones(M) if M < 2 else formula(M) if sym else formula(M + 1)[:-1]
    return wrap(kind.xp.asarray(values.astype(kind.np)), kind).requires_grad_(requires_grad)


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: Dtype = None, layout: Layout = strided,
                 # noqa: N803
                device: Device = None, requires_grad: bool = False) -> Tensor:
    """exp(-|k - center| / tau); `center` (default: the middle) only where ``sym=False``."""
    _checked("exponential", M, dtype, layout)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    if M == 0:
        return _made(0, True, None, dtype, device, requires_grad)
    middle = (M if not sym and M > 1 else M - 1) / 2 if center is None else center
    values = np.exp(-np.abs(np.arange(M) - middle) / tau)
    return _made(M, True, lambda n: values, dtype, device, requires_grad)


def cosine(M: int, *, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,  # noqa: N803
           requires_grad: bool = False) -> Tensor:
    """Half a period of the sine, sampled in the middle of M intervals."""
    _checked("cosine", M, dtype, layout)
    return _made(M, sym, lambda n: np.sin(pi * (np.arange(n) + 0.5) / n), dtype, device, requires_grad)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,
              # noqa: N803
             requires_grad: bool = False) -> Tensor:
    """exp(-(k - middle)^2 / (2 std^2))."""
    _checked("gaussian", M, dtype, layout)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return _made(M, sym, lambda n: np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / std) ** 2), dtype, device, requires_grad)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,
            # noqa: N803
           requires_grad: bool = False) -> Tensor:
    """Kaiser's window I0(beta sqrt(1 - t^2)) / I0(beta)."""
    _checked("kaiser", M, dtype, layout)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _made(M, sym, lambda n: _kaiser(n, beta), dtype, device, requires_grad)


def bartlett(M: int, *, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,  # noqa: N803
             requires_grad: bool = False) -> Tensor:
    """The triangle from 0 to 1 and back."""
    _checked("bartlett", M, dtype, layout)
    return _made(M, sym, triangle, dtype, device, requires_grad)


def general_cosine(M: int, *, a: Iterable[float], sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,
                    # noqa: N803
                   requires_grad: bool = False) -> Tensor:
    """a0 - a1 cos(t) + a2 cos(2t) - ..., t from 0 to 2 pi."""
    _checked("general_cosine", M, dtype, layout)
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    coefficients = [float(each) for each in a]
    if not coefficients:
        raise ValueError("Coefficients cannot be empty")
    return _made(M, sym, lambda n: cosine_sum(n, coefficients), dtype, device, requires_grad)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,
                     # noqa: N803
                    requires_grad: bool = False) -> Tensor:
    """alpha - (1 - alpha) cos(t), t from 0 to 2 pi."""
    return general_cosine(M, a=(alpha, 1.0 - alpha), sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def hamming(M: int, *, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,  # noqa: N803
            requires_grad: bool = False) -> Tensor:
    """0.54 - 0.46 cos(t), t from 0 to 2 pi."""
    return general_cosine(M, a=(0.54, 0.46), sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def hann(M: int, *, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,  # noqa: N803
         requires_grad: bool = False) -> Tensor:
    """0.5 - 0.5 cos(t), t from 0 to 2 pi."""
    return general_cosine(M, a=(0.5, 0.5), sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def blackman(M: int, *, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,  # noqa: N803
             requires_grad: bool = False) -> Tensor:
    """0.42 - 0.5 cos(t) + 0.08 cos(2t), t from 0 to 2 pi."""
    _checked("blackman", M, dtype, layout)
    return general_cosine(M, a=(0.42, 0.5, 0.08), sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def nuttall(M: int, *, sym: bool = True, dtype: Dtype = None, layout: Layout = strided, device: Device = None,  # noqa: N803
            requires_grad: bool = False) -> Tensor:
    """Four cosine terms that keep the side lobes below -98 dB (A. H. Nuttall 1981)."""
    return general_cosine(M, a=(0.3635819, 0.4891775, 0.1365995, 0.0106411), sym=sym, dtype=dtype, layout=layout, device=device,
                          requires_grad=requires_grad)
