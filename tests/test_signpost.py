"""``rushlight where``: places, gradients, kernels and tests of what is public."""

import re
from pathlib import Path

import pytest

from rushlight import cli
from rushlight.ops import deferred
from rushlight.ops.registry import NAMESPACES, PLACES
from rushlight.signpost import NotFound, describe, locate

ROOT = Path(__file__).resolve().parent.parent


def of(name, label):
    return "\n".join(text for each, text in describe(name) if each == label)


def source_at(text):
    """The line that a description points to."""
    file, line = re.search(r"([\w/.]+\.(?:py|cpp)):(\d+)", text).groups()
    return (ROOT / file).read_text().split("\n")[int(line) - 1]


@pytest.mark.parametrize("name, line", [
    ("torch.exp", 'exp = unary("exp"'), ("torch.Tensor.exp_", 'exp = unary("exp"'), ("torch.special.expit", "sigmoid = unary("),
    ("torch.mul", 'mul = binary("mul"'), ("torch.roll", "@op"), ("torch.Tensor.roll", "@op"), ("torch.nn.functional.conv2d", "@functional"),
    ("torch.nn.Conv2d", "class Conv2d"), ("torch.linalg.svd", "@op"), ("torch.det", "@op"), ("torch.Tensor.size", "def size"), ("torch.optim.Adam", "class Adam"),
    ("torch.Tensor.T", "def _T"), ("torch.add", "def fn"), ("torch.ops.aten.roll.default", "@op"), ("roll", "@op"), ("rushlight.roll", "@op"),
    ("torch.stft", "@op"), ("torch.nn.functional.dropout", "@_functional"), ("torch.addcmul", "@op")])
def test_definition(name, line):
    assert line in source_at(of(name, "defined"))


@pytest.mark.parametrize("name, label, place", [
    ("torch.exp", "ExpBackward0", "ops/elementwise.py"), ("torch.roll", "RollBackward0", "ops/rearrange.py"),
    ("torch.nn.functional.conv2d", "ConvolutionBackward0", "ops/conv.py"), ("torch.isnan", "not differentiable", ""),
    ("torch.nn.functional.softmax", "torch.softmax", ""), ("torch.cat", "CatBackward0", "ops/joining.py")])
def test_gradient(name, label, place):
    found = of(name, "gradient")
    assert label in found and place in found


@pytest.mark.parametrize("name, forms", [
    ("torch.exp", "exp: numpy.exp, native native/mathematics.cpp:\\d+, CUDA .*kernels/cuda/elementwise.py:\\d+"),
    ("torch.softmax", "softmax: NumPy .*kernels/softmax.py:\\d+, native native/softmax.cpp:\\d+, CUDA .*kernels/cuda/softmax.py:\\d+"),
    ("torch.nn.functional.layer_norm", "rows: NumPy .*kernels/norm.py:\\d+, native native/norm.cpp:\\d+")])
def test_kernels(name, forms):
    found = of(name, "kernel")
    assert re.search(forms, found), found
    for place in re.findall(r"[\w/]+\.(?:py|cpp):\d+", re.search(forms, found)[0]):
        assert found.split(":")[0].strip() in source_at(place) or "layer" in name


def test_tests_and_names():
    assert "tests/ops/test_shape.txt" in of("torch.roll", "tests") and "test_elementwise.py" in of("torch.exp", "tests")
    assert of("torch.multiply", "public as").startswith("torch.mul, torch.Tensor.mul, torch.multiply")


def test_everything_public_has_a_place():
    deferred.load_all()
    for name in [*NAMESPACES["nn.functional"]][::7] + [*NAMESPACES[""]][::29]:
        place = "nn.functional." + name if name in NAMESPACES["nn.functional"] else name
        assert place in PLACES and (".py:" in of(place, "defined") or isinstance(PLACES[place].function, type)), place


def test_command(capsys):
    assert cli.main(["where", "torch.roll"]) == 0
    assert capsys.readouterr().out.startswith("defined    src/rushlight/ops/rearrange.py:")
    assert cli.main(["where", "torch.rol"]) == 1
    out, error = capsys.readouterr()
    assert not out and "torch.rol does not exist in rushlight: did you mean torch.roll?" in error
    assert cli.main(["where", "torch.nn.Conv9d"]) == 1 and "torch.nn.Conv9d does not exist" in capsys.readouterr().err
    assert cli.main(["where"]) == 2 and cli.main(["where", "a", "b"]) == 2 and cli.main(["where", "--all"]) == 2
    with pytest.raises(NotFound):
        describe("torch.Tensor.no_such_method")


def test_locate():
    """An object and the line that defines it."""
    value, place = locate("torch.nn.Conv2d")
    assert value.__name__ == "Conv2d" and re.fullmatch(r"src/rushlight/nn/modules/conv\.py:\d+", place)
    assert re.match(r"src/rushlight/ops/\w+\.py:\d+", locate("sin")[1])
    with pytest.raises(NotFound, match="no_such"):
        locate("torch.no_such")
