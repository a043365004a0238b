"""LU and LDL factorisations and the systems solved with them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ... import return_types
from ...dtypes import int32
from ...kernels import lapack
from ...tensor import Tensor, wrap
from ...vocabulary import Array
from ..matmul import matmul
from ..public import op
from ..record import record
from ..registry import FUNCTIONS
from .common import adjoint, check_floating, check_info, check_matrix, check_shapes, check_square, info_tensor, result
from .solving import triangular

__all__ = ["lu", "lu_factor"]

lu_result = return_types.make("linalg_lu", "P", "L", "U")
lu_factor_result = return_types.make("linalg_lu_factor", "LU", "pivots")
lu_factor_ex_result = return_types.make("linalg_lu_factor_ex", "LU", "pivots", "info")
lu_with_info_result = return_types.make("_lu_with_info", "LU", "pivots", "info")
lu_unpack_result = return_types.make("lu_unpack", "P", "L", "U")
ldl_factor_result = return_types.make("linalg_ldl_factor", "LD", "pivots")
ldl_factor_ex_result = return_types.make("linalg_ldl_factor_ex", "LD", "pivots", "info")


# --- LU ---------------------------------------------------------------------------------------------------------------------------------

def _check(name: str, A: Tensor, pivot: bool) -> None:  # noqa: N803
    check_matrix(name, A)
    if A._a.size:
        check_floating(name, A, kernel="lu_cpu", any=True)
    if not pivot and A._a.size:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")


def _permutation(pivots: Array, m: int, like: Tensor) -> Tensor:
    """P of P L U from the pivots."""
    rows = lapack.lu_rows(pivots, m)
    p = np.zeros((*rows.shape, m), like._kind.np, like=rows)
    np.put_along_axis(np.swapaxes(p, -1, -2), rows[..., None], 1, -1)
    return wrap(p, like._kind)


def _lower(lu: Tensor) -> Tensor:
    """L of a compact LU: ones on the diagonal."""
    m, n = lu._a.shape[-2:]
    k = min(m, n)
    return lu[..., :k].tril(-1) + FUNCTIONS["eye"](m, k, dtype=lu._kind.dtype, device=lu._kind.device)


def _upper(lu: Tensor) -> Tensor:
    return lu[..., :min(lu._a.shape[-2:]), :].triu()


def _lu_grad(gl: Tensor | None, gu: Tensor | None, p: Tensor, low: Tensor, up: Tensor) -> Tensor:
    """The gradient of A = P L U from those of L and U; a wide A = [A1 A2] has U = [U1 U2], a tall one L = [L1; L2].

    For square matrices P L^-H (tril(L^H gL, -1) + triu(gU U^H)) U^-H; the remaining block is L2 = A2 U^-1 or U2 = L^-1 A2.
    """
    m, n = low._a.shape[-2], up._a.shape[-1]
    k = min(m, n)
    l1, u1 = low[..., :k, :], up[..., :k]
    strict = up.new_zeros(()) if gl is None else matmul(adjoint(l1), gl[..., :k, :])
    upper = up.new_zeros(()) if gu is None else matmul(gu[..., :k], adjoint(u1))
    if m < n and gu is not None:
        strict = strict - matmul(gu[..., k:], adjoint(up[..., k:]))
    if m > n and gl is not None:
        upper = upper - matmul(adjoint(low[..., k:, :]), gl[..., k:, :])
    inner = 0
    if strict._a.ndim:
        inner = strict.tril(-1)
    if upper._a.ndim:
        inner = inner + upper.triu()
    left = triangular(adjoint(l1), inner, True, True)
    main = adjoint(triangular(u1, adjoint(left), True))
    if m < n:
        rest = up[..., k:] * 0 if gu is None else triangular(adjoint(l1), gu[..., k:], True, True)
        main = FUNCTIONS["cat"]([main, rest], -1)
    elif m > n:
        rest = low[..., k:, :] * 0 if gl is None else adjoint(triangular(u1, adjoint(gl[..., k:, :]), True))
        main = FUNCTIONS["cat"]([main, rest], -2)
    return matmul(p, main)


@op(namespace="linalg", out=True)
def lu(A: Tensor, *, pivot: bool = True) -> Any:  # noqa: N803
    """(P, L, U) with A = P L U: a permutation, a lower triangle with ones on the diagonal, an upper triangle."""
    _check("linalg.lu", A, pivot)
    array, pivots, _ = lapack.lu_factor(A._a)
    compact = result(array, A)
    p = _permutation(pivots, A._a.shape[-2], A)
    low, up = _lower(compact), _upper(compact)
    return lu_result((p, *record((low, up), "LinalgLuBackward0", (A,), lambda gs, low, up: _lu_grad(gs[0], gs[1], p, low, up), (low, up),
                                 holomorphic=False)))


def _factor(name: str, A: Tensor, pivot: bool) -> tuple[Tensor, Tensor, Any]:  # noqa: N803
    _check(name, A, pivot)
    array, pivots, info = lapack.lu_factor(A._a)
    compact = result(array, A)

    def grad(g: Tensor, compact: Tensor) -> Tensor:
        k = min(compact._a.shape[-2:])
        return _lu_grad(g[..., :k].tril(-1), g[..., :k, :].triu(), _permutation(pivots, compact._a.shape[-2], compact), _lower(compact),
                        _upper(compact))
    record(compact, "LinalgLuFactorExBackward0", (A,), grad, (compact,), holomorphic=False)
    return compact, info_tensor(pivots, A), info


def _zero_pivot(i: int) -> str:
    return (f"U[{i},{i}] is zero and using it on lu_solve would result in a division by zero. If you still want to perform the "
            "factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)")


@op(namespace="linalg", out=True)
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:  # noqa: N803
    """(LU, pivots): L and U in one matrix, and the row exchanged with row i (from 1); RuntimeError where U is singular."""
    compact, pivots, info = _factor("linalg.lu_factor", A, pivot)
    check_info("torch.linalg.lu_factor", info, _zero_pivot, RuntimeError)
    return lu_factor_result((compact, pivots))


@op(namespace="linalg", out=True)
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:  # noqa: N803
    """(LU, pivots, info): info is 0, or the place of the first zero on U's diagonal."""
    compact, pivots, info = _factor("linalg.lu_factor_ex", A, pivot)
    if check_errors:
        check_info("torch.linalg.lu_factor_ex", info, _zero_pivot, RuntimeError)
    return lu_factor_ex_result((compact, pivots, info_tensor(info, A)))


@op(name="lu", method="lu", out=True)
def _old_lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:  # noqa: N803
    """(LU, pivots), or (LU, pivots, info) (old form; see torch.linalg.lu_factor)."""
    warnings.warn("torch.lu is deprecated in favor of torch.linalg.lu_factor / torch.linalg.lu_factor_ex", UserWarning, stacklevel=2)
    compact, pivots, info = _factor("linalg.lu_factor_ex", A, pivot)
    if not get_infos:
        check_info("torch.lu", info, _zero_pivot, RuntimeError)
        return compact, pivots
    return lu_with_info_result((compact, pivots, info_tensor(info, A)))


@op(out=True)
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:  # noqa: N803
    """(P, L, U) from `lu_factor`'s compact form; empty tensors for what is not asked for."""
    check_matrix("lu_unpack", LU_data, "LU_data")
    empty = LU_data.new_empty(0)
    if unpack_pivots and LU_pivots._kind.dtype is not int32:
        raise RuntimeError("torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\nNote: this function is "
                           "intended to be used with the output produced by torch.linalg.lu_factor")
    p = _permutation(LU_pivots._a, LU_data._a.shape[-2], LU_data) if unpack_pivots else empty
    low, up = (_lower(LU_data), _upper(LU_data)) if unpack_data else (empty, empty)
    return lu_unpack_result((p, low, up))


@op(namespace="linalg", out=True)
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:  # noqa: N803
    """X with A X = B from `lu_factor`'s result; X A = B if not left, and A^H for A if adjoint."""
    name = "linalg.lu_solve"
    check_floating(name, LU)
    if pivots._kind.dtype is not int32:
        raise RuntimeError(f"{name}: pivots should be a Tensor of scalar type torch.int32. Got {pivots._kind.dtype}")
    check_square(name, LU, "LU")
    check_matrix(name, B, "B")
    check_shapes(name, LU, B, left)
    if pivots._a.shape[-1:] != LU._a.shape[-1:]:
        raise RuntimeError(f"{name}: Number of pivots per batch should be same as the dimension of the matrix")
    if pivots._a.shape[:-1] != LU._a.shape[:-2]:
        raise RuntimeError(f"{name}: Expected LU.shape[:-1] to be the same as pivots.shape, but got pivots with shape "
                           f"{list(pivots._a.shape)} instead")
    if not left:          # X A = B is A^H X^H = B^H
        return lu_solve(LU, pivots, B.mH, adjoint=not adjoint).mH
    p = _permutation(pivots._a, LU._a.shape[-1], LU)
    if adjoint:
        return matmul(p, triangular(LU.mH, triangular(LU.mH, B, False), True, True))
    return triangular(LU, triangular(LU, matmul(p.mT, B), False, True), True)


@op(name="lu_solve", method="lu_solve", out=True)
def _old_lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:  # noqa: N803
    """X with A X = b (old form; see torch.linalg.lu_solve)."""
    return lu_solve(LU_data, LU_pivots, b)


# --- LDL --------------------------------------------------------------------------------------------------------------------------------

def _ldl(name: str, A: Tensor, hermitian: bool, check: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: N803
    check_square(name, A)
    check_floating(name, A)
    ld, pivots, info = lapack.ldl_factor(A._a, hermitian and A._kind.is_complex)
    if check:
        check_info(name, info, lambda i: f"The diagonal block {i} of D is zero: the matrix is singular.", RuntimeError)
    r = result(ld, A)

    def grad(g: Tensor) -> Tensor:
        raise NotImplementedError("the derivative for 'linalg_ldl_factor' is not implemented.")
    return record(r, "NotImplemented", (A,), grad), info_tensor(pivots, A), info_tensor(info, A)


@op(namespace="linalg", out=True)
def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:  # noqa: N803
    """(LD, pivots) of symmetric (Hermitian) matrices A = L D L^T, D with blocks of one or two (a negative pivot marks two)."""
    return ldl_factor_result(_ldl("torch.linalg.ldl_factor", A, hermitian, True)[:2])


@op(namespace="linalg", out=True)
def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:  # noqa: N803
    """(LD, pivots, info): info is 0, or the place of the first zero block of D."""
    return ldl_factor_ex_result(_ldl("torch.linalg.ldl_factor_ex", A, hermitian, check_errors))


@op(namespace="linalg", out=True)
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:  # noqa: N803
    """X with A X = B from `ldl_factor`'s result."""
    name = "torch.linalg.ldl_solve"
    check_square(name, LD, "LD")
    check_floating(name, LD)
    check_matrix(name, B, "B")
    if pivots._kind.differentiable or pivots._kind is pivots._kind.bool_:
        raise RuntimeError(f"{name}: Expected pivots to be integers. Got {pivots._kind.dtype}")
    if pivots._a.shape != LD._a.shape[:-1]:
        raise RuntimeError(f"{name}: Expected LD.shape[:-1] and pivots.shape to be the same, but got pivots with shape "
                           f"{list(pivots._a.shape)} instead")
    check_shapes(name, LD, B, True)
    r = result(lapack.ldl_solve(lapack.on_host(LD._a), lapack.on_host(pivots._a), lapack.on_host(B._a), hermitian and LD._kind.is_complex),
               LD)

    def grad(g: Tensor) -> Any:
        raise NotImplementedError("the derivative for 'linalg_ldl_solve' is not implemented.")
    return record(r, "NotImplemented", (LD, B), grad)
