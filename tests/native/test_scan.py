"""Native running sums, products and extremes, and native random numbers, against their NumPy twins."""

import numpy as np
import pytest

import rushlight as rl
from rushlight.kernels import libm, native, random_fill, random_normal, scan

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

SHAPES = [(1,), (20_000,), (3, 5), (200, 300), (4, 1, 6), (5, 7, 100), (0, 3), (3, 0)]


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scans(shape, dtype):
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 4, shape).astype(dtype)
    ones = np.where(rng.random(shape) < 0.5, 1, -1).astype(dtype)
    if dtype[0] == "f" and a.size > 10:
        a.reshape(-1)[a.size // 2] = np.nan
    for dim in range(len(shape)):
        for x in (a, np.asfortranarray(a), np.flip(a, dim)):
            got = scan.running("add", x, dim, False), scan.running("multiply", ones, dim, False), *scan.running_extreme(x, dim, True), *scan.running_extreme(x, dim, False)
            running, extreme = scan.running.fallback, scan.running_extreme.fallback
            want = running("add", x, dim, False), running("multiply", ones, dim, False), *extreme(x, dim, True), *extreme(x, dim, False)
            for ours, twin in zip(got, want, strict=True):
                np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backwards_and_logarithms(shape, dtype):
    rng = np.random.default_rng(0)
    a = (rng.standard_normal(shape) * 5).astype(dtype)
    if a.size > 10:
        a.reshape(-1)[[0, a.size // 2]] = -np.inf, np.inf
        a.reshape(-1)[a.size - 2] = np.nan
    with np.errstate(all="ignore"):
        for dim in range(len(shape)):
            for x in (a, np.asfortranarray(a)):
                wide = x.astype("f8")
                got, want = ([running("add", a, dim, True), running("multiply", a, dim, True), running("logaddexp", a, dim, False)]
                             for running, a in ((scan.running, x), (scan.running.fallback, wide)))
                for ours, twin in zip(got, want, strict=True):
                    assert ours.dtype == x.dtype and ours.shape == twin.shape
                    np.testing.assert_allclose(ours, twin.astype(dtype), rtol=1e-5 if dtype == "f4" else 1e-12, atol=1e-4 if dtype == "f4" else 1e-9)


def test_leaves_what_does_not_fit():
    for call in (lambda *args: scan.running("add", *args, False), lambda *args: scan.running_extreme(*args, True)):
        with pytest.raises(ValueError):
            call(np.zeros((2, 3)), 2)
    a = np.arange(6.0).reshape(2, 3).astype("c16")
    np.testing.assert_array_equal(scan.running("add", a, 1, False), np.cumsum(a, 1))


@pytest.mark.skipif(not hasattr(native.library, "normal_blocks"), reason="no fused multiply-add at this level")
@pytest.mark.parametrize("n", [16, 17, 100, 311, 312, 1000, 70_001])
def test_normal_numbers_are_the_twins(n, monkeypatch):
    def numbers():
        gen = rl.Generator().manual_seed(n)
        out = np.empty(n, np.float32)
        random_normal.fill_normal_blocks(gen, out, 0.0, 1.0)
        again = np.empty(n, np.float32)
        random_normal.fill_normal_blocks(gen, again, 3.0, 0.7)
        return out, again, gen.words(5)
    ours = numbers()
    monkeypatch.setattr(random_normal, "_native_blocks", None)
    for a, b in zip(ours, numbers(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", [2, 3, 64, 65, 5000])
def test_permutations_are_the_twins(n, monkeypatch):
    ours = random_fill.permutation(rl.Generator().manual_seed(n), n)
    monkeypatch.setattr(random_fill, "swapped", random_fill.swapped.fallback)
    np.testing.assert_array_equal(ours, random_fill.permutation(rl.Generator().manual_seed(n), n))


def test_c_functions():
    import math
    x = np.random.default_rng(0).random(10_000) + 0.1
    for name in ("log", "log1p", "exp", "tan"):
        np.testing.assert_array_equal(getattr(libm, name)(x), [getattr(math, name)(v) for v in x])
    cos, sin = libm.cos_sin(x)
    np.testing.assert_array_equal(cos, [math.cos(v) for v in x])
    np.testing.assert_array_equal(sin, [math.sin(v) for v in x])
