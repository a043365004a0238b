"""Cholesky and QR factorisations, and products of Householder reflectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import return_types
from ...kernels import lapack
from ...tensor import Tensor
from ...vocabulary import Function
from ..matmul import matmul
from ..public import op
from ..record import record
from ..registry import FUNCTIONS
from .common import adjoint, check_floating, check_info, check_matrix, check_square, info_tensor, result
from .solving import triangular

__all__ = ["cholesky", "qr"]

cholesky_ex_result = return_types.make("linalg_cholesky_ex", "L", "info")
qr_result = return_types.make("linalg_qr", "Q", "R")
old_qr_result = return_types.make("qr", "Q", "R")
geqrf_result = return_types.make("geqrf", "a", "tau")


# --- Cholesky ---------------------------------------------------------------------------------------------------------------------------

def _cholesky(name: str, A: Tensor, upper: bool, check: bool) -> tuple[Tensor, Any]:  # noqa: N803
    check_square(name, A)
    check_floating(name, A, kernel="cholesky_cpu", any=name == "cholesky")
    lower = np.conj(np.swapaxes(A._a, -1, -2)) if upper else A._a
    array, info = lapack.cholesky(lower)
    if check:
        check_info(name, info, lambda i: "The factorization could not be completed because the input is not positive-definite (the "
                                         f"leading minor of order {i} is not positive-definite).")
    y = result(array, A)

    def grad(g: Tensor, y: Tensor) -> Tensor:
        # L^-H (T + T^H) L^-1 / 2 with T the lower triangle of L^H g, its diagonal counted once (I. Murray 2016).
        phi = matmul(adjoint(y), g).tril()
        phi = (phi + adjoint(phi.tril(-1))) / 2
        left = triangular(adjoint(y), phi, True)
        return adjoint(triangular(adjoint(y), adjoint(left), True))
    record(y, "LinalgCholeskyExBackward0", (A,), grad, (y,), holomorphic=False)
    return (adjoint(y) if upper else y), info


@op(namespace="linalg", out=True)
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:  # noqa: N803
    """L with A = L L^H (or U with A = U^H U) of positive-definite matrices; LinAlgError where one is not."""
    return _cholesky("linalg.cholesky", A, upper, True)[0]


@op(namespace="linalg", out=True)
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:  # noqa: N803
    """(L, info): info is 0 where the factorisation exists, else the order of the first minor that is not positive."""
    y, info = _cholesky("linalg.cholesky_ex", A, upper, check_errors)
    return cholesky_ex_result((y, info_tensor(info, A)))


@op(name="cholesky", method="cholesky", out=True)
def _old_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """L with input = L L^H (old form; see torch.linalg.cholesky)."""
    return _cholesky("cholesky", input, upper, True)[0] if input._a.size else input.clone()


# --- QR ---------------------------------------------------------------------------------------------------------------------------------

@op(namespace="linalg", out=True)
def qr(A: Tensor, mode: str = "reduced") -> Any:  # noqa: N803
    """(Q, R) with A = Q R; mode "reduced", "complete" or "r" (Q is empty then)."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'")
    check_matrix("linalg.qr", A)
    check_floating("linalg.qr", A, kernel="geqrf_cpu")
    m, n = A._a.shape[-2:]
    if mode == "r":
        q, r = result(np.empty(0, A._kind.np, like=A._a), A), result(np.linalg.qr(A._a, "r"), A)
    else:
        q, r = (result(each, A) for each in np.linalg.qr(A._a, mode))

    def grad(gs: list[Any], q: Tensor, r: Tensor) -> Tensor:
        if mode == "r":
            raise RuntimeError("The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
                               "linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr.")
        if mode == "complete" and m > n:
            raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
        gq, gr = gs
        if m >= n:
            return _qr_grad(gq, gr, q, r)
        # A = [X Y], R = [U V]: X = Q U, and V = Q^H Y depends on Q.
        u = r[..., :m]
        if gr is None:
            x = _qr_grad(gq, None, q, u)
            return FUNCTIONS["cat"]([x, matmul(q, r[..., m:]) * 0], -1)
        gv, y = gr[..., m:], matmul(q, r[..., m:])
        through = matmul(y, adjoint(gv))
        x = _qr_grad(through if gq is None else gq + through, gr[..., :m], q, u)
        return FUNCTIONS["cat"]([x, matmul(q, gv)], -1)
    return qr_result(record((q, r), "LinalgQrBackward0", (A,), grad, (q, r), holomorphic=False))


def _qr_grad(gq: Tensor | None, gr: Tensor | None, q: Tensor, r: Tensor) -> Tensor:
    """(gQ + Q M) R^-H for at least as many rows as columns, M the Hermitian matrix with the upper triangle of gR R^H - Q^H gQ."""
    s = None if gr is None else matmul(gr, adjoint(r))
    if gq is not None:
        inner = matmul(adjoint(q), gq)
        s = -inner if s is None else s - inner
    assert s is not None
    u = s.triu()
    total = matmul(q, u + adjoint(u) - u.diagonal(0, -2, -1).real.diag_embed())
    if gq is not None:
        total = total + gq
    return adjoint(triangular(r, adjoint(total), True))


@op(name="qr", method="qr", out=True)
def _old_qr(input: Tensor, some: bool = True) -> Any:
    """(Q, R) (old form; see torch.linalg.qr)."""
    return old_qr_result(tuple(qr(input, "reduced" if some else "complete")))


# --- Householder reflectors I - tau v v^H, v = (0, ..., 0, 1, a[i + 1:, i])
# ----------------------------------------------------------------

@op(method=True, out=True)
def geqrf(input: Tensor) -> Any:
    """(a, tau): R in the upper triangle of a, and below it, with tau, the reflectors whose product is Q."""
    check_matrix("torch.geqrf", input, "input")
    check_floating("torch.geqrf", input)
    h, tau = np.linalg.qr(input._a, mode="raw")
    outs = result(np.swapaxes(h, -1, -2), input), result(tau, input)

    def grad(gs: Any) -> Tensor:
        raise NotImplementedError("the derivative for 'geqrf' is not implemented: use torch.linalg.qr.")
    return geqrf_result(record(outs, "GeqrfBackward0", (input,), grad))


def _reflect(c: Tensor, v: Tensor, tau: Tensor, order: Function | type[Any]) -> Tensor:
    """Apply the reflectors of the given numbers to the rows of c, one after the other."""
    n, k = v._a.shape[-1], tau._a.shape[-1]
    unit = v.tril(-1) + FUNCTIONS["eye"](v._a.shape[-2], n, dtype=v._kind.dtype, device=v._kind.device)
    for i in order(range(k)):
        column = unit[..., i:i + 1]
        c = c - matmul(column * tau[..., i, None, None], matmul(adjoint(column), c))
    return c


@op(namespace="linalg", out=True)
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of reflectors, as `geqrf` gives them: Q of a QR factorisation."""
    name = "torch.linalg.householder_product"
    check_matrix(name, input, "input")
    m, n = input._a.shape[-2:]
    if m < n:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if tau._a.ndim == 0 or n < tau._a.shape[-1]:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    _check_reflectors(name, input, tau)
    start = FUNCTIONS["eye"](m, n, dtype=input._kind.dtype, device=input._kind.device).expand(*input._a.shape[:-2], m, n)
    if not tau._a.shape[-1]:
        return record(start.clone(), "LinalgHouseholderProductBackward0", (input, tau), lambda g: (None, None))
    return _reflect(start, input, tau, reversed)


def _check_reflectors(name: str, input: Tensor, tau: Tensor) -> None:
    check_floating(name, input)
    if input._kind.dtype is not tau._kind.dtype:
        raise RuntimeError(f"{name}: tau dtype {tau._kind.dtype} does not match input dtype {input._kind.dtype}")
    if input._kind is not tau._kind:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {input._kind.device} and "
                           f"{tau._kind.device}!")
    if tau._a.ndim != input._a.ndim - 1:
        raise RuntimeError(f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal to {tau._a.ndim} and "
                           f"input.ndim is equal to {input._a.ndim}")
    if tau._a.shape[:-1] != input._a.shape[:-2]:
        raise RuntimeError(f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got {list(tau._a.shape[:-1])}")


op(householder_product, name="orgqr", method=True, out=True)


@op(method=True, out=True)
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """Q @ other (other @ Q if not left; Q^H if transpose), Q the square product of the reflectors of `geqrf`."""
    name = "torch.ormqr"
    check_matrix(name, input, "input")
    check_matrix(name, other, "other")
    side = -2 if left else -1
    if other._a.shape[side] < tau._a.shape[-1]:
        raise RuntimeError(f"{name}: other.shape[{side}] must be greater than or equal to tau.shape[-1]")
    if other._a.shape[side] != input._a.shape[-2]:
        raise RuntimeError(f"{name}: other.shape[{side}] must be equal to input.shape[-2]")
    if tau._a.shape[-1] > input._a.shape[-1]:
        raise RuntimeError(f"{name}: tau.shape[-1] must be less than or equal to input.shape[-1]")
    _check_reflectors(name, input, tau)
    if other._a.ndim != input._a.ndim or other._a.shape[:-2] != input._a.shape[:-2]:
        raise RuntimeError(f"{name}: Expected batch dimensions of other to be equal to input.shape[:-2], but got "
                           f"{list(other._a.shape[:-2])}")
    if other._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"{name}: Expected input and other to have the same dtype, but input has dtype {input._kind.dtype} and other "
                           f"has dtype {other._kind.dtype}")
    if not left:          # C Q = (Q^H C^H)^H
        return adjoint(ormqr(input, tau, adjoint(other), True, not transpose))
    # Q = H1 H2 ... Hk is applied from the last reflector on; Q^H = Hk^H ... H1^H from the first.
    return _reflect(other, input, tau.conj() if transpose else tau, iter if transpose else reversed)
