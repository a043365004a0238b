"""Gradients of convolutions as functions of their own, from the same rules that backward uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.grad_mode import enable_grad
from ..tensor import Tensor
from ..vocabulary import Function, PerDim
from . import functional as F
from ._torch import torch

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


def _with_respect_to(which: int, conv: Function, input: Tensor, weight: Tensor, grad_output: Tensor, options: tuple[Any, ...]) -> Tensor:
    """The gradient of the input (which 0) or of the weight (which 1)."""
    operands = [input.detach(), weight.detach()]
    operands[which].requires_grad_(True)
    with enable_grad():
        output = conv(*operands, None, *options)
    return torch.autograd.grad(output, operands[which], grad_output)[0]


def conv1d_input(input_size: Any, weight: Tensor, grad_output: Tensor, stride: PerDim = 1, padding: PerDim | str = 0, dilation: PerDim = 1,
                 groups: int = 1) -> Tensor:
    """The gradient of conv1d with respect to an input of size `input_size`."""
    input = grad_output.new_zeros(tuple(input_size))
    return _with_respect_to(0, F.conv1d, input, weight, grad_output, (stride, padding, dilation, groups))


def conv1d_weight(input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: PerDim = 1, padding: PerDim | str = 0,
                  dilation: PerDim = 1,
                  groups: int = 1) -> Tensor:
    """The gradient of conv1d with respect to a weight of size `weight_size`."""
    weight = grad_output.new_zeros(tuple(weight_size))
    return _with_respect_to(1, F.conv1d, input, weight, grad_output, (stride, padding, dilation, groups))


def conv2d_input(input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: PerDim = 1, padding: PerDim | str = 0,
                 dilation: PerDim = 1,
                 groups: int = 1) -> Tensor:
    """The gradient of conv2d with respect to an input of size `input_size`."""
    input = grad_output.new_zeros(tuple(input_size))
    return _with_respect_to(0, F.conv2d, input, weight, grad_output, (stride, padding, dilation, groups))


def conv2d_weight(input: Tensor, weight_size: Any, grad_output: Tensor, stride: PerDim = 1, padding: PerDim | str = 0, dilation: PerDim = 1,
                  groups: int = 1) -> Tensor:
    """The gradient of conv2d with respect to a weight of size `weight_size`."""
    weight = grad_output.new_zeros(tuple(weight_size))
    return _with_respect_to(1, F.conv2d, input, weight, grad_output, (stride, padding, dilation, groups))


def conv3d_input(input_size: Any, weight: Tensor, grad_output: Tensor, stride: PerDim = 1, padding: PerDim | str = 0, dilation: PerDim = 1,
                 groups: int = 1) -> Tensor:
    """The gradient of conv3d with respect to an input of size `input_size`."""
    input = grad_output.new_zeros(tuple(input_size))
    return _with_respect_to(0, F.conv3d, input, weight, grad_output, (stride, padding, dilation, groups))


def conv3d_weight(input: Tensor, weight_size: Any, grad_output: Tensor, stride: PerDim = 1, padding: PerDim | str = 0, dilation: PerDim = 1,
                  groups: int = 1) -> Tensor:
    """The gradient of conv3d with respect to a weight of size `weight_size`."""
    weight = grad_output.new_zeros(tuple(weight_size))
    return _with_respect_to(1, F.conv3d, input, weight, grad_output, (stride, padding, dilation, groups))
