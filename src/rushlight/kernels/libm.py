"""float64 functions that round as the C library does, and multiply-adds that round once.

PyTorch's scalar kernels call the C library. So does NumPy for float64, except on machines with AVX-512, where it has its own versions
that may differ in the last bit. There the native library calls the C library; without it, Python does, element by element.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..vocabulary import Array, Function
from .door import kernel

__all__ = ["log", "log1p", "exp", "tan", "cos_sin", "fma", "fma32"]


def _own_functions() -> bool:
    """Whether NumPy computes float64 log, sin, ... by itself."""
    features = getattr(np._core._multiarray_umath, "__cpu_features__", {})  # type: ignore[attr-defined]
    return bool(features.get("AVX512_SKX") or features.get("AVX512F"))


_OWN = _own_functions()


def by_element(name: str) -> Function:
    """A function of Python's module math, which is the C library's, for arrays."""
    function = getattr(math, name)
    limits = {"log": (-math.inf, math.nan), "log1p": (-math.inf, math.nan)}

    def one(x: float) -> float:
        try:
            return function(x)
        except OverflowError:
            return math.inf
        except ValueError:
            at_pole, elsewhere = limits.get(name, (math.nan, math.nan))
            return at_pole if x == (0.0 if name == "log" else -1.0) else elsewhere

    many = np.frompyfunc(one, 1, 1)
    return lambda x: np.asarray(many(x)).astype(np.float64)


_log, _log1p, _exp, _tan = (by_element(name) if _OWN else getattr(np, name) for name in ("log", "log1p", "exp", "tan"))


@kernel
def log(x: Array) -> Array:
    """The logarithm of a float64 array."""
    return _log(x)


@kernel
def log1p(x: Array) -> Array:
    """log(1 + x)."""
    return _log1p(x)


@kernel
def exp(x: Array) -> Array:
    """The exponential."""
    return _exp(x)


@kernel
def tan(x: Array) -> Array:
    """The tangent."""
    return _tan(x)


@kernel
def cos_sin(x: Array) -> tuple[Any, Any]:
    """(cos, sin) of a float64 array."""
    if _OWN:
        # The complex exponential is the C library's everywhere, and its parts are its sine and cosine.
        z = np.exp(1j * x)
        return z.real, z.imag
    return np.cos(x), np.sin(x)


def fma32(x: Array, y: Array | np.float32, z: Any) -> Array:
    """x * y + z of float32 numbers, rounded once (see random_normal about the rare exception)."""
    result = np.multiply(x, y, dtype=np.float64)
    result += z
    return result.astype(np.float32)


def fma(x: Array, y: float, z: float) -> Array:
    """x * y + z of a float64 array and two numbers, rounded once: the product and the sum with their errors (Dekker, Knuth)."""
    product = x * y
    if z == 0.0:
        return product
    if math.frexp(y)[0] in (0.5, -0.5):
        return product + z
    low = _product_error(x, y, product)
    total = product + z
    part = total - product
    low += (product - (total - part)) + (z - part)
    return np.where(np.isfinite(total), total + low, total)


def _product_error(x: Array, y: float, product: Array) -> Array:
    """x * y - product, exactly."""
    split = 134217729.0   # 2**27 + 1 cuts a float64 into two halves
    big = x * split
    x_high = big - (big - x)
    x_low = x - x_high
    y_high = y * split - (y * split - y)
    y_low = y - y_high
    return x_low * y_low - (((product - x_high * y_high) - x_low * y_high) - x_high * y_low)
