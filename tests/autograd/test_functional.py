"""torch.autograd.functional: what it refuses, and in which words, on both sides."""

import pytest
import torch as pt

import rushlight as rl

FUNCTIONS = {
    "independent": lambda m: lambda x: m.ones(()).requires_grad_(),
    "linear": lambda m: lambda x: (x * 3).sum(),
    "two outputs": lambda m: lambda x: (x.sum(), x.sum()),
    "a vector": lambda m: lambda x: x * 2,
    "a number": lambda m: lambda x: 1.0,
    "without gradient": lambda m: lambda x: x.detach().sum(),
    "quadratic": lambda m: lambda x: (x ** 2).sum(),
    "of one element": lambda m: lambda x: (x ** 2).sum().reshape(1, 1),
}


def outcome(m, call):
    try:
        found = call(m)
    except (RuntimeError, TypeError) as error:
        return type(error).__name__, str(error)
    flat = []

    def collect(value):
        if isinstance(value, tuple):
            for each in value:
                collect(each)
        else:
            flat.append(value.tolist())
    collect(found)
    return flat


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["vjp", "jvp", "vhp", "hvp", "jacobian", "hessian"])
def test_outputs_that_do_not_fit(name, function, strict):
    def call(m):
        x = m.tensor([1.0, 2.0])
        vector = (m.ones(2),) if name in ("jvp", "vhp", "hvp") else ()
        return getattr(m.autograd.functional, name)(FUNCTIONS[function](m), x, *vector, strict=strict)
    theirs, ours = outcome(pt, call), outcome(rl, call)
    if isinstance(theirs, tuple) and theirs[0] == "TypeError":
        assert ours[0] == "TypeError" and ours[1].partition(" has type")[0] == theirs[1].partition(" has type")[0]
    else:
        assert ours == theirs


@pytest.mark.parametrize("vector", [None, 3, (2, 2), (3,)], ids=str)
@pytest.mark.parametrize("name", ["vjp", "jvp", "vhp", "hvp"])
def test_vectors_that_do_not_fit(name, vector):
    def call(m):
        v = None if vector is None else m.ones(vector) if isinstance(vector, int) else tuple(m.ones(n) for n in vector)
        function = (lambda x: x * 2) if name in ("vjp", "jvp") else (lambda x: (x ** 2).sum())
        return getattr(m.autograd.functional, name)(function, m.tensor([1.0, 2.0]), v)
    assert outcome(rl, call) == outcome(pt, call)
