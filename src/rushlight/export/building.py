"""From what runs of a program called to a graph of operators with its signature."""

from __future__ import annotations

import inspect
import operator
from typing import Any

from .._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from ..dispatching.wrappers import make_wrapper_subclass
from ..fx.graph import Graph
from ..fx.graph_module import GraphModule
from ..fx.node import Node
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..ops import aten as A
from ..ops.registry import FUNCTIONS
from ..size import Size
from ..tensor import Tensor
from ..unsupported import NotSupported
from ..utils import _pytree as pytree
from .comparing import Comparison
from .dynamic_shapes import Symbol, ValueRanges, int_oo
from .exported_program import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from .graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymIntArgument,
    TensorArgument,
)
from .sizes import Expr, Quotient, SymbolicInt, constant
from .tracing import Meta, Ref, Run

__all__ = ["Program", "SymbolicTensor", "Sizes", "argument_of", "fake", "input_names", "input_node"]


class SymbolicTensor(FakeTensor):
    """A tensor without data, with sizes that may be symbols."""

    symbolic: Size

    @property
    def shape(self) -> Size:  # type: ignore[override]
        """The sizes; symbols print as such."""
        return self.symbolic

    def size(self, dim: int | None = None) -> Any:  # type: ignore[override]
        """The sizes, or one of them."""
        return self.symbolic if dim is None else self.symbolic[dim]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return super().__repr__().replace(f"size={tuple(self._a.shape)}", f"size={tuple(self.symbolic)}")


SymbolicTensor.__name__ = "FakeTensor"


def fake(mode: FakeTensorMode, sizes: list[int], strides: Any, dtype: Any, device: Any, requires_grad: bool = False) -> FakeTensor:
    """A tensor without data. Sizes that are `SymbolicInt` print as symbols."""
    elem = FUNCTIONS["empty_strided"](tuple([int(n) for n in sizes]), tuple([int(n) for n in strides]), dtype=dtype, device="meta")
    cls: Any = SymbolicTensor if any(isinstance(n, SymbolicInt) for n in sizes) else FakeTensor
    found = make_wrapper_subclass(cls, elem._a.shape, dtype=dtype, device=device)
    found._a, found.fake_mode = elem._a, mode
    if cls is SymbolicTensor:
        found.symbolic = tuple.__new__(Size, sizes)
    return found.requires_grad_() if requires_grad else found


def input_node(graph: Graph, name: str) -> Node:
    """An input of this very name, though it may be a word of Python's, such as `input`."""
    node = graph.placeholder(name)
    node._name = name
    return node


class Sizes:
    """The nodes of a graph that compute sizes, made where they are needed."""

    def __init__(self, graph: Graph, example: dict[str, int]) -> None:
        self.graph, self.example = graph, example
        self.places: dict[str, tuple[Node, int, int, int]] = {}        # symbol -> (input, dimension, a, b): its size is a * symbol + b
        self.nodes: dict[Any, Node] = {}
        self.after: Node | None = None

    def given(self, node: Node, sizes: list[Expr]) -> None:
        """An input has these sizes."""
        for i, each in enumerate(sizes):
            names = sorted(each.symbols())
            if len(names) == 1 and set(each.terms) <= {(), (names[0],)}:
                a, b = each.terms[(names[0],)], each.terms.get((), 0)
                if names[0] not in self.places or (a == 1 and b == 0 and self.places[names[0]][2:] != (1, 0)):
                    self.places[names[0]] = node, i, a, b

    def number(self, expr: Expr) -> Any:
        """A number, or a `SymbolicInt`."""
        return expr.number if expr.number is not None else SymbolicInt(expr.at(self.example), expr)

    def node(self, expr: Expr) -> Any:
        """A number, or the node that computes it."""
        if expr.number is not None:
            return expr.number
        if expr not in self.nodes:
            self.nodes[expr] = self.computed(expr)
        return self.nodes[expr]

    def computed(self, expr: Expr) -> Node:
        """A new node for an expression."""
        if expr.name is not None:
            return self.read(expr.name)
        found: Any = None
        for factors, n in sorted(expr.terms.items(), key=lambda each: (-len(each[0]), str(each[0]))):
            term: Any = None
            for each in factors:
                term = self.factor(each) if term is None else self.call(operator.mul, term, self.factor(each))
            term = n if term is None else term if n == 1 else self.call(operator.mul, term, n)
            found = term if found is None else self.call(operator.add, found, term)
        return self.valued(found, expr)

    def factor(self, each: Any) -> Any:
        """A symbol or a quotient."""
        if isinstance(each, Quotient):
            return self.call(operator.floordiv, self.node(each.top), each.bottom)
        return self.node(Expr({(each,): 1}))

    def read(self, name: str) -> Node:
        """The node that reads a symbol from an input."""
        source, dim, a, b = self.places[name]
        before = (lambda: self.graph.inserting_after(self.after)) if self.after is not None else self.graph.inserting_before
        with before():
            node = self.graph.call_function(A.sym_size.int, (source, dim), name="sym_size_int")
            self.after = self.valued(node, constant(a) * Expr({(name,): 1}) + constant(b))
        if (a, b) == (1, 0):
            return node
        node = node if b == 0 else self.call(operator.sub, node, b)
        return self.valued(node if a == 1 else self.call(operator.floordiv, node, a), Expr({(name,): 1}))

    def call(self, function: Any, *args: Any) -> Node:
        """A node of arithmetic."""
        node = self.graph.call_function(function, args)
        numbers = [each.meta["val"] if isinstance(each, Node) else each for each in args]
        node.meta["val"] = function(*[int(each) for each in numbers])
        return node

    def valued(self, node: Node, expr: Expr) -> Node:
        """Note what a node is."""
        node.meta["val"] = self.number(expr)
        return node


class Program:
    """The graph of an export."""

    def __init__(self, mod: Module, run: Run, found: Comparison, leaves: list[Any], spec: Any, example: Any,
                 state: dict[str, Tensor]) -> None:
        self.mod, self.run, self.found, self.leaves, self.spec, self.example, self.state = mod, run, found, leaves, spec, example, state
        self.graph = Graph()
        self.sizes = Sizes(self.graph, found.envs[0])
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.nodes: dict[Any, Node] = {}
        self.inputs: list[InputSpec] = []
        self.constants: dict[str, Tensor] = {}

    def build(self) -> ExportedProgram:
        """The exported program."""
        persistent = set(self.mod.state_dict(keep_vars=True))
        for name, value in self.state.items():
            self.state_input(name, value, name in persistent)
        self.constant_inputs()
        self.user_inputs()
        self.sizes.after = next(iter(reversed(self.graph.nodes)), None)
        for i in range(len(self.run.calls)):
            self.call(i)
        self.mutations()
        outputs = self.outputs()
        self.graph.lint()
        module = GraphModule(Module(), self.graph)
        module.meta["forward_arg_names"] = input_names(self.mod, *self.example)[1]
        signature = ExportGraphSignature(self.inputs, outputs)
        kept = self.mod.state_dict(keep_vars=True)
        state = dict(sorted(kept.items(), key=lambda each: not isinstance(each[1], Parameter)))
        calls = [ModuleCallEntry("", ModuleCallSignature(self.spec, pytree.tree_structure(self.run.result),
                                                         list(module.meta["forward_arg_names"])))]
        return ExportedProgram(module, module.graph, signature, state, _ranges(self.found.symbols, self.found.shapes), calls, self.example,
                               constants=self.constants)

    # --- inputs -------------------------------------------------------------------------------------------------------------------------

    def placeholder(self, name: str, value: Tensor, sizes: list[Any], requires_grad: bool) -> Node:
        """An input that is a tensor."""
        node = input_node(self.graph, name)
        node.meta["val"] = fake(self.mode, sizes, value.stride(), value.dtype, value.device, requires_grad)
        return node

    def state_input(self, name: str, value: Tensor, persistent: bool) -> None:
        """A parameter or a buffer."""
        parameter = isinstance(value, Parameter)
        stem = "_".join(name.split(".")).removeprefix("self_")
        node = self.placeholder(f"{'p' if parameter else 'b'}_{stem}", value, list(value._a.shape), value.requires_grad)
        self.nodes[Ref("state", name)] = node
        self.inputs.append(InputSpec(InputKind.PARAMETER if parameter else InputKind.BUFFER, TensorArgument(node.name), name,
                                     None if parameter else persistent))
        if not parameter and not persistent:
            self.constants[name] = value

    def constant_inputs(self) -> None:
        """The tensors that the program held or made of numbers."""
        used = {ref: value for ref, value in self.run.refs.values() if ref.kind == "constant"}
        for ref, value in used.items():
            node = self.placeholder("c_" + ref.key.replace(".", "_"), value, list(value._a.shape), False)
            self.nodes[ref] = node
            self.constants[ref.key] = value
            self.inputs.append(InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), ref.key))

    def user_inputs(self) -> None:
        """The arguments."""
        names = input_names(self.mod, *self.example)[0]
        for i, (name, value, sizes) in enumerate(zip(names, self.leaves, self.found.shapes, strict=True)):
            if isinstance(value, Tensor):
                node = self.placeholder(name, value, [self.sizes.number(each) for each in sizes], value.requires_grad)
                self.sizes.given(node, sizes)
                self.inputs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None))
            else:
                node = input_node(self.graph, name)
                node.meta["val"] = value
                self.inputs.append(InputSpec(InputKind.USER_INPUT, ConstantArgument(node.name, value), None))
            self.nodes[Ref("in", i)] = node

    # --- operators ----------------------------------------------------------------------------------------------------------------------

    def argument(self, value: Any) -> Any:
        """What a node is given."""
        if isinstance(value, Ref):
            return self.nodes[value]
        return self.sizes.node(value) if isinstance(value, Expr) else value

    def call(self, i: int) -> None:
        """A node for an operator, and for each of several results."""
        call = self.run.calls[i]
        args, kwargs = [pytree.tree_map(self.argument, each, is_leaf=lambda value: isinstance(value, Ref)) for each in self.found.args[i]]
        node = self.graph.call_function(call.op, args, kwargs, name=call.op._opname.lower())
        values = [self.value(result, sizes) for result, sizes in zip(call.results, self.found.sizes[i], strict=True)]
        notes = {"stack_trace": call.stack, "nn_module_stack": call.modules, "torch_fn": (f"{node.name}_1", f"function.{call.op._opname}")}
        node.meta.update(notes, val=tuple(values) if call.many else values[0])
        self.nodes[Ref("call", i)] = node
        for k, value in enumerate(values if call.many else []):
            part = self.graph.call_function(operator.getitem, (node, k))
            part.meta.update(notes, val=value)
            self.nodes[Ref("call", i, k)] = part

    def value(self, result: Any, sizes: list[Expr] | None) -> Any:
        """What a result is, for ``meta["val"]``."""
        if not isinstance(result, Meta) or sizes is None:
            return result
        return fake(self.mode, [self.sizes.number(each) for each in sizes], result.strides, result.dtype, result.device)

    def mutations(self) -> None:
        """Buffers that the program assigned another tensor to."""
        for name, value in self.run.assigned.items():  # type: ignore[attr-defined]
            if Ref("state", name) not in self.nodes:
                raise NotSupported(f"torch.export: the program makes the buffer {name} while it runs; register it when the module is made")
            node = self.graph.call_function(A.copy_.default, (self.nodes[Ref("state", name)], self.nodes[self.run.reference(value)]),
                                            name="copy__default")
            node.meta["val"] = self.nodes[Ref("state", name)].meta["val"]

    # --- outputs ------------------------------------------------------------------------------------------------------------------------

    def outputs(self) -> list[OutputSpec]:
        """The output node and its signature."""
        values = [self.argument(each) for each in self.found.result]
        self.graph.output(tuple(values))
        return [OutputSpec(OutputKind.USER_OUTPUT, argument_of(each), None) for each in values]


def argument_of(value: Any) -> Any:
    """What an output is, for the signature."""
    if not isinstance(value, Node):
        return ConstantArgument("", value)
    return SymIntArgument(value.name) if isinstance(value.meta.get("val"), int) else TensorArgument(value.name)


def _ranges(symbols: list[Symbol], shapes: list[Any]) -> dict[Any, ValueRanges]:
    """The range of each symbol, and of the sizes that follow from it."""
    known = {each.name: each for each in symbols}
    found: dict[Any, ValueRanges] = {}
    for expr in [each for sizes in shapes if sizes is not None for each in sizes]:
        names = sorted(expr.symbols())
        if len(names) == 1:
            each = known[names[0]]
            upper = int_oo if each.upper is int_oo else expr.at({each.name: each.upper})
            found[expr] = ValueRanges(expr.at({each.name: each.lower}), upper)
    for each in symbols:
        key = Expr({(each.name,): 1})
        if key not in found:
            found[key] = ValueRanges(max(each.lower, 2) if each.lower == 0 else each.lower, each.upper)
    return found


def input_names(mod: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(the name of each leaf of the inputs, the names of the arguments)."""
    bound = inspect.signature(mod.forward).bind(*args, **kwargs)
    leaves: list[str] = []
    arguments: list[str] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            arguments += [f"{name}_{i}" for i in range(len(value))]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            arguments += list(value)
        else:
            arguments.append(name)
    arguments = [*[each for each in arguments if each not in kwargs], *kwargs]
    for name, value in zip(arguments, [*args, *kwargs.values()], strict=True):
        for path, _ in pytree.tree_leaves_with_path(value):
            leaves.append("_".join([name, *[str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", "")))) for key in path]]))
    return leaves, arguments
