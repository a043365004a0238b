"""``torch.masked``: reductions and normalisations that leave masked-out elements aside, and `MaskedTensor`, a tensor with a mask.

A mask is a bool tensor that broadcasts to its tensor: True where an element counts.
"""

from . import masks, reductions
from .maskedtensor.core import MaskedTensor, as_masked_tensor, is_masked_tensor, masked_tensor
from .reductions import (
    amax,
    amin,
    argmax,
    argmin,
    cumprod,
    cumsum,
    log_softmax,
    logaddexp,
    logsumexp,
    mean,
    median,
    norm,
    normalize,
    prod,
    softmax,
    softmin,
    std,
    sum,
    var,
)

__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor", "amax", "amin", "argmax", "argmin", "cumprod", "cumsum",
           "log_softmax", "logaddexp", "logsumexp", "mean", "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum",
           "var"]

_canonical_dim, _input_mask, _output_mask, _where = masks.canonical_dim, masks.input_mask, masks.output_mask, masks.where
_combine_input_and_mask, _reduction_identity, _ops = masks.combine, masks.identity, reductions
