"""How a gamma or beta number changes with its shape parameter when its place in the distribution is kept.

With cumulative distribution F(x; a) and density f, the derivative is -(dF/da) / f (Figurnov et al., Implicit reparameterization
gradients, 2018). Both are computed here from series and continued fractions whose derivatives are carried along, in float64; every sum
has terms of one sign, or nearly, so that nothing cancels.
"""

from __future__ import annotations

import numpy as np

from ..vocabulary import Array
from .shapes import broadcast_arrays, broadcast_shapes
from .special import digamma

__all__ = ["gamma_gradient", "beta_gradient"]

_LARGE = 2e4          # from here on the Wilson-Hilferty form of the gamma distribution is exact to float32's precision
_MOST_TERMS = 20000


def gamma_gradient(a: Array, x: Array) -> Array:
    """dx/da of a gamma number x with shape a (float64 arrays of one shape)."""
    result = np.empty(broadcast_shapes(a.shape, x.shape))
    a, x = (np.broadcast_to(each, result.shape) for each in (a, x))
    large = a > _LARGE
    low = ~large & (x <= a + 1.0)
    for chosen, function in ((large, _cube_root_normal), (low, _lower_series), (~large & ~low, _upper_fraction)):
        if chosen.any():
            result[chosen] = function(a[chosen], x[chosen])
    return result


def _lower_series(a: Array, x: Array) -> Array:
    """P(a, x) = x**a exp(-x) sum_n x**n / Gamma(a + n + 1); divided by the density, dP/da is x sum_n c_n (log x - digamma(a + n + 1))."""
    x = np.maximum(x, 1e-300)
    log_x = np.log(x)
    psi = digamma(a + 1.0)
    term = 1.0 / a
    total = term * (log_x - psi)
    for n in range(1, _MOST_TERMS):
        place = a + n
        term = term * (x / place)
        psi = psi + 1.0 / place
        step = term * (log_x - psi)
        total = total + step
        if not (np.abs(step) > 1e-17 * np.abs(total)).any():
            break
    return -x * total


def _upper_fraction(a: Array, x: Array) -> Array:
    """Q(a, x) = x**a exp(-x) / Gamma(a) * h with Legendre's continued fraction h; from below, with dh/da carried along."""
    terms = 60 + int(12 * np.sqrt(a.max()))
    value, slope = np.zeros_like(x), np.zeros_like(x)
    for n in range(terms, 0, -1):
        numerator = n * (a - n)                                # of the n-th level
        below = x + 2.0 * n + 1.0 - a + value
        value, slope = numerator / below, n / below - numerator / (below * below) * (slope - 1.0)
    below = x + 1.0 - a + value
    h = 1.0 / below
    return x * (h * (np.log(x) - digamma(a)) - h * h * (slope - 1.0))


def _cube_root_normal(a: Array, x: Array) -> Array:
    """The cube root of x / a is nearly normal with mean 1 - 1/(9a) and variance 1/(9a) (Wilson and Hilferty, 1931)."""
    root = np.cbrt(x / a)
    t = (root - 1.0 + 1.0 / (9.0 * a)) * 3.0 * np.sqrt(a)
    return root ** 3 + 3.0 * a * root ** 2 * (1.0 / (9.0 * a * a) - t / (6.0 * a * np.sqrt(a)))


def beta_gradient(x: Array, a: Array, b: Array) -> Array:
    """dx/da of a beta number x with parameters a and b (float64 arrays of one shape)."""
    x, a, b = broadcast_arrays(x, a, b)
    x = np.clip(x, 1e-300, 1.0 - 1e-16)
    result = np.empty(x.shape)
    low = x < (a + 1.0) / (a + b + 2.0)
    psi = digamma(a + b) - digamma(a)
    for chosen, mirrored in ((low, False), (~low, True)):
        if chosen.any():
            result[chosen] = _beta_series(x[chosen], a[chosen], b[chosen], psi[chosen], mirrored)
    return result


def _beta_series(x: Array, a: Array, b: Array, psi: Array, mirrored: bool) -> Array:
    """I_x(a, b) = x**a (1-x)**b / (a B(a, b)) sum_n prod_k (a+b+k) x / (a+1+k), or the same for 1 - I = I_{1-x}(b, a)."""
    first, y = (b, 1.0 - x) if mirrored else (a, x)
    slope = np.log(x) + psi - (0.0 if mirrored else 1.0 / a)        # of the logarithm of the term by a
    term = np.ones_like(x)
    total = slope.copy()
    for n in range(_MOST_TERMS):
        above, below = a + b + n, first + 1.0 + n
        term = term * (above / below * y)
        slope = slope + 1.0 / above - (0.0 if mirrored else 1.0 / below)
        step = term * slope
        total = total + step
        if not (np.abs(step) > 1e-17 * np.abs(total)).any():
            break
    total = x * (1.0 - x) / first * total
    return total if mirrored else -total
