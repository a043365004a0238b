"""`Graph`: the nodes of a program, in order."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ..settings import typename
from .codegen import (
    CodeGen,
    PythonCode,
    TransformCodeFunc,
    _BoxedCodeGen,
    _custom_builtins,
    _CustomBuiltin,
    _format_target,
    _illegal_names,
    _Namespace,
    _parse_stack_trace,
    _ParsedStackTrace,
    _PyTreeCodeGen,
    _PyTreeInfo,
    _register_custom_builtin,
    _snake_case,
    dtype_abbrs,
    inplace_methods,
    magic_methods,
    reflectable_magic_methods,
)
from .immutable_collections import immutable_dict
from .names import is_own_value, own_name
from .node import _OPS, Argument, Node, Target, _get_qualified_name, _type_repr, map_arg

__all__ = ["Graph", "CodeGen", "PythonCode", "Argument", "Target", "dtype_abbrs", "inplace_methods", "magic_methods",
           "reflectable_magic_methods", "_BoxedCodeGen", "_custom_builtins", "_CustomBuiltin", "_format_target", "_illegal_names",
           "_Namespace", "_parse_stack_trace", "_ParsedStackTrace", "_PyTreeCodeGen", "_PyTreeInfo", "_register_custom_builtin",
           "_snake_case", "_get_qualified_name", "_type_repr", "_node_list", "_is_from_torch"]

_is_from_torch = is_own_value


class _node_list:
    """The nodes of a graph. It may change while one goes through them."""

    def __init__(self, graph: Graph, direction: str = "_next") -> None:
        if direction not in ("_next", "_prev"):
            raise AssertionError(f"direction must be '_next' or '_prev', got {direction}")
        self.graph, self.direction = graph, direction

    def __len__(self) -> int:
        return self.graph._len

    def __iter__(self) -> Iterator[Node]:
        root, step = self.graph._root, self.direction
        node = getattr(root, step)
        while node is not root:
            if not node._erased:
                yield node
            node = getattr(node, step)

    def __reversed__(self) -> Iterator[Node]:
        return iter(_node_list(self.graph, "_prev" if self.direction == "_next" else "_next"))


class _InsertPoint:
    """Where new nodes go; leaving the context puts back where they went before."""

    def __init__(self, graph: Graph, new_insert: Callable[[Node], None]) -> None:
        self.graph = graph
        self.orig_insert, graph._insert = graph._insert, new_insert

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        self.graph._insert = self.orig_insert


class Graph:
    """A list of nodes: inputs ("placeholder"), calls, and one "output". `GraphModule` makes a module of it.

    owning_module   the module that the graph belongs to, if there is one
    tracer_cls      the class of the tracer that made it (a pickled module is traced again)
    tracer_extras   arguments for that tracer's ``trace``
    """

    def __init__(self, owning_module: Any = None, tracer_cls: Any = None, tracer_extras: dict[str, Any] | None = None) -> None:
        self._places_hold = True
        self._len = 0
        self._graph_namespace = _Namespace()
        self._owning_module, self._tracer_cls, self._tracer_extras = owning_module, tracer_cls, tracer_extras
        self._codegen = CodeGen()
        self._co_fields: dict[str, Any] = {}
        self._root = Node(self, "", "root", "", (), {})
        self._insert: Callable[[Node], None] = self._root.prepend

    @property
    def owning_module(self) -> Any:
        """The module that the graph belongs to, or None."""
        return self._owning_module

    @owning_module.setter
    def owning_module(self, mod: Any) -> None:
        self._owning_module = mod

    @property
    def nodes(self) -> _node_list:
        """All nodes in order."""
        return _node_list(self)

    def _settle_places(self) -> None:
        """Number the nodes in order, if some were put between others since."""
        if not self._places_hold:
            for i, node in enumerate(self.nodes):
                node._place = i
            self._places_hold = True

    def output_node(self) -> Node:
        """The node that says what the graph returns; AssertionError where the last node is another."""
        last = next(iter(reversed(self.nodes)))
        if last.op != "output":
            raise AssertionError(f"Expected output node, got op={last.op}")
        return last

    def find_nodes(self, *, op: str, target: Target | None = None, sort: bool = True) -> list[Node]:
        """The nodes with an op and, if that is given (for call_function it must be), a target."""
        if op == "call_function" and target is None:
            raise AssertionError("find_nodes(op='call_function') needs a target")
        return [each for each in self.nodes if each.op == op and (target is None or each.target == target)]

    # --- making nodes ---------------------------------------------------------------------------------------------------------------

    def create_node(self, op: str, target: Target, args: tuple[Argument, ...] | None = None, kwargs: dict[str, Argument] | None = None,
                    name: str | None = None, type_expr: Any = None) -> Node:
        """Put a new node where new nodes go (`inserting_before`, `inserting_after`; else the end). `name` is where its own name starts
        from."""
        if args and not isinstance(args, tuple):
            raise AssertionError(f"args must be a tuple, got {type(args)}")
        if kwargs and not isinstance(kwargs, dict):
            raise AssertionError(f"kwargs must be a dict, got {type(kwargs)}")
        final = self._graph_namespace.create_name(self._target_to_str(target) if name is None else name, None)
        node = Node(self, final, op, target, args or (), kwargs or immutable_dict(), type_expr)
        for hook in getattr(self.owning_module, "_create_node_hooks", None) or ():
            hook(node)
        self._graph_namespace.associate_name_with_obj(final, node)
        self._insert(node)
        self._len += 1
        return node

    def _target_to_str(self, target: Target | None) -> str:
        """What a node that calls this is named after."""
        if callable(target):
            op = own_name(target) if hasattr(target, "__name__") else str(target)
        else:
            op = str(target)
        if op.startswith("__") and op.endswith("__"):
            op = op[2:-2]
        return _snake_case(op)

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = inspect.Signature.empty) -> Node:
        """A new input; ``*args`` and ``**kwargs`` are names, too."""
        return self.create_node("placeholder", name, () if default_value is inspect.Signature.empty else (default_value,),
                                type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """A new node that fetches a parameter, a buffer or a submodule by its dotted name. Warns where the owning module has no such
        thing."""
        if self.owning_module is not None and not _holds(self.owning_module, qualified_name):
            warnings.warn("Attempted to insert a get_attr Node with no underlying reference in the owning GraphModule! Call "
                          "GraphModule.add_submodule, register_parameter or register_buffer to add what it shall fetch", stacklevel=2)
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(self, module_name: str, args: tuple[Argument, ...] | None = None, kwargs: dict[str, Argument] | None = None,
                    type_expr: Any = None) -> Node:
        """A new call of a submodule. AttributeError where the owning module has none of that name."""
        if self.owning_module is not None:
            self.owning_module.get_submodule(module_name)
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(self, method_name: str, args: tuple[Argument, ...] | None = None, kwargs: dict[str, Argument] | None = None,
                    type_expr: Any = None) -> Node:
        """A new call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(self, the_function: Callable[..., Any], args: tuple[Argument, ...] | None = None,
                      kwargs: dict[str, Argument] | None = None, type_expr: Any = None, name: str | None = None) -> Node:
        """A new call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name=name, type_expr=type_expr)

    def output(self, result: Argument, type_expr: Any = None) -> Node:
        """A new output: what the graph returns."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Argument] = lambda x: x) -> Node:
        """A copy of a node of another graph; `arg_transform` gives for each of its argument nodes one of this graph."""
        copied = self.create_node(node.op, node.target, map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform), node.name,
                                  node.type)
        copied.meta = copy.copy(node.meta)
        return copied

    def graph_copy(self, g: Graph, val_map: dict[Node, Node], return_output_node: bool = False) -> Any:
        """Copy all nodes of another graph but its output, and return what the output is here (with the output node, on request).

        `val_map` holds what nodes of the other graph are here; what is in it before is not copied.
        """
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                result = map_arg(node.args[0], lambda n: val_map[n])
                return (result, node) if return_output_node else result
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def __deepcopy__(self, memo: dict[Any, Any] | None = None) -> Graph:
        made = Graph(tracer_cls=self._tracer_cls)
        found = made.graph_copy(self, memo if memo else {}, return_output_node=True)  # type: ignore[arg-type]
        made._codegen = copy.deepcopy(self._codegen)
        if found is not None:
            result, output = found
            made.output(result, output.type).meta = copy.copy(output.meta)
        return made

    # --- changing -------------------------------------------------------------------------------------------------------------------

    def erase_node(self, to_erase: Node) -> None:
        """Take a node that nobody uses out of the graph. RuntimeError where it has users, or is of another graph."""
        if to_erase.users:
            raise RuntimeError(f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in the graph: "
                               f"{to_erase.users}!")
        if to_erase.graph is not self:
            raise RuntimeError(f"Attempting to remove {to_erase} from wrong graph!")
        if to_erase._erased:
            warnings.warn(f"erase_node({to_erase}) on an already erased node", stacklevel=2)
            return
        for hook in getattr(self.owning_module, "_erase_node_hooks", None) or ():
            hook(to_erase)
        to_erase._remove_from_list()
        to_erase._erased = True                 # its own links stay: who goes through the nodes finds on from here
        self._len -= 1
        to_erase._update_args_kwargs(map_arg(to_erase._args, lambda n: None), map_arg(to_erase._kwargs, lambda n: None))

    def inserting_before(self, n: Node | None = None) -> _InsertPoint:
        """Have new nodes go before a node (None: before all), for good or as a context."""
        if n is None:
            return self.inserting_after(self._root)
        if n.graph is not self:
            raise AssertionError("Node to insert before is not in graph.")
        return _InsertPoint(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> _InsertPoint:
        """Have new nodes go right after a node (None: after all), for good or as a context."""
        if n is None:
            return self.inserting_before(self._root)
        if n.graph is not self:
            raise AssertionError("Node to insert after is not in graph.")
        return _InsertPoint(self, n.append)

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Take out the nodes that nobody uses and that do nothing else (`Node.is_impure`, or the function given). Returns whether there
        were any."""
        self.lint()
        keep = is_impure_node or (lambda node: node.is_impure())
        changed = False
        for node in reversed(self.nodes):
            if not node.users and not keep(node):
                self.erase_node(node)
                changed = True
        if self.owning_module is not None:
            fetched = {each.target for each in self.find_nodes(op="get_attr")}
            for name, child in self.owning_module.named_children():
                if name in fetched and isinstance(getattr(child, "graph", None), Graph):
                    changed |= child.graph.eliminate_dead_code()
                    child.recompile()
        return changed

    def _clear_nodes(self) -> None:
        for node in reversed(self.nodes):
            node.meta.clear()
            self.erase_node(node)

    # --- code -----------------------------------------------------------------------------------------------------------------------

    def process_inputs(self, *args: Any) -> Any:
        """What the placeholders get when the function gets these arguments."""
        return self._codegen.process_inputs(*args)

    def process_outputs(self, out: Any) -> Any:
        """What the function returns when the output is this."""
        return self._codegen.process_outputs(out)

    def set_codegen(self, codegen: CodeGen) -> None:
        """Have another `CodeGen` write the code."""
        self._codegen = codegen

    def on_generate_code(self, make_transformer: Callable[[TransformCodeFunc | None], TransformCodeFunc]) -> AbstractContextManager[None]:
        """Have the lines of the code changed by a function. ``make_transformer(the one that was there, or None)`` returns it.

        As a context, it puts the one back that was there.
        """
        before = self._codegen._body_transformer
        self._codegen._body_transformer = make_transformer(before)

        @contextmanager
        def restore() -> Generator[None, None, None]:
            try:
                yield
            finally:
                self._codegen._body_transformer = before
        return restore()

    def python_code(self, root_module: str, **options: Any) -> PythonCode:
        """The graph as the source of a function, with the globals that it uses. `root_module` is the expression for the module ("self").

        verbose, include_stride, include_device, colored, expanded_def, additional_meta: what `GraphModule.print_readable` shows
        """
        namespace = _Namespace()
        nodes = list(self.nodes)
        before = [each._repr_fn for each in nodes]
        for each in nodes:
            each._repr_fn = lambda n: namespace.create_name(n.name, n)
        try:
            return self._python_code(root_module, namespace, **options)
        finally:
            for each, function in zip(nodes, before, strict=True):
                each._repr_fn = function

    def _python_code(self, root_module: str, namespace: _Namespace, **options: Any) -> PythonCode:
        return self._codegen._gen_python_code(self.nodes, root_module, namespace, **options)

    def __str__(self) -> str:
        return "\n    ".join(["graph():", *[str(each.format_node()) for each in self.nodes]])

    def print_tabular(self) -> None:
        """Print the nodes as a table. ImportError without the package `tabulate`."""
        try:
            from tabulate import tabulate  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            print("`print_tabular` relies on the library `tabulate`, which could not be found on this machine. Run `pip install tabulate` "
                  "to install the library.")
            raise
        print(tabulate([[n.op, n.name, n.target, n.args, n.kwargs] for n in self.nodes],
                       headers=["opcode", "name", "target", "args", "kwargs"]))

    # --- checks ---------------------------------------------------------------------------------------------------------------------

    def lint(self) -> None:
        """RuntimeError where the graph is not well formed: unknown ops, nodes of other graphs, uses before the definition, names given
        twice, and targets that the owning module has not."""
        seen: set[Node] = set()
        names: set[str] = set()
        for node in self.nodes:
            if node.op not in _OPS:
                raise RuntimeError(f"Node {node} had unknown opcode {node.op}!")
            if node.graph is not self:
                raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
            for arg in node._input_nodes:
                if arg.graph is not self:
                    raise RuntimeError(f"Argument '{arg}' of Node '{node}' does not belong to this Graph, but was used as an argument! If "
                                       "you are copying nodes from another graph, make sure to use ``arg_transform`` on node_copy() to "
                                       f"remap values\n{self}")
                if arg not in seen:
                    raise RuntimeError(f"Argument '{arg}' of Node '{node}' was used before it has been defined! Please check that Nodes "
                                       f"in the graph are topologically ordered\n{self}")
            seen.add(node)
            if node.name in names:
                raise RuntimeError(f"Node redefined name {node.name}!")
            names.add(node.name)
        if self.owning_module:
            for node in self.nodes:
                _check_target(node, self.owning_module)


def _check_target(node: Node, module: Any) -> None:
    """The part of `Graph.lint` that looks at the owning module."""
    what, ok = ("Callable", callable(node.target)) if node.op == "call_function" else ("str", isinstance(node.target, str))
    if not ok:
        raise ValueError(f"Node {node} target {node.target} has type {typename(node.target)} but a {what} is expected")
    if node.op not in ("get_attr", "call_module"):
        return
    atoms = node.target.split(".")
    for i, atom in enumerate(atoms):
        module = getattr(module, atom, None)
        if module is None:
            raise RuntimeError(f"Node {node} target {node.target} references nonexistent attribute {atom} of {'.'.join(atoms[:i])}")
        if node.op == "call_module" and not hasattr(module, "named_modules"):
            raise RuntimeError(f"Node {node} target {node.target} {atom} of {'.'.join(atoms[:i])} does not reference an nn.Module")


def _holds(module: Any, qualified_name: str) -> bool:
    """Whether a module has a submodule, a parameter or a buffer of this dotted name."""
    path, _, name = qualified_name.rpartition(".")
    try:
        owner = module.get_submodule(path)
    except AttributeError:
        warnings.warn(f"Failed to fetch module {path}!", stacklevel=3)
        return False
    return name in owner._modules or name in owner._parameters or name in owner._buffers
