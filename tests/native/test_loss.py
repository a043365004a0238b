"""Native losses against their NumPy twins and against torch."""

import itertools

import numpy as np
import pytest
import torch

import rushlight as rl
from rushlight.kernels import loss as L
from rushlight.kernels import native

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]
DTYPES = ["f4", "f8"]


def close(ours, twin, dtype):
    ours, twin = np.asarray(ours), np.asarray(twin)
    assert ours.shape == twin.shape
    np.testing.assert_allclose(ours, twin, rtol=1e-4 if dtype == "f4" else 1e-11, atol=1e-5 if dtype == "f4" else 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (300, 17), (3, 2000), (4, 5, 7), (2, 21, 30, 11), (3, 4, 1)], ids=str)
def test_classes(shape, dtype):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 4).astype(dtype)
    t = rng.integers(0, shape[1], shape[:1] + shape[2:])
    some = np.where(rng.random(t.shape) < 0.3, -100, t)
    shares = rng.random(shape).astype(dtype)
    weight = rng.random(shape[1]).astype(dtype)
    up = rng.standard_normal(t.shape).astype(dtype)
    for target, w, smoothing in itertools.product((t, some, shares), (None, weight), (0.0, 0.2)):
        args = (x, target, w, -100, smoothing)
        ours, twin = L.entropy(*args), L.entropy.fallback(*args)
        for a, b in zip(ours, twin, strict=True):
            close(a, b, dtype)
        for g, factor in ((np.array(0.7, dtype), 1.0), (np.array(0.7, dtype), 0.3), (up, 1.0)):
            close(L.entropy_backward(*args, ours[1], g, factor), L.entropy_backward.fallback(*args, twin[1], g, factor), dtype)
        if target is not shares and not smoothing:
            for a, b in zip(L.nll(*args), L.nll.fallback(*args), strict=True):
                close(a, b, dtype)
            for g, factor in ((np.array(0.7, dtype), 1.0), (np.array(0.7, dtype), 0.3), (up, 1.0)):
                close(L.nll_backward(*args, g, factor), L.nll_backward.fallback(*args, g, factor), dtype)
    for each in (L.entropy, L.nll):
        with pytest.raises(IndexError, match=f"Target {shape[1]} is out of bounds"):
            each(x, np.full_like(t, shape[1]), None, -100, 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 100, 70_001])
@pytest.mark.parametrize("name", list(L._PAIRS))
def test_pairs(name, n, dtype):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((2, n)).astype(dtype)
    if name in ("logistic", "kl"):
        t = np.abs(t)
        t[0] = 0
    for p in (0.5, 2.0):
        close(L.pair_loss(name, x, t, p, None), L.pair_loss.fallback(name, x, t, p, None), dtype)
        close(L.pair_loss(name, x, t, p, 1 / n), L.pair_loss.fallback(name, x, t, p, 1 / n), dtype)
        for g in (np.array(0.3, dtype), rng.standard_normal(n).astype(dtype)):
            close(L.pair_slope(name, g, x, t, p), L.pair_slope.fallback(name, g, x, t, p), dtype)
        close(L.pair_loss(name, x[::2], t[::2], p, None), L.pair_loss.fallback(name, x[::2], t[::2], p, None), dtype)


FUNCTIONS = {
    "mse_loss": {}, "l1_loss": {}, "smooth_l1_loss": {"beta": 0.7}, "huber_loss": {"delta": 0.7}, "binary_cross_entropy_with_logits": {},
    "kl_div": {}, "kl_div log": {"log_target": True},
}


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "batchmean"])
@pytest.mark.parametrize("name", list(FUNCTIONS))
@pytest.mark.filterwarnings("ignore:reduction")
def test_pairs_against_torch(name, reduction):
    function = name.split()[0]
    if reduction == "batchmean" and function != "kl_div":
        pytest.skip("for kl_div only")
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((4, 6)), np.abs(rng.standard_normal((4, 6)))
    results = []
    for t in (rl, torch):
        x, y = t.tensor(a, requires_grad=True), t.tensor(b, requires_grad="kl" not in name and "entropy" not in name)
        r = getattr(t.nn.functional, function)(x, y, reduction=reduction, **FUNCTIONS[name])
        (g,) = t.autograd.grad(r.sum() if r.ndim else r, x, create_graph=True)
        h = t.autograd.grad((g * g).sum(), x, allow_unused=True)[0] if g.requires_grad else None
        results.append((r, g, h, y.grad))
        if y.requires_grad:
            results[-1] += (t.autograd.grad(getattr(t.nn.functional, function)(x, y, reduction=reduction, **FUNCTIONS[name]).sum(), y)[0],)
    for ours, theirs in zip(*results, strict=True):
        if theirs is not None and ours is not None:
            np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(force=True), rtol=1e-9, atol=1e-12)
    with np.errstate(all="ignore"):
        odd = np.array([np.nan, np.inf, -np.inf, 0.0, 200.0, -200.0])
        for y in (odd, np.ones(6), np.zeros(6)):
            ours, theirs = (getattr(t.nn.functional, function)(t.tensor(odd), t.tensor(y), reduction="none", **FUNCTIONS[name]) for t in (rl, torch))
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 5, 2), (2, 5, 3, 4)], ids=str)
def test_cross_entropy_against_torch(shape, weighted, smoothing, reduction):
    rng = np.random.default_rng(2)
    places = shape[:1] * (len(shape) > 1) + shape[2:]
    a, w, p = rng.standard_normal(shape), rng.random(5), rng.random(shape)
    t = rng.integers(0, 5, places)
    some = np.where(rng.random(places) < 0.4, -100, t)
    for target in (t, some, p):
        results = []
        for lib in (rl, torch):
            x = lib.tensor(a, requires_grad=True)
            r = lib.nn.functional.cross_entropy(x, lib.tensor(target), lib.tensor(w) if weighted else None, reduction=reduction, label_smoothing=smoothing)
            g, = lib.autograd.grad((r * r).sum(), x, create_graph=True)
            h, = lib.autograd.grad((g * g).sum(), x)
            results.append([r, g, h])
            if target is not p:
                y = lib.nn.functional.nll_loss(x, lib.tensor(target), lib.tensor(w) if weighted else None, reduction=reduction)
                results[-1] += [y, lib.autograd.grad((y * y).sum(), x)[0]]
        for ours, theirs in zip(*results, strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(force=True), rtol=1e-9, atol=1e-12)
    with pytest.raises(IndexError):
        rl.nn.functional.cross_entropy(rl.tensor(a), rl.tensor(np.full(places, 9)))
