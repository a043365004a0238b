"""`torch.export` against PyTorch's: the operators, the signature, the numbers, the checks and the errors."""

from __future__ import annotations

import builtins
import copy
import io
import json
import pickle
import zipfile
from typing import Any

import numpy as np
import pytest
import torch

import rushlight as rl
import rushlight.export
from rushlight.export import sizes
from rushlight.utils import _pytree as pytree
from tests.export.programs import programs

NAMES = list(programs(rl))
# What PyTorch adds, and what is called by another of its names here.
ADDED = ("aten.sym_size.int", "aten._assert_tensor_metadata.default", "aten.lift_fresh_copy.default", "aten.copy_.default", "aten.detach_.default")
SAME = {"aten.fill_.Tensor": "aten.fill_.Scalar"}


def exported(library: Any, name: str) -> tuple[Any, ...]:
    model, args, kwargs, shapes, others = programs(library)[name]
    return library.export.export(model, args, kwargs, dynamic_shapes=shapes), model, args, kwargs, others


def operators(program: Any) -> list[str]:
    found = [str(each.target) for each in program.graph.nodes if each.op == "call_function"]
    return [SAME.get(each, each) for each in found if each not in ADDED and not each.startswith("<built-in function")]


def signature(program: Any) -> list[tuple[Any, ...]]:
    inputs = [("in", each.kind.name, getattr(each.arg, "name", ""), each.target, each.persistent) for each in program.graph_signature.input_specs
              if "lifted_tensor" not in str(each.target)]
    return inputs + [("out", each.kind.name, type(each.arg).__name__, each.target) for each in program.graph_signature.output_specs]


def numbers(result: Any) -> list[Any]:
    return [each.detach().numpy() if hasattr(each, "detach") else each for each in pytree.tree_leaves(result)]


def same(a: Any, b: Any) -> None:
    for x, y in zip(numbers(a), numbers(b), strict=True):
        if isinstance(x, np.ndarray):
            np.testing.assert_allclose(x, np.asarray(y), rtol=2e-5, atol=2e-6)
        else:
            assert x == y


def leaves(result: Any) -> list[Any]:
    return torch.utils._pytree.tree_leaves(result)


@pytest.mark.parametrize("name", NAMES)
def test_programs_are_pytorchs(name: str) -> None:
    theirs, model, *_ = exported(torch, name)
    ours, mine, args, kwargs, others = exported(rl, name)
    assert operators(ours) == operators(theirs)
    assert signature(ours) == signature(theirs)
    assert str(ours.range_constraints) == str(theirs.range_constraints)
    assert list(ours.state_dict) == list(theirs.state_dict)
    assert sorted(each for each in theirs.constants if "lifted" not in each) == sorted(ours.constants)
    for given in [args] if others is None else [args, others]:
        plain = copy.deepcopy(mine)
        wanted = leaves(theirs.module()(*[to_torch(each) for each in given], **{key: to_torch(each) for key, each in kwargs.items()}))
        found = ours.module()(*given, **kwargs)
        same([each for each in leaves(found)], wanted)
        assert pytree.tree_structure(found) == pytree.tree_structure(plain(*given, **kwargs))


def to_torch(value: Any) -> Any:
    return pytree.tree_map(lambda each: torch.from_numpy(each.detach().numpy().copy()) if isinstance(each, rl.Tensor) else each, value)


def test_the_module_is_as_before() -> None:
    model, args, *_ = programs(rl)["training"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = rl.get_rng_state()
    program = rl.export.export(model, args)
    assert rl.equal(state, rl.get_rng_state())
    assert all(rl.equal(value, before[name]) for name, value in model.state_dict().items())
    run = program.module()
    run(*args)
    run(*args)
    assert int(run.steps) == 2 and int(run.norm.num_batches_tracked) == 2
    with pytest.raises(NotImplementedError, match="train"):
        run.train()
    with pytest.raises(RuntimeError, match=r"use `exported_program.module\(\)` instead"):
        program(*args)


def printed(library: Any) -> str:
    class Printed(library.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = library.nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return library.relu(self.lin(x)).reshape(x.shape[0] * 2)
    return str(library.export.export(Printed(), (library.randn(4, 3),), dynamic_shapes=({0: library.export.Dim("n")},)))


def test_it_prints_as_pytorchs() -> None:
    ours, theirs = [[line for line in printed(library).splitlines() if "# File" not in line and " mul" not in line and "reshape" not in line and "sym_size" not in line
                     and "stacktrace" not in line and line.strip()] for library in (rl, torch)]
    assert ours == theirs


def test_specs_print_as_pytorchs() -> None:
    def made(library: Any) -> list[str]:
        g = library.export.graph_signature
        spec = g.InputSpec(g.InputKind.BUFFER, g.TensorArgument("b"), "b", True)
        out = g.OutputSpec(g.OutputKind.BUFFER_MUTATION, g.TensorArgument("add"), "b")
        both = g.ExportGraphSignature([spec, g.InputSpec(g.InputKind.USER_INPUT, g.ConstantArgument("k", 3), None)], [out])
        both.replace_all_uses("add", "mul")
        return [repr(spec), str(spec), repr(out), str(out), str(both), repr(both), str(both.user_inputs), str(dict(both.buffers_to_mutate)), str(both.buffers),
                str([each.value for each in (*g.InputKind, *g.OutputKind)])]
    assert made(rl) == made(torch)


# --- sizes that change --------------------------------------------------------------------------------------------------------------------

def module_of(library: Any, function: Any) -> Any:
    class Of(library.nn.Module):
        def forward(self, x: Any, y: Any = None) -> Any:
            return function(library, x, y)
    return Of()


def branching(library: Any, x: Any, y: Any) -> Any:
    return x if x.shape[0] > 5 else -x


def fixed(library: Any, x: Any, y: Any) -> Any:
    return x.view(3, 2)


def plus(library: Any, x: Any, y: Any) -> Any:
    return x + y


def looping(library: Any, x: Any, y: Any) -> Any:
    for i in range(x.shape[0]):
        x = x + i
    return x


def by_value(library: Any, x: Any, y: Any) -> Any:
    return x if x.sum() > 0 else -x


def gradient(library: Any, x: Any, y: Any) -> Any:
    with library.enable_grad():
        return library.autograd.grad((x * 2).sum(), x)


ERRORS = {
    "branching": (branching, 1, lambda dim: ({0: dim("b")},)), "branching within": (branching, 1, lambda dim: ({0: dim("b", max=4)},)),
    "fixed": (fixed, 1, lambda dim: ({0: dim("b")},)), "dynamic": (fixed, 1, lambda dim: ({0: dim.DYNAMIC},)), "auto": (fixed, 1, lambda dim: ({0: dim.AUTO},)),
    "two": (plus, 2, lambda dim: ({0: dim("b")}, {0: dim("c")})), "one": (plus, 2, lambda dim: ({0: dim("b")}, {0: dim("b")})),
    "half": (plus, 2, lambda dim: ({0: dim("b")}, None)), "looping": (looping, 1, lambda dim: ({0: dim("b")},)), "by value": (by_value, 1, lambda dim: None),
    "names": (plus, 2, lambda dim: {"z": None}), "too many": (fixed, 1, lambda dim: ({0: dim("b")}, {})), "a dimension": (fixed, 1, lambda dim: ({4: dim("b")},)),
    "outside": (fixed, 1, lambda dim: ({0: dim("b", max=3)},)), "a word": (fixed, 1, lambda dim: ({0: "b"},)), "text": (fixed, 1, lambda dim: "b"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_pytorchs(name: str) -> None:
    function, count, shapes = ERRORS[name]
    found = []
    for library in (torch, rl):
        size = 3 if "branching" in name else 6
        try:
            library.export.export(module_of(library, function), tuple(library.ones(size) for _ in range(count)), dynamic_shapes=shapes(library.export.Dim))
            found.append("")
        except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
            found.append(type(error).__name__)
            if library is rl and name in ("branching", "looping", "by value"):
                assert "test_export.py" in str(error)
    assert found[0] == found[1]


def test_what_is_violated_is_said() -> None:
    with pytest.raises(RuntimeError, match=r"The values of c = L\['y'\].size\(\)\[0\] and b = L\['x'\].size\(\)\[0\] must always be equal"):
        rl.export.export(module_of(rl, plus), (rl.ones(6), rl.ones(6)), dynamic_shapes=ERRORS["two"][2](rl.export.Dim))
    with pytest.raises(RuntimeError, match=r"specialized it to be a constant \(6\)"):
        rl.export.export(module_of(rl, fixed), (rl.ones(6),), dynamic_shapes=({0: rl.export.Dim("b")},))
    with pytest.raises(NotImplementedError, match="the value of a tensor"):
        rl.export.export(module_of(rl, lambda library, x, y: x * x.sum().item()), (rl.ones(6),))
    with pytest.raises(RuntimeError, match="branches on the values"):
        rl.export.export(module_of(rl, by_value), (rl.ones(6),))
    with pytest.raises(RuntimeError, match="backward passes are not exported"):
        rl.export.export(module_of(rl, gradient), (rl.ones(6, requires_grad=True),))
    with pytest.raises(NotImplementedError, match="strict=False"):
        rl.export.export(module_of(rl, fixed), (rl.ones(6),), strict=True)


@pytest.mark.parametrize("given", [lambda o, t: o(t.ones(4, 3)), lambda o, t: o(t.ones(1, 2)), lambda o, t: o(t.ones(12, 2)), lambda o, t: o(t.ones(4, 2), 1.0),
                                   lambda o, t: o([t.ones(4, 2)]), lambda o, t: o(t.ones(4)), lambda o, t: o(t.ones(9, 2))])
def test_inputs_are_checked_at_run_time(given: Any) -> None:
    found = []
    for library in (torch, rl):
        program = library.export.export(module_of(library, lambda t, x, y: x * 2), (library.ones(4, 2),), dynamic_shapes={"x": {0: library.export.Dim("n", min=2, max=9)}})
        try:
            given(program.module(), library)
            found.append("")
        except (AssertionError, ValueError, RuntimeError, IndexError) as error:
            found.append(type(error).__name__ + str(error)[:60])
    assert found[0] == found[1] or found[0].startswith("IndexError") and found[1].startswith("AssertionError")


def test_constants_are_checked_at_run_time() -> None:
    def call(library: Any) -> list[str]:
        program = library.export.export(module_of(library, lambda t, x, y: x * y), (library.ones(2), 2.0))
        messages = []
        for value in (2.0, 3.0):
            try:
                messages.append(str(program.module()(library.ones(2), value).tolist()))
            except AssertionError as error:
                messages.append(str(error))
        return messages
    assert call(rl) == call(torch)


def ranges(library: Any, case: int) -> str:
    dim, ones = library.export.Dim, library.ones
    root = dim("d")
    function, args, shapes = [
        (lambda t, x, y: x + y[1:], (ones(5), ones(6)), ({0: root}, {0: root + 1})),
        (lambda t, x, y: x.view(-1, 2), (ones(6),), ({0: 2 * root},)),
        (lambda t, x, y: x + y, (ones(5), ones(5)), ({0: dim.AUTO}, {0: dim.AUTO})),
        (lambda t, x, y: t.cat([x, y]), (ones(5), ones(5)), ({0: dim.AUTO}, {0: dim.DYNAMIC})),
        (lambda t, x, y: x + y, (ones(5, 3), ones(5, 3)), ((dim("n", min=3, max=9), None), (dim.AUTO, dim.STATIC))),
    ][case]
    program = library.export.export(module_of(library, function), args, dynamic_shapes=shapes)
    found = [str(tuple(each.meta["val"].shape)) for each in program.graph.nodes if each.op == "placeholder" and hasattr(each.meta.get("val"), "shape")]
    kinds = sorted(str(each).split(": ")[-1] for each in str(program.range_constraints).strip("{}").split("], "))
    return "".join(letter for letter in str([found, kinds]) if not letter.isdigit() or case in (0, 4))


@pytest.mark.parametrize("case", range(5))
def test_ranges_are_pytorchs(case: int) -> None:
    assert ranges(rl, case) == ranges(torch, case)


def test_collections_of_shapes() -> None:
    x, y = rl.ones(4, 2), rl.ones(5, 2)
    asked = rl.export.ShapesCollection()
    asked[x] = {0: rl.export.Dim("n")}
    program = rl.export.export(module_of(rl, lambda t, x, y: (x * 2, y)), (x, y), dynamic_shapes=asked)
    assert program.module()(rl.ones(9, 2), y)[0].shape == (9, 2)
    with pytest.raises(AssertionError, match="Guard failed: y"):
        program.module()(x, x)
    more = rl.export.AdditionalInputs()
    more.add((rl.ones(3, 2), y))
    program = rl.export.export(module_of(rl, lambda t, x, y: (x * 2, y)), (x, y), dynamic_shapes=more)
    assert len(program.range_constraints) == 1 and program.module()(rl.ones(9, 2), y)[0].shape == (9, 2)


def test_dims_print_as_pytorchs() -> None:
    def made(library: Any) -> list[str]:
        dim = library.export.Dim
        return [repr(dim("x", min=2)), repr(dim("x", max=7)), repr(dim.AUTO(min=3)), repr(dim.STATIC), (dim("x") * 2 + 1).__name__, str(len(library.export.dims("a", "b")))]
    assert made(rl) == made(torch)
    for bad in (lambda dim: dim("3x"), lambda dim: dim("x", min=5, max=3), lambda dim: dim("x") * -1, lambda dim: dim("x") + 1.5):
        kinds = []
        for library in (torch, rl):
            with pytest.raises((AssertionError, NotImplementedError)) as caught:
                bad(library.export.Dim)
            kinds.append(caught.type)
        assert kinds[0] is kinds[1]


def test_expressions() -> None:
    envs = [{"s": s, "t": t} for s, t in ((4, 6), (5, 6), (4, 9), (7, 8), (9, 3), (12, 5))]
    for text in ("3", "s", "2*s + 1", "s*t", "s*t + 3*s", "s + t + 2", "-s + 20"):
        expr = sizes.parse(text)
        assert sizes.fit([expr.at(env) for env in envs], envs) == expr
    half = [(env["s"] + 1) // 2 for env in envs]
    found = sizes.fit(half, envs, [sizes.symbol("s")])
    assert found is not None and [found.at(env) for env in envs] == half and str(sizes.parse(str(found))) == str(found)
    assert sizes.fit([1, 2, 4, 8, 16, 33], envs) is None
    with pytest.raises(ValueError, match="is not supported"):
        sizes.parse("__import__('os')")


def test_copies_and_pickles() -> None:
    program, _, args, *_ = exported(rl, "perceptron")
    again = copy.deepcopy(program)
    same(again.module()(*args), program.module()(*args))
    run = pickle.loads(pickle.dumps(program.module(check_guards=False)))
    same(run(*args), program.module()(*args))


# --- files --------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", [each for each in NAMES if each != "many"])
def test_files_of_pytorch_load_here(name: str) -> None:
    theirs, *_ = exported(torch, name)
    _, _, args, kwargs, others = exported(rl, name)
    file = io.BytesIO()
    torch.export.save(theirs, file)
    file.seek(0)
    found = rl.export.load(file)
    assert operators(found) == operators(theirs) and signature(found) == signature(theirs) and str(found.range_constraints) == str(theirs.range_constraints)
    for given in [args] if others is None else [args, others]:
        wanted = theirs.module()(*[to_torch(each) for each in given], **{key: to_torch(each) for key, each in kwargs.items()})
        same(leaves(found.module()(*given, **kwargs)), leaves(wanted))


@pytest.mark.parametrize("name", NAMES)
def test_our_files_load_in_pytorch_and_here(name: str, tmp_path: Any) -> None:
    ours, _, args, kwargs, others = exported(rl, name)
    path = tmp_path / "model.pt2"
    rl.export.save(ours, path, extra_files={"notes.txt": "seven"})
    texts = {"notes.txt": ""}
    theirs, again = torch.export.load(str(path)), rl.export.load(path, extra_files=texts)
    assert texts == {"notes.txt": "seven"} and signature(again) == signature(ours) == signature(theirs) and operators(again) == operators(ours)
    for given in [args] if others is None else [args, others]:
        wanted = leaves(ours.module()(*given, **kwargs))
        rewound = rl.export.load(path)
        same(leaves(theirs.module()(*[to_torch(each) for each in given], **{key: to_torch(each) for key, each in kwargs.items()})), wanted) if "steps" not in ours.state_dict else None
        if "steps" not in ours.state_dict and "last" not in ours.state_dict:
            same(leaves(rewound.module()(*given, **kwargs)), wanted)
    again.validate()


def test_a_loaded_file_trains_and_writes_its_buffers(tmp_path: Any) -> None:
    ours, _, args, *_ = exported(rl, "training")
    rl.export.save(ours, tmp_path / "m.pt2")
    theirs, again = torch.export.load(str(tmp_path / "m.pt2")).module(), rl.export.load(tmp_path / "m.pt2").module()
    for _ in range(2):
        found, wanted = again(*args), theirs(*[to_torch(each) for each in args])
        found[0].square().sum().backward()
        wanted[0].square().sum().backward()
    kept = dict(theirs.named_buffers())
    same({name: each for name, each in again.named_buffers() if name in kept}, {name: kept[name] for name, _ in again.named_buffers() if name in kept})
    for name, parameter in again.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), dict(theirs.named_parameters())[name].grad.numpy(), rtol=1e-4, atol=1e-5)


def changed(path: Any, change: Any) -> io.BytesIO:
    """A file with another model.json."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("model.json"):
                model = json.loads(data)
                change(model)
                data = json.dumps(model).encode()
            new.writestr(name, data)
    out.seek(0)
    return out


def test_bad_files_are_refused(tmp_path: Any) -> None:
    ours, *_ = exported(rl, "perceptron")
    path = tmp_path / "m.pt2"
    rl.export.save(ours, path)

    def target(text: str) -> Any:
        return lambda model: model["graph_module"]["graph"]["nodes"][0].update(target=text)
    for text in ("os.system", "_operator.call", "torch.ops.aten.no_such.default", "torch.ops.aten.linear.no_such", "builtins.eval", "torch.ops.mine.op.default"):
        with pytest.raises(NotImplementedError, match="is not supported by rushlight"):
            rl.export.load(changed(path, target(text)))
    with pytest.raises(NotImplementedError, match="schema version 9"):
        rl.export.load(changed(path, lambda model: model["schema_version"].update(major=9)))
    with pytest.raises(NotImplementedError, match="as_graph"):
        rl.export.load(changed(path, lambda model: model["graph_module"]["graph"]["nodes"][0]["inputs"][0].update(arg={"as_graph": {}})))
    (tmp_path / "no.pt2").write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=r"not a .pt2 file"):
        rl.export.load(tmp_path / "no.pt2")
    with pytest.raises(TypeError, match="must be an instance of 'ExportedProgram'"):
        rl.export.save(ours.module(), tmp_path / "never.pt2")
    wrong = copy.deepcopy(ours)
    next(each for each in wrong.graph.nodes if each.op == "call_function").target = print
    with pytest.raises(NotImplementedError, match="only operators of aten"):
        rl.export.save(wrong, tmp_path / "never.pt2")
    assert not (tmp_path / "never.pt2").exists()


def _places(value: Any) -> Any:
    """(container, key) of every part of a description."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def test_damaged_descriptions_are_runtime_errors(tmp_path: Any) -> None:
    """Every tenth part of a description taken away, or another kind of thing: the program loads all the same, or RuntimeError."""
    ours, *_ = exported(rl, "perceptron")
    path = tmp_path / "m.pt2"
    rl.export.save(ours, path)
    count = len(list(_places(json.loads(zipfile.ZipFile(path).read("m/models/model.json")))))
    refused = 0
    for at in range(0, count, 10):
        for damage in (lambda container, key: container.__delitem__(key), lambda container, key: container.__setitem__(key, [7])):
            try:
                rl.export.load(changed(path, lambda model, at=at, damage=damage: damage(*list(_places(model))[at])))
            except RuntimeError:
                refused += 1
    assert refused > 20


def test_files_that_unpack_to_much_are_refused(tmp_path: Any) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m/archive_format", "pt2")
        file.writestr("m/models/model.json", b" " * (100 << 20))
    with pytest.raises(RuntimeError, match="claims to hold"):
        rl.export.load(tmp_path / "bomb.pt2")


# --- modules again ------------------------------------------------------------------------------------------------------------------------

def tree(library: Any) -> Any:
    class Tree(library.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.norm = library.nn.Linear(4, 4), library.nn.BatchNorm1d(4)
            self.parts = library.nn.ModuleList([library.nn.Sequential(library.nn.Linear(4, 4), library.nn.Tanh()) for _ in range(2)])
            self.register_buffer("shift", library.ones(4), persistent=False)

        def forward(self, x: Any, *, scale: Any) -> Any:
            y = x + self.shift
            for part in self.parts:
                y = part(y)
            return {"out": self.norm(self.lin(self.lin(y))).relu() * scale, "rows": y.reshape(x.shape[0] * 2, 2)}
    library.manual_seed(0)
    return library.export.export(Tree(), (library.randn(4, 4),), {"scale": library.tensor(2.0)}, dynamic_shapes={"x": {0: library.export.Dim("n")}, "scale": None})


def test_unflatten() -> None:
    names, results = [], []
    for library in (torch, rl):
        program = tree(library)
        module = library.export.unflatten(program)
        names.append({name.partition("@")[0] for name, _ in module.named_modules()} - {"_guards_fn"})
        library.manual_seed(1)
        x = library.randn(6, 4)
        results.append([module(x, scale=library.tensor(3.0)), program.module()(x, scale=library.tensor(3.0))])
    assert names[0] == names[1]
    same(leaves(results[1][0]), leaves(results[1][1]))
    same(leaves(results[1][0]), leaves(results[0][0]))
    assert isinstance(module, rl.export.UnflattenedModule) and set(program.state_dict) == {name for name in module.state_dict() if "@" not in name}
    assert [str(each.target) for each in module.graph.nodes if each.op == "call_module"] == ["_guards_fn", "parts.0", "parts.1", "lin", "lin@1", "norm"]
    assert module.get_submodule("lin@1").weight is module.lin.weight is program.state_dict["lin.weight"]
    with pytest.raises(AssertionError, match=r"Guard failed: x.size\(\)\[1\] == 4"):
        module(rl.ones(2, 5), scale=rl.tensor(1.0))
    with pytest.raises(TypeError, match="expected an ExportedProgram"):
        rl.export.unflatten(module)


def test_an_input_named_as_pythons_own() -> None:
    for library in (torch, rl):
        program = library.export.export(library.nn.Sequential(library.nn.Linear(3, 4)), (library.ones(2, 3),))
        assert program.graph_signature.user_inputs == ("input",) and program.module()(library.ones(2, 3)).shape == (2, 4)
        with pytest.raises(AssertionError, match=r"Guard failed: input.size\(\)\[1\] == 3"):
            program.module()(library.ones(2, 4))


# --- simpler operators --------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", NAMES)
def test_decompositions(name: str) -> None:
    ours, _, args, kwargs, others = exported(rl, name)
    theirs, *_ = exported(torch, name)
    simple, wanted = ours.run_decompositions(), theirs.run_decompositions()
    assert [(each.kind.name, each.target) for each in simple.graph_signature.output_specs] == [(each.kind.name, each.target) for each in wanted.graph_signature.output_specs]
    names = [str(each.target).split(".")[1] for each in simple.graph.nodes if str(each.target).startswith("aten.")]
    assert not [each for each in names if each.endswith("_")] and not {"linear", "conv2d", "batch_norm", "layer_norm", "matmul", "softmax", "dropout"} & set(names)
    assert simple.run_decompositions() is simple and str(simple.range_constraints) == str(ours.range_constraints)
    run, plain = simple.module(), theirs.module()
    for given in [args] * 2 if others is None else [args, others]:
        same(leaves(run(*given, **kwargs)), leaves(plain(*[to_torch(each) for each in given], **{key: to_torch(value) for key, value in kwargs.items()})))
    kept = {key: value for key, value in plain.named_buffers() if key in ours.state_dict}
    same([dict(run.named_buffers())[key] for key in kept], list(kept.values()))


def test_decompositions_that_are_refused() -> None:
    def written(library: Any, x: Any, y: Any) -> Any:
        z = x * 2
        view = z.view(-1)
        view.mul_(2)
        return z
    with pytest.raises(NotImplementedError, match="writes into a tensor of which there is a view"):
        rl.export.export(module_of(rl, written), (rl.ones(2, 2),)).run_decompositions()
    program = exported(rl, "perceptron")[0]
    with pytest.raises(NotImplementedError, match="replace_pattern"):
        program.run_decompositions({})


def switched(library: Any) -> Any:
    """A module that records gradients for parts of what it does."""
    class Switched(library.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i, name in enumerate(("first", "second", "third")):
                layer = library.nn.Linear(3, 3)
                layer.weight.data = library.arange(9.0).reshape(3, 3).add(i).sin()
                layer.bias.data = library.arange(3.0).add(i).cos()
                setattr(self, name, layer)

        @library.no_grad()
        def half(self, x: Any) -> Any:
            return self.first(x) * 2

        def forward(self, x: Any) -> Any:
            h = self.second(x)
            with library.no_grad():
                h.mul_(0.5)
                scale = self.first(x).tanh()
                with library.enable_grad():
                    kept = self.third(x) * scale
                with library.set_grad_enabled(False):
                    norm = self.third(h).norm()
            return h * scale + kept / norm + self.half(h)
    return Switched()


@pytest.mark.parametrize("reload", [False, True])
def test_parts_without_gradients_have_none(reload: bool) -> None:
    found = []
    for library in (rl, torch):
        model, x = switched(library), library.arange(6.0).reshape(2, 3).cos()
        run = model if library is torch else library.export.export(model, (x,))
        if library is rl:
            if reload:
                file = io.BytesIO()
                library.export.save(run, file)
                file.seek(0)
                run = library.export.load(file)
            run = run.module()
        x = x.clone().requires_grad_()
        y = run(x)
        y.pow(2).sum().backward()
        grads = {name: each.grad for name, each in run.named_parameters()}
        assert grads["first.weight"] is None
        found.append([y, x.grad, *[each for name, each in sorted(grads.items()) if each is not None]])
    same(*found)


def test_autocast_is_part_of_the_program() -> None:
    found = []
    for library in (rl, torch):
        class Cast(library.nn.Module):  # type: ignore[name-defined,misc]
            def forward(self, x: Any, library: Any = library) -> Any:
                with library.autocast("cpu", dtype=library.bfloat16):
                    return x @ x, library.mm(x, x), x.matmul(x), library.nn.functional.linear(x, x), x.exp()
        x = library.arange(9.0).reshape(3, 3).cos()
        results = library.export.export(Cast(), (x,)).module()(x)
        assert [str(each.dtype) for each in results] == ["torch.bfloat16"] * 4 + ["torch.float32"]
        found.append([each.float() for each in results])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-2)


class Keyword(rl.nn.Module):
    def forward(self, x: Any, *, scale: Any) -> Any:
        return rl.std(x * scale, 0, correction=0)


@pytest.mark.parametrize("word", ["x", "scale", "correction", "bias"])
@pytest.mark.parametrize("evil", ["{0}=made.append(1)", '{0}"), made.append(1), ("', "{0}): made.append(1)\ndef forward(self, {0}"])
def test_names_of_a_file_are_no_code(word: str, evil: str, tmp_path: Any) -> None:
    made: list[int] = []
    model = Keyword()
    model.bias = rl.nn.Parameter(rl.ones(3))
    program = rl.export.export(model, (rl.randn(2, 3),), {"scale": rl.ones(3)})
    rl.export.save(program, tmp_path / "good.pt2")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if name.endswith(".json"):
                text = data.decode().replace('\\"' + word + '\\"', json.dumps(json.dumps(evil.format(word))[1:-1])[1:-1].join(['\\"'] * 2))
                data = text.replace(f'"{word}"', json.dumps(evil.format(word))).encode()
            bad.writestr(name, data)
    builtins.made = made  # type: ignore[attr-defined]
    try:
        rl.export.load(tmp_path / "bad.pt2").module()(rl.randn(2, 3), scale=rl.ones(3))
    except (RuntimeError, ValueError, AttributeError, KeyError) as error:
        assert str(error)
    finally:
        del builtins.made  # type: ignore[attr-defined]
    assert made == []
