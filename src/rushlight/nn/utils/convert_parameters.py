"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ...tensor import Tensor
from .._torch import torch

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _check_device(param: Tensor, known: int | None) -> int:
    """All parameters must be on one device."""
    device = param.get_device() if param.is_cuda else -1
    if known is not None and device != known:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
    return device


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All values in a row, as a 1-dim tensor with history."""
    device = None
    parts = []
    for param in parameters:
        device = _check_device(param, device)
        parts.append(param.view(-1))
    return torch.cat(parts)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the values of a vector; they share its memory."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {torch.typename(vec) if hasattr(torch, 'typename') else type(vec).__name__}")
    device = None
    start = 0
    for param in parameters:
        device = _check_device(param, device)
        param.data = vec[start:start + param.numel()].view_as(param).data
        start += param.numel()
