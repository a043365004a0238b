"""What masked operations say of masks: the mask of an input, the mask of a result, and the value that does not matter to an operation."""

from __future__ import annotations

import math
from typing import Any

from ..nn._torch import torch
from ..tensor import Tensor
from ..vocabulary import Dims, Function

__all__ = ["canonical_dim", "combine", "identity", "in_layout", "input_mask", "output_mask", "where"]

REDUCTIONS = frozenset(["sum", "prod", "amax", "amin", "argmax", "argmin", "mean", "median", "logsumexp", "norm", "var", "std"])
ALONG = frozenset(["softmax", "log_softmax", "softmin", "normalize", "cumsum", "cumprod"])
LAYOUTS = ("strided", "sparse_coo", "sparse_csr")


def canonical_dim(dim: Dims, ndim: int) -> tuple[int, ...]:
    """Dimensions as a sorted tuple; all of them for None and ()."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    bound = max(ndim, 1)
    wrapped: list[int] = []
    for each in dim if isinstance(dim, (tuple, list)) else (dim,):
        if not -bound <= each < bound:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], but got {each})")
        if each % bound in wrapped:
            raise RuntimeError(f"dim={each % bound} appears multiple times in the list of dims")
        wrapped.append(each % bound)
    return tuple(sorted(wrapped))


def in_layout(x: Tensor, like: Tensor) -> Tensor:
    """A tensor in another's layout."""
    if x.layout == like.layout:
        return x
    if like.layout == torch.strided:
        return x.to_dense()
    if like.layout == torch.sparse_csr:
        return x.to_sparse_csr()
    return x.to_dense().to_sparse(like.sparse_dim())


def input_mask(input: Tensor, *args: Any, mask: Tensor | None = None, **kwargs: Any) -> Tensor:
    """The mask of an operation's input: of the input's shape and layout, and bool."""
    if str(input.layout)[6:] not in LAYOUTS:
        raise ValueError(f"_input_mask expects strided or sparse COO or sparse CSR tensor but got {input.layout}")
    if mask is None:
        raise ValueError("_input_mask requires explicit mask")
    if mask.shape != input.shape:
        if mask.ndim > input.ndim:
            raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
        mask = mask.to_dense() if mask.layout != torch.strided else mask
        mask = mask.expand(input.shape).clone()
    mask = in_layout(mask, input)
    mask = mask if mask.dtype is torch.bool else mask.to(torch.bool)
    return mask.coalesce() if mask.layout == torch.sparse_coo else mask


def output_mask(op: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The mask of a masked operation's result: an element of a reduction counts where anything that it is made of does."""
    if not callable(op):
        raise ValueError(f"_output_mask expected masked operation (got {type(op).__name__} object)")
    if op.__name__ not in REDUCTIONS | ALONG:
        raise ValueError(f"_output_mask expected masked operation (got callable {op.__module__}.{op.__name__})")
    mask = input_mask(input, *args, **kwargs)
    if op.__name__ in ALONG:
        return mask
    if op.__name__ == "norm":
        args = args[1:]
    dims = canonical_dim(args[0] if args else kwargs.get("dim"), input.ndim)
    reduced = mask.to_dense() if mask.layout != torch.strided else mask
    for each in reversed(dims if input.ndim else ()):
        reduced = reduced.any(each, keepdim=bool(kwargs.get("keepdim", False)))
    return reduced if mask.layout == torch.strided else reduced.to_sparse_csr() if mask.layout == torch.sparse_csr else reduced.to_sparse()


def identity(name: str, input: Tensor, *args: Any) -> Tensor | None:
    """The value that does not change what a reduction computes; None where there is none (mean, var, std)."""
    dtype = input.dtype
    if name in ("sum", "cumsum"):
        value: Any = 0
    elif name in ("prod", "cumprod"):
        value = 1
    elif name in ("mean", "var", "std"):
        return None
    elif name == "median":
        return torch.tensor(math.nan, dtype=dtype if dtype.is_floating_point else torch.float32, device=input.device)
    elif name == "norm":
        if not dtype.is_floating_point:
            raise AssertionError(f"input must be floating point, got {dtype}")
        value = math.inf if args and args[0] == -math.inf else 0
    elif name in ("amax", "argmax", "logaddexp", "amin", "argmin", "logsumexp") and dtype is not torch.bool:
        value = extreme(name in ("amin", "argmin"), dtype, complexes=name == "logsumexp")
    else:
        raise NotImplementedError(f"identity of {name} on {dtype} input")
    return torch.tensor(value, dtype=dtype, device=input.device)


def extreme(highest: bool, dtype: Any, complexes: bool = True) -> Any:
    """The largest or smallest value of a dtype."""
    if dtype.is_floating_point or dtype.is_complex and complexes:
        return math.inf if highest else -math.inf
    limits = torch.iinfo(dtype)
    return limits.max if highest else limits.min


def where(mask: Tensor, input: Tensor, fill_value: Tensor) -> Tensor:
    """The input where the mask is True, else the fill value; of sparse tensors what the mask specifies as True alone."""
    if mask.layout == torch.strided:
        return torch.where(mask, input, fill_value)
    dense = in_layout(mask, fill_value).to(torch.bool)
    chosen = torch.where(dense, input.to_dense(), fill_value)
    if mask.layout == torch.sparse_coo:
        kept = dense
        for each in range(mask.sparse_dim(), dense.ndim):       # a hybrid's rows are kept whole
            kept = kept.any(each, keepdim=True)
        return chosen.sparse_mask(in_layout(kept.expand(mask.shape).contiguous(), mask).coalesce())
    return chosen.sparse_mask(dense.to_sparse_csr())


def combine(op: Function, input: Tensor, mask: Tensor | None, *args: Any) -> Tensor:
    """The input with the operation's identity where it is masked out."""
    if mask is None:
        return input
    value = identity(op.__name__, input, *args)
    if value is None:
        value = torch.zeros((), dtype=input.dtype, device=input.device)
    return where(input_mask(input, mask=mask), input, value)
