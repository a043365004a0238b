"""What LAPACK has and NumPy has not, on arrays (..., rows, columns): LU, triangular solves, LDL, Cholesky that says where it failed; and
NumPy's decompositions for matrices that are not finite, on which LAPACK may never return.

native/lapack.cpp calls NumPy's own LAPACK; here are the twins, written after G. H. Golub and C. F. Van Loan, "Matrix Computations", with
LAPACK's conventions: pivots count from 1, `info` is 0 or the (1-based) place of the failure. Loops run over columns; all matrices of a
batch go through them together. What goes through a matrix element by element (LDL, a Cholesky that failed) takes NumPy arrays only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..vocabulary import Array, Function
from .door import kernel
from .shapes import broadcast_shapes

__all__ = ["cholesky", "eig", "eigh", "eigvalsh", "inverse", "ldl_factor", "ldl_solve", "least_squares", "lu_factor", "lu_rows", "on_host",
           "solve", "solve_triangular", "svd", "svdvals"]

_BLOCK = 32


def _stack(a: Array, keep: int = 2) -> Array:
    """A copy as one stack (count, rows, columns), or (count, rows) with keep=1."""
    batch = a.shape[:a.ndim - keep]
    return a.copy().reshape(math.prod(batch), *a.shape[a.ndim - keep:])


def on_host(a: Any) -> Array:
    """The array, or a copy of a device's in host memory."""
    return a if a.__class__ is np.ndarray else a.get()


def _size1(a: Array) -> Array:
    """|re| + |im|, by which LAPACK compares pivots."""
    return np.abs(a.real) + np.abs(a.imag) if a.dtype.kind == "c" else np.abs(a)


# --- NumPy's decompositions ---------------------------------------------------------------------------------------------------------------

def _finite(decompose: Function) -> Function:
    """`decompose` for NumPy arrays that may hold inf or nan: nan raises LinAlgError, as LAPACK does, and a matrix with inf has results of
    nan."""
    def finite(a: Array, *more: Any) -> Any:
        if a.__class__ is not np.ndarray or (good := np.isfinite(a)).all():
            return decompose(a, *more)
        if (nan := np.isnan(a).any((-2, -1))).any():
            where = f"(Batch element {int(np.argmax(nan.reshape(-1)))}): " if nan.ndim else ""
            raise np.linalg.LinAlgError(where)
        bad: Any = ~good.all((-2, -1))
        outs = decompose(np.where(bad[..., None, None], a.dtype.type(0), a), *more)
        for each in outs if isinstance(outs, tuple) else (outs,):
            each[bad] = np.nan
        return outs
    return finite


svd = _finite(np.linalg.svd)                                       # (a, full_matrices) -> (U, S, Vh)
svdvals = _finite(lambda a: np.linalg.svd(a, False, False))
eigh = _finite(np.linalg.eigh)                                     # (a, triangle) -> (eigenvalues, eigenvectors)
eigvalsh = _finite(np.linalg.eigvalsh)
eig = _finite(np.linalg.eig)


# --- triangular systems -----------------------------------------------------------------------------------------------------------------

@kernel
def solve_triangular(a: Array, b: Array, upper: bool, unit: bool = False) -> Array:
    """X with A X = B for triangular A (the other triangle, and the diagonal if `unit`, are not read); batches broadcast."""
    if upper:        # reversed in both directions, an upper matrix is a lower one
        return _solve_lower(a[..., ::-1, ::-1], b[..., ::-1, :], unit)[..., ::-1, :]
    return _solve_lower(a, b, unit)


@kernel
def solve(a: Array, b: Array) -> Array:
    """X with A X = B; batches broadcast. LinAlgError where a matrix is singular (on a GPU: inf or nan)."""
    return np.linalg.solve(a, b)


@kernel
def inverse(a: Array) -> Array:
    """The inverse of each matrix. LinAlgError where one is singular (on a GPU: inf or nan)."""
    return np.linalg.inv(a)


def _solve_lower(a: Array, b: Array, unit: bool) -> Array:
    n = a.shape[-1]
    if n > 16:
        half = n // 2
        top = _solve_lower(a[..., :half, :half], b[..., :half, :], unit)
        bottom = _solve_lower(a[..., half:, half:], b[..., half:, :] - np.matmul(a[..., half:, :half], top), unit)
        return np.concatenate([top, bottom], axis=-2)
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.broadcast_to(b, batch + b.shape[-2:]).copy()
    for i in range(n):
        if i:
            x[..., i, :] -= np.matmul(a[..., i, None, :i], x[..., :i, :])[..., 0, :]
        if not unit:
            x[..., i, :] /= a[..., i, i, None]
    return x


# --- LU ---------------------------------------------------------------------------------------------------------------------------------

@kernel
def lu_factor(a: Array) -> tuple[Any, Any, Any]:
    """(L and U in one matrix, pivots, info) of A = P L U with partial pivoting: blocked, right-looking."""
    m, n = a.shape[-2:]
    k = min(m, n)
    x = _stack(a)
    count = x.shape[0]
    pivots = np.zeros((count, k), np.int32, like=x)
    info = np.zeros(count, np.int32, like=x)
    each = np.arange(count, like=x)
    for start in range(0, k, _BLOCK):
        stop = min(start + _BLOCK, k) if x.size else start
        for j in range(start, stop):
            p = np.argmax(_size1(x[:, j:, j]), axis=1) + j
            pivots[:, j] = p + 1
            row = x[:, j].copy()
            x[:, j] = x[each, p]
            x[each, p] = row
            pivot = x[:, j, j]
            zero = pivot == 0
            info = np.where(zero & (info == 0), np.int32(j + 1), info)
            x[:, j + 1:, j] /= np.where(zero, x.dtype.type(1), pivot)[:, None]
            x[:, j + 1:, j + 1:stop] -= x[:, j + 1:, j, None] * x[:, j, None, j + 1:stop]
        if stop < n:
            x[:, start:stop, stop:] = solve_triangular(x[:, start:stop, start:stop], x[:, start:stop, stop:], False, True)
            x[:, stop:, stop:] -= np.matmul(x[:, stop:, start:stop], x[:, start:stop, stop:])
    return x.reshape(a.shape), pivots.reshape(*a.shape[:-2], k), info.reshape(a.shape[:-2])


@kernel
def lu_rows(pivots: Array, m: int) -> Array:
    """The permutation that the pivots (..., k) describe: row i of L U is row rows[i] of A."""
    flat = _stack(pivots, 1)
    rows = np.tile(np.arange(m, like=pivots), (flat.shape[0], 1))
    each = np.arange(flat.shape[0], like=pivots)
    for j in range(flat.shape[1]):
        p = flat[:, j] - 1
        old = rows[:, j].copy()
        rows[:, j] = rows[each, p]
        rows[each, p] = old
    return rows.reshape(*pivots.shape[:-1], m)


# --- Cholesky ---------------------------------------------------------------------------------------------------------------------------

@kernel
def cholesky(a: Array) -> tuple[Any, Any]:
    """(L, info) of Hermitian positive-definite matrices, of which the lower triangle is read."""
    try:
        r = np.linalg.cholesky(a)
        if not np.isnan(r).any():       # CuPy says nan instead of raising; a matrix with nan is not positive-definite
            return r, np.zeros(a.shape[:-2], np.int32)
    except np.linalg.LinAlgError:
        pass
    x = _stack(on_host(a))
    info = np.array([_cholesky_one(each) for each in x], np.int32).reshape(a.shape[:-2])
    return np.tril(x).reshape(a.shape), info


def _cholesky_one(a: Array) -> int:
    """Factor one matrix in place; returns the order of the first minor that is not positive, 0 where all are."""
    for j in range(a.shape[0]):
        row = a[j, :j].conj()
        pivot = (a[j, j] - a[j, :j] @ row).real
        if not pivot > 0:
            a[j, j] = pivot
            return j + 1
        a[j, j] = pivot ** 0.5
        a[j + 1:, j] = (a[j + 1:, j] - a[j + 1:, :j] @ row) / a[j, j]
    return 0


# --- least squares ----------------------------------------------------------------------------------------------------------------------

@kernel
def least_squares(a: Array, b: Array, rcond: float) -> tuple[Any, Any]:
    """(X of the least |A X - B| and least |X|, ranks): singular values below rcond times the largest do not count; batches broadcast."""
    u, s, vh = svd(a, False)
    counts = s > rcond * s.max(-1, keepdims=True, initial=0.0)
    inverse = np.where(counts, 1, 0) / np.where(counts, s, 1)
    x = np.matmul(np.conj(np.swapaxes(vh, -1, -2)) * inverse[..., None, :], np.matmul(np.conj(np.swapaxes(u, -1, -2)), b))
    return x.astype(a.dtype, copy=False), np.broadcast_to(counts.sum(-1), x.shape[:-2])


# --- LDL --------------------------------------------------------------------------------------------------------------------------------
_ALPHA = (1 + 17 ** 0.5) / 8        # the growth factor that balances 1x1 and 2x2 pivots (Bunch and Kaufman 1977)


@kernel
def ldl_factor(a: Array, hermitian: bool) -> tuple[Any, Any, Any]:
    """(L and D in one matrix, pivots, info) of symmetric (or Hermitian) matrices by Bunch and Kaufman's method; the lower triangle is
    read."""
    x = np.tril(_stack(on_host(a)))
    pivots = np.zeros(x.shape[:-1], np.int32)
    info = np.array([_ldl_one(each, p, hermitian) for each, p in zip(x, pivots, strict=True)], np.int32)
    return x.reshape(a.shape), pivots.reshape(a.shape[:-1]), info.reshape(a.shape[:-2])


def _ldl_one(a: Array, pivots: Array, hermitian: bool) -> int:
    n, k, info = a.shape[0], 0, 0
    turn = np.conj if hermitian else lambda v: v
    while k < n:
        if hermitian and a.dtype.kind == "c":
            np.fill_diagonal(a, a.diagonal().real)       # what rounding made of it in the last step
        size, at = _ldl_pivot(a, k, hermitian)
        if size == 0:                                    # a column of zeros (or nan)
            info = info or k + 1
            pivots[k] = k + 1
            k += 1
            continue
        if at != (last := k + size - 1):
            _ldl_swap(a, last, at, k, turn)
        if size == 1:
            column = a[k + 1:, k] / a[k, k]
            a[k + 1:, k + 1:] -= np.tril(np.outer(column, turn(a[k + 1:, k])))
            a[k + 1:, k] = column
            pivots[k] = at + 1
        else:
            d = np.array([[a[k, k], turn(a[k + 1, k])], [a[k + 1, k], a[k + 1, k + 1]]])
            both = np.linalg.solve(d.T, a[k + 2:, k:k + 2].T).T if n > k + 2 else a[k + 2:, k:k + 2]
            a[k + 2:, k + 2:] -= np.tril(both @ turn(a[k + 2:, k:k + 2]).T)
            a[k + 2:, k:k + 2] = both
            pivots[k] = pivots[k + 1] = -(at + 1)
        k += size
    return info


def _ldl_pivot(a: Array, k: int, hermitian: bool) -> tuple[int, int]:
    """(1 or 2: the size of the next pivot block; the row to bring to its last place); size 0 where there is nothing to divide by."""
    real = (lambda v: _size1(v.real)) if hermitian else _size1
    here = real(a[k, k])
    below = _size1(a[k + 1:, k])
    r = k + 1 + int(np.argmax(below)) if below.size else k
    largest = below[r - k - 1] if below.size else here * 0
    if max(here, largest) == 0 or np.isnan(here):
        return 0, k
    if here >= _ALPHA * largest:
        return 1, k
    row = max(_size1(a[r, k:r]).max(), _size1(a[r + 1:, r]).max(initial=0.0))
    if here >= _ALPHA * largest * (largest / row):
        return 1, k
    return (1, r) if real(a[r, r]) >= _ALPHA * row else (2, r)


def _ldl_swap(a: Array, i: int, j: int, k: int, turn: Function) -> None:
    """Exchange rows and columns i < j of the part of the matrix from k on, of which only the lower triangle is stored."""
    a[j + 1:, [i, j]] = a[j + 1:, [j, i]]
    middle = turn(a[i + 1:j, i]).copy()
    a[i + 1:j, i] = turn(a[j, i + 1:j])
    a[j, i + 1:j] = middle
    a[j, i] = turn(a[j, i])
    a[i, i], a[j, j] = a[j, j], a[i, i]
    if i > k:
        a[[i, j], k] = a[[j, i], k]


def ldl_solve(ld: Array, pivots: Array, b: Array, hermitian: bool) -> Array:
    """X with A X = B from `ldl_factor`'s result; batches broadcast."""
    batch = broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    x = _stack(np.broadcast_to(b, batch + b.shape[-2:]))
    flat = _stack(np.broadcast_to(ld, batch + ld.shape[-2:]))
    places = _stack(np.broadcast_to(pivots, batch + pivots.shape[-1:]), 1)
    for matrix, pivot, column in zip(flat, places, x, strict=True):
        _ldl_solve_one(matrix, pivot, column, hermitian)
    return x.reshape(batch + b.shape[-2:])


def _ldl_solve_one(a: Array, pivots: Array, x: Array, hermitian: bool) -> None:
    turn = np.conj if hermitian else lambda v: v
    n, k, blocks = a.shape[0], 0, []
    while k < n:                       # L and D, block by block
        size = 1 if pivots[k] > 0 else 2
        last, at = k + size - 1, abs(int(pivots[k])) - 1
        x[[last, at]] = x[[at, last]] if last != at else x[[last, at]]
        x[k + size:] -= a[k + size:, k:k + size] @ x[k:k + size]
        d = a[k:k + size, k:k + size].copy()
        if size == 2:
            d[0, 1] = turn(d[1, 0])
        elif hermitian:
            d = d.real
        x[k:k + size] = np.linalg.solve(d, x[k:k + size])
        blocks.append((k, size, last, at))
        k += size
    for k, size, last, at in reversed(blocks):
        x[k:k + size] -= turn(a[k + size:, k:k + size]).T @ x[k + size:]
        if last != at:
            x[[last, at]] = x[[at, last]]
