"""Native convolution against its NumPy twin and torch: every product, odd sizes, strides, groups, one and two threads."""

import numpy as np
import pytest
import torch as pt

from rushlight.kernels import conv, native
from tests.support.twins import use_twins

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

# (x, w, stride, padding, dilation, groups)
CASES = [
    ((2, 3, 7, 6), (5, 3, 3, 2), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 7, 6), (5, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 8, 32, 32), (16, 8, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 20, 33, 35), (13, 20, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 64, 9, 9), (70, 64, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 4, 17, 40), (6, 4, 5, 3), (3, 2), (2, 1), (1, 1), 1),
    ((2, 4, 17, 20), (6, 4, 3, 3), (1, 1), (3, 4), (2, 3), 1),
    ((2, 4, 17, 20), (6, 4, 3, 3), (2, 2), (3, 4), (2, 2), 1),
    ((5, 16, 4, 4), (300, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((5, 400, 4, 4), (90, 400, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((4, 7, 10, 12), (9, 7, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((4, 7, 11, 13), (9, 7, 1, 1), (2, 3), (0, 0), (1, 1), 1),
    ((1, 1, 2, 2), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 1, 3, 3), (1, 1, 1, 1), (1, 1), (4, 4), (1, 1), 1),
    ((2, 6, 9, 9), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 32, 9, 9), (64, 4, 3, 3), (2, 1), (1, 1), (1, 1), 8),
    ((2, 6, 9, 40), (6, 1, 3, 3), (1, 1), (1, 1), (1, 1), 6),
    ((2, 6, 41, 39), (6, 1, 5, 3), (2, 2), (2, 1), (1, 1), 6),
    ((2, 6, 9, 8), (6, 1, 3, 3), (3, 1), (2, 4), (1, 2), 6),
    ((2, 6, 9, 8), (12, 1, 3, 3), (1, 1), (1, 1), (1, 1), 6),
    ((2, 3, 50), (4, 3, 5), (1,), (2,), (1,), 1),
    ((2, 3, 1000), (4, 3, 10), (5,), (0,), (3,), 1),
    ((1, 1, 5000), (1, 1, 300), (1,), (10,), (1,), 1),
    ((2, 8, 70), (8, 1, 4), (1,), (3,), (1,), 8),
    ((2, 3, 5, 6, 7), (4, 3, 3, 2, 3), (1, 2, 1), (1, 1, 1), (1, 1, 1), 1),
    ((2, 4, 6, 6, 6), (4, 1, 3, 3, 3), (2, 1, 2), (1, 0, 2), (1, 2, 1), 4),
    ((1, 2, 20, 5, 40), (3, 2, 3, 1, 3), (1, 1, 1), (1, 0, 1), (2, 1, 1), 1),
]
PT_CONV = {1: pt.nn.functional.conv1d, 2: pt.nn.functional.conv2d, 3: pt.nn.functional.conv3d}


def torch_side(x, w, b, stride, padding, dilation, groups):
    tx, tw = pt.from_numpy(x.astype("f8")).requires_grad_(), pt.from_numpy(w.astype("f8")).requires_grad_()
    y = PT_CONV[x.ndim - 2](tx, tw, pt.from_numpy(b.astype("f8")), stride, padding, dilation, groups)
    g = np.random.default_rng(1).standard_normal(y.shape)
    gx, gw = pt.autograd.grad(y, (tx, tw), pt.from_numpy(g))
    return y.detach().numpy(), g, gx.numpy(), gw.numpy()


def close(got, want, dtype):
    assert got.dtype == dtype and got.shape == want.shape and got.flags.c_contiguous
    scale = 1 + np.abs(want).max(initial=0)
    tolerance = 2e-6 if dtype == "f4" else 1e-14
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}*{c[1]} s{c[2]} p{c[3]} d{c[4]} g{c[5]}")
def test_products(case, dtype):
    shape, kernel, *options = case
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in (shape, kernel, kernel[:1]))
    y, g, gx, gw = torch_side(x, w, b, *options)
    g = g.astype(dtype)
    close(conv.forward(x, w, *options, b), y, dtype)
    close(conv.input_gradient(g, w, shape[2:], *options), gx, dtype)
    close(conv.weight_gradient(x, g, kernel[2:], *options), gw, dtype)
    # operands that are not contiguous
    strided = np.asfortranarray(x), w[::-1][::-1].copy(order="F"), np.asfortranarray(g)
    close(conv.forward(strided[0], strided[1], *options, b), y, dtype)
    close(conv.input_gradient(strided[2], strided[1], shape[2:], *options), gx, dtype)
    close(conv.weight_gradient(strided[0], strided[2], kernel[2:], *options), gw, dtype)


# What Winograd's algorithm takes: 3x3, stride 1, many channels; the tiles of 4x4 fit or not.
WINOGRAD = [((4, 32, 16, 16), (32, 32, 3, 3), 1), ((3, 40, 23, 30), (50, 40, 3, 3), 0), ((1, 64, 33, 64), (37, 64, 3, 3), 2), ((16, 100, 8, 8), (64, 100, 3, 3), 1)]


@pytest.mark.parametrize("x_shape, w_shape, padding", WINOGRAD, ids=str)
def test_winograd(x_shape, w_shape, padding):
    rng = np.random.default_rng(0)
    x, b = (rng.standard_normal(s).astype("f4") for s in (x_shape, w_shape[:1]))
    w = (rng.standard_normal(w_shape) / np.sqrt(9 * w_shape[1])).astype("f4")
    options = (1, 1), (padding,) * 2, (1, 1), 1
    y, g, gx, _ = torch_side(x, w, b, *options)
    got, gradient = conv.forward(x, w, *options, b), conv.input_gradient(g.astype("f4"), w, x_shape[2:], *options)
    np.testing.assert_allclose(got, y, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(gradient, gx, rtol=1e-4, atol=2e-5)
    x[0, 3, 5, 6] = np.nan                              # every output that sees it, and no tile that does not
    hit = np.isnan(conv.forward(x, w, *options, b))
    seen = slice(3 + padding, 6 + padding), slice(4 + padding, 7 + padding)
    assert hit[(0, slice(None), *seen)].all() and not hit[1:].any() and not hit[0, :, :, 16:].any()


@pytest.mark.parametrize("case", CASES[:20:3], ids=str)
def test_twin(case, monkeypatch):
    shape, kernel, *options = case
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s) for s in (shape, kernel, kernel[:1]))
    y = conv.forward(x, w, *options, b)
    results = y, conv.input_gradient(y, w, shape[2:], *options), conv.weight_gradient(x, y, kernel[2:], *options)
    use_twins(monkeypatch, conv)
    twin = conv.forward(x, w, *options, b), conv.input_gradient(y, w, shape[2:], *options), conv.weight_gradient(x, y, kernel[2:], *options)
    for got, want in zip(results, twin, strict=True):
        close(got, want, "f8")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kernel, groups", [((3, 2, 3, 3), 1), ((2, 1, 3, 3), 2)])
def test_nan_and_inf_stay_where_they_are(bad, kernel, groups):
    x = np.ones((1, 2, 9, 40), "f4")
    x[0, 0, 4, 20] = bad
    y = conv.forward(x, np.ones(kernel, "f4"), (1, 1), (1, 1), (1, 1), groups)
    hit = np.zeros((9, 40), bool)
    hit[3:6, 19:22] = True
    assert np.array_equal(~np.isfinite(y[0, 0]), hit)
    gw = conv.weight_gradient(x, np.ones_like(y), (3, 3), (1, 1), (1, 1), (1, 1), groups)
    assert not np.isfinite(gw[:1, :1]).any()
    assert np.isfinite(gw[1:] if groups == 2 else gw[:, 1]).all()


@pytest.mark.parametrize("shape, kernel", [((0, 3, 5, 5), (4, 3, 3, 3)), ((2, 3, 5, 5), (0, 3, 3, 3)), ((2, 0, 5, 5), (4, 0, 3, 3))])
def test_empty(shape, kernel):
    x, w = np.ones(shape, "f4"), np.ones(kernel, "f4")
    y = conv.forward(x, w, (1, 1), (1, 1), (1, 1), 1)
    assert y.shape == (shape[0], kernel[0], 5, 5) and not y.any()
    assert not conv.input_gradient(y, w, (5, 5), (1, 1), (1, 1), (1, 1), 1).any()
    assert not conv.weight_gradient(x, y, (3, 3), (1, 1), (1, 1), (1, 1), 1).any()


def test_refuses_what_does_not_fit():
    x, w = np.ones((1, 2, 5, 5), "f4"), np.ones((3, 2, 3, 3), "f4")
    one, zero = (1, 1), (0, 0)
    for args in ((x, w[:, :1].copy(), one, zero, one, 1), (x, w, one, zero, one, 1, np.ones(2, "f4")), (x, w, (0, 1), zero, one, 1), (x, w, one, zero, one, 2),
                 (x[..., :2].copy(), w, one, zero, one, 1), (x, w, (1,), zero, one, 1)):
        with pytest.raises(ValueError):
            conv.forward(*args)
    with pytest.raises(ValueError):
        conv.input_gradient(x, w, (7, 8), one, zero, one, 1)
    with pytest.raises(ValueError):
        conv.weight_gradient(x, x, (3, 3), one, zero, one, 1)


def test_steps_aside_for_other_dtypes():
    x, w = np.ones((1, 2, 5, 5), "f2"), np.ones((3, 2, 3, 3), "f2")
    options = (1, 1), (1, 1), (1, 1), 1
    y = conv.forward(x, w, *options, np.ones(3, "f2"))
    assert y.dtype == "f2" and y[0, 0, 2, 2] == 19
    assert conv.forward(x.astype("i8"), w.astype("i8"), *options)[0, 0, 2, 2] == 18
    gx, gw = conv.gradients(y, x, w, *options)
    assert gx.dtype == gw.dtype == "f2" and gw.shape == w.shape
