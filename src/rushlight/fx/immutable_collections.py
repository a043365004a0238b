"""Lists and dicts that refuse to change: the arguments of a `Node` are made of them, so that the graph knows who uses what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from ..utils import _pytree as pytree

__all__ = ["immutable_list", "immutable_dict"]


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(f"{type(self).__name__!r} object does not support mutation. To change what a torch.fx.Node is called with, assign new "
                    "arguments to it (node.args = ..., node.kwargs = ...).")


class immutable_list(list):  # type: ignore[type-arg]
    """A list that raises TypeError when it is changed, and can be hashed."""

    __delitem__ = __iadd__ = __imul__ = __setitem__ = append = clear = extend = insert = pop = remove = reverse = sort = _refuse  # type: ignore

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> Any:
        return type(self), (tuple(self),)


class immutable_dict(dict):  # type: ignore[type-arg]
    """A dict that raises TypeError when it is changed, and can be hashed."""

    __delitem__ = __ior__ = __setitem__ = clear = pop = popitem = setdefault = update = _refuse  # type: ignore

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> Any:
        return type(self), (tuple(self.items()),)


def _keyed_list(values: immutable_list) -> tuple[list[tuple[Any, Any]], Any]:
    return [(pytree.SequenceKey(i), each) for i, each in enumerate(values)], None


def _keyed_dict(values: immutable_dict) -> tuple[list[tuple[Any, Any]], Any]:
    return [(pytree.MappingKey(key), each) for key, each in values.items()], list(values)


def _filled(values: Iterable[Any], keys: Any) -> immutable_dict:
    return immutable_dict(zip(keys, values, strict=True))


pytree.register_pytree_node(immutable_list, lambda x: (list(x), None), lambda values, _: immutable_list(values),
                            serialized_type_name="torch.fx.immutable_collections.immutable_list", flatten_with_keys_fn=_keyed_list)
pytree.register_pytree_node(immutable_dict, lambda x: (list(x.values()), list(x)), _filled,
                            serialized_type_name="torch.fx.immutable_collections.immutable_dict", flatten_with_keys_fn=_keyed_dict)
