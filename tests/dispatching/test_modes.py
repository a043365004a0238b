"""Operators as PyTorch's dispatcher shows them: the same lists, forward and backward, and the same numbers as without a mode."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import rushlight as rl
from rushlight.utils import _python_dispatch as own
from rushlight.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing


def logger(t: Any) -> Any:
    """A mode that keeps the operators' names, for one of the two libraries."""
    base = import_module(t.__name__ + ".utils._python_dispatch").TorchDispatchMode

    class Log(base):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))
    return Log()


def heads(t: Any) -> Any:
    class Heads(t.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = t.nn.Linear(8, 24), t.nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            n, length, width = x.shape
            q, k, v = self.qkv(x).reshape(n, length, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
            a = ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1)
            return self.out((a @ v).transpose(1, 2).reshape(n, length, width))
    return Heads()


# name -> (the function or module, of torch and nn; the shapes of its arguments)
CASES: dict[str, Any] = {
    "perceptron": (lambda t, nn: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (3, 4)),
    "sequences": (lambda t, nn: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2, bias=False)), (2, 3, 4)),
    "images": (lambda t, nn: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                           nn.Linear(4, 2)), (2, 3, 10, 10)),
    "evaluation": (lambda t, nn: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2)).eval(), (2, 3, 10, 10)),
    "layer norm": (lambda t, nn: nn.Sequential(nn.LayerNorm(4), nn.Tanh(), nn.Dropout(0.5), nn.Sigmoid()), (3, 4)),
    "group norm": (lambda t, nn: nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.ConvTranspose1d(4, 2, 2, stride=2)), (2, 2, 6)),
    "attention": (lambda t, nn: heads(t), (2, 3, 8)),
    "cross entropy": (lambda t, nn: lambda x: nn.functional.cross_entropy(x, t.tensor([0, 1, 2])), (3, 4)),
    "mse": (lambda t, nn: lambda x: nn.functional.mse_loss(x, t.zeros(3, 4)), (3, 4)),
    "losses": (lambda t, nn: lambda x: nn.functional.binary_cross_entropy_with_logits(x, t.ones(3, 4)) + nn.functional.l1_loss(x, t.ones(3, 4))
               + nn.functional.smooth_l1_loss(x, t.ones(3, 4)), (3, 4)),
    "embedding": (lambda t, nn: lambda w: nn.functional.embedding(t.tensor([[0, 1], [2, 1]]), w).mean(1), (5, 4)),
    "arithmetic": (lambda t, nn: lambda x, y: ((x * 2 + y - 1) / 3 - y ** 2 + (1 - x) + x.exp() * y + (x > 0) * y).abs().sqrt(), (3, 4), (3, 1)),
    "indexing": (lambda t, nn: lambda x: x[0] + x[1:].sum(0) + x[:, 1:2].mean() + x[t.tensor([0, 1])].max(), (3, 4)),
    "shapes": (lambda t, nn: lambda x: t.cat([x.t().reshape(-1), x.view(2, 6).flatten()]).unsqueeze(0).expand(2, -1).contiguous().squeeze(), (3, 4)),
    "pieces": (lambda t, nn: lambda x: t.stack([a * i for i, a in enumerate(x.chunk(2, 1))]).sum(dim=(0, 1)), (3, 4)),
    "reductions": (lambda t, nn: lambda x: nn.functional.softmax(x, -1).log() + nn.functional.log_softmax(x, 0) + x.max(1, keepdim=True)[0] + x.clamp(-1, 1)
                   + x.var(1, keepdim=True), (3, 4)),
    "dtypes": (lambda t, nn: lambda x: x.double().float().to(t.float64).sum() + x.detach().half().float().sum(), (3, 4)),
    "in place": (lambda t, nn: lambda x: (x * 1).add_(1).mul_(2).relu_(), (3, 4)),
    "choices": (lambda t, nn: lambda x: t.where(x > 0, x, t.zeros_like(x)).masked_fill(x < -1, 0.5).gather(1, t.zeros(3, 1, dtype=t.long)), (3, 4)),
    "products": (lambda t, nn: lambda a, b: (a @ b).sum() + (a[0] @ b[0]).sum() + (a[0] @ b[0][:, 0]).sum() + (a @ b[0]).sum() + t.bmm(a, b).sum(), (2, 3, 4), (2, 4, 5)),
}


def run(t: Any, name: str, looked_at: bool) -> tuple[list[str], list[np.ndarray]]:
    """(the operators, result and gradients) of a case."""
    make, *shapes = CASES[name]
    t.manual_seed(0)
    f = make(t, t.nn)
    args = [t.randn(*shape, requires_grad=True) for shape in shapes]
    leaves = [*args, *(f.parameters() if isinstance(f, t.nn.Module) else ())]
    log = logger(t)
    if looked_at:
        log.__enter__()
    y = f(*args)
    y.sum().backward()
    if looked_at:
        log.__exit__(None, None, None)
    return log.names, [y.detach().numpy(), *[each.grad.numpy() for each in leaves]]


@pytest.mark.parametrize("name", CASES)
def test_the_operators_are_pytorchs(name: str) -> None:
    names, found = run(rl, name, True)
    assert names == run(torch, name, True)[0]
    for mine, plain in zip(found, run(rl, name, False)[1], strict=True):
        np.testing.assert_allclose(mine, plain, rtol=1e-5, atol=1e-6)


def test_a_mode_sees_arguments_and_may_answer() -> None:
    seen = []

    class Doubled(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append((func, args, kwargs))
            return func(*args, **kwargs) * 2 if func is rl.ops.aten.mul.Tensor else func(*args, **kwargs)
    x = rl.tensor([1.0, 2.0], requires_grad=True)
    with Doubled():
        y = x * 3
    assert seen[0][0] is rl.ops.aten.mul.Tensor and seen[0][1][0] is x and seen[0][1][1] == 3 and seen[0][2] == {}
    assert y.tolist() == [6.0, 12.0] and y.grad_fn.name() == "MulBackward0"
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]      # what a mode does is not recorded
    with Doubled():
        z = rl.sum(x, dim=0, keepdim=True)
    assert str(seen[-1][0]) == "aten.sum.dim_IntList" and seen[-1][1][1:] == ([0], True) and z.tolist() == [3.0]


def test_modes_nest_and_end() -> None:
    outer, inner = logger(rl), logger(rl)
    with outer:
        with inner:
            rl.ones(2) + 1
            assert own._get_current_dispatch_mode() is inner and own._get_current_dispatch_mode_stack() == [outer, inner]
            with own._disable_current_modes():
                rl.ones(2)
        rl.ones(2).neg()
    assert inner.names == ["aten.ones.default", "aten.add.Tensor"] and outer.names == [*inner.names, "aten.ones.default", "aten.neg.default"]
    assert own._get_current_dispatch_mode() is None and not own.is_in_torch_dispatch_mode()
    rl.ones(2)
    assert len(outer.names) == 4


def test_a_mode_without_an_answer_is_an_error() -> None:
    class Silent(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return NotImplemented
    with pytest.raises(TypeError, match="returned NotImplemented"), Silent():
        rl.ones(2) + 1
    with pytest.raises(NotImplementedError), TorchDispatchMode():
        rl.ones(2)


def test_function_modes_come_first() -> None:
    from rushlight.overrides import TorchFunctionMode
    order = []

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            order.append(func.__name__)
            return func(*args, **(kwargs or {}))
    log = logger(rl)
    layer, x = rl.nn.Linear(2, 2), rl.ones(1, 2)
    with log, Functions():
        layer(x)
    assert order == ["linear"] and log.names == ["aten.t.default", "aten.addmm.default"]


class Scaled(rl.Tensor):
    """A wrapper: a tensor and a factor, applied when it is looked at."""

    inner: Any

    @staticmethod
    def __new__(cls: Any, inner: Any) -> Any:
        return rl.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=inner.device, requires_grad=inner.requires_grad)

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __tensor_flatten__(self) -> Any:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, context: Any, size: Any, stride: Any) -> Any:
        return Scaled(inner["inner"])

    __torch_function__ = rl._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        LOG.append(str(func))
        from rushlight.utils._pytree import tree_map
        plain = tree_map(lambda each: each.inner if isinstance(each, Scaled) else each, args)
        out = func(*plain, **(kwargs or {}))
        wrapped = tree_map(lambda each: Scaled(each) if isinstance(each, rl.Tensor) else each, out)
        return return_and_correct_aliasing(func, args, kwargs or {}, wrapped)


LOG: list[str] = []


def test_a_wrapper_computes_and_differentiates() -> None:
    LOG.clear()
    inner = rl.randn(3, 4)
    x = Scaled(inner)
    assert type(x) is Scaled and x.shape == (3, 4) and x.dtype is rl.float32 and x.device.type == "cpu" and own.is_traceable_wrapper_subclass(x)
    w = rl.randn(4, 2)
    y = (x @ w).relu()
    assert type(y) is Scaled and LOG == ["aten.mm.default", "aten.relu.default"]
    np.testing.assert_array_equal(y.inner.numpy(), (inner @ w).relu().numpy())
    leaf = Scaled(rl.randn(3, 4)).requires_grad_()
    out = (leaf * 2).sum()
    out.backward()
    assert type(leaf.grad) is Scaled and leaf.grad.inner.tolist() == [[2.0] * 4] * 3
    z = Scaled(rl.ones(2))
    same = z.add_(1)
    assert same is z and z.inner.tolist() == [2.0, 2.0]
    again = own.transform_subclass(z, lambda name, each: each * 3)
    assert type(again) is Scaled and again.inner.tolist() == [6.0, 6.0]


def test_a_wrapper_needs_a_dispatch() -> None:
    class Plain(rl.Tensor):
        pass
    with pytest.raises(RuntimeError, match="must define __torch_dispatch__"):
        rl.Tensor._make_wrapper_subclass(Plain, (2,))


def test_programs_beside_wrappers_stay_as_they_are():
    """Once a class with __torch_dispatch__ has an instance, gradients of programs without it are still computed as ever: sparse ones, and under vmap."""
    class Wrapper(rl.Tensor):
        @staticmethod
        def __new__(cls, inner):
            return rl.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, requires_grad=inner.requires_grad)

        def __init__(self, inner):
            self.inner = inner

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*[each.inner if isinstance(each, Wrapper) else each for each in args], **(kwargs or {}))
    seen = []
    wrapped = Wrapper(rl.ones(2))
    table = rl.nn.Embedding(5, 2, sparse=True)
    table(rl.tensor([1, 3, 1])).sum().backward()
    assert table.weight.grad.is_sparse and table.weight.grad.to_dense()[1].tolist() == [2, 2]
    w = rl.ones(2, requires_grad=True)
    found = rl.func.vmap(rl.func.jacrev(lambda x: rl.polygamma(1, x * w).sum()))(rl.rand(3, 2) + 1)
    assert found.shape == (3, 2) and not seen
    assert (wrapped + 1).tolist() == [2, 2] and seen == ["aten.add.Tensor"]
