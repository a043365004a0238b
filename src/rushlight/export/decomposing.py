"""`ExportedProgram.run_decompositions`: the same program in fewer, simpler operators, none of which writes into a tensor."""

from __future__ import annotations

import operator
from typing import Any

from ..fx.graph_module import GraphModule
from ..fx.interpreter import Interpreter
from ..fx.node import Node, map_arg
from ..ops import aten as A
from ..tensor import Tensor
from ..unsupported import NotSupported
from ..utils import _pytree as pytree
from .dynamic_shapes import Symbol
from .exported_program import ExportedProgram
from .exporting import Exporter
from .graph_signature import ExportGraphSignature, InputKind, OutputKind, OutputSpec, TensorArgument
from .sizes import constant
from .tracing import Run

__all__ = ["decomposed"]


def decomposed(program: ExportedProgram, table: Any) -> ExportedProgram:
    """The program again, with composite functions taken apart and new values of buffers and inputs as outputs."""
    if table is not None:
        raise NotSupported("ExportedProgram.run_decompositions(decomp_table) is not supported by rushlight: it takes apart what PyTorch's "
                           "dispatcher takes apart; exchange other operators by torch.fx.replace_pattern")
    if program.dialect == "ATEN":
        return program
    if program.example_inputs is None:
        raise NotSupported("ExportedProgram.run_decompositions runs the program, but it has no example_inputs: set them")
    found = _Again(program).program()
    return _Functional(program, found).program()


ExportedProgram._decomposed = staticmethod(decomposed)


class _Player(Interpreter):
    """Runs a graph, and says which node runs."""

    def __init__(self, module: GraphModule, run: Run) -> None:
        super().__init__(module)
        self.traced = run

    def run_node(self, n: Node) -> Any:
        """One node."""
        self.traced.origin = n.meta
        return super().run_node(n)


class _Again(Exporter):
    """The export of an exported program."""

    def __init__(self, program: ExportedProgram) -> None:
        args, kwargs = program.example_inputs
        super().__init__(program.module(check_guards=False), args, kwargs, None, None)
        self.whole = False
        specs = program.graph_signature.input_specs
        places = [each for each in program.graph.nodes if each.op == "placeholder"]
        values = [node.meta["val"] for node, spec in zip(places, specs, strict=True) if spec.kind is InputKind.USER_INPUT]
        self.shapes = [[getattr(n, "expr", None) or constant(int(n)) for n in each.shape] if isinstance(each, Tensor) else None
                       for each in values]
        known = {name: (i, dim) for i, sizes in enumerate(self.shapes) if sizes for dim, each in enumerate(sizes) if (name := each.name)}
        for key, bounds in program.range_constraints.items():
            if key.name in known:
                leaf, dim = known[key.name]
                self.symbols.append(Symbol(key.name, None, bounds.lower, bounds.upper, int(self.leaves[leaf].shape[dim]), key.name))
        if {name for sizes in self.shapes if sizes for each in sizes for name in each.symbols()} - {each.name for each in self.symbols}:
            raise NotSupported("ExportedProgram.run_decompositions: a size that no input has by itself (2 * dim) is not supported by "
                               "rushlight")

    def call(self, run: Run, args: Any, kwargs: Any) -> Any:
        """Run the graph node by node, so that operators keep the lines and modules that they came from."""
        module: Any = self.mod
        leaves = pytree.tree_leaves((args, kwargs))
        return pytree.tree_unflatten(list(_Player(module, run).run(*leaves, enable_io_processing=False)), module._out_spec)


# --- writing as new values ----------------------------------------------------------------------------------------------------------------

_VIEWS = frozenset(("view", "t", "transpose", "permute", "select", "slice", "expand", "unsqueeze", "squeeze", "alias", "detach",
                    "as_strided", "split", "unbind", "split_with_sizes", "diagonal", "real", "imag", "unfold", "chunk", "narrow", "view_as",
                    "expand_as"))
_SCATTER = {"select": "select_scatter", "slice": "slice_scatter"}
_FUNCTIONAL = {"bernoulli_": "bernoulli.p", "copy_": "copy.default"}


class _Functional:
    """A graph without operators that write."""

    def __init__(self, program: ExportedProgram, found: ExportedProgram) -> None:
        self.original, self.found, self.graph = program, found, found.graph
        self.roots: dict[Node, Node] = {}          # a node -> the one whose tensor it is
        self.bases: dict[Node, Node] = {}          # a view -> the node whose memory it shows
        self.direct: set[Node] = set()             # views of no other view
        self.now: dict[Node, Node] = {}            # a node that was written into -> its new value

    def program(self) -> ExportedProgram:
        """The program."""
        for node in list(self.graph.nodes):
            if node.op == "call_function":
                self.take(node)
        output = self.graph.output_node()
        results = map_arg(output.args[0], self.current)
        changed = [(node, spec) for node, spec in self.inputs() if node in self.now]
        output.args = ((*[self.now[node] for node, _ in changed], *results),)
        self.graph.eliminate_dead_code()
        self.graph.lint()
        self.found.graph_module.recompile()
        self.found.graph_module.meta["dialect"] = "ATEN"
        specs = [self.mutated(node, spec) for node, spec in changed]
        signature = ExportGraphSignature(self.found.graph_signature.input_specs, [*specs, *[self.result(spec, node) for spec, node in zip(
            self.found.graph_signature.output_specs, results, strict=True)]])
        original = self.original
        return ExportedProgram(self.found.graph_module, self.graph, signature, original.state_dict, original.range_constraints,
                               original.module_call_graph, original.example_inputs, constants=original.constants)

    def inputs(self) -> list[tuple[Node, Any]]:
        """The inputs with what they are."""
        places = [each for each in self.graph.nodes if each.op == "placeholder"]
        return list(zip(places, self.found.graph_signature.input_specs, strict=True))

    def mutated(self, node: Node, spec: Any) -> OutputSpec:
        """The output that is an input's new value."""
        kinds = {InputKind.BUFFER: OutputKind.BUFFER_MUTATION, InputKind.PARAMETER: OutputKind.PARAMETER_MUTATION,
                 InputKind.USER_INPUT: OutputKind.USER_INPUT_MUTATION}
        if spec.kind not in kinds:
            raise NotSupported(f"ExportedProgram.run_decompositions: the program writes into the constant {spec.target}; make it a buffer")
        return OutputSpec(kinds[spec.kind], TensorArgument(self.now[node].name), spec.target or node.name)

    def result(self, spec: OutputSpec, node: Any) -> OutputSpec:
        """An output under the name of its node."""
        return OutputSpec(spec.kind, TensorArgument(node.name), spec.target) if isinstance(spec.arg, TensorArgument) else spec

    def root(self, node: Node) -> Node:
        """The node whose tensor this is."""
        return self.roots.get(node, node)

    def current(self, node: Node) -> Node:
        """The node of a tensor's value now."""
        return self.now.get(self.root(node), self.root(node))

    def take(self, node: Node) -> None:
        """Go on with an operator."""
        before = node.args[0] if node.args and isinstance(node.args[0], Node) else None
        name = getattr(node.target, "_opname", "")
        node.args, node.kwargs = map_arg(node.args, self.current), map_arg(node.kwargs, self.current)
        if name in ("t", "transpose") and before is not None:
            self.permuted(node, before)
        if name == "native_batch_norm" and node.args[5]:
            self.normalised(node)
        elif name.endswith("_") and not name.startswith("__") and before is not None:
            self.written(node, before, name)
        elif before is not None and (name in _VIEWS or (node.target is operator.getitem and self.root(before) in self.bases)):
            shown = self.root(before)
            if shown not in self.bases:
                self.direct.add(node)
            self.bases[node] = self.bases.get(shown, shown)

    def permuted(self, node: Node, before: Node) -> None:
        """An exchange of two dimensions, as a permutation."""
        order = list(range(before.meta["val"].dim()))
        first, second = node.args[1:] if len(node.args) > 1 else (0, len(order) - 1)
        order[first], order[second] = order[second], order[first]
        node.target, node.args = A.permute.default, (node.args[0], order)

    def written(self, node: Node, before: Node, name: str) -> None:
        """An operator that writes into its first argument: a new value."""
        root = self.root(before)
        base = self.bases.get(root)
        others = [view for view, each in self.bases.items() if each is (base or root) and view is not root
                  and any(user > node for user in view.users)]
        scatter = _SCATTER.get(root.target._opname) if base is not None and root in self.direct else None
        if others or (base is not None and scatter is None):
            raise NotSupported(f"ExportedProgram.run_decompositions: {node.target} writes into a tensor of which there is a view, which "
                               "is not supported by rushlight: compute a new tensor (torch.cat, torch.where, index_put)\n  "
                               f"{node.meta.get('stack_trace', '')}")
        text = _FUNCTIONAL.get(name, f"{name[:-1]}.{node.target._overloadname}")
        packet = getattr(A, text.partition(".")[0])
        with self.graph.inserting_after(node):
            new = self.graph.call_function(getattr(packet, text.partition(".")[2]), node.args, node.kwargs, name=text.partition(".")[0])
        new.meta.update(node.meta)
        self.now[root] = new
        node.replace_all_uses_with(new)
        self.roots[new] = root
        self.graph.erase_node(node)
        if scatter is not None and base is not None:
            with self.graph.inserting_after(new):
                self.now[base] = self.graph.call_function(getattr(A, scatter).default, (self.current(base), new, *root.args[1:]),
                                                          name=scatter)
            self.now[base].meta.update(base.meta)

    def normalised(self, node: Node) -> None:
        """Batch normalisation that moves its running statistics: they are results."""
        with self.graph.inserting_after(node):
            new = self.graph.call_function(A._native_batch_norm_legit_functional.default, node.args,
                                           name="_native_batch_norm_legit_functional")
        values, running = node.meta["val"], node.args[3:5]
        new.meta.update(node.meta, val=(*values, *[each.meta["val"] for each in running]))
        node.replace_all_uses_with(new)
        self.graph.erase_node(node)
        at = new
        for i, each in enumerate(running):
            with self.graph.inserting_after(at):
                at = self.graph.call_function(operator.getitem, (new, 3 + i))
            at.meta.update(new.meta, val=new.meta["val"][3 + i])
            self.now[self.root(each)] = at
