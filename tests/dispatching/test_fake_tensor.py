"""`FakeTensorMode`: shapes, strides, dtypes and devices are PyTorch's, and nothing is computed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch

import rushlight as rl


def mode(t: Any, **options: Any) -> Any:
    return import_module(t.__name__ + "._subclasses.fake_tensor").FakeTensorMode(**options)


def described(x: Any) -> tuple[Any, ...]:
    return type(x).__name__, tuple(x.shape), x.stride(), str(x.dtype).split(".")[-1], x.device.type


def told(f: Any) -> tuple[str, str]:
    with pytest.raises(Exception) as error:
        f()
    return type(error.value).__name__, str(error.value).replace("rushlight", "torch")


def program(t: Any) -> list[Any]:
    nn, found = t.nn, []
    with mode(t):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5))
        x = t.randn(2, 3, 10, 10)
        y = net(x)
        found += [described(x), described(y), y.requires_grad, repr(x), repr(t.zeros(2, dtype=t.int64))]
        nn.functional.cross_entropy(y, t.tensor([1, 2])).backward()
        found += [(tuple(p.shape), tuple(p.grad.shape)) for p in net.parameters()]
        found += [told(lambda: y.sum().item()), told(lambda: bool(y.sum() > 0)), told(lambda: t.nonzero(x))]
        a = t.ones(3, 4).t()
        found += [described(each) for each in (a, a + 1, a[0] * 2.0, a.double(), a.max(0)[1], a.view(t.int32), a @ a.t(), t.arange(3), a > 0)]
    return found


def test_a_program_on_shapes() -> None:
    assert program(rl) == program(torch)


def test_real_tensors() -> None:
    def run(t: Any) -> list[Any]:
        fake, real = mode(t), t.randn(2, 3, requires_grad=True)
        like = fake.from_tensor(real)
        found = [described(like), like.requires_grad, fake.from_tensor(like) is like, described(like @ like.t())]
        with fake:
            found.append(told(lambda: like + real)[0])
        with mode(t, allow_non_fake_inputs=True):
            found.append(described(real + 1))
        found.append(import_module(t.__name__ + "._subclasses.fake_tensor").is_fake(like))
        return found
    assert run(rl) == run(torch)


def test_counting_without_computing() -> None:
    def run(t: Any) -> int:
        with mode(t), import_module(t.__name__ + ".utils.flop_counter").FlopCounterMode(display=False) as counter:
            t.nn.Linear(20000, 20000)(t.randn(64, 20000)).sum().backward()
        return counter.get_total_flops()
    assert run(rl) == run(torch) == 2 * 2 * 64 * 20000 * 20000


def test_symbols_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="shape_env"):
        mode(rl, shape_env=object())
