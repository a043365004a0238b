"""Losses on arrays. NumPy is the reference; native/loss.cpp, where it is built, goes over memory once.

Losses against classes take logits (n, classes, ...), a target (n, ...) of int64 classes, or (cross entropy) shares of the logits' shape, a
weight per class or None, the class that is ignored, and how much of the target is spread over all classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..vocabulary import Array, NumpyDtype
from . import reduce
from .arrays import add_reduce, maximum_reduce
from .door import is_half, kernel
from .indexing import gather, steps

__all__ = ["entropy", "entropy_backward", "mean_entropy", "mean_entropy_backward", "nll", "nll_backward", "shares_of", "pair_loss",
           "pair_slope"]


def shares_of(shape: Sequence[int], dtype: NumpyDtype, target: Array, weight: Array | None, ignored: int, smoothing: float) -> Array:
    """How much each class of each position counts: weight * (the target, spread as smoothing says); zero where the class is ignored."""
    classes = shape[1]
    kept = None
    if target.dtype.kind == "i":
        kept = np.expand_dims(target != ignored, 1)
        one = np.expand_dims(target, 1) == np.arange(classes).reshape((1, classes) + (1,) * (len(shape) - 2))
    else:
        one = target
    shares = one * dtype.type(1 - smoothing) + dtype.type(smoothing / classes)
    if weight is not None:
        per_class = weight.reshape((1, classes) + (1,) * (len(shape) - 2))
        # of classes the sharp part has the target's weight, which is the weight of the only class it has a part of
        shares = shares * per_class
    return (shares if kept is None else np.where(kept, shares, 0)).astype(dtype)


def _classes(target: Array, ignored: int) -> tuple[Any, Any]:
    """(which positions of (n, 1, ...) count, None for all; the class of each, any where it doesn't)."""
    target = target.reshape(target.shape[0], 1, *target.shape[1:])
    counts = target != ignored
    return (None, target) if counts.all() else (counts, np.where(counts, target, 0))


def _checked(target: Array, classes: int, ignored: int) -> tuple[Any, Any]:
    """The same; IndexError for a class out of range."""
    counts, at = _classes(target, ignored)
    bad = (at < 0) | (at >= classes)
    if bad.any():
        raise IndexError(f"Target {int(at[bad][0])} is out of bounds.")
    return counts, at


def _of_classes(weight: Array | None, at: Array, counts: Array) -> Array:
    """How much each position counts; without weights whether it does, and None where all do."""
    return counts if weight is None else weight[at] if counts is None else np.where(counts, weight[at], weight.dtype.type(0))


def _counted(share: Any, values: Array) -> Any:
    """share * values, which are fresh; zero where the share is zero, whatever the value."""
    return values if share is None else np.where(share, share * values, values.dtype.type(0))


def _sum_of_shares(share: Any, at: Any) -> Any:
    return at.size if share is None else _total(share)


def _total(a: Array) -> Array:
    return np.add.reduce(a, None, np.float64)


def _upstream(x: Array, g: Array, factor: float) -> Array:
    """What arrives from above, to multiply (n, classes, ...) by."""
    if g.ndim:
        return np.reshape(g, (x.shape[0], 1, *x.shape[2:]))
    return g if factor == 1.0 and g.dtype == x.dtype else (g.astype(np.float64) * factor).astype(x.dtype)


@kernel
def entropy(x: Array, target: Array, weight: Array | None, ignored: int, smoothing: float) -> tuple[Any, ...]:
    """(losses, logs of the sums of exponentials, sum of the losses, sum of the targets' weights); IndexError for a class out of range."""
    if target.dtype.kind == "i":
        counts, at = _checked(target, x.shape[1], ignored)
    top = maximum_reduce(x, 1, None, None, True)
    logs = np.log(add_reduce(np.exp(x - top), 1, None, None, True)) + top
    flat = x.shape[0], -1
    if target.dtype.kind != "i" or smoothing:
        shares = shares_of(x.shape, x.dtype, target, weight, ignored, smoothing)
        losses = np.add.reduce(np.where(shares != 0, shares * (logs - x), 0), 1).astype(x.dtype, copy=False)
        weights = _sum_of_shares(_of_classes(weight, at, counts), at) if target.dtype.kind == "i" else losses.size
    else:
        share = _of_classes(weight, at, counts)
        losses, weights = _counted(share, logs - gather(x, 1, at)), _sum_of_shares(share, at)
    return losses.reshape(flat), logs.reshape(flat), _total(losses), weights


@kernel
def entropy_backward(x: Array, target: Array, weight: Array | None, ignored: int, smoothing: float, logs: Array, g: Array,
                     factor: float) -> Array:
    """The gradient of the logits from g: one per position, or 0-dim and times `factor`."""
    r = np.exp(x - logs.reshape(x.shape[0], 1, *x.shape[2:]))
    up = _upstream(x, g, factor)
    if target.dtype.kind != "i" or smoothing:
        shares = shares_of(x.shape, x.dtype, target, weight, ignored, smoothing)
        return ((r * np.add.reduce(shares, axis=1, keepdims=True) - shares) * up).astype(x.dtype, copy=False)
    counts, at = _classes(target, ignored)
    r -= at == steps(x.shape[1], x.ndim - 2, at)
    return _counted(_of_classes(weight, at, counts), r * up)


def _array_beside(x: Array, value: Any) -> Any:
    """A number, or an array of any kind, as an array of x's dtype, where x is."""
    if isinstance(value, (np.generic, int, float)):
        return np.asarray(value, x.dtype) if x.__class__ is np.ndarray else np.full((), value, x.dtype, like=x)
    return value.astype(x.dtype, copy=False)


@kernel
def mean_entropy(x: Array, target: Array, ignored: int, wide: bool) -> Any:
    """(mean loss of logits (N, C), how many rows count, logs of the sums of exponentials per row) without weights; `wide`: the mean of
    16-bit logits is float32."""
    dtype = x.dtype
    if is_half(x):
        x = x.astype(np.float32)
    logs, total, count = entropy(x, target, None, ignored, 0.0)[1:]
    with np.errstate(all="ignore"):
        mean = _array_beside(x, total / count)
    return mean if wide else mean.astype(dtype, copy=False), _array_beside(x, count), logs.reshape(-1)


@kernel
def mean_entropy_backward(g: Array, x: Array, target: Array, count: Any, logs: Any, ignored: int) -> Any:
    """The gradient of the logits from that of the mean."""
    wide = x.astype(np.float32) if is_half(x) else x
    with np.errstate(all="ignore"):
        up = g.astype(wide.dtype, copy=False) / count
    return entropy_backward(wide, target, None, ignored, 0.0, logs, _array_beside(wide, up), 1.0).astype(x.dtype, copy=False)


@kernel
def nll(x: Array, target: Array, weight: Array, ignored: int, smoothing: float) -> tuple[Any, ...]:
    """(losses, their sum, sum of the targets' weights) of logarithms; `smoothing` is 0. IndexError for a class out of range."""
    counts, at = _checked(target, x.shape[1], ignored)
    share = _of_classes(weight, at, counts)
    losses = _counted(share, -gather(x, 1, at)).reshape(x.shape[0], -1)
    return losses, _total(losses), _sum_of_shares(share, at)


@kernel
def nll_backward(x: Array, target: Array, weight: Array, ignored: int, smoothing: float, g: Array, factor: float) -> Array:
    """The gradient of the logarithms from g: one per position, or 0-dim and times `factor`."""
    counts, at = _classes(target, ignored)
    share, up = _of_classes(weight, at, counts), -_upstream(x, g, factor)
    return np.where(at == steps(x.shape[1], x.ndim - 2, at), up if share is None else share * up, x.dtype.type(0))


# --- pairs ----------------------------------------------------------------------------------------------------------------------------

def _size_slope(x: Array, t: Array) -> Array:
    return np.nan_to_num(np.sign(x - t))


# The value of each loss of x against t with parameter p, and its slope in x.
_PAIRS: dict[str, Any] = {
    "mse": (lambda x, t, p: np.square(x - t), lambda x, t, p: 2 * (x - t)),
    "l1": (lambda x, t, p: np.abs(x - t), lambda x, t, p: _size_slope(x, t)),
    "smooth_l1": (lambda x, t, p: np.where(np.abs(x - t) < p, np.square(x - t) * (0.5 / p), np.abs(x - t) - 0.5 * p),
                  lambda x, t, p: np.where(np.abs(x - t) < p, (x - t) / p, np.sign(x - t))),
    "huber": (lambda x, t, p: np.where(np.abs(x - t) <= p, np.square(x - t) * 0.5, (np.abs(x - t) - 0.5 * p) * p),
              lambda x, t, p: np.clip(x - t, -p, p)),
    "logistic": (lambda x, t, p: (1 - t) * x + (np.maximum(-x, 0) + np.log1p(np.exp(-np.abs(x)))),
                 lambda x, t, p: np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x))) - t),
    "kl": (lambda x, t, p: np.where(t == 0, 0, t * np.log(np.where(t == 0, 1, t))) - t * x, lambda x, t, p: -t),
    "kl_log": (lambda x, t, p: np.exp(t) * (t - x), lambda x, t, p: -np.exp(t)),
}


@kernel
def pair_loss(name: str, x: Array, t: Array, p: float, factor: float | None) -> Array:
    """The loss of that name of x against t with parameter p: each, or (factor) the sum times a factor, 0-dim."""
    with np.errstate(all="ignore"):
        r = _PAIRS[name][0](x, t, p).astype(x.dtype, copy=False)
    if factor is None:
        return r
    return np.asarray(reduce.sum(r, None, False) * x.dtype.type(factor), x.dtype)


@kernel
def pair_slope(name: str, g: Array, x: Array, t: Array, p: float) -> Array:
    """g (0-dim or of x's shape) times the slope in x."""
    with np.errstate(all="ignore"):
        return (g * _PAIRS[name][1](x, t, p)).astype(x.dtype, copy=False)
