"""The regularised incomplete gamma functions P (lower) and Q = 1 - P (upper), on float32 and float64 arrays.

Each element is computed from the smaller of the two, so that small values keep their digits:
a < 30: the power series of P where x < a + 1 (DLMF 8.11.4), the continued fraction of Q beyond (DLMF 8.9.2), a series of Q for small x
(DLMF 8.7.1); a >= 30: the integral itself by Gauss-Legendre quadrature over that tail, which is smooth and close to half a bell there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..vocabulary import Array
from .shapes import broadcast_arrays
from .special import _STIRLING, _lgamma, _poly

__all__ = ["lower", "upper"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_LARGE = 30.0


def _excess(u: Array) -> Array:
    """u - log(1 + u), without cancellation for small u: with r = u / (2 + u) it is u r - 2 (r^3 / 3 + r^5 / 5 + ...)."""
    small = np.abs(u) < 0.3
    r = np.where(small, u, 0.0) / (2 + np.where(small, u, 0.0))
    w = r * r
    total = np.zeros_like(w)
    for k in range(25, 1, -2):
        total = total * w + 1.0 / k
    return np.where(small, u * r - 2 * r * w * total, u - np.log1p(u))


def _density(a: Array, x: Array) -> Array:
    """x^a exp(-x) / gamma(a + 1)."""
    large = a >= _LARGE
    b = np.where(large, a, _LARGE)
    mu = np.where(large, (x - a) / b, 0.0)
    correction = _poly(1 / (b * b), _STIRLING) / b
    r = np.exp(-b * _excess(mu) - correction) / np.sqrt(2 * math.pi * b)
    if not large.all():
        small = ~large
        r[small] = np.exp(a[small] * np.log(x[small]) - x[small] - _lgamma(a[small] + 1))
    return r


def _series(a: Array, x: Array) -> Array:
    """P by its power series."""
    term = total = np.ones_like(x)
    for n in range(1, 500):
        term = term * (x / (a + n))
        total = total + term
        if (term <= total * 1e-17).all():
            break
    return total * _density(a, x)


def _fraction(a: Array, x: Array) -> Array:
    """Q by its continued fraction (Lentz's method)."""
    b = x + 1 - a
    c = np.full_like(x, 1e300)
    d = 1 / b
    h = d
    for n in range(1, 500):
        factor = -n * (n - a)
        b = b + 2
        d = 1 / (factor * d + b)
        c = b + factor / c
        step = c * d
        h = h * step
        if (np.abs(step - 1) < 1e-16).all():
            break
    return h * a * _density(a, x)


def _small(a: Array, x: Array) -> Array:
    """Q for small a and x: 1 - x^a / gamma(1 + a), minus the rest of the series of P."""
    total, term = np.zeros_like(x), np.ones_like(x)
    for n in range(1, 30):
        term = term * (-x / n)
        total = total + term / (a + n)
    log = a * np.log(x) - _lgamma(a + 1)
    return -np.expm1(log) - np.exp(log) * a * total


def _tail(a: Array, x: Array) -> Any:
    """The smaller of P and Q, roughly, for large a: P where x < a, else Q. t = x (1 -+ v), v from 0 to where the integrand has vanished."""
    below = x < a
    sign = np.where(below, -1.0, 1.0)
    slope, curve = np.abs(x - (a - 1)), a - 1
    # Below, the logarithm of the integrand falls faster than slope v + curve v^2 / 2; above, by x v - (a - 1) log(1 + v), which is slower.
    reach = 80 / (slope + np.sqrt(slope * slope + 80 * curve))
    reach = np.where(below, np.minimum(reach, 1.0), reach * (1 + reach))
    total = np.zeros_like(x)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        v = sign * reach * (0.5 * (node + 1))
        total += weight * np.exp(-(a - 1) * _excess(v) - (x - (a - 1)) * v)
    return 0.5 * reach * total * a * _density(a, x)


def _both(a: Array, x: Array) -> tuple[Any, Any]:
    """P and Q of vectors of positive, finite numbers."""
    p, q = np.empty_like(x), np.empty_like(x)
    large = a >= _LARGE
    small = ~large & (x <= 1.1) & (a < 1)
    series = ~large & ~small & (x < a + 1)
    fraction = ~large & ~small & ~series
    for where, function, is_lower in ((large & (x < a), _tail, True), (large & (x >= a), _tail, False), (small, _small, False),
                                      (series, _series, True), (fraction, _fraction, False)):
        if where.any():
            r = np.clip(function(a[where], x[where]), 0.0, 1.0)
            p[where], q[where] = (r, 1 - r) if is_lower else (1 - r, r)
    return p, q


def _regularised(a: Array, x: Array, upper: bool) -> Array:
    a, x = broadcast_arrays(a, x)
    dtype = x.dtype
    a, x = a.astype(np.float64).reshape(-1), x.astype(np.float64).reshape(-1)
    inside = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    zero, one = (1.0, 0.0) if upper else (0.0, 1.0)
    r = np.full(x.shape, np.nan, like=x)
    r[((a > 0) | np.isnan(a)) & (x == 0) | np.isposinf(a) & (x >= 0) & np.isfinite(x)] = zero
    r[np.isposinf(x) & ((a >= 0) & np.isfinite(a) | np.isnan(a)) | (a == 0) & (x > 0)] = one
    if inside.any():
        r[inside] = _both(a[inside], x[inside])[1 if upper else 0]
    return r.astype(dtype)


def lower(a: Array, x: Array) -> Array:
    """P(a, x), the integral of t^(a - 1) exp(-t) from 0 to x over gamma(a); nan for negative arguments."""
    a, x = broadcast_arrays(a, x)
    return _regularised(a, x, False).reshape(x.shape)


def upper(a: Array, x: Array) -> Any:
    """Q(a, x) = 1 - P(a, x)."""
    a, x = broadcast_arrays(a, x)
    return _regularised(a, x, True).reshape(x.shape)
