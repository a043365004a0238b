"""Softmax and its relatives on float arrays, along one axis. (`reduce` gets positional arguments: half the overhead of keywords.)"""

from __future__ import annotations

import numpy as np

from ..vocabulary import Array
from .arrays import add_reduce, maximum_reduce
from .door import kernel

__all__ = ["softmax", "softmax_backward", "log_softmax", "log_softmax_backward"]


@kernel(halves=True)
def softmax(a: Array, axis: int) -> Array:
    """exp(a) / sum(exp(a))"""
    if not a.ndim or not a.size:
        return softmax(a.reshape(1), 0).reshape(()) if a.size else a.copy()
    r = a - maximum_reduce(a, axis, None, None, True)
    np.exp(r, out=r)
    r /= add_reduce(r, axis, None, None, True)
    return r


@kernel(halves=True)
def softmax_backward(g: Array, y: Array, axis: int) -> Array:
    """The gradient of the input from the result y."""
    if not g.ndim:
        return softmax_backward(g.reshape(1), y.reshape(1), 0).reshape(())
    r = g * y
    r -= y * add_reduce(r, axis, None, None, True)
    return r


@kernel(halves=True)
def log_softmax(a: Array, axis: int) -> Array:
    """a - log(sum(exp(a)))"""
    if not a.ndim or not a.size:
        return log_softmax(a.reshape(1), 0).reshape(()) if a.size else a.copy()
    r = a - maximum_reduce(a, axis, None, None, True)
    r -= np.log(add_reduce(np.exp(r), axis, None, None, True))
    return r


@kernel(halves=True)
def log_softmax_backward(g: Array, y: Array, axis: int) -> Array:
    """The gradient of the input from the result y."""
    if not g.ndim:
        return log_softmax_backward(g.reshape(1), y.reshape(1), 0).reshape(())
    r = np.exp(y)
    r *= add_reduce(g, axis, None, None, True)
    return np.subtract(g, r, out=r)
