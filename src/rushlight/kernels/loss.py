"""Losses on arrays. NumPy is the reference; native/loss.cpp, where it is built, goes over memory once.

Losses against classes take logits (n, classes, ...), a target (n, ...) of int64 classes, or (cross entropy) shares of the logits' shape, a weight per
class or None, the class that is ignored, and how much of the target is spread over all classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .native import function, library

__all__ = ["available", "entropy", "entropy_backward", "nll", "nll_backward", "shares_of", "pair_loss", "pair_slope"]

ndarray = np.ndarray


def available(logits: Any, target: Any, weight: Any) -> bool:
    """Whether the kernels take these arrays: plain ones that are not empty."""
    return (library is not None and logits.__class__ is ndarray and target.__class__ is ndarray and (weight is None or weight.__class__ is ndarray)
            and logits.size > 0)


def shares_of(shape: Any, dtype: Any, target: Any, weight: Any, ignored: int, smoothing: float) -> Any:
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


def _weights(target: Any, weight: Any, ignored: int) -> float:
    kept = target[target != ignored]
    return float(kept.size if weight is None else weight[kept].sum(dtype=np.float64))


def _check(target: Any, classes: int, ignored: int) -> None:
    bad = ((target < 0) | (target >= classes)) & (target != ignored)
    if bad.any():
        raise IndexError(f"Target {int(target[bad][0])} is out of bounds.")


def _numpy_entropy(x: Any, target: Any, weight: Any, ignored: int, smoothing: float) -> Any:
    if target.dtype.kind == "i":
        _check(target, x.shape[1], ignored)
    top = x.max(1, keepdims=True)
    logs = np.log(np.exp(x - top).sum(1, keepdims=True)) + top
    shares = shares_of(x.shape, x.dtype, target, weight, ignored, smoothing)
    losses = np.where(shares != 0, shares * (logs - x), 0).sum(1).astype(x.dtype)
    weights = _weights(target, weight, ignored) if target.dtype.kind == "i" else losses.size
    return losses.reshape(len(x), -1), logs.reshape(len(x), -1), float(losses.sum(dtype=np.float64)), float(weights)


def _numpy_entropy_backward(x: Any, target: Any, weight: Any, ignored: int, smoothing: float, logs: Any, g: Any) -> Any:
    shares = shares_of(x.shape, x.dtype, target, weight, ignored, smoothing)
    up = np.reshape(g, (x.shape[0], 1, *x.shape[2:])) if getattr(g, "ndim", 0) else x.dtype.type(g)
    return ((np.exp(x - logs.reshape(x.shape[0], 1, *x.shape[2:])) * shares.sum(1, keepdims=True) - shares) * up).astype(x.dtype)


def _numpy_nll(x: Any, target: Any, weight: Any, ignored: int, smoothing: float) -> Any:
    _check(target, x.shape[1], ignored)
    shares = shares_of(x.shape, x.dtype, target, weight, ignored, 0.0)
    losses = -np.where(shares != 0, shares * x, 0).sum(1)
    return losses.reshape(len(x), -1), float(losses.sum(dtype=np.float64)), _weights(target, weight, ignored)


def _numpy_nll_backward(x: Any, target: Any, weight: Any, ignored: int, smoothing: float, g: Any) -> Any:
    up = np.reshape(g, (x.shape[0], 1, *x.shape[2:])) if getattr(g, "ndim", 0) else x.dtype.type(g)
    return (-shares_of(x.shape, x.dtype, target, weight, ignored, 0.0) * up).astype(x.dtype)


# (x, target, weight, ignored, smoothing) -> (losses, logs of the sums of exponentials, sum of the losses, sum of the targets' weights); IndexError
entropy = function("cross_entropy", _numpy_entropy)
entropy_backward = function("cross_entropy_backward", _numpy_entropy_backward)      # (the same, logs, g: a number or one per position)
nll = function("nll", _numpy_nll)                                                   # (x, target, weight, ignored, 0.0) -> (losses, sum, weights)
nll_backward = function("nll_backward", _numpy_nll_backward)                        # (the same, g)


# --- pairs ----------------------------------------------------------------------------------------------------------------------------

def _size_slope(x: Any, t: Any) -> Any:
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


def _numpy_pair_loss(name: str, x: Any, t: Any, p: float, factor: Any) -> Any:
    with np.errstate(all="ignore"):
        r = _PAIRS[name][0](x, t, p).astype(x.dtype, copy=False)
    if factor is None:
        return r
    from . import reduce
    return np.asarray(reduce.sum(r, None, False) * x.dtype.type(factor), x.dtype)


def _numpy_pair_slope(name: str, g: Any, x: Any, t: Any, p: float) -> Any:
    with np.errstate(all="ignore"):
        return (g * _PAIRS[name][1](x, t, p)).astype(x.dtype, copy=False)


pair_loss = function("pair_loss", _numpy_pair_loss)         # (name, x, t, p, None or what the sum is multiplied by)
pair_slope = function("pair_slope", _numpy_pair_slope)      # (name, g: 0-dim or of x's shape, x, t, p)
