"""``torch.fx.annotate``: types of values in traced programs."""

from __future__ import annotations

from typing import Any

from .proxy import Proxy

__all__ = ["annotate"]


def annotate(val: Any, type: Any) -> Any:
    """Say of which type a proxy's value is; other values stay what they are. RuntimeError where that has been said."""
    if isinstance(val, Proxy):
        if val.node.type:
            raise RuntimeError(f"Tried to annotate a value that already had a type on it! Existing type is {val.node.type} and new type "
                               f"is {type}. The types of parameters stand in the function's signature; a value is annotated once")
        val.node.type = type
    return val
