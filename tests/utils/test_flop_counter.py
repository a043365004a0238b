"""`FlopCounterMode` counts what PyTorch's does, by module and operator, forward and backward."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch

import rushlight as rl
from rushlight.utils.flop_counter import FlopCounterMode, register_flop_formula
from tests.dispatching.test_modes import CASES


def counted(t: Any, name: str) -> dict[str, dict[str, int]]:
    counter = import_module(t.__name__ + ".utils.flop_counter").FlopCounterMode(display=False)
    make, *shapes = CASES[name]
    f, args = make(t, t.nn), [t.randn(*shape, requires_grad=True) for shape in shapes]
    with counter:
        f(*args).sum().backward()
    return {name: {str(op): count for op, count in counts.items()} for name, counts in counter.get_flop_counts().items()}


@pytest.mark.parametrize("name", ["perceptron", "sequences", "images", "group norm", "attention", "products"])
def test_counts(name: str) -> None:
    assert counted(rl, name) == counted(torch, name) != {}


def test_attention() -> None:
    def run(t: Any) -> int:
        q, k, v = (t.randn(1, 2, n, 4, requires_grad=True) for n in (3, 5, 5))
        with import_module(t.__name__ + ".utils.flop_counter").FlopCounterMode(display=False) as counter:
            t.nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
        return counter.get_total_flops()
    assert run(rl) == run(torch)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    net = rl.nn.Sequential(rl.nn.Linear(300, 400), rl.nn.ReLU(), rl.nn.Linear(400, 100))
    with FlopCounterMode(depth=2):
        net(rl.randn(50, 300))
    assert capsys.readouterr().out == """\
Module             FLOP    % Total
--------------  -------  ---------
Sequential      16.000M    100.00%
 - aten.addmm   16.000M    100.00%
 Sequential.0   12.000M     75.00%
  - aten.addmm  12.000M     75.00%
 Sequential.2    4.000M     25.00%
  - aten.addmm   4.000M     25.00%
"""
    with FlopCounterMode():
        rl.ones(2) + 1
    assert capsys.readouterr().out.splitlines()[-1].split() == ["Global", "0", "0%"]


def test_operators_of_ones_own() -> None:
    def relu_flop(shape: Any, *, out_shape: Any = None) -> int:
        return shape[0] * 10
    with FlopCounterMode(display=False, custom_mapping={rl.ops.aten.relu: relu_flop}) as counter:
        rl.relu(rl.randn(7))
    assert counter.get_total_flops() == 70
    with pytest.raises(RuntimeError, match="duplicate registrations"):
        register_flop_formula(rl.ops.aten.mm)(relu_flop)
    with pytest.raises(ValueError, match="OpOverloadPacket"):
        register_flop_formula("mm")(relu_flop)
