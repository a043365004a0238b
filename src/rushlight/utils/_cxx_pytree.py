"""``torch.utils._cxx_pytree``: the functions of `_pytree` as the package optree computes them, which has to be installed.

Structures are optree's ``PyTreeSpec``. Container types are registered with both; those that `_pytree` alone was told of are handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import optree

from ..homes import root
from . import _pytree
from ._pytree import (
    BUILTIN_TYPES,
    SUPPORTED_NODES,
    FlattenFunc,
    PyTree,
    UnflattenFunc,
)

__all__ = list(_pytree.__all__)
_OPTIONS: dict[str, Any] = {"none_is_leaf": True, "namespace": root()}       # PyTorch's namespace is "torch"
_in_order = optree.dict_insertion_ordered(True, namespace=root())           # as long as this module lives
_in_order.__enter__()
_known: set[Any] = set(BUILTIN_TYPES)
TreeSpec = PyTreeSpec = optree.PyTreeSpec


class _Leaf(type(optree.PyTreeSpec)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, optree.PyTreeSpec) and instance.is_leaf()


class LeafSpec(metaclass=_Leaf):
    """The structure of a leaf: ``LeafSpec()`` makes one."""

    def __new__(cls) -> Any:
        return treespec_leaf()


def _as_there(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the signature of its namesake in `_pytree`, which knows the container types that were registered there."""
    namesake = getattr(_pytree, function.__name__)

    @wraps(namesake)
    def call(*args: Any, **kwargs: Any) -> Any:
        for cls in SUPPORTED_NODES.keys() - _known:
            _hand_on(SUPPORTED_NODES[cls])
        return function(*args, **kwargs)
    call.__module__ = __name__
    return call


def _hand_on(node: Any) -> None:
    """Tell optree of a container type of `_pytree`."""
    def flatten(value: Any) -> tuple[Any, Any]:
        return node.flatten_fn(value)
    optree.register_pytree_node(node.type, flatten, lambda context, children: node.unflatten_fn(children, context), namespace=root())
    _known.add(node.type)


@_as_there
def register_pytree_node(cls: type, flatten_fn: FlattenFunc, unflatten_fn: UnflattenFunc, **options: Any) -> None:
    _pytree.register_pytree_node(cls, flatten_fn, unflatten_fn, **options)
    _hand_on(SUPPORTED_NODES[cls])


_register_pytree_node = _private_register_pytree_node = register_pytree_node


# --- structures -------------------------------------------------------------------------------------------------------------------------

@_as_there
def tree_is_leaf(tree: PyTree, is_leaf: Any = None) -> bool:
    return optree.tree_is_leaf(tree, is_leaf, **_OPTIONS)


@_as_there
def tree_flatten(tree: PyTree, is_leaf: Any = None) -> tuple[list[Any], Any]:
    return optree.tree_flatten(tree, is_leaf, **_OPTIONS)


@_as_there
def tree_unflatten(leaves: Iterable[Any], treespec: Any) -> PyTree:
    return optree.tree_unflatten(_expected("tree_unflatten", treespec), leaves)


@_as_there
def tree_iter(tree: PyTree, is_leaf: Any = None) -> Iterator[Any]:
    return iter(optree.tree_iter(tree, is_leaf, **_OPTIONS))


@_as_there
def tree_leaves(tree: PyTree, is_leaf: Any = None) -> list[Any]:
    return optree.tree_leaves(tree, is_leaf, **_OPTIONS)


@_as_there
def tree_structure(tree: PyTree, is_leaf: Any = None) -> Any:
    return optree.tree_structure(tree, is_leaf, **_OPTIONS)


@_as_there
def arg_tree_leaves(*args: PyTree, **kwargs: PyTree) -> list[Any]:
    return [leaf for each in (*args, *kwargs.values()) for leaf in tree_leaves(each)]


@_as_there
def treespec_leaf() -> Any:
    return optree.treespec_leaf(**_OPTIONS)


@_as_there
def treespec_tuple(iterable: Iterable[Any] = (), /) -> Any:
    return optree.treespec_tuple(iterable, **_OPTIONS)


@_as_there
def treespec_dict(mapping: Any = (), /, **kwargs: Any) -> Any:
    return optree.treespec_dict(mapping, **_OPTIONS, **kwargs)


def _expected(name: str, treespec: Any) -> Any:
    if not isinstance(treespec, optree.PyTreeSpec):
        raise TypeError(f"{name}(treespec, ...): Expected `treespec` to be instance of PyTreeSpec but got item of type {type(treespec)}.")
    return treespec


def _in_python(treespec: Any) -> _pytree.TreeSpec:
    """The same structure of `_pytree`."""
    return _pytree.tree_structure(optree.tree_unflatten(treespec, [0] * treespec.num_leaves))


@_as_there
def treespec_dumps(treespec: Any, protocol: int | None = None) -> str:
    return _pytree.treespec_dumps(_in_python(_expected("treespec_dumps", treespec)), protocol)


@_as_there
def treespec_loads(serialized: str) -> Any:
    spec = _pytree.treespec_loads(serialized)
    return tree_structure(_pytree.tree_unflatten([0] * spec.num_leaves, spec))


@_as_there
def treespec_pprint(treespec: Any) -> str:
    return _pytree.treespec_pprint(_in_python(_expected("treespec_pprint", treespec)))


@_as_there
def _broadcast_to_and_flatten(tree: PyTree, treespec: Any, is_leaf: Any = None) -> list[Any] | None:
    full = optree.tree_unflatten(_expected("_broadcast_to_and_flatten", treespec), [0] * treespec.num_leaves)
    try:
        return optree.broadcast_prefix(tree, full, is_leaf, **_OPTIONS)
    except ValueError:
        return None


# --- functions of all leaves ------------------------------------------------------------------------------------------------------------

@_as_there
def tree_map(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Any = None) -> PyTree:
    return optree.tree_map(func, tree, *rests, is_leaf=is_leaf, **_OPTIONS)


@_as_there
def tree_map_(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Any = None) -> PyTree:
    return optree.tree_map_(func, tree, *rests, is_leaf=is_leaf, **_OPTIONS)


@_as_there
def tree_map_only(types_or_pred: Any, /, func: Callable[[Any], Any], tree: PyTree, is_leaf: Any = None) -> PyTree:
    return tree_map(_pytree.map_only(types_or_pred)(func), tree, is_leaf=is_leaf)


@_as_there
def tree_map_only_(types_or_pred: Any, /, func: Callable[[Any], Any], tree: PyTree, is_leaf: Any = None) -> PyTree:
    return tree_map_(_pytree.map_only(types_or_pred)(func), tree, is_leaf=is_leaf)


@_as_there
def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Any = None) -> bool:
    return all(map(pred, tree_iter(tree, is_leaf)))


@_as_there
def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Any = None) -> bool:
    return any(map(pred, tree_iter(tree, is_leaf)))


@_as_there
def tree_all_only(types: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: Any = None) -> bool:
    return all(pred(leaf) for leaf in tree_iter(tree, is_leaf) if isinstance(leaf, types))


@_as_there
def tree_any_only(types: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: Any = None) -> bool:
    return any(pred(leaf) for leaf in tree_iter(tree, is_leaf) if isinstance(leaf, types))


# --- paths: PyTorch has none here, either -------------------------------------------------------------------------------------------------

def _without_paths(name: str) -> Callable[..., Any]:
    @wraps(getattr(_pytree, name))
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{name}: KeyPaths are not yet supported in cxx_pytree; use torch.utils._pytree.{name}")
    refuse.__module__ = __name__
    return refuse


tree_flatten_with_path, tree_leaves_with_path = _without_paths("tree_flatten_with_path"), _without_paths("tree_leaves_with_path")
tree_map_with_path, keystr, key_get = _without_paths("tree_map_with_path"), _without_paths("keystr"), _without_paths("key_get")

globals().update({_name: getattr(_pytree, _name) for _name in __all__ if _name not in globals()})      # what holds for structures of both
