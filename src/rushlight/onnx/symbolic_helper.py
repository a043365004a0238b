"""``torch.onnx.symbolic_helper``: what symbolic functions are decorated with. They are kept and never run, since there is no exporter of
graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..unsupported import attribute_of

__all__ = ["parse_args", "quantized_args"]


def parse_args(*arg_descriptors: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that says how a symbolic function's arguments are read ("v", "i", "f", ...)."""
    def decorator(fn: Callable[..., Any]) -> Callable[..., Any]:
        fn._arg_descriptors = arg_descriptors  # type: ignore[attr-defined]
        return fn
    return decorator


def quantized_args(*arg_q_descriptors: bool, scale: float | None = None, zero_point: int | None = None,
                   quantize_output: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that says which arguments of a symbolic function may be quantised."""
    return lambda fn: fn


__getattr__ = attribute_of("onnx.symbolic_helper", "save the state_dict, load it in PyTorch (the files are PyTorch's own), and export "
                                                   "there")
