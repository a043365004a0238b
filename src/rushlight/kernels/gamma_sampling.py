"""Random numbers of the gamma, binomial and Poisson families, one by one from a `Generator`, as PyTorch's CPU kernels draw them: by the
native library (native/sampling.cpp), or by the same formulas here.

Sources: Marsaglia and Tsang, A simple method for generating gamma variables (2000); Hoermann, The generation of binomial random
variates (1993, algorithm BTRS); Devroye, Non-uniform random variate generation (1986), ch. X.4 (binomial by waiting times); Knuth, The Art
of Computer Programming, vol. 2, 3.4.1 (Poisson by products); Hoermann, The transformed rejection method for generating Poisson random
variables (1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..vocabulary import Array, Function
from . import native

if TYPE_CHECKING:
    from ..generator import Generator

__all__ = ["standard_gamma", "binomial", "poisson"]

_SQUEEZE = float(np.float32(0.0331))
_THIRD = float(np.float32(1.0) / np.float32(3.0))


def _normal(gen: Generator) -> float:
    """One standard normal number; of a pair, the second waits in the generator."""
    value = gen.next_normal
    if value is not None:
        gen.next_normal = None
        return value
    u1, u2 = gen.double(), gen.double()
    radius = math.sqrt(-2.0 * math.log1p(-u2))
    angle = 2.0 * math.pi * u1
    gen.next_normal = radius * math.sin(angle)
    return radius * math.cos(angle)


def standard_gamma(gen: Generator, alphas: Array) -> Array:
    """Gamma numbers of rate 1 for each shape parameter in a flat array, as float64. Arithmetic on the parameter is the dtype's own."""
    if native.library is not None:
        return gen.drawn("gamma_numbers", alphas)
    single = alphas.dtype == np.float32
    rounded: Function = (lambda value: float(np.float32(value))) if single else float
    return np.array([_one_gamma(gen, alpha, rounded) for alpha in alphas.tolist()], np.float64)


def _one_gamma(gen: Generator, alpha: float, rounded: Function) -> float:
    if alpha != alpha or alpha < 0.0:
        return math.nan
    scale = 1.0
    if alpha < 1.0:
        if alpha == 0.0:
            return 0.0
        scale = math.pow(1.0 - gen.double(), rounded(1.0 / alpha))
        alpha = rounded(alpha + 1.0)
    d = rounded(alpha - _THIRD)
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        while True:
            x = _normal(gen)
            y = 1.0 + c * x
            if y > 0.0:
                break
        v = y * y * y
        u = 1.0 - gen.double()
        xx = x * x
        if u < 1.0 - _SQUEEZE * xx * xx or math.log(u) < 0.5 * xx + d * (1.0 - v + math.log(v)):
            return scale * d * v


def binomial(gen: Generator, counts: Array, probabilities: Array) -> Array:
    """Numbers of successes in counts[i] trials of chance probabilities[i], for flat float arrays, as float64."""
    if native.library is not None:
        return gen.drawn("binomial_numbers", counts, probabilities)
    rounded: Function = (lambda value: float(np.float32(value))) if counts.dtype == np.float32 else float
    return np.array([_one_binomial(gen, n, p, rounded) for n, p in zip(counts.tolist(), probabilities.tolist(), strict=True)], np.float64)


def _one_binomial(gen: Generator, count: float, p: float, rounded: Function) -> float:
    if count <= 0.0 or p <= 0.0:
        return 0.0
    if not math.isfinite(count) or p != p:
        return math.nan
    if p >= 1.0:
        return count
    if p <= 0.5:
        return (_transformed_rejection if count * p >= 10.0 else _waiting_times)(gen, count, p)
    q = rounded(1.0 - p)
    return count - (_transformed_rejection if count * q >= 10.0 else _waiting_times)(gen, count, q)


def _waiting_times(gen: Generator, count: float, p: float) -> float:
    """Add geometric waiting times until all trials are used up."""
    total, successes = 0.0, 0.0
    log_failure = math.log1p(-p)
    while True:
        u = gen.double()
        total += math.ceil(math.log(u) / log_failure) if u else math.inf
        if total > count:
            return successes
        successes += 1.0


_TAIL = (0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211, 0.0138761288230707,
         0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287)


def _stirling_tail(k: float) -> float:
    """log(k!) minus Stirling's formula for it."""
    if k <= 9.0:
        return _TAIL[int(k)]
    square = (k + 1.0) * (k + 1.0)
    return (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / square) / square) / (k + 1.0)


def _transformed_rejection(gen: Generator, count: float, p: float) -> float:
    """Hoermann's BTRS."""
    deviation = math.sqrt(count * p * (1.0 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre = count * p + 0.5
    sure = 0.92 - 4.2 / b
    odds = p / (1.0 - p)
    alpha = (2.83 + 5.1 / b) * deviation
    m = math.floor((count + 1.0) * p)
    while True:
        u = gen.double() - 0.5
        v = gen.double()
        us = 0.5 - abs(u)
        if us == 0.0:
            continue
        k = math.floor((2.0 * a / us + b) * u + centre)
        if k < 0 or k > count:
            continue
        if us >= 0.07 and v <= sure:
            return float(k)
        v = math.log(v * alpha / (a / (us * us) + b)) if v else -math.inf
        bound = ((m + 0.5) * math.log((m + 1.0) / (odds * (count - m + 1.0))) + (count + 1.0)
                 * math.log((count - m + 1.0) / (count - k + 1.0))
                 + (k + 0.5) * math.log(odds * (count - k + 1.0) / (k + 1.0))
                 + _stirling_tail(m) + _stirling_tail(count - m) - _stirling_tail(k) - _stirling_tail(count - k))
        if v <= bound:
            return float(k)


def poisson(gen: Generator, rates: Array) -> Array:
    """Counts for rates (not negative) in a flat float64 array, as float64."""
    if native.library is not None:
        return gen.drawn("poisson_numbers", rates)
    return np.array([_one_poisson(rate, gen.double) for rate in rates.tolist()], np.float64)


def _one_poisson(rate: float, uniform: Callable[[], float]) -> float:
    """One count. Small rates: multiply uniform numbers (Knuth). Others: transformed rejection (Hoermann 1993, PTRS)."""
    if rate == 0.0 or math.isinf(rate):
        return rate
    if rate < 10.0:
        limit, product, count = math.exp(-rate), uniform(), 0
        while product > limit:
            count += 1
            product *= uniform()
        return count
    root, log_rate = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    sure = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = uniform() - 0.5
        v = uniform()
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + rate + 0.43) if us else -1
        if us >= 0.07 and v <= sure:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        left = math.log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b) if v else -math.inf
        if left <= -rate + k * log_rate - math.lgamma(k + 1.0):
            return k
