"""Losses and similarities of pairs and triplets, and connectionist temporal classification."""

from __future__ import annotations

import numpy as np

from ..kernels.ctc import ctc
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function
from .errors import title
from .failed_calls import check_tensor
from .loss import reduced, reduction_of
from .public import functional, op
from .record import record
from .reduction import _vector_norm
from .registry import FUNCTIONS
from .shape import broadcast_tensors

__all__ = ["cosine_similarity", "cosine_embedding_loss", "pairwise_distance", "triplet_margin_loss", "triplet_margin_with_distance_loss",
           "ctc_loss"]


@op(functional=True)
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along a dimension."""
    for t in (x1, x2):
        if not t._kind.is_floating:
            raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {t.dtype}")
    if x1._a.shape != x2._a.shape:
        x1, x2 = broadcast_tensors(x1, x2)
    n1 = _vector_norm(x1, 2.0, dim, True).clamp(min=eps)
    n2 = _vector_norm(x2, 2.0, dim, True).clamp(min=eps)
    return ((x1 / n1) * (x2 / n2)).sum(dim)


@op(functional=True)
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last dimension."""
    return _vector_norm(x1 - x2 + eps, float(p), -1, keepdim)


@functional(guard=True)
def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
                          reduce: bool | None = None,
                          reduction: str = "mean") -> Tensor:
    """1 - cos where y is 1, max(0, cos - margin) where y is -1."""
    reduction = reduction_of(size_average, reduce, reduction)
    check_tensor("cosine_embedding_loss", input1=input1, input2=input2, target=target)
    if not ((target._a.ndim == 1 and input1._a.ndim == 2) or (target._a.ndim == 0 and input1._a.ndim == 1)):
        if target._a.ndim > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        raise RuntimeError(f"{target._a.ndim}D target tensor expects {target._a.ndim + 1}D input tensors, but found inputs with sizes "
                           f"{list(input1._a.shape)} and {list(input2._a.shape)}.")
    dim = 1 if target._a.ndim == 1 else 0
    small = 1e-12
    product = (input1 * input2).sum(dim)
    size1, size2 = (input1 * input1).sum(dim) + small, (input2 * input2).sum(dim) + small
    cosine = product / (size1 * size2).sqrt()
    where = FUNCTIONS["where"]
    loss = where(target == 1, 1 - cosine, 0.0) + where(target == -1, (cosine - margin).clamp(min=0), 0.0)
    return reduced(loss, reduction)


@functional(guard=True)
def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
                        swap: bool = False,
                        size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """max(0, d(a, p) - d(a, n) + margin) with p-norm distances; `swap` takes the smaller of d(a, n) and d(p, n)."""
    reduction = reduction_of(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor._a.ndim == positive._a.ndim == negative._a.ndim:
        raise RuntimeError("The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: anchor "
                           f"{anchor._a.ndim}D, positive {positive._a.ndim}D, and negative {negative._a.ndim}D inputs")
    return triplet_margin_with_distance_loss(anchor, positive, negative, distance_function=lambda a, b: pairwise_distance(a, b, p, eps),
                                             margin=margin, swap=swap, reduction=reduction)


@functional
def triplet_margin_with_distance_loss(anchor: Tensor, positive: Tensor, negative: Tensor, *, distance_function: Function | None = None,
                                      margin: float = 1.0,
                                      swap: bool = False, reduction: str = "mean") -> Tensor:
    """`triplet_margin_loss` with any distance function."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError("The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
                           f"anchor {anchor.dim()}D, positive {positive.dim()}D, and negative {negative.dim()}D inputs")
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = FUNCTIONS["minimum"](far, distance(positive, negative))
    return reduced((margin + near - far).clamp(min=0), reduction_of(None, None, reduction))


# --- CTC ------------------------------------------------------------------------------------------------------------------------------

@functional
def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int = 0, reduction: str = "mean",
             zero_infinity: bool = False) -> Tensor:
    """-log of the probability of all alignments of the targets (N, S) or concatenated, under log_probs (T, N, C) or (T, C).

    Graves et al., "Connectionist Temporal Classification", 2006. "mean" divides each loss by its target length first.
    """
    reduction = reduction_of(None, None, reduction)
    check_tensor("ctc_loss", log_probs=log_probs, targets=targets)
    for each in (input_lengths, target_lengths):
        if not isinstance(each, (Tensor, tuple, list)) or isinstance(each, Tensor) is not isinstance(input_lengths, Tensor):
            raise TypeError(f"ctc_loss() received an invalid combination of arguments - got lengths of type {type(each).__name__}")
    unbatched = log_probs._a.ndim == 2
    if not log_probs._kind.is_floating or log_probs._kind.reduced:
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{title(log_probs._kind.dtype)}'")
    if log_probs._a.ndim not in (2, 3):
        raise RuntimeError(f"Expected 3-dimensional tensor, but got {log_probs._a.ndim + (log_probs._a.ndim < 2)}-dimensional tensor for "
                           "argument #1 'log_probs' (while checking arguments for ctc_loss)")
    for which, each in (("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        if isinstance(each, Tensor) and each._kind.differentiable:
            raise RuntimeError(f"{which} must be integral")
    x = log_probs.unsqueeze(1) if unbatched else log_probs
    t, n, c = x._a.shape
    if not 0 <= blank < c:
        raise RuntimeError("blank must be in label range")
    lengths_in, lengths = (np.asarray(v.cpu()._a if isinstance(v, Tensor) else v,
                                      np.int64).reshape(-1) for v in (input_lengths, target_lengths))
    if len(lengths_in) != n or len(lengths) != n:
        which = "input_lengths" if len(lengths_in) != n else "target_lengths"
        raise RuntimeError(f"{which} must be of size batch_size")
    _check_lengths(targets._a, lengths_in, lengths, t)
    kind = x._kind
    losses, slopes = ctc(x._a, _labels(targets._a, lengths, n), lengths_in, lengths, int(blank), x._node is not None)
    bad = np.isinf(losses) if zero_infinity else None
    if bad is not None:
        losses[bad] = 0
    loss = wrap(losses, kind)
    if slopes is not None:
        if bad is not None:
            slopes[:, bad] = 0
        per_sequence = wrap(slopes, kind)
        record(loss, "CtcLossBackward0", (x,), lambda g: g.view(1, -1, 1) * per_sequence)
    if reduction == "mean":
        return (loss / wrap(np.maximum(lengths, 1).astype(kind.np), kind)).mean()
    r = reduced(loss, reduction_of(None, None, reduction))
    return r.squeeze(0) if unbatched and reduction == "none" else r


def _check_lengths(targets: Array, lengths_in: Array, lengths: Array, t: int) -> None:
    def bad(what: str) -> RuntimeError:
        return RuntimeError(f"Expected {what} (while checking arguments for ctc_loss_allocate_outputs)")
    for name, values in (("input_lengths", lengths_in), ("target_lengths", lengths)):
        if (values < 0).any():
            raise bad(f"{name} to have value at least 0, but got value {int(values[values < 0][0])}")
    if (lengths_in > t).any():
        raise bad(f"input_lengths to have value at most {t}, but got value {int(lengths_in.max())}")
    dim, need = (0, int(lengths.sum())) if targets.ndim == 1 else (1, int(lengths.max(initial=0)))
    have = targets.shape[dim]
    if need > have or (dim == 0 and need != have):
        raise bad(f"tensor to have size {'at least ' if dim else ''}{need} at dimension {dim}, but got size {have} for argument #2 "
                  "'targets'")


def _labels(targets: Array, lengths: Array, n: int) -> Array:
    """The labels of all sequences, one after the other."""
    targets = targets.astype(np.int64, copy=False)
    return targets if targets.ndim == 1 else np.concatenate([targets[i, :lengths[i]] for i in range(n)]) if n else targets.reshape(-1)
