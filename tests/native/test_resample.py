"""Native resizing against its NumPy twin and torch: all modes, odd sizes, gradients, nan and inf, one and two threads."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.kernels import native, resample
from tests.support.twins import use_twins

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

MODES = [("nearest", None), ("nearest-exact", None), ("linear", False), ("linear", True), ("cubic", False), ("cubic", True), ("area", None)]
SIZES = [((5,), (9,)), ((64,), (17,)), ((1,), (33,)), ((40,), (1,)), ((7, 9), (15, 4)), ((28, 33), (56, 66)), ((1, 40), (3, 40)), ((50, 34), (50, 21)),
         ((3, 5, 6), (7, 5, 19)), ((8, 4, 20), (3, 9, 20))]
CASES = [(mode, align, size, out) for mode, align in MODES for size, out in SIZES if mode != "cubic" or len(size) == 2]


def both(x, size, mode, align, **options):
    """Result, gradient and second gradient of both sides."""
    n = len(size)
    name = {"linear": ("linear", "bilinear", "trilinear")[n - 1], "cubic": "bicubic"}.get(mode, mode)
    sides = []
    for t in (rl, pt):
        a = t.tensor(x, requires_grad=True)
        y = t.nn.functional.interpolate(a, size, mode=name, align_corners=align, **options)
        g = t.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)), dtype=y.dtype, requires_grad=True)
        d, = t.autograd.grad(y, a, g, create_graph=True)
        dd, = t.autograd.grad(d, g, t.ones_like(d))
        sides.append((y.detach(), d.detach(), dd))
    return zip(*sides, strict=True)


@pytest.mark.parametrize("side", ["native", "twin"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_modes(case, dtype, side, monkeypatch):
    mode, align, size, out = case
    if side == "twin":
        use_twins(monkeypatch, resample)
    x = np.random.default_rng(0).standard_normal((3, 2, *size)).astype(dtype)
    for got, want in both(x, out, mode, align):
        assert got.numpy().dtype == dtype and tuple(got.shape) == tuple(want.shape)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=0, atol=(1e-4 if mode == "cubic" else 2e-5) if dtype == "f4" else 1e-12)


@pytest.mark.parametrize("mode, align", [("linear", False), ("linear", True), ("cubic", False), ("cubic", True), ("lanczos", None)])
@pytest.mark.parametrize("size, out", [((40, 33), (10, 11)), ((9, 7), (18, 5)), ((64, 8), (7, 8)), ((5, 6), (1, 1))])
def test_antialias(size, out, mode, align):
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype("f8")
    for got, want in both(x, out, mode, align, antialias=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_halves(mode, dtype):
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 8)).astype("f4")
    got, want = (t.nn.functional.interpolate(t.tensor(x).to(getattr(t, dtype)), (13, 6), mode=mode) for t in (rl, pt))
    assert str(got.dtype) == str(want.dtype)
    np.testing.assert_allclose(got.float().numpy(), want.float().numpy(), rtol=2e-2, atol=2e-2)


def test_nearest_takes_all_dtypes():
    for dtype in ("uint8", "float64", "float32"):
        x = (np.random.default_rng(0).random((2, 1, 4, 5)) * 200).astype(dtype)
        got, want = (t.nn.functional.interpolate(t.tensor(x), (7, 3)) for t in (rl, pt))
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    x = (np.random.default_rng(0).random((2, 1, 4, 5)) * 200).astype("u1")
    for mode in ("bilinear", "bicubic"):
        got, want = (t.nn.functional.interpolate(t.tensor(x), (7, 3), mode=mode).numpy().astype(int) for t in (rl, pt))
        assert np.abs(got - want).max() <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_stay_where_they_are(bad):
    x = np.ones((1, 1, 20, 40), "f4")
    x[0, 0, 7, 30] = bad
    for mode in ("nearest", "bilinear", "area"):
        got, want = (t.nn.functional.interpolate(t.tensor(x), (13, 61), mode=mode).numpy() for t in (rl, pt))
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    table = resample.Table([[0, 3, 3]], None, 5)                            # elements that nothing looks at have no gradient
    g = np.full((1, 1, 3), bad, "f4")
    np.testing.assert_array_equal(resample.resample(g, (table.adjoint(),))[0, 0, [1, 2, 4]], 0)


def test_empty_and_not_contiguous(monkeypatch):
    table = resample.Table([[0, 2, 4], [1, 2, 3]], np.array([[.5, 1, .25], [.5, 0, .75]], "f4"), 5)
    x = np.asfortranarray(np.random.default_rng(0).standard_normal((2, 3, 5, 5)).astype("f4"))
    results = [resample.resample(a, tables) for a in (x, x[:0], x[:, ::2, :, ::-1]) for tables in ((table, None), (None, table), (table, table), (None, None))]
    assert not np.shares_memory(results[3], x)
    use_twins(monkeypatch, resample)
    twins = [resample.resample(a, tables) for a in (x, x[:0], x[:, ::2, :, ::-1]) for tables in ((table, None), (None, table), (table, table), (None, None))]
    for got, want in zip(results, twins, strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_refuses_what_does_not_fit():
    x = np.ones((1, 1, 4), "f4")
    index = np.zeros((1, 2), "i4")
    for table in (resample.Table(index + 4, None, 4), resample.Table(index, np.ones((1, 2), "f8"), 4), resample.Table(index, np.ones((2, 1), "f4"), 4), resample.Table(index[:0], None, 4)):
        with pytest.raises(ValueError):
            resample.resample(x, (table,))



@pytest.mark.parametrize("side", ["native", "twin"])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("shape, widths", [((2, 3, 9), (3, 2)), ((2, 9), (0, 5)), ((2, 3, 7, 33), (1, 2, 3, 0)), ((3, 7, 5), (2, 2, -1, 3)),
                                           ((2, 2, 4, 5, 6), (1, 0, 2, 2, 3, 1))])
def test_padding(shape, widths, mode, side, monkeypatch):
    if side == "twin":
        use_twins(monkeypatch, resample)
    results = []
    for t in (rl, pt):
        x = t.tensor(np.random.default_rng(0).standard_normal(shape).astype("f4"), requires_grad=True)
        y = t.nn.functional.pad(x, widths, mode)
        g, = t.autograd.grad(y, x, t.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)).astype("f4")))
        results.append((y.detach().numpy(), g.numpy()))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)
