"""Native reductions of all dtypes and layouts against their NumPy twins."""

import itertools

import numpy as np
import pytest

import rushlight as rl
from rushlight.kernels import native
from rushlight.kernels import reduce as R

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

SHAPES = [(1,), (7,), (70_001,), (3, 5), (300, 301), (4, 1, 6), (6, 70, 10), (5, 3000, 3), (40, 3, 50), (2, 3, 4, 5), (0, 3), (3, 0)]
DTYPES = ["f4", "f8", "i8", "i4", "i2", "i1", "u1", "?"]
PLAIN = ["sum", "prod", "amax", "amin", "any", "all", "count_nonzero"]


def numbers(shape, dtype):
    rng = np.random.default_rng(0)
    if dtype == "?":
        return rng.random(shape) < 0.9
    if dtype[0] == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0 if dtype[0] == "u" else -9, 10, shape).astype(dtype)


def layouts(a):
    yield a
    if a.ndim > 1:
        yield np.asfortranarray(a)
        yield np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0)
        yield np.repeat(a, 2, -1)[..., ::2]
    yield a[::-1]


def axes_of(ndim):
    yield None
    for count in range(1, ndim + 1):
        yield from itertools.combinations(range(ndim), count)
    yield -1


def check(ours, twin, dtype, length=1):
    ours, twin = np.asarray(ours), np.asarray(twin)
    assert ours.dtype == twin.dtype and ours.shape == twin.shape
    if dtype[0] == "f" and ours.dtype.kind == "f":
        tolerance = 2e-5 if dtype == "f4" else 1e-11
        np.testing.assert_allclose(ours, twin, rtol=tolerance, atol=tolerance * max(1, length) ** 0.5)
    else:
        np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_numpy(shape, dtype):
    a = numbers(shape, dtype)
    signs = np.where(a > 0, 1, -1).astype(dtype) if dtype not in ("?", "u1") else a
    for name in PLAIN + (["nansum", "size_sum", "mean"] if dtype[0] == "f" else []):
        ours = getattr(R, name)
        for each in layouts(signs if name == "prod" else a):
            for axis in axes_of(a.ndim):
                for keep in (False, True):
                    if name in ("amax", "amin", "mean") and not a.size:
                        continue
                    check(ours(each, axis, keep), ours.fallback(each, axis, keep), dtype, a.size)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [s for s in SHAPES if 0 not in s], ids=str)
def test_variance_and_logsumexp(shape, dtype):
    for a in layouts(numbers(shape, dtype) * 3 + 5):
        for axis in axes_of(a.ndim):
            axes = tuple(range(a.ndim)) if axis is None else (a.ndim - 1,) if axis == -1 else axis
            for keep in (False, True):
                for ours, twin in zip(R.variance(a, axes, keep, 3.0), R.variance.fallback(a, axes, keep, 3.0), strict=True):
                    np.testing.assert_allclose(ours, twin, rtol=1e-4 if dtype == "f4" else 1e-11)
                np.testing.assert_allclose(R.logsumexp(a, axes, keep), R.logsumexp.fallback(a, axes, keep), rtol=1e-5 if dtype == "f4" else 1e-13)
    odd = np.array([[np.inf, 1, -np.inf, np.nan], [2, -np.inf, -np.inf, 1]], dtype)
    with np.errstate(all="ignore"):
        for axis in (0, 1):
            np.testing.assert_allclose(R.logsumexp(odd, (axis,), False), R.logsumexp.fallback(odd, (axis,), False), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [s for s in SHAPES if 0 not in s], ids=str)
def test_places(shape, dtype):
    a = numbers(shape, dtype)
    if dtype[0] == "f" and a.size > 20:
        a = np.round(a)
        a.reshape(-1)[[3, a.size // 2, -1]] = np.nan, np.inf, np.nan
    for each in layouts(a):
        for axis, keep in itertools.product(range(a.ndim), (False, True)):
            for ours in (R.max_along, R.min_along):
                for x, y in zip(ours(each, axis, keep), ours.fallback(each, axis, keep), strict=True):
                    np.testing.assert_array_equal(x, y)


def test_nan_and_wrapping():
    for dtype in ("f4", "f8"):
        a = np.array([[1, np.nan, -np.inf], [np.inf, 2, np.nan]] * 60, dtype)
        for axis in (None, 0, 1):
            with np.errstate(all="ignore"):
                for each in (R.amax, R.amin, R.nansum, R.any, R.all, R.count_nonzero, R.sum, R.prod):
                    np.testing.assert_array_equal(each(a, axis, False), each.fallback(a, axis, False))
    big = np.full((5, 33), 2 ** 62, np.int64)
    for axis in (None, 0, 1):
        np.testing.assert_array_equal(R.sum(big, axis, False), R.sum.fallback(big, axis, False))
        np.testing.assert_array_equal(R.prod(big + 1, axis, False), R.prod.fallback(big + 1, axis, False))


@pytest.mark.parametrize("dtype", [rl.int32, rl.bool, rl.uint8, rl.int16])
def test_public_functions_against_torch(dtype):
    import torch
    x = numbers((6, 70, 10), "i4") > 0 if dtype is rl.bool else np.abs(numbers((6, 70, 10), "i4"))
    ours, theirs = rl.tensor(x).to(dtype), torch.tensor(x).to(getattr(torch, str(dtype).split(".")[1]))
    for name, dims in itertools.product(("sum", "prod", "any", "all", "amax", "amin", "count_nonzero"), (None, 0, 1, 2, (0, 2))):
        if dims is None and name in ("amax", "amin"):
            dims = ()
        if name == "prod" and dims == (0, 2):
            continue
        a = getattr(rl, name)(ours) if dims is None else getattr(rl, name)(ours, dims)
        b = getattr(torch, name)(theirs) if dims is None else getattr(torch, name)(theirs, dims)
        assert str(a.dtype) == str(b.dtype) and a.shape == b.shape and a.tolist() == b.tolist()
