"""kernels/lapack.py against LAPACK itself (through torch): LU, LDL, triangular systems, Cholesky that fails."""

import re

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.kernels import lapack

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def random(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=shape)
    return (a + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else a).astype(dtype)


@pytest.fixture(params=["library", "twin"])
def kernel(request):
    """A function of kernels/lapack.py by name: as it is called, or its NumPy twin."""
    def find(name):
        function = getattr(lapack, name)
        return getattr(function, "fallback", function) if request.param == "twin" else function
    return find


SINGLE = (np.float32, np.complex64)


def close(dtype):
    return {"atol": 2e-3} if dtype in SINGLE else {"atol": 1e-9}


@pytest.mark.parametrize("shape", [(5, 5), (3, 5, 5), (70, 70), (2, 40, 70), (70, 40), (0, 3, 3), (2, 0, 3), (3, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_lu(kernel, shape, dtype):
    a = random(shape, dtype)
    lu, pivots, info = kernel("lu_factor")(a)
    theirs = pt.linalg.lu_factor_ex(pt.tensor(a))
    assert np.array_equal(pivots, theirs.pivots.numpy()) and np.array_equal(info, theirs.info.numpy())
    np.testing.assert_allclose(lu, theirs.LU.numpy(), **close(dtype))
    p, low, up = pt.linalg.lu(pt.tensor(a))
    rows = lapack.lu_rows(pivots, shape[-2])
    np.testing.assert_allclose((low @ up).numpy(), np.take_along_axis(a, rows[..., None], -2), **close(dtype))


def test_lu_of_singular_matrices(kernel):
    a = np.stack([np.zeros((2, 2)), np.eye(2), [[1.0, 2], [2, 4]]])
    lu, pivots, info = kernel("lu_factor")(a)
    theirs = pt.linalg.lu_factor_ex(pt.tensor(a))
    assert info.tolist() == theirs.info.tolist() == [1, 0, 2] and np.array_equal(lu, theirs.LU.numpy())


MATRICES = {"any": lambda a: a, "zero diagonal": lambda a: a * (1 - np.eye(a.shape[-1], dtype=a.dtype)), "dominant": lambda a: a + 100 * np.eye(
    a.shape[-1], dtype=a.dtype), "whole numbers": np.round}


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("hermitian", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ldl(kernel, dtype, hermitian, kind):
    for n in (1, 2, 3, 5, 8, 20, 40):
        a = random((3, n, n), dtype, n)
        a = MATRICES[kind](a + (a.conj() if hermitian else a).swapaxes(-1, -2))
        ld, pivots, info = kernel("ldl_factor")(a, hermitian)
        theirs = pt.linalg.ldl_factor_ex(pt.tensor(a), hermitian=hermitian)
        assert np.array_equal(pivots, theirs.pivots.numpy()) and np.array_equal(info, theirs.info.numpy())
        np.testing.assert_allclose(ld, theirs.LD.numpy(), rtol=1e-3 if dtype in SINGLE else 1e-7, atol=1e-2 if dtype in SINGLE else 1e-8)
        if not info.any() and dtype not in SINGLE:
            b = random((3, n, 2), dtype)
            np.testing.assert_allclose(a @ lapack.ldl_solve(ld, pivots, b, hermitian), b, atol=1e-7)


@pytest.mark.parametrize("n", [0, 1, 16, 17, 50])
@pytest.mark.parametrize("dtype", DTYPES)
def test_triangular(kernel, n, dtype):
    a, b = random((2, n, n), dtype) + 10 * np.eye(n, dtype=dtype), random((n, 3), dtype)
    for upper in (True, False):
        triangle = np.triu(a) if upper else np.tril(a)
        np.testing.assert_allclose(triangle @ kernel("solve_triangular")(a, b, upper), np.broadcast_to(b, (2, n, 3)), **close(dtype))
        small = a / 50
        unit = (np.triu(small, 1) if upper else np.tril(small, -1)) + np.eye(n, dtype=dtype)
        np.testing.assert_allclose(unit @ kernel("solve_triangular")(small, b, upper, True), np.broadcast_to(b, (2, n, 3)), **close(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cholesky_says_where_it_failed(kernel, dtype):
    good = random((4, 4), dtype)
    good = good @ good.conj().T + 4 * np.eye(4, dtype=dtype)
    bad = good.copy()
    bad[2, 2] = -1
    low, info = kernel("cholesky")(np.stack([good, bad]))
    theirs = pt.linalg.cholesky_ex(pt.tensor(np.stack([good, bad])))
    assert info.tolist() == theirs.info.tolist() == [0, 3]
    np.testing.assert_allclose(low[0], theirs.L[0].numpy(), **close(dtype))


@pytest.mark.parametrize("layout", ["rows", "columns", "strided", "broadcast"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_triangular_of_any_layout(kernel, dtype, layout):
    a, b = random((3, 4, 6, 6), dtype) + 10 * np.eye(6, dtype=dtype), random((3, 4, 6, 2), dtype)
    a = {"rows": a, "columns": a.swapaxes(-1, -2), "strided": random((3, 4, 12, 6), dtype)[..., ::2, :] + a, "broadcast": np.broadcast_to(a[:1], a.shape)}[layout]
    for upper in (True, False):
        x = kernel("solve_triangular")(a, b[:, ::-1], upper)
        np.testing.assert_allclose((np.triu(a) if upper else np.tril(a)) @ x, b[:, ::-1], **close(dtype))


INF, NAN = np.inf, np.nan
NOT_FINITE = {"inf": [[1.0, 2, 3], [INF, 4, 5], [6, 7, 8]], "symmetric inf": [[1.0, INF, 3], [INF, 4, 5], [3, 5, 8]], "nan": [[1.0, 2, 3], [NAN, 4, 5], [6, 7, 8]],
              "batch": [np.eye(3) * 2, [[1.0, 2, 3], [INF, 4, 5], [6, 7, 8]]], "batch nan": [np.eye(3) * 2, [[1.0, NAN, 3], [NAN, 4, 5], [6, 7, 8]]]}
DECOMPOSE = """linalg.svdvals(a)
linalg.svd(a).S
linalg.cond(a)
linalg.cond(a, -2)
linalg.cond(a, "nuc")
linalg.matrix_rank(a)
linalg.matrix_rank(a, hermitian=True)
linalg.pinv(a)
linalg.pinv(a, hermitian=True)
linalg.matrix_norm(a, 2)
linalg.matrix_norm(a, "nuc")
norm(a, "nuc", dim=(-2, -1))
linalg.eigvalsh(a)
linalg.eigh(a).eigenvalues
linalg.eig(a)
linalg.cholesky(a)
linalg.cholesky_ex(a).info
linalg.lu_factor_ex(a).info
linalg.ldl_factor_ex(a).info
linalg.inv(a)
linalg.det(a)
linalg.qr(a).Q
matrix_exp(a)
func.vmap(linalg.svdvals)(a.expand(2, 3, 3))""".splitlines()


def said(error):
    """The text up to the reason, without which of the batch it was (a device's solvers don't say)."""
    return re.split(" because| of order", re.sub(r"\(Batch element \d+\): ", "", str(error)))[0]


@pytest.mark.parametrize("values", NOT_FINITE)
@pytest.mark.parametrize("code", DECOMPOSE)
def test_matrices_that_are_not_finite(code, values):
    def run(library):
        a = library.tensor(np.array(NOT_FINITE[values]))
        try:
            return eval("library." + code.replace("linalg.svdvals)", "library.linalg.svdvals)"), {"library": library, "a": a})
        except Exception as error:
            return error
    if values.startswith("batch") and "expand" in code:
        return
    ours, theirs = run(rl), run(pt)
    if isinstance(theirs, Exception):
        assert isinstance(ours, RuntimeError) and type(ours).__name__.lstrip("_") == type(theirs).__name__.lstrip("_"), ours
        assert said(ours) == said(theirs)
    else:
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 6, 3), (2, 1, 6, 3), (70, 30)])
def test_least_squares(kernel, shape, dtype):
    a, b = random(shape, dtype), random((2, shape[-2], 4) if len(shape) > 2 else (shape[-2], 4), dtype, 1)
    a[..., 0] = a[..., 1]                # two columns are one
    x, ranks = kernel("least_squares")(a, b, 1e-5)
    theirs = np.linalg.pinv(a, rcond=1e-5) @ b
    np.testing.assert_allclose(x, theirs, **close(dtype))
    assert (ranks == np.linalg.matrix_rank(a[..., 1:])).all() and ranks.shape == x.shape[:-2]


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_systems_by_halves(dtype):
    """Triangles of all remainders, by rows and by columns; general systems and inverses of batches, against NumPy in double."""
    rng = np.random.default_rng(0)
    tolerance = 2e-4 if dtype in ("f4", "c8") else 1e-10

    def random(*shape):
        return (rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype[0] == "c" else 0)).astype(dtype)
    for n in (1, 2, 31, 33, 65, 100):
        square = random(n, n) / n + 2 * np.eye(n, dtype=dtype)
        for columns in (1, 7, 70):
            b = random(n, columns)
            for a in (square, np.asfortranarray(square)):
                for upper in (False, True):
                    for unit in (False, True):
                        part = np.triu(a) if upper else np.tril(a)
                        wanted = part - np.diag(np.diag(part)) + np.eye(n, dtype=dtype) if unit else part
                        np.testing.assert_allclose(wanted @ lapack.solve_triangular(a, b, upper, unit), b, atol=tolerance)
                np.testing.assert_allclose(a @ lapack.solve(a, b), b, atol=tolerance)
            np.testing.assert_allclose(lapack.solve(square, square), np.eye(n), atol=tolerance)     # one array on both sides
        np.testing.assert_allclose(square @ lapack.inverse(square), np.eye(n), atol=tolerance)
    a, b = random(3, 1, 5, 5), random(2, 5, 4)
    np.testing.assert_allclose(a @ lapack.solve(a, b), np.broadcast_to(b, (3, 2, 5, 4)), atol=tolerance * 10)
    a[1, 0, :, 2] = 0
    for call in (lambda: lapack.inverse(a), lambda: lapack.solve(a, b)):
        with pytest.raises(np.linalg.LinAlgError):
            call()
