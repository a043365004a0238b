"""Dropout: zeros at random places, the rest scaled up so that the mean stays. The masks are those of PyTorch's CPU kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import bool_
from ..generator import generator_of
from ..kernels import dropout as K
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function
from .errors import not_a_tensor, title
from .public import export
from .record import record
from .sampling import bernoulli_mask
from .write import check_inplace

__all__ = ["dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout", "alpha_dropout_", "feature_alpha_dropout",
           "feature_alpha_dropout_", "native_dropout"]

# SELU's scale times alpha: what its activations are for very negative inputs (Klambauer et al. 2017).
_SELU_FLOOR = 1.7580993408473766


def _check(name: str, input: Any, p: float) -> float:
    if not isinstance(input, Tensor):
        raise not_a_tensor(name, "input", 1, input)
    p = float(p)
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")
    return p


def _noise_shape(input: Tensor) -> tuple[int, ...]:
    """One number per sample and channel."""
    shape = input._a.shape
    if len(shape) < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return (*shape[:2], *(1,) * (len(shape) - 2))


def _noise(input: Tensor, p: float, feature: bool, scale: bool) -> Tensor:
    """1 (or 1 / (1 - p)) where an element stays, else 0, in input's kind: over all elements, or one per channel."""
    kind = input._kind
    if kind.is_complex:
        raise NotImplementedError(f"\"bernoulli_scalar_cpu_\" not implemented for '{title(kind.dtype)}'")
    if not kind.is_floating:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {title(kind.dtype)}")
    mask = bernoulli_mask(_noise_shape(input) if feature else input._a.shape, None if feature else input._a, 1.0 - p, kind)
    work = np.float32 if kind.reduced else kind.np.type
    kept = work(1) / work(1.0 - p) if scale else work(1)
    noise = np.multiply(mask, kind.np.type(kept), dtype=kind.np) if not kind.reduced else mask.astype(kind.np) * kind.np.type(kept)
    return wrap(noise, kind)


def _all_dropped(input: Tensor) -> Tensor:
    """Zeros of input's dtype that still depend on it."""
    return input * (0.0 if input._kind.differentiable else input.detach() * False)


def _array_grad(g: Array, noise: Array) -> Array:
    return g * noise


def _dropped(input: Tensor, noise: Tensor) -> Tensor:
    """input * noise; the gradient is multiplied by the same noise."""
    r = wrap(input._a * noise._a, input._kind)
    return record(r, "MulBackward0", (input,), lambda g, noise: g * noise, (noise,), _array_grad)


def _by_kernel(input: Tensor, p: float) -> tuple[Tensor, Tensor] | None:
    """(the result, what stayed as bool) by one kernel of a GPU, with a mask from its own stream; None where there is none."""
    kind = input._kind
    if kind.device.type != "cuda" or not kind.is_floating:
        return None
    found = K.dropped(input._a, generator_of(None, kind.device, "dropout"), 1.0 - p)
    if found is NotImplemented:
        return None
    kept, scale = wrap(found[1], kind.bool_), 1.0 / (1.0 - p)
    return record(wrap(found[0], kind), "NativeDropoutBackward0", (input,), lambda g, mask: g * mask * scale, (kept,),
                  array_grad=lambda g, mask: K.dropped_gradient(g, mask.astype(g.dtype), scale)), kept


def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """In training: each element becomes zero with probability p, the others are divided by 1 - p. Else the input itself."""
    p = _check("dropout", input, p)
    if p == 0.0 or not train or not input._a.size:
        return input
    if p == 1.0:
        return _all_dropped(input)
    found = _by_kernel(input, p)
    if found is not None:
        return found[0]
    return _dropped(input, _noise(input, p, False, True))


def dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """`dropout` in place."""
    p = _check("dropout_", input, p)
    if p == 0.0 or not train or not input._a.size:
        return input
    check_inplace(input, input._node is not None)
    return input.mul_(_all_dropped(input).detach() if p == 1.0 else _noise(input, p, False, True))


def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """`dropout` of whole channels: input has shape (samples, channels, ...)."""
    p = _check("feature_dropout", input, p)
    if p == 0.0 or not train or not input._a.size:
        return input
    return _all_dropped(input) if p == 1.0 else input * _noise(input, p, True, True)


def feature_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """`feature_dropout` in place."""
    p = _check("feature_dropout_", input, p)
    if p == 0.0 or not train or not input._a.size:
        return input
    check_inplace(input, input._node is not None)
    return input.mul_(_all_dropped(input).detach() if p == 1.0 else _noise(input, p, True, True))


def _alpha_noise(input: Tensor, p: float, feature: bool) -> tuple[Tensor, Tensor]:
    """(factor, summand): what falls out is set to SELU's floor, then mean and variance are restored."""
    noise = _noise(input, p, feature, False)
    a = 1.0 / math.sqrt((_SELU_FLOOR * _SELU_FLOOR * p + 1) * (1 - p))
    return noise * a, (noise + -1) * (_SELU_FLOOR * a) + _SELU_FLOOR * a * p


def alpha_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """Dropout for SELU networks: elements fall to SELU's floor, and mean and variance stay."""
    p = _check("alpha_dropout", input, p)
    if p == 0.0 or not train or not input._a.size:
        return input
    if p == 1.0:
        return _all_dropped(input)
    factor, summand = _alpha_noise(input, p, False)
    return input * factor + summand


def feature_alpha_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """`alpha_dropout` of whole channels."""
    p = _check("feature_alpha_dropout", input, p)
    if p == 0.0 or not train or not input._a.size:
        return input
    if p == 1.0:
        return _all_dropped(input)
    factor, summand = _alpha_noise(input, p, True)
    return input * factor + summand


def _alpha_in_place(name: str, feature: bool) -> Function:
    def fn(input: Tensor, p: float, train: bool) -> Tensor:
        p = _check(name, input, p)
        if p == 0.0 or not train or not input._a.size:
            return input
        check_inplace(input, input._node is not None)
        if p == 1.0:
            return input.mul_(0.0) if input._kind.differentiable else input.zero_()
        factor, summand = _alpha_noise(input, p, feature)
        return input.mul_(factor).add_(summand)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"`{name[:-1]}` in place."
    return fn


alpha_dropout_ = _alpha_in_place("alpha_dropout_", False)
feature_alpha_dropout_ = _alpha_in_place("feature_alpha_dropout_", True)


def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """(dropout(input), the bool mask of what stayed)."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("native_dropout", "input", 1, input)
    kind = input._kind
    p = float(p)
    mask_kind = kind.with_dtype(bool_)
    if not input._a.size:
        return input.clone(), input.clone()                      # the mask has the input's dtype then
    if (train is not None and not train):
        return input.clone(), wrap(kind.xp.ones(input._a.shape, np.bool_), mask_kind)
    if not kind.differentiable:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {title(kind.dtype)}")
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={1 - p:g}")
    found = _by_kernel(input, p) if 0.0 < p < 1.0 else None
    if found is not None:
        return found
    mask = wrap(bernoulli_mask(input._a.shape, input._a, 1.0 - p, kind), mask_kind)
    scale = 0.0 if p == 1.0 else 1.0 / (1.0 - p)
    with_mask = input.detach() * mask * scale
    return record(with_mask, "NativeDropoutBackward0", (input,), lambda g, mask: g * mask * scale, (mask,)), mask


for _fn in (dropout, dropout_, feature_dropout, feature_dropout_, alpha_dropout, alpha_dropout_, feature_alpha_dropout,
            feature_alpha_dropout_, native_dropout):
    export(_fn, guard=_fn not in (dropout, dropout_))
