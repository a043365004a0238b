"""``torch.fx._lazy_graph_module``: making graph modules. All are compiled at once here."""

from __future__ import annotations

from typing import Any

from .graph_module import GraphModule

__all__: list[str] = []


def _make_graph_module(*args: Any, graph_module_cls: Any = None, **kwargs: Any) -> Any:
    """A new `GraphModule`, or one of a class given."""
    return (graph_module_cls or GraphModule)(*args, **kwargs)
