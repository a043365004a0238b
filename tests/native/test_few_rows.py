"""Products of few rows with a matrix against NumPy's in double: every remainder of rows, columns and depth, steps of rows, bias and batches."""

import numpy as np
import pytest

import rushlight as rl
from rushlight.kernels import native
from rushlight.kernels.linear import linear

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

ROWS = (2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 21, 33, 47, 64, 65, 127, 128, 129)
SIZES = ((260, 1031), (517, 515), (1024, 128), (64, 8193), (66, 1100), (4099, 67), (3000, 10), (5000, 23))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("k, n", SIZES)
def test_products(k, n, dtype):
    rng = np.random.default_rng(k)
    eps = np.finfo(dtype).eps
    for m in ROWS:
        x, w, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (n, k), (n,)))
        wide = rng.standard_normal((n, k + 5)).astype(dtype)
        apart = rng.standard_normal((m, k + 5)).astype(dtype)
        tall = rng.standard_normal((k, n + 3)).astype(dtype)
        for got, parts in ((native.matmul(x, w.T), (x, w.T, 0)), (linear(x, w, bias), (x, w.T, bias)), (native.matmul(x, wide[:, 3:-2].T), (x, wide[:, 3:-2].T, 0)),
                           (native.matmul(x, tall[:, 1:-2]), (x, tall[:, 1:-2], 0)), (native.matmul(apart[:, 2:-3], tall[:, :n]), (apart[:, 2:-3], tall[:, :n], 0))):
            a, b, plus = (np.asarray(part, "f8") for part in parts)
            bound = 8 * eps * (np.abs(a) @ np.abs(b) + np.abs(plus))
            assert got.dtype == x.dtype and got.shape == (m, n)
            assert (np.abs(got - (a @ b + plus)) <= bound).all(), (m, np.abs(got - (a @ b + plus)).max())


def test_nan_and_infinity_stay_in_their_rows():
    x, w = np.ones((5, 700), "f4"), np.ones((1500, 700), "f4")
    x[1, 699], x[3, 0], w[1499, 5] = np.nan, np.inf, -np.inf
    for got in (native.matmul(x, w.T), native.matmul(x, np.ascontiguousarray(w.T))):
        assert np.isnan(got[1]).all() and (got[3, :-1] == np.inf).all() and np.isnan(got[3, -1])
        assert (got[[0, 2, 4], -1] == -np.inf).all() and (got[[0, 2, 4], :-1] == 700).all()


def test_batches_and_gradients():
    rl.manual_seed(0)
    x, w = rl.randn(3, 4, 300, requires_grad=True), rl.randn(1000, 300, requires_grad=True)
    y = rl.nn.functional.linear(x, w)
    batch = rl.randn(3, 6, 300) @ rl.randn(3, 300, 1200)
    assert batch.shape == (3, 6, 1200) and np.isfinite(batch.numpy()).all()
    y.square().sum().backward()
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    rl.nn.functional.linear(*wide).square().sum().backward()
    for ours, exact in zip((x, w), wide, strict=True):
        assert rl.allclose(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-2)
