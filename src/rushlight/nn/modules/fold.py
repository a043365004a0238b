"""Fold and Unfold: between images and columns of sliding blocks."""

from __future__ import annotations

from typing import Any

from ...tensor import Tensor
from ...vocabulary import PerDim
from .. import functional as F
from .module import Module

__all__ = ["Fold", "Unfold"]


class _Blocks(Module):
    """What Fold and Unfold share: the sizes of the sliding blocks."""

    kernel_size: Any
    dilation: Any
    padding: Any
    stride: Any

    def _set(self, kernel_size: PerDim, dilation: PerDim, padding: PerDim | str, stride: PerDim) -> None:
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(_Blocks):
    """Adds up the blocks of (N, C prod(kernel_size), L) into an image (N, C, *output_size)."""

    __constants__ = ["output_size", "kernel_size", "dilation", "padding", "stride"]

    def __init__(self, output_size: PerDim, kernel_size: PerDim, dilation: PerDim = 1, padding: PerDim | str = 0,
                 stride: PerDim = 1) -> None:
        super().__init__()
        self.output_size = output_size
        self._set(kernel_size, dilation, padding, stride)

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"


class Unfold(_Blocks):
    """Takes the sliding blocks of an image (N, C, *) out as columns: (N, C prod(kernel_size), L)."""

    __constants__ = ["kernel_size", "dilation", "padding", "stride"]

    def __init__(self, kernel_size: PerDim, dilation: PerDim = 1, padding: PerDim | str = 0, stride: PerDim = 1) -> None:
        super().__init__()
        self._set(kernel_size, dilation, padding, stride)

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)
