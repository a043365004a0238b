"""Window functions under their old names, ``torch.hann_window(n)`` and the like; `torch.signal.windows` has the newer ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from ..vocabulary import Device, Dtype, Layout
from .creation import creation_kind, finish
from .errors import title
from .public import export

__all__ = ["cosine_sum", "triangle", "kaiser"]


# --- formulas: float64 arrays of n values, symmetric about their middle -----------------------------------------------------------------

def cosine_sum(n: int, coefficients: Sequence[float]) -> Any:
    """a0 - a1 cos(t) + a2 cos(2t) - ..., t from 0 to 2 pi (F. J. Harris 1978, generalised cosine windows)."""
    t = np.linspace(0.0, 2 * pi, n)
    return sum((-1) ** k * a * np.cos(k * t) for k, a in enumerate(coefficients)) + np.zeros(n)


def triangle(n: int) -> Any:
    """From 0 up to 1 and down again (Bartlett)."""
    return 1 - np.abs(np.linspace(-1.0, 1.0, n))


def kaiser(n: int, beta: float) -> Any:
    """I0(beta sqrt(1 - t^2)) / I0(beta), t from -1 to 1 (J. F. Kaiser 1974)."""
    t = np.linspace(-1.0, 1.0, n)
    return np.i0(beta * np.sqrt(np.maximum(1 - t * t, 0.0))) / np.i0(np.float64(beta))


# --- the old functions ----------------------------------------------------------------------------------------------------------------

def _window(name: str, length: int, periodic: bool, formula: Any, dtype: Any, layout: Layout, device: Device,
            requires_grad: bool, pin_memory: bool) -> Tensor:
    """`formula(n)` as a tensor; a periodic window is a symmetric one of n + 1 values without its last."""
    kind = creation_kind(dtype, device, None)
    if layout is not None and str(layout) != "torch.strided":
        raise RuntimeError(f"{name} is not implemented for sparse types, got: {layout}")
    if not kind.differentiable:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {kind.dtype}")
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    if kind.is_complex:
        raise NotImplementedError(f'"arange_cpu" not implemented for \'{title(kind.dtype)}\'')
    values = np.ones(length) if length < 2 else formula(length + 1)[:-1] if periodic else formula(length)
    return finish(wrap(kind.xp.asarray(values.astype(kind.np)), kind), requires_grad, pin_memory)


@export(guard=True, first=True)
def hann_window(window_length: int, periodic: bool = True, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
                pin_memory: bool = False,
                requires_grad: bool = False) -> Tensor:
    """sin^2 from 0 to pi."""
    return _window("hann_window", window_length, periodic, lambda n: cosine_sum(n, (0.5, 0.5)), dtype, layout, device, requires_grad,
                   pin_memory)


@export(guard=True, first=True)
def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: Dtype = None,
                   layout: Layout = None,
                   device: Device = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """alpha - beta cos(t), t from 0 to 2 pi."""
    return _window("hamming_window", window_length, periodic, lambda n: cosine_sum(n, (alpha, beta)), dtype, layout, device, requires_grad,
                   pin_memory)


@export(guard=True, first=True)
def blackman_window(window_length: int, periodic: bool = True, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
                    pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """0.42 - 0.5 cos(t) + 0.08 cos(2t), t from 0 to 2 pi."""
    return _window("blackman_window", window_length, periodic, lambda n: cosine_sum(n, (0.42, 0.5, 0.08)), dtype, layout, device,
                   requires_grad, pin_memory)


@export(guard=True, first=True)
def bartlett_window(window_length: int, periodic: bool = True, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
                    pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """From 0 up to 1 and down again, in straight lines."""
    return _window("bartlett_window", window_length, periodic, triangle, dtype, layout, device, requires_grad, pin_memory)


@export(guard=True, first=True)
def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Dtype = None, layout: Layout = None,
                  device: Device = None,
                  pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """Kaiser's window; the larger beta, the narrower."""
    return _window("kaiser_window", window_length, periodic, lambda n: kaiser(n, beta), dtype, layout, device, requires_grad, pin_memory)
