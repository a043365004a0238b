"""Losses of a prediction against a target. `reduction` is "none", "mean" or "sum"; size_average and reduce are its old spelling."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..dtypes import float32
from ..kernels import loss as L
from ..kernels.arrays import as_array
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Operand
from .activation import logsigmoid
from .errors import not_a_tensor, not_implemented, title
from .promotion import same_device
from .public import functional
from .record import Outline, depending, record
from .registry import FUNCTIONS

__all__ = ["reduced", "reduction_of", "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
           "binary_cross_entropy", "binary_cross_entropy_with_logits", "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss",
           "margin_ranking_loss", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss"]


def reduction_of(size_average: Any, reduce: Any, reduction: str) -> str:
    """The reduction that the old pair means (with PyTorch's warning), else `reduction`, checked."""
    if size_average is not None or reduce is not None:
        average = True if size_average is None else size_average
        reduction = "none" if reduce is False else "mean" if average else "sum"
        warnings.warn(f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.", UserWarning,
                      stacklevel=3)
    elif reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The mean, the sum, or all of a loss's elements."""
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss


def _warn_sizes(input: Tensor, target: Tensor) -> None:
    if input._a.shape != target._a.shape:
        warnings.warn(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely lead "
                      "to incorrect results due to broadcasting. Please ensure they have the same size.", UserWarning, stacklevel=3)


def _check_tensors(name: str, input: Tensor, target: Tensor) -> None:
    for position, (parameter, value) in enumerate((("input", input), ("target", target)), 1):
        if not isinstance(value, Tensor):
            if name in _ASK_SIZES:
                other = target if isinstance(input, Tensor) or not isinstance(target, Tensor) else input
                raise AttributeError(f"{type(other).__name__!r} object has no attribute 'size'")
            raise not_a_tensor(name, parameter, position, value)


# Losses that ask their arguments for their size before anything else: what has none is an AttributeError in PyTorch.
_ASK_SIZES = ("l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")


def _check_weight(input: Tensor, weight: Any) -> None:
    """PyTorch's error for weights of another size than the input's."""
    if not isinstance(weight, Tensor):
        raise AttributeError(f"{type(weight).__name__!r} object has no attribute 'size'")
    if weight._a.shape != input._a.shape:
        raise ValueError("Weights and input must have the same size.")


def _check_floating(name: str, input: Tensor, target: Tensor) -> None:
    """PyTorch's error for integers, where the two together are no floating-point numbers."""
    if not (input._kind.differentiable or target._kind.differentiable):
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{title(input._kind.dtype)}'")


# --- differences ----------------------------------------------------------------------------------------------------------------------

# The slope of each loss in its input, by differentiable ops.
_SLOPES: dict[str, Any] = {
    "mse": lambda x, t, p: (x - t) * 2,
    "l1": lambda x, t, p: (x - t).sign(),
    "smooth_l1": lambda x, t, p: ((x - t) / p).clamp(-1, 1),
    "huber": lambda x, t, p: (x - t).clamp(-p, p),
    "logistic": lambda x, t, p: x.sigmoid() - t,
    "kl": lambda x, t, p: -t + x * 0,
    "kl_log": lambda x, t, p: -t.exp() + x * 0,
}
_SYMMETRIC = ("mse", "l1", "smooth_l1", "huber")      # the target's gradient is the input's, negative


def _takes_pair(name: str, input: Tensor, target: Tensor) -> bool:
    """Whether the loss can be one node over one kernel."""
    kind = input._kind
    return (kind is target._kind and kind.fast and input._a.shape == target._a.shape and input._a.size > 0
            and (target._node is None or name in _SYMMETRIC))


def _pair(name: str, label: str, input: Tensor, target: Tensor, reduction: str, p: float = 0.0, parts: int = 0) -> Tensor:
    """A loss of pairs as one node. `parts`: what a mean divides by, all elements by default."""
    kind, a, t = input._kind, input._a, target._a
    factor = None if reduction == "none" else 1.0 if reduction == "sum" else 1.0 / (parts or a.size)
    out = wrap(L.pair_loss(name, a, t, p, factor), kind)
    if input._node is None and target._node is None:
        return out
    formula, both = _SLOPES[name], target._node is not None

    def grad(g: Tensor, x: Tensor, t: Tensor) -> Any:
        r = (g if factor is None else g * factor) * formula(x, t, p)
        return r, -r if both else None

    def arrays(g: Array, x: Array, t: Array) -> tuple[Any, ...]:
        r = L.pair_slope(name, g if factor is None or factor == 1.0 else as_array(g * g.dtype.type(factor)), x, t, p)
        return r, -r if both else None
    return record(out, label, (input, target), grad, (input, target), array_grad=arrays)


@functional
def mse_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
             weight: Tensor | None = None) -> Tensor:
    """(input - target)^2."""
    _check_tensors("mse_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    _warn_sizes(input, target)
    if weight is None and _takes_pair("mse", input, target):
        return _pair("mse", "MseLossBackward0", input, target, reduction)
    if weight is None:
        _check_floating("mse", input, target)
    for each in (input, target):
        if each._kind.is_complex and weight is None:
            raise NotImplementedError(f"\"mse_cpu\" not implemented for '{title(each._kind.dtype)}'")
    if weight is not None:
        _check_weight(input, weight)
    difference = input - target
    square = difference * difference
    if weight is None:
        return reduced(square, reduction)
    square = square * weight
    return square.sum() / weight.expand_as(square).sum() if reduction == "mean" else reduced(square, reduction)


@functional
def l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
            weight: Tensor | None = None) -> Tensor:
    """|input - target|."""
    _check_tensors("l1_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    _warn_sizes(input, target)
    if weight is None and _takes_pair("l1", input, target):
        return _pair("l1", {"none": "AbsBackward0", "sum": "SumBackward0"}.get(reduction, "MeanBackward0"), input, target, reduction)
    if weight is not None:
        _check_weight(input, weight)
    loss = (input - target).abs()
    if weight is None:
        return reduced(loss, reduction)
    loss = loss * weight
    return loss.sum() / weight.expand_as(loss).sum() if reduction == "mean" else reduced(loss, reduction)


@functional
def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2."""
    _check_tensors("smooth_l1_loss", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    _warn_sizes(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    for each in (input, target):
        if each._kind.is_complex:
            raise NotImplementedError(f"\"smooth_l1_cpu\" not implemented for '{title(each._kind.dtype)}'")
    if _takes_pair("smooth_l1", input, target):
        return _pair("smooth_l1", "SmoothL1LossBackward0", input, target, reduction, beta)
    _check_floating("smooth_l1", input, target)
    difference = input - target
    size = difference.abs()
    return reduced(FUNCTIONS["where"](size < beta, difference * difference * (0.5 / beta), size - 0.5 * beta), reduction)


@functional
def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None) -> Tensor:
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2). Huber, 1964."""
    _check_tensors("huber_loss", input, target)
    reduction = reduction_of(None, None, reduction)
    _warn_sizes(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if weight is None and _takes_pair("huber", input, target):
        return _pair("huber", "HuberLossBackward0", input, target, reduction, delta)
    _check_floating("huber", input, target)
    if not (input._kind.is_floating or input._kind.is_complex):
        raise RuntimeError(f"result type Float can't be cast to the desired output type {title(input._kind.dtype)}")
    for each in (input, target):
        if each._kind.is_complex:
            raise NotImplementedError(f"\"huber_cpu\" not implemented for '{title(each._kind.dtype)}'")
    if weight is not None:
        _check_weight(input, weight)
    difference = input - target
    size = difference.abs()
    loss = FUNCTIONS["where"](size <= delta, difference * difference * 0.5, (size - 0.5 * delta) * delta)
    if input._kind.is_floating:
        loss = loss.to(input._kind.dtype)
    if weight is None:
        return reduced(loss, reduction)
    return reduced(loss * weight, reduction)          # over the count, where mse_loss and l1_loss divide by the weights' sum


# --- classes --------------------------------------------------------------------------------------------------------------------------

def _check_classes(target: Tensor, classes: int, ignore_index: int) -> None:
    t = target._a
    if t.size:
        bad = ((t < 0) | (t >= classes)) & (t != ignore_index)
        if bad.any():
            raise IndexError(f"Target {int(t[bad][0])} is out of bounds.")


def same_type(x: Tensor, other: Tensor) -> None:
    """PyTorch's error where a tensor that goes with `x` has another dtype."""
    if other._kind.dtype is not x._kind.dtype:
        raise RuntimeError(f"expected scalar type {title(x._kind.dtype)} but found {title(other._kind.dtype)}")


@functional
def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
             reduce: bool | None = None,
             reduction: str = "mean") -> Tensor:
    """-weight[target] * input[target] for log-probabilities (N, C, *) or (C) and classes (N, *) or (); the mean divides by the weights
    used."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_tensors("nll_loss_nd", input, target)
    if input._a.ndim < 1:
        raise ValueError(f"Expected 1 or more dimensions (got {input._a.ndim})")
    if input._a.ndim != 1 and input._a.shape[:1] != target._a.shape[:1]:
        raise ValueError(f"Expected input batch_size ({input._a.shape[0]}) to match target batch_size "
                         f"({target._a.shape[0] if target._a.ndim else 0}).")
    if target._kind.dtype.name not in ("int64", "uint8"):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target._kind.dtype.alias.capitalize()}")
    batched = input._a.ndim > 1
    if not batched and target._a.size != 1:
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {target._a.size}")
    x, t = (input, target) if batched else (input.unsqueeze(0), target.reshape(1))
    if x._a.ndim == 2 and t._a.ndim != 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if x._a.shape[2:] != t._a.shape[1:]:
        raise RuntimeError(f"Expected target size {[x._a.shape[0], *x._a.shape[2:]]}, got {list(t._a.shape)}")
    classes = x._a.shape[1]
    if weight is not None and weight._a.shape != (classes,):
        raise RuntimeError(f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
                           f"shape: {list(weight._a.shape)}")
    if weight is not None:
        same_type(x, weight)
    if not x._kind.is_floating:
        raise NotImplementedError(f"\"nll_loss_out_frame\" not implemented for '{title(x._kind.dtype)}'")
    if x._kind.fast and t._kind.dtype.name == "int64" and x._a.size and (weight is None or (weight._kind is x._kind and weight._node is None)):
        return _nll(input, target, x._a, t._a, None if weight is None else weight._a, ignore_index, reduction)
    _check_classes(t, classes, ignore_index)
    ignored = t._a == ignore_index
    at = wrap(np.where(ignored, 0, t._a).astype(np.int64), t._kind.int64)
    picked = -x.gather(1, at.unsqueeze(1)).squeeze(1)
    w = weight.to(x._kind.dtype).take(at) if weight is not None else None
    if w is not None:
        picked = picked * w
    if ignored.any():
        mask = wrap(as_array(ignored), t._kind.bool_)
        picked = picked.masked_fill(mask, 0)
        w = None if w is None else w.masked_fill(mask, 0)
    if reduction != "mean":
        return picked.sum() if reduction == "sum" else picked if batched else picked.squeeze(0)
    total = picked.sum()
    return total / w.sum() if w is not None else total / wrap(as_array((~ignored).sum(), x._kind.np), x._kind)


@functional
def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
                  reduce: bool | None = None,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """nll_loss of log_softmax(input). The target holds classes (N, *) or probabilities (N, C, *)."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_tensors("cross_entropy_loss", input, target)
    if weight is not None and not isinstance(weight, Tensor):
        raise not_a_tensor("cross_entropy_loss", "weight", 3, weight)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if _takes_entropy(input, target, weight, ignore_index):
        return _entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    if (reduction == "mean" and weight is None and not label_smoothing and input._a.ndim == 2 and target._a.ndim == 1
            and input._kind.is_floating and target._kind.dtype.name == "int64" and input._a.shape[0] == target._a.shape[0]
            and input._a.size):
        return _mean_entropy(input, target, ignore_index)
    dim = 0 if input._a.ndim == 1 else 1
    logs = input.log_softmax(dim)
    if input._a.shape == target._a.shape and target._kind.is_floating:
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _with_probabilities(logs, target, weight, reduction, label_smoothing, dim)
    if input._a.shape == target._a.shape:
        raise RuntimeError(f"Expected floating point type for target with class probabilities, got {target._kind.dtype.alias.capitalize()}")
    if target._kind.is_floating:
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target._kind.dtype.alias.capitalize()}")
    if not label_smoothing:
        return nll_loss(logs, target, weight, None, ignore_index, None, reduction)
    return _smoothed(logs, target, weight, ignore_index, reduction, label_smoothing, dim)


def _nll(input: Tensor, target: Tensor, x: Array, t: Array, weight: Any, ignore_index: int, reduction: str) -> Tensor:
    """nll_loss as one node. `x` and `t` have a batch dimension."""
    kind, shape = input._kind, input._a.shape
    losses, total, weights = L.nll(x, t, weight, ignore_index, 0.0)
    factor = 1.0 if reduction != "mean" else 1.0 / weights if weights else math.nan
    out = wrap(losses.reshape(target._a.shape) if reduction == "none" else as_array(total * factor, kind.np), kind)
    if input._node is None:
        return out

    outline = Outline(input)

    def grad(g: Tensor, *_: Tensor) -> Tensor:
        shares = L.shares_of(x.shape, x.dtype, t, weight, ignore_index, 0.0)
        up = g.reshape(x.shape[0], 1, *x.shape[2:]) if reduction == "none" else g * factor
        return depending((wrap(shares, kind) * -up).reshape(shape), outline, name="NllLossBackwardBackward0")
    return record(out, "NllLoss2DBackward0" if x.ndim == 4 else "NllLossBackward0", (input,), grad, (target,),
                  lambda g, _: L.nll_backward(x, t, weight, ignore_index, 0.0, g, factor).reshape(shape))


def _takes_entropy(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> bool:
    """Whether cross entropy is one node."""
    kind, shape = input._kind, input._a.shape
    if not (kind.fast and input._a.size):
        return False
    classes = shape[1] if len(shape) > 1 else shape[0] if shape else 0
    if weight is not None and not (weight._kind is kind and weight._node is None and weight._a.shape == (classes,)):
        return False
    if target._kind is kind:
        return target._a.shape == shape and target._node is None and ignore_index < 0
    return target._kind.dtype.name == "int64" and target._a.shape == shape[:1] * (len(shape) > 1) + shape[2:]


def _entropy(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float) -> Tensor:
    """Cross entropy as one node, which keeps one number per position for the backward pass."""
    kind, a, t, w = input._kind, input._a, target._a, None if weight is None else weight._a
    shape = a.shape
    shares = target._kind is kind
    if len(shape) == 1:
        a, t = a.reshape(1, -1), t.reshape(1, -1) if shares else t.reshape(1)
    losses, logs, total, weights = L.entropy(a, t, w, ignore_index, smoothing)
    factor = 1.0 if reduction != "mean" else 1.0 / weights if weights else math.nan
    out = wrap(losses.reshape(shape[:1] * (len(shape) > 1) + shape[2:]) if reduction == "none" else as_array(total * factor, kind.np), kind)
    if input._node is None:
        return out

    def grad(g: Tensor, x: Tensor, *_: Tensor) -> Tensor:
        share = L.shares_of(a.shape, a.dtype, t, w, ignore_index, smoothing)
        up = g.reshape(a.shape[0], 1, *a.shape[2:]) if reduction == "none" else g * factor
        sums = wrap(share.sum(1, keepdims=True), kind)
        return ((x.reshape(a.shape).softmax(1) * sums - wrap(share, kind)) * up).reshape(shape)
    label = (("NegBackward0" if reduction != "mean" else "DivBackward1") if shares else "AddBackward0" if smoothing else
             "NllLoss2DBackward0" if a.ndim == 4 else "NllLossBackward0")
    return record(out, label, (input,), grad, (input, target) if weight is None else (input, target, weight),
                  lambda g, x, *_: (L.entropy_backward(
        x.reshape(a.shape), t, w, ignore_index, smoothing, logs, g, factor).reshape(shape),))


def _mean_entropy(input: Tensor, target: Tensor, ignore_index: int, wide: bool = False) -> Tensor:
    """The mean over rows of logits (N, C) as one node, in reduced precision too; `wide`: the result is float32."""
    same_device("cross_entropy", input, target)
    t, classes = target._a, input._a.shape[1]
    kind = input._kind.with_dtype(float32) if wide else input._kind
    mean, count, logs = L.mean_entropy(input._a, t, ignore_index, wide)
    out = wrap(mean, kind)

    def grad(g: Tensor, x: Tensor, _: Tensor) -> Tensor:
        ignored = t == ignore_index
        one = wrap((np.where(ignored, 0, t)[:, None] == np.arange(classes, like=t)).astype(kind.np), kind)
        return ((x.to(kind.dtype).softmax(1) - one) * (g / wrap(count.astype(kind.np),
                                                                kind))).masked_fill(wrap(ignored[:, None], kind.bool_), 0)
    return record(out, "NllLossBackward0", (input,), grad, (input, target),
                  array_grad=lambda g, x, _: (L.mean_entropy_backward(g, x, t, count, logs, ignore_index),))


def cross_entropy_of_halves(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                            ignore_index: int = -100,
                            reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor | None:
    """What ``cross_entropy(input.float(), ...)`` is, without a float32 copy of the logits where the device has a kernel; None for other
    arguments.

    For autocast: the values are the same, and so is the gradient, which arrives at 16-bit logits rounded once either way.
    """
    if not (isinstance(input, Tensor) and isinstance(target, Tensor)) or not input._kind.reduced or (
            weight is not None or label_smoothing or reduction != "mean" or size_average is not None or reduce is not None):
        return None
    a, t = input._a, target._a
    if a.ndim != 2 or t.ndim != 1 or t.shape[0] != a.shape[0] or not a.size or target._kind.dtype.name != "int64":
        return None
    return _mean_entropy(input, target, ignore_index, True)


def _with_probabilities(logs: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float, dim: int) -> Tensor:
    classes = logs._a.shape[dim]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    loss = logs * target
    if weight is not None:
        loss = loss * weight.view(-1, *(1,) * (logs._a.ndim - dim - 1))
    if reduction == "none":
        return -loss.sum(dim)
    total = -loss.sum()
    return total if reduction == "sum" else total / (logs._a.size // classes)


def _smoothed(logs: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float, dim: int) -> Tensor:
    """Szegedy et al., "Rethinking the Inception Architecture", 2016: part of the target is spread over all classes."""
    classes = logs._a.shape[dim]
    sharp = nll_loss(logs, target, weight, None, ignore_index, None, reduction)
    spread = logs if weight is None else logs * weight.view(-1, *(1,) * (logs._a.ndim - dim - 1))
    uniform = -spread.sum(dim)
    ignored = target._a == ignore_index
    if ignored.any():
        uniform = uniform.masked_fill(wrap(as_array(ignored), target._kind.bool_), 0)
    if reduction == "sum":
        uniform = uniform.sum()
    elif reduction == "mean":
        if weight is None:
            uniform = uniform.sum() / int((~ignored).sum()) if ignored.size else uniform.sum()
        else:
            at = wrap(np.where(ignored, 0, target._a), target._kind)
            uniform = uniform.sum() / weight.take(at).masked_fill(wrap(as_array(ignored), target._kind.bool_), 0).sum()
    return sharp * (1 - smoothing) + uniform * (smoothing / classes)


# --- probabilities --------------------------------------------------------------------------------------------------------------------

@functional
def kl_div(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
           log_target: bool = False) -> Tensor:
    """target * (log(target) - input) for log-probabilities `input`; reduction "batchmean" divides the sum by the batch size."""
    if size_average is None and reduce is None and reduction not in ("none", "mean", "sum", "batchmean"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    _check_tensors("kl_div", input, target)
    if input._kind.is_complex or target._kind.is_complex:
        raise RuntimeError("kl_div: Complex inputs not supported.")
    if not (input._kind.is_floating and target._kind.is_floating):
        raise RuntimeError("kl_div: Integral inputs not supported.")
    batch = reduction == "batchmean"
    if size_average is not None or reduce is not None:
        reduction, batch = reduction_of(size_average, reduce, "mean"), False
    elif not batch:
        if reduction == "mean":
            warnings.warn("reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides only "
                          "by the batch size, and aligns with the KL div math definition.'mean' will be changed to behave the same as "
                          "'batchmean' in the next major release.", UserWarning, stacklevel=2)
        reduction = reduction_of(None, None, reduction)
    name = "kl_log" if log_target else "kl"
    if _takes_pair(name, input, target) and input._a.ndim:
        return _pair(name, "DivBackward0" if batch else {"none": "SubBackward0", "sum": "SumBackward0"}.get(reduction, "MeanBackward0"),
                     input, target, "mean" if batch else reduction, 0.0, input._a.shape[0] if batch else 0)
    loss = target.exp() * (target - input) if log_target else FUNCTIONS["xlogy"](target, target) - target * input
    if batch:
        return loss.sum() / input._a.shape[0] if input._a.ndim else loss.sum()
    return reduced(loss, reduction)


@functional
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                         reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:
    """-(y log x + (1 - y) log(1 - x)) for probabilities x; logarithms are at least -100."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_tensors("binary_cross_entropy", input, target)
    if weight is not None and not isinstance(weight, Tensor):
        raise AttributeError(f"{type(weight).__name__!r} object has no attribute 'size'")
    if input._a.shape != target._a.shape:
        raise ValueError(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. Please "
                         "ensure they have the same size.")
    if input._kind.dtype is not target._kind.dtype:

        raise RuntimeError(f"Found dtype {title(target._kind.dtype)} but expected {title(input._kind.dtype)}")
    a = input._a
    if not input._kind.is_floating:
        raise NotImplementedError(f"\"binary_cross_entropy\" not implemented for '{title(input._kind.dtype)}'")
    if a.size and not ((a >= 0) & (a <= 1)).all():
        raise RuntimeError("all elements of input should be between 0 and 1")
    x, y = input, target
    value = -(y._a * np.maximum(np.log(x._a), -100) + (1 - y._a) * np.maximum(np.log1p(-x._a), -100))
    loss = record(wrap(as_array(value, x._kind.np), x._kind), "BinaryCrossEntropyBackward0", (x, y),
                  (lambda g, x, y: g * (x - y) / ((1 - x) * x).clamp(min=1e-12),
                   lambda g, x, y: g * ((1 - x).log().clamp(min=-100) - x.log().clamp(min=-100))), (x, y))
    return reduced(loss if weight is None else loss * weight, reduction)


@functional
def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                                     reduce: bool | None = None,
                                     reduction: str = "mean", pos_weight: Tensor | None = None) -> Tensor:
    """binary_cross_entropy of sigmoid(input), without overflow; `pos_weight` weighs the positive term."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_tensors("binary_cross_entropy_with_logits", input, target)
    if input._a.shape != target._a.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if not input._kind.is_floating:
        raise not_implemented("log_sigmoid", input._kind)
    if not target._kind.is_floating:
        raise RuntimeError("result type Float can't be cast to the desired output type "
                           f"{target._kind.dtype.alias.capitalize() or 'Byte'}: the target of "
                           "binary_cross_entropy_with_logits has to be a float tensor, use target.float()")
    if weight is None and pos_weight is None and _takes_pair("logistic", input, target):
        return _pair("logistic", "BinaryCrossEntropyWithLogitsBackward0", input, target, reduction)
    logs = logsigmoid(input)
    scaled = logs if pos_weight is None else logs * ((pos_weight - 1) * target + 1)
    loss = (1 - target) * input - scaled
    return reduced(loss if weight is None else loss * weight, reduction)


@functional
def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
                     eps: float = 1e-8,
                     reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """exp(x) - y x (log_input), or x - y log(x + eps); `full` adds Stirling's term for y > 1."""
    if size_average is None and reduce is None and reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    _check_tensors("poisson_nll_loss", input, target)
    if not isinstance(log_input, bool):
        raise TypeError(f"poisson_nll_loss(): argument 'log_input' (position 3) must be bool, not {type(log_input).__name__}")
    reduction = reduction_of(size_average, reduce, reduction)
    if not isinstance(eps, (int, float, np.number)):
        raise TypeError(f"poisson_nll_loss(): argument 'eps' (position 5) must be float, not {type(eps).__name__}")
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + (target * (2 * math.pi)).log() * 0.5
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduced(loss, reduction)


@functional
def gaussian_nll_loss(input: Tensor, target: Tensor, var: Operand, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Tensor:
    """(log(var) + (x - y)^2 / var) / 2 with var at least eps; `full` adds log(2 pi) / 2."""
    _check_tensors("gaussian_nll_loss", input, target)
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = input.detach() * 0 + var
    elif bool((var._a < 0).any()):
        raise ValueError("var has negative entry/entries")
    if var._a.shape != input._a.shape:
        if input._a.shape[:-1] == var._a.shape:
            var = var.unsqueeze(-1)
        elif not (var._a.ndim == input._a.ndim and all(a == b or b == 1 for a, b in zip(input._a.shape, var._a.shape, strict=True))):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    if not var._kind.differentiable:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {title(var._kind.dtype)}")
    floor = var.detach().clamp(min=eps)
    var = var + (floor - var.detach())  # the gradient passes the clamp unchanged
    difference = input - target
    loss = (var.log() + difference * difference / var) * 0.5
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


# --- margins --------------------------------------------------------------------------------------------------------------------------

@functional
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:
    """x where y is 1, max(0, margin - x) where y is -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_tensors("hinge_embedding_loss", input, target)
    if not isinstance(margin, (int, float, np.number, Tensor)):
        raise TypeError(f"hinge_embedding_loss(): argument 'margin' (position 3) must be float, not {type(margin).__name__}")
    where, margin = FUNCTIONS["where"], margin if input._kind.differentiable else int(margin)
    return reduced(where(target != 1, (margin - input).clamp(min=0), 0) + where(target != -1, input, 0), reduction)


@functional
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
                        reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:
    """max(0, -y (x1 - x2) + margin)."""
    reduction = reduction_of(size_average, reduce, reduction)
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: {input1.shape}, "
                           f"input2: {input2.shape}, target: {target.shape} ")
    return reduced((-target * (input1 - input2) + float(margin)).clamp(min=0), reduction)


@functional
def soft_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
                     reduction: str = "mean") -> Tensor:
    """log(1 + exp(-y x))."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_tensors("soft_margin_loss", input, target)
    if not input._kind.differentiable:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {title(input._kind.dtype)}")
    return reduced((-target * input).exp().log1p().to(input._kind.dtype), reduction)           # of input's dtype


def _rows(input: Tensor, target: Tensor, name: str) -> tuple[Tensor, Tensor, bool]:
    """(N, C) and targets, from unbatched input too."""
    if input._a.ndim > 2 or input._a.ndim == 2 and input._a.shape[1] == 0:
        raise RuntimeError(f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input._a.shape)}")
    batched = input._a.ndim == 2
    return (input if batched else input.reshape(1, -1)), target, batched


@functional
def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
                      size_average: bool | None = None,
                      reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """sum over j != y of max(0, margin - x[y] + x[j])^p / C."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_tensors("multi_margin_loss", input, target)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight._a.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    if weight is not None:
        same_type(input, weight)
    x, y, batched = _rows(input, target, "multi_margin_loss")
    y = y.reshape(-1)
    if y._a.size != x._a.shape[0]:
        raise RuntimeError(f"inconsistent target size, expected {x._a.shape[0]} but got {list(target._a.shape)}")
    if y._a.size and (y._a.min() < 0 or y._a.max() >= x._a.shape[1]):
        raise RuntimeError("target out of range")
    at = y.unsqueeze(1)
    loss = (margin - x.gather(1, at) + x).clamp(min=0)
    if p == 2:
        loss = loss * loss
    if weight is not None:
        loss = loss * weight.take(at)
    loss = loss.scatter(1, at, 0.0).sum(1) / x._a.shape[1]
    return reduced(loss if batched or reduction != "none" else loss.squeeze(0), reduction)


@functional
def multilabel_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
                           reduction: str = "mean") -> Tensor:
    """sum over labels y and others j of max(0, 1 - (x[y] - x[j])) / C; the row's labels end at the first -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    _check_tensors("multilabel_margin_loss", input, target)
    if input._a.shape != target._a.shape:
        raise RuntimeError(f"inconsistent target size: {list(target._a.shape)} for input of size: {list(input._a.shape)}")
    if input._a.shape == (0,):
        raise RuntimeError("Expected non-empty vector or matrix with optional 0-dim batch size, but got: [0]")
    x, _, batched = _rows(input, target, "multilabel_margin_loss")
    if target._kind.is_complex:
        raise NotImplementedError(f"\"min_all\" not implemented for '{title(target._kind.dtype)}'")
    if input._kind.dtype.name not in ("float32", "float64"):
        raise NotImplementedError(f"\"multilabel_margin_loss_forward_out_frame\" not implemented for '{title(input._kind.dtype)}'")
    if target._a.size and target._kind.dtype.name != "int64":
        raise RuntimeError(f"expected scalar type Long but found {title(target._kind.dtype)}")
    t = target._a.reshape(x._a.shape)
    if ((t < -1) | (t >= x._a.shape[1])).any():
        raise RuntimeError("argument #2 'target' is out of range")
    valid = np.logical_and.accumulate(t >= 0, axis=1)
    labels = np.where(valid, t, 0)
    member = np.zeros(t.shape, bool)
    rows = np.broadcast_to(np.arange(t.shape[0])[:, None], t.shape)
    member[rows[valid], labels[valid]] = True
    int64, boolean = target._kind.int64, target._kind.bool_
    own = x.gather(1, wrap(labels.astype(np.int64), int64))
    margin = (1 - own.unsqueeze(2) + x.unsqueeze(1)).clamp(min=0)
    off = ~(valid[:, :, None] & ~member[:, None, :])
    loss = margin.masked_fill(wrap(off, boolean), 0).sum((1, 2)) / x._a.shape[1]
    return reduced(loss if batched or reduction != "none" else loss.squeeze(0), reduction)


@functional
def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                                reduce: bool | None = None,
                                reduction: str = "mean") -> Tensor:
    """The mean over classes of -(y log sigmoid(x) + (1 - y) log sigmoid(-x))."""
    if not isinstance(target, (int, float, complex)) or not isinstance(input, Tensor):
        _check_tensors("multilabel_soft_margin_loss", input, target)
    if input._kind.is_floating:
        reduction = reduction_of(size_average, reduce, reduction)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(loss.mean(-1), reduction)
