"""Householder reflections for orthogonal parametrisations: LAPACK's form of QR, and the product of reflections (differentiable)."""

from __future__ import annotations

from ...tensor import Tensor, wrap
from .._torch import torch

__all__ = ["geqrf", "householder_product"]


def geqrf(a: Tensor) -> tuple[Tensor, Tensor]:
    """QR in LAPACK's form, without history: R above the diagonal, the Householder vectors below it; and their factors tau."""
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
