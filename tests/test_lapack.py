"""kernels/lapack.py against LAPACK itself (through torch): LU, LDL, triangular systems, Cholesky that fails."""

import numpy as np
import pytest
import torch as pt

from rushlight.kernels import lapack

DTYPES = [np.float32, np.float64, np.complex128]


def random(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=shape)
    return (a + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else a).astype(dtype)


def close(dtype):
    return {"atol": 2e-3} if dtype is np.float32 else {"atol": 1e-9}


@pytest.mark.parametrize("shape", [(5, 5), (3, 5, 5), (70, 70), (2, 40, 70), (70, 40), (0, 3, 3), (2, 0, 3), (3, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_lu(shape, dtype):
    a = random(shape, dtype)
    lu, pivots, info = lapack.lu_factor(a)
    theirs = pt.linalg.lu_factor_ex(pt.tensor(a))
    assert np.array_equal(pivots, theirs.pivots.numpy()) and np.array_equal(info, theirs.info.numpy())
    np.testing.assert_allclose(lu, theirs.LU.numpy(), **close(dtype))
    p, low, up = pt.linalg.lu(pt.tensor(a))
    rows = lapack.lu_rows(pivots, shape[-2])
    np.testing.assert_allclose((low @ up).numpy(), np.take_along_axis(a, rows[..., None], -2), **close(dtype))


def test_lu_of_singular_matrices():
    a = np.stack([np.zeros((2, 2)), np.eye(2), [[1.0, 2], [2, 4]]])
    lu, pivots, info = lapack.lu_factor(a)
    theirs = pt.linalg.lu_factor_ex(pt.tensor(a))
    assert info.tolist() == theirs.info.tolist() == [1, 0, 2] and np.array_equal(lu, theirs.LU.numpy())


MATRICES = {"any": lambda a: a, "zero diagonal": lambda a: a * (1 - np.eye(a.shape[-1], dtype=a.dtype)), "dominant": lambda a: a + 100 * np.eye(
    a.shape[-1], dtype=a.dtype), "whole numbers": np.round}


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("hermitian", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ldl(dtype, hermitian, kind):
    for n in (1, 2, 3, 5, 8, 20, 40):
        a = random((3, n, n), dtype, n)
        a = MATRICES[kind](a + (a.conj() if hermitian else a).swapaxes(-1, -2))
        ld, pivots, info = lapack.ldl_factor(a, hermitian)
        theirs = pt.linalg.ldl_factor_ex(pt.tensor(a), hermitian=hermitian)
        assert np.array_equal(pivots, theirs.pivots.numpy()) and np.array_equal(info, theirs.info.numpy())
        np.testing.assert_allclose(ld, theirs.LD.numpy(), rtol=1e-3 if dtype is np.float32 else 1e-7, atol=1e-2 if dtype is np.float32 else 1e-8)
        if not info.any() and dtype is not np.float32:
            b = random((3, n, 2), dtype)
            np.testing.assert_allclose(a @ lapack.ldl_solve(ld, pivots, b, hermitian), b, atol=1e-7)


@pytest.mark.parametrize("n", [0, 1, 16, 17, 50])
@pytest.mark.parametrize("dtype", DTYPES)
def test_triangular(n, dtype):
    a, b = random((2, n, n), dtype) + 10 * np.eye(n, dtype=dtype), random((n, 3), dtype)
    for upper in (True, False):
        triangle = np.triu(a) if upper else np.tril(a)
        np.testing.assert_allclose(triangle @ lapack.solve_triangular(a, b, upper), np.broadcast_to(b, (2, n, 3)), **close(dtype))
        small = a / 50
        unit = (np.triu(small, 1) if upper else np.tril(small, -1)) + np.eye(n, dtype=dtype)
        np.testing.assert_allclose(unit @ lapack.solve_triangular(small, b, upper, unit=True), np.broadcast_to(b, (2, n, 3)), **close(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cholesky_says_where_it_failed(dtype):
    good = random((4, 4), dtype)
    good = good @ good.conj().T + 4 * np.eye(4, dtype=dtype)
    bad = good.copy()
    bad[2, 2] = -1
    low, info = lapack.cholesky(np.stack([good, bad]))
    theirs = pt.linalg.cholesky_ex(pt.tensor(np.stack([good, bad])))
    assert info.tolist() == theirs.info.tolist() == [0, 3]
    np.testing.assert_allclose(low[0], theirs.L[0].numpy(), **close(dtype))
