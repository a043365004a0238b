"""Formulas: one text for tensors, arrays, programs, NumPy calls over scratch memory and CUDA text (which tests/cuda/test_kernels.py runs)."""

import numpy as np
import pytest

import rushlight as torch
from rushlight.kernels import formula as f
from rushlight.kernels import gelu, native
from rushlight.kernels.cuda import elementwise
from rushlight.kernels.step import Calls, _takes
from rushlight.ops import activation
from rushlight.ops.registry import OPS

FUNCTIONS = ["exp", "exp2", "expm1", "log", "log1p", "sin", "cos", "sinh", "cosh", "tanh", "sqrt", "absolute", "sign", "isnan", "isfinite", "nonzero"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_tensors_arrays_numbers_and_symbols(name):
    function, values = getattr(f, name), np.array([0.25, 0.5, 2.0])
    want = values != 0 if name == "nonzero" else getattr(np, name)(values)
    np.testing.assert_allclose(function(torch.tensor(values)).numpy(), want, rtol=1e-12)
    np.testing.assert_array_equal(function(values), want)
    np.testing.assert_array_equal(function(values[1]), want[1])
    tape, (out,) = f.trace(function, 1, lambda _: True)
    assert tape.values[out][0] == {"nonzero": "not_equal"}.get(name, name)


def test_selection_and_limits_take_numbers_on_either_side():
    values, g = np.array([-2.0, -0.0, 0.5, np.nan]), np.arange(4.0)
    formula = lambda x, g: f.where(x > 0, f.minimum(f.maximum(x, 0), 0.25), f.where(x < -1, 7.0, f.where(x < 0, g, 0.0)))     # noqa: E731
    want = formula(values, g)
    np.testing.assert_array_equal(want, [7.0, 0.0, 0.25, 0.0])
    np.testing.assert_array_equal(formula(torch.tensor(values), torch.tensor(g)).numpy(), want)
    np.testing.assert_array_equal(f.maximum(torch.tensor(values), torch.tensor(g)).numpy(), np.maximum(values, g))
    assert f.where(torch.tensor(values) > 0, torch.tensor(g, dtype=torch.float32), 0.1).dtype is torch.float32


def test_a_tape_computes_the_same_as_the_formula_in_few_scratch_arrays():
    def formula(x, y, z):
        t = f.tanh(x * y) + z
        return f.where(t > 0.25, t * t, -f.exp(t)) / (1 + x * x) - t
    tape, outputs = f.trace(formula, 3, _takes)
    calls = Calls(tape, outputs, [-1])
    x, y, z = (np.random.default_rng(i).normal(size=50) for i in range(3))
    scratch = [np.empty(50) for _ in range(calls.scratch)]
    bound = calls.bind([x, None, z], scratch)
    calls.set(())
    for gradient in (y, y[::-1]):
        bound.run(gradient)
        np.testing.assert_array_equal(scratch[0], formula(x, gradient, z))
    assert calls.scratch <= 4


def test_what_a_formula_may_not_do():
    for function in (lambda x: x if x.any() else -x, lambda x: x[0], lambda x: 1.0, lambda x: x, lambda x: (x, x + 1), lambda x: (x > 0) + 1,
                     lambda x: np.add.reduce(x), lambda x: x + "a"):
        assert f.trace(function, 1, lambda _: True) is None
    assert f.trace(lambda x: f.exp(x), 1, lambda name: name != "exp") is None


def _formulas():
    for name, value in vars(activation).items():
        if name != "_no_gradient" and (name.endswith(("_forward", "_gradient")) or name == "_hardtanh"):
            yield name, value
    for name in gelu.__all__:
        yield name, getattr(gelu, name)
    for name, op in OPS.items():
        if op.form == "unary" and op.node is not None and op.node.agrad is not None:
            yield f"{name}'s gradient", op.gradient


def test_formulas_have_cuda_text():
    """With the library and without: a kernel that CUDA has no text for is printed as what it is made of."""
    without = [name for name, function in _formulas() if elementwise.formula_of(native.written(function), native.written(function).__code__.co_argcount) is None]
    assert without == ["_gated_gradient", "lgamma's gradient", "frac's gradient"]     # two results, digamma, and nothing to compute


@pytest.mark.parametrize("name", ["sin", "asin", "tanh", "sigmoid", "erf", "abs", "square", "sinc", "lgamma"])
def test_a_formula_on_arrays_is_the_formula_on_tensors(name):
    """The gradient that the backward pass computes on arrays, and the one that it records."""
    x = torch.linspace(0.1, 0.8, 12, dtype=torch.float64).requires_grad_()
    y = getattr(torch, name)(x)
    plain, = torch.autograd.grad(y.sum(), x, retain_graph=True)
    recorded, = torch.autograd.grad(y.sum(), x, create_graph=True)
    np.testing.assert_allclose(plain.numpy(), recorded.detach().numpy(), rtol=1e-13)
    assert torch.autograd.gradgradcheck(getattr(torch, name), x)
