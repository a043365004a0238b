"""Scaled dot-product attention on arrays, forward and backward, in pieces that stay in the cache.

q (..., L, E), k (..., S, E) and v (..., S, F); the leading dimensions are broadcast, and the last of them, the heads, may be fewer for k
and v: each serves several of q. `bias` is None, what is added to the scores, or bools (False hides), and broadcasts to (..., L, S). The
NumPy form keeps softmax(q k' + bias) for the backward pass, the library and GPUs keep one number per query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from ..vocabulary import Array, NumpyDtype
from . import native
from .door import kernel
from .shapes import broadcast_shapes
from .strides import broadcast

__all__ = ["attention", "attention_gradient"]

_FLOAT32 = np.dtype(np.float32)
PIECE = 1 << 17         # scores computed at a time


@kernel(composed=True)
def attention(q: Array, k: Array, v: Array, bias: Array | None, noise: Callable[[Array], Array] | None, causal: bool, scale: float,
              of_bias: bool) -> tuple[Any, ...]:
    """(softmax(scale * q k' + bias) v, what the gradients need beside that...).

    noise       what the weights are multiplied by (dropout), a function of the array of weights
    causal      query i sees keys 0..i
    of_bias     whether the gradient of `bias` will be asked for
    """
    spread = _spread(q, k, v, bias)
    if spread is not None:
        q_, k_, v_, bias = spread
        out, *kept = attention(q_, k_, v_, bias, noise, causal, scale, of_bias)
        return (out.astype(q.dtype, copy=False), *kept)
    if causal:
        hidden = _numbers(np.arange(k.shape[-2]) <= np.arange(q.shape[-2])[:, None], q.dtype)
        bias = hidden if bias is None else bias + hidden
    weights, inverse = _weights(q, k, bias, scale)
    factors = () if noise is None else (noise(weights),)
    return _output(weights, inverse, v, *factors), weights, inverse, *factors


@kernel(composed=True)
def attention_gradient(g: Array, q: Array, k: Array, v: Array, bias: Array | None, noise: Callable[[Array], Array] | None, causal: bool,
                       scale: float, of_bias: bool, out: Array, *kept: Array) -> tuple[Any, Any, Any, Any]:
    """Gradients of q, k, v, and (`of_bias`) of the bias in the scores' shape, else None. `out` and `kept` are what `attention` returned."""
    spread = _spread(q, k, v, bias)
    if spread is not None:
        q_, k_, v_, wide_bias = spread
        leading, dtype = q_.shape[:-2], q_.dtype
        dq, dk, dv, of_scores = attention_gradient(_fitting(g, leading, dtype), q_, k_, v_, wide_bias, noise, causal, scale, of_bias,
                                                   _fitting(out, leading, dtype), *kept)
        dq, dk, dv = (_of_few_heads(grad, a).astype(a.dtype, copy=False) for grad, a in ((dq, q), (dk, k), (dv, v)))
        return dq, dk, dv, of_scores if of_scores is None or bias is None else of_scores.astype(bias.dtype, copy=False)
    weights, inverse, *factors = kept
    return _gradients(g, q, k, v, weights, inverse, out, factors[0] if factors else None, scale, of_bias)


def _spread(q: Array, k: Array, v: Array, bias: Array | None) -> tuple[Any, ...] | None:
    """(q, k, v, bias) of equal leading dimensions, as numbers of one dtype that is good to compute with; None where they are such
    already."""
    leading, rows, columns = q.shape[:-2], q.shape[-2], k.shape[-2]
    even = k.shape[:-2] == leading == v.shape[:-2]
    if even and q.itemsize > 2 and (bias is None or (bias.dtype == q.dtype and bias.shape == (*leading, rows, columns))):
        return None
    if even and bias is None:
        return q.astype(_FLOAT32), k.astype(_FLOAT32), v.astype(_FLOAT32), None
    if not even:
        k, v = _of_all_heads(k, q), _of_all_heads(v, q)
        leading = broadcast_shapes(leading, k.shape[:-2], v.shape[:-2])
    dtype = _FLOAT32 if q.itemsize == 2 else q.dtype
    if bias is not None:
        leading = broadcast_shapes(leading, bias.shape[:-2]) if bias.ndim > 2 else leading
        bias = broadcast(_numbers(bias, dtype), (*leading, rows, columns))
    return _fitting(q, leading, dtype), _fitting(k, leading, dtype), _fitting(v, leading, dtype), bias


def _fitting(a: Array, leading: tuple[int, ...], dtype: NumpyDtype) -> Array:
    """The array in this dtype, with these leading dimensions."""
    if a.dtype != dtype:
        a = a.astype(dtype)
    return a if a.shape[:-2] == leading else broadcast(a, (*leading, *a.shape[-2:]))


def _numbers(bias: Array, dtype: NumpyDtype) -> Array:
    """What is added to the scores: 0 for True, -inf for False."""
    if bias.dtype != bool:
        return bias.astype(dtype, copy=False)
    numbers = np.zeros(bias.shape, dtype)
    numbers[~bias] = -np.inf
    return numbers


def _of_all_heads(a: Array, q: Array) -> Array:
    """Keys or values, repeated for all the heads of q that each serves."""
    heads, own = (each.shape[-3] if each.ndim > 2 else 1 for each in (q, a))
    return a if own in (1, heads) or heads % own or heads < own else np.repeat(a, heads // own, -3)


def _of_few_heads(grad: Array, a: Array) -> Array:
    """The opposite: a gradient per head of q, summed to those of `a`."""
    heads, own = (each.shape[-3] if each.ndim > 2 else 1 for each in (grad, a))
    return grad if own in (1, heads) else np.add.reduce(grad.reshape((*grad.shape[:-3], own, heads // own, *grad.shape[-2:])), axis=-3)


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
    bias = bias[tuple([slice(None, 1) if step == 0 else slice(None) for step in bias.strides])]      # what is broadcast, once
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


def _weights(q: Array, k: Array, bias: Array | None, scale: float) -> tuple[Any, Any]:
    """(W (..., L, S), r (..., L, 1)) with softmax(scale * q k' + bias) = W r; rows in which everything is hidden are zeros.

    The softmax's division stays out of the large array: products with the weights are scaled by r afterwards.
    """
    weights = np.empty((*q.shape[:-1], k.shape[-2]), q.dtype)
    inverse = np.zeros((*q.shape[:-1], 1), q.dtype)
    if weights.size == 0:
        return weights, inverse
    steady = _is_steady(bias)
    if bias is not None and bias.ndim > 2:
        bias = broadcast(bias, weights.shape)
    ones = np.ones((k.shape[-2], 1), q.dtype)
    for piece in _pieces(weights.shape):
        scores = weights[piece]
        _product(q[piece] * scale, k[piece].swapaxes(-1, -2), scores)
        _exponentials(scores, bias if bias is None or bias.ndim <= 2 else bias[piece], steady)
        np.matmul(scores, ones, inverse[piece])
    np.divide(1, inverse, inverse, where=inverse != 0)
    return weights, inverse


def _output(weights: Array, inverse: Array, v: Array, noise: Any = None) -> Array:
    """(weights * noise) v: (..., L, F). `noise` is dropout's, or None."""
    out = np.empty((*weights.shape[:-1], v.shape[-1]), v.dtype)
    for piece in _pieces(weights.shape):
        _product(weights[piece] if noise is None else weights[piece] * noise[piece], v[piece], out[piece])
    out *= inverse
    return out


def _gradients(g: Array, q: Array, k: Array, v: Array, weights: Array, inverse: Array, out: Array, noise: Any, scale: float,
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
