"""Orthogonal polynomials of degree n at x (both arrays, of one dtype), by their three-term recurrences (Abramowitz & Stegun 22.7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array, Function
from .shapes import broadcast_arrays

__all__ = ["POLYNOMIALS"]


_MOST = 1 << 22         # steps of a recurrence: more take minutes
_LOOK = 64              # steps between two looks whether all that is still wanted is nan
_PATIENCE = 1 << 16     # steps until then, where more than the most are asked for


def _recurrence(first: Function, step: Function, limits: dict[str, int] | None = None, closed: Function | None = None,
                shifted: bool = False) -> Function:
    """p0 = 1, p1 = first(x), p_k = step(k, x, p_(k-1), p_(k-2)); 0 for negative degrees.

    limits  per dtype the degree beyond which the result is nan (PyTorch's, where the values leave the range)
    closed  closed(x, n) for |x| <= 1, used for degrees above 8: as exact, and the time does not grow with n
    shifted in terms of 2 x - 1
    """
    def kernel(x: Array, n: Any) -> Any:
        dtype = x.dtype
        x, n = broadcast_arrays(x, np.trunc(np.where(np.isfinite(n), n, -1)).astype(np.int64))
        x = x.astype(np.float64)
        if shifted:
            x = 2 * x - 1
        limit = None if limits is None else limits[dtype.name]
        use_closed = np.zeros(n.shape, bool, like=n) if closed is None else (n > 8) & (np.abs(x) <= 1)
        left = np.where(use_closed if limit is None else n > limit, 0, n)      # the degrees that the recurrence has to reach
        r = np.where(n < 0, 0.0, 1.0)
        before, now = np.ones_like(x), first(x)
        np.copyto(r, now, where=left == 1)
        k, most = 2, left.max(initial=0)
        while most >= k:
            if k % _LOOK == 0:
                waiting = left >= k
                if np.isnan(now[waiting]).all():
                    r[waiting] = np.nan
                    break
                if most > _MOST and k >= _PATIENCE:
                    raise RuntimeError(f"a polynomial of degree {most} is not computed by its recurrence: at most {_MOST} steps are made")
            before, now = now, step(k, x, now, before)
            np.copyto(r, now, where=left == k)
            k += 1
        if closed is not None and use_closed.any():
            r[use_closed] = closed(x[use_closed], n[use_closed])
        if limit is not None:
            r[n > limit] = np.nan
        return np.where(np.isnan(x) & (n > 0), np.nan, r).astype(dtype)
    return kernel


def _chebyshev_step(k: int, x: Array, now: Any, before: Array) -> Any:
    return 2 * x * now - before


def _half_angle(x: Array) -> Any:
    return np.arccos(x) / 2


def _with_ends(inner: Function, at_one: Function, at_minus_one: Function) -> Function:
    """A closed form for |x| < 1 with the values at 1 and -1 (those of even degree; odd degrees have the other sign at -1)."""
    def closed(x: Array, n: Array) -> Any:
        ends = np.where(x > 0, at_one(n), np.where(n % 2 == 0, 1, -1) * at_minus_one(n))
        return np.where(np.abs(x) == 1, ends, inner(np.where(np.abs(x) == 1, 0.5, x), n))
    return closed


def _one(n: Array) -> Any:
    return np.ones_like(n)


def _next(n: Array) -> Any:
    return n + 1


def _odd(n: Array) -> Any:
    return 2 * n + 1


# First polynomial and closed form, cos(t) = x, of the four kinds.
_KINDS: dict[str, tuple[Any, Any]] = {
    "t": (lambda x: x, _with_ends(lambda x, n: np.cos(n * np.arccos(x)), _one, _one)),
    "u": (lambda x: 2 * x, _with_ends(lambda x, n: np.sin((n + 1) * np.arccos(x)) / np.sin(np.arccos(x)), _next, _next)),
    "v": (lambda x: 2 * x - 1, _with_ends(lambda x, n: np.cos((2 * n + 1) * _half_angle(x)) / np.cos(_half_angle(x)), _one, _odd)),
    "w": (lambda x: 2 * x + 1, _with_ends(lambda x, n: np.sin((2 * n + 1) * _half_angle(x)) / np.sin(_half_angle(x)), _odd, _one)),
}
_HERMITE_LIMITS = {"float32": 128, "float64": 512}

POLYNOMIALS: dict[str, Any] = {
    "hermite_polynomial_h": _recurrence(lambda x: 2 * x, lambda k, x, now, before: 2 * x * now - 2 * (k - 1) * before, _HERMITE_LIMITS),
    "hermite_polynomial_he": _recurrence(lambda x: x, lambda k, x, now, before: x * now - (k - 1) * before, _HERMITE_LIMITS),
    "laguerre_polynomial_l": _recurrence(lambda x: 1 - x, lambda k, x, now, before: ((2 * k - 1 - x) * now - (k - 1) * before) / k),
    "legendre_polynomial_p": _recurrence(lambda x: x, lambda k, x, now, before: ((2 * k - 1) * x * now - (k - 1) * before) / k),
}
for _kind, (_first, _closed) in _KINDS.items():
    POLYNOMIALS[f"chebyshev_polynomial_{_kind}"] = _recurrence(_first, _chebyshev_step, closed=_closed)
    POLYNOMIALS[f"shifted_chebyshev_polynomial_{_kind}"] = _recurrence(_first, _chebyshev_step, closed=_closed, shifted=True)
