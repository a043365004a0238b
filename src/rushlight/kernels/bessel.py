"""Bessel functions of order 0 and 1, modified ones, and Airy's Ai, on float32 and float64 arrays.

Near the origin a Chebyshev series in x or x^2 of what is left after the singular part (the logarithm of Y and K, Abramowitz & Stegun
9.1.13, 9.6.13) is taken out; far from it a Chebyshev series in 1/x or 1/x^2 of the slowly varying factor of the asymptotic form (A&S 9.2.5,
9.7.1, 9.7.2, 10.4.59, 10.4.60). The tables are our own: tools/fit_special.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..vocabulary import Array, Function
from . import special_tables as T
from .special import _blockwise, series, split

__all__ = ["i0", "i0e", "i1", "i1e", "k0", "k0e", "k1", "k1e", "j0", "j1", "y0", "y1", "airy_ai", "spherical_j0"]


# --- modified functions -----------------------------------------------------------------------------------------------------------------

def _i0e(x: Array) -> Any:
    y = np.abs(x)
    return split(y, y <= 8, lambda y: series(T.I0_NEAR, y), lambda y: series(T.I0_FAR, 1 / y) / np.sqrt(y))


def _i1e(x: Array) -> Any:
    y = np.abs(x)
    r = split(y, y <= 8, lambda y: y * series(T.I1_NEAR, y), lambda y: series(T.I1_FAR, 1 / y) / np.sqrt(y))
    return np.copysign(r, x)


def _i0(x: Array) -> Any:
    return np.exp(np.abs(x)) * _i0e(x)


def _i1(x: Array) -> Any:
    return np.exp(np.abs(x)) * _i1e(x)


def _k(x: Array, scaled: bool, near: Any, far: Any) -> Any:
    """K of positive x (times exp(x) if scaled); inf at 0, nan below."""
    small = x <= 2

    def close(x: Array) -> Any:
        x = np.where(x > 0, x, np.where(x == 0, 1e-320, np.nan))
        return near(x) * np.exp(x) if scaled else near(x)

    def away(x: Array) -> Any:
        r = series(far, 1 / x) / np.sqrt(x)
        return r if scaled else r * np.exp(-x)
    return np.where(x == 0, np.inf, split(x, small, close, away))


def _k0_near(x: Array) -> Any:
    return series(T.K0_NEAR, x * x) - np.log(x / 2) * _i0(x)


def _k1_near(x: Array) -> Any:
    return series(T.K1_NEAR, x * x) / x + np.log(x / 2) * _i1(x)


# --- the oscillating functions -----------------------------------------------------------------------------------------------------------

def _wave(x: Array, of_p: Any, of_q: Any, order: int, second: bool) -> Any:
    """sqrt(2 / (pi x)) (P cos a - Q sin a), or (P sin a + Q cos a), a = x - order pi / 2 - pi / 4, without rounding the difference."""
    w = 1 / (x * x)
    p, q = series(of_p, w), series(of_q, w) / x
    s, c = np.sin(x), np.cos(x)
    cos_a, sin_a = (c + s, s - c) if order == 0 else (s - c, -s - c)       # times sqrt(2)
    return (p * sin_a + q * cos_a if second else p * cos_a - q * sin_a) / np.sqrt(math.pi * x)


def _j0(x: Array) -> Any:
    y = np.abs(x)
    return split(y, y <= 8, lambda y: series(T.J0_NEAR, y * y), lambda y: _wave(y, T.P0, T.Q0, 0, False))


def _j1(x: Array) -> Any:
    y = np.abs(x)
    r = split(y, y <= 8, lambda y: y * series(T.J1_NEAR, y * y), lambda y: _wave(y, T.P1, T.Q1, 1, False))
    return np.where(x < 0, -r, r)


def _y(x: Array, near: Any, far: Any) -> Any:
    """Y of positive x; -inf at 0, nan below."""
    y = np.where(x > 0, x, np.nan)
    return np.where(x == 0, -np.inf, split(y, ~(y > 8), near, far))


def _y0(x: Array) -> Any:
    return _y(x, lambda x: series(T.Y0_NEAR, x * x) + 2 / math.pi * np.log(x) * _j0(x), lambda x: _wave(x, T.P0, T.Q0, 0, True))


def _y1(x: Array) -> Any:
    return _y(x, lambda x: x * series(T.Y1_NEAR, x * x) + 2 / math.pi * (np.log(x) * _j1(x) - 1 / x),
              lambda x: _wave(x, T.P1, T.Q1, 1, True))


def _airy_ai(x: Array) -> Any:
    def outside(x: Array) -> Any:
        y = np.abs(x)
        root = np.sqrt(y)
        zeta = 2 / 3 * y * root
        scale = math.sqrt(math.pi) * np.sqrt(root)
        decaying = series(T.AIRY_FAR, 1 / zeta) * np.exp(-zeta) / (2 * scale)
        w = 1 / (zeta * zeta)
        a = zeta + math.pi / 4
        waving = (series(T.AIRY_P, w) * np.sin(a) - series(T.AIRY_Q, w) / zeta * np.cos(a)) / scale
        return np.where(x > 0, np.where(np.isinf(x), np.nan, decaying), waving)
    return split(x, (x >= -5) & (x <= 1), lambda x: series(T.AIRY_NEAR, x), outside)


def _spherical_j0(x: Array) -> Any:
    safe = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, np.where(np.isinf(x), 0.0, np.sin(safe) / safe))


def _elementwise(function: Function, name: str, doc: str) -> Function:
    def kernel(a: Array) -> Any:
        return _blockwise(function, a)
    kernel.__name__ = kernel.__qualname__ = name
    kernel.__doc__ = doc
    return kernel


i0 = _elementwise(_i0, "i0", "The modified Bessel function I0.")
i0e = _elementwise(_i0e, "i0e", "exp(-|x|) I0(x).")
i1 = _elementwise(_i1, "i1", "The modified Bessel function I1.")
i1e = _elementwise(_i1e, "i1e", "exp(-|x|) I1(x).")
k0 = _elementwise(lambda x: _k(x, False, _k0_near, T.K0_FAR), "k0", "The modified Bessel function K0: inf at 0, nan below.")
k0e = _elementwise(lambda x: _k(x, True, _k0_near, T.K0_FAR), "k0e", "exp(x) K0(x).")
k1 = _elementwise(lambda x: _k(x, False, _k1_near, T.K1_FAR), "k1", "The modified Bessel function K1: inf at 0, nan below.")
k1e = _elementwise(lambda x: _k(x, True, _k1_near, T.K1_FAR), "k1e", "exp(x) K1(x).")
j0 = _elementwise(_j0, "j0", "The Bessel function J0.")
j1 = _elementwise(_j1, "j1", "The Bessel function J1.")
y0 = _elementwise(_y0, "y0", "The Bessel function Y0: -inf at 0, nan below.")
y1 = _elementwise(_y1, "y1", "The Bessel function Y1: -inf at 0, nan below.")
airy_ai = _elementwise(_airy_ai, "airy_ai", "Airy's function Ai.")
spherical_j0 = _elementwise(_spherical_j0, "spherical_j0", "sin(x) / x.")
