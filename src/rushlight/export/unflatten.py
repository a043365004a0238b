"""`unflatten`: an exported program as modules again, one for each module of the original that was called."""

from __future__ import annotations

import operator
from typing import Any

from ..fx.codegen import _PyTreeCodeGen, _PyTreeInfo
from ..fx.graph import Graph
from ..fx.graph_module import GraphModule, _assign_attr, _get_attr, _has_attr
from ..fx.node import Node, map_arg
from ..nn.modules.module import Module
from ..tensor import Tensor
from ..unsupported import NotSupported, attribute_of
from .exported_program import ExportedProgram, GuardsFn, _argument_names, _guards, _Structure
from .graph_signature import InputKind, OutputKind

__all__ = ["InterpreterModule", "UnflattenedModule", "unflatten"]


class InterpreterModule(GraphModule):
    """A module of an unflattened program: a part of its graph, with the parameters that are its own."""


class UnflattenedModule(GraphModule):
    """An unflattened program; it is called as the original module."""


def unflatten(module: ExportedProgram, flat_args_adapter: Any = None) -> UnflattenedModule:
    """An exported program as a tree of modules with the original's names, which share the program's parameters and buffers.

    A module that was called several times is there once per call: ``layer``, ``layer@1``, ...
    """
    if not isinstance(module, ExportedProgram):
        raise TypeError(f"unflatten: expected an ExportedProgram, got {type(module).__name__}")
    if flat_args_adapter is not None:
        raise NotSupported("torch.export.unflatten(flat_args_adapter) is not supported by rushlight: give the inputs as they were exported")
    if any(each.kind is not OutputKind.USER_OUTPUT for each in module.graph_signature.output_specs):
        raise NotSupported("torch.export.unflatten of a program with new values of buffers as outputs is not supported by rushlight: "
                           "unflatten it as it was exported")
    return _Unflattening(module).root()


class _Unflattening:
    """One call."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.order = {node: i for i, node in enumerate(program.graph.nodes)}
        places = [each for each in program.graph.nodes if each.op == "placeholder"]
        specs = program.graph_signature.input_specs
        self.users = [node for node, spec in zip(places, specs, strict=True) if spec.kind is InputKind.USER_INPUT]
        self.attributes = {node: str(spec.target) for node, spec in zip(places, specs, strict=True)
                           if spec.kind is not InputKind.USER_INPUT}
        self.counts: dict[str, int] = {}

    def root(self) -> UnflattenedModule:
        """The outermost module."""
        part = _Part(self, "", 0, UnflattenedModule)
        for node in self.users:
            part.nodes[node] = part.graph.node_copy(node)
        part.module.add_module("_guards_fn", GuardsFn(_guards(self.users, self.program.range_constraints)))
        part.graph.call_module("_guards_fn", tuple([part.nodes[each] for each in self.users]))
        part.fill([each for each in self.order if each.op not in ("placeholder", "output")])
        part.graph.output(part.mapped(self.program.graph.output_node().args[0]))
        spec = self.program.call_spec
        entry = self.program.module_call_graph[0].signature
        names = entry.forward_arg_names if entry is not None and entry.forward_arg_names else _argument_names(spec.in_spec)
        part.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(list(names), spec.in_spec, spec.out_spec)))
        part.module.graph = part.graph
        part.module.register_forward_pre_hook(_Structure(spec.in_spec), with_kwargs=True)
        return part.module

    def value(self, target: str) -> Any:
        """A parameter, buffer or constant."""
        program = self.program
        return program.constants[target] if target in program.constants else program.state_dict[target]


def _calls(node: Node) -> list[tuple[str, str]]:
    """The calls of modules that a node is in, without the outermost: (what is unlike for each call, the path)."""
    return [(key, path) for key, (path, _) in node.meta.get("nn_module_stack", {}).items() if path]


class _Part:
    """The nodes of one call of a module."""

    def __init__(self, whole: _Unflattening, path: str, depth: int, cls: Any) -> None:
        self.whole, self.path, self.depth, self.graph = whole, path, depth, Graph()
        self.nodes: dict[Node, Node] = {}
        self.module = cls(Module(), Graph(), cls.__name__)

    def mapped(self, value: Any) -> Any:
        """Arguments with this part's nodes."""
        return map_arg(value, self.found)

    def found(self, node: Node) -> Node:
        """What stands for a node of the program here."""
        if node not in self.nodes and node in self.whole.attributes:
            self.nodes[node] = self.attribute(node)
        return self.nodes[node]

    def attribute(self, node: Node) -> Node:
        """A parameter, buffer or constant that is the module's own, or the outermost module's."""
        target = self.whole.attributes[node]
        value = self.whole.value(target)
        name = target[len(self.path) + 1:] if self.path else target
        if not _has_attr(self.module, name):
            _assign_attr(value, self.module, name)
            if isinstance(value, Tensor) and target in self.whole.program.constants:
                owner = _get_attr(self.module, name.rpartition(".")[0]) if "." in name else self.module
                owner._non_persistent_buffers_set.add(name.rpartition(".")[2])
        made = self.graph.create_node("get_attr", name, name=name.replace(".", "_"))
        made.meta.update(node.meta)
        return made

    def fill(self, nodes: list[Node]) -> None:
        """Take nodes over; those of modules inside become calls."""
        at = 0
        while at < len(nodes):
            calls = _calls(nodes[at])
            if len(calls) <= self.depth:
                self.nodes[nodes[at]] = self.graph.node_copy(nodes[at], self.found)
                at += 1
                continue
            end = at
            while end < len(nodes) and _calls(nodes[end])[self.depth:self.depth + 1] == [calls[self.depth]]:
                end += 1
            self.call(calls[self.depth][1], nodes[at:end])
            at = end

    def call(self, path: str, nodes: list[Node]) -> None:
        """A call of a module inside."""
        inside = set(nodes)
        part = _Part(self.whole, path, self.depth + 1, InterpreterModule)
        given: dict[Node, None] = {}
        for node in nodes:
            given.update(dict.fromkeys(each for each in node.all_input_nodes if each not in inside and not self.own(each, path)))
        for each in given:
            part.nodes[each] = part.graph.placeholder(each.name)
            part.nodes[each].meta.update(each.meta)
        part.fill(nodes)
        results = [each for each in nodes if any(user not in inside for user in each.users)]
        values = [part.nodes[each] for each in results]
        part.graph.output(values[0] if len(values) == 1 else tuple(values))
        part.module.graph = part.graph
        name = self.add(path, part.module)
        made = self.graph.call_module(name, tuple([self.found(each) for each in given]))
        if len(results) == 1:
            made.meta.update(results[0].meta)
            self.nodes[results[0]] = made
            return
        for i, each in enumerate(results):
            self.nodes[each] = self.graph.call_function(operator.getitem, (made, i))
            self.nodes[each].meta.update(each.meta)

    def own(self, node: Node, path: str) -> bool:
        """Whether a node is a parameter or buffer of a module."""
        return self.whole.attributes.get(node, "").startswith(path + ".")

    def add(self, path: str, module: Module) -> str:
        """Put a module at its place; returns the name there."""
        count = self.whole.counts.get(path, 0)
        self.whole.counts[path] = count + 1
        name = path[len(self.path) + 1:] if self.path and path.startswith(self.path + ".") else path
        name += f"@{count}" if count else ""
        place = self.module
        *before, last = name.split(".")
        for each in before:
            if not isinstance(getattr(place, each, None), Module):
                place.add_module(each, Module())
            place = getattr(place, each)
        place.add_module(last, module)
        return name

__getattr__ = attribute_of("export.unflatten", "unflatten is there (docs/graphs.md)")
