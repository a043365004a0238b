"""Native distances of rows and their gradients against the NumPy twins, and cdist and pdist against PyTorch."""

import numpy as np
import pytest
import torch as pt

from rushlight.kernels import distance, native
from tests.support.common import assert_same_behaviour

ORDERS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf")]
native_only = pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})")


def close(ours, twin, dtype):
    assert ours.dtype == twin.dtype and ours.shape == twin.shape
    size = max(1.0, float(np.abs(twin).max(initial=0)))
    np.testing.assert_allclose(ours, twin, rtol=2e-5 if dtype == "f4" else 1e-11, atol=size * (5e-6 if dtype == "f4" else 1e-13))


@native_only
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize(("rows", "m"), [(0, 3), (1, 3), (5, 1), (9, 0), (70, 3), (600, 2), (130, 33)])
def test_pairs(rows, m, p, dtype):
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 4, (rows, m)).astype(dtype) / 2        # with equal rows and equal numbers among them
    r = distance.pairs.fallback(a, p)
    g = rng.standard_normal(r.shape).astype(dtype)
    close(distance.pairs(a, p), r, dtype)
    close(distance.pairs(np.asfortranarray(a), p), r, dtype)
    close(distance.pairs_slope(g, a, p, r), distance.pairs_slope.fallback(g, a, p, r), dtype)


@native_only
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize(("one", "other"), [((4, 3), (6, 3)), ((2, 70, 5), (2, 90, 5)), ((2, 1, 3, 2), (2, 1, 600, 2)), ((3, 2), (0, 2)), ((40, 33), (50, 33))])
def test_between(one, other, p, dtype):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, shape).astype(dtype) / 2 for shape in (one, other))
    r = distance.between.fallback(a, b, p)
    g = rng.standard_normal(r.shape).astype(dtype)
    close(distance.between(a, b, p), r, dtype)
    for ours, twin in zip(distance.between_slope(g, a, b, p, r), distance.between_slope.fallback(g, a, b, p, r), strict=True):
        close(ours, twin, dtype)


@native_only
def test_nan_and_infinity():
    a = np.array([[0.0, np.nan], [1.0, 2.0], [np.inf, 0.0], [3.0, 1.0]])
    for p in ORDERS[2:]:
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(distance.pairs(a, p), distance.pairs.fallback(a, p))


def _value_and_gradients(name, *args):
    def call(m, *inputs):
        r = getattr(m, name)(*inputs, *args)
        first = m.autograd.grad((r * r).sum(), inputs)
        return r, first, type(r.grad_fn).__name__
    return call


@pytest.mark.parametrize("dtype", [pt.float32, pt.float64])
@pytest.mark.parametrize("p", ORDERS)
def test_as_pytorch(p, dtype):
    if p == 0.5:
        dtype = pt.float64      # whose gradients reach 1e5
    pt.manual_seed(0)
    a, b = pt.randn(7, 4, dtype=dtype, requires_grad=True), pt.randn(2, 5, 4, dtype=dtype, requires_grad=True)
    assert_same_behaviour(_value_and_gradients("pdist", p), a)
    assert_same_behaviour(_value_and_gradients("cdist", p), a, b)
    assert_same_behaviour(_value_and_gradients("cdist", p), b, b.detach()[:1, :3].clone().requires_grad_())


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_second_derivatives(p):
    import rushlight as rl
    rl.manual_seed(0)
    a, b = rl.randn(4, 3, dtype=rl.float64, requires_grad=True), rl.randn(5, 3, dtype=rl.float64, requires_grad=True)
    assert rl.autograd.gradgradcheck(lambda a: rl.pdist(a, p), a)
    assert rl.autograd.gradcheck(lambda a, b: rl.cdist(a, b, p), (a, b)) and rl.autograd.gradgradcheck(lambda a, b: rl.cdist(a, b, p), (a, b))


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("graph", [False, True])
def test_gradients_by_nan_are_nan(p, graph):
    a = pt.tensor([[0.0, float("nan"), 1.0], [2.0, 1.0, 3.0], [0.5, 0.0, 2.0]], dtype=pt.float64, requires_grad=True)
    b = pt.tensor([[1.0, 2.0, 3.5], [0.25, 7.0, 1.5]], dtype=pt.float64, requires_grad=True)

    def call(m, *inputs):
        r = m.cdist(*inputs, p) if len(inputs) == 2 else m.pdist(*inputs, p)
        return [g.isnan() for g in m.autograd.grad(r.sum(), inputs, create_graph=graph and m is not pt)]
    assert_same_behaviour(call, a, b)
    if p != float("inf"):       # where PyTorch's pdist gives nan to all numbers of both rows, and its cdist only to those that are nan
        assert_same_behaviour(call, a)
