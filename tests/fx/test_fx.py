"""torch.fx: what is recorded, printed, rewritten and run, side by side with PyTorch."""

import contextlib
import copy
import doctest
import importlib
import inspect
import io
import itertools
import math
import operator
import pathlib
import pickle
import subprocess
import sys
import warnings

import pytest
import torch as pt

import rushlight as rl
from rushlight import fx
from rushlight.fx import Graph, GraphModule, Interpreter, Node, Proxy, Tracer, Transformer, symbolic_trace
from tests.fx.programs import asserts, functions, library, modules, wrong

SIDES = (rl, pt)
for _side, _name in itertools.product(SIDES, ("shape_prop", "split_module")):
    importlib.import_module(f"{_side.__name__}.fx.passes.{_name}")
MODULES = {torch: modules(torch) for torch in SIDES}
NAMES = sorted(MODULES[rl])


def pair(make):
    """What a function gives for each of the packages."""
    return make(rl), make(pt)


def same_name(text):
    return text.replace("rushlight", "torch")


def inputs(torch, name):
    torch.manual_seed(0)
    return [torch.randn(*shape) for shape in MODULES[torch][name][1]]


def same_values(a, b):
    if isinstance(a, rl.Tensor):
        assert rl.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b) and [same_values(a[key], b[key]) for key in a]
    else:
        assert len(a) == len(b) and [same_values(x, y) for x, y in zip(a, b, strict=True)]


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- tracing --------------------------------------------------------------------------------------------------------------------------

def test_calls_are_recorded_as_pytorch_records_them():
    with quiet():
        ours, theirs = pair(lambda torch: torch.fx.symbolic_trace(library(torch)))
    assert ours.code.split("\n") == theirs.code.split("\n")
    assert same_name(str(ours.graph)).split("\n") == str(theirs.graph).split("\n")


@pytest.mark.parametrize("name", NAMES)
def test_models_print_and_compute_the_same(name):
    with quiet():
        ours, theirs = pair(lambda torch: torch.fx.symbolic_trace(MODULES[torch][name][0]))
    assert ours.code == theirs.code and same_name(str(ours.graph)) == str(theirs.graph)
    assert same_name(str(ours)) == str(theirs)
    assert ours.print_readable(print_output=False) == theirs.print_readable(print_output=False)
    model, values = MODULES[rl][name][0], inputs(rl, name)
    expected = model(*values)
    for traced in (ours, pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours), copy.copy(ours), Transformer(ours).transform()):
        assert traced.code.replace(" : float", "") == ours.code.replace(" : float", "")        # a Transformer drops annotations, as PyTorch's does
        same_values(traced(*values), expected)
    same_values(Interpreter(ours).run(*values), expected)
    ours.graph.lint()


def test_the_state_is_shared_and_trains():
    model = MODULES[rl]["gated"][0]
    traced = symbolic_trace(model)
    assert traced.a.weight is model.a.weight and list(traced.state_dict()) == [key for key in traced.state_dict() if key in model.state_dict()]
    traced(rl.randn(3, 4)).sum().backward()
    assert model.shared.weight.grad is not None
    model.zero_grad()


@pytest.mark.parametrize("i", range(len(wrong(rl, None))))
def test_what_cannot_be_traced_is_an_error(i):
    for torch in SIDES:
        program, cls, text = wrong(torch, None)[i]
        with pytest.raises(cls, match=text):
            torch.fx.symbolic_trace(program)
    program, cls, text = wrong(rl, None)[i]
    if cls is rl.fx.proxy.TraceError:
        with pytest.raises(cls, match=r"programs.py, line \d+, in " + program.__name__):    # the line of the program
            symbolic_trace(program)
    assert rl.relu(rl.ones(1)) == 1 and not rl.overrides.LOCAL.modes                      # nothing of the trace stays


def test_concrete_arguments():
    for torch in SIDES:
        f, PH = functions(torch), torch.fx.PH if hasattr(torch.fx, "PH") else torch.fx._symbolic_trace.PH
        x = torch.ones(2)
        chosen = torch.fx.symbolic_trace(f.choose, concrete_args={"flag": False})
        assert (chosen(x, False) == -1).all()
        with pytest.raises(AssertionError, match="flag has been specialized to have value False but got another value"):
            chosen(x, True)
        none = torch.fx.symbolic_trace(f.flags, concrete_args={"flag": None})
        assert (none(x, None) == 1).all()
        with pytest.raises(AssertionError, match="None"):
            none(x, 1)
        tree = torch.fx.symbolic_trace(f.nested, concrete_args={"d": {"a": PH, "b": [PH, PH]}})
        result = tree({"a": x, "b": [x, 3 * x]}, 4)
        assert (result["sum"] == 5).all() and (result["rest"][0] == 3).all()
        assert (torch.fx.Interpreter(tree).run({"a": x, "b": [x, 3 * x]}, 4)["sum"] == 5).all()
    codes = pair(lambda torch: torch.fx.symbolic_trace(functions(torch).nested, concrete_args={"d": {
        "a": torch.fx._symbolic_trace.PH, "b": [torch.fx._symbolic_trace.PH] * 2}}).code)
    assert codes[0] == codes[1]
    codes = pair(lambda torch: torch.fx.symbolic_trace(functions(torch).choose, concrete_args={"flag": False, "scale": 2}).code)
    assert codes[0] == codes[1]


fx.wrap("helper")
pt.fx.wrap("helper")
fx.wrap("len")
pt.fx.wrap("len")


def helper(x, n):
    return x + 1 if n > 1 else x - 1


def uses_helper(x):
    return helper(x, len(x)) * math.sqrt(x.shape[0])


def test_wrapped_functions():
    ours, theirs = pair(lambda torch: torch.fx.symbolic_trace(uses_helper))
    assert ours.code == theirs.code
    assert rl.equal(ours(rl.ones(4)), rl.full((4,), 4.0)) and rl.equal(pickle.loads(pickle.dumps(ours))(rl.ones(4)), rl.full((4,), 4.0))
    for torch in SIDES:
        with pytest.raises(NotImplementedError, match="must be called at the top level of a module"):
            torch.fx.wrap("helper")
        with pytest.raises(RuntimeError, match="Unsupported type for global function"):
            torch.fx.wrap(3)


def test_tracers_decide():
    class NoLeaves(Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            return False

    class Decides(Tracer):
        def to_bool(self, obj):
            return True

        def iter(self, obj):
            return iter([obj[0], obj[1]])
    graph = NoLeaves().trace(rl.nn.Sequential(rl.nn.Linear(2, 3), rl.nn.ReLU()))
    assert [node.op for node in graph.nodes] == ["placeholder", "get_attr", "get_attr", "call_function", "call_function", "output"]

    def program(x):
        return sum(x) if x.sum() > 0 else x
    tracer = Decides()
    made = GraphModule(tracer.root if hasattr(tracer, "root") else rl.nn.Module(), tracer.trace(program))
    assert made(rl.tensor([1.0, 2.0])) == 3
    with pytest.raises(RuntimeError, match="different tracers"):
        rl.add(Proxy(Graph().placeholder("x")), Proxy(Graph().placeholder("y")))


def test_stack_traces_and_scopes():
    class Named(Tracer):
        record_stack_traces = True
    model = MODULES[rl]["gated"][0]
    graph = Named().trace(model)
    node = next(n for n in graph.nodes if n.name == "sigmoid")
    assert "programs.py" in node.stack_trace and "torch.sigmoid" in node.stack_trace
    call = next(n for n in graph.nodes if n.op == "call_module")
    assert list(call.meta["nn_module_stack"].values()) == [("a", rl.nn.Linear)]
    assert "programs.py" in GraphModule(model, graph).print_readable(print_output=False)


def test_parameters_that_know_their_shapes():
    class Branches(rl.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = rl.nn.Parameter(rl.ones(3, 2))

        def forward(self, x):
            return x @ self.w if self.w.shape[0] > 2 and self.w.dim() == 2 else x
    with pytest.raises(rl.fx.proxy.TraceError):
        Tracer().trace(Branches())
    graph = Tracer(param_shapes_constant=True).trace(Branches())
    assert [n.op for n in graph.nodes] == ["placeholder", "get_attr", "call_function", "output"]


def test_asserts_can_be_recorded():
    class Asserting(Tracer):
        trace_asserts = True

    made = GraphModule(rl.nn.Module(), Asserting().trace(asserts))
    assert rl.equal(made(rl.ones(2)), rl.ones(2))
    with pytest.raises(AssertionError):
        made(-rl.ones(2))


# --- graphs ---------------------------------------------------------------------------------------------------------------------------

def build(torch):
    graph = torch.fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y", torch.Tensor, default_value=None)
    a = graph.call_function(torch.add, (x, y), {"alpha": 2})
    b = graph.call_method("relu", (a,))
    with graph.inserting_before(b):
        c = graph.call_function(torch.mul, (a, a))
    with graph.inserting_after(x):
        d = graph.call_function(operator.neg, (x,), name="class")
    b.replace_all_uses_with(c)
    out = graph.output((c, [d, {"k": slice(a, None, 2)}], torch.float32, torch.device("cpu"), (1,)), type_expr=tuple[int, ...])
    return graph, (x, y, a, b, c, d, out)


def test_graphs_by_hand():
    (ours, mine), (theirs, its) = pair(build)
    assert same_name(str(ours)) == str(theirs)
    assert ours.python_code("self").src == theirs.python_code("self").src
    for a, b in zip(mine, its, strict=True):
        assert same_name(a.format_node()) == b.format_node() and repr(a) == repr(b)
        assert [n.name for n in a.all_input_nodes] == [n.name for n in b.all_input_nodes] and [n.name for n in a.users] == [n.name for n in b.users]
    assert sorted(reversed(mine)) == list(ours.nodes) and mine[0] < mine[5] < mine[2] and mine[2] >= mine[2]
    assert [n.name for n in reversed(ours.nodes)] == [n.name for n in reversed(theirs.nodes)] and len(ours.nodes) == len(theirs.nodes)
    assert ours.find_nodes(op="call_function", target=rl.mul) == [mine[4]] and ours.output_node() is mine[-1]
    assert mine[0].next is mine[5] and mine[5].prev is mine[0]
    copied, original = copy.deepcopy(ours), str(ours)
    for graph in (ours, theirs):
        graph.eliminate_dead_code()
    assert same_name(str(ours)) == str(theirs) and str(copied) == original


def test_changing_arguments():
    for torch in SIDES:
        graph, (x, y, a, b, c, d, out) = build(torch)
        with pytest.raises(TypeError, match="does not support mutation"):
            out.args[0][1].append(1)
        with pytest.raises(TypeError, match="does not support mutation"):
            a.kwargs["alpha"] = 3
        a.update_kwarg("alpha", 3)
        a.update_arg(1, x)
        a.insert_arg(0, d)
        assert a.kwargs == {"alpha": 3} and a.args == (d, x, x) and not y.users
        a.args = (x, x)
        a.replace_input_with(x, d)
        assert a.all_input_nodes == [d] and set(d.users) == {a, out}
        with pytest.raises(RuntimeError, match="still had .* users"):
            graph.erase_node(c)
        graph.erase_node(b)
        with pytest.warns(UserWarning, match="already erased"):
            graph.erase_node(b)
        with pytest.raises(RuntimeError, match="wrong graph"):
            torch.fx.Graph().erase_node(y)
        assert torch.fx.map_arg([x, {"k": (y, 1)}], lambda n: n.name) == ["x", {"k": ("y", 1)}]
        assert isinstance(out.args[0][1], list)


def test_lint():
    for torch in SIDES:
        graph = torch.fx.Graph()
        x = graph.placeholder("x")
        y = graph.call_function(torch.neg, (x,))
        graph.output(y)
        graph.lint()
        x.append(x) if False else y.append(x)
        with pytest.raises(RuntimeError, match="used before it has been defined"):
            graph.lint()
        other = torch.fx.Graph()
        other.call_function(torch.neg, (x,))
        with pytest.raises(RuntimeError, match="does not belong to this Graph"):
            other.lint()
        made = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.ReLU()))
        del made._modules["0"]
        with pytest.raises(RuntimeError, match="references nonexistent attribute 0"):
            made.graph.lint()
        with pytest.raises(ValueError, match="a Callable is expected"):
            graph.call_function("neg", (x,))
        with pytest.raises(ValueError, match="a str is expected"):
            graph.call_method(torch.neg, (x,))
        with pytest.raises(AssertionError):
            graph.create_node("nonsense", "x")


def test_code_can_be_changed():
    made = symbolic_trace(lambda_free)
    with made.graph.on_generate_code(lambda _: lambda body: ["x = x + 100\n", *body]):
        made.recompile()
        assert made(rl.ones(1)) == 202
    made.recompile()
    assert made(rl.ones(1)) == 2


def lambda_free(x):
    return x * 2


def test_modules_inside_graph_modules():
    made = symbolic_trace(MODULES[rl]["resnet"][0])
    assert made.add_submodule("extra.deep.relu", rl.nn.ReLU()) and isinstance(made.extra.deep.relu, rl.nn.ReLU)
    assert not made.add_submodule("fc.weight.x", rl.nn.ReLU())
    assert made.delete_submodule("extra.deep.relu") and not made.delete_submodule("extra.nothing")
    made.delete_all_unused_submodules()
    assert not hasattr(made, "extra")
    same_values(made(*inputs(rl, "resnet")), MODULES[rl]["resnet"][0](*inputs(rl, "resnet")))
    with pytest.raises(RuntimeError, match="was not provided"):
        GraphModule({}, made.graph)
    with pytest.raises(RuntimeError, match="Unsupported type"):
        GraphModule(3, made.graph)


def test_errors_in_generated_code_show_it(capsys):
    made = symbolic_trace(lambda_free)
    with pytest.raises(TypeError):
        made(object())
    assert "generated forward function" in capsys.readouterr().err


def test_folders(tmp_path):
    model = MODULES[rl]["sequential"][0]
    made = symbolic_trace(model)
    with pytest.warns(UserWarning, match="pickled files instead"):
        made.to_folder(tmp_path / "exported", "Exported")
    program = ("import sys; sys.path.insert(0, sys.argv[1]); import rushlight as torch; from exported import Exported; "
               "print(Exported()(torch.ones(1, 4)).tolist())")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(model(rl.ones(1, 4)).tolist())


def test_print_tabular(monkeypatch):
    class Tabulate:
        @staticmethod
        def tabulate(rows, headers):
            return f"{headers[0]} {len(rows)} {rows[0][1]}"
    monkeypatch.setitem(sys.modules, "tabulate", Tabulate)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        symbolic_trace(lambda_free).graph.print_tabular()
    assert out.getvalue() == "opcode 3 x\n"


def test_hooks_of_nodes():
    made, seen = symbolic_trace(lambda_free), []
    made._register_create_node_hook(lambda node: seen.append(("new", node.name)))
    made._register_erase_node_hook(lambda node: seen.append(("gone", node.name)))
    old = next(n for n in made.graph.nodes if n.op == "call_function")
    with made._set_replace_hook(lambda old, new, user: seen.append((old.name, new, user.name))), made.graph.inserting_after(old):
        new = made.graph.call_function(rl.neg, (old.args[0],))
        old.replace_all_uses_with(new)
    made.graph.erase_node(old)
    assert seen == [("new", "neg"), ("mul", "neg", "output"), ("gone", "mul")]


# --- running and rewriting ------------------------------------------------------------------------------------------------------------

def test_interpreters():
    class Swap(Interpreter):
        def call_function(self, target, args, kwargs):
            return super().call_function(rl.neg if target is rl.sigmoid else target, args, kwargs)

    def program(x, y=2):
        return rl.sigmoid(x) * y
    made, x = symbolic_trace(program), rl.randn(3)
    assert rl.equal(Swap(made).run(x), -x * 2) and rl.equal(Swap(made).boxed_run([x, 3]), -x * 3)
    kept = Interpreter(made, garbage_collect_values=False)
    kept.run(x)
    assert len(kept.env) == 5
    with pytest.raises(RuntimeError, match="expected 2 arguments"):
        Swap(made).boxed_run([x])
    with pytest.raises(RuntimeError, match="(?s)Expected positional argument.*While executing"):
        Interpreter(made).run()


def test_transformers():
    class Swap(Transformer):
        def call_function(self, target, args, kwargs):
            return super().call_function(rl.tanh if target is rl.sigmoid else target, args, kwargs)
    made = Swap(symbolic_trace(MODULES[rl]["gated"][0])).transform()
    assert "torch.sigmoid" not in made.code and made.code.count("torch.tanh") == 2 and made.shared is MODULES[rl]["gated"][0].shared


def rewriting(torch):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = torch.nn.Linear(4, 4)

        def forward(self, x, y):
            a = torch.relu(x) + torch.neg(y)
            b = self.lin(torch.relu(a) + torch.neg(x))
            return torch.cat([torch.relu(b), a]) + torch.add(x, 3).sum()
    torch.manual_seed(0)
    made = torch.fx.symbolic_trace(Model())

    def pattern(x, y):
        return torch.relu(x) + torch.neg(y)

    def replacement(x, y):
        return torch.sigmoid(x) - y
    matches = torch.fx.replace_pattern(made, pattern, replacement)
    return made, [(match.anchor.name, sorted(f"{a}:{b}" for a, b in match.nodes_map.items())) for match in matches]


def test_patterns_are_replaced():
    (ours, mine), (theirs, its) = pair(rewriting)
    assert ours.code == theirs.code and mine == its and len(mine) == 2
    ours.graph.lint()
    none = symbolic_trace(lambda_free)
    assert fx.replace_pattern(none, lambda_relu, lambda_free) == []


def lambda_relu(x):
    return rl.relu(x)


def test_pattern_filters_and_literals():
    def program(x):
        return rl.add(rl.add(x, 1), 2)

    def pattern(x):
        return rl.add(x, 5)
    from rushlight.fx.subgraph_rewriter import replace_pattern_with_filters
    assert not replace_pattern_with_filters(symbolic_trace(program), pattern, lambda_free)
    made = symbolic_trace(program)
    found = replace_pattern_with_filters(made, pattern, lambda_free, [lambda m, g, p: m.returning_nodes[0].args[1] == 2], ignore_literals=True)
    assert len(found) == 1 and found[0].replacements[0].target is operator.mul and made(rl.ones(1)) == 4


def test_shapes():
    for torch in SIDES:
        made = torch.fx.symbolic_trace(MODULES[torch]["resnet"][0])
        torch.fx.passes.shape_prop.ShapeProp(made).propagate(*inputs(torch, "resnet"))
        shapes = {n.name: tuple(n.meta["tensor_meta"].shape) for n in made.graph.nodes}
        assert shapes["x"] == (2, 3, 8, 8) and shapes["fc"] == (2, 5) and shapes["output"] == (2, 5)
        assert made.graph.output_node().meta["tensor_meta"].dtype is torch.float32
    assert 'stem_0: "f32[2, 8, 8, 8]"' in symbolic_trace_shown()


def symbolic_trace_shown():
    made = symbolic_trace(MODULES[rl]["resnet"][0])
    rl.fx.passes.shape_prop.ShapeProp(made).propagate(*inputs(rl, "resnet"))
    return made.print_readable(print_output=False)


def split(torch, **options):
    made = torch.fx.symbolic_trace(MODULES[torch]["gated"][0])
    count = iter(range(100))
    names = {}
    with quiet():
        parts = torch.fx.passes.split_module.split_module(made, None, lambda node, place={}: place.setdefault(node, next(count) // 3), names, **options)
    return parts, names


@pytest.mark.parametrize("options", [{}, {"partition_affix": "pp"}, {"keep_original_node_name": True}, {"tuple_return": True},
                                     {"keep_original_input_name": False}, {"keep_original_order": True}])
def test_splitting(options):
    (ours, mine), (theirs, its) = pair(lambda torch: split(torch, **options))
    assert mine == its and ours.code == theirs.code
    codes, expected = ({name: part.code for name, part in made.named_children() if hasattr(part, "code")} for made in (ours, theirs))
    assert codes == expected and len(codes) == 4
    same_values(ours(*inputs(rl, "gated")), MODULES[rl]["gated"][0](*inputs(rl, "gated")))


def test_parts_in_a_circle_are_an_error():
    def program(x):
        return rl.neg(rl.relu(rl.neg(x)))
    made = symbolic_trace(program)
    with pytest.raises(RuntimeError, match="cycle exists between partitions"):
        rl.fx.passes.split_module.split_module(made, None, lambda node: int(node.target is rl.relu))


def test_normalized_arguments():
    made = symbolic_trace(MODULES[rl]["resnet"][0])
    relu = next(n for n in made.graph.nodes if n.op == "call_function" and n.target is rl.nn.functional.relu)
    assert relu.normalized_arguments(made, normalize_to_only_use_kwargs=True).kwargs == {"input": relu.args[0], "inplace": False}
    conv = next(n for n in made.graph.nodes if n.op == "call_module")
    assert conv.normalized_arguments(made, normalize_to_only_use_kwargs=True).kwargs == {"input": conv.args[0]}


def test_the_import_is_lazy():
    program = "import sys, rushlight; assert not any(name.startswith('rushlight.fx') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nodes_are_what_they_say():
    assert isinstance(next(iter(symbolic_trace(lambda_free).graph.nodes)), Node)
    from rushlight.fx.node import _format_arg
    assert _format_arg([1, (2,), {"k": 3}]) == "[1, (2,), {k: 3}]"


def test_the_document():
    place = pathlib.Path(__file__).parents[2] / "docs" / "graphs.md"
    result = doctest.testfile(str(place), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8")
    assert result.attempted > 15 and not result.failed


# --- operators ------------------------------------------------------------------------------------------------------------------------

def operators(torch):
    weight = torch.ones(3)

    def f(x, y):
        a = torch.relu(x @ y + 1) * weight - x / 2
        b = torch.sigmoid(a.exp()) ** 2
        c = torch.cat([b, x.neg()])
        return torch.where(c > 0, c, c.abs()), (x + y).sqrt() if x.shape[0] == 3 else y
    return f


def test_make_fx_records_pytorchs_operators():
    made = pair(lambda torch: importlib.import_module(f"{torch.__name__}.fx.experimental.proxy_tensor").make_fx(operators(torch), pre_dispatch=True)(
        torch.ones(3, 3), torch.ones(3, 3)))
    ours, theirs = ([str(n.target) for n in gm.graph.nodes if n.op == "call_function"] for gm in made)
    assert ours == theirs and made[0].code.count("torch.ops.aten.") == 16
    x, y = rl.randn(3, 3), rl.rand(3, 3)
    assert rl.equal(made[0](x, y)[0], operators(rl)(x, y)[0])


def changing(x, pairs):
    a = x.clone()
    a[0] = 2
    a.add_(pairs["k"][0])
    values, places = rl.topk(a, 2)
    for i in range(x.shape[0]):
        a = a + i
    return {"a": a.T, "values": 2 ** values.mean(dim=1), "rest": [places, rl.nn.functional.softmax(a, -1)]}


def test_make_fx_refuses_autocast():
    """Its graph would compute in float32 what the traced run computed in bfloat16."""
    from rushlight.fx.experimental.proxy_tensor import make_fx
    x = rl.randn(3, 3)
    with rl.autocast("cpu"), pytest.raises(NotImplementedError, match="autocast"):
        make_fx(lambda x: x @ x)(x)
    graph = make_fx(lambda x: x @ x)(x)
    with rl.autocast("cpu"):
        assert graph(x).dtype == rl.bfloat16
    assert graph(x).dtype == rl.float32


def test_make_fx_keeps_changes_and_structure():
    from rushlight.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
    arguments = rl.randn(2, 3), {"k": [rl.randn(2, 3)]}
    made = make_fx(changing)(*arguments)
    same_values(made(*arguments), changing(*arguments))
    others = rl.randn(2, 3), {"k": [rl.randn(2, 3)]}
    same_values(made(*others), changing(*others))
    for name in ("resnet", "gated", "lstm"):
        model = MODULES[rl][name][0]
        same_values(make_fx(model)(*inputs(rl, name))(*inputs(rl, name)), model(*inputs(rl, name)))
    assert get_proxy_mode() is None


@pytest.mark.parametrize(("program", "cls", "text"), [
    (lambda x: x if x.sum() > 0 else -x, RuntimeError, "asks for the value"),
    (lambda x: x * x.sum().item(), RuntimeError, "asks for the value"),
    (lambda x: rl.autograd.grad((x * x).sum(), x)[0], NotImplementedError, "backward passes are not recorded"),
    (lambda x: rl.func.grad(lambda t: (t * t).sum())(x), NotImplementedError, "not recorded|does not see it"),
    (lambda x: rl.func.vmap(lambda t: t * 2)(x), NotImplementedError, "where the trace does not see it")])
def test_what_make_fx_cannot_record(program, cls, text):
    from rushlight.fx.experimental.proxy_tensor import make_fx
    with pytest.raises(cls, match=text):
        make_fx(program)(rl.ones(3, requires_grad=True))
    x = rl.ones(3, requires_grad=True)
    assert rl.autograd.grad((x * x).sum(), x)[0].tolist() == [2, 2, 2]         # the engine is as before
    for options in ({"tracing_mode": "symbolic"}, {"pre_dispatch": False}):
        with pytest.raises(NotImplementedError, match='tracing_mode="real"'):
            make_fx(program, **options)


def test_forwards_are_annotated_where_pytorchs_are():
    """A leaf's forward is not printed, but that of a model is, and its annotations with it."""
    def annotated(module):
        found = inspect.signature(module.forward)
        empty = inspect.Parameter.empty
        return [name for name, each in found.parameters.items() if each.annotation is not empty], found.return_annotation is not empty

    shown = [name for name in dir(pt.nn) if isinstance(getattr(pt.nn, name), type) and issubclass(getattr(pt.nn, name), pt.nn.Module)]
    different = [name for name in shown if name not in ("RNNBase", "Module")
                 and annotated(getattr(pt.nn, name)) != annotated(getattr(rl.nn, name))]
    assert not different and len(shown) > 150
