"""``torch.onnx``: there is no exporter. `is_in_onnx_export` (which libraries ask) is False."""

from __future__ import annotations

from ..unsupported import attribute_of

__all__ = ["is_in_onnx_export"]


def is_in_onnx_export() -> bool:
    """Whether an export to ONNX is running: never."""
    return False


__getattr__ = attribute_of("onnx", "save the state_dict, load it in PyTorch (the files are PyTorch's own), and export there")
