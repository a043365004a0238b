"""`torch.nn.functional`: the functions behind the layers, gathered from the op modules where they are defined."""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import Any

from ..ops import dropout as _dropout
from ..ops import linear_cross_entropy as _linear_cross_entropy  # noqa: F401  (imported for what it registers)
from ..ops import rarely as _rarely  # noqa: F401
from ..ops.public import functional as _functional
from ..ops.deferred import namespace as _namespace
from ..tensor import Tensor


def _probability(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


@_functional
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p and divide the others by 1 - p; outside of training the input itself. ValueError for p outside
    [0, 1]."""
    _probability(p)
    return _dropout.dropout_(input, p, training) if inplace else _dropout.dropout(input, p, training)


@_functional
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps the mean and variance of SELU activations."""
    _probability(p)
    return _dropout.alpha_dropout_(input, p, training) if inplace else _dropout.alpha_dropout(input, p, training)


@_functional
def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels."""
    _probability(p)
    return _dropout.feature_alpha_dropout_(input, p, training) if inplace else _dropout.feature_alpha_dropout(input, p, training)


def _warn(message: str) -> None:
    import warnings
    warnings.warn(message, UserWarning, stacklevel=3)


def _by_channel(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    return _dropout.feature_dropout_(input, p, training) if inplace else _dropout.feature_dropout(input, p, training)


@_functional
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, L) or (C, L)."""
    _probability(p)
    if input.dim() not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. Note that dropout1d exists to "
                           "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional batch "
                           "dimension (i.e. 2D or 3D inputs).")
    if input.dim() == 3:
        return _by_channel(input, p, training, inplace)
    result = _by_channel(input.unsqueeze_(0) if inplace else input.unsqueeze(0), p, training, inplace)
    return result.squeeze_(0) if inplace else result.squeeze(0)


@_functional
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, H, W) or (N, C, L)."""
    _probability(p)
    if input.dim() not in (3, 4):
        _warn(f"dropout2d: Received a {input.dim()}-D input to dropout2d, which is deprecated and will result in an error in a future "
              "release. To retain the behavior and silence this warning, please use dropout instead. Note that dropout2d exists to "
              "provide channel-wise dropout on inputs with 2 spatial dimensions, a channel dimension, and an optional batch dimension "
              "(i.e. 3D or 4D inputs).")
    if input.dim() == 3:
        _warn("dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired - input is "
              "interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a future release to interpret the "
              "input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D channel-wise dropout behavior, please "
              "switch to using dropout1d instead.")
    return _by_channel(input, p, training, inplace)


@_functional
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    _probability(p)
    if input.dim() not in (4, 5):
        _warn(f"dropout3d: Received a {input.dim()}-D input to dropout3d, which is deprecated and will result in an error in a future "
              "release. To retain the behavior and silence this warning, please use dropout instead. Note that dropout3d exists to "
              "provide channel-wise dropout on inputs with 3 spatial dimensions, a channel dimension, and an optional batch dimension "
              "(i.e. 4D or 5D inputs).")
    if input.dim() != 4:
        return _by_channel(input, p, training, inplace)
    result = _by_channel(input.unsqueeze_(0) if inplace else input.unsqueeze(0), p, training, inplace)
    return result.squeeze_(0) if inplace else result.squeeze(0)


globals().update(_namespace("nn.functional"))


def __getattr__(name: str) -> Any:
    """`has_torch_function` and its like, which `torch.overrides` holds, and the name of `threshold` in traced code."""
    if name == "_threshold":
        return globals()["threshold"]
    if name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        return getattr(_import_module("..overrides", __package__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
