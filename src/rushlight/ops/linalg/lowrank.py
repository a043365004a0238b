"""A few singular values or eigenvalues of a large matrix, which need only products with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.lapack import on_host
from ...tensor import Tensor
from ...vocabulary import Array
from ..matmul import matmul
from ..public import op
from ..record import record
from ..registry import FUNCTIONS
from .common import adjoint, check_matrix, check_square, result
from .factors import qr
from .spectral import svd

__all__ = ["lobpcg", "pca_lowrank", "svd_lowrank"]


# --- randomised singular values ---------------------------------------------------------------------------------------------------------

def _basis(A: Tensor, q: int, niter: int) -> Tensor:  # noqa: N803
    """An orthonormal basis of about the range of A (N. Halko, P. Martinsson and J. Tropp 2009, algorithm 4.4)."""
    random = FUNCTIONS["randn"](A._a.shape[-1], q, dtype=A._kind.dtype, device=A._kind.device)
    basis = qr(matmul(A, random))[0]
    for _ in range(niter):
        basis = qr(matmul(adjoint(A), basis))[0]
        basis = qr(matmul(A, basis))[0]
    return basis


@op()
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> tuple[Tensor, ...]:  # noqa: N803
    """(U, S, V) with A - M about U diag(S) V^H, of rank q, after `niter` rounds of subspace iteration from a random start."""
    check_matrix("svd_lowrank", A)
    q, niter = 6 if q is None else q, 2 if niter is None else niter
    m, n = A._a.shape[-2:]
    if M is not None:
        A = A - M.broadcast_to(A._a.shape)  # noqa: N806
    if m < n:
        A = adjoint(A)  # noqa: N806
    basis = _basis(A, q, niter)
    u, s, vh = svd(matmul(adjoint(basis), A), full_matrices=False)
    u, v = matmul(basis, u), adjoint(vh)
    return (v, s, u) if m < n else (u, s, v)


@op()
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Tensor, ...]:  # noqa: N803
    """(U, S, V) of the rows of A (less their mean if `center`): the columns of V are the q principal directions."""
    check_matrix("pca_lowrank", A)
    m, n = A._a.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


# --- eigenvalues of symmetric matrices --------------------------------------------------------------------------------------------------

@op()
def lobpcg(A: Tensor, k: int | None = None, B: Tensor | None = None, X: Tensor | None = None, n: int | None = None,  # noqa: N803
           iK: Tensor | None = None, niter: int | None = None, tol: float | None = None, largest: bool | None = None,  # noqa: N803
           method: str | None = None, tracker: Any = None, ortho_iparams: Any = None, ortho_fparams: Any = None,
           ortho_bparams: Any = None) -> tuple[Tensor, ...]:
    """(E, X): k extreme eigenvalues and eigenvectors of A X = B X diag(E) for symmetric A and positive-definite B (A. Knyazev 2001).

    k        how many (default: 1, or the columns of X);  n: the size of the block that is iterated (default: k)
    X        where to start (default: random);  iK: an approximate inverse of A
    niter    the largest number of rounds (default 1000, -1: no limit);  tol: of the residual, relative to A and X (default: sqrt(eps))
    largest  the largest eigenvalues (default) or the smallest
    The gradient of E is defined, that of X is not.
    """
    check_square("lobpcg", A)
    if tracker is not None or ortho_iparams or ortho_fparams or ortho_bparams:
        raise NotImplementedError("lobpcg: tracker and ortho_*params are those of PyTorch's own iteration; leave them out")
    if method not in (None, "basic", "ortho"):
        raise ValueError(f"lobpcg: method should be 'basic' or 'ortho', but got {method!r}")
    m = A._a.shape[-1]
    k = (1 if X is None else X._a.shape[-1]) if k is None else k
    n = (k if X is None else X._a.shape[-1]) if n is None else n
    if m < 3 * n:
        raise ValueError(f"LPBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than 3 x the number of requested "
                         f"eigenpairs (={n})")
    start = FUNCTIONS["randn"](*A._a.shape[:-1], n, dtype=A._kind.dtype, device=A._kind.device) if X is None else X
    rounds = 1000 if niter is None else niter if niter >= 0 else 10 ** 9
    tolerance = float(np.finfo(A._a.dtype).eps) ** 0.5 if tol is None else tol
    batch = A._a.shape[:-2]
    given = (A, B, start, iK)
    flat = [None if t is None else np.broadcast_to(on_host(t._a), batch + t._a.shape[-2:]).reshape(-1, *t._a.shape[-2:]) for t in given]
    pairs = []
    for i in range(len(flat[0])):
        a, b, first, inverse = [None if each is None else each[i] for each in flat]
        pairs.append(_lobpcg(a, b, first, inverse, k, rounds, tolerance, largest is not False))
    e = result(np.stack([pair[0] for pair in pairs]).reshape(*batch, k), A)
    x = result(np.stack([pair[1] for pair in pairs]).reshape(*batch, m, k), A)

    def grad(gs: Any, x: Tensor, e: Tensor) -> Any:
        if gs[1] is not None:
            raise NotImplementedError("the derivative for the eigenvectors of 'lobpcg' is not implemented: use torch.linalg.eigh.")
        ga = matmul(x * gs[0].unsqueeze(-2), adjoint(x))
        return ga, (None if B is None else -matmul(x * (gs[0] * e).unsqueeze(-2), adjoint(x)))
    return record((e, x), "LOBPCGAutogradFunctionBackward", (A, B), grad, (x.detach(), e.detach()), holomorphic=False)


def _orthonormal(s: Array, b: Any) -> Array:
    """A B-orthonormal basis of the columns of s."""
    s = np.linalg.qr(s / np.maximum(np.linalg.norm(s, axis=0), np.finfo(s.dtype).tiny))[0]
    if b is None:
        return s
    return np.linalg.solve(np.linalg.cholesky(s.conj().T @ b @ s), s.conj().T).conj().T


def _lobpcg(a: Array, b: Array | None, x: Array, inverse: Any, k: int, rounds: int, tolerance: float, largest: bool) -> tuple[Any, Any]:
    """One matrix: Rayleigh-Ritz over the block, the (preconditioned) residuals and the last directions, until the residuals are small."""
    n, scale = x.shape[1], np.linalg.norm(a)
    direction = np.empty((x.shape[0], 0), x.dtype)
    x = _orthonormal(x, b)
    for step in range(rounds + 1):
        w, c = np.linalg.eigh(x.conj().T @ (a @ x))
        order = np.argsort(-w if largest else w)
        w, x = w[order], x @ c[:, order]
        bx = x if b is None else b @ x
        residual = a @ x - bx * w
        bound = tolerance * (scale + np.abs(w)) * np.linalg.norm(x, axis=0)
        if step == rounds or (np.linalg.norm(residual, axis=0) <= bound)[:k].all():
            break
        search = residual if inverse is None else inverse @ residual
        basis = _orthonormal(np.concatenate([x, search, direction], axis=1), b)
        v, c = np.linalg.eigh(basis.conj().T @ (a @ basis))
        best = basis @ c[:, np.argsort(-v if largest else v)[:n]]
        direction = best - x @ (bx.conj().T @ best)
        x = _orthonormal(best, b)
    return w[:k], x[:, :k]
