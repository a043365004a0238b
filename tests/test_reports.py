"""Lines of reports.txt and edges.txt: expressions after public reports and at the edges, evaluated on both sides; values, dtypes, shapes and the errors' classes have to be the same.

`let(...)` evaluates its arguments from left to right and gives those that can be compared; X(*shape) is a leaf tensor; D a DataLoader, TD a TensorDataset.
"""

import copy
import operator
import weakref
from pathlib import Path

import numpy as np
import pytest

from tests.support.two_sides import assert_same_outcome

LINES = [line for name in ("reports.txt", "edges.txt") for line in Path(__file__).with_name(name).read_text().splitlines()
         if line.strip() and not line.startswith("#")]
COMPARED = (bool, int, float, complex, str, list, tuple, np.ndarray)


def let(*values):
    return [each for each in values if isinstance(each, COMPARED) or not isinstance(each, type) and hasattr(each, "numel")]


def net(torch, activation):
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), activation, torch.nn.Linear(5, 1))


def convnet(torch, middle):
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), middle, torch.nn.Conv2d(2, 1, 2))


def penalty(torch, model, shape=(4, 3)):
    """The backward pass of a gradient penalty, as WGAN-GP has it."""
    x = torch.linspace(-1, 2, int(np.prod(shape))).reshape(shape).requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    ((g.flatten(1).norm(dim=1) - 1) ** 2).mean().backward()


def double(torch):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2
    return Double


def within(context, f):
    with context:
        return f()


def two(torch):
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g, h):
            return g * 2 + h * 3
    return Two


def viewing(torch):
    class Viewing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view(-1)

        @staticmethod
        def backward(ctx, g):
            return g
    return Viewing


def evaluate(line, torch):
    def leaf(*shape):
        return (torch.arange(int(np.prod(shape)), dtype=torch.float32) - 1.5).reshape(shape).requires_grad_()
    data = torch.utils.data
    return eval(line, {"torch": torch, "np": np, "F": torch.nn.functional, "X": leaf, "let": let, "D": data.DataLoader, "TD": data.TensorDataset, "D_": torch,
                       "copy": copy, "weakref": weakref, "operator": operator, "net": net, "within": within, "convnet": convnet, "penalty": penalty, "Double": double, "Two": two, "Viewing": viewing})


@pytest.mark.parametrize("line", LINES)
def test_report(line):
    assert_same_outcome(lambda torch: evaluate(line, torch))
