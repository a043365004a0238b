"""`ExportedProgram`: a graph of operators with its parameters, buffers and constants, and what its inputs and outputs are."""

from __future__ import annotations

import copy
import dataclasses
import operator
from collections.abc import Iterator
from typing import Any

from ..fx.codegen import _PyTreeCodeGen, _PyTreeInfo
from ..fx.graph import Graph
from ..fx.graph_module import GraphModule, _assign_attr, _get_attr
from ..fx.node import Node
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..ops import aten as A
from ..tensor import Tensor
from ..unsupported import NotSupported, attribute_of
from ..utils import _pytree as pytree
from .dynamic_shapes import ValueRanges, int_oo
from .graph_signature import ArgumentSpec, ExportGraphSignature, InputKind, OutputKind
from .sizes import Expr

__all__ = ["ExportedProgram", "Guard", "GuardsFn", "ModuleCallEntry", "ModuleCallSignature"]


@dataclasses.dataclass
class ModuleCallSignature:
    """How a module was called: its inputs and outputs, and how they are nested."""

    in_spec: Any
    out_spec: Any
    forward_arg_names: list[str] | None = None
    inputs: list[ArgumentSpec] = dataclasses.field(default_factory=list)
    outputs: list[ArgumentSpec] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class ModuleCallEntry:
    """A module of the program, by its path, and how it was called (None: as it came)."""

    fqn: str
    signature: ModuleCallSignature | None = None


@dataclasses.dataclass
class CallSpec:
    """How the inputs and the outputs of a program are nested."""

    in_spec: Any
    out_spec: Any


# --- checks of the inputs -----------------------------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Guard:
    """A condition on the inputs: what it says, the input (and its dimension, for a size), the comparison, and the number or expression on
    the right, whose symbols are read from `places`: symbol -> (input, dimension, a, b), of size a * symbol + b."""

    text: str
    leaf: int
    dim: int | None
    op: str
    right: Any
    places: dict[str, tuple[int, int, int, int]]

    def holds(self, leaves: list[Any]) -> bool:
        """Whether these inputs fulfil it."""
        value = leaves[self.leaf]
        if self.dim is None:
            return value is None if self.right is None else type(value) is type(self.right) and bool(value == self.right)
        if not isinstance(value, Tensor) or value._a.ndim <= self.dim:
            return False
        right = self.right
        if isinstance(right, Expr):
            right = right.at({name: (int(leaves[i]._a.shape[dim]) - b) // a for name, (i, dim, a, b) in self.places.items()})
        return bool(_COMPARE[self.op](int(value._a.shape[self.dim]), right))


_COMPARE = {"==": operator.eq, "<=": operator.le, ">=": operator.ge}


class GuardsFn(Module):
    """Checks inputs. AssertionError that says which condition does not hold."""

    def __init__(self, guards: list[Guard]) -> None:
        super().__init__()
        self.guards = guards

    def forward(self, *leaves: Any) -> None:
        """Check them."""
        for each in self.guards:
            if not each.holds(list(leaves)):
                raise AssertionError(f"Guard failed: {each.text}")


def _read(name: str, dim: int) -> str:
    return f"{name}.size()[{dim}]"


def _guards(inputs: list[Node], ranges: dict[Any, ValueRanges]) -> list[Guard]:
    """The conditions on the inputs of a graph."""
    found: list[Guard] = []
    places: dict[str, tuple[int, int, int, int]] = {}
    texts: dict[str, str] = {}
    for i, node in enumerate(inputs):
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            text = f"{node.name} is None" if value is None else f"{node.name} == {value!r}"
            found.append(Guard(text, i, None, "==", value, {}))
            continue
        for dim, n in enumerate(value.shape):
            expr = getattr(n, "expr", None)
            if expr is None:
                found.append(Guard(f"{_read(node.name, dim)} == {n}", i, dim, "==", int(n), {}))
                continue
            names = sorted(expr.symbols())
            if all(each in places for each in names):
                right = str(expr)
                for each in names:
                    right = right.replace(each, texts[each])
                found.append(Guard(f"{_read(node.name, dim)} == {right}", i, dim, "==", expr, {each: places[each] for each in names}))
            elif len(names) == 1:
                a, b = expr.terms.get((names[0],), 0), expr.terms.get((), 0)
                places[names[0]], texts[names[0]] = (i, dim, a,
                                                     b), _read(node.name, dim) if (a, b) == (1, 0) else f"(({_read(node.name, dim)} - {b})//{a})"
            found += _bounds(node.name, i, dim, ranges.get(expr))
    return found


def _bounds(name: str, leaf: int, dim: int, bounds: ValueRanges | None) -> list[Guard]:
    if bounds is None:
        return []
    found = [Guard(f"{_read(name, dim)} >= {bounds.lower}", leaf, dim, ">=", bounds.lower, {})] if bounds.lower > 2 else []
    return found + ([] if bounds.upper is int_oo else [Guard(f"{_read(name, dim)} <= {bounds.upper}", leaf, dim, "<=", int(bounds.upper),
                                                             {})])


class _Unlifted(GraphModule):
    """An exported program as a module."""

    def train(self, mode: bool = True) -> Any:
        """Not supported: whether it trains is part of the graph."""
        raise NotImplementedError("Calling train() is not supported yet.")

    def eval(self) -> Any:
        """Not supported: whether it trains is part of the graph."""
        raise NotImplementedError("Calling eval() is not supported yet.")


# --- the program --------------------------------------------------------------------------------------------------------------------------

class ExportedProgram:
    """A program of operators of aten: what `export` makes and `load` reads.

    graph_module       the graph as a module, whose first inputs are the parameters, buffers and constants
    graph_signature    what each input and output is
    state_dict, constants  their values
    range_constraints  the range of each size that may change

    `module()` gives a module that is called as the original one.
    """

    _decomposed: Any            # (program, table) -> program, which stands above this file and is given by decomposing.py

    def __init__(self, root: Any, graph: Graph, graph_signature: ExportGraphSignature, state_dict: dict[str, Any],
                 range_constraints: dict[Any, ValueRanges], module_call_graph: list[ModuleCallEntry], example_inputs: Any = None,
                 constants: dict[str, Any] | None = None) -> None:
        graph._codegen = type(graph._codegen)() if isinstance(graph._codegen, _PyTreeCodeGen) else graph._codegen  # type: ignore[call-arg]
        self._graph_module = root if isinstance(root, GraphModule) else GraphModule(root, graph)
        self._graph_signature, self._state_dict, self._range_constraints = graph_signature, state_dict, range_constraints
        self._module_call_graph, self._example_inputs, self._constants = module_call_graph, example_inputs, constants or {}

    @property
    def graph_module(self) -> GraphModule:
        """The graph as a module."""
        return self._graph_module

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._graph_module.graph

    @property
    def graph_signature(self) -> ExportGraphSignature:
        """What each input and output is."""
        return self._graph_signature

    @property
    def state_dict(self) -> dict[str, Any]:
        """Parameters and buffers by name."""
        return self._state_dict

    @property
    def constants(self) -> dict[str, Any]:
        """Other tensors by name, and buffers that no state_dict has."""
        return self._constants

    @property
    def tensor_constants(self) -> dict[str, Any]:
        """The constants."""
        return self._constants

    @property
    def range_constraints(self) -> dict[Any, ValueRanges]:
        """The ranges of sizes."""
        return self._range_constraints

    @property
    def module_call_graph(self) -> list[ModuleCallEntry]:
        """The modules of the program."""
        return self._module_call_graph

    @property
    def example_inputs(self) -> Any:
        """(args, kwargs) that it was exported with."""
        return self._example_inputs

    @example_inputs.setter
    def example_inputs(self, value: Any) -> None:
        if value is not None and not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], tuple)
                                      and isinstance(value[1], dict)):
            raise ValueError("Example inputs should be a tuple containing example arguments (as a tuple), and example kwargs (as a "
                             "dictionary).")
        self._example_inputs = value

    @property
    def call_spec(self) -> CallSpec:
        """How inputs and outputs are nested."""
        signature = self._module_call_graph[0].signature
        if signature is None:
            raise AssertionError("ExportedProgram: the first entry of module_call_graph has no signature")
        return CallSpec(signature.in_spec, signature.out_spec)

    @property
    def dialect(self) -> str:
        """"TRAINING" as exported, "ATEN" after `run_decompositions`."""
        return str(self._graph_module.meta.get("dialect", "TRAINING"))

    def parameters(self) -> Iterator[Parameter]:
        """The parameters."""
        for _, each in self.named_parameters():
            yield each

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names."""
        for name in self._graph_signature.parameters:
            yield name, self._state_dict[name]

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        for _, each in self.named_buffers():
            yield each

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their names."""
        hidden = set(self._graph_signature.non_persistent_buffers)
        for name in self._graph_signature.buffers:
            yield name, (self._constants if name in hidden else self._state_dict)[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Unable to call ExportedProgram directly. You should use `exported_program.module()` instead.")

    def __str__(self) -> str:
        text = self._graph_module.print_readable(print_output=False).replace("\n", "\n    ")
        signature = str(self._graph_signature).replace("\n", "\n    ")
        return f"ExportedProgram:\n    {text}\nGraph signature: {signature}\nRange constraints: {self._range_constraints}\n"

    def __deepcopy__(self, memo: dict[int, Any]) -> ExportedProgram:
        found = type(self).__new__(type(self))
        memo[id(self)] = found
        for key, value in vars(self).items():
            setattr(found, key, copy.deepcopy(value, memo))
        return found

    def validate(self) -> None:
        """Check the graph and that it fits its signature."""
        self.graph.lint()
        names = [each.name for each in self.graph.nodes if each.op == "placeholder"]
        if names != [each.arg.name for each in self._graph_signature.input_specs]:
            raise AssertionError(f"ExportedProgram: the inputs of the graph are {names}, those of the signature "
                                 f"{[each.arg.name for each in self._graph_signature.input_specs]}")

    def run_decompositions(self, decomp_table: Any = None, decompose_custom_triton_ops: bool = False) -> ExportedProgram:
        """The program in simpler operators, none of which writes into tensors: new values of buffers and inputs are outputs, which `module`
        writes back."""
        if decompose_custom_triton_ops:
            raise NotSupported("ExportedProgram.run_decompositions(decompose_custom_triton_ops=True) is not supported by rushlight: there "
                               "are no Triton kernels")
        return self._decomposed(self, decomp_table)

    # --- as a module
    # ------------------------------------------------------------------------------------------------------------------------

    def module(self, check_guards: bool = True) -> GraphModule:
        """A module that is called as the original one; it shares the parameters and buffers.

        check_guards  whether sizes and constants are checked at each call (AssertionError)
        """
        return _Unlift(self, check_guards).module()


class _Unlift:
    """A program's graph with its parameters, buffers and constants as attributes."""

    def __init__(self, program: ExportedProgram, check: bool) -> None:
        self.program, self.check, self.graph = program, check, Graph()
        self.root: dict[str, Any] = {}
        self.nodes: dict[Node, Node] = {}
        self.attributes: dict[str, Node] = {}

    def module(self) -> GraphModule:
        """The module."""
        program, specs = self.program, self.program.graph_signature.input_specs
        places = [each for each in program.graph.nodes if each.op == "placeholder"]
        users = [node for node, spec in zip(places, specs, strict=True) if spec.kind is InputKind.USER_INPUT]
        for node in users:
            self.nodes[node] = self.graph.node_copy(node)
        for node, spec in zip(places, specs, strict=True):
            if spec.kind is not InputKind.USER_INPUT:
                self.nodes[node] = self.attribute(node, str(spec.target))
        if self.check:
            self.root["_guards_fn"] = GuardsFn(_guards(users, program.range_constraints))
            self.graph.call_module("_guards_fn", tuple([self.nodes[each] for each in users]))
        for node in program.graph.nodes:
            if node.op == "get_attr":
                self.root[node.target] = _get_attr(program.graph_module, node.target)
            if node.op not in ("placeholder", "output"):
                self.nodes[node] = self.graph.node_copy(node, lambda each: self.nodes[each])
        self.finish()
        return self.made()

    def attribute(self, node: Node, target: str) -> Node:
        """A parameter, buffer or constant."""
        program = self.program
        self.root[target] = program.constants[target] if target in program.constants else program.state_dict[target]
        found = self.graph.create_node("get_attr", target, name=target.replace(".", "_"))
        found.meta.update(node.meta)
        self.attributes[target] = found
        return found

    def finish(self) -> None:
        """Write the new values of buffers and inputs, and return the rest."""
        program = self.program
        values = program.graph.output_node().args[0]
        results = []
        for value, spec in zip(values, program.graph_signature.output_specs, strict=True):
            if spec.kind is OutputKind.USER_OUTPUT:
                results.append(self.nodes[value] if isinstance(value, Node) else value)
                continue
            if spec.kind in (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION):
                into = self.attributes[str(spec.target)]
            elif spec.kind is OutputKind.USER_INPUT_MUTATION:
                into = next(new for old, new in self.nodes.items() if old.name == spec.target)
            else:
                raise NotSupported(f"ExportedProgram.module(): an output that is {spec.kind.name} is not supported by rushlight")
            self.graph.call_function(A.copy_.default, (into, self.nodes[value]), name="copy__default")
        self.graph.output(tuple(results))

    def made(self) -> GraphModule:
        """The module of the graph."""
        spec = self.program.call_spec
        entry = self.program.module_call_graph[0].signature
        names = entry.forward_arg_names if entry is not None and entry.forward_arg_names else _argument_names(spec.in_spec)
        self.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(list(names), spec.in_spec, spec.out_spec)))
        module = _Unlifted(Module(), Graph())
        for name, value in sorted(self.root.items(), key=lambda each: each[0].count(".")):
            _assign_attr(value, module, name)
            if isinstance(value, Tensor) and name in self.program.constants:
                path, _, last = name.rpartition(".")
                module.get_submodule(path)._non_persistent_buffers_set.add(last)
        module.graph = self.graph
        module.register_forward_pre_hook(_Structure(spec.in_spec), with_kwargs=True)
        return module


class _Structure:
    """Checks how the inputs are nested, and puts arguments given by name in order."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    def __call__(self, module: Any, args: Any, kwargs: Any) -> Any:
        order = [str(each) for each in self.spec.child(1).context]
        if set(order) == set(kwargs):
            kwargs = {each: kwargs[each] for each in order}
        found = pytree.tree_structure((args, kwargs))
        if found != self.spec:
            raise ValueError(f"Trying to flatten user inputs with exported input tree spec: \n{self.spec}\nbut actually got inputs with "
                             f"tree spec of: \n{found}.\n"
                             "Please check that the inputs have the same number and type of args and kwargs as the ones you used when "
                             "tracing.")
        return args, kwargs


def _argument_names(spec: Any) -> list[str]:
    return [*[f"arg_{i}" for i in range(spec.child(0).num_children)], *[str(each) for each in spec.child(1).context]]

__getattr__ = attribute_of("export.exported_program", "ExportedProgram and its call signatures are there (docs/graphs.md)")
