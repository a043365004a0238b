"""`Node`: one line of a `Graph`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from .. import homes
from ..devices import device
from ..dtypes import dtype
from ..layout import layout, memory_format
from ..tensor import Tensor
from .immutable_collections import immutable_dict, immutable_list
from .names import spelled, type_name

__all__ = ["Node", "map_arg", "map_aggregate", "has_side_effect", "Argument", "Target", "base_types"]

Argument = Any
Target = Any
base_types = (str, int, float, bool, complex, dtype, Tensor, device, memory_format, layout)
BaseArgumentTypes = base_types

_OPS = ("placeholder", "call_method", "call_module", "call_function", "get_attr", "output", "root")
_side_effectful_functions: set[Any] = {operator.setitem}
_type_repr = type_name
_get_qualified_name = spelled


def has_side_effect(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Say that calls of a function stay in a graph although nobody uses their result."""
    _side_effectful_functions.add(fn)
    return fn


def map_aggregate(a: Argument, fn: Callable[[Argument], Argument]) -> Argument:
    """Apply a function to every value in tuples, lists, dicts and slices, and build the same of the results (lists and dicts immutable)."""
    if isinstance(a, tuple):
        items = [map_aggregate(each, fn) for each in a]
        return type(a)(*items) if hasattr(a, "_fields") else tuple(items)
    if isinstance(a, list):
        return immutable_list([map_aggregate(each, fn) for each in a])
    if isinstance(a, dict):
        return immutable_dict([(key, map_aggregate(each, fn)) for key, each in a.items()])
    if isinstance(a, slice):
        return slice(map_aggregate(a.start, fn), map_aggregate(a.stop, fn), map_aggregate(a.step, fn))
    return fn(a)


def map_arg(a: Argument, fn: Callable[[Node], Argument]) -> Argument:
    """Apply a function to every `Node` in an argument; all else stays."""
    if not callable(fn):
        raise AssertionError("torch.fx.map_arg(a, fn): fn must be a callable")
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


def _format_arg(arg: object, max_list_len: float = float("inf")) -> str:
    """An argument as printed graphs show it, nodes as ``%name``."""
    if hasattr(arg, "_custom_fx_repr_fn"):
        return str(arg._custom_fx_repr_fn())
    if isinstance(arg, (list, tuple)):
        shown = ", ".join([_format_arg(each) for i, each in enumerate(arg) if i < max_list_len])
        more = "" if len(arg) < max_list_len + 1 else f", ...[total_len={len(arg)}]"
        return f"[{shown}{more}]" if isinstance(arg, list) else f"({shown}{',' if len(arg) == 1 else ''}{more})"
    if isinstance(arg, dict):
        return "{" + ", ".join([f"{key}: {_format_arg(each)}" for key, each in arg.items()]) + "}"
    return f"%{arg}" if isinstance(arg, Node) else str(arg)


class Node:
    """One operation of a graph.

    op      "placeholder" (an input), "get_attr" (a parameter, buffer or constant of the module), "call_function", "call_method" (the first
            argument is the object), "call_module", "output"
    target  the function, or the name of the method, the submodule, the attribute or the input
    args, kwargs  nodes, numbers and the like, in (immutable) lists, tuples, dicts and slices; assigning new ones keeps the books
    users   who uses the result (a dict, for its order)
    type    an annotation, or None
    meta    what passes write down; copied with the node
    """

    _args: tuple[Argument, ...]
    _kwargs: dict[str, Argument]

    def __init__(self, graph: Any, name: str, op: str, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Argument],
                 return_type: Any = None) -> None:
        if op == "call_function":
            if not callable(target):
                raise ValueError(_bad_target(graph, name, target, "Callable"))
        elif op not in _OPS:
            raise AssertionError(f"op '{op}' is not in {_OPS}")
        elif not isinstance(target, str):
            raise ValueError(_bad_target(graph, name, target, "str"))
        self.graph, self._name, self.op, self.target, self.type = graph, name, op, target, return_type
        self._input_nodes: dict[Node, None] = {}
        self.users: dict[Node, None] = {}
        self._repr_fn: Callable[[Node], str] | None = None
        self._prev = self._next = self
        self._erased, self._place = False, 0
        self.meta: dict[str, Any] = {}
        self._update_args_kwargs(args, kwargs)

    # --- place in the graph ---------------------------------------------------------------------------------------------------------

    @property
    def next(self) -> Node:
        """The node that comes after this one."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node that comes before this one."""
        return self._prev

    def prepend(self, x: Node) -> None:
        """Put a node of the same graph right before this one."""
        if self.graph is not x.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if x is self:
            return
        x._remove_from_list()
        before = self._prev
        before._next, x._prev, x._next, self._prev = x, before, self, x
        if self.op == "root":
            x._place = before._place + 1 if before.op != "root" else 0
        else:
            self.graph._places_hold = False

    def append(self, x: Node) -> None:
        """Put a node of the same graph right after this one."""
        self._next.prepend(x) if self._next is not x else None

    def _remove_from_list(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    def __lt__(self, other: Node) -> bool:
        """Whether the node comes before another one of its graph."""
        self.graph._settle_places()
        return self._place < other._place

    def __gt__(self, other: Node) -> bool:
        return other < self

    def __le__(self, other: Node) -> bool:
        return self is other or self < other

    def __ge__(self, other: Node) -> bool:
        return self is other or other < self

    # --- arguments ------------------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the result, unique in the graph."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        for hook in self._hooks("_replace_hooks"):
            for user in self.users:
                hook(old=self, new=value, user=user)
        self._name = value

    @property
    def args(self) -> tuple[Argument, ...]:
        """The arguments by position. Assign a new tuple to change them."""
        return self._args

    @args.setter
    def args(self, a: tuple[Argument, ...]) -> None:
        self._update_args_kwargs(a, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Argument]:
        """The arguments by name. Assign a new dict to change them."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, k: dict[str, Argument]) -> None:
        self._update_args_kwargs(self._args, k)

    def _update_args_kwargs(self, args: tuple[Argument, ...], kwargs: dict[str, Argument]) -> None:
        found: dict[Node, None] = {}

        def note(node: Node) -> Node:
            found[node] = None
            return node
        new_args, new_kwargs = map_arg(tuple(args), note), map_arg(dict(kwargs), note)
        for old in self._input_nodes:
            old.users.pop(self, None)
        self._args, self._kwargs, self._input_nodes = new_args, new_kwargs, found
        for new in found:
            new.users.setdefault(self)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among the arguments, each once, in order."""
        return list(self._input_nodes)

    def update_arg(self, idx: int, arg: Argument) -> None:
        """Change one argument by its position."""
        args = list(self.args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Argument) -> None:
        """Put one more argument at a position."""
        if not 0 <= idx <= len(self.args):
            raise AssertionError(f"insert_args index must be between 0 and len(self.args), got {idx}")
        self.args = (*self.args[:idx], arg, *self.args[idx:])

    def update_kwarg(self, key: str, arg: Argument) -> None:
        """Change, or add, one argument by its name."""
        self.kwargs = {**self.kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Use another node wherever one is an argument of this one."""
        for hook in self._hooks("_replace_hooks"):
            hook(old=old_input, new=new_input.name, user=self)
        self._replace_input_with(old_input, new_input)

    def _replace_input_with(self, old: Node, new: Node) -> None:
        self._update_args_kwargs(*map_arg((self._args, self._kwargs), lambda n: new if n is old else n))

    def replace_all_uses_with(self, replace_with: Node, delete_user_cb: Callable[[Node], bool] | None = None, *,
                              propagate_meta: bool = False) -> list[Node]:
        """Have all users (those for which ``delete_user_cb(user)`` is true) use another node. Returns the users that changed.

        `propagate_meta` gives the other node, which must have none, this node's `meta`.
        """
        if propagate_meta:
            if replace_with.meta:
                raise AssertionError("Called node.replace_all_uses_with(replace_with, propagate_meta=True), but replace_with already has "
                                     ".meta keys")
            replace_with.meta.update(self.meta)
        changed = [user for user in list(self.users) if delete_user_cb is None or delete_user_cb(user)]
        hooks = self._hooks("_replace_hooks")
        for user in changed:
            for hook in hooks:
                hook(old=self, new=replace_with.name, user=user)
            user._replace_input_with(self, replace_with)
        return changed

    def _hooks(self, kind: str) -> list[Any]:
        return getattr(self.graph.owning_module, kind, None) or []

    def _rename(self, candidate: str) -> None:
        if candidate != self.name:
            self.name = self.graph._graph_namespace.create_name(candidate, None)
            self.graph._graph_namespace._rename_object(self, self.name)

    # --- what it says ---------------------------------------------------------------------------------------------------------------

    @property
    def stack_trace(self) -> str | None:
        """Where the traced program made the node, innermost frame last, if that was recorded (`Tracer.record_stack_traces`)."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    def __repr__(self) -> str:
        return self._repr_fn(self) if self._repr_fn else self.name

    @staticmethod
    def _pretty_print_target(target: object) -> str:
        """A target as printed graphs show it: "operator.add", "builtins.getattr", "torch.relu"."""
        if isinstance(target, str):
            return target
        name, module = getattr(target, "__name__", None), getattr(target, "__module__", None)
        if name is not None and module in ("builtins", "_operator"):
            return f"{'builtins' if module == 'builtins' else 'operator'}.{name}"
        return spelled(target)

    def format_node(self, placeholder_names: list[str] | None = None, maybe_return_typename: list[str] | None = None, *,
                    include_tensor_metadata: bool = False) -> str | None:
        """The node's line in a printed graph.

        Given a list with at least one name, `placeholder_names` takes a placeholder's (and None is returned); `maybe_return_typename` takes
        the output's annotation.
        """
        kind = "" if self.type is None else f"{type_name(self.type)} "
        if self.op == "output":
            if self.type and maybe_return_typename:
                maybe_return_typename[0] = f" -> {type_name(self.type)}"
            return f"return {self.args[0]}"
        head = f"%{self.name} : "
        count = f"[num_users={len(self.users)}] = {self.op}"
        if self.op == "placeholder":
            if placeholder_names:
                placeholder_names.append(self.target + (f"{self.target}: {type_name(self.type)}" if self.type else ""))
                return None
            default = f"(default={self.args[0]})" if self.args else ""
            return f"{head}{kind}{count}[target={self.target}]{default}"
        if self.op == "get_attr":
            return f"{head}{kind}{count}[target={self._pretty_print_target(self.target)}]"
        if include_tensor_metadata and isinstance(value := self._value(), Tensor):
            from .codegen import abbreviated
            kind = f'Tensor "{abbreviated(value, stride=True, device=True)}"'
        return (f"{head}{kind}{count}[target={self._pretty_print_target(self.target)}](args = {_format_arg(self.args)}, "
                f"kwargs = {_format_arg(self.kwargs)})")

    def _value(self) -> Any:
        """What `meta` says of the result, by the conventions of the passes."""
        return self.meta.get("val", self.meta.get("tensor_meta", self.meta.get("example_value")))

    # --- what it does ---------------------------------------------------------------------------------------------------------------

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether the node has to stay although nobody uses it: inputs and outputs, what writes into its arguments, random numbers (unless
        `impure_random` is False), and modules whose ``_is_impure`` is true."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            return _is_impure_call(self.target, self.kwargs, impure_random)
        if self.op == "call_module":
            if self.graph.owning_module is None:
                raise AssertionError("self.graph.owning_module not set for purity check")
            return bool(getattr(self.graph.owning_module.get_submodule(self.target), "_is_impure", False))
        return False

    def normalized_arguments(self, root: Any, arg_types: Any = None, kwarg_types: Any = None,
                             normalize_to_only_use_kwargs: bool = False) -> Any:
        """The arguments, matched with the function's or the module's signature, defaults filled in (`operator_schemas`); None where that
        fails."""
        from .operator_schemas import normalize_function, normalize_module
        if self.op == "call_function":
            return normalize_function(self.target, self.args, self.kwargs, arg_types, kwarg_types, normalize_to_only_use_kwargs)
        if self.op == "call_module":
            return normalize_module(root, self.target, self.args, self.kwargs, normalize_to_only_use_kwargs)
        return None


def _bad_target(graph: Any, name: str, target: Any, expected: str) -> str:
    from ..settings import typename
    return f"Node [graph = {graph}, name = '{name}'] target {target} has type {typename(target)} but a {expected} is expected"


_RANDOM = frozenset(["rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "poisson", "bernoulli",
                     "multinomial"])
_RANDOM_OPERATORS = _RANDOM | frozenset(["dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "rrelu", "binomial",
                                         "native_dropout"])


def _is_impure_call(target: Any, kwargs: dict[str, Any], impure_random: bool) -> bool:
    if target in _side_effectful_functions:
        return True
    name = getattr(target, "__name__", "")
    if homes.is_own(getattr(target, "__module__", None)):
        from ..ops.aten import OpOverload
        if isinstance(target, OpOverload):
            name = target._opname
            writes = name.endswith("_") and not name.endswith("__")
            return writes or target._takes_out or name.startswith("_assert") or (impure_random and name in _RANDOM_OPERATORS)
        return name in ("_assert", "_assert_async") or name in _RANDOM
    return False


