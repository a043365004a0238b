"""Memory formats of convolution weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...vocabulary import MemoryFormat
from .. import modules as nn

if TYPE_CHECKING:
    from ...nn.modules.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]


def _convert(module: Module, memory_format: MemoryFormat, kinds: tuple[type[Any], ...]) -> Any:
    if isinstance(module, kinds):
        module.weight.data = module.weight.detach().clone(memory_format=memory_format)
    for child in module.children():
        _convert(child, memory_format, kinds)
    return module


def convert_conv2d_weight_memory_format(module: Module, memory_format: MemoryFormat) -> Any:
    """Lay the weights of all Conv2d and ConvTranspose2d out in a memory format, in place."""
    return _convert(module, memory_format, (nn.Conv2d, nn.ConvTranspose2d))


def convert_conv3d_weight_memory_format(module: Module, memory_format: MemoryFormat) -> Any:
    """Lay the weights of all Conv3d and ConvTranspose3d out in a memory format, in place."""
    return _convert(module, memory_format, (nn.Conv3d, nn.ConvTranspose3d))
