"""Native medians, modes, binary search, counts and sets against their NumPy twins and torch."""

import numpy as np
import pytest
import torch

import rushlight as rl
from rushlight.kernels import native, sorting

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

SHAPES = [(1,), (7,), (5000,), (3, 5), (30, 200), (4, 1, 6), (7, 60, 8)]
DTYPES = ["f4", "f8", "i8", "i4", "i2", "i1", "u1"]


def numbers(shape, dtype, nans=True):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 12, shape).astype(dtype)
    if nans and dtype[0] == "f" and a.size > 4:
        a.reshape(-1)[[1, a.size // 2, -1]] = np.nan, -np.inf, np.nan
    return a


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_places(shape, dtype):
    for nans in (False, True):
        a = numbers(shape, dtype, nans)
        for dim in range(len(shape)):
            for x in (a, np.asfortranarray(a), np.repeat(a, 2, -1)[..., ::2]):
                got = sorting.median_places(x, dim, False), sorting.median_places(x, dim, True), sorting.mode_places(x, dim)
                median, mode = sorting.median_places.fallback, sorting.mode_places.fallback
                want = median(x, dim, False), median(x, dim, True), mode(x, dim)
                for ours, twin in zip(got, want, strict=True):
                    assert ours.shape == twin.shape
                    np.testing.assert_array_equal(np.take_along_axis(x, ours, dim), np.take_along_axis(x, twin, dim))
                np.testing.assert_array_equal(got[2], want[2])
                for k in {0, x.shape[dim] // 3, x.shape[dim] - 1}:
                    if x.shape[dim] <= 200:                                 # the twin is a loop in Python
                        np.testing.assert_array_equal(sorting.selected_places(x, dim, k), sorting.selected_places.fallback(x, dim, k))


@pytest.mark.parametrize("dtype", DTYPES)
def test_search(dtype):
    rng = np.random.default_rng(1)
    for rows, n, m in ((1, 1, 5), (1, 100, 3000), (7, 33, 12), (3, 0, 4), (4, 5, 0)):
        sequence, values = np.sort(numbers((rows, n), dtype, False), -1), numbers((rows, m), dtype, False)
        for right in (False, True):
            want = np.stack([np.searchsorted(s, v, side="right" if right else "left") for s, v in zip(sequence, values, strict=True)])
            np.testing.assert_array_equal(sorting.search(sequence, values, right), want)
            for each in (values, values[0], rng.permutation(values.reshape(-1)), values[:, ::-1]):
                np.testing.assert_array_equal(sorting.search(sequence[0], each, right), np.searchsorted(sequence[0], each, side="right" if right else "left"))
    if dtype[0] == "f":
        sequence, values = np.array([-np.inf, 0, 0, 1, np.inf, np.inf], dtype), np.array([np.nan, -np.inf, np.inf, 0, 2], dtype)
        for right in (False, True):
            want = torch.searchsorted(torch.tensor(sequence), torch.tensor(values), right=right)
            assert sorting.search(sequence, values, right).tolist() == want.tolist()


def test_counts():
    a = np.random.default_rng(2).integers(-5, 20, 10_001)
    for x in (a, a[:1], a[:0], a[::2]):
        np.testing.assert_array_equal(sorting.count_each(x, -5, 25), np.bincount(x + 5, minlength=25))
    with pytest.raises(ValueError):
        sorting.count_each(a, -4, 25)           # a number outside: the twin, which refuses it


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (64,), (3000,), (20, 30)], ids=str)
def test_sets_against_torch(shape, dtype):
    rng = np.random.default_rng(3)
    wide = rng.integers(-2 ** 40, 2 ** 40, shape) if dtype == "i8" else rng.integers(0, 100, shape).astype(dtype)
    for a in (numbers(shape, dtype), numbers(shape, dtype, False), wide, np.sort(numbers(shape, dtype, False), None).reshape(shape)):
        for name in ("unique", "unique_consecutive"):
            for inverse, counts in ((False, False), (True, False), (False, True), (True, True)):
                if dtype[0] == "f" and np.isnan(a).any() and name == "unique":
                    continue                                # where nan stands among the results differs
                ours, theirs = (getattr(t, name)(t.tensor(a), return_inverse=inverse, return_counts=counts) for t in (rl, torch))
                ours, theirs = (r if isinstance(r, tuple) else (r,) for r in (ours, theirs))
                assert len(ours) == len(theirs)
                for x, y in zip(ours, theirs, strict=True):
                    assert x.shape == y.shape and str(x.dtype) == str(y.dtype)
                    np.testing.assert_array_equal(x.numpy(), y.numpy())
    if dtype[0] == "f" and len(shape) == 1 and shape[0] > 5:
        assert np.isnan(rl.unique(rl.tensor(numbers(shape, dtype))).numpy()).sum() == 2


@pytest.mark.parametrize("dtype", ["f4", "i8", "u1"])
@pytest.mark.parametrize("shape", [(1,), (9,), (6, 70)], ids=str)
def test_public_against_torch(shape, dtype):
    for nans in (False, True):
        a = numbers(shape, dtype, nans)
        ours, theirs = rl.tensor(a), torch.tensor(a)
        for name in ("median", "nanmedian"):
            np.testing.assert_array_equal(getattr(rl, name)(ours).numpy(), getattr(torch, name)(theirs).numpy())
        for dim in range(len(shape)):
            for name in ("median", "nanmedian", "mode"):
                if name == "mode" and nans and dtype == "f4":
                    continue
                np.testing.assert_array_equal(getattr(rl, name)(ours, dim)[0].numpy(), getattr(torch, name)(theirs, dim)[0].numpy())
    whole = np.abs(numbers((500,), "i8"))
    assert rl.bincount(rl.tensor(whole), minlength=20).tolist() == torch.bincount(torch.tensor(whole), minlength=20).tolist()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [0, 1, 50, 20_000])
def test_bins(n, dtype):
    rng = np.random.default_rng(4)
    a, weights = rng.standard_normal(n).astype(dtype), rng.random(n).astype(dtype)
    if n > 3:
        a[:3] = np.nan, np.inf, -1
    for edges in (np.linspace(-2, 2, 11), np.array([-1.0, 1]), np.sort(rng.standard_normal(9)), np.array([-3.0, -1, -1, -1, 0, 5]), np.exp(np.arange(8))):
        edges = edges.astype(dtype)
        for w in (None, weights):
            for x in (a, np.repeat(a, 2)[::2]):
                got = sorting.count_bins(x, edges, w)
                np.testing.assert_allclose(got, sorting.count_bins.fallback(x, edges, w), rtol=1e-12)
    if n > 3:
        ours, theirs = (t.histogram(t.tensor(a[3:]), 37, weight=t.tensor(weights[3:])) for t in (rl, torch))
        np.testing.assert_allclose(ours.hist.numpy(), theirs.hist.numpy(), rtol=1e-4)
