"""``torch.onnx``: there is no exporter. `is_in_onnx_export` (which libraries ask) is False."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..unsupported import attribute_of

__all__ = ["is_in_onnx_export", "register_custom_op_symbolic", "unregister_custom_op_symbolic"]

_symbolics: dict[tuple[str, int], Callable[..., Any]] = {}


def is_in_onnx_export() -> bool:
    """Whether an export to ONNX is running: never."""
    return False


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Callable[..., Any], opset_version: int) -> None:
    """Keep what an operator of a library is in ONNX. ValueError for a name without a namespace."""
    if "::" not in symbolic_name:
        raise ValueError(f"Failed to register operator {symbolic_name}. The symbolic name must match the format domain::name")
    _symbolics[symbolic_name, opset_version] = symbolic_fn


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Forget it."""
    _symbolics.pop((symbolic_name, opset_version), None)


__getattr__ = attribute_of("onnx", "save the state_dict, load it in PyTorch (the files are PyTorch's own), and export there")
