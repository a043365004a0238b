"""GELU: its formulas, and algorithms for NumPy's arrays, which lose no digits for negative numbers and take a block that fits the cache at
a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..vocabulary import Array, Function
from . import formula, special
from .native import kernel

__all__ = ["gelu", "gelu_gradient", "gelu_tanh", "gelu_tanh_gradient"]

_BLOCK = 1 << 15
_RSQRT_2PI = 1 / math.sqrt(2 * math.pi)
_TANH_SCALE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _blocks(function: Function, a: Array, *more: Any) -> Array:
    """function(block, out, ...) over all blocks; the result has the memory order of `a` where that is dense."""
    if a.size <= _BLOCK:
        out = np.empty_like(a)
        if a.size and a.ndim:
            out[...] = function(a, *more)
        elif a.size:          # functions that write into their intermediate results need arrays, which NumPy's 0-dim results are not
            out[...] = function(a.reshape(1), *[each.reshape(1) for each in more])[0]
        return out
    if a.flags.c_contiguous:
        out = np.empty_like(a)
        flat, result = a.reshape(-1), out.reshape(-1)
    else:
        flat = a.reshape(-1)
        result = np.empty_like(flat)
        out = result.reshape(a.shape)
    flats = [each.reshape(-1) for each in more]
    for start in range(0, flat.size, _BLOCK):
        end = start + _BLOCK
        result[start:end] = function(flat[start:end], *[each[start:end] for each in flats])
    return out


def _density(a: Array) -> Array:
    """exp(-a^2 / 2)"""
    r = a * a
    r *= -0.5
    return np.exp(r, out=r)


def _tail(a: Array) -> tuple[Any, Any, Any]:
    """(|a| kept below overflow, P(normal > |a|), exp(-a^2 / 2))"""
    z = np.abs(a)
    np.minimum(z, 40, out=z)
    density = _density(z)
    if a.dtype == np.float32:
        return z, special.normal_tail(z, density), density
    return z, special.erfc(z * math.sqrt(0.5)) * 0.5, density


def _gelu(a: Array) -> Array:
    # x Phi(x) = max(x, 0) - |x| Phi(-|x|), which loses no digits for negative x.
    z, tail, _ = _tail(a)
    tail *= z
    return np.subtract(np.maximum(a, 0), tail, out=tail)


def _slope(a: Array, g: Array) -> Array:
    _, tail, density = _tail(a)
    density *= a
    density *= _RSQRT_2PI
    density += np.where(a < 0, tail, 1 - tail)
    density *= g
    return density


def _numpy_gelu(a: Array) -> Array:
    """a times the standard normal distribution function of a."""
    return _blocks(_gelu, a)


def _numpy_gelu_gradient(g: Array, a: Array) -> Array:
    """g times the derivative of `gelu` at a."""
    return _blocks(_slope, a, g)


_SQRT_HALF = math.sqrt(0.5)
_erf = formula.function(kernel("erf", special.erf), "erf")
gelu = kernel("gelu", _numpy_gelu, lambda x: x * 0.5 * (1 + _erf(x * _SQRT_HALF)))
gelu_gradient = kernel("gelu_gradient", _numpy_gelu_gradient,
                       lambda g, x: g * ((_erf(x * _SQRT_HALF) + 1) * 0.5 + x * formula.exp(x * x * -0.5) * _RSQRT_2PI))


def _inner(a: Array) -> Array:
    """tanh(sqrt(2 / pi) (a + 0.044715 a^3))"""
    t = a * a
    t *= _CUBIC * _TANH_SCALE
    t += _TANH_SCALE
    t *= a
    return np.tanh(t, out=t)


def _gelu_tanh(a: Array) -> Array:
    t = _inner(a)
    t += 1
    t *= a
    t *= 0.5
    return t


def _tanh_slope(a: Array, g: Array) -> Array:
    t = _inner(a)
    slope = a * a
    slope *= 3 * _CUBIC * _TANH_SCALE
    slope += _TANH_SCALE
    slope *= a
    slope *= 1 - t * t
    slope += t
    slope += 1
    slope *= 0.5
    slope *= g
    return slope


def _numpy_gelu_tanh(a: Array) -> Array:
    """The approximation a / 2 (1 + tanh(sqrt(2 / pi) (a + 0.044715 a^3)))."""
    return _blocks(_gelu_tanh, a)


def _numpy_gelu_tanh_gradient(g: Array, a: Array) -> Array:
    """g times the derivative of `gelu_tanh` at a."""
    return _blocks(_tanh_slope, a, g)


def _tanh_gradient(g: formula.Value, x: formula.Value) -> formula.Value:
    square = x * x
    t = formula.tanh(x * (square * (_CUBIC * _TANH_SCALE) + _TANH_SCALE))
    return g * ((t + 1) * 0.5 + x * (1 - t * t) * ((square * (3 * _CUBIC * _TANH_SCALE) + _TANH_SCALE) * 0.5))


gelu_tanh = kernel("gelu_tanh", _numpy_gelu_tanh,
                   lambda x: x * 0.5 * (1 + formula.tanh(x * (x * x * (_CUBIC * _TANH_SCALE) + _TANH_SCALE))))
gelu_tanh_gradient = kernel("gelu_tanh_gradient", _numpy_gelu_tanh_gradient, _tanh_gradient)
