"""Looking rows up: embedding, embedding_bag, one_hot; and bilinear forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import services
from ..dims import wrap_dim
from ..kernels import indexing as K
from ..kernels.embedding import add_rows, in_range, take_rows
from ..tensor import Tensor, wrap
from ..vocabulary import Array
from .einsum import einsum
from .errors import not_a_tensor
from .public import export, functional
from .record import record
from .selection import where

__all__ = ["embedding", "embedding_bag", "one_hot", "bilinear"]


def _check_indices(index: Tensor, rows: int, name: str = "embedding") -> None:
    if index._kind.dtype.name not in ("int64", "int32"):
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
                           f"{index.type()} instead (while checking arguments for {name})")
    if not in_range(index._a, rows):
        raise IndexError("index out of range in self")


def _wrap_padding(padding_idx: int | None, rows: int) -> int | None:
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


@functional
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """The rows of weight (V, D) that input (*) names: (*, D).

    The row `padding_idx` gets no gradient. `max_norm` renormalises the used rows in place first.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"embedding(): argument 'indices' (position 2) must be Tensor, not {type(input).__name__}")
    if not isinstance(weight, Tensor):
        raise not_a_tensor("embedding", "weight", 1, weight)
    if max_norm is not None and not isinstance(max_norm, (int, float, np.number)):
        raise TypeError(f"embedding_renorm_(): argument 'max_norm' (position 3) must be float, not {type(max_norm).__name__}")
    if weight._a.ndim != 2:
        if padding_idx and not weight._a.ndim:      # nn.functional looks at the size first
            raise IndexError("Dimension specified as 0 but tensor has no dimensions")
        if weight._a.ndim:
            _wrap_padding(padding_idx, weight._a.shape[0])
        raise RuntimeError("'weight' must be 2-D")
    rows = weight._a.shape[0]
    padding_idx = _wrap_padding(padding_idx, rows)
    if max_norm is not None or input._kind.dtype.name != "int64":
        _check_indices(input, rows)
    if max_norm is not None:
        renormalize(weight, input, max_norm, norm_type)
    return _look_up(input, weight, padding_idx, scale_grad_by_freq, sparse)


def _embedding_form(weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False,
                    sparse: bool = False) -> Tensor:
    """torch.embedding: the weight first, and a padding index that may be any number."""
    rows = weight._a.shape[0] if weight._a.ndim else 0
    return embedding(indices, weight, padding_idx if 0 <= padding_idx < rows else None, None, 2.0, scale_grad_by_freq, sparse)


export(_embedding_form, "embedding", guard=True, first=True)


def renormalize(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale rows that are longer than max_norm down to it, in place."""
    used = np.unique(index._a)
    a = weight._a
    norms = np.linalg.norm(a[used], norm_type, axis=1) if used.size else np.zeros(0)
    long = norms > max_norm
    a[used[long]] *= (max_norm / (norms[long] + 1e-7)).astype(a.dtype)[:, None]
    weight._ver += 1


def _look_up(index: Tensor, weight: Tensor, padding_idx: int | None, by_frequency: bool, sparse: bool = False) -> Tensor:
    at = index._a
    array = K.take_slices(weight._a, 0, at)
    if array is None:
        _check_indices(index, weight._a.shape[0])
        array = take_rows(weight._a, at)
    out = wrap(array, weight._kind)
    if weight._node is None:
        return out
    rows, width = weight._a.shape
    if sparse:
        return record(out, "EmbeddingBackward0", (weight,), lambda g, i: _sparse_rows(g, i._a, rows, padding_idx, by_frequency), (index,))
    return record(out, "EmbeddingBackward0", (weight,), lambda g, i: _collect(g, i, rows, padding_idx, by_frequency), (index,),
                  array_grad=lambda g, at: _collected(g, at, rows, padding_idx, by_frequency))


def _sparse_rows(g: Tensor, at: Array, rows: int, padding_idx: int | None, by_frequency: bool) -> Tensor:
    """The gradient rows as a sparse tensor: one element per index that was looked up."""
    if by_frequency:
        raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
    flat, values = at.reshape(-1).astype(np.int64), g.reshape(-1, g.shape[-1])
    if padding_idx is not None and (flat == padding_idx).any():
        keep = np.flatnonzero(flat != padding_idx)
        flat, values = flat[keep], values.index_select(0, wrap(keep, g._kind.int64))
    return services.sparse_rows(flat, rows, values)


def _collected(g: Array, at: Array, rows: int, padding_idx: int | None, by_frequency: bool) -> Array:
    """Gradient rows added up by index."""
    flat, g = at.reshape(-1), g.reshape(-1, g.shape[-1])
    if by_frequency:
        g = g / np.bincount(flat, minlength=rows)[flat].astype(g.dtype)[:, None]
    out = add_rows(rows, flat, g)
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


def _collect(g: Tensor, index: Tensor, rows: int, padding_idx: int | None, by_frequency: bool) -> Tensor:
    out = wrap(_collected(g._a, index._a, rows, padding_idx, by_frequency), g._kind)

    def grad(gg: Tensor) -> Tensor:
        r = _look_up(index, gg, None, False)
        if padding_idx is not None:
            r = r.masked_fill((index == padding_idx).unsqueeze(-1), 0)
        if by_frequency:
            counts = np.bincount(index._a.reshape(-1), minlength=rows)[index._a].astype(r._kind.np)
            r = r / wrap(counts[..., None], r._kind)
        return r
    return record(out, "EmbeddingDenseBackward0", (g,), grad)


def _check_bags(input: Tensor, offsets: Tensor | None, mode: str, sparse: bool, weights: Tensor | None) -> None:
    """What nn.functional.embedding_bag asks of its arguments, in PyTorch's order."""
    if weights is not None and isinstance(weights, Tensor) and weights._a.shape != input._a.shape:
        raise ValueError(f"embedding_bag: If per_sample_weights ({list(weights._a.shape)}) is not None, it must have the same shape as "
                         f"the input ({list(input._a.shape)})")
    if input._a.ndim == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length sequences. "
                             f"However, found offsets of type {type(offsets)}")
    elif input._a.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if not isinstance(offsets, Tensor):
            raise AttributeError(f"{type(offsets).__name__!r} object has no attribute 'dim'")
        if offsets._a.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input._a.ndim}")
    if sparse and mode == "max":
        raise ValueError("max mode does not support sparse weights")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if weights is not None and mode != "sum":
        raise NotImplementedError("embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
                                  f"(got mode='{mode}'). Please open a feature request on GitHub.")


@functional(guard=True)
def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Tensor | None = None,
                  include_last_offset: bool = False, padding_idx: int | None = None) -> Tensor:
    """Sums, means or maxima of bags of rows of weight (V, D): input (B, N), or 1-D with the bags' starts in `offsets`; result (B, D)."""
    _check_bags(input, offsets, mode, sparse, per_sample_weights)
    if input._a.ndim == 2:
        starts = np.arange(input._a.shape[0], like=input._a) * input._a.shape[1]
        bags = input._a.shape[0]
        flat = input.reshape(-1)
        per_sample_weights = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    else:
        starts = offsets._a[:-1] if include_last_offset else offsets._a
        if offsets._a.size and offsets._a[-1:].max() > input._a.size:
            raise RuntimeError(f"offsets[-1] can not be greater than input's length {input._a.size} but got offsets[-1] of "
                               f"{int(offsets._a[-1])}")
        if (offsets._a[:1] != 0).any():
            raise RuntimeError("offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                               f"However, got {int(offsets._a[0])}")
        if starts.size and ((starts < 0) | (starts > input._a.size)).any():
            raise IndexError("index out of range in self")
        if (np.diff(offsets._a) < 0).any():
            raise RuntimeError("Expected i < index_size to be true, but got false: offsets have to grow from bag to bag, and "
                               f"offset {int(np.argmax(np.diff(offsets._a) < 0)) + 1} is smaller than the one before it")
        bags, flat = len(starts), input
    rows = weight._a.shape[0]
    if flat._a.size and (flat._a.min() < 0 or flat._a.max() >= rows):
        at = int(np.flatnonzero((flat._a < 0) | (flat._a >= rows))[0])
        raise RuntimeError(f"embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx to be {int(flat._a[at])}")
    if per_sample_weights is not None and per_sample_weights._kind.dtype is not weight._kind.dtype:
        raise RuntimeError("Expected tensor for argument #1 'weight' to have the same type as tensor for argument #1 "
                           f"'per_sample_weights'; but type {weight.type()} does not equal {per_sample_weights.type()} (while checking "
                           "arguments for embedding_bag)")
    padding_idx = _wrap_padding(padding_idx, rows)
    if padding_idx is None and max_norm is None and per_sample_weights is None and not scale_grad_by_freq and not sparse:
        found = K.bags(weight._a, flat._a, starts, ("sum", "mean", "max").index(mode))
        if found is not None:
            return _native_bags(wrap(found[0], weight._kind), weight, flat._a, starts, mode, found[1])
    values = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    bag = np.searchsorted(starts, np.arange(flat._a.size, like=starts), side="right") - 1
    keep = None if padding_idx is None else flat._a != padding_idx
    return _bags(values, bag, keep, bags, mode, per_sample_weights)


def _native_bags(out: Tensor, weight: Tensor, index: Any, starts: Any, mode: str, places: Any) -> Tensor:
    """The result of the native kernel, with its gradient."""
    if weight._node is None:
        return out
    shape, counts = weight._a.shape, np.diff(starts, append=index.size)
    int64 = out._kind.int64
    if mode == "max":
        kept = wrap(np.maximum(places, 0), int64)
        none = wrap(places < 0, out._kind.bool_)
        return record(out, "EmbeddingBagBackward0", (weight,), lambda g: g.new_zeros(shape).scatter_add(0, kept, g.masked_fill(none, 0)))
    bag = np.repeat(np.arange(starts.size), counts)
    share = (1 / np.maximum(counts, 1)).astype(weight._kind.np)[:, None] if mode == "mean" else None

    def grad(g: Tensor) -> Tensor:
        scaled = g if share is None else g * wrap(share, g._kind)
        return g.new_zeros(shape).index_add(0, wrap(index, int64), scaled.index_select(0, wrap(bag, int64)))

    def arrays(g: Array) -> Any:
        return K.add_rows(np.zeros(shape, g.dtype), index, (g if share is None else g * share).take(bag, 0))
    return record(out, "EmbeddingBagBackward0", (weight,), grad, (), arrays)


def _bags(values: Tensor, bag: Array, keep: Array, bags: int, mode: str, weights: Tensor | None) -> Tensor:
    int64, kind = values._kind.int64, values._kind
    if keep is not None:
        kept = wrap(np.flatnonzero(keep), int64)
        bag = bag[keep]
        values = values.index_select(0, kept)
        weights = None if weights is None else weights.index_select(0, kept)
    if weights is not None:
        values = values * weights.unsqueeze(1)
    at = wrap(bag if bag.flags.c_contiguous else bag.copy(), int64)
    if mode == "max":
        return _largest(values, at, bags)
    total = values.new_zeros((bags, values._a.shape[1])).index_add(0, at, values)
    if mode == "sum":
        return total
    counts = np.maximum(np.bincount(bag, minlength=bags), 1).astype(kind.np)
    return total / wrap(counts[:, None], kind)


def _largest(values: Tensor, at: Tensor, bags: int) -> Tensor:
    """The largest values of each bag, 0 in empty ones; the gradient goes to the first of equal ones, as PyTorch has it."""
    n, width = values._a.shape
    if not n:                       # only empty bags: zeros, which are part of the graph
        return values.new_zeros((bags, width)).index_add(0, at, values)
    spread, plain = at.unsqueeze(1).expand(-1, width), values.detach()
    top = plain.new_zeros((bags, width)).scatter_reduce(0, spread, plain, "amax", include_self=False).gather(0, spread)
    rows = wrap(np.arange(n, like=at._a)[:, None], at._kind)
    places = where((plain == top) | (plain.isnan() & top.isnan()), rows, n)
    first = wrap(np.full((bags, width), n, np.int64, like=at._a), at._kind).scatter_reduce(0, spread, places, "amin")
    return values.gather(0, first.clamp(max=n - 1)).masked_fill(first == n, 0)


@functional
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """(*) of class numbers to (*, num_classes) of 0 and 1 (int64)."""
    if not isinstance(tensor, Tensor):
        raise not_a_tensor("one_hot", "tensor", 1, tensor)
    a = tensor._a
    if tensor._kind.dtype.name != "int64":
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if a.size == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
    elif a.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(a.max()) + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    elif a.size and a.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    if a.__class__ is np.ndarray and a.size:
        r = np.zeros((*a.shape, num_classes), np.int64)
        K.scatter(r, a.ndim, a[..., None], np.array(1))
        return wrap(r, tensor._kind)
    return wrap((a[..., None] == np.arange(num_classes, like=a)).astype(np.int64), tensor._kind)


@functional(guard=True)
@export(guard=True)
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = input1 W_k input2 + b_k: inputs (*, A) and (*, B), weight (O, A, B), result (*, O)."""
    if input1._a.shape[:-1] != input2._a.shape[:-1]:
        raise RuntimeError(f"bilinear(): input batch dimensions do not match: got {list(input1._a.shape)} and {list(input2._a.shape)}")
    if input1._a.ndim != input2._a.ndim:
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {input1._a.ndim} and {input2._a.ndim}")
    if not input1._kind.dtype is input2._kind.dtype is weight._kind.dtype:
        raise RuntimeError("All tensors must have the same dtype, got input1: "
                           f"{', '.join(str(each._kind.dtype) for each in (input1, input2, weight))}")
    for at, each in enumerate((input1, input2), 1):
        wanted = weight._a.shape[wrap_dim(at, weight._a.ndim)]
        if each._a.shape[-1] != wanted:
            raise RuntimeError(f"bilinear(): input{at} size does not match weight size: got {each._a.shape[-1]} but expected {wanted}")
    r = einsum("...a,oab,...b->...o", input1, weight, input2)
    return r if bias is None else r + bias
