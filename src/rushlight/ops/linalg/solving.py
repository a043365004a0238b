"""Inverses, linear systems and determinants."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ... import return_types
from ...kernels import lapack as L
from ...tensor import Tensor
from ...vocabulary import Array, Function, PerDim
from ..matmul import matmul
from ..public import op
from ..record import record
from ..registry import FUNCTIONS
from .common import adjoint, check_floating, check_info, check_matrix, check_shapes, check_square, eye, info_tensor, result

__all__ = ["det", "inv", "solve", "solve_triangular", "triangular"]

inv_ex_result = return_types.make("linalg_inv_ex", "inverse", "info")
solve_ex_result = return_types.make("linalg_solve_ex", "result", "info")
slogdet_result = return_types.make("linalg_slogdet", "sign", "logabsdet")
triangular_solve_result = return_types.make("triangular_solve", "solution", "cloned_coefficient")


# --- inverse and solve ------------------------------------------------------------------------------------------------------------------

def _solved(function: Function, a: Array, *more: Any) -> tuple[Any, Any]:
    """(function(a, ...), info): where NumPy refuses a singular matrix, its part of the result is nan and info says which pivot was zero."""
    try:
        r = function(a, *more)
        if a.__class__ is np.ndarray or np.isfinite(r).all():       # CuPy says inf or nan instead of raising
            return r, np.zeros(a.shape[:-2], np.int32)
    except np.linalg.LinAlgError:
        pass
    info = L.lu_factor(a)[2]
    bad = info[..., None, None] != 0
    r = function(np.where(bad, np.eye(a.shape[-1], dtype=a.dtype, like=a), a), *more)
    return np.where(bad, r.dtype.type(np.nan), r), info


def _inverse(A: Tensor) -> tuple[Tensor, Any]:  # noqa: N803
    array, info = _solved(L.inverse, A._a)
    r = result(array, A)
    record(r, "LinalgInvExBackward0", (A,), lambda g, y: -matmul(matmul(adjoint(y), g), adjoint(y)), (r,), holomorphic=False)
    return r, info


@op(namespace="linalg", out=True)
def inv(A: Tensor) -> Tensor:  # noqa: N803
    """The inverse of a batch of square matrices; LinAlgError where one is singular."""
    check_square("linalg.inv", A)
    check_floating("linalg.inv", A)
    r, info = _inverse(A)
    check_info("linalg.inv", info, lambda i: f"The diagonal element {i} is zero, the inversion could not be completed because the input "
                                             "matrix is singular.")
    return r


@op(namespace="linalg", out=True)
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:  # noqa: N803
    """(inverse, info): info is 0 where the inverse exists, else the place of the zero pivot (the inverse is nan there)."""
    check_square("linalg.inv_ex", A)
    check_floating("linalg.inv_ex", A)
    if check_errors:
        r = inv(A)
        return inv_ex_result((r, info_tensor(np.zeros(A._a.shape[:-2], np.int32), A)))
    r, info = _inverse(A)
    return inv_ex_result((r, info_tensor(info, A)))


def _is_vector(A: Tensor, B: Tensor) -> bool:  # noqa: N803
    return B._a.ndim == 1 or (B._a.ndim == A._a.ndim - 1 and B._a.shape == A._a.shape[:-1])


@op(namespace="linalg", out=True)
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:  # noqa: N803
    """X with A X = B (X A = B if not left); B may be a batch of vectors or matrices. LinAlgError where A is singular."""
    r, info = _system("linalg.solve", A, B, left)
    check_info("torch.linalg.solve", info, lambda i: "The solver failed because the input matrix is singular.")
    return r


@op(namespace="linalg", out=True)
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:  # noqa: N803
    """(result, info): info is 0 where the system could be solved (the result is nan elsewhere)."""
    if check_errors:
        r = solve(A, B, left=left)
        return solve_ex_result((r, info_tensor(np.zeros(A._a.shape[:-2], np.int32), A)))
    r, info = _system("linalg.solve_ex", A, B, left)
    return solve_ex_result((r, info_tensor(info, A)))


def _system(name: str, A: Tensor, B: Tensor, left: bool) -> tuple[Tensor, Any]:  # noqa: N803
    check_square(name, A)
    check_floating(name, A)
    if B._a.ndim == 0:
        raise RuntimeError(f"{name}: The input tensor B must have at least 1 dimension.")
    vector = _is_vector(A, B)
    b = B.unsqueeze(-1) if vector else B
    check_shapes(name, A, b, left)
    if left:
        r, info = solved(A, b)
    else:
        r, info = solved(A.mT, b.mT)
        r = r.mT
    return r.squeeze(-1) if vector else r, info


def solved(a: Tensor, b: Tensor) -> tuple[Tensor, Any]:
    """(X, info) with A X = B, for matrices."""
    array, info = _solved(L.solve, a._a, b._a)
    r = result(array, a)

    def grad(g: Tensor, a: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        gb = solved(adjoint(a), g)[0]
        return -matmul(gb, adjoint(x)), gb
    return record(r, "LinalgSolveExBackward0", (a, b), grad, (a, r), holomorphic=False), info


# --- triangular systems -----------------------------------------------------------------------------------------------------------------

@op(namespace="linalg", out=True)
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:  # noqa: N803
    """X with A X = B (X A = B if not left) for triangular A; only that triangle is read, and no diagonal if `unitriangular`."""
    name = "linalg.solve_triangular"
    check_square(name, A)
    check_matrix(name, B, "B")
    check_floating(name, A)
    check_shapes(name, A, B, left)
    return triangular(A, B, upper, unitriangular) if left else triangular(A.mT, B.mT, not upper, unitriangular).mT


def triangular(a: Tensor, b: Tensor, upper: bool, unit: bool = False) -> Tensor:
    """X with A X = B for triangular A."""
    r = result(L.solve_triangular(a._a, b._a, upper, unit), a)

    def grad(g: Tensor, a: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        gb = triangular(adjoint(a), g, not upper, unit)
        ga = -matmul(gb, adjoint(x))
        return (ga.triu(int(unit)) if upper else ga.tril(-int(unit))), gb
    return record(r, "LinalgSolveTriangularBackward0", (a, b), grad, (a, r), holomorphic=False)


@op(method=True, out=True)
def triangular_solve(input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
                     unitriangular: bool = False) -> Any:  # noqa: N803
    """(solution, copy of A) of A X = input, or A^T X = input if `transpose` (old form; see torch.linalg.solve_triangular)."""
    check_square("triangular_solve", A)
    check_matrix("triangular_solve", input, "b")
    check_floating("triangular_solve", A)
    check_shapes("triangular_solve", A, input, True)
    x = triangular(A.mT, input, not upper, unitriangular) if transpose else triangular(A, input, upper, unitriangular)
    copy = A.expand(*x._a.shape[:-2], *A._a.shape[-2:]).clone() if x._a.ndim > A._a.ndim else A.clone()
    return triangular_solve_result((x, copy))


# --- determinants -----------------------------------------------------------------------------------------------------------------------

@op(namespace="linalg", out=True)
def det(A: Tensor) -> Tensor:  # noqa: N803
    """The determinant of a batch of square matrices."""
    check_square("linalg.det", A)
    check_floating("linalg.det", A, low=not A._a.size, kernel="lu_cpu" if A._a.size else "")
    r = result(np.linalg.det(A._a), A)
    return record(r, "LinalgDetBackward0", (A,), _det_grad, (A, r), holomorphic=False)


def _det_grad(g: Tensor, a: Tensor, y: Tensor) -> Tensor:
    """g * conj(det(A)) * A^-H; for singular matrices through the adjugate, from the singular values."""
    if bool((y._a != 0).all()):
        return (g * y.conj())[..., None, None] * adjoint(inv(a))
    from .spectral import svd
    u, s, vh = svd(a, full_matrices=False)
    n = a._a.shape[-1]
    products = FUNCTIONS["stack"]([prod([s[..., j] for j in range(n) if j != i], start=s[..., 0] * 0 + 1) for i in range(n)], -1)
    sign = (det(u.detach()) * det(vh.detach())).conj()
    return (g * sign)[..., None, None] * matmul(u * products.unsqueeze(-2), vh)


@op(namespace="linalg", out=True)
def slogdet(A: Tensor) -> Any:  # noqa: N803
    """(sign, log of the absolute value) of the determinant; 0 and -inf where A is singular."""
    check_square("linalg.slogdet", A)
    check_floating("linalg.slogdet", A)
    sign, log = (result(each, A) for each in np.linalg.slogdet(A._a))

    def grad(gs: list[Any], a: Tensor, sign: Tensor) -> Tensor:
        g_sign, g = gs
        if g_sign is not None and sign.is_complex():     # the sign turns with the imaginary part of tr(A^-1 dA)
            turn = (g_sign.conj() * sign).imag * -1j
            g = turn if g is None else g + turn
        if g is None:
            return a * 0
        return g[..., None, None] * adjoint(inv(a))
    return slogdet_result(record((sign, log), "LinalgSlogdetBackward0", (A,), grad, (A, sign), holomorphic=False))


@op(method=True)
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant: nan where that is negative."""
    check_square("logdet", input)
    check_floating("logdet", input)
    sign, log = slogdet(input)
    if input.is_complex():
        return log + sign.log()
    return FUNCTIONS["where"](sign == -1.0, float("nan"), log)


# --- tensors as matrices ----------------------------------------------------------------------------------------------------------------

@op(namespace="linalg", out=True)
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:  # noqa: N803
    """The inverse of `tensordot` with A over `ind` dimensions."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    shape = A._a.shape
    n = prod(shape[ind:])
    if prod(shape[:ind]) != n:
        raise RuntimeError(f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got {n} != "
                           f"{prod(shape[:ind])}")
    return inv(A.reshape(n, n)).reshape(shape[ind:] + shape[:ind])


@op(namespace="linalg", out=True)
def tensorsolve(A: Tensor, B: Tensor, dims: PerDim | None = None) -> Tensor:  # noqa: N803
    """X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A._a.ndim - len(dims), A._a.ndim)))  # noqa: N806
    shape = A._a.shape[B._a.ndim:]
    n = prod(A._a.shape[:B._a.ndim])
    if prod(shape) != n:
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but "
                           f"got {prod(shape)} != {n}")
    return solve(A.reshape(n, n), B.reshape(-1)).reshape(shape)


@op(method=True, out=True)
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:  # noqa: N803
    """X with A X = B, where A = L L^H (A = L^H L if `upper`)."""
    check_matrix("cholesky_solve", B, "B")
    if L._a.ndim < 2 or L._a.shape[-1] != L._a.shape[-2]:
        check_square("cholesky_solve", L)
    check_floating("cholesky_solve", L, kernel="cholesky_solve_cpu", any=True)
    check_shapes("cholesky_solve", L, B, True)
    return _cholesky_solve(B, L, upper, "CholeskySolveBackward0")


def _cholesky_solve(b: Tensor, factor: Tensor, upper: bool, name: str) -> Tensor:
    plain = factor.detach()
    lower, up = (adjoint(plain), plain) if upper else (plain, adjoint(plain))
    r = triangular(up, triangular(lower, b.detach(), False), True)

    def grad(g: Tensor, factor: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        gb = _cholesky_solve(g, factor, upper, "CholeskySolveBackward0")
        ga = matmul(gb, adjoint(x))          # A = L L^H: its gradient goes to both factors
        both = -(ga + adjoint(ga))
        return gb, (matmul(factor, both) if upper else matmul(both, factor))
    return record(r, name, (b, factor), grad, (factor, r), holomorphic=False)


@op(method=True, out=True)
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:  # noqa: N803
    """The inverse of A = L L^H (A = L^H L if `upper`)."""
    check_square("cholesky_inverse", L)
    check_floating("cholesky_inverse", L, kernel="cholesky_inverse_out_cpu", any=True)
    return _cholesky_solve(eye(L._a.shape[-1], L).expand(L._a.shape), L, upper, "CholeskyInverseBackward0")


for _name, _fn in {"det": det, "slogdet": slogdet, "inverse": inv}.items():
    op(_fn, name=_name, method=True, out=_name != "det")
