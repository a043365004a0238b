"""``torch._dynamo``: PyTorch's tracer is not here. What programs call to steer it is accepted; `torch.compile` runs functions as they
are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ..compiler import allow_in_graph, assume_constant_result, disable, is_compiling, list_backends, reset, substitute_in_graph
from ..tensor import Tensor
from ..unsupported import attribute_of

__all__ = ["allow_in_graph", "assume_constant_result", "disable", "is_compiling", "list_backends", "reset", "substitute_in_graph", "config",
           "mark_dynamic", "maybe_mark_dynamic", "mark_static", "mark_static_address", "graph_break", "disallow_in_graph",
           "forbid_in_graph", "reset_code_caches", "is_dynamo_supported", "is_inductor_supported", "optimize", "run"]

# Settings are remembered and change nothing.
config = SimpleNamespace(suppress_errors=False, cache_size_limit=8, recompile_limit=8, accumulated_cache_size_limit=256, verbose=False,
                         dynamic_shapes=True, automatic_dynamic_shapes=True, assume_static_by_default=True, capture_scalar_outputs=False,
                         capture_dynamic_output_shape_ops=False, optimize_ddp=True, inline_inbuilt_nn_modules=True, disable=False,
                         compiled_autograd=False)


def _check(t: Any) -> None:
    if not isinstance(t, Tensor):
        raise TypeError(f"expected a Tensor, got {type(t).__name__}")


def mark_dynamic(t: Tensor, index: Any, **bounds: Any) -> None:
    """Say that a dimension's size changes from call to call; no code here depends on sizes."""
    _check(t)


maybe_mark_dynamic = mark_static = mark_dynamic


def mark_static_address(t: Tensor, guard: bool = True) -> None:
    """Say that a tensor's memory stays where it is."""
    _check(t)


def graph_break(msg: str = "") -> None:
    """End the graph here; there is none."""


disallow_in_graph = forbid_in_graph = run = allow_in_graph


def reset_code_caches() -> None:
    """Forget compiled code: there is none."""


def is_dynamo_supported() -> bool:
    """Whether functions are traced: no."""
    return False


def is_inductor_supported() -> bool:
    """Whether functions are compiled: no."""
    return False


def optimize(*args: Any, **kwargs: Any) -> Any:
    """A decorator that leaves its function as it is; torch.compile's old form."""
    return lambda function: function


__getattr__ = attribute_of("_dynamo", "there is no tracer; torch.compile runs a function as it is")
