"""Masked reductions: what is masked out is replaced by a value that does not matter to the operation, and the plain operation does the
rest."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from ..nn._torch import torch
from ..tensor import Tensor
from ..vocabulary import Dims, Dtype, Function
from . import masks
from .maskedtensor.core import MaskedTensor
from .masks import canonical_dim as _dims
from .masks import extreme as _extreme

__all__ = ["sum", "prod", "cumsum", "cumprod", "amax", "amin", "argmax", "argmin", "mean", "median", "logsumexp", "logaddexp", "norm",
           "var", "std", "softmax", "log_softmax", "softmin", "normalize"]


def _parts(input: Tensor, mask: Tensor | None, name: str = "") -> tuple[Tensor, Any]:
    """(the plain tensor, its mask or None)."""
    if isinstance(input, MaskedTensor):
        own = input.get_mask()
        return input.get_data(), own if mask is None else own & mask
    if not isinstance(input, Tensor):
        raise TypeError(f"masked operations take a Tensor or a MaskedTensor, got {type(input).__name__}")
    if input.layout != torch.strided:
        raise ValueError(f"masked {name} expects strided tensor (got {input.layout} tensor)")
    return input, None if mask is None else masks.input_mask(input, mask=mask)


def _of_sparse(*layouts: str) -> Callable[[Function], Function]:
    """A decorator for reductions: of a sparse tensor the result is sparse, too, with what its mask leaves."""
    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def reduce(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
            if not isinstance(input, Tensor) or input.layout == torch.strided:
                return function(input, dim, keepdim=keepdim, dtype=dtype, mask=mask)
            name, layout = function.__name__, str(input.layout)[6:]
            if layout not in layouts:
                raise ValueError(f"masked {name} expects strided or {' or '.join(layouts)} tensor (got {input.layout} tensor)")
            if mask is None and name != "sum":
                raise ValueError(f"masked {name} expects explicit mask for {layout} tensor input")
            if layout == "sparse_csr" and not keepdim:
                error = AssertionError if name in ("amax", "amin", "mean") else RuntimeError
                raise error("reduction operations on CSR tensors with keepdim=False is unsupported")
            wanted = None if mask is None else masks.input_mask(input, mask=mask)
            dense = function(input.to_dense(), dim, keepdim=keepdim, dtype=dtype, mask=None if wanted is None else wanted.to_dense())
            if wanted is None:
                return dense.to_sparse_csr() if layout == "sparse_csr" else dense.to_sparse()
            shown = masks.output_mask(function, input, dim, mask=wanted, keepdim=keepdim)
            return dense.sparse_mask(shown.coalesce() if shown.layout == torch.sparse_coo else shown)
        return reduce
    return decorate


def _filled(input: Tensor, mask: Tensor | None, value: Any) -> Tensor:
    return input if mask is None else input.masked_fill(~mask, value)


def _lowest(dtype: Dtype) -> Any:
    return _extreme(False, dtype)


def _highest(dtype: Dtype) -> Any:
    return _extreme(True, dtype)


def _long(dtype: Dtype) -> Any:
    """The dtype in which integers are summed."""
    return dtype if dtype.is_floating_point or dtype.is_complex else torch.int64


@_of_sparse("sparse_coo", "sparse_csr")
def sum(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:  # noqa: A001
    """The sum of the elements that count; 0 where there are none."""
    x, mask = _parts(input, mask)
    return _filled(x, mask, 0).sum(_dims(dim, x.ndim), keepdim=bool(keepdim), dtype=dtype or _long(x.dtype))


@_of_sparse("sparse_coo", "sparse_csr")
def prod(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """The product of the elements that count; 1 where there are none."""
    x, mask = _parts(input, mask)
    result = _filled(x, mask, 1).to(dtype or _long(x.dtype))
    for each in reversed(_dims(dim, x.ndim)):
        result = result.prod(each, keepdim=bool(keepdim))
    return result


def cumsum(input: Tensor, dim: int, *, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """Running sums of the elements that count."""
    x, mask = _parts(input, mask, "cumsum")
    return _filled(x, mask, 0).cumsum(_dims(dim, x.ndim)[0], dtype=dtype or x.dtype)


def cumprod(input: Tensor, dim: int, *, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """Running products of the elements that count."""
    x, mask = _parts(input, mask, "cumprod")
    return _filled(x, mask, 1).cumprod(_dims(dim, x.ndim)[0], dtype=dtype or x.dtype)


@_of_sparse("sparse_coo", "sparse_csr")
def amax(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """The largest element that counts; -inf (the smallest integer) where there is none."""
    x, mask = _parts(input, mask)
    return _filled(x, mask, _lowest(x.dtype)).amax(_dims(dim, x.ndim), keepdim=bool(keepdim)).to(dtype or x.dtype)


@_of_sparse("sparse_coo", "sparse_csr")
def amin(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """The smallest element that counts; inf (the largest integer) where there is none."""
    x, mask = _parts(input, mask)
    return _filled(x, mask, _highest(x.dtype)).amin(_dims(dim, x.ndim), keepdim=bool(keepdim)).to(dtype or x.dtype)


def argmax(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """Where the largest element that counts is: an index in `dtype` (the input's, as in PyTorch)."""
    x, mask = _parts(input, mask, "argmax")
    return _filled(x, mask, _lowest(x.dtype)).argmax(dim, bool(keepdim)).to(dtype or x.dtype)


def argmin(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """Where the smallest element that counts is: an index in `dtype` (the input's, as in PyTorch)."""
    x, mask = _parts(input, mask, "argmin")
    return _filled(x, mask, _highest(x.dtype)).argmin(dim, bool(keepdim)).to(dtype or x.dtype)


def _count(x: Tensor, mask: Tensor | None, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    counted = torch.ones(x.shape, dtype=torch.int64, device=x.device) if mask is None else mask.to(torch.int64)
    return counted.sum(dims, keepdim=keepdim)


@_of_sparse("sparse_csr")
def mean(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """The mean of the elements that count; nan where there are none. ValueError for integers."""
    x, mask = _parts(input, mask)
    kind = dtype or x.dtype
    if not (kind.is_floating_point or kind.is_complex):
        raise ValueError(f"mean(): Could not infer output dtype. {'Input' if dtype is None else 'Optional'} dtype must be either a "
                         f"floating point or complex dtype. Got: {kind}")
    dims = _dims(dim, x.ndim)
    return sum(x, dims, keepdim=keepdim, dtype=kind, mask=mask) / _count(x, mask, dims, bool(keepdim))


def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """The (lower) median of the elements that count; nan where there are none, which integers do not have (ValueError)."""
    x, mask = _parts(input, mask, "median")
    kind = dtype or x.dtype
    floats = x if x.dtype.is_floating_point else x.to(torch.float32)
    result = torch.nanmedian(_filled(floats, mask, math.nan), _dims(dim, x.ndim)[0], keepdim).values
    if x.dtype.is_floating_point:
        return result
    if bool(result.isnan().any()):
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return result.to(kind)


def logsumexp(input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """log(sum(exp(x))) of the elements that count; -inf where there are none."""
    x, mask = _parts(input, mask, "logsumexp")
    return torch.logsumexp(_filled(x, mask, _lowest(x.dtype)), _dims(dim, x.ndim), keepdim=keepdim).to(dtype or x.dtype)


def logaddexp(input: Tensor, other: Any, *, dtype: Dtype = None, input_mask: Any = None, other_mask: Any = None) -> Tensor:
    """log(exp(input) + exp(other)), without what is masked out on either side."""
    x, input_mask = _parts(input, input_mask)
    y, other_mask = _parts(other, other_mask)
    return torch.logaddexp(_filled(x, input_mask, -math.inf), _filled(y, other_mask, -math.inf)).to(dtype or x.dtype)


def norm(input: Tensor, ord: float | None = 2.0, dim: Dims = None, *, keepdim: bool = False, dtype: Dtype = None,
         mask: Tensor | None = None) -> Tensor:  # noqa: A002
    """The vector norm of order `ord` of the elements that count."""
    x, mask = _parts(input, mask, "norm")
    value = math.inf if ord == -math.inf else 0
    return torch.linalg.vector_norm(_filled(x, mask, value), ord, _dims(dim, x.ndim), bool(keepdim), dtype=dtype or x.dtype)


def var(input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: float | None = None, keepdim: bool = False,
        dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """The variance of the elements that count, divided by their number less `correction` (default 1; `unbiased` False means 0)."""
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    correction = correction if correction is not None else 0 if unbiased is False else 1
    x, mask = _parts(input, mask, "std/var")
    kind = dtype or (x.dtype if x.dtype.is_floating_point or x.dtype.is_complex else torch.float32)
    dims = _dims(dim, x.ndim)
    centre = sum(x, dims, keepdim=True, dtype=kind, mask=mask) / _count(x, mask, dims, True)
    distance = x.to(kind) - centre
    total = sum(distance * distance.conj(), dims, keepdim=keepdim, dtype=kind, mask=mask)
    count = (_count(x, mask, dims, bool(keepdim)).to(kind.to_real()) - correction).clamp(min=0)
    return (total / count).to(kind)


def std(input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: float | None = None, keepdim: bool = False,
        dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
    """The square root of `var`."""
    return var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask).sqrt()


def _normalisation(name: str, function: Callable[..., Tensor], value: Function) -> Callable[..., Tensor]:
    def masked(input: Tensor, dim: int, *, dtype: Dtype = None, mask: Tensor | None = None) -> Tensor:
        x, mask = _parts(input, mask, name)
        x = x.to(dtype or x.dtype)
        return function(_filled(x, mask, value(x.dtype)), _dims(dim, x.ndim)[0])
    masked.__name__ = masked.__qualname__ = name
    masked.__doc__ = f"{name} of the elements that count; what is masked out gets no share, and nan where nothing counts."
    return masked


def _softmin(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(-x, dim)


softmax = _normalisation("softmax", lambda x, dim: torch.softmax(x, dim), _lowest)
log_softmax = _normalisation("log_softmax", lambda x, dim: torch.log_softmax(x, dim), _lowest)
softmin = _normalisation("softmin", _softmin, _highest)


def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Dtype = None,
              mask: Tensor | None = None) -> Tensor:  # noqa: A002
    """The elements divided by their norm, or by eps where that is larger; masked-out ones become 0."""
    x, mask = _parts(input, mask)
    length = norm(x, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _filled(x, mask, 0) / length.clamp(min=eps)
