"""Cross entropy of rows of logits, natively (native/loss.cpp). Its NumPy form, made of log_softmax and indexing, is in ops/loss.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from .native import function, library

__all__ = ["available", "forward", "backward"]

ndarray = np.ndarray


def available(logits: Any, classes: Any) -> bool:
    """Whether the native kernel takes these arrays: plain ones of float32 or float64, and int64."""
    return library is not None and logits.__class__ is ndarray and classes.__class__ is ndarray and logits.size > 0


def _no_twin(*args: Any) -> Any:
    raise TypeError("cross_entropy takes plain arrays: logits (rows, classes) and int64 classes (rows)")


# (logits, classes, ignored class) -> (sum of the losses, number of rows that count, log of the sum of exponentials per row); IndexError
forward = function("cross_entropy", _no_twin)
# (factor, logits, classes, logs, ignored class) -> (softmax - one) * factor
backward = function("cross_entropy_backward", _no_twin)
