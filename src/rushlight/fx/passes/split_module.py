"""`split_module`: a graph as several modules that call each other's results."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

from ...nn.modules.module import Module
from ..graph import Graph
from ..graph_module import GraphModule, _get_attr
from ..node import Node, map_arg

__all__ = ["Partition", "split_module"]


class Partition:
    """One part: its nodes, what it needs from outside and what others need of it, by names in the whole graph."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.submod_name = f"submod_{name}"
        self.node_names: list[str] = []
        self.inputs: dict[str, None] = {}
        self.outputs: dict[str, None] = {}
        self.dependencies: dict[str, None] = {}
        self.dependents: dict[str, None] = {}
        self.graph = Graph()
        self.environment: dict[Node, Node] = {}
        self.targets: dict[str, Any] = {}

    def __repr__(self) -> str:
        return (f"name: {self.name},\n nodes: {self.node_names},\n inputs: {self.inputs},\n outputs: {self.outputs},\n"
                f" partitions depended on: {self.dependencies},\n partition dependents: {self.dependents}")


class _Split:
    """One run of `split_module`."""

    def __init__(self, m: GraphModule, affix: str | None, keep_names: bool, keep_inputs: bool, tuples: bool) -> None:
        self.m, self.affix, self.keep_names, self.keep_inputs, self.tuples = m, affix, keep_names, keep_inputs, tuples
        self.nodes = {node.name: node for node in m.graph.nodes}
        self.parts: dict[str, Partition] = {}
        self.part_of: dict[Node, str] = {}
        self.graph = Graph()
        self.env: dict[str, Node] = {}
        self.attributes: dict[str, Any] = {}
        self.renamed: dict[str, str] = {}

    def assign(self, split_callback: Callable[[Node], int]) -> None:
        """Say which node is in which part, and who uses what across parts."""
        for node in self.m.graph.nodes:
            if node.op not in ("placeholder", "get_attr", "output"):
                name = str(split_callback(node)) if self.affix is None else f"{self.affix}_{split_callback(node)}"
                self.parts.setdefault(name, Partition(name)).node_names.append(node.name)
                self.part_of[node] = name
        for node in self.m.graph.nodes:
            for each in node.all_input_nodes:
                self.note_use(each, None if node.op == "output" else node)

    def note_use(self, made: Node, user: Node | None) -> None:
        """A value that goes from one part to another, or out."""
        source, place = self.part_of.get(made), self.part_of.get(user) if user is not None else None
        if source == place:
            return
        if source is not None:
            self.parts[source].outputs.setdefault(made.name)
            if place is not None:
                self.parts[source].dependents.setdefault(place)
        if place is not None:
            self.parts[place].inputs.setdefault(made.name)
            if source is not None:
                self.parts[place].dependencies.setdefault(source)

    def order(self) -> list[str]:
        """The parts, each after those that it depends on. RuntimeError where they depend on each other in a circle."""
        ready = [name for name, part in self.parts.items() if not part.dependencies]
        waiting = {name: set(part.dependencies) for name, part in self.parts.items()}
        done = []
        while ready:
            name = ready.pop()
            done.append(name)
            for each in self.parts[name].dependents:
                waiting[each].discard(name)
                if not waiting[each]:
                    ready.append(each)
        if len(done) != len(self.parts):
            raise RuntimeError("cycle exists between partitions!")
        return done

    def fill(self, order: list[str]) -> None:
        """Make the graph of each part."""
        for name in order:
            part = self.parts[name]
            for key in part.inputs:
                node = self.nodes[key]
                label = node.name if self.keep_inputs else f"arg_{len(part.environment)}"
                made = part.graph.placeholder(label, type_expr=node.type)
                made.meta = node.meta.copy()
                part.environment[node] = made
        for node, name in self.part_of.items():
            self.copy(node, self.parts[name])

    def copy(self, node: Node, part: Partition) -> None:
        """One node into its part."""
        args, kwargs = map_arg((node.args, node.kwargs), lambda n: part.environment[n])
        target = node.target
        if node.op == "call_module":
            target = target.replace(".", "_")
            part.targets[target] = _get_attr(self.m, node.target)
            self.renamed[f"{part.submod_name}.{target}"] = node.target
        made = part.graph.create_node(node.op, target, args, dict(kwargs), node.name if self.keep_names else None, node.type)
        made.meta = node.meta.copy()
        part.environment[node] = made

    def input(self, node: Node) -> None:
        """An input, or a value that is fetched, in the graph that calls the parts."""
        if node.op == "placeholder":
            default = node.args[0] if node.args else inspect.Signature.empty
            made = self.graph.placeholder(node.name if self.keep_names else node.target, node.type, default)
        else:
            made = self.graph.get_attr(node.target)
            self.attributes[node.target] = _get_attr(self.m, node.target)
        made.meta = node.meta.copy()
        self.env[node.name] = made

    def call(self, name: str) -> None:
        """The call of a part, and the values that it gives."""
        part = self.parts[name]
        results = tuple([part.environment[self.nodes[key]] for key in part.outputs])
        part.graph.output(results if len(results) != 1 or self.tuples else results[0])
        self.attributes[part.submod_name] = GraphModule(part.targets, part.graph)
        made = self.graph.call_module(part.submod_name, tuple([self.env[key] for key in part.inputs]))
        if len(results) == 1 and not self.tuples:
            self.env[next(iter(part.outputs))] = made
            return
        for i, key in enumerate(part.outputs):
            self.env[key] = self.graph.call_function(operator.getitem, (made, i))
            self.env[key].meta = self.nodes[key].meta.copy()


def split_module(m: GraphModule, root_m: Module | None, split_callback: Callable[[Node], int], qualname_map: dict[str, str] | None = None,
                 keep_original_order: bool | None = False, keep_original_node_name: bool | None = False,
                 keep_original_input_name: bool = True, *, partition_affix: str | None = None, tuple_return: bool = False) -> GraphModule:
    """A module that does what `m` does by calling submodules, ``submod_0`` and so on: ``split_callback(node)`` says into which a node goes.

    root_m                    not used
    qualname_map              is filled with "submod_0.linear" -> the name in `m`
    keep_original_order       call the parts in the order in which their first nodes stood, and fetch inputs where they stood
    keep_original_node_name, keep_original_input_name  whether nodes and inputs keep their names
    partition_affix           "pp" gives ``submod_pp_0``
    tuple_return              have the parts return tuples always

    RuntimeError where parts depend on each other in a circle.
    """
    split = _Split(m, partition_affix, bool(keep_original_node_name), keep_original_input_name, tuple_return)
    split.assign(split_callback)
    order = split.order()
    split.fill(order)
    if keep_original_order:
        _in_original_order(split)
    else:
        for node in m.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                split.input(node)
        for name in order:
            split.call(name)
    for node in m.graph.nodes:
        if node.op == "output":
            split.graph.output(map_arg(node.args[0], lambda n: split.env[n.name]), node.type).meta = node.meta.copy()
    if qualname_map is not None:
        qualname_map.update(split.renamed)
    made = GraphModule(split.attributes, split.graph)
    made.meta = m.meta.copy()
    return made


def _in_original_order(split: _Split) -> None:
    """The parts in the order of their first nodes, each after the values that it alone needs fetched. RuntimeError where that order can't
    be."""
    for node in split.m.graph.nodes:
        if node.op == "placeholder":
            split.input(node)
    for name, part in split.parts.items():
        for key in part.inputs:
            if key not in split.env:
                if split.nodes[key].op != "get_attr":
                    raise RuntimeError(f"partition {name} needs {key}, which a later one computes: leave keep_original_order out")
                split.input(split.nodes[key])
        split.call(name)
    for node in split.m.graph.nodes:
        if node.op == "get_attr" and node.name not in split.env:
            split.input(node)
