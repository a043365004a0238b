"""``torch.utils._pytree``: nested containers as a list of leaves and a structure, and back.

A container type is a *node*: it can be taken apart into children and a context, and put together again. Lists, tuples, named tuples,
dicts, OrderedDicts, defaultdicts and deques are nodes from the start; `register_pytree_node` adds others. Everything else is a leaf.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from importlib import import_module
from types import UnionType
from typing import Any, NamedTuple

from ..homes import is_own

__all__ = ["PyTree", "Context", "FlattenFunc", "UnflattenFunc", "FlattenFn", "UnflattenFn", "DumpableContext",
           "ToDumpableContextFn", "FromDumpableContextFn", "TreeSpec", "PyTreeSpec", "LeafSpec", "KeyEntry", "KeyPath", "SequenceKey",
           "MappingKey", "GetAttrKey", "keystr", "key_get", "register_pytree_node",
           "register_dataclass", "register_constant", "is_constant_class", "tree_flatten", "tree_flatten_with_path", "tree_unflatten",
           "tree_iter", "tree_leaves", "tree_leaves_with_path", "tree_structure", "tree_map", "tree_map_with_path", "tree_map_",
           "tree_map_only", "tree_map_only_", "tree_all", "tree_any", "tree_all_only", "tree_any_only", "tree_is_leaf", "treespec_dumps",
           "treespec_loads", "treespec_pprint", "treespec_leaf", "treespec_tuple", "treespec_dict", "is_namedtuple", "is_namedtuple_class",
           "is_namedtuple_instance", "is_structseq", "is_structseq_class", "is_structseq_instance", "arg_tree_leaves"]

PyTree = Any
Context = Any
DumpableContext = Any
FlattenFn = FlattenFunc = Callable[[PyTree], tuple[list[Any], Context]]
UnflattenFn = UnflattenFunc = Callable[[Iterable[Any], Context], PyTree]
FlattenWithKeysFunc = Callable[[PyTree], tuple[list[tuple[Any, Any]], Context]]
ToDumpableContextFn = Callable[[Context], DumpableContext]
FromDumpableContextFn = Callable[[DumpableContext], Context]
KeyEntry = Any
KeyPath = tuple[Any, ...]


# --- keys: how to get from a container to a child -----------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class SequenceKey:
    """The item at a position."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:
        """The child of this key."""
        return sequence[self.idx]


@dataclasses.dataclass(frozen=True)
class MappingKey:
    """The value of a key."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:
        """The child of this key."""
        return mapping[self.key]


@dataclasses.dataclass(frozen=True)
class GetAttrKey:
    """An attribute."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj: Any) -> Any:
        """The child of this key."""
        return getattr(obj, self.name)


def keystr(kp: KeyPath) -> str:
    """A path as Python would write it, e.g. ``['weights'][0].scale``."""
    return "".join(str(key) for key in kp)


def key_get(obj: Any, kp: KeyPath) -> Any:
    """What is found at the end of a path."""
    for key in kp:
        obj = key.get(obj)
    return obj


# --- node types ---------------------------------------------------------------------------------------------------------------------------

class NodeDef(NamedTuple):
    """How a container type is taken apart and put together."""

    type: type
    flatten_fn: FlattenFunc
    unflatten_fn: UnflattenFunc
    flatten_with_keys_fn: FlattenWithKeysFunc | None


class _Serialized(NamedTuple):
    """The name under which a node type is written to JSON, and how its context is."""

    type: type
    name: str
    to_dumpable: ToDumpableContextFn | None
    from_dumpable: FromDumpableContextFn | None


SUPPORTED_NODES: dict[Any, NodeDef] = {}
_serialized: dict[Any, _Serialized] = {}
_by_name: dict[str, _Serialized] = {}
CONSTANT_NODES: set[type] = set()


class ConstantNode(NamedTuple):
    """The context of a registered constant: the value itself."""

    value: Any


def register_pytree_node(cls: type, flatten_fn: FlattenFunc, unflatten_fn: UnflattenFunc, *, serialized_type_name: str | None = None,
                         to_dumpable_context: ToDumpableContextFn | None = None, from_dumpable_context: FromDumpableContextFn | None = None,
                         flatten_with_keys_fn: FlattenWithKeysFunc | None = None) -> None:
    """Make `cls` a container type.

    flatten_fn    value -> (children, context); the context must be comparable with ==
    unflatten_fn  (children, context) -> value
    flatten_with_keys_fn, serialized_type_name, to_dumpable_context, from_dumpable_context: for paths, and for `treespec_dumps`
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    if (to_dumpable_context is None) ^ (from_dumpable_context is None):
        raise ValueError(f"Both to_dumpable_context and from_dumpable_context for {cls} must be None or registered.")
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)
    if serialized_type_name is not None:
        entry = _Serialized(cls, serialized_type_name, to_dumpable_context, from_dumpable_context)
        _serialized[cls] = _by_name[serialized_type_name] = entry


_register_pytree_node = _private_register_pytree_node = register_pytree_node


def _deregister_pytree_node(cls: type) -> None:
    """Forget a container type."""
    del SUPPORTED_NODES[cls]
    entry = _serialized.pop(cls, None)
    if entry is not None:
        del _by_name[entry.name]


def register_dataclass(cls: type, *, field_names: list[str] | None = None, drop_field_names: list[str] | None = None,
                       serialized_type_name: str | None = None) -> None:
    """Make a dataclass (or, with `field_names`, any class whose constructor takes them by name) a container type.

    Fields that are None go into the context, as in PyTorch.
    """
    dropped = set(drop_field_names or ())
    if dataclasses.is_dataclass(cls):
        known = [field.name for field in dataclasses.fields(cls) if field.init]
        names = known if field_names is None else list(field_names)
        wrong = set(names) ^ (set(known) - dropped)
        if wrong and field_names is not None:
            raise ValueError(f"fields {sorted(wrong)} of {cls.__name__} are missing from field_names, or are no fields: "
                             "name all of them, or put them into drop_field_names")
    elif field_names is None:
        raise ValueError(f"field_names must be specified with a list of all fields used to initialize {cls}, as it is not a dataclass.")
    else:
        names = list(field_names)

    def split(obj: Any) -> tuple[list[str], list[str]]:
        present = [name for name in names if getattr(obj, name) is not None]
        return present, [name for name in names if name not in present]

    def flatten(obj: Any) -> tuple[list[Any], Any]:
        present, absent = split(obj)
        return [getattr(obj, name) for name in present], [present, absent]

    def unflatten(values: Iterable[Any], context: Any) -> Any:
        present, absent = context
        return cls(**dict(zip(present, values, strict=True)), **dict.fromkeys(absent))

    def flatten_with_keys(obj: Any) -> tuple[list[tuple[Any, Any]], Any]:
        present, absent = split(obj)
        return [(GetAttrKey(name), getattr(obj, name)) for name in present], [present, absent]

    register_pytree_node(cls, flatten, unflatten, serialized_type_name=serialized_type_name, flatten_with_keys_fn=flatten_with_keys)


def register_constant(cls: type) -> None:
    """Make values of `cls` (which needs ``__eq__`` and ``__hash__``) part of the structure: a container without children."""
    if cls.__eq__ is object.__eq__:
        raise TypeError(f"register_constant(cls) expects `cls` to have a non-default `__eq__` implementation, but {cls.__name__} has none")
    if cls.__hash__ is None:
        raise TypeError(f"register_constant(cls) expects `cls` to have a `__hash__` implementation, but {cls.__name__} has none")
    register_pytree_node(cls, lambda value: ([], ConstantNode(value)), lambda _, context: context.value,
                         flatten_with_keys_fn=lambda value: ([], ConstantNode(value)))
    CONSTANT_NODES.add(cls)


def is_constant_class(cls: type) -> bool:
    """Whether `register_constant` was called with this class."""
    return cls in CONSTANT_NODES


def is_namedtuple(obj: object) -> bool:
    """Whether the value, or the class, is a named tuple."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_namedtuple_class(cls: type[Any]) -> bool:
    """Whether the class is a named tuple's."""
    fields = getattr(cls, "_fields", None)
    return (isinstance(cls, type) and issubclass(cls, tuple) and isinstance(fields, tuple)
            and all(type(field) is str for field in fields) and callable(getattr(cls, "_make", None)))


def is_namedtuple_instance(obj: object) -> bool:
    """Whether the value is a named tuple."""
    return is_namedtuple_class(type(obj))


_is_namedtuple_instance = is_namedtuple_instance


def is_structseq_class(cls: Any) -> bool:
    """Whether the class is a C-level struct sequence (``os.stat_result`` and its like)."""
    return (isinstance(cls, type) and cls.__bases__ == (tuple,)
            and all(isinstance(getattr(cls, name, None), int) for name in ("n_sequence_fields", "n_fields", "n_unnamed_fields")))


def is_structseq_instance(obj: object) -> bool:
    """Whether the value is a struct sequence."""
    return is_structseq_class(type(obj))


def is_structseq(obj: object) -> bool:
    """Whether the value, or the class, is a struct sequence."""
    return is_structseq_class(obj if isinstance(obj, type) else type(obj))


def _node_type(tree: object) -> type[Any]:
    cls: Any = type(tree)
    if cls not in SUPPORTED_NODES and is_structseq_class(cls) and is_own(cls.__module__):       # what an op with several results returns
        _register_builtin(cls, f"{cls.__module__}.{cls.__name__}", lambda d: (list(d), None), lambda values, _: cls(values),
                          lambda d: (_by_position(d), None))
    return namedtuple_node if cls not in SUPPORTED_NODES and is_namedtuple_class(cls) else cls


_get_node_type = _node_type


namedtuple_node: Any = namedtuple       # the node type that all named tuples share; the class is their context


def _by_position(values: Iterable[Any]) -> list[tuple[Any, Any]]:
    return [(SequenceKey(i), value) for i, value in enumerate(values)]


_named_tuples: dict[str, Any] = {}      # by the names under which they are written to JSON


def _register_namedtuple(cls: type[Any], *, serialized_type_name: str) -> None:
    """Say under which name `treespec_dumps` writes a class of named tuples; others are written as where they are."""
    _named_tuples[serialized_type_name] = cls


def _class_path(cls: Any) -> str:
    return next((name for name, known in _named_tuples.items() if known is cls), f"{cls.__module__}.{cls.__qualname__}")


def _class_at(path: str) -> Any:
    if path in _named_tuples:
        return _named_tuples[path]
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _register_builtin(cls: Any, name: str, flatten: FlattenFunc, unflatten: UnflattenFunc, keyed: FlattenWithKeysFunc, to: Any = None,
                      back: Any = None) -> None:
    register_pytree_node(cls, flatten, unflatten, serialized_type_name=name, to_dumpable_context=to, from_dumpable_context=back,
                         flatten_with_keys_fn=keyed)


_register_builtin(tuple, "builtins.tuple", lambda d: (list(d), None), lambda values, _: tuple(values), lambda d: (_by_position(d), None))
_register_builtin(list, "builtins.list", lambda d: (d, None), lambda values, _: list(values), lambda d: (_by_position(d), None))
_register_builtin(dict, "builtins.dict", lambda d: (list(d.values()), list(d)), lambda values, keys: dict(zip(keys, values, strict=True)),
                  lambda d: ([(MappingKey(key), value) for key, value in d.items()], list(d)))
_register_builtin(namedtuple_node, "collections.namedtuple", lambda d: (list(d), type(d)), lambda values, cls: cls(*values),
                  lambda d: ([(GetAttrKey(name), value) for name, value in zip(d._fields, d, strict=True)], type(d)), _class_path,
                  _class_at)
_register_builtin(OrderedDict, "collections.OrderedDict", lambda d: (list(d.values()), list(d)),
                  lambda values, keys: OrderedDict(zip(keys, values, strict=True)),
                  lambda d: ([(MappingKey(key), value) for key, value in d.items()], list(d)))
_register_builtin(defaultdict, "collections.defaultdict", lambda d: (list(d.values()), [d.default_factory, list(d)]),
                  lambda values, context: defaultdict(context[0], zip(context[1], values, strict=True)),
                  lambda d: ([(MappingKey(key), value) for key, value in d.items()], [d.default_factory, list(d)]),
                  lambda context: {"default_factory_module": context[0].__module__, "default_factory_name": context[0].__qualname__,
                                   "dict_context": context[1]},
                  lambda saved: [getattr(import_module(saved["default_factory_module"]), saved["default_factory_name"]),
                                 saved["dict_context"]])
_register_builtin(deque, "collections.deque", lambda d: (list(d), d.maxlen), lambda values, maxlen: deque(values, maxlen=maxlen),
                  lambda d: (_by_position(d), d.maxlen))

for _name, _cls in (("tuple", tuple), ("list", list), ("dict", dict), ("namedtuple", namedtuple_node), ("ordereddict", OrderedDict),
                    # PyTorch's names for them, which libraries register their own classes with
                    ("defaultdict", defaultdict), ("deque", deque)):
    globals().update({f"_{_name}_flatten": SUPPORTED_NODES[_cls].flatten_fn, f"_{_name}_unflatten": SUPPORTED_NODES[_cls].unflatten_fn,
                      f"_{_name}_flatten_with_keys": SUPPORTED_NODES[_cls].flatten_with_keys_fn})

BUILTIN_TYPES = frozenset({tuple, list, dict, namedtuple_node, OrderedDict, defaultdict, deque})
_DICTS = frozenset({dict, OrderedDict, defaultdict})


# --- structures -------------------------------------------------------------------------------------------------------------------------

class TreeSpec:
    """A structure: node type, context and the children's structures. ``type`` None is a leaf."""

    __slots__ = ("type", "_context", "_children", "num_nodes", "num_leaves", "num_children")

    def __init__(self, type: type[Any] | None, context: Context, children_specs: list[TreeSpec]) -> None:
        self.type, self._context, self._children = type, context, children_specs
        self.num_children = len(children_specs)
        self.num_nodes = 1 + sum(child.num_nodes for child in children_specs)
        self.num_leaves = 1 if type is None else sum(child.num_leaves for child in children_specs)

    @property
    def context(self) -> Context:
        """What the node type needs besides the children, e.g. a dict's keys."""
        return self._context

    @property
    def children_specs(self) -> list[TreeSpec]:
        """The children's structures."""
        return self._children

    def is_leaf(self) -> bool:
        """Whether this is the structure of a single leaf."""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """The children's structures, in a new list."""
        return list(self._children)

    def child(self, index: int) -> TreeSpec:
        """The structure of one child."""
        return self._children[index]

    def entries(self) -> list[Any]:
        """The key, position or attribute name of each child."""
        if self.type is defaultdict:
            return list(self._context[1])
        if self.type in _DICTS:
            return list(self._context)
        return list(range(self.num_children))

    def entry(self, index: int) -> Any:
        """The key or position of one child."""
        return self.entries()[index]

    def unflatten(self, leaves: Iterable[Any]) -> PyTree:
        """Put a tree of this structure together."""
        leaves = leaves if isinstance(leaves, (list, tuple)) else list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree that holds "
                             f"{self.num_leaves} items ({self}).")
        return _build(self, iter(leaves))

    def flatten_up_to(self, tree: PyTree) -> list[PyTree]:
        """The subtrees of `tree` where this structure has its leaves. ValueError where the structures differ before that."""
        subtrees: list[PyTree] = []
        _collect_up_to(self, tree, subtrees)
        return subtrees

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TreeSpec):
            return NotImplemented
        return self.type is other.type and self._context == other._context and self._children == other._children

    def __hash__(self) -> int:
        if self.type in _DICTS:
            context: Any = tuple(map(repr, self.entries()))
        else:
            context = tuple(self._context) if isinstance(self._context, list) else self._context
        return hash((self.type, context if isinstance(context, tuple) else repr(context), tuple(self._children)))

    def __repr__(self, indent: int = 0) -> str:
        if self.is_leaf():
            return "*"
        inner = (",\n" + " " * (indent + 2)).join(child.__repr__(indent + 2) for child in self._children)
        return f"TreeSpec({self.type.__name__}, {self._context}, [{inner}])"


class LeafSpec(TreeSpec):
    """The structure of a leaf."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None, None, [])


_LEAF = LeafSpec()
PyTreeSpec = TreeSpec


def _build(spec: TreeSpec, leaves: Iterator[Any]) -> PyTree:
    if spec.type is None:
        return next(leaves)
    return SUPPORTED_NODES[spec.type].unflatten_fn([_build(child, leaves) for child in spec._children], spec._context)


def _collect_up_to(spec: TreeSpec, tree: PyTree, subtrees: list[PyTree]) -> None:
    if spec.type is None:
        subtrees.append(tree)
        return
    node = _node_type(tree)
    both_dicts = spec.type in _DICTS and node in _DICTS
    if node is not spec.type and not both_dicts:
        kind = "Node type mismatch" if spec.type in BUILTIN_TYPES else "Type mismatch"
        raise ValueError(f"{kind}; expected {spec.type!r}, but got {node!r}.")
    children, context = SUPPORTED_NODES[node].flatten_fn(tree)
    if len(children) != spec.num_children:
        raise ValueError(f"Node arity mismatch; expected {spec.num_children}, but got {len(children)}.")
    if both_dicts:
        keys = spec.entries()
        missing, extra = set(keys).difference(tree), set(tree).difference(keys)
        if missing or extra:
            raise ValueError("Node keys mismatch" + (f"; missing key(s): {missing}" if missing else "")
                             + (f"; extra key(s): {extra}" if extra else "") + ".")
        children = [tree[key] for key in keys]
    elif node is not deque and context != spec._context:
        raise ValueError(f"Node context mismatch for node type {spec.type!r}; expected {spec._context!r}, but got {context!r}.")
    for child, subtree in zip(spec._children, children, strict=True):
        _collect_up_to(child, subtree, subtrees)


def treespec_leaf() -> LeafSpec:
    """The structure of a leaf."""
    return LeafSpec()


def treespec_tuple(iterable: Iterable[TreeSpec] = (), /) -> TreeSpec:
    """The structure of a tuple of such children."""
    return TreeSpec(tuple, None, list(iterable))


def treespec_dict(mapping: Any = (), /, **kwargs: TreeSpec) -> TreeSpec:
    """The structure of a dict of such children."""
    entries = dict(mapping, **kwargs)
    return TreeSpec(dict, list(entries), list(entries.values()))


# --- taking apart -----------------------------------------------------------------------------------------------------------------------

def tree_is_leaf(tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> bool:
    """Whether a value is a leaf: of no container type, or declared one by `is_leaf`."""
    return (is_leaf is not None and is_leaf(tree)) or _node_type(tree) not in SUPPORTED_NODES


_is_leaf = tree_is_leaf


def _take_apart(tree: PyTree, leaves: list[Any], is_leaf: Any) -> TreeSpec:
    if tree_is_leaf(tree, is_leaf):
        leaves.append(tree)
        return _LEAF
    node = _node_type(tree)
    children, context = SUPPORTED_NODES[node].flatten_fn(tree)
    return TreeSpec(node, context, [_take_apart(child, leaves, is_leaf) for child in children])


def tree_flatten(tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """(leaves, structure) of a tree."""
    leaves: list[Any] = []
    return leaves, _take_apart(tree, leaves, is_leaf)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The tree of this structure with these leaves."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"tree_unflatten(leaves, treespec): Expected `treespec` to be instance of TreeSpec but got item of type "
                        f"{type(treespec)}.")
    return treespec.unflatten(leaves)


def tree_iter(tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> Iterator[Any]:
    """The leaves one by one."""
    if tree_is_leaf(tree, is_leaf):
        yield tree
        return
    for child in SUPPORTED_NODES[_node_type(tree)].flatten_fn(tree)[0]:
        yield from tree_iter(child, is_leaf)


def tree_leaves(tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> list[Any]:
    """The leaves of a tree."""
    return list(tree_iter(tree, is_leaf))


def tree_structure(tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> TreeSpec:
    """The structure of a tree."""
    return _take_apart(tree, [], is_leaf)


def arg_tree_leaves(*args: PyTree, **kwargs: PyTree) -> list[Any]:
    """The leaves of all arguments."""
    return [leaf for each in (*args, *kwargs.values()) for leaf in tree_iter(each)]


def _walk_paths(tree: PyTree, path: KeyPath, is_leaf: Any) -> Iterator[tuple[KeyPath, Any]]:
    if tree_is_leaf(tree, is_leaf):
        yield path, tree
        return
    definition = SUPPORTED_NODES[_node_type(tree)]
    if definition.flatten_with_keys_fn is None:
        raise ValueError(f"Did not find a flatten_with_keys_fn for type: {definition.type}. Please pass a flatten_with_keys_fn argument to "
                         "register_pytree_node.")
    for key, child in definition.flatten_with_keys_fn(tree)[0]:
        yield from _walk_paths(child, (*path, key), is_leaf)


def tree_leaves_with_path(tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> list[tuple[KeyPath, Any]]:
    """(path, leaf) of all leaves."""
    return list(_walk_paths(tree, (), is_leaf))


def tree_flatten_with_path(tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> tuple[list[tuple[KeyPath, Any]], TreeSpec]:
    """([(path, leaf), ...], structure) of a tree."""
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


# --- mapping ------------------------------------------------------------------------------------------------------------------------------

def tree_map(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> PyTree:
    """The tree of what `func` returns for each leaf (and the subtrees of `rests` at the same places)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves, *(spec.flatten_up_to(rest) for rest in rests)]
    return spec.unflatten(list(map(func, *columns)))


def tree_map_(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> PyTree:
    """Call `func` on each leaf for its effect; returns the tree itself."""
    leaves, spec = tree_flatten(tree, is_leaf)
    for values in zip(leaves, *(spec.flatten_up_to(rest) for rest in rests), strict=True):
        func(*values)
    return tree


def tree_map_with_path(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> PyTree:
    """As `tree_map`, with the path as the function's first argument."""
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    columns = [[path for path, _ in pairs], [leaf for _, leaf in pairs], *(spec.flatten_up_to(rest) for rest in rests)]
    return spec.unflatten(list(map(func, *columns)))


def _selector(types_or_pred: Any) -> Callable[[Any], bool]:
    """Types, or a predicate, as a predicate."""
    if isinstance(types_or_pred, (type, tuple, UnionType)):
        return lambda value: isinstance(value, types_or_pred)
    if callable(types_or_pred):
        return types_or_pred
    raise TypeError("Argument must be a type, a tuple of types, or a callable.")


def map_only(type_or_types_or_pred: Any, /) -> Any:
    """A decorator: the function applies to values of these types; others pass through it unchanged."""
    selected = _selector(type_or_types_or_pred)
    return lambda func: lambda value: func(value) if selected(value) else value


def tree_map_only(type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: PyTree,
                  is_leaf: Callable[[PyTree], bool] | None = None) -> PyTree:
    """`tree_map` on the leaves of these types (or that the predicate accepts)."""
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: PyTree,
                   is_leaf: Callable[[PyTree], bool] | None = None) -> PyTree:
    """`tree_map_` on the leaves of these types (or that the predicate accepts)."""
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> bool:
    """Whether the predicate holds for all leaves."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[PyTree], bool] | None = None) -> bool:
    """Whether the predicate holds for a leaf."""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(type_or_types: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[PyTree], bool] |
                  None = None) -> bool:
    """Whether the predicate holds for all leaves of these types."""
    return all(pred(leaf) for leaf in tree_iter(tree, is_leaf) if isinstance(leaf, type_or_types))


def tree_any_only(type_or_types: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[PyTree], bool] |
                  None = None) -> bool:
    """Whether the predicate holds for a leaf of these types."""
    return any(pred(leaf) for leaf in tree_iter(tree, is_leaf) if isinstance(leaf, type_or_types))


def _broadcast_to_and_flatten(tree: PyTree, treespec: TreeSpec, is_leaf: Callable[[PyTree], bool] | None = None) -> list[Any] | None:
    """The leaves of `tree`, a prefix of the structure, each repeated for the leaves below it; None where it is no prefix."""
    if tree_is_leaf(tree, is_leaf):
        return [tree] * treespec.num_leaves
    if treespec.type is None or _node_type(tree) is not treespec.type:
        return None
    children, context = SUPPORTED_NODES[treespec.type].flatten_fn(tree)
    if len(children) != treespec.num_children or context != treespec._context:
        return None
    result: list[Any] = []
    for child, spec in zip(children, treespec._children, strict=True):
        leaves = _broadcast_to_and_flatten(child, spec, is_leaf)
        if leaves is None:
            return None
        result += leaves
    return result


# --- as text ------------------------------------------------------------------------------------------------------------------------------

_PROTOCOL = 1


def _enumerated(value: Any) -> dict[str, Any]:
    """How a member of an enumeration is written to JSON."""
    if not isinstance(value, Enum):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return {"__enum__": True, "fqn": f"{type(value).__module__}:{type(value).__qualname__}", "name": value.name}


def _member(data: dict[str, Any]) -> Any:
    """A member of an enumeration that is loaded already; other objects as they are."""
    if "__enum__" not in data:
        return data
    module, _, path = data["fqn"].partition(":")
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name)
    if not isinstance(found, type) or not issubclass(found, Enum):
        raise TypeError(f"{data['fqn']} is no enumeration")
    return found[data["name"]]


def _dumpable(spec: TreeSpec) -> dict[str, Any]:
    if spec.type is None:
        return {"type": None, "context": None, "children_spec": []}
    entry = _serialized.get(spec.type)
    if entry is None:
        raise NotImplementedError(f"No registered serialization name for {spec.type} found. Please update your register_pytree_node call "
                                  "with a `serialized_type_name` kwarg.")
    try:
        context = json.dumps(spec._context, default=_enumerated) if entry.to_dumpable is None else entry.to_dumpable(spec._context)
    except TypeError as error:
        raise TypeError("Unable to serialize context. Please make the context json dump-able, or register a custom serializer using "
                        "register_pytree_node.") from error
    return {"type": entry.name, "context": context, "children_spec": [_dumpable(child) for child in spec._children]}


def _from_dumpable(data: dict[str, Any]) -> TreeSpec:
    if data["type"] is None:
        return _LEAF
    entry = _by_name.get(data["type"])
    if entry is None:
        raise NotImplementedError(f"Deserializing {data['type']} in pytree is not registered.")
    context = json.loads(data["context"], object_hook=_member) if entry.from_dumpable is None else entry.from_dumpable(data["context"])
    return TreeSpec(entry.type, context, [_from_dumpable(child) for child in data["children_spec"]])


def treespec_dumps(treespec: TreeSpec, protocol: int | None = None) -> str:
    """A structure as JSON, in PyTorch's form."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"treespec_dumps(treespec, protocol): Expected `treespec` to be instance of TreeSpec but got item of type "
                        f"{type(treespec)}.")
    protocol = _PROTOCOL if protocol is None else protocol
    if protocol != _PROTOCOL:
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [{_PROTOCOL}]")
    return json.dumps((protocol, _dumpable(treespec)))


def treespec_loads(serialized: str) -> TreeSpec:
    """The structure that `treespec_dumps` wrote."""
    protocol, data = json.loads(serialized)
    if protocol != _PROTOCOL:
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [{_PROTOCOL}]")
    return _from_dumpable(data)


class _Star(str):
    """Prints as a bare star."""

    def __repr__(self) -> str:
        return "*"


def treespec_pprint(treespec: TreeSpec) -> str:
    """The structure as the tree would print, with a star per leaf."""
    return repr(treespec.unflatten([_Star("*")] * treespec.num_leaves))
