"""Functions that `torch` shows with the arguments of PyTorch's operators, where `torch.nn.functional` has others under the same name.

``torch.batch_norm`` takes the weights before the running statistics, ``torch.kl_div`` a number for its reduction, ``torch.embedding_bag``
returns its book-keeping. All is computed by the public functions, gradients included. Here, too, are questions about devices that are never
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import update_wrapper
from types import FunctionType
from typing import Any

import numpy as np

from ..autograd.grad_mode import no_grad
from ..dims import wrap_dim
from ..tensor import Tensor, wrap
from ..vocabulary import Dims, Function, PerDim
from . import embedding, linalg  # noqa: F401 (the norms of matrices are defined there)
from .aten_forms import FORMS, word_of
from .errors import title
from .failed_calls import check_tensor
from .loss import reduced
from .public import export, method, op
from .registry import FUNCTIONS, NAMESPACES

__all__: list[str] = []

FUNCTIONAL = NAMESPACES["nn.functional"]


def _form(function: Function) -> Any:
    """A function of torch, which is the operator of that name as well."""
    FORMS[function.__name__] = function
    return export(function, guard=True)


for _name in ("batch_norm", "instance_norm", "convolution", "affine_grid_generator", "adaptive_max_pool1d"):
    export(FORMS[_name], guard=True)


# --- losses: the reduction is a number ------------------------------------------------------------------------------------------------

def _loss(function: Function) -> Any:
    """The same for a loss. PyTorch's operators take the mean unless told otherwise; its Python functions of 2.13 reduce nothing then."""
    parameters, defaults = function.__code__.co_varnames[:function.__code__.co_argcount], function.__defaults__ or ()
    shown = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    update_wrapper(shown, function)
    del shown.__wrapped__  # type: ignore[attr-defined]
    shown.__defaults__ = tuple([0 if name == "reduction" else value
                                for name, value in zip(parameters[len(parameters) - len(defaults):], defaults, strict=True)])
    shown.__kwdefaults__ = function.__kwdefaults__
    FORMS[function.__name__] = function
    export(shown, guard=True, first=True)
    return function


_loss(FORMS["binary_cross_entropy_with_logits"])


@_loss
def kl_div(input: Tensor, target: Tensor, reduction: int = 1, *, log_target: bool = False) -> Tensor:
    """The Kullback-Leibler divergence, elementwise; reduction: 1 its mean, 2 its sum, else none."""
    return FUNCTIONAL["kl_div"](input, target, reduction=word_of(reduction, "kl_div", 3), log_target=log_target)


@_loss
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1) -> Tensor:
    """max(0, -target * (input1 - input2) + margin)."""
    return reduced((-target * (input1 - input2) + float(margin)).clamp(min=0), word_of(reduction, "margin_ranking_loss", 5))


@_loss
def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1) -> Tensor:
    """1 - cos for pairs with target 1, max(0, cos - margin) for those with -1."""
    return FUNCTIONAL["cosine_embedding_loss"](input1, input2, target, margin, reduction=word_of(reduction, "cosine_embedding_loss", 5))


@_loss
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 1) -> Tensor:
    """The distance for target 1, max(0, margin - distance) for -1."""
    return FUNCTIONAL["hinge_embedding_loss"](input, target, margin, reduction=word_of(reduction, "hinge_embedding_loss", 4))


@_loss
def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
                        swap: bool = False,
                        reduction: int = 1) -> Tensor:
    """max(0, distance to positive - distance to negative + margin)."""
    return FUNCTIONAL["triplet_margin_loss"](anchor, positive, negative, margin, p, eps, swap,
                                             reduction=word_of(reduction, "triplet_margin_loss", 8))


@_loss
def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int) -> Tensor:
    """The negative log-likelihood of counts under a Poisson distribution."""
    return FUNCTIONAL["poisson_nll_loss"](input, target, log_input, full, None, eps, None, word_of(reduction, "poisson_nll_loss", 6))


@_loss
def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: int = 1,
             zero_infinity: bool = False) -> Tensor:
    """The negative log-likelihood of label sequences over all alignments (connectionist temporal classification)."""
    word = word_of(reduction, "ctc_loss", 6)
    return FUNCTIONAL["ctc_loss"](log_probs, targets, input_lengths, target_lengths, blank, word, zero_infinity)


# --- convolution, pooling, normalisation -----------------------------------------------------------------------------------------------

@_form
def _convolution(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
                 transposed: bool, output_padding: Sequence[int], groups: int, benchmark: bool, deterministic: bool, cudnn_enabled: bool,
                 allow_tf32: bool = False) -> Tensor:
    """`convolution`; what else is said chooses among cuDNN's algorithms, which are not used."""
    return FORMS["convolution"](input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)


@_form
def max_pool1d_with_indices(input: Tensor, kernel_size: PerDim, stride: PerDim = (), padding: PerDim | str = 0, dilation: PerDim = 1,
                            ceil_mode: bool = False) -> tuple[Tensor, Tensor]:
    """The largest of each window and its place."""
    return FUNCTIONAL["max_pool1d_with_indices"](input, kernel_size, stride or None, padding, dilation, ceil_mode)


@_form
def embedding_bag(weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
                  per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(bags, the bag of each index, the bags' sizes, the rows of the maxima); mode: 0 sums, 1 means, 2 maxima."""
    check_tensor("embedding_bag", weight=weight, indices=indices, offsets=offsets)
    if weight._a.ndim != 2:
        raise RuntimeError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight._a.ndim}")
    if offsets._a.ndim != 1:
        raise RuntimeError(f"offsets has to be a 1D Tensor, but got Tensor of dimension {offsets._a.ndim}")
    if not weight._kind.is_floating:
        raise RuntimeError("Expected tensor for argument #1 'weight' to have one of the following scalar types: Half, BFloat16, Float, "
                           f"Double; but got {weight.type()} instead (while checking arguments for embedding_bag)")
    if per_sample_weights is not None and per_sample_weights._a.ndim != 1:
        raise RuntimeError(f"per_sample_weights has to be a 1D Tensor, but got Tensor of dimension {per_sample_weights._a.ndim}")
    if indices.dim() not in (1, 2):
        raise RuntimeError(f"input has to be a 1D or 2D Tensor, but got Tensor of dimension {indices.dim()}")
    if mode not in (0, 1, 2):
        raise RuntimeError("`mode` must be sum, mean, or max.")
    bags = FUNCTIONAL["embedding_bag"](indices, weight, offsets, None, 2.0, scale_grad_by_freq, ("sum", "mean", "max")[mode], sparse,
                                       per_sample_weights, include_last_offset, padding_idx)
    kind, starts = bags._kind.int64, offsets._a[:-1] if include_last_offset else offsets._a
    zeros = np.zeros(len(starts), np.int64)
    at = indices._a.reshape(-1)
    bag = np.searchsorted(starts, np.arange(at.size), side="right") - 1
    if mode == 0:
        return bags, wrap(bag[: 0 if padding_idx is None else None].astype(np.int64), kind), wrap(zeros, kind), wrap(zeros.copy(), kind)
    kept = np.ones(at.size, bool) if padding_idx is None else at != padding_idx % weight._a.shape[0]
    sizes = np.bincount(bag[kept], minlength=len(starts)).astype(np.int64)
    places = sizes.copy() if mode == 1 else _maxima(weight._a, at[kept], bag[kept], len(starts))
    return bags, wrap(bag.astype(np.int64), kind), wrap(sizes, kind), wrap(places, kind)


def _maxima(rows: Any, at: Any, bag: Any, bags: int) -> Any:
    """The rows that hold the maxima of bags, by column; 0 for empty bags."""
    places = np.zeros((bags, rows.shape[1]), np.int64)
    for each in np.unique(bag):
        inside = at[bag == each]
        places[each] = inside[rows[inside].argmax(0)]
    return places


@_form
def embedding_renorm_(input: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Scale the rows that are named and longer than `max_norm` down to it, in place."""
    check_tensor("embedding_renorm_", input=input, indices=indices)
    if input._a.ndim != 2:
        raise RuntimeError(f"Expected 2-dimensional tensor, but got {input._a.ndim}-dimensional tensor for argument #1 'self' (while "
                           "checking arguments for embedding_renorm_)")
    if not input._kind.differentiable:
        raise RuntimeError(f"norm(): input dtype should be either floating point or complex. Got {title(input._kind.dtype)} instead.")
    if indices._a.size and not -1 < indices._a.min() <= indices._a.max() < input._a.shape[0]:
        raise IndexError("index out of range in self")
    if indices.is_floating_point() or indices.is_complex() or indices._kind.dtype.name not in ("int32", "int64"):
        raise RuntimeError("Expected tensor for argument #2 'indices' to have one of the following scalar types: Long, Int; but got "
                           f"{indices.type()} instead (while checking arguments for embedding_renorm_)")
    with no_grad():
        embedding.renormalize(input, indices, max_norm, norm_type)
    return input


# --- norms ------------------------------------------------------------------------------------------------------------------------------

@op(out=True)
def frobenius_norm(input: Tensor, dim: PerDim, keepdim: bool = False) -> Tensor:
    """The root of the sum of squares over at most two dimensions; none stand for all."""
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if len(dims) > 2:
        raise RuntimeError(f"Expected at most 2 dimensions, but got {len(dims)} dimensions instead.")
    return NAMESPACES["linalg"]["vector_norm"](input, 2, dims or None, keepdim)


@op(out=True)
def nuclear_norm(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The sum of the singular values of the matrices in two dimensions, the last ones unless told otherwise."""
    if isinstance(dim, bool):
        dim, keepdim = None, dim
    return NAMESPACES["linalg"]["matrix_norm"](input, "nuc", (-2, -1) if dim is None else dim, keepdim)


@_form
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norm over all dimensions but one, which keeps its place (weight norm's g); dim -1: over all."""
    if dim == -1:
        return v.norm(pow)
    d = wrap_dim(dim, v._a.ndim)
    if v._a.ndim == 1:
        return v.abs()
    return v.norm(pow, [i for i in range(v._a.ndim) if i != d], True)


# --- sparse tensors: the old names of products, and copies of their parts ----------------------------------------------------------------

for _old, _new in (("dsmm", "mm"), ("hsmm", "hspmm"), ("saddmm", "sspaddmm")):
    export(FUNCTIONS[_new], _old)


def _part_copy(name: str) -> None:
    def copy(input: Tensor) -> Tensor:
        return getattr(input, name)().clone()
    copy.__name__ = copy.__qualname__ = f"{name}_copy"
    copy.__doc__ = f"A copy of ``input.{name}()`` of a sparse tensor."
    op(copy, out=True)


for _name in ("values", "indices", "crow_indices", "col_indices", "ccol_indices", "row_indices"):
    _part_copy(_name)


# --- views, sizes, devices ----------------------------------------------------------------------------------------------------------------

@_form
def slice_inverse(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """What `input`'s memory holds where `src` is laid out in its own: the whole behind a slice, whatever its bounds."""
    check_tensor("slice_inverse", input=input, src=src)
    return input.as_strided(src.shape, src.stride(), src.storage_offset())


@_form
def sym_constrain_range(size: Any, *, min: int | None = None, max: int | None = None) -> None:
    """RuntimeError for a size that is not between `min` and `max`."""
    low, high = -2**63 if min is None else min, 2**63 - 1 if max is None else max
    if high < low:
        raise RuntimeError("Max must be greater than or equal to min")
    if not low <= size <= high:
        raise RuntimeError(f"Invalid value range for {size} between [{low}, {high}].")


@_form
def sym_constrain_range_for_size(size: Any, *, min: int | None = None, max: int | None = None) -> None:
    """The same for sizes, which are not negative; `max` has to leave a choice beside 0, 1 and 2."""
    if max is not None and max <= 2:
        raise RuntimeError(f"Max value to constrain_range_for_size must be greater than 2. got: {max}")
    sym_constrain_range(size, min=0 if min is None else min, max=max)


@_form
def get_device(input: Tensor) -> int:
    """The index of the GPU that holds the tensor; -1 for the CPU."""
    return input.get_device()


@_form
def is_distributed(input: Tensor) -> bool:
    """Whether the tensor is spread over machines: none is."""
    check_tensor("is_distributed", input=input)
    return False


method(is_distributed)
method(slice_inverse)


@_form
def cudnn_is_acceptable(input: Tensor) -> bool:
    """Whether cuDNN would compute with this tensor: it is not used."""
    check_tensor("cudnn_is_acceptable", input=input)
    return False


@_form
def is_vulkan_available() -> bool:
    """Whether there is a Vulkan device: there is none."""
    return False
