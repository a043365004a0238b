"""Native Fourier transforms against NumPy's, for every kind of length: in lanes, cut into a matrix, with radices up to 13, and what is left to NumPy."""

import numpy as np
import pytest

from rushlight.kernels import fft, native

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 16, 17, 30, 34, 64, 77, 100, 143, 243, 256, 625, 1000, 1024, 4096, 4100, 5000, 8190, 8192, 10_000, 20_001, 65_536]


def close(ours, twin, single):
    assert ours.dtype == twin.dtype and ours.shape == twin.shape and ours.flags.c_contiguous
    size = max(float(np.abs(twin).max(initial=0)), 1e-30)
    assert float(np.abs(ours - twin).max(initial=0)) <= size * (2e-6 if single else 4e-15)


def check(kernel, a, *args):
    wide = a.astype("c16" if a.dtype.kind == "c" else "f8")
    twin = kernel.fallback(wide, *args)
    single = a.dtype.char in "fF"
    close(kernel(a, *args), twin.astype(("c8" if single else "c16") if twin.dtype.kind == "c" else "f4" if single else "f8"), single)


def drawn(shape, dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape)
    return (a + 1j * rng.standard_normal(shape) if dtype[0] == "c" else a).astype(dtype)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("n", LENGTHS)
def test_one_line_and_many(n, single):
    for lines in (1, 3, 37) if n <= 5000 else (1, 2):
        real, spectrum = drawn((lines, n), "f4" if single else "f8"), drawn((lines, n), "c8" if single else "c16")
        for scaling in ("none", "root", "n"):
            for forward in (True, False):
                check(fft.complex_transform, spectrum, (1,), scaling, forward)
                check(fft.real_transform, real, (1,), scaling, forward, False)
            check(fft.real_transform, real, (1,), scaling, scaling == "n", True)
            check(fft.half_transform, spectrum[:, :n // 2 + 1], (1,), scaling, n)


@pytest.mark.parametrize("dtypes", ["f4 c8", "f8 c16"])
def test_other_and_several_dimensions(dtypes):
    real, spectrum = (drawn((3, 20, 5, 18), dtype) for dtype in dtypes.split())
    for axes in ((0,), (1,), (2,), (1, 3), (3, 1), (-1, -2), (0, 1, 2, 3), (2, 0)):
        for forward in (True, False):
            check(fft.complex_transform, spectrum, axes, "root", forward)
            check(fft.real_transform, real, axes, "n", forward, False)
            check(fft.real_transform, real, axes, "none", forward, True)
        n = spectrum.shape[axes[-1]]
        check(fft.half_transform, spectrum, axes, "n", 2 * n - 2)
        check(fft.half_transform, spectrum, axes, "none", 2 * n - 1)
    long_ones = drawn((5000, 2), dtypes.split()[1])
    check(fft.complex_transform, long_ones, (0,), "n", False)
    check(fft.real_transform, np.ascontiguousarray(long_ones.real), (0,), "n", True, False)


def test_turned_and_empty_arrays():
    a = drawn((40, 30), "c8")
    check(fft.complex_transform, a.T, (1,), "none", True)
    check(fft.complex_transform, a[::2, ::-1], (0, 1), "none", True)
    check(fft.real_transform, a.real, (0,), "none", True, False)
    assert fft.complex_transform(a[:0], (1,), "none", True).shape == (0, 30)


def test_infinity_and_nan_spread_as_in_numpy():
    a = drawn((2, 64), "c16")
    a[0, 3] = np.nan
    r = fft.complex_transform(a, (1,), "none", True)
    assert np.isnan(r[0]).all() and np.isfinite(r[1]).all()
