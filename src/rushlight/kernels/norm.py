"""Normalisation by the native kernels (native/norm.cpp). Its NumPy form is in ops/normalization.py."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .native import function, library

__all__ = ["available", "plan", "forward", "backward", "rms", "rms_backward"]

ndarray = np.ndarray
Axes = tuple[int, ...]


def available(x: Any, weight: Any, bias: Any) -> bool:
    """Whether the kernels take these: a plain float32 or float64 array, and tensors of its dtype (or None)."""
    return (library is not None and x.__class__ is ndarray and (x.dtype == np.float32 or x.dtype == np.float64) and x.size > 0
            and (weight is None or (weight._a.__class__ is ndarray and weight._a.dtype == x.dtype))
            and (bias is None or (bias._a.__class__ is ndarray and bias._a.dtype == x.dtype)))


def _no_twin(*args: Any) -> Any:
    raise TypeError("normalisation kernels take plain arrays of one dtype")


_rows = function("norm_rows", _no_twin)
_rows_backward = function("norm_rows_backward", _no_twin)
_batch = function("batch_norm", _no_twin)
_batch_backward = function("batch_norm_backward", _no_twin)
rms = function("rms_norm", _no_twin)                        # (x, weight or None, eps, length of the rows) -> x / root mean square * weight
rms_backward = function("rms_norm_backward", _no_twin)      # (g, x, weight or None, eps, length) -> gradients of x and weight


def plan(full: Axes, axes: Axes, shape: Axes, grouped: Axes | None) -> Any:
    """How the kernels see an array of shape `full`: (rows, groups, spatial), or None for (images, channels, spatial) along the channels.

    axes      what is normalised over (of the shape `grouped`, if that is given)
    shape     that of weight and bias: (1, channels, 1, ...), or the last dimensions
    """
    if grouped is not None:
        rows = grouped[0] * grouped[1]
        return rows, grouped[1], prod(full[2:])
    if axes[0] == 0 and axes != tuple(range(len(full))):
        return None
    rows = prod(full[:axes[0]])
    if len(shape) == len(full) and len(full) > 2 and shape[0] == 1 and axes == tuple(range(2, len(full))):
        return rows, full[1], prod(full[2:])            # instance norm: a row per image and channel
    return rows, 1, 1


def forward(plan: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """(result, mean, variance), the last two flat."""
    if plan is None:
        return _batch(x, weight, bias, eps)
    return _rows(x, weight, bias, eps, *plan)


def backward(plan: Any, g: Any, x: Any, weight: Any, mean: Any, variance: Any, eps: float, want_x: bool, want_weight: bool, want_bias: bool) -> Any:
    """The gradients of x, weight (flat) and bias (flat), None where they are not wanted."""
    if plan is None:
        return _batch_backward(g, x, weight, mean, variance, eps, want_x, want_weight, want_bias)
    return _rows_backward(g, x, weight, mean, variance, eps, *plan, want_x, want_weight, want_bias)
