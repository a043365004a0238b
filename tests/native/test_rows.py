"""Native reductions, softmax, norms and cross entropy: against NumPy in double, and torch, over shapes, axes, layouts and threads."""

import numpy as np
import pytest
import torch

import rushlight
from rushlight.kernels import native
from rushlight.kernels import reduce as R
from rushlight.kernels import softmax as S

pytestmark = pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})")
RNG = np.random.default_rng(0)
SHAPES = [(5,), (8, 8), (3, 70), (70, 3), (4, 1, 6), (2, 3, 4, 5), (1000, 130), (130, 1000), (3, 400, 90), (40, 3, 700), (100_003,), (2, 70_001)]


def axes_of(shape):
    n = len(shape)
    yield None
    yield from range(n)
    yield -1
    yield tuple(range(n))
    if n > 2:
        yield (0, n - 1)
        yield (0, 1)
        yield (n - 2, n - 1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reductions(shape, dtype):
    a = RNG.standard_normal(shape).astype(dtype)
    eps = np.finfo(dtype).eps
    wide = a.astype("f8")
    for axis in axes_of(shape):
        for keep in (False, True):
            want = np.add.reduce(wide, axis, None, None, keep)
            size = np.add.reduce(np.abs(wide), axis, None, None, keep)
            got = R.sum(a, axis, keep)
            assert got.dtype == a.dtype and got.shape == np.shape(want)
            assert (np.abs(got - want) <= 8 * eps * size + eps).all()
            count = a.size / max(got.size, 1)
            assert (np.abs(R.mean(a, axis, keep) - want / count) <= 8 * eps * size / count + eps).all()
            np.testing.assert_array_equal(R.amax(a, axis, keep), np.maximum.reduce(a, axis, None, None, keep))
            np.testing.assert_array_equal(R.amin(a, axis, keep), np.minimum.reduce(a, axis, None, None, keep))
            np.testing.assert_allclose(R.norm(a, axis, keep), np.sqrt(np.add.reduce(wide * wide, axis, None, None, keep)), rtol=20 * eps)
            axes = tuple(range(a.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis % a.ndim,)
            variance, mean = R.variance(a, axes, keep, max(count - 1, 1))
            np.testing.assert_allclose(variance, np.var(wide, axes, ddof=min(1, count - 1), keepdims=keep), rtol=1e-4 if dtype == "f4" else 1e-11,
                                       atol=1e-9 if dtype == "f4" else 1e-12)
            np.testing.assert_allclose(mean, np.mean(wide, axes, keepdims=keep), rtol=1e-4, atol=1e-5)
            logs = np.log(np.add.reduce(np.exp(wide), axes, keepdims=keep))
            np.testing.assert_allclose(R.logsumexp(a, axes, keep), logs, rtol=20 * eps, atol=20 * eps)
            if isinstance(axis, int):
                for ours, arg in ((R.max_along, np.argmax), (R.min_along, np.argmin)):
                    values, at = ours(a, axis, keep)
                    np.testing.assert_array_equal(at, arg(a, axis, keepdims=keep))
                    np.testing.assert_array_equal(values, arg is np.argmax and a.max(axis, keepdims=keep) or a.min(axis, keepdims=keep)
                                                  if values.size == 1 else (a.max if arg is np.argmax else a.min)(axis, keepdims=keep))


def test_reductions_of_special_values_and_layouts():
    a = RNG.standard_normal((33, 45)).astype("f4")
    a[3, 4], a[5, 6], a[7] = np.nan, np.inf, -np.inf
    for each in (a, a.T, a[::2], a[:, ::-1], np.broadcast_to(a[0], (5, 45))):
        for axis in (None, 0, 1):
            with np.errstate(all="ignore"):
                np.testing.assert_allclose(R.sum(each, axis, False), np.add.reduce(each.astype("f8"), axis), rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(R.amax(each, axis, False), np.maximum.reduce(each, axis))
            np.testing.assert_array_equal(R.amin(each, axis, True), np.minimum.reduce(each, axis, keepdims=True))
        np.testing.assert_array_equal(R.max_along(each, 1, False)[1], np.argmax(each, 1))
        np.testing.assert_array_equal(R.min_along(each, 0, False)[1], np.argmin(each, 0))
    ties = np.zeros((4, 100), "f4")
    assert R.max_along(ties, 1, False)[1].tolist() == [0] * 4 and R.min_along(ties, 0, False)[1].tolist() == [0] * 100
    assert R.sum(np.zeros((0, 3), "f4"), 0, False).tolist() == [0, 0, 0]
    with pytest.raises(ValueError):
        R.amax(np.zeros((0, 3), "f4"), 0, False)
    with pytest.raises(np.exceptions.AxisError):
        R.sum(a, 2, False)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax(shape, dtype):
    RNG = np.random.default_rng(len(shape))
    a = (RNG.standard_normal(shape) * 4).astype(dtype)
    g = RNG.standard_normal(shape).astype(dtype)
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype == "f4" else {"rtol": 1e-12, "atol": 1e-13}
    for axis in range(-1, len(shape)):
        for ours, twin, back, back_twin in ((S.softmax, S.softmax.fallback, S.softmax_backward, S.softmax_backward.fallback),
                                            (S.log_softmax, S.log_softmax.fallback, S.log_softmax_backward, S.log_softmax_backward.fallback)):
            want = twin(a.astype("f8"), axis)
            got = ours(a, axis)
            assert got.dtype == a.dtype and got.flags.c_contiguous
            np.testing.assert_allclose(got, want, **tolerance)
            np.testing.assert_allclose(back(g, got, axis), back_twin(g.astype("f8"), want, axis), rtol=1e-3 if dtype == "f4" else 1e-9,
                                       atol=1e-4 if dtype == "f4" else 1e-10)
            strided = np.ascontiguousarray(a.T).T
            np.testing.assert_array_equal(ours(strided, axis), got)
            np.testing.assert_allclose(back(np.broadcast_to(g[:1], shape), got, axis), back_twin(np.broadcast_to(g[:1], shape), got, axis),
                                       rtol=1e-3, atol=1e-3 if dtype == "f4" else 1e-9)


def test_softmax_of_special_values():
    for values in ([np.inf, 0, 1], [-np.inf, 0, 1], [-np.inf] * 3, [np.nan, 1, 2], [1e30, -1e30, 0], [0.0]):
        for repeat in (1, 40):
            ours, theirs = (t.tensor(values * repeat) for t in (rushlight, torch))
            for name in ("softmax", "log_softmax"):
                np.testing.assert_allclose(getattr(ours, name)(0).numpy(), getattr(theirs, name)(0).numpy(), rtol=1e-5)


def both(make):
    return [make(t) for t in (rushlight, torch)]


NORMS = {
    "layer": lambda t: (t.nn.LayerNorm((37,)), (5, 4, 37)),
    "layer of a matrix": lambda t: (t.nn.LayerNorm((6, 7)), (300, 6, 7)),
    "layer without bias": lambda t: (t.nn.LayerNorm(128, bias=False), (600, 128)),
    "layer without weight": lambda t: (t.nn.LayerNorm(20, elementwise_affine=False), (3, 20)),
    "layer of everything": lambda t: (t.nn.LayerNorm((4, 5)), (4, 5)),
    "group": lambda t: (t.nn.GroupNorm(3, 12), (5, 12, 6, 7)),
    "group of vectors": lambda t: (t.nn.GroupNorm(2, 12), (40, 12)),
    "instance": lambda t: (t.nn.InstanceNorm2d(6, affine=True), (5, 6, 9, 8)),
    "batch": lambda t: (t.nn.BatchNorm2d(6), (20, 6, 9, 8)),
    "batch of vectors": lambda t: (t.nn.BatchNorm1d(37), (50, 37)),
    "batch without affine": lambda t: (t.nn.BatchNorm1d(70, affine=False), (50, 70, 3)),
    "rms": lambda t: (t.nn.RMSNorm(33), (7, 33)),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NORMS)
def test_norms(name, dtype, threads):
    rushlight.set_num_threads(threads)
    try:
        modules = both(NORMS[name])
        data = RNG.standard_normal(modules[0][1]) * 3 + 1
        grad = RNG.standard_normal(modules[0][1])
        results = []
        for t, (module, shape) in zip((rushlight, torch), modules, strict=True):
            module = module.to(getattr(t, dtype))
            for i, p in enumerate(module.parameters()):
                p.data.copy_(t.linspace(0.5 + i, 1.5, p.numel(), dtype=getattr(t, dtype)).reshape(p.shape))
            x = t.tensor(data, dtype=getattr(t, dtype), requires_grad=True)
            y = module(x)
            y.backward(t.tensor(grad, dtype=getattr(t, dtype)))
            results.append([y.detach().numpy(), x.grad.numpy(), *[p.grad.numpy() for p in module.parameters()], *[b.numpy() for b in module.buffers()]])
        tolerance = {"rtol": 2e-4, "atol": 2e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-10}
        for ours, theirs in zip(*results, strict=True):
            np.testing.assert_allclose(ours, theirs, **tolerance)
    finally:
        rushlight.set_num_threads(2)


@pytest.mark.parametrize("classes", [2, 10, 300])
@pytest.mark.parametrize("ignored", [False, True])
def test_cross_entropy(classes, ignored):
    logits = (RNG.standard_normal((70, classes)) * 3).astype("f4")
    target = RNG.integers(0, classes, 70)
    if ignored:
        target[::3] = -100
    results = []
    for t in (rushlight, torch):
        x = t.tensor(logits, requires_grad=True)
        loss = t.nn.functional.cross_entropy(x, t.tensor(target))
        (loss * 3).backward()
        results.append((loss.item(), x.grad.numpy()))
    assert abs(results[0][0] - results[1][0]) < 1e-6 * max(1, abs(results[1][0]))
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4, atol=1e-7)
    for t in (rushlight, torch):
        with pytest.raises(IndexError, match="Target 999 is out of bounds"):
            t.nn.functional.cross_entropy(t.tensor(logits), t.tensor(np.where(target == target[1], 999, target)))
        assert np.isnan(t.nn.functional.cross_entropy(t.tensor(logits), t.tensor(np.full(70, -100))).item())


OPTIMIZERS = [("SGD", {}), ("SGD", {"momentum": 0.9}), ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}), ("Adam", {}),
              ("Adam", {"amsgrad": True, "maximize": True}), ("AdamW", {}), ("Adamax", {}), ("NAdam", {}), ("RAdam", {}), ("Adagrad", {}),
              ("Adadelta", {}), ("ASGD", {}), ("Rprop", {}), ("RMSprop", {}), ("RMSprop", {"momentum": 0.9, "centered": True})]


@pytest.mark.parametrize("name, options", OPTIMIZERS, ids=str)
def test_optimizer_steps_are_native(name, options, monkeypatch):
    """Every rule has a program, which does what the rule does in NumPy; and a copy of a stepped optimizer steps as well."""
    import copy

    from rushlight.optim import pointwise
    results = []
    for native_too in (True, False):
        rushlight.manual_seed(0)
        monkeypatch.setattr(pointwise, "library", native.library if native_too else None)
        parameters = [rushlight.nn.Parameter(rushlight.randn(*shape, dtype=dtype)) for shape, dtype in
                      [((3, 5), rushlight.float32), ((20_001,), rushlight.float32), ((7,), rushlight.float64), ((0, 2), rushlight.float32)]]
        optimizer = getattr(rushlight.optim, name)(parameters, lr=0.01, **options)
        for step in range(8):
            for p in parameters:
                p.grad = rushlight.randn(*p.shape, dtype=p.dtype)
            if step == 6:       # not contiguous: NumPy's way, from here on
                parameters[0].grad = rushlight.randn(5, 3).t()
            optimizer.step()
        programs = [program for recordings in optimizer._stepper.known.values() for each in recordings for program in each._native.values()]
        assert bool(programs) is native_too and None not in programs
        copy.deepcopy(optimizer).step()
        results.append([p.detach().numpy() for p in parameters])
    for ours, twin in zip(*results, strict=True):
        np.testing.assert_allclose(ours, twin, rtol=1e-5, atol=1e-6)
