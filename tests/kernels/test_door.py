"""The door to kernels: one name and one signature for the library, for classes of arrays and for the NumPy twin; and no questions beside it."""

import inspect
import pathlib
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

from rushlight.kernels import door, native

SOURCE = pathlib.Path(door.__file__).parents[1]
FAMILIES = ("softmax", "norm", "reduce", "loss", "memory", "lapack", "conv", "pooling", "resample", "embedding", "sorting", "scan", "indexing",
            "attention", "rnn", "grid_sample", "random_fill", "libm", "linear", "columns", "dropout", "strides", "ctc",
            "distance", "fft")

# How code asks what an array is, where it should call a kernel.
QUESTION = re.compile(r'\bxp is (?:not )?np\b|hasattr\([^)]*"(?:c|level|physical)"\)|_library\.|\b_on_device\(|\b_native\(|\bfused_for\(|\bavailable\(|\.fused\.')

def doors():
    for family in FAMILIES:
        module = import_module(f"rushlight.kernels.{family}")
        for name, each in vars(module).items():
            if hasattr(each, "fallback") and each.__name__ == name and written(each).__module__ == module.__name__:
                yield family, name, each


def test_nobody_asks():
    found = {}
    for folder in ("ops", "kernels"):
        for path in (SOURCE / folder).rglob("*.py"):
            count = len(QUESTION.findall(path.read_text()))
            if count and "cuda" not in path.parts:
                found[path.relative_to(SOURCE).as_posix()] = count
    assert not found


@pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})")
def test_every_native_function_has_a_door():
    ours = {(family, name) for family, name, each in doors() if each.native}
    assert ours == set(native.library.functions())


def parameters(function):
    return [(p.kind, p.default is p.empty) for p in inspect.signature(function).parameters.values()]


def written(each):
    """The function that stands in the file."""
    return inspect.getclosurevars(each.fallback).nonlocals.get("twin", each.fallback)


def test_cuda_kernels_have_the_signature_of_their_twin():
    checked = 0
    for family, name, each in doors():
        if find_spec(f"rushlight.kernels.cuda.{family}") is not None:
            module = import_module(f"rushlight.kernels.cuda.{family}")
            if name in module.__all__:
                twin = parameters(written(each))
                assert parameters(getattr(module, name))[:len(twin)] == twin, (family, name)
                checked += 1
    assert checked >= 25


class Shape:
    """Arrays that have a shape and a dtype only."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, np.dtype(dtype)


def double(a, b):
    """The twin of a test."""
    return a * 2 + b


def softmax(a, axis):
    """The twin of a test, of the library's name."""
    return a


@pytest.fixture(params=["here", "closed"])
def make(request, monkeypatch):
    """`kernel`, with the library where it is, and without."""
    if request.param == "closed":
        monkeypatch.setattr(door, "library", None)
    monkeypatch.setattr(door, "CLASSES", {})
    return door.kernel


def test_a_class_joins_by_registering_itself(make):
    asked = []

    def find(family, name):
        asked.append((family, name))
        return (lambda a, b: NotImplemented if b is None else Shape(a.shape, a.dtype)) if name == "double" else None
    call, other = make(double), make(softmax)
    assert call(3, 1) == 7
    door.join(Shape, find)
    x = Shape((2, 3), "f4")
    assert call(x, 1).shape == (2, 3) and call(x, 2).dtype == "f4"
    assert other(x, 0) is x                     # no form: the twin
    with pytest.raises(TypeError):
        call(x, None)                           # the form steps aside: the twin, which can't
    assert asked == [("test_door", "double"), ("test_door", "softmax")]       # once per kernel
    assert call(3, 1) == 7 and call.__name__ == "double" and call.__doc__ == "The twin of a test."


def test_a_class_may_name_the_module_that_has_its_forms(make):
    call = make(softmax)
    door.join(Shape, "func.kernel_rules")
    x = Shape((2, 3), "f4")
    assert call(x, 0) is x                      # it has no rule of that name


def test_rules_of_vmap_need_no_import_of_it():
    code = ("import numpy as np\nfrom rushlight.func.batched import BatchedArray\nfrom rushlight.kernels import indexing, lapack\n"
            "a = BatchedArray(np.zeros((2, 3, 4)), 1)\nindexing.add_rows(a, BatchedArray(np.array([[0], [2]]), 1), np.ones((1, 4)))\n"
            "assert a.physical[:, :, 0].tolist() == [[1, 0, 0], [0, 0, 1]]")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_halves_are_rounded_once(make):
    seen = []

    def third(a, b):
        seen.append(a.dtype)
        return a / 3, b
    call = make(third, halves=True)
    a = np.arange(5).astype("f2")
    r, b = call(a, 4)
    assert seen == [np.float32] and r.dtype == "f2" and b == 4
    np.testing.assert_array_equal(r, (a.astype("f4") / np.float32(3)).astype("f2"))
    assert call(a.astype("f8"), 0)[0].dtype == "f8" and call(np.arange(3, dtype="i2"), 0)[0].dtype != "f2"
