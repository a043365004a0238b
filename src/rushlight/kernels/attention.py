"""Scaled dot-product attention on arrays, forward and backward, in pieces that stay in the cache.

q (..., L, E), k (..., S, E) and v (..., S, F) have the same leading dimensions; `bias` is None or something to add to the scores that
broadcasts to (..., L, S). The weights softmax(q k' + bias) are kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from ..vocabulary import Array, NumpyDtype
from . import native

__all__ = ["attention_weights", "attention_output", "attention_backward", "tiled", "tiled_forward", "tiled_backward"]

_library = native.library

PIECE = 1 << 17         # scores computed at a time


def tiled(q: Array, dtype: NumpyDtype) -> bool:
    """Whether the native library computes attention on arrays such as q, as this dtype, without the matrix of weights (native/attention.cpp)."""
    return _library is not None and q.__class__ is np.ndarray and dtype.char in "fd" and q.ndim <= 10


def tiled_forward(q: Array, k: Array, v: Array, bias: Array | None, causal: bool, scale: float) -> tuple[Any, Any]:
    """(softmax(scale * q k' + bias) v, the logarithm of each row's sum of exponentials, flat). `causal` hides key j from query i < j."""
    return _library.attention_forward(q, k, v, _bias_of(bias, q, k), causal, scale)


def tiled_backward(g: Array, q: Array, k: Array, v: Array, bias: Array | None, causal: bool, scale: float, out: Array,
                   sums: Array) -> tuple[Any, Any, Any]:
    """Gradients of q, k, v."""
    return _library.attention_backward(q, k, v, _bias_of(bias, q, k), causal, scale, g, out, sums)


def _bias_of(bias: Array | None, q: Array, k: Array) -> Any:
    return bias if bias is None else np.broadcast_to(bias, (*q.shape[:-1], k.shape[-2]))


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Indices of the leading dimensions that cut (..., L, S) into pieces of at most PIECE elements, as far as whole matrices go."""
    *leading, rows, columns = shape
    if not leading or prod(shape) <= PIECE:
        yield ()
        return
    depth = 1
    while depth < len(leading) and prod(leading[depth:]) * rows * columns > PIECE:
        depth += 1
    yield from np.ndindex(*leading[:depth])


def _exponentials(scores: Array, bias: Array | None, steady: bool) -> None:
    """exp(scores + bias) in place, each row divided by the exponential of its largest element where sizes ask for that."""
    # Small scores need no shift: exp(60) leaves room for sums and products.
    small = steady and scores.max() < 30 and scores.min() > -60
    if bias is not None:
        np.add(scores, bias, scores)
    if not small:
        top = np.maximum.reduce(scores, axis=-1, keepdims=True)
        np.subtract(scores, np.where(top == -np.inf, 0, top).astype(scores.dtype, copy=False), scores)
    np.exp(scores, scores)


def _is_steady(bias: Array | None) -> bool:
    """Whether a bias hides (-inf) or shifts by little: then the size of the scores alone decides about overflow."""
    if bias is None:
        return True
    low = bias.min(initial=0)
    if low == -np.inf:
        low = np.where(bias == -np.inf, 0, bias).min(initial=0)
    return bool(low > -20 and bias.max(initial=0) < 30)


def _product(a: Array, b: Array, out: Array) -> None:
    """out[...] = a b. Few rows (the queries of decoding) are cheaper to copy than to have NumPy multiply matrix by matrix."""
    if a.shape[-2] <= 2:
        out[...] = native.matmul(a, b)
    else:
        np.matmul(a, b, out)


def attention_weights(q: Array, k: Array, bias: Array | None, scale: float) -> tuple[Any, Any]:
    """(W (..., L, S), r (..., L, 1)) with softmax(scale * q k' + bias) = W r; rows in which everything is hidden are zeros.

    The softmax's division stays out of the large array: products with the weights are scaled by r afterwards.
    """
    weights = np.empty((*q.shape[:-1], k.shape[-2]), q.dtype)
    inverse = np.zeros((*q.shape[:-1], 1), q.dtype)
    if weights.size == 0:
        return weights, inverse
    steady = _is_steady(bias)
    if bias is not None and bias.ndim > 2:
        bias = np.broadcast_to(bias, weights.shape)
    ones = np.ones((k.shape[-2], 1), q.dtype)
    for piece in _pieces(weights.shape):
        scores = weights[piece]
        _product(q[piece] * scale, k[piece].swapaxes(-1, -2), scores)
        _exponentials(scores, bias if bias is None or bias.ndim <= 2 else bias[piece], steady)
        np.matmul(scores, ones, inverse[piece])
    np.divide(1, inverse, inverse, where=inverse != 0)
    return weights, inverse


def attention_output(weights: Array, inverse: Array, v: Array, noise: Any) -> Array:
    """(weights * noise) v: (..., L, F). `noise` is dropout's, or None."""
    out = np.empty((*weights.shape[:-1], v.shape[-1]), v.dtype)
    for piece in _pieces(weights.shape):
        _product(weights[piece] if noise is None else weights[piece] * noise[piece], v[piece], out[piece])
    out *= inverse
    return out


def attention_backward(g: Array, q: Array, k: Array, v: Array, weights: Array, inverse: Array, out: Array, noise: Any, scale: float,
                       scores_wanted: bool) -> tuple[Any, Any, Any, Any]:
    """Gradients of q, k, v, and (if wanted) of the bias, in the scores' shape."""
    dq, dk, dv = np.empty(q.shape, q.dtype), np.empty(k.shape, k.dtype), np.empty(v.shape, v.dtype)
    kept = np.empty_like(weights) if scores_wanted else None
    g = g * inverse
    inner = np.add.reduce(g * out, axis=-1, keepdims=True)
    for piece in _pieces(weights.shape):
        w, gp = weights[piece], g[piece]
        ds = gp @ v[piece].swapaxes(-1, -2)
        if noise is None:
            np.matmul(w.swapaxes(-1, -2), gp, dv[piece])
        else:
            ds *= noise[piece]
            np.matmul((w * noise[piece]).swapaxes(-1, -2), gp, dv[piece])
        ds -= inner[piece]
        ds *= w
        if kept is not None:
            kept[piece] = ds
        np.matmul(ds, k[piece] * scale, dq[piece])
        np.matmul(ds.swapaxes(-1, -2), q[piece] * scale, dk[piece])
    return dq, dk, dv, kept
