"""Batch norm and pooling on the device: the kernels' own source, run by the emulator, against PyTorch on the CPU."""

import numpy as np
import pytest
import torch

import cuda_standin
import rushlight as rl
from rushlight.kernels.cuda import channel_norm

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
    (m, tm), (v, tv) = pair("float32", shape[1], seed=3, grad=False), pair("float32", shape[1], seed=4, grad=False)
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
