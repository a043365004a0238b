"""The cross entropy of a linear layer's output, whole or in chunks of the batch, so that the logits never exist all at once."""

from __future__ import annotations

from math import prod
from typing import Any

from ..autograd.grad_mode import no_grad
from ..tensor import Tensor
from .joining import cat
from .loss import cross_entropy
from .matmul import linear
from .public import functional
from .recompute import recomputed_grad
from .record import record

__all__ = ["linear_cross_entropy"]


@functional
def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
                         weight: Tensor | None = None,
                         reduction: str = "mean", ignore_index: int | None = None, label_smoothing: float = 0.0,
                         options: Any = None) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target).

    input          (N, in) or (in)
    linear_weight  (C, *classes, in), with the bias (C, *classes): logits are (N, C, *classes)
    options        a `LinearCrossEntropyOptions`: in chunks of the batch, whose logits are computed again in the backward pass
    """
    indices = not target._kind.differentiable
    _check(input, linear_weight, target, linear_bias, weight, label_smoothing)
    if ignore_index is None:
        ignore_index = -100
    elif not indices and ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    more = {"weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing}

    def loss(x: Tensor, w: Tensor, b: Tensor | None, t: Tensor, reduction: str) -> Tensor:
        return cross_entropy(_logits(x, w, b), t, reduction=reduction, **more)
    if options is None or input._a.ndim != 2 or input._a.shape[0] == 0:
        return loss(input, linear_weight, linear_bias, target, reduction)
    n = input._a.shape[0]
    size = options.batch_chunk_size or max(1, -(-n // 4))
    parts = [_recomputed(loss, input.narrow(0, i, min(size, n - i)), linear_weight, linear_bias, target.narrow(0, i, min(size, n - i)),
                         "none" if reduction == "none" else "sum") for i in range(0, n, size)]
    if reduction == "none":
        return cat(parts)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total if reduction == "sum" else total / _weight_of(target, weight, ignore_index, indices)


def _check(x: Tensor, w: Tensor, target: Tensor, bias: Tensor | None, weight: Tensor | None, label_smoothing: float) -> None:
    classes = w._a.shape[:-1]
    if x._a.ndim and w._a.ndim and x._a.shape[-1] != w._a.shape[-1]:
        raise RuntimeError(f"expected equal input and linear_weight last dimensions (in_features), got {x._a.shape[-1]} and "
                           f"{w._a.shape[-1]}, respectively")
    if len(classes) > 1 and x._a.ndim == 1:
        raise RuntimeError(f"K-dimensional loss defined by linear_weight shape {tuple(w._a.shape)} requires batched input, (N, "
                           f"{w._a.shape[-1]}), got unbatched input with shape {tuple(x._a.shape)}")
    if bias is not None and bias._a.shape != classes:
        raise RuntimeError(f"expected linear_bias shape {tuple(classes)}, got {tuple(bias._a.shape)}")
    if weight is not None and weight._a.shape != classes[:1]:
        raise RuntimeError(f"expected weight shape to be {tuple(classes[:1])}, got {tuple(weight._a.shape)}")
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
    if x._a.ndim == 2 and target._a.ndim and target._a.shape[0] != x._a.shape[0]:
        raise ValueError(f"Expected input batch_size ({x._a.shape[0]}) to match target batch_size ({target._a.shape[0]}).")


def _logits(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    if w._a.ndim <= 2:
        return linear(x, w, b)
    y = linear(x, w.reshape(-1, w._a.shape[-1]), None if b is None else b.reshape(-1))
    return y.reshape(*x._a.shape[:-1], *w._a.shape[:-1])


def _weight_of(target: Tensor, weight: Tensor | None, ignore_index: int, indices: bool) -> Any:
    """What the mean divides by: the weights of the targets that count."""
    if not indices:
        return prod(target._a.shape) // target._a.shape[1]
    counted = target != ignore_index
    return counted.sum() if weight is None else weight[target[counted]].sum()


def _recomputed(loss: Any, x: Tensor, w: Tensor, b: Tensor | None, t: Tensor, reduction: str) -> Tensor:
    """A chunk's loss whose graph keeps the inputs only."""
    inputs = tuple([each for each in (x, w, b, t) if each is not None and each._kind.differentiable])

    def function(x: Tensor, w: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        more = list(rest)
        bias = more.pop(0) if b is not None else None
        return (loss(x, w, bias, more[0] if more else t, reduction),)
    with no_grad():
        value = function(*inputs)[0]

    def grad(g: Tensor, *saved: Tensor) -> tuple[Any, ...]:
        again = g._node is not None or any(s._node is not None for s in saved)       # create_graph=True
        leaves = [s if s._node is not None else s.detach().requires_grad_() for s in saved]
        return tuple([d if again or d is None else d.detach() for d in recomputed_grad(function, leaves, (g,))])
    return record(value, "LinearCrossEntropyBackward0", inputs, grad, inputs)
