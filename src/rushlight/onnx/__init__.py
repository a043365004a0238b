"""``torch.onnx``: models as ONNX files, and ONNX files as modules (`load`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .. import services
from ..unsupported import attribute_of

__all__ = ["export", "is_in_onnx_export", "load", "register_custom_op_symbolic", "unregister_custom_op_symbolic"]

_symbolics: dict[tuple[str, int], Callable[..., Any]] = {}


def export(model: Any, args: Any = (), f: Any = None, **options: Any) -> Any:
    """Write a model, run on example inputs, as an ONNX file: see `exporting.export` for the options."""
    return services.onnx_export(model, args, f, **options)


def load(f: str | os.PathLike[str] | Any) -> Any:
    """The module (a GraphModule) that computes what an ONNX file says. Its floating initializers are parameters.

    f  a path, a file open for reading, or the ModelProto itself
    NotImplementedError names an operator that is not known; ImportError without the package onnx.
    """
    return services.onnx_load(f)


def is_in_onnx_export() -> bool:
    """Whether an export to ONNX is running."""
    import sys
    found = sys.modules.get(f"{__name__}.exporting")
    return found is not None and found.is_exporting()


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Callable[..., Any], opset_version: int) -> None:
    """Keep what an operator of a library is in ONNX. ValueError for a name without a namespace."""
    if "::" not in symbolic_name:
        raise ValueError(f"Failed to register operator {symbolic_name}. The symbolic name must match the format domain::name")
    _symbolics[symbolic_name, opset_version] = symbolic_fn


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Forget it."""
    _symbolics.pop((symbolic_name, opset_version), None)


__getattr__ = attribute_of("onnx", "torch.onnx.export writes models, and torch.onnx.load reads them (docs/onnx.md)")
