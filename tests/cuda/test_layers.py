"""Batch norm, pooling and activations on the device: the kernels' own source, run by the emulator, against PyTorch on the CPU."""

import re

import numpy as np
import pytest
import torch

import rushlight as rl
from rushlight.kernels.cuda import channel_norm
from tests.support import cuda_standin

TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


@pytest.fixture(autouse=True)
def cupy():
    with cuda_standin.cuda() as module:
        yield module


def pair(dtype, *shape, seed=0, grad=True, shift=0.0):
    """The same numbers as a tensor of ours on the device and one of PyTorch's in at least float32."""
    values = np.random.default_rng(seed).normal(size=shape) + shift
    kind = getattr(torch, dtype)
    theirs = torch.tensor(values).to(kind).to(torch.float64 if dtype == "float64" else torch.float32)
    ours = rl.tensor(theirs.numpy(), device="cuda").to(getattr(rl, dtype))
    return (ours.requires_grad_(), theirs.requires_grad_()) if grad else (ours, theirs)


def same(ours, theirs, dtype, factor=1.0):
    a, b = ours.detach().cpu().to(rl.float64).numpy(), theirs.detach().to(torch.float64).numpy()
    np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=factor * TOLERANCE[dtype] * max(1.0, np.abs(b).max(initial=0)))


# --- batch norm --------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (2, 5, 4, 8), (6, 4), (3, 2, 9), (2, 2, 3, 4, 4), (40, 1, 2), (1, 2, 3000)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(dtype, shape, training):
    x, tx = pair(dtype, *shape, shift=3.0)
    (w, tw), (b, tb) = pair(dtype, shape[1], seed=1), pair(dtype, shape[1], seed=2)
    statistics = "float64" if dtype == "float64" else "float32"
    (m, tm), (v, tv) = pair(statistics, shape[1], seed=3, grad=False), pair(statistics, shape[1], seed=4, grad=False)
    v, tv = v.abs() + 0.5, tv.abs() + 0.5
    y = rl.nn.functional.batch_norm(x, m, v, w, b, training, 0.3, 1e-3)
    tm, tv = tm.to(tx.dtype), tv.to(tx.dtype)
    ty = torch.nn.functional.batch_norm(tx, tm, tv, tw, tb, training, 0.3, 1e-3)
    same(m, tm, "float32")
    same(v, tv, "float32")
    same(y, ty, dtype)
    g, tg = pair(dtype, *shape, seed=5, grad=False)
    y.backward(g)
    ty.backward(tg.to(ty.dtype))
    for a, t in ((x.grad, tx.grad), (w.grad, tw.grad), (b.grad, tb.grad)):
        same(a, t, dtype, 4)
    assert x.grad.dtype == x.dtype and w.grad.dtype == w.dtype


ROWS = {"layer": lambda F, x, w, b: F.layer_norm(x, (5, 6), w, b, 1e-3), "group": lambda F, x, w, b: F.group_norm(x, 2, w, b, 1e-3),
        "instance": lambda F, x, w, b: F.instance_norm(x, None, None, w, b, True, 0.1, 1e-3), "rms": lambda F, x, w, b: F.rms_norm(x, (5, 6), w, 1e-3),
        "plain": lambda F, x, w, b: F.group_norm(x, 4, None, None, 1e-3) + F.rms_norm(x, (6,), None, 1e-3)}


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("name", ROWS)
def test_norms_of_rows(dtype, name):
    """Layer, group, instance and RMS norm: one kernel forward, one for the input's gradient; weights per column or per channel."""
    x, tx = pair(dtype, 3, 4, 5, 6)
    shape = (5, 6) if name in ("layer", "rms") else (4,)
    (w, tw), (b, tb) = pair(dtype, *shape, seed=1), pair(dtype, *shape, seed=2)
    g, tg = pair(dtype, 3, 4, 5, 6, seed=5, grad=False)
    y, ty = ROWS[name](rl.nn.functional, x, w, b), ROWS[name](torch.nn.functional, tx, tw, tb)
    same(y, ty, dtype)
    y.backward(g)
    ty.backward(tg)
    for a, t in ((x.grad, tx.grad), (w.grad, tw.grad), (b.grad, tb.grad)):
        assert (a is None) == (t is None)
        if a is not None:
            same(a, t, dtype, 4)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("ignored", [-100, 2])
def test_cross_entropy(dtype, ignored):
    x, tx = pair(dtype, 6, 5)
    t = [0, 2, 4, 2, 1, 3]
    y = rl.nn.functional.cross_entropy(x, rl.tensor(t, device="cuda"), ignore_index=ignored)
    ty = torch.nn.functional.cross_entropy(tx, torch.tensor(t), ignore_index=ignored)
    same(y, ty, dtype)
    y.backward()
    ty.backward()
    same(x.grad, tx.grad, dtype)


def test_a_large_mean_costs_no_precision(cupy, monkeypatch):
    monkeypatch.setattr(channel_norm, "_PIECE", 16)
    x = np.random.default_rng(0).normal(size=(40, 3, 12, 12)).astype(np.float32) + np.float32(1000)
    mean, var = channel_norm.channels_statistics(cupy.asarray(x))
    assert channel_norm._plan((cupy.asarray(x),)).slices > 1
    np.testing.assert_allclose(mean.get(), x.astype(np.float64).mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var.get(), x.astype(np.float64).var((0, 2, 3)), rtol=2e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("span", [8, 9])
def test_many_slices(cupy, monkeypatch, dtype, span):
    """Sums in slices are those of one slice; whole chunks and single elements."""
    monkeypatch.setattr(channel_norm, "THREADS", 32)
    monkeypatch.setattr(channel_norm, "_PIECE", 3)
    x, g = (np.random.default_rng(i).normal(size=(150, 2, span)).astype(dtype) for i in range(2))
    on_device = cupy.asarray(x), cupy.asarray(g)
    assert channel_norm._plan(on_device).slices > 1
    mean, var = channel_norm.channels_statistics(on_device[0])
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean.get(), wide.mean((0, 2)), atol=1e-6)
    np.testing.assert_allclose(var.get(), wide.var((0, 2)), rtol=1e-5)
    gx, gw, gb = channel_norm.channels_backward(on_device[1], on_device[0], None, mean, var, 0.0, True)
    hat = (wide - wide.mean((0, 2), keepdims=True)) / wide.std((0, 2), keepdims=True)
    np.testing.assert_allclose(gb.get(), g.astype(np.float64).sum((0, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gw.get(), (g.astype(np.float64) * hat).sum((0, 2)), rtol=1e-4, atol=1e-4)


def test_mixed_precision_keeps_the_weights(cupy):
    """float32 weights and statistics with a bfloat16 input, as under autocast."""
    norm = rl.nn.BatchNorm2d(3).to("cuda")
    x = rl.randn(2, 3, 4, 4).to("cuda", rl.bfloat16).requires_grad_()
    y = norm(x)
    y.float().pow(2).sum().backward()
    assert y.dtype == rl.bfloat16 and norm.weight.grad.dtype == rl.float32 and norm.running_var.dtype == rl.float32 and x.grad.dtype == rl.bfloat16


def test_double_backward_in_evaluation():
    x, tx = pair("float32", 2, 3, 4)
    w, tw = pair("float32", 3, seed=1)
    results = []
    for T, a, b, device in ((rl, x, w, "cuda"), (torch, tx, tw, "cpu")):
        y = T.nn.functional.batch_norm(a, T.full((3,), 0.5, device=device), T.full((3,), 2.0, device=device), b)
        g, = T.autograd.grad(y.pow(3).sum(), a, create_graph=True)
        g.pow(2).sum().backward()
        results.append((a.grad, b.grad))
    for ours, theirs in zip(*results):
        same(ours, theirs, "float32")


# --- pooling -----------------------------------------------------------------------------------------------------------------------------

POOLS = {
    "1d": ((2, 3, 9), 3, {}), "2d": ((2, 3, 6, 7), 2, {}), "2d overlapping": ((2, 2, 7, 9), 3, {"stride": 2, "padding": 1}),
    "2d ceil": ((1, 2, 6, 8), (3, 2), {"stride": (2, 3), "ceil_mode": True}), "3d": ((1, 2, 5, 4, 6), (2, 3, 2), {"stride": (1, 2, 2), "padding": (1, 1, 0)}),
    "wide": ((1, 1, 3, 300), (1, 4), {"stride": (1, 1)}), "no samples": ((0, 2, 4, 4), 2, {}),
}


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("name", POOLS)
def test_pooling(dtype, kind, name):
    shape, kernel, options = POOLS[name]
    x, tx = pair(dtype, *shape)
    run = [getattr(T.nn.functional, f"{kind}_pool{len(shape) - 2}d") for T in (rl, torch)]
    y, ty = run[0](x, kernel, **options), run[1](tx, kernel, **options)
    same(y, ty, dtype)
    if 0 not in shape:
        g, tg = pair(dtype, *y.shape, seed=1, grad=False)
        y.backward(g)
        ty.backward(tg)
        same(x.grad, tx.grad, dtype, 2)
        assert x.grad.dtype == x.dtype


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "int8"])
def test_max_pool_of_equals_and_nan(dtype):
    """The first of equals, the last nan; dilation; indices."""
    values = np.random.default_rng(0).integers(0, 3, (2, 2, 8, 9)).astype(dtype)
    if dtype.startswith("f"):
        values[0, 0, 2:5, 3:6] = np.nan
        values[1, 1] = -np.inf
    x, tx = rl.tensor(values, device="cuda"), torch.tensor(values)
    wanted = torch.nn.functional.max_pool2d(tx.float() if dtype == "float16" else tx, 3, 2, 1, 2, return_indices=True)
    y, index = rl.nn.functional.max_pool2d(x, 3, 2, 1, 2, return_indices=True)
    np.testing.assert_array_equal(y.cpu().numpy(), wanted[0].numpy().astype(dtype))
    np.testing.assert_array_equal(index.cpu().numpy(), wanted[1].numpy())
    if dtype == "float32":
        x, tx = x.requires_grad_(), tx.requires_grad_()
        g = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
        rl.nn.functional.max_pool2d(x, 3, 2, 1, 2).backward(rl.tensor(g, device="cuda"))
        torch.nn.functional.max_pool2d(tx, 3, 2, 1, 2).backward(torch.tensor(g))
        np.testing.assert_allclose(x.grad.cpu().numpy(), tx.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("shape, out", [((2, 3, 7), 3), ((2, 3, 5, 7), (3, 4)), ((1, 2, 5, 4, 6), (2, 3, 4)), ((2, 2, 3, 5), (5, 7)), ((2, 2, 6, 4), (3, 2)),
                                        ((2, 3, 5, 4), 1)])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_adaptive_pooling(dtype, shape, out, kind):
    x, tx = pair(dtype, *shape)
    run = [getattr(T.nn.functional, f"adaptive_{kind}_pool{len(shape) - 2}d") for T in (rl, torch)]
    y, ty = run[0](x, out), run[1](tx, out)
    same(y, ty, dtype)
    g, tg = pair(dtype, *y.shape, seed=1, grad=False)
    gx, = rl.autograd.grad(y, x, g, create_graph=True)
    tgx, = torch.autograd.grad(ty, tx, tg)
    same(gx, tgx, dtype, 2)


def test_pooling_twice_differentiable():
    results = []
    for T, x, device in ((rl, *pair("float32", 2, 2, 5, 7)[:1], "cuda"), (torch, *pair("float32", 2, 2, 5, 7)[1:], "cpu")):
        F = T.nn.functional
        y = F.max_pool2d(x, 2).sum() + F.avg_pool2d(x, 3, 2).pow(3).sum() + F.adaptive_avg_pool2d(x, (2, 3)).pow(3).sum()
        g, = T.autograd.grad(y, x, create_graph=True)
        g.pow(2).sum().backward()
        results.append(x.grad)
    same(*results, "float32")


def test_max_pooling_is_one_launch_each_way():
    from tests.support.cuda_emulator import LAUNCHES
    x = rl.randn(2, 2, 6, 6).to("cuda").requires_grad_()
    before = dict(LAUNCHES)
    y = rl.nn.functional.max_pool2d(x, 3, 2, 1)
    y.backward(y.detach())
    assert {name: n - before.get(name, 0) for name, n in LAUNCHES.items() if n != before.get(name, 0)} == {"max_pool_float32": 1, "max_pool_gradient_float32": 1}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_gradients_of_activations_are_one_launch(dtype, name):
    from tests.support.cuda_emulator import LAUNCHES
    x, tx = pair(dtype, 3, 4)
    g, tg = pair(dtype, 3, 4, seed=1, grad=False)
    y, ty = getattr(rl, name)(x), getattr(torch, name)(tx)
    before = LAUNCHES.copy()
    y.backward(g)
    ty.backward(tg)
    same(x.grad, tx.grad, dtype)
    launched = {re.sub("_[0-9a-f]{8}_", "_", key): n - before.get(key, 0) for key, n in LAUNCHES.items() if n != before.get(key, 0)}
    assert launched == {f"{name}_gradient_aa_dense_{dtype}": 1}      # the name without the digest of its formula
