"""Native pooling against its NumPy twin and torch: odd windows, overlaps, nan, -inf, one and two threads."""

import numpy as np
import pytest
import torch as pt

from rushlight.kernels import native, pooling
from tests.support.twins import use_twins

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

# (x, kernel, stride, padding, dilation, ceil)
CASES = [
    ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((64, 6, 28, 28), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 3, 9, 35), (3, 3), (2, 2), (1, 1), (1, 1), False),
    ((2, 3, 9, 35), (3, 2), (1, 3), (1, 0), (1, 1), True),
    ((2, 3, 12, 20), (3, 3), (1, 2), (1, 1), (2, 3), False),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1), False),
    ((3, 2, 100), (5,), (3,), (2,), (1,), True),
    ((2, 3, 35, 37), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 3, 7, 5), (3, 2), (3, 2), (0, 0), (1, 1), False),
    ((1, 2, 70, 80), (2, 2), (1, 1), (1, 1), (1, 1), False),
    ((2, 2, 40, 40), (20, 20), (20, 20), (0, 0), (1, 1), False),
    ((2, 2, 6, 7, 38), (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), False),
    ((1, 1, 2, 2), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 2, 5, 6, 7), (2, 3, 2), (2, 1, 2), (1, 1, 1), (1, 1, 1), True),
    ((0, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
]
PT_MAX = {1: pt.nn.functional.max_pool1d, 2: pt.nn.functional.max_pool2d, 3: pt.nn.functional.max_pool3d}


def sample(shape, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, shape).astype(dtype)            # many equals
    if x.size > 50:
        x.reshape(-1)[::37] = np.nan
        x.reshape(-1)[40:48] = -np.inf
    return x


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_max_pool(case, dtype, monkeypatch):
    shape, kernel, stride, padding, dilation, ceil = case
    x = sample(shape, dtype)
    tx = pt.from_numpy(x).requires_grad_()
    want, places = PT_MAX[x.ndim - 2](tx, kernel, stride, padding, dilation, ceil, return_indices=True)
    g = np.random.default_rng(1).standard_normal(want.shape).astype(dtype)
    gx = pt.autograd.grad(want, tx, pt.from_numpy(g))[0].numpy()
    want, places = want.detach().numpy(), places.numpy()
    out, geometry = want.shape[2:], (kernel, stride, padding, dilation)
    for side in ("native", "twin"):
        if side == "twin":
            use_twins(monkeypatch, pooling)
        for a in (x, np.asfortranarray(x)):
            y = pooling.max_forward(a, out, *geometry)
            np.testing.assert_array_equal(y, want)
            assert y.dtype == dtype
            values, taps = pooling.max_with_taps(a, out, *geometry)
            np.testing.assert_array_equal(values, want)
            np.testing.assert_array_equal(pooling.max_places(taps, shape[2:], *geometry), places)
            assert taps.dtype == ("u1" if np.prod(kernel) < 255 else "i4")
            for each in (g, np.asfortranarray(g)):
                np.testing.assert_allclose(pooling.max_gradient(each, taps, shape[2:], *geometry), gx, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", [c for c in CASES if set(c[4]) == {1}], ids=str)
def test_average(case, dtype, monkeypatch):
    shape, kernel, stride, padding, dilation, ceil = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    out = tuple(pooling.out_size(n, k, s, p, 1, ceil) for n, k, s, p in zip(shape[2:], kernel, stride, padding, strict=True))
    g = rng.standard_normal((*shape[:2], *out)).astype(dtype)
    got = pooling.average(x, out, kernel, stride, padding), pooling.average_gradient(g, shape[2:], kernel, stride, padding)
    use_twins(monkeypatch, pooling)
    want = pooling.average(x, out, kernel, stride, padding), pooling.average_gradient(g, shape[2:], kernel, stride, padding)
    for ours, twin in zip(got, want, strict=True):
        assert ours.dtype == twin.dtype and ours.shape == twin.shape
        np.testing.assert_allclose(ours, twin, rtol=1e-5, atol=1e-5)


def test_refuses_what_does_not_fit():
    x, one = np.ones((1, 1, 4, 4), "f4"), (1, 1)
    for args in ((x, (9, 9), (2, 2), (2, 2), (0, 0), one), (x, (2, 2), (0, 2), (2, 2), (0, 0), one), (x, (2,), (2, 2), (2, 2), (0, 0), one)):
        with pytest.raises(ValueError):
            pooling.max_forward(*args)
    assert pooling.max_forward(x.astype("i4"), (2, 2), (2, 2), (2, 2), (0, 0), one).dtype == "i4"       # for the twin
    y, taps = pooling.max_with_taps(x, (2, 2), (2, 2), (2, 2), (0, 0), one)
    for args in ((y.repeat(2, 1), taps, (4, 4), (2, 2), (2, 2), (0, 0), one), (y, taps.astype("i4"), (4, 4), (2, 2), (2, 2), (0, 0), one),
                 (y, taps, (1, 1), (2, 2), (2, 2), (0, 0), one)):
        with pytest.raises(ValueError):
            pooling.max_gradient(*args)
    with pytest.raises(ValueError):
        pooling.max_places(taps, (1, 1), (2, 2), (2, 2), (0, 0), one)
