"""The few matrix functions that orthogonal parametrisations need, for (..., n, n) and (..., n, k); differentiable, except `geqrf`."""

from __future__ import annotations

import math

from ...ops.record import record
from ...tensor import Tensor, wrap
from .._torch import torch

__all__ = ["geqrf", "householder_product", "matrix_exp", "solve"]


def geqrf(a: Tensor) -> tuple[Tensor, Tensor]:
    """QR in LAPACK's form: R above the diagonal, the Householder vectors below it; and their factors tau."""
    h, tau = a._kind.xp.linalg.qr(a._a, mode="raw")
    return wrap(h.swapaxes(-2, -1).copy(), a._kind), wrap(tau, a._kind)


def householder_product(a: Tensor, tau: Tensor) -> Tensor:
    """The first k columns of H_1 H_2 ... H_k, H_i = I - tau_i v_i v_i^H; v_i is column i of `a` below the diagonal, 1 on it."""
    n, k = a.size(-2), a.size(-1)
    identity = torch.eye(n, k, dtype=a.dtype, device=a.device)
    vectors = a.tril(-1) + identity
    q = identity.expand(*a.shape[:-2], n, k)
    for i in reversed(range(k)):
        v = vectors[..., i:i + 1]
        q = q - tau[..., i, None, None] * (v @ (v.mH @ q))
    return q


def matrix_exp(a: Tensor) -> Tensor:
    """exp(a) by scaling and squaring: Taylor's series to degree 18 of a / 2^s, whose 1-norm is at most 1 (error below 1/19!)."""
    size = float(a.detach().abs().sum(-2).max()) if a.numel() else 0.0
    squarings = max(0, math.ceil(math.log2(size))) if 0 < size < math.inf else 0
    scaled = a / 2.0 ** squarings
    identity = torch.eye(a.size(-1), dtype=a.dtype, device=a.device)
    result = identity
    for degree in range(18, 0, -1):
        result = identity + scaled @ result / degree
    for _ in range(squarings):
        result = result @ result
    return result


def solve(a: Tensor, b: Tensor) -> Tensor:
    """X with a X = b. RuntimeError for a singular matrix."""
    try:
        x = wrap(a._kind.xp.linalg.solve(a._a, b._a), a._kind)
    except Exception as error:
        raise RuntimeError(f"solve: the matrix is singular ({error})") from error

    def grad(g: Tensor, a: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        of_b = solve(a.mT, g)
        return -(of_b @ x.mT), of_b
    return record(x, "LinalgSolveExBackward0", (a, b), grad=grad, saved=(a, x))
