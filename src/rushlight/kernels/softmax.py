"""Softmax and its relatives on float arrays, along one axis. (`reduce` gets positional arguments: half the overhead of keywords.)"""

from __future__ import annotations

from typing import Any

import numpy as np

from .native import function

__all__ = ["softmax", "softmax_backward", "log_softmax", "log_softmax_backward", "exponentials"]


def exponentials(a: Any, axis: int) -> tuple[Any, Any, Any]:
    """(a - max, exp of it, its sum along the axis, kept)."""
    top = np.maximum.reduce(a, axis, None, None, True)
    z = a - top
    e = np.exp(z)
    return z, e, np.add.reduce(e, axis, None, None, True)


def _numpy_softmax(a: Any, axis: int) -> Any:
    """exp(a) / sum(exp(a))"""
    r = a - np.maximum.reduce(a, axis, None, None, True)
    np.exp(r, out=r)
    r /= np.add.reduce(r, axis, None, None, True)
    return r


def _numpy_softmax_backward(g: Any, y: Any, axis: int) -> Any:
    """The gradient of the input from the result y."""
    r = g * y
    total = np.add.reduce(r, axis, None, None, True)
    r -= y * total
    return r


def _numpy_log_softmax(a: Any, axis: int) -> Any:
    """a - log(sum(exp(a)))"""
    r = a - np.maximum.reduce(a, axis, None, None, True)
    r -= np.log(np.add.reduce(np.exp(r), axis, None, None, True))
    return r


def _numpy_log_softmax_backward(g: Any, y: Any, axis: int) -> Any:
    """The gradient of the input from the result y."""
    r = np.exp(y)
    r *= np.add.reduce(g, axis, None, None, True)
    return np.subtract(g, r, out=r)


softmax = function("softmax", _numpy_softmax)
softmax_backward = function("softmax_backward", _numpy_softmax_backward)
log_softmax = function("log_softmax", _numpy_log_softmax)
log_softmax_backward = function("log_softmax_backward", _numpy_log_softmax_backward)
