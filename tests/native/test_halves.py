"""Products of float16 and bfloat16 natively: against float64, torch and the NumPy form, in all layouts, with gradients, one and two threads."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.kernels import native
from tests.support.common import to_numpy, to_rl

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

DTYPES = ["bfloat16", "float16"]
# rows, inner size, columns: vectors, few rows, tiles with tails on every side, strips for several threads
SIZES = [(1, 1, 1), (1, 5, 7), (1, 600, 301), (2, 64, 130), (3, 33, 31), (4, 2, 3), (12, 16, 32), (13, 17, 33), (37, 71, 45), (100, 1, 40), (70, 300, 1),
         (200, 129, 100), (150, 64, 96), (5, 0, 3), (0, 4, 3), (4, 4, 0)]


def matrix(rows, columns, layout, dtype):
    """In one of five layouts, the same values in each: rows or columns side by side, every second element, backwards, with odd steps between rows."""
    values = pt.randn(rows, columns, generator=pt.Generator().manual_seed(rows * 1000 + columns)).to(getattr(pt, dtype))
    array = to_rl(values)._a
    if layout == "turned":
        array = np.ascontiguousarray(array.T).T
    elif layout == "stepped":
        array = np.repeat(array, 2, axis=1)[:, ::2]
    elif layout == "backwards":
        array = np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
    elif layout == "wide":
        array = np.concatenate((array, array[:, :1]), 1)[:, :columns] if columns else array
    return values, array


def close(ours, theirs, dtype, inner):
    """Rounded once: within half a unit of the last place, and the error of a float sum."""
    got, want = np.asarray(ours.astype(np.float64)), theirs.numpy()
    assert got.shape == want.shape
    step = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    np.testing.assert_allclose(got, want, rtol=step * 1.01, atol=2e-6 * (inner + 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_layouts(size, dtype):
    m, k, n = size
    for left in ("plain", "turned", "stepped", "backwards", "wide"):
        for right in ("plain", "turned", "stepped", "backwards", "wide"):
            (a, x), (b, y) = matrix(m, k, left, dtype), matrix(k, n, right, dtype)
            r = native.matmul(x, y)
            assert r.dtype == x.dtype
            close(r, a.double() @ b.double(), dtype, k)


@pytest.mark.parametrize("dtype", DTYPES)
def test_batches(dtype):
    kind = getattr(pt, dtype)
    for left, right in (((3, 5, 20, 7), (3, 5, 7, 33)), ((5, 20, 7), (3, 1, 7, 33)), ((4, 1, 9), (4, 9, 40)), ((2, 9, 5), (5,)), ((9,), (2, 9, 5)), ((9,), (9,)),
                        ((40, 9), (9,)), ((2, 3, 4, 5), (5, 6)), ((0, 3, 4), (0, 4, 2)), ((300, 2, 3), (300, 3, 2)), ((2, 130, 70), (2, 70, 90))):
        a, b = pt.randn(left).to(kind), pt.randn(right).to(kind)
        close(native.matmul(to_rl(a)._a, to_rl(b)._a), a.double() @ b.double(), dtype, left[-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_twin(dtype, monkeypatch):
    """What NumPy computes through float32 without the library."""
    from rushlight.ops.matmul import product
    a, b = (to_rl(pt.randn(size).to(getattr(pt, dtype)))._a for size in ((50, 70), (70, 40)))
    got = product(a, b)
    twin = np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    np.testing.assert_allclose(got.astype(np.float32), twin.astype(np.float32), rtol=2**-7, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 40])
def test_not_finite(dtype, rows):
    a, b = pt.randn(rows, 40).to(getattr(pt, dtype)), pt.randn(40, 50).to(getattr(pt, dtype))
    a[1, 3], a[0, 5], b[7, 2] = float("nan"), float("inf"), float("-inf")
    got, want = native.matmul(to_rl(a)._a, to_rl(b)._a).astype(np.float32), (a.float() @ b.float()).numpy()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
    large = pt.full((rows, 40), 300.0 if dtype == "float16" else 3e38).to(getattr(pt, dtype))
    assert np.isinf(native.matmul(to_rl(large)._a, to_rl(large.t())._a).astype(np.float32)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, bias", [((30, 20), True), ((30, 20), False), ((2, 15, 20), True), ((20,), True), ((1, 20), True), ((2, 20), True)])
def test_linear_and_its_gradients(dtype, shape, bias):
    """Against float64: torch itself rounds the product before it adds the bias, and sums the bias's gradient in bfloat16."""
    kind = getattr(pt, dtype)
    pt.manual_seed(0)
    tensors = [pt.randn(size).to(kind) for size in (shape, (50, 20), (50,))][:2 + bias]
    exact, ours = [t.double().requires_grad_() for t in tensors], [to_rl(t).requires_grad_() for t in tensors]
    y, oy = pt.nn.functional.linear(*exact), rl.nn.functional.linear(*ours)
    assert oy.dtype is getattr(rl, dtype)
    tolerance = dict(rtol=2**-8 if dtype == "bfloat16" else 2**-11, atol=1e-4)
    np.testing.assert_allclose(to_numpy(oy.double()), to_numpy(y), **tolerance)
    g = pt.randn(y.shape).to(kind)
    y.backward(g.double())
    oy.backward(to_rl(g))
    for mine, other in zip(ours, exact, strict=True):
        np.testing.assert_allclose(to_numpy(mine.grad.double()), to_numpy(other.grad), **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_is_added_before_rounding(dtype):
    """addmm and linear round once: a sum that cancels keeps what the product alone would have lost."""
    kind = getattr(rl, dtype)
    x, w = rl.ones(5, 2, dtype=kind), rl.tensor([[256.0, 1.0]] * 40, dtype=kind) * (1 if dtype == "bfloat16" else 8)
    bias = -w[:, 0]
    expected = 1.0 if dtype == "bfloat16" else 8.0
    for r in (rl.nn.functional.linear(x, w, bias), rl.addmm(bias, x, w.t()), rl.nn.functional.linear(x[:1], w, bias)):
        assert (r == expected).all()
