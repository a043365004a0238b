"""torch.utils.checkpoint against PyTorch's: gradients, random numbers, what is recomputed, errors."""

import gc
import weakref

import numpy as np
import pytest
import torch as pt
import torch.utils.checkpoint  # noqa: F401

import rushlight as rl
import rushlight.utils.checkpoint  # noqa: F401
from tests.support.common import assert_same

MODULES = (rl, pt)
BOTH_WAYS = pytest.mark.parametrize("reentrant", [False, True])


def model_of(m):
    m.manual_seed(0)
    return m.nn.Sequential(m.nn.Linear(6, 8), m.nn.ReLU(), m.nn.Dropout(0.5), m.nn.Linear(8, 6), m.nn.Tanh(), m.nn.Dropout(0.3))


@BOTH_WAYS
def test_gradients_and_dropout(reentrant):
    results = []
    for m in MODULES:
        model = model_of(m)
        x = m.randn(5, 6, requires_grad=True)
        plain_state = m.get_rng_state()
        expected = model(model(x).sin()).sum()
        gradients = m.autograd.grad(expected, [x, *model.parameters()])
        m.set_rng_state(plain_state)
        check = m.utils.checkpoint.checkpoint
        y = check(model, check(model, x, use_reentrant=reentrant).sin(), use_reentrant=reentrant).sum()
        assert y.item() == expected.item()
        state = m.get_rng_state()
        y.backward()
        assert m.equal(m.get_rng_state(), state)
        for a, b in zip(gradients, [x.grad, *(p.grad for p in model.parameters())], strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
        results.append([x.grad, *(p.grad for p in model.parameters())])
    assert_same(results[0], results[1])


@BOTH_WAYS
def test_other_numbers_without_the_state(reentrant):
    for m in MODULES:
        m.manual_seed(0)
        x = m.ones(1000, requires_grad=True)
        y = m.utils.checkpoint.checkpoint(lambda t, m=m: m.nn.functional.dropout(t, 0.5) * t, x, use_reentrant=reentrant, preserve_rng_state=False)
        y.sum().backward()
        assert not np.array_equal(x.grad.numpy() != 0, y.detach().numpy() != 0)


@BOTH_WAYS
def test_sequential(reentrant):
    results = []
    for m in MODULES:
        model = model_of(m)
        x = m.randn(5, 6, requires_grad=True)
        for segments in (1, 2, 3, 6):
            y = m.utils.checkpoint.checkpoint_sequential(model, segments, x, use_reentrant=reentrant)
            y.sum().backward()
        y = m.utils.checkpoint.checkpoint_sequential([m.sin, m.cos, m.exp], 3, x, use_reentrant=reentrant)
        results.append((y, x.grad))
    assert_same(results[0], results[1])


def test_how_often_the_region_runs():
    for m in MODULES:
        runs = []

        def region(t, scale=1.0, *, extra=None, runs=runs):
            runs.append("start")
            t = (t * scale).sin().exp()
            runs.append("end")
            return {"result": t + extra}

        x = m.ones(3, requires_grad=True)
        y = m.utils.checkpoint.checkpoint(region, x, 2.0, extra=m.ones(3), use_reentrant=False)["result"].sum()
        assert runs == ["start", "end"]
        y.backward(retain_graph=True)
        assert runs == ["start", "end", "start"]           # stopped early: exp's result was the last that was needed
        y.backward()
        assert runs == ["start", "end", "start", "start"]
        with m.utils.checkpoint.set_checkpoint_early_stop(False):
            y = m.utils.checkpoint.checkpoint(region, x, 2.0, extra=m.ones(3), use_reentrant=False)["result"].sum()
        y.backward()
        assert runs[-2:] == ["start", "end"]


def test_derivatives_of_derivatives():
    results = []
    for m in MODULES:
        m.manual_seed(0)
        x = m.randn(4, requires_grad=True, dtype=m.float64)
        y = m.utils.checkpoint.checkpoint(lambda t: (t * t).exp().sin() * t, x, use_reentrant=False)
        first, = m.autograd.grad(y.sum(), x, create_graph=True)
        second, = m.autograd.grad(first.sum(), x, create_graph=True)
        third, = m.autograd.grad(second.sum(), x)
        results.append([first, second, third])
    assert_same(results[0], results[1])


def test_saved_tensor_hooks_keep_the_history():
    """Second derivatives go through tensors whose hooks packed them without their history."""
    results = []
    for m in MODULES:
        x = m.tensor([0.3, 0.7], requires_grad=True, dtype=m.float64)
        with m.autograd.graph.saved_tensors_hooks(lambda t: t.detach().numpy().copy(), lambda a, m=m: m.from_numpy(a)):
            y = (x.exp() * x).tanh().prod()
            first, = m.autograd.grad(y, x, create_graph=True)
            second, = m.autograd.grad(first.sum(), x)
        results.append([first, second])
    assert_same(results[0], results[1])


def test_nested():
    results = []
    for m in MODULES:
        check = m.utils.checkpoint.checkpoint
        x = m.linspace(0, 1, 4, requires_grad=True)
        y = check(lambda t: check(lambda u: u.sin() * u, t.exp(), use_reentrant=False).tanh(), x, use_reentrant=False)
        y.sum().backward()
        results.append(x.grad)
    assert_same(results[0], results[1])


def test_custom_function_inside():
    results = []
    for m in MODULES:
        class Square(m.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx, g):
                x, = ctx.saved_tensors
                return 2 * x * g

        x = m.linspace(0, 1, 4, requires_grad=True)
        m.utils.checkpoint.checkpoint(lambda t, S=Square: S.apply(t).sin(), x, use_reentrant=False).sum().backward()
        results.append(x.grad)
    assert_same(results[0], results[1])


def test_memory_is_let_go():
    kept = []

    def region(t):
        hidden = (t * 2).exp()
        kept.append(weakref.ref(hidden._a if hasattr(hidden, "_a") else hidden))
        return hidden.sin()

    x = rl.ones(4, requires_grad=True)
    y = rl.utils.checkpoint.checkpoint(region, x, use_reentrant=False)
    gc.collect()
    assert kept[0]() is None
    y.sum().backward()
    gc.collect()
    assert all(each() is None for each in kept)


@BOTH_WAYS
def test_autocast_is_the_forward_passes(reentrant):
    for m in MODULES:
        seen = []

        def region(t, m=m, seen=seen):
            seen.append((m.is_autocast_enabled("cpu"), m.get_autocast_dtype("cpu")))
            return (t @ t).float().sin()

        x = m.ones(2, 2, requires_grad=True)
        with m.autocast("cpu"):
            y = m.utils.checkpoint.checkpoint(region, x, use_reentrant=reentrant)
        y.sum().backward()
        assert seen == [(True, m.bfloat16)] * 2


def test_contexts():
    for m in MODULES:
        entered = []

        class Note:
            def __init__(self, text):
                self.text = text

            def __enter__(self, entered=entered):
                entered.append(self.text)

            def __exit__(self, *exception):
                return None

        x = m.ones(2, requires_grad=True)
        y = m.utils.checkpoint.checkpoint(m.exp, x, use_reentrant=False, context_fn=lambda N=Note: (N("forward"), N("recompute")))
        y.sum().backward()
        assert entered == ["forward", "recompute"]


def changing(m, later):
    """A function that computes something else when it is called again."""
    calls = []

    def region(t):
        calls.append(1)
        return t.exp().sin() if len(calls) == 1 else later(t)
    return region


@pytest.mark.parametrize("later, text", [
    (lambda t: t[:2].exp().sin(), "different metadata"), (lambda t: t.exp(), "A different number of tensors"),
    (lambda t: t.double().exp().sin().float(), "different metadata")])
def test_regions_that_change(later, text):
    for m in MODULES:
        x = m.ones(3, requires_grad=True)
        y = m.utils.checkpoint.checkpoint(changing(m, later), x, use_reentrant=False)
        with pytest.raises(m.utils.checkpoint.CheckpointError, match=text):
            y.sum().backward()


def test_determinism_check_off():
    for m in MODULES:
        x = m.ones(3, requires_grad=True)
        y = m.utils.checkpoint.checkpoint(changing(m, lambda t: (t * 2).exp().sin()), x, use_reentrant=False, determinism_check="none")
        y.sum().backward()
        assert x.grad is not None


def test_debug_says_where():
    x = rl.ones(3, requires_grad=True)
    with rl.utils.checkpoint.set_checkpoint_debug_enabled(True):
        y = rl.utils.checkpoint.checkpoint(changing(rl, lambda t: t[:2].exp().sin()), x, use_reentrant=False)
    with pytest.raises(rl.utils.checkpoint.CheckpointError, match=r"number 0 here:\n(.*\n)*.*test_checkpoint.py(.*\n)*The recomputation is here"):
        y.sum().backward()


def test_errors():
    for m in MODULES:
        check = m.utils.checkpoint.checkpoint
        x = m.ones(3, requires_grad=True)
        with pytest.warns(UserWarning, match="use_reentrant"):
            check(m.exp, x)
        with pytest.warns(UserWarning, match="use_reentrant"):
            m.utils.checkpoint.checkpoint_sequential([m.exp, m.sin], 2, x)
        with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
            check(m.exp, m.ones(3), use_reentrant=True)
        with pytest.raises(ValueError, match="Unexpected keyword arguments: colour"):
            check(m.exp, x, use_reentrant=True, colour=1)
        with pytest.raises(ValueError, match="Unexpected keyword arguments: colour"):
            m.utils.checkpoint.checkpoint_sequential([m.exp, m.sin], 2, x, use_reentrant=False, colour=1)
        with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
            check(m.exp, x, use_reentrant=True, debug=True)
        with pytest.raises(ValueError, match="determinism_check should be one of"):
            check(m.exp, x, use_reentrant=False, determinism_check="wrong")
        with pytest.raises(RuntimeError, match="use_reentrant=True, torch.utils.checkpoint is incompatible"):
            m.autograd.grad(check(m.exp, x, use_reentrant=True).sum(), x)
        with pytest.raises(RuntimeError, match="none of output has requires_grad=True"):
            check(lambda t: t.detach(), x, use_reentrant=True).sum().backward()
        with pytest.raises(RuntimeError, match="Only tuple of tensors"):
            m.utils.checkpoint.detach_variable([x])
        a, b = m.utils.checkpoint.detach_variable((x, 3))
        assert a.requires_grad and a.is_leaf and a is not x and b == 3
    with pytest.raises(NotImplementedError):
        rl.utils.checkpoint.GraphExecGroup()
    with pytest.raises(NotImplementedError):
        rl.utils.checkpoint.create_selective_checkpoint_contexts([])
