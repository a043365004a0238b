"""The stubs say what is there: they are what tools/make_stubs.py writes, agree with the functions at run time, and a type checker reads them so."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rushlight as rl
from rushlight.ops import deferred
from rushlight.ops.registry import NAMESPACES

PACKAGE = Path(rl.__file__).parent
ROOT = PACKAGE.parent.parent
MODULES = {"__init__.pyi": "rushlight", "nn/functional.pyi": "rushlight.nn.functional", "linalg.pyi": "rushlight.linalg", "fft.pyi": "rushlight.fft",
           "special.pyi": "rushlight.special"}
deferred.load_all()


def definitions(body):
    return {each.name: each for each in body if isinstance(each, ast.FunctionDef) and not each.decorator_list}


def shape(arguments):
    """(name, kind, whether there is a default) of each parameter of a parsed function."""
    plain = [*arguments.posonlyargs, *arguments.args]
    first = len(plain) - len(arguments.defaults)
    found = [(each.arg, "plain", i >= first) for i, each in enumerate(plain)]
    if arguments.vararg:
        found.append((arguments.vararg.arg, "*", False))
    found += [(each.arg, "by name", default is not None) for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return found + ([(arguments.kwarg.arg, "**", False)] if arguments.kwarg else [])


def shape_at_run_time(function):
    kinds = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.KEYWORD_ONLY: "by name"}
    return [(each.name, kinds.get(each.kind, "plain"), each.default is not each.empty) for each in inspect.signature(function).parameters.values()]


def test_stubs_are_up_to_date():
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "make_stubs.py"), "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("file", MODULES)
def test_functions(file):
    module = importlib.import_module(MODULES[file])
    found = definitions(ast.parse((PACKAGE / file).read_text()).body)
    for name, function in found.items():
        assert shape(function.args) == shape_at_run_time(getattr(module, name)), name
    namespace = MODULES[file].removeprefix("rushlight").removeprefix(".")
    assert set(found) == {name for name, value in NAMESPACES[namespace].items() if not inspect.isclass(value)}


def test_methods():
    methods = definitions(ast.parse((PACKAGE / "_methods.pyi").read_text()).body[-1].body)
    for name, function in methods.items():
        if not name.startswith("__"):
            ours, theirs = shape(function.args), shape_at_run_time(getattr(rl.Tensor, name))
            assert ours[1:] == theirs[1:] or theirs[0][1] == "*", name
    for name in ("roll", "exp_", "addcmul_", "backward", "sum", "to", "numpy", "view"):
        assert name in methods or name in vars(rl.Tensor)


def test_signatures_have_what_functions_take():
    assert str(inspect.signature(rl.addcmul)).replace("'", "") == \
        "(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1, out: Tensor | None = None) -> Tensor"
    assert list(inspect.signature(rl.sum).parameters)[:3] == ["input", "dim", "keepdim"] and "out" in inspect.signature(rl.sum).parameters
    assert list(inspect.signature(rl.Tensor.addcmul_).parameters) == ["self", "tensor1", "tensor2", "value"]
    assert "out" in inspect.signature(rl.nn.functional.avg_pool2d).parameters and "out" not in inspect.signature(rl.roll).parameters


PROGRAM = """
import rushlight as torch
import rushlight.nn.functional as F
x = torch.ones(3)
reveal_type(torch.addcmul)
reveal_type(x.roll(1))
reveal_type(2 * x + 1)
reveal_type(F.silu(x))
reveal_type(torch.linalg.det(x))
reveal_type(torch.float32)
reveal_type(x.shape)
torch.addcmul(x, x)
torch.rol(x)
x.no_such_method()
x.sum(dim=0, keepdim="yes")
F.cross_entropy(x, x).backward()
"""
TOLD = ["def (input: rushlight.tensor.Tensor, tensor1: rushlight.tensor.Tensor, tensor2: rushlight.tensor.Tensor, *, value: Any =, "
        "out: rushlight.tensor.Tensor | None =) -> rushlight.tensor.Tensor", *["rushlight.tensor.Tensor"] * 4, "rushlight.dtypes.dtype", "rushlight.size.Size"]
WRONG = ['Missing positional argument "tensor2" in call to "addcmul"', 'Module has no attribute "rol"', '"Tensor" has no attribute "no_such_method"',
         'has incompatible type "str"; expected "bool"']


@pytest.mark.slow
def test_a_type_checker_knows_the_public_names(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", f"--cache-dir={tmp_path}", "--config-file=", "--ignore-missing-imports"]
    out = subprocess.run([*command, str(tmp_path / "program.py")], capture_output=True, text=True, cwd=ROOT).stdout.split("\n")
    assert [line.split('Revealed type is "')[1].rstrip('"') for line in out if "Revealed" in line] == TOLD
    errors = [line for line in out if ": error:" in line]
    assert len(errors) == len(WRONG) and all(text in line for text, line in zip(WRONG, errors, strict=True)), errors


@pytest.mark.slow
def test_stubtest():
    names = [name for name in MODULES.values() if name != "rushlight"]
    command = [sys.executable, "-m", "mypy.stubtest", *names, "--ignore-missing-stub", "--mypy-config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
