"""Convolutions, transposed convolutions, and their lazy forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...tensor import Tensor
from ...vocabulary import Device, Dtype, PerDim
from .. import functional as F
from .. import init
from .._torch import torch
from ..parameter import Parameter, UninitializedParameter
from .lazy import LazyModuleMixin
from .module import Module
from .utils import _pair, _reverse_repeat_tuple, _single, _triple

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
           "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d"]

_PADDINGS = {"same", "valid"}
_MODES = {"zeros", "reflect", "replicate", "circular"}


class _ConvNd(Module):
    """What all convolutions share: weight (out, in / groups, *kernel), or (in, out / groups, *kernel) transposed, and bias."""

    __constants__ = ["stride", "padding", "dilation", "groups", "padding_mode", "output_padding", "in_channels", "out_channels",
                     "kernel_size"]

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Sequence[int], stride: Sequence[int],
                 padding: Sequence[int] | str, dilation: Sequence[int], transposed: bool,
                 output_padding: Sequence[int], groups: int, bias: bool, padding_mode: str, device: Device = None,
                 dtype: Dtype = None) -> None:
        super().__init__()
        self._check(in_channels, out_channels, stride, padding, groups, padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        # Modes other than zeros pad before the convolution, with this argument for F.pad.
        self._reversed_padding_repeated_twice = self._padding_for_pad()
        channels = (in_channels, out_channels // groups) if transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(torch.empty((*channels, *kernel_size), device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    @staticmethod
    def _check(in_channels: int, out_channels: int, stride: Sequence[int], padding: Sequence[int] | str, groups: int,
               padding_mode: str) -> None:
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in _PADDINGS:
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {_PADDINGS}")
            if padding == "same" and any(s != 1 for s in stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {_MODES}, but got padding_mode='{padding_mode}'")

    def _padding_for_pad(self) -> Sequence[int]:
        if not isinstance(self.padding, str):
            return _reverse_repeat_tuple(self.padding, 2)
        both: list[int] = []
        for d, k in zip(reversed(self.dilation), reversed(self.kernel_size), strict=False):
            total = d * (k - 1) if self.padding == "same" else 0
            both += [total // 2, total - total // 2]
        return both

    def reset_parameters(self) -> None:
        """Draw new values, uniform on +-1/sqrt(fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * len(self.padding):
            text += f", padding={self.padding}"
        if self.dilation != (1,) * len(self.dilation):
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * len(self.output_padding):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("padding_mode", "zeros")


class _Plain(_ConvNd):
    """Conv1d, Conv2d and Conv3d: they differ in `spread`, which makes a tuple of a size, and in the function."""

    spread: Any
    function: str

    def __init__(self, in_channels: int, out_channels: int, kernel_size: PerDim, stride: PerDim = 1, padding: PerDim | str = 0,
                 dilation: PerDim = 1,
                 groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Device = None, dtype: Dtype = None) -> None:
        spread = type(self).spread
        super().__init__(in_channels, out_channels, spread(kernel_size), spread(stride),
                         padding if isinstance(padding, str) else spread(padding), spread(dilation), False, spread(0), groups, bias,
                         padding_mode, device, dtype)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = type(self).spread(0)
        return getattr(F, self.function)(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        # As in Linear: past __getattr__ where the weight is an ordinary parameter.
        own = self._parameters
        try:
            return self._conv_forward(input, own["weight"], own["bias"])
        except KeyError:
            return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Plain):
    """Cross-correlation of (N, C, L) or (C, L) with learned kernels.

    padding       per side; 'same' (stride 1 only) keeps the length, 'valid' is none
    groups        input and output channels are connected within groups only
    padding_mode  'zeros', 'reflect', 'replicate' or 'circular'
    """

    spread, function = staticmethod(_single), "conv1d"


class Conv2d(_Plain):
    """Cross-correlation of (N, C, H, W) or (C, H, W) with learned kernels; arguments as in `Conv1d`."""

    spread, function = staticmethod(_pair), "conv2d"


class Conv3d(_Plain):
    """Cross-correlation of (N, C, D, H, W) or (C, D, H, W) with learned kernels; arguments as in `Conv1d`."""

    spread, function = staticmethod(_triple), "conv3d"


class _ConvTransposeNd(_ConvNd):
    """The gradient of a convolution with respect to its input, as a layer."""

    spread: Any
    function: str
    dims: int

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, output_padding: int = 0,
                 groups: int = 1, bias: bool = True, dilation: int = 1, padding_mode: str = "zeros", device: Device = None,
                 dtype: Dtype = None) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        spread = type(self).spread
        super().__init__(in_channels, out_channels, spread(kernel_size), spread(stride), spread(padding), spread(dilation), True,
                         spread(output_padding), groups, bias, padding_mode, device, dtype)

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None, stride: Sequence[int], padding: Any,
                        kernel_size: Sequence[int], num_spatial_dims: int,
                        dilation: Sequence[int] | None = None) -> Sequence[int]:
        """The output_padding that gives `output_size`; ValueError where none does."""
        if output_size is None:
            return type(self).spread(self.output_padding)
        n = num_spatial_dims
        extra = input.dim() - n
        output_size = tuple(output_size)
        if len(output_size) == n + extra:
            output_size = output_size[extra:]
        if len(output_size) != n:
            raise ValueError(f"ConvTranspose{n}D: for {input.dim()}D input, output_size must have {n} or {n + extra} elements "
                             f"(got {len(output_size)})")
        smallest = [(input.size(d + extra) - 1) * stride[d] - 2 * padding[d] + (dilation[d] if dilation is not None else 1)
                    * (kernel_size[d] - 1) + 1 for d in range(n)]
        largest = [size + stride[d] - 1 for d, size in enumerate(smallest)]
        if any(not low <= size <= high for size, low, high in zip(output_size, smallest, largest, strict=True)):
            raise ValueError(f"requested an output size of {output_size}, but valid sizes range from {smallest} to {largest} (for an "
                             f"input of {input.size()[2:]})")
        return [size - low for size, low in zip(output_size, smallest, strict=True)]

    def forward(self, input: Tensor, output_size: PerDim | None = None) -> Tensor:
        n = self.dims
        if self.padding_mode != "zeros":
            raise ValueError(f"Only `zeros` padding mode is supported for ConvTranspose{n}d")
        output_padding = self._output_padding(input, output_size, self.stride, self.padding, self.kernel_size, n, self.dilation)
        return getattr(F, self.function)(input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups,
                                         self.dilation)


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution of (N, C, L) or (C, L). output_padding (or output_size, in forward) chooses among the possible lengths."""

    spread, function, dims = staticmethod(_single), "conv_transpose1d", 1


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution of (N, C, H, W) or (C, H, W)."""

    spread, function, dims = staticmethod(_pair), "conv_transpose2d", 2


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution of (N, C, D, H, W) or (C, D, H, W)."""

    spread, function, dims = staticmethod(_triple), "conv_transpose3d", 3


class _LazyConvXdMixin(LazyModuleMixin):
    """A convolution that takes in_channels from its first input."""

    groups: int
    transposed: bool
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    weight: UninitializedParameter
    bias: Any
    num_spatial_dims: int

    def _set_lazy(self, out_channels: int, bias: bool, device: Device, dtype: Any) -> None:
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw new values, once there is something to fill."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take the number of channels from the first input."""
        if not self.has_uninitialized_params():
            return
        self.in_channels = self._get_in_channels(input)
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        channels = ((self.in_channels, self.out_channels // self.groups) if self.transposed
                    else (self.out_channels, self.in_channels // self.groups))
        self.weight.materialize((*channels, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()

    def _get_in_channels(self, input: Tensor) -> int:
        n = self.num_spatial_dims
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {type(self).__name__}, but got input of "
                               f"size: {input.shape}")
        return input.shape[-n - 1]


class _LazyPlain(_LazyConvXdMixin):
    def __init__(self, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1,
                 bias: bool = True, padding_mode: str = "zeros", device: Device = None, dtype: Dtype = None) -> None:
        # No bias yet: super would have to fill it.
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype)
        self._set_lazy(out_channels, bias, device, dtype)


class LazyConv1d(_LazyPlain, Conv1d):  # type: ignore[misc]
    """A Conv1d that takes in_channels from its first input."""

    cls_to_become, num_spatial_dims = Conv1d, 1


class LazyConv2d(_LazyPlain, Conv2d):  # type: ignore[misc]
    """A Conv2d that takes in_channels from its first input."""

    cls_to_become, num_spatial_dims = Conv2d, 2


class LazyConv3d(_LazyPlain, Conv3d):  # type: ignore[misc]
    """A Conv3d that takes in_channels from its first input."""

    cls_to_become, num_spatial_dims = Conv3d, 3


class _LazyTransposed(_LazyConvXdMixin):
    def __init__(self, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, output_padding: int = 0, groups: int = 1,
                 bias: bool = True, dilation: int = 1, padding_mode: str = "zeros", device: Device = None, dtype: Dtype = None) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode, device, dtype)
        self._set_lazy(out_channels, bias, device, dtype)


class LazyConvTranspose1d(_LazyTransposed, ConvTranspose1d):  # type: ignore[misc]
    """A ConvTranspose1d that takes in_channels from its first input."""

    cls_to_become, num_spatial_dims = ConvTranspose1d, 1


class LazyConvTranspose2d(_LazyTransposed, ConvTranspose2d):  # type: ignore[misc]
    """A ConvTranspose2d that takes in_channels from its first input."""

    cls_to_become, num_spatial_dims = ConvTranspose2d, 2


class LazyConvTranspose3d(_LazyTransposed, ConvTranspose3d):  # type: ignore[misc]
    """A ConvTranspose3d that takes in_channels from its first input."""

    cls_to_become, num_spatial_dims = ConvTranspose3d, 3
