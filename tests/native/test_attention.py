"""Native attention against its NumPy twin and torch: odd sizes, masks of every shape, causal, strided heads, hidden rows, threads."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.kernels import attention as K
from rushlight.kernels import native
from tests.support.common import to_numpy, to_rl

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

# (leading, L, S, E, F)
SHAPES = [((), 1, 1, 1, 1), ((2,), 5, 7, 3, 4), ((2, 3), 33, 40, 32, 32), ((1, 2), 64, 64, 64, 64), ((2, 2), 130, 300, 20, 70), ((3,), 257, 129, 48, 16),
          ((2, 1, 2), 31, 128, 8, 33)]
MASKS = ["none", "causal", "bool", "float", "row", "dead", "leading"]


def mask_of(name, leading, rows, columns, rng):
    if name == "bool":
        return rng.random((rows, columns)) < 0.7
    if name == "float":
        return rng.standard_normal((rows, columns))
    if name == "row":
        return rng.random((*(1,) * len(leading), 1, columns)) < 0.8
    if name == "dead":
        mask = rng.random((rows, columns)) < 0.7
        mask[rows // 2] = False
        return mask
    if name == "leading":
        return rng.standard_normal((*leading, rows, columns))
    return None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_torch(shape, name, dtype):
    leading, rows, columns, width, out = shape
    rng = np.random.default_rng(0)
    q, k, v = (pt.from_numpy(rng.standard_normal((*leading, *s))).requires_grad_() for s in ((rows, width), (columns, width), (columns, out)))
    mask = mask_of(name, leading, rows, columns, rng)
    tmask = None if mask is None else pt.from_numpy(mask)
    want = pt.nn.functional.scaled_dot_product_attention(q, k, v, tmask, is_causal=name == "causal")
    if name == "dead":
        want = pt.where(pt.from_numpy(mask).any(-1)[:, None], want, 0.0)
    g = pt.from_numpy(rng.standard_normal(tuple(want.shape)))
    gradients = pt.autograd.grad(want, (q, k, v), g)
    kind = getattr(rl, dtype)
    ours = [to_rl(t.detach()).to(kind).requires_grad_() for t in (q, k, v)]
    omask = None if mask is None else to_rl(tmask).to(kind) if mask.dtype != bool else to_rl(tmask)
    assert K.tiled(ours[0]._a, ours[0]._a.dtype)
    got = rl.nn.functional.scaled_dot_product_attention(*ours, omask, is_causal=name == "causal")
    tolerance = 1e-5 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(to_numpy(got), to_numpy(want), rtol=0, atol=tolerance * 5)
    for a, b, what in zip(rl.autograd.grad(got, ours, to_rl(g).to(kind)), gradients, "qkv", strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=0, atol=tolerance * (2 + np.abs(to_numpy(b)).max(initial=0)), err_msg=what)


@pytest.mark.parametrize("causal", [False, True])
def test_twin(causal):
    rng = np.random.default_rng(0)
    q, k, v, g = (rng.standard_normal((2, 3, 50, 24)) for _ in range(4))
    bias = np.where(np.arange(50) > np.arange(50)[:, None], -np.inf, 0.0) if causal else None
    out, sums = K.tiled_forward(q, k, v, None, causal, 0.2)
    weights, inverse = K.attention_weights(q, k, bias, 0.2)
    twin = K.attention_output(weights, inverse, v, None)
    np.testing.assert_allclose(out, twin, rtol=1e-12, atol=1e-13)
    got = K.tiled_backward(g, q, k, v, None, causal, 0.2, out, sums)
    want = K.attention_backward(g, q, k, v, weights, inverse, twin, None, 0.2, False)[:3]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_heads_that_are_views():
    """Heads as they come from one projection; the result lies as PyTorch's does."""
    x = pt.randn(2, 40, 3 * 4 * 16, requires_grad=True)

    def run(m, x):
        q, k, v = (part.view(2, 40, 4, 16).transpose(1, 2) for part in x.split(64, dim=2))
        y = m.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y, m.autograd.grad((y * y).sum(), x)[0]
    (y, gx), (oy, ogx) = run(pt, x), run(rl, to_rl(x))
    assert oy.stride() == y.stride()
    np.testing.assert_allclose(to_numpy(oy), to_numpy(y), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(to_numpy(ogx), to_numpy(gx), rtol=1e-4, atol=1e-5)


def test_nan_and_large_scores():
    q = np.ones((1, 1, 3, 4), "f4")
    q[0, 0, 1] = np.nan
    q[0, 0, 2] = 1e4
    k, v = np.random.default_rng(0).standard_normal((2, 1, 1, 200, 4)).astype("f4") + 1
    out, _ = K.tiled_forward(q, k, v, None, False, 1.0)
    assert np.isnan(out[0, 0, 1]).all() and np.isfinite(out[0, 0, [0, 2]]).all()
    np.testing.assert_allclose(out[0, 0, 2], v[0, 0, k[0, 0].sum(-1).argmax()], rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 2, 5, 4), (2, 2, 0, 4)])
def test_empty(shape):
    q = np.ones(shape, "f4")
    out, sums = K.tiled_forward(q, q, q, None, False, 1.0)
    assert out.shape == shape and sums.size == 0
    assert all(each.shape == shape for each in K.tiled_backward(q, q, q, q, None, False, 1.0, out, sums))
    no_keys = np.ones((2, 2, 0, 4), "f4")
    assert not K.tiled_forward(np.ones((2, 2, 3, 4), "f4"), no_keys, no_keys, None, False, 1.0)[0].any()


def test_refuses_what_does_not_fit():
    q = np.ones((2, 3, 4), "f4")
    forward = native.library.attention_forward
    for args in ((q, q[:1], q, None, False, 1.0), (q, q[..., :2], q, None, False, 1.0), (q, q, q[:, :2], None, False, 1.0), (q, q.astype("f8"), q, None, False, 1.0),
                 (q, q, q, q, False, 1.0)):
        with pytest.raises(ValueError):
            forward(*args)
    with pytest.raises(TypeError):
        forward(q.astype("f2"), q, q, None, False, 1.0)
