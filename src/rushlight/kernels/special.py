"""The error function and its inverse, the logarithm of the gamma function and its derivatives, on arrays.

Everything is computed in float64 (float32 arrays are widened and rounded once at the end), by methods from the literature:
W. J. Cody, "Rational Chebyshev approximations for the error function" (1969); M. Giles, "Approximating the erfinv function" (2010), with
fits of our own (tools/fit_special.py); Stirling's series with upward recurrence and reflection (Abramowitz & Stegun 6.1, 6.3, 6.4);
Euler-Maclaurin for zeta.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..vocabulary import Array, Function
from . import special_tables as T
from .shapes import broadcast_arrays

__all__ = ["erf", "erfc", "erfcx", "erfinv", "lgamma", "digamma", "polygamma", "zeta", "ndtr", "log_ndtr", "ndtri",
           "normal_tail"]

_BLOCK = 1 << 14

# Cody's coefficients, highest power first. |x| <= 0.46875: erf(x) = x P(x^2) / Q(x^2).
_P1 = (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3)
_Q1 = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
# 0.46875 < x <= 4: erfc(x) = exp(-x^2) P(x) / Q(x).
_P2 = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1, 2.98635138197400131e2,
       8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3)
_Q2 = (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3, 3.29079923573345963e3,
       4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3)
# x > 4: erfc(x) = exp(-x^2) / x (1/sqrt(pi) - P(1/x^2) / (x^2 Q(1/x^2))).
_P3 = (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1, 1.60837851487422766e-2,
       6.58749161529837803e-4)
_Q3 = (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3)
_RSQRT_PI = 0.5641895835477562869


def _poly(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Horner's rule, highest power first."""
    r = x * coefficients[0]
    r += coefficients[1]
    for c in coefficients[2:]:
        r *= x
        r += c
    return r


def series(table: tuple[float, ...], x: Array) -> Array:
    """The Chebyshev series of a table (special_tables.py) at x: Clenshaw's recurrence."""
    low, high = table[0], table[1]
    t = (2 * x - (low + high)) / (high - low)
    t2 = t + t
    b1 = np.full_like(x, table[-1])
    b2 = np.zeros_like(x)
    for c in table[-2:2:-1]:
        b1, b2 = t2 * b1 - b2 + c, b1
    return t * b1 - b2 + table[2]


def split(x: Array, near: Array, near_function: Function, far_function: Function) -> Array:
    """near_function where `near` holds, far_function elsewhere, each called with its own elements only."""
    if near.all():
        return near_function(x)
    r = np.empty_like(x)
    r[near] = near_function(x[near])
    far = ~near
    r[far] = far_function(x[far])
    return r


def _blockwise(function: Function, a: Any) -> Array:
    """function(float64 vector) over an array in blocks that stay in the cache; the result has the array's dtype."""
    flat = a.reshape(-1)
    out = np.empty(flat.shape, a.dtype, like=a)
    for start in range(0, flat.size, _BLOCK):
        out[start:start + _BLOCK] = function(flat[start:start + _BLOCK].astype(np.float64))
    return out.reshape(a.shape)


def _square_exp(y: Array) -> Array:
    """exp(-y^2) with the rounding error of the square taken out."""
    high = np.trunc(y * 16) / 16
    return np.exp(-high * high) * np.exp(-(y - high) * (y + high))


def _tail(y: Array, scaled: bool = False) -> Array:
    """erfc(y) for y > 0.46875 (times exp(y^2) if scaled)."""
    near = y <= 4
    z = np.where(near, y, 4.0)
    r = _poly(z, _P2) / _poly(z, _Q2)
    if not near.all():
        far = np.where(near, 4.0, y)
        w = 1 / (far * far)
        r = np.where(near, r, (_RSQRT_PI - w * _poly(w, _P3) / _poly(w, _Q3)) / far)
    return r if scaled else r * _square_exp(np.minimum(y, 30.0))


def _erf(x: Array) -> Array:
    y = np.abs(x)
    small = np.minimum(y, 0.46875)
    t = small * small
    r = small * _poly(t, _P1) / _poly(t, _Q1)
    large = y > 0.46875
    if large.any():
        r[large] = 1 - _tail(y[large])
    r[np.isnan(x)] = np.nan
    return np.copysign(r, x)


def _erfc(x: Any) -> Any:
    y = np.abs(x)
    small = np.minimum(y, 0.46875)
    t = small * small
    r = 1 - np.copysign(small, x) * _poly(t, _P1) / _poly(t, _Q1)
    large = y > 0.46875
    if large.any():
        tail = _tail(y[large])
        r[large] = np.where(x[large] < 0, 2 - tail, tail)
    r[np.isnan(x)] = np.nan
    return r


def _erfcx(x: Any) -> Any:
    r = np.exp(x * x) * _erfc(np.minimum(x, 5.0))
    large = x > 0.46875
    if large.any():
        r[large] = _tail(x[large], scaled=True)
    return r


def erf(a: Array) -> Array:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to a."""
    return _blockwise(_erf, a)


def erfc(a: Any) -> Any:
    """1 - erf(a), without cancellation."""
    return _blockwise(_erfc, a)


def erfcx(a: Any) -> Any:
    """exp(a^2) erfc(a)."""
    return _blockwise(_erfcx, a)


def _erfinv(x: Array) -> Array:
    """x times a function of w = -log(1 - x^2), as M. Giles (2010) has it, with fits of our own."""
    inside = np.where(np.abs(x) < 1, x, 0.0)
    w = -np.log1p(-inside) - np.log1p(inside)
    r = inside * split(w, w <= 5, lambda w: series(T.ERFINV_NEAR, w), lambda w: series(T.ERFINV_FAR, np.sqrt(w)))
    return np.where(np.abs(x) < 1, r, np.where(np.abs(x) == 1, np.copysign(np.inf, x), np.nan))


def erfinv(a: Array) -> Array:
    """The inverse of erf on (-1, 1); +-inf at +-1, nan beyond."""
    return _blockwise(_erfinv, a)


# B(2k) / (2k (2k - 1)) of Stirling's series, and B(2k) / (2k) of the one for its derivative.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)
_STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1))[::-1]
_DIGAMMA = tuple(b / (2 * k) for k, b in enumerate(_BERNOULLI, 1))[::-1]
_LEAST = 10.0


def _lgamma_positive(x: Array) -> Array:
    """log gamma(x), x > 0: Stirling's series at x + n >= 10, minus the logarithm of the factors between."""
    shifted = x.copy()
    product = np.ones_like(x)
    for _ in range(10):
        low = shifted < _LEAST
        if not low.any():
            break
        np.multiply(product, shifted, out=product, where=low)
        shifted += low
    w = 1 / (shifted * shifted)
    r = (shifted - 0.5) * np.log(shifted) - shifted + 0.5 * math.log(2 * math.pi) + _poly(w, _STIRLING) / shifted
    r = r - np.log(product)
    # Around the zeros at 1 and 2 the difference cancels: there a Taylor series is exact.
    for zero in (1.0, 2.0):
        at = np.abs(x - zero) < 0.25
        if at.any():
            r[at] = _lgamma_near(x[at] - zero, zero)
    return np.where(np.isinf(x), np.inf, r)


_EULER = 0.57721566490153286061


def _zeta_minus_one(n: int) -> float:
    """zeta(n) - 1."""
    total = sum(k ** -float(n) for k in range(2, 30))
    return total + 30.0 ** (1 - n) / (n
                                      - 1) + 0.5 * 30.0 ** -n + n / 12 * 30.0 ** (-n - 1) - n * (n + 1) * (n + 2) / 720 * 30.0 ** (-n - 3) \
        + n * (n + 1) * (n + 2) * (n + 3) * (n + 4) / 30240 * 30.0 ** (-n - 5)


_ZETA = [0.0, 0.0] + [_zeta_minus_one(n) for n in range(2, 28)]


def _lgamma_near(d: Array, zero: float) -> Array:
    """log gamma(zero + d) for |d| <= 1/4: A&S 6.1.33, with log(1 + d) taken out so that it converges quickly."""
    r = np.zeros_like(d)
    for n in range(27, 1, -1):
        r = r * d + (_ZETA[n] / n if n % 2 == 0 else -_ZETA[n] / n)
    r = r * d * d + d * (1 - _EULER)      # log gamma(2 + d)
    return r if zero == 2.0 else r - np.log1p(d)


def _lgamma(x: Array) -> Array:
    negative = x < 0.5
    r = _lgamma_positive(np.where(negative, 1 - x, x))
    if negative.any():
        # gamma(x) gamma(1 - x) = pi / sin(pi x)
        fraction = np.abs(x - np.trunc(x))         # exact also next to 0
        reflected = math.log(math.pi) - np.log(np.abs(np.sin(math.pi * np.minimum(fraction, 1 - fraction)))) - r
        tiny = np.abs(x) < 1e-300
        reflected = np.where(tiny, -np.log(np.abs(x)), reflected)
        r = np.where(negative, np.where((x == np.floor(x)) | np.isinf(x), np.inf, reflected), r)
    return np.where(np.isnan(x), np.nan, r)


def lgamma(a: Array) -> Array:
    """log |gamma(a)|; inf at 0, -1, -2, ..."""
    return _blockwise(_lgamma, a)


def _digamma(x: Array) -> Array:
    negative = x < 0
    y = np.where(negative, 1 - x, x)
    r = np.zeros_like(y)
    with np.errstate(all="ignore"):
        for _ in range(10):
            low = y < _LEAST
            if not low.any():
                break
            r -= np.where(low, 1 / y, 0.0)
            y = y + low
        w = 1 / (y * y)
        r += np.log(y) - 0.5 / y - _poly(w, _DIGAMMA) * w
        if negative.any():
            fraction = x - np.trunc(x)
            r = np.where(negative, np.where(x == np.trunc(x), np.nan, r - math.pi / np.tan(math.pi * fraction)), r)
    return np.where(x == 0, np.copysign(np.inf, -x), np.where(x == np.inf, np.inf, r))


def digamma(a: Any) -> Array:
    """The derivative of log gamma; nan at negative integers, -+inf at +-0."""
    return _blockwise(_digamma, a)


def _zeta(s: Any, q: Array) -> Array:
    """Hurwitz's zeta, the sum of (k + q)^-s, for s > 1 and q > 0: ten terms and Euler-Maclaurin for the rest (A&S 23.1.30)."""
    r = np.zeros_like(q)
    for k in range(10):
        r += (q + k) ** -s
    y = q + 10
    rest = y ** (1 - s) / (s - 1) + 0.5 * y ** -s
    factor, power = s, y ** (-s - 1)
    factorial = 2.0
    for k, b in enumerate(_BERNOULLI, 1):
        rest += (b / factorial) * factor * power
        factor = factor * ((s + 2 * k - 1) * (s + 2 * k))
        factorial *= (2 * k + 1) * (2 * k + 2)
        power = power / (y * y)
    return r + np.where(y ** (1 - s) == 0, 0.0, rest)          # for huge s nothing is left, but factors that overflow


def zeta(s: Any, q: Any) -> Any:
    """Hurwitz's zeta function of two equally typed arrays: inf at s = 1, nan for s < 1, inf at q = 0, -1, -2, ..."""
    dtype = q.dtype
    s, q = broadcast_arrays(s.astype(np.float64), q.astype(np.float64))
    inside = s > 1
    power, x = np.where(inside, s, 2.0), q.copy()
    r = np.zeros_like(x)
    while (low := (x < 0) & (x > -1e6)).any():       # the terms below zero one by one
        r += np.where(low, np.where(low, x, 1.0) ** -power, 0.0)
        x += low
    r += _zeta(power, x)
    below = np.where(q == np.floor(q), np.inf, np.where(power == np.floor(power), r, np.nan))
    r = np.where(inside, np.where(q > 0, r, below), np.where(s == 1, np.inf, np.nan))
    r[np.isnan(s) | np.isnan(q)] = np.nan
    return r.astype(dtype)


def polygamma(n: int, a: Array) -> Array:
    """The n-th derivative of digamma."""
    if n == 0:
        return digamma(a)
    sign = 1.0 if n % 2 else -1.0
    if n == 1:
        r = _blockwise(_trigamma, a)
        if a.dtype == np.float32 and (pole := (a < 0) & (a == np.trunc(a))).any():     # infinite; single precision's pi makes it large only
            r = np.where(pole, (np.float32(math.pi) / np.sin(np.float32(math.pi) * a)) ** 2, r)
        return r
    if n > 170:                    # n! is no double any more
        with np.errstate(all="ignore"):
            z = zeta(np.array(n + 1.0), a.astype(np.float64))
            return np.where(z == 0, np.nan, sign * np.inf * z).astype(a.dtype) if n < 2 ** 63 - 1 else np.full_like(a, np.nan)
    scale = sign * math.factorial(n)
    return (scale * zeta(np.array(n + 1.0), a.astype(np.float64))).astype(a.dtype)


def _trigamma(x: Array) -> Array:
    with np.errstate(all="ignore"):
        low = x < 0.5
        r = _zeta(2.0, np.where(low, 1 - x, x))
        return np.where(low, (math.pi / np.sin(math.pi * x)) ** 2 - r, r)


# --- the normal distribution ------------------------------------------------------------------------------------------------------------

def _ndtr(x: Any) -> Any:
    z = x * math.sqrt(0.5)
    return np.where(np.abs(z) < 1, 0.5 + 0.5 * _erf(z), 0.5 * _erfc(-z))


def _log_ndtr(x: Any) -> Any:
    z = x * math.sqrt(0.5)
    low = x < -1
    r = np.log1p(-0.5 * _erfc(np.where(low, 0.0, z)))
    if low.any():
        r[low] = np.log(0.5 * _erfcx(-z[low])) - z[low] * z[low]
    return r


def _ndtri(p: Any) -> Any:
    """Through erfinv in the middle; in the tails a fit in s = sqrt(-2 log p) or 1 / s."""
    middle = np.abs(p - 0.5) < 0.3
    r = math.sqrt(2.0) * _erfinv(np.where(middle, 2 * p - 1, 0.0))
    tail = ~middle & (p > 0) & (p < 1)
    if tail.any():
        s = np.sqrt(-2 * np.log(np.minimum(p[tail], 1 - p[tail])))
        x = split(s, s <= 8, lambda s: series(T.NDTRI_NEAR, s), lambda s: s * series(T.NDTRI_FAR, 1 / s))
        r[tail] = np.where(p[tail] < 0.5, -x, x)
    return np.where(middle | tail, r, np.where(p == 0, -np.inf, np.where(p == 1, np.inf, np.nan)))


def ndtr(a: Any) -> Any:
    """The probability that a normal variable is below a."""
    return _blockwise(_ndtr, a)


def log_ndtr(a: Any) -> Any:
    """The logarithm of `ndtr`, exact far into the lower tail."""
    return _blockwise(_log_ndtr, a)


def ndtri(a: Any) -> Any:
    """The inverse of `ndtr`: -+inf at 0 and 1, nan outside."""
    return _blockwise(_ndtri, a)


# 0.5 erfc(z / sqrt(2)) = exp(-z^2 / 2) P(t), t = 1 / (1 + p z): our own fit of the least relative error, highest power first.
_TAIL_SCALE = 0.3
_TAIL = (0.035931973090509856, -0.15827659688919532, 0.2082069233918127, -0.05539344342501744, 0.12946858930052496, 0.09963780957111926,
         0.12079828503879189, 0.11962639602720244)


def normal_tail(z: Array, density: Array) -> Array:
    """The probability that a normal variable exceeds z >= 0, in float32; `density` is exp(-z^2 / 2)."""
    t = np.float32(1) / (np.float32(1) + np.float32(_TAIL_SCALE) * z)
    r = _poly(t, _TAIL)
    r *= t
    r *= density
    return r
