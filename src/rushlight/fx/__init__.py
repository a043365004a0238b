"""``torch.fx``: there is no symbolic tracing. `wrap`, which only marks functions for it, gives back what it gets."""

from __future__ import annotations

from typing import Any

from ..unsupported import absent_class, attribute_of

__all__ = ["wrap", "Proxy", "Tracer", "Graph", "GraphModule", "Node", "Interpreter"]

_INSTEAD = "a model is the Python code that runs; hooks (register_forward_hook) and TorchFunctionMode see what it does"
Proxy = absent_class("fx.Proxy", _INSTEAD)
Tracer = absent_class("fx.Tracer", _INSTEAD)
Graph = absent_class("fx.Graph", _INSTEAD)
GraphModule = absent_class("fx.GraphModule", _INSTEAD)
Node = absent_class("fx.Node", _INSTEAD)
Interpreter = absent_class("fx.Interpreter", _INSTEAD)


def wrap(fn_or_name: Any) -> Any:
    """Mark a function as one that tracing shall not look into; nothing traces here, so there is nothing to mark."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    return fn_or_name


__getattr__ = attribute_of("fx", _INSTEAD)
