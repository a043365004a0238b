"""Connectionist temporal classification (Graves et al., 2006): losses and their gradients by the forward and backward lattices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array
from .door import kernel

__all__ = ["ctc"]


@kernel
def ctc(logs: Array, labels: Array, steps: Array, counts: Array, blank: int, gradients: bool) -> tuple[Any, Any]:
    """-log of the probability of each sequence's labels under log-probabilities (T, N, C), and its gradients (None unless wanted).

    labels      of all sequences, one after the other; `counts` of each
    steps       how many of the T rows belong to each sequence
    """
    work = logs.astype(np.float64)
    losses = np.empty(logs.shape[1])
    slopes = np.zeros(work.shape) if gradients else None
    ends = np.cumsum(counts)
    for i, (end, count) in enumerate(zip(ends.tolist(), counts.tolist(), strict=True)):
        losses[i], slope = _one(work[:steps[i], i], labels[end - count:end], blank, gradients)
        if slopes is not None:
            slopes[:steps[i], i] = slope
    return losses.astype(logs.dtype), None if slopes is None else slopes.astype(logs.dtype)


def _one(logs: Array, labels: Array, blank: int, gradients: bool) -> tuple[float, Any]:
    """(loss, gradient with respect to the log-probabilities, as PyTorch defines it for softmax inputs) of one sequence."""
    steps, classes = logs.shape
    path = np.full(2 * len(labels) + 1, blank)
    path[1::2] = labels
    size = len(path)
    skip = np.zeros(size, bool)
    skip[2:] = (path[2:] != blank) & (path[2:] != path[:-2])
    emit = logs[:, path]
    with np.errstate(all="ignore"):
        forward = _lattice(emit, skip, steps, size)
        end = np.logaddexp(forward[-1, -1], forward[-1, -2]) if size > 1 else forward[-1, -1]
        if steps == 0:
            end = 0.0 if len(labels) == 0 else -np.inf
        if not gradients:
            return -end, None
        mirrored = np.zeros(size, bool)
        mirrored[2:] = skip[::-1][:-2] if size > 2 else mirrored[2:]
        backward = _lattice(emit[::-1, ::-1], mirrored, steps, size)[::-1, ::-1]
        both = forward + backward - np.where(emit == -np.inf, 0, emit)
        occupancy = np.full((steps, classes), -np.inf)
        for s in range(size):
            occupancy[:, path[s]] = np.logaddexp(occupancy[:, path[s]], both[:, s])
        gradient = np.exp(logs) - np.exp(occupancy - end)
    if np.isinf(end):
        gradient = np.full_like(logs, np.nan)
    return -end, gradient


def _lattice(emit: Array, skip: Array, steps: int, size: int) -> Array:
    """log-probabilities of all path prefixes that end at (time, state)."""
    a = np.full((max(steps, 1), size), -np.inf)
    if steps:
        a[0, :2] = emit[0, :2]
    for t in range(1, steps):
        previous = a[t - 1]
        total = previous.copy()
        total[1:] = np.logaddexp(total[1:], previous[:-1])
        total[2:] = np.where(skip[2:], np.logaddexp(total[2:], previous[:-2]), total[2:])
        a[t] = total + emit[t]
    return a
