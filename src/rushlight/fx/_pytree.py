"""``torch.fx._pytree``: taking a value apart as a given specification says. Generated code calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..utils import _pytree as pytree

__all__ = ["tree_flatten_spec", "register_pytree_flatten_spec"]

_FLATTEN: dict[type, Callable[[Any, Any], list[Any]]] = {}


def register_pytree_flatten_spec(cls: type, flatten_fn_spec: Callable[[Any, Any], list[Any]],
                                 flatten_fn_exact_match_spec: Any = None) -> None:
    """Say how instances of a class are taken apart: ``flatten_fn_spec(value, spec)`` gives the children."""
    _FLATTEN[cls] = flatten_fn_spec


def _children(value: Any, spec: Any) -> list[Any]:
    if spec.type in _FLATTEN:
        return _FLATTEN[spec.type](value, spec)
    if issubclass(spec.type, dict):
        return [value[key] for key in (spec.context[1] if isinstance(spec.context, tuple) else spec.context)]
    if issubclass(spec.type, (list, tuple)) or spec.type.__name__ == "namedtuple":
        return [value[i] for i in range(spec.num_children)]
    raise RuntimeError(f"{spec.type} does not have a flatten_fn_spec associated with it. Please register one with "
                       "torch.fx._pytree.register_pytree_flatten_spec.  If you have serialized your model, make sure that any custom "
                       "pytrees have been registered before loading it.")


def tree_flatten_spec(value: Any, spec: Any) -> list[Any]:
    """The leaves of a value that is nested as the specification says."""
    if spec.is_leaf():
        return [value]
    if spec.type not in _FLATTEN and not (isinstance(spec.type, type) and issubclass(spec.type, (dict, list, tuple))):
        return pytree.tree_flatten(value)[0]
    leaves: list[Any] = []
    for child, each in zip(_children(value, spec), spec.children(), strict=False):
        leaves.extend(tree_flatten_spec(child, each))
    return leaves
