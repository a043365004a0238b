"""Native grid sampling against its composed twin and torch: all modes and paddings, gradients, nan and inf, one and two threads."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
import rushlight.nn  # noqa: F401
from rushlight.kernels import grid_sample as K
from rushlight.kernels import native

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

SHAPES = [((2, 3, 7, 9), (2, 5, 6, 2)), ((1, 5, 20, 33), (1, 17, 19, 2)), ((3, 1, 1, 4), (3, 2, 3, 2)), ((2, 2, 5, 6, 7), (2, 3, 4, 30, 3)),
          ((1, 3, 1, 1, 5), (1, 2, 2, 2, 3)), ((2, 3, 4, 4), (2, 0, 3, 2)), ((0, 3, 4, 4), (0, 2, 3, 2))]
CASES = [(x, grid, mode) for x, grid in SHAPES for mode in ("bilinear", "nearest", "bicubic") if mode != "bicubic" or len(x) == 4]


def sides(x, grid, *options):
    """Result and gradients of both."""
    results = []
    for t in (rl, pt):
        a, b = t.tensor(x, requires_grad=True), t.tensor(grid, requires_grad=True)
        y = t.nn.functional.grid_sample(a, b, *options)
        g = t.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)), dtype=y.dtype)
        results.append((y.detach().numpy(), *[d.numpy() for d in t.autograd.grad(y, (a, b), g)]))
    return zip(*results, strict=True)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_modes(case, padding, align, dtype):
    x_shape, grid_shape, mode = case
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal(x_shape).astype(dtype), (rng.random(grid_shape) * 3.2 - 1.6).astype(dtype)
    for got, want in sides(x, grid, mode, padding, align):
        assert got.dtype == dtype and got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-3 if dtype == "f4" else 1e-10, atol=2e-3 if dtype == "f4" else 1e-10)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_twin(mode, padding, monkeypatch):
    rng = np.random.default_rng(0)
    x, grid = rl.tensor(rng.standard_normal((2, 3, 8, 7)), requires_grad=True), rl.tensor(rng.random((2, 9, 5, 2)) * 3 - 1.5, requires_grad=True)
    results = []
    for _ in range(2):
        y = rl.nn.functional.grid_sample(x.float().double(), grid.transpose(1, 2).transpose(1, 2), mode, padding, False)
        first = rl.autograd.grad((y * y).sum(), (x, grid), create_graph=True)
        second = rl.autograd.grad(sum((f * f).sum() for f in first), (x, grid))
        results.append([t.detach().numpy() for t in (y, *first, *second)])
        monkeypatch.setattr(K, "grid_sample", lambda *args: NotImplemented)
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_nan_and_inf():
    x = np.arange(24.0, dtype="f4").reshape(1, 1, 4, 6)
    grid = np.array([[np.nan, 0], [0, np.nan], [np.inf, 0], [0, -np.inf], [1e30, 0], [0.25, 0.5]], "f4").reshape(1, 1, 6, 2)
    got, want = (t.nn.functional.grid_sample(t.tensor(x), t.tensor(grid), align_corners=False).numpy() for t in (rl, pt))
    np.testing.assert_allclose(got, want)
    assert np.isnan(got).sum() == 4                                                                 # a network that diverged shows
    x[0, 0, 0, 0] = np.nan                                                                          # seen by points near it alone
    grid = np.array([[-0.9, -0.9], [0.5, 0.5], [-3, -3]], "f4").reshape(1, 1, 3, 2)
    got, want = (t.nn.functional.grid_sample(t.tensor(x), t.tensor(grid), align_corners=False).numpy() for t in (rl, pt))
    np.testing.assert_allclose(got, want)
    assert np.isnan(got).sum() == 1


def test_not_contiguous_and_refused():
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((2, 3, 8, 7)).astype("f4"), (rng.random((2, 9, 5, 2)) * 2 - 1).astype("f4")
    y = K.grid_sample(x, grid, 0, 0, False)
    np.testing.assert_array_equal(K.grid_sample(np.asfortranarray(x), np.asfortranarray(grid), 0, 0, False), y)
    for other in ((x, grid, 3, 0, False), (x, grid, 0, 3, False), (x, grid[:1], 0, 0, False), (x, grid[..., :1], 0, 0, False), (x[:, :, :0], grid, 0, 0, False),
                  (x, grid.astype("f8"), 0, 0, False), (x[0], grid, 0, 0, False), (x, rl.zeros(2, 9, 5, 2, device="meta")._a, 0, 0, False)):
        assert K.grid_sample(*other) is NotImplemented
    assert K.grid_sample_gradients(y[:1], x, grid, 0, 0, False, True, True) is NotImplemented
