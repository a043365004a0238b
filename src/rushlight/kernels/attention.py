"""Scaled dot-product attention on arrays, forward and backward, in pieces that stay in the cache.

q (..., L, E), k (..., S, E) and v (..., S, F) have the same leading dimensions; `bias` is None or something to add to the scores that
broadcasts to (..., L, S). The weights P = softmax(q k' + bias) are kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["attention_weights", "attention_output", "attention_backward"]

PIECE = 1 << 17         # scores computed at a time


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Indices of the leading dimensions that cut (..., L, S) into pieces of at most PIECE elements, as far as whole matrices go."""
    *leading, rows, columns = shape
    if not leading or np.prod(shape) <= PIECE:
        yield ()
        return
    depth = 1
    while depth < len(leading) and np.prod(leading[depth:]) * rows * columns > PIECE:
        depth += 1
    yield from np.ndindex(*leading[:depth])


def _softmax_in_place(scores: Any) -> None:
    """softmax over the last dimension; rows of -inf alone become zeros."""
    top = np.maximum.reduce(scores, axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        top = np.where(top == -np.inf, 0, top).astype(scores.dtype, copy=False)
    np.subtract(scores, top, scores)
    np.exp(scores, scores)
    total = np.add.reduce(scores, axis=-1, keepdims=True)
    total[total == 0] = 1
    np.divide(scores, total, scores)


def attention_weights(q: Any, k: Any, bias: Any, scale: float) -> Any:
    """softmax(scale * q k' + bias): (..., L, S)."""
    weights = np.empty((*q.shape[:-1], k.shape[-2]), q.dtype)
    if weights.size == 0:
        return weights
    if bias is not None:
        bias = np.broadcast_to(bias, weights.shape)
    for piece in _pieces(weights.shape):
        scores = weights[piece]
        np.matmul(q[piece] * scale, k[piece].swapaxes(-1, -2), scores)
        if bias is not None:
            np.add(scores, bias[piece], scores)
        _softmax_in_place(scores)
    return weights


def attention_output(weights: Any, v: Any, noise: Any) -> Any:
    """(weights * noise) v: (..., L, F). `noise` is dropout's, or None."""
    out = np.empty((*weights.shape[:-1], v.shape[-1]), v.dtype)
    for piece in _pieces(weights.shape):
        np.matmul(weights[piece] if noise is None else weights[piece] * noise[piece], v[piece], out[piece])
    return out


def attention_backward(g: Any, q: Any, k: Any, v: Any, weights: Any, out: Any, noise: Any, scale: float,
                       scores_wanted: bool) -> tuple[Any, Any, Any, Any]:
    """Gradients of q, k, v, and (if wanted) of the bias, in the scores' shape."""
    dq, dk, dv = np.empty(q.shape, q.dtype), np.empty(k.shape, k.dtype), np.empty(v.shape, v.dtype)
    kept = np.empty_like(weights) if scores_wanted else None
    inner = np.add.reduce(g * out, axis=-1, keepdims=True)
    for piece in _pieces(weights.shape):
        p, gp = weights[piece], g[piece]
        ds = gp @ v[piece].swapaxes(-1, -2)
        if noise is None:
            np.matmul(p.swapaxes(-1, -2), gp, dv[piece])
        else:
            ds *= noise[piece]
            np.matmul((p * noise[piece]).swapaxes(-1, -2), gp, dv[piece])
        ds -= inner[piece]
        ds *= p
        if kept is not None:
            kept[piece] = ds
        np.matmul(ds, k[piece] * scale, dq[piece])
        np.matmul(ds.swapaxes(-1, -2), q[piece] * scale, dk[piece])
    return dq, dk, dv, kept
