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
    for mask, hidden in ((None, causal), (bias, False)):
        out, *sums = K.attention(q, k, v, mask, None, hidden, 0.2, False)
        twin, *kept = K.attention.fallback(q, k, v, mask, None, hidden, 0.2, False)
        np.testing.assert_allclose(out, twin, rtol=1e-12, atol=1e-13)
        got = K.attention_gradient(g, q, k, v, mask, None, hidden, 0.2, False, out, *sums)
        want = K.attention_gradient.fallback(g, q, k, v, mask, None, hidden, 0.2, False, twin, *kept)
        assert got[3] is want[3] is None
        for a, b in zip(got[:3], want[:3], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_bools_halves_and_few_heads():
    """What the library does not take as it is: made ready, it takes it."""
    rng = np.random.default_rng(0)
    q, g = rng.standard_normal((2, 2, 6, 7, 4)).astype("f4")
    k, v = rng.standard_normal((2, 2, 3, 9, 4)).astype("f4")
    mask, every = rng.random((7, 9)) < 0.8, (np.repeat(k, 2, 1), np.repeat(v, 2, 1))
    out, *kept = K.attention(q, k, v, mask, None, False, 0.5, False)
    want, *whole = K.attention(q, *every, np.where(mask, np.float32(0), -np.inf).astype("f4"), None, False, 0.5, False)
    np.testing.assert_allclose(out, want, rtol=1e-6)
    few = K.attention_gradient(g, q, k, v, mask, None, False, 0.5, False, out, *kept)
    many = K.attention_gradient(g, q, *every, mask, None, False, 0.5, False, want, *whole)
    np.testing.assert_allclose(few[0], many[0], rtol=1e-5, atol=1e-6)
    for a, b in zip(few[1:3], many[1:3], strict=True):
        np.testing.assert_allclose(a, b.reshape(2, 3, 2, 9, 4).sum(2), rtol=1e-5, atol=1e-5)
    halves = [a.astype("f2") for a in (q, k, v)]
    out, *kept = K.attention(*halves, mask, None, False, 0.5, False)
    assert out.dtype == "f2" and all(each.dtype == "f4" for each in kept)
    assert [each.dtype for each in K.attention_gradient(g.astype("f2"), *halves, mask, None, False, 0.5, False, out, *kept)[:3]] == ["f2"] * 3
    np.testing.assert_allclose(out.astype("f4"), want, atol=5e-3)


@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 7), (1, 1, 3, 1)])
def test_the_gradient_of_a_bias(shape):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 2, rows, 5)) for rows in (3, 7, 7))
    bias = rng.standard_normal(shape)
    tensors = [pt.from_numpy(a).requires_grad_() for a in (q, k, v, bias)]
    want = pt.nn.functional.scaled_dot_product_attention(*tensors)
    ours = [to_rl(t.detach()).requires_grad_() for t in tensors]
    got = rl.nn.functional.scaled_dot_product_attention(*ours)
    (want * want).sum().backward()
    (got * got).sum().backward()
    for a, b in zip(ours, tensors, strict=True):
        np.testing.assert_allclose(to_numpy(a.grad), to_numpy(b.grad), rtol=1e-9, atol=1e-11)


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


def test_weights_that_would_be_subnormal_are_zero():
    """Scores so far apart that most weights lie near the smallest numbers: values and gradients are those of float64."""
    pt.manual_seed(0)
    q, k, v, bias = pt.randn(2, 64, 16), pt.randn(2, 64, 16), pt.randn(2, 64, 16), pt.randn(64, 64) * 50
    results = []
    for dtype in (rl.float32, rl.float64):
        ours = [rl.tensor(each.numpy()).to(dtype).requires_grad_() for each in (q, k, v)]
        out = rl.nn.functional.scaled_dot_product_attention(*ours, attn_mask=rl.tensor(bias.numpy()).to(dtype))
        out.square().sum().backward()
        results.append([each.detach().double().numpy() for each in (out, *(each.grad for each in ours))])
    for single, double in zip(*results, strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-4)


def test_nan_and_large_scores():
    q = np.ones((1, 1, 3, 4), "f4")
    q[0, 0, 1] = np.nan
    q[0, 0, 2] = 1e4
    k, v = np.random.default_rng(0).standard_normal((2, 1, 1, 200, 4)).astype("f4") + 1
    out, _ = K.attention(q, k, v, None, None, False, 1.0, False)
    assert np.isnan(out[0, 0, 1]).all() and np.isfinite(out[0, 0, [0, 2]]).all()
    np.testing.assert_allclose(out[0, 0, 2], v[0, 0, k[0, 0].sum(-1).argmax()], rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 2, 5, 4), (2, 2, 0, 4)])
def test_empty(shape):
    q = np.ones(shape, "f4")
    out, *kept = K.attention(q, q, q, None, None, False, 1.0, False)
    assert out.shape == shape and not any(each.size for each in kept)
    assert all(each.shape == shape for each in K.attention_gradient(q, q, q, q, None, None, False, 1.0, False, out, *kept)[:3])
    no_keys = np.ones((2, 2, 0, 4), "f4")
    assert not K.attention(np.ones((2, 2, 3, 4), "f4"), no_keys, no_keys, None, None, False, 1.0, False)[0].any()


def test_leaves_what_is_not_its_own():
    q, one = np.ones((2, 3, 4), "f4"), np.ones((2, 2, 4), "f4")
    kept = K.attention(q, q, q, None, None, False, 1.0, False)[1:]
    assert len(kept) == 1                                                     # one number per query: the library's
    for args in ((one, q, q, None, None, False, 1.0, False), (q, q, q, None, lambda weights: weights, False, 1.0, False),
                 (q, q, q, np.zeros((2, 3, 3), "f4"), None, False, 1.0, True)):
        assert len(K.attention(*args)) >= 3                                   # the twin keeps the weights
    with pytest.raises(ValueError):
        K.attention(q, q[:, :, :2], q, None, None, False, 1.0, False)
    assert K.attention(rl.zeros(2, 3, 4, device="meta")._a, q, q, None, None, False, 1.0, False) is NotImplemented
