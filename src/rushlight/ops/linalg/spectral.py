"""Singular values, eigenvalues, and what follows from them: pseudo-inverse, rank, least squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import return_types
from ...kernels import lapack
from ...kernels.arrays import as_array
from ...kernels.shapes import broadcast_shapes
from ...tensor import Tensor, wrap
from ...vocabulary import Array, Function, Operand
from ..matmul import matmul
from ..public import op
from ..record import record
from ..registry import FUNCTIONS
from .common import LinAlgError, adjoint, check_floating, check_matrix, check_square, eye, real_kind, result
from .solving import solved

__all__ = ["eig", "eigh", "eigvalsh", "pinv", "svd", "svdvals"]

svd_result = return_types.make("linalg_svd", "U", "S", "Vh")
old_svd_result = return_types.make("svd", "U", "S", "V")
eigh_result = return_types.make("linalg_eigh", "eigenvalues", "eigenvectors")
eig_result = return_types.make("linalg_eig", "eigenvalues", "eigenvectors")
lstsq_result = return_types.make("linalg_lstsq", "solution", "residuals", "rank", "singular_values")


def _converged(name: str, decompose: Function, a: Array, *options: Any) -> Any:
    """Call LAPACK; its failure is our LinAlgError."""
    try:
        return decompose(a, *options)
    except np.linalg.LinAlgError as error:
        where = str(error) if str(error).startswith("(Batch") else ""
        why = "the input matrix contained non-finite values" if not np.isfinite(a).all() else "too many iterations"
        raise LinAlgError(f"{name}: {where}The algorithm failed to converge because {why}.") from None


def _check_phase(name: str, what: str, imaginary: Tensor) -> None:
    """Complex singular and eigenvectors are defined up to a phase: raise where a loss depends on it."""
    if bool((np.abs(imaginary._a) > 1e-2).any()):
        raise RuntimeError(f"{name}: The {what} in the complex case are specified up to multiplication by e^{{i phi}}. The specified loss "
                           "function depends on this quantity, so it is ill-defined.")


# --- singular values --------------------------------------------------------------------------------------------------------------------

def _svd(name: str, A: Tensor, full_matrices: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: N803
    check_matrix(name, A)
    check_floating(name, A, kernel="linalg_svd_cpu")
    u, s, vh = (result(each, A) for each in _converged(name, lapack.svd, A._a, full_matrices))
    m, n = A._a.shape[-2:]
    k = min(m, n)

    def grad(gs: list[Any], u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
        gu, g_s, gvh = gs
        if full_matrices and m != n and (gu is not None or gvh is not None):
            # The columns beyond the first k are any basis of the rest: only what is zero there has a gradient.
            if (gu is not None and bool((gu._a[..., k:] != 0).any())) or (gvh is not None and bool((gvh._a[..., k:, :] != 0).any())):
                raise RuntimeError("svd_backward: the gradient of all columns of U or rows of Vh is not defined: use full_matrices=False")
            gu, gvh = None if gu is None else gu[..., :k], None if gvh is None else gvh[..., :k, :]
        return _svd_grad(gu, g_s, gvh, u[..., :k], s, vh[..., :k, :])
    return record((u, s, vh), "LinalgSvdBackward0", (A,), grad, (u, s, vh), holomorphic=False)


def _svd_grad(gu: Tensor | None, g_s: Tensor | None, gvh: Tensor | None, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    """U [(skew(U^H gU) / E) S + S (skew(V^H gV) / E) + gS] V^H and the parts of gU, gV outside of the spaces (J. Townsend 2016).

    E_jk = s_k^2 - s_j^2. A phase of u_j and v_j together changes nothing, so of the diagonals only their difference counts.
    """
    if gu is None and gvh is None:
        return matmul(u * g_s.unsqueeze(-2), vh)
    one = eye(s._a.shape[-1], s)
    square = s * s
    gaps = square.unsqueeze(-2) - square.unsqueeze(-1) + one
    inner = None if g_s is None else g_s.diag_embed()
    phase = None
    if gu is not None:
        x = matmul(adjoint(u), gu)
        x = x - adjoint(x)
        phase = x.diagonal(0, -2, -1)
        term = x / gaps * s.unsqueeze(-2) if not u.is_complex() else (x / gaps).mul(1 - one) * s.unsqueeze(-2)
        inner = term if inner is None else inner + term
    if gvh is not None:
        x = matmul(vh, adjoint(gvh))
        x = x - adjoint(x)
        term = s.unsqueeze(-1) * (x / gaps if not u.is_complex() else (x / gaps).mul(1 - one))
        inner = term if inner is None else inner + term
        if u.is_complex():
            other = x.diagonal(0, -2, -1)
            _check_phase("svd_backward", "singular vectors", (other if phase is None else phase + other).imag)
    elif u.is_complex():
        _check_phase("svd_backward", "singular vectors", phase.imag)
    if u.is_complex() and gu is not None and gvh is not None:
        inner = inner + (phase / (2 * s)).diag_embed()
    total = matmul(u, matmul(inner, vh))
    m, n, k = u._a.shape[-2], vh._a.shape[-1], s._a.shape[-1]
    if gu is not None and m > k:
        total = total + matmul((gu - matmul(u, matmul(adjoint(u), gu))) / s.unsqueeze(-2), vh)
    if gvh is not None and n > k:
        total = total + matmul(u, (gvh - matmul(matmul(gvh, adjoint(vh)), vh)) / s.unsqueeze(-1))
    return total


def _check_driver(driver: Any) -> None:
    if driver is not None:
        raise RuntimeError("torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend.")


@op(namespace="linalg", out=True)
def svd(A: Tensor, full_matrices: bool = True, *, driver: Any = None) -> Any:  # noqa: N803
    """(U, S, Vh) with A = U diag(S) Vh, the singular values S from the largest down."""
    _check_driver(driver)
    return svd_result(_svd("linalg.svd", A, full_matrices))


@op(namespace="linalg", out=True)
def svdvals(A: Tensor, *, driver: Any = None) -> Tensor:  # noqa: N803
    """The singular values, largest first."""
    _check_driver(driver)
    if A._node is not None:
        return _svd("linalg.svd", A, False)[1]
    check_matrix("linalg.svd", A)
    check_floating("linalg.svd", A, kernel="linalg_svd_cpu")
    return result(_converged("linalg.svd", lapack.svdvals, A._a), A)


@op(name="svd", method="svd", out=True)
def _old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with input = U diag(S) V^H (old form; see torch.linalg.svd). Without `compute_uv`, U and V are zeros."""
    u, s, vh = _svd("linalg.svd", input, not some)
    if not compute_uv:
        m, n = input._a.shape[-2:]
        batch = input._a.shape[:-2]
        return old_svd_result((input.new_zeros(*batch, m, m), s, input.new_zeros(*batch, n, n)))
    return old_svd_result((u, s, adjoint(vh)))


# --- eigenvalues ------------------------------------------------------------------------------------------------------------------------

def _check_eigh(A: Tensor, UPLO: str) -> None:  # noqa: N803
    check_square("linalg.eigh", A)
    check_floating("linalg.eigh", A, kernel="linalg_eigh_cpu", any=True)
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")


@op(namespace="linalg", out=True)
def eigh(A: Tensor, UPLO: str = "L") -> Any:  # noqa: N803
    """(eigenvalues, eigenvectors) of symmetric or Hermitian matrices, smallest first; the triangle UPLO is read."""
    _check_eigh(A, UPLO)
    w, v = (result(each, A) for each in _converged("linalg.eigh", lapack.eigh, A._a, UPLO.upper()))

    def grad(gs: list[Any], w: Tensor, v: Tensor) -> Tensor:
        gw, gv = gs
        if gv is None:
            return matmul(v * gw.unsqueeze(-2), adjoint(v))
        one = eye(w._a.shape[-1], w)
        inner = matmul(adjoint(v), gv)
        if v.is_complex():
            _check_phase("linalg_eigh_backward", "eigenvectors", inner.diagonal(0, -2, -1).imag)
        inner = inner * ((1 - one) / (w.unsqueeze(-2) - w.unsqueeze(-1) + one))
        if gw is not None:
            inner = inner + gw.diag_embed()
        r = matmul(v, matmul(inner, adjoint(v)))
        return (r + adjoint(r)) / 2
    return eigh_result(record((w, v), "LinalgEighBackward0", (A,), grad, (w, v), holomorphic=False))


@op(namespace="linalg", out=True)
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:  # noqa: N803
    """The eigenvalues of symmetric or Hermitian matrices, smallest first."""
    if A._node is not None:
        return eigh(A, UPLO)[0]
    _check_eigh(A, UPLO)
    return result(_converged("linalg.eigh", lapack.eigvalsh, A._a, UPLO.upper()), A)


@op(namespace="linalg", out=True)
def eig(A: Tensor) -> Any:  # noqa: N803
    """(eigenvalues, eigenvectors) of square matrices; always complex, the vectors of length 1."""
    check_square("linalg.eig", A)
    check_floating("linalg.eig", A, kernel="linalg_eig_out_cpu")
    if not np.isfinite(A._a).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    kind = A._kind.with_dtype(A._kind.dtype.to_complex())
    w, v = (wrap(as_array(each, kind.np), kind) for each in _converged("linalg.eig", lapack.eig, A._a))

    def grad(gs: list[Tensor], w: Tensor, v: Tensor) -> Tensor:
        gw, gv = gs
        vh = adjoint(v)
        if gv is None:
            r = matmul(solved(vh, gw.diag_embed())[0], vh)
        else:
            one = eye(w._a.shape[-1], w)
            inner = matmul(vh, gv)
            diagonal = inner.diagonal(0, -2, -1)
            _check_phase("linalg_eig_backward", "eigenvectors", diagonal.imag)
            # The vectors are kept at length 1: what would stretch them is taken out.
            inner = inner - matmul(vh, v * diagonal.real.unsqueeze(-2))
            gaps = (w.unsqueeze(-2) - w.unsqueeze(-1)).conj()
            inner = inner / (gaps + one) * (1 - one)
            if gw is not None:
                inner = inner + gw.diag_embed()
            r = solved(vh, matmul(inner, vh))[0]
        return r if A._kind.is_complex else r.real
    return eig_result(record((w, v), "LinalgEigBackward0", (A,), grad, (w, v), holomorphic=False))


@op(namespace="linalg", out=True)
def eigvals(A: Tensor) -> Tensor:  # noqa: N803
    """The eigenvalues of square matrices; always complex."""
    return eig(A)[0]


# --- pseudo-inverse, rank ---------------------------------------------------------------------------------------------------------------

def _limit(A: Tensor, s: Tensor, atol: Operand | None, rtol: float | None) -> Tensor:  # noqa: N803
    """max(atol, rtol * the largest singular value): those up to it count as zero. rtol is eps * max(m, n) if neither is given."""
    for name, value in (("atol", atol), ("rtol", rtol)):
        if isinstance(value, Tensor) and value._kind.is_complex:
            raise RuntimeError(f"linalg: {name} tensor of complex type is not supported. Got {value._kind.dtype}")
    if rtol is None:
        unless = max(A._a.shape[-2:]) * float(np.finfo(s._a.dtype).eps)
        positive = (atol > 0) if isinstance(atol, Tensor) else (atol or 0) > 0
        rtol = FUNCTIONS["where"](positive, 0.0, unless) if isinstance(positive, Tensor) else 0.0 if positive else unless
    top = s.detach().abs().amax(-1) if s._a.shape[-1] else s.new_zeros(s._a.shape[:-1])
    limit = top * rtol
    if atol is not None:
        limit = FUNCTIONS["maximum"](limit, atol if isinstance(atol, Tensor) else limit.new_full((), atol))
    return limit.unsqueeze(-1)


@op(namespace="linalg", out=True)
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Operand | None = None,
         rtol: Operand | None = None) -> Tensor:  # noqa: N803
    """The Moore-Penrose pseudo-inverse; singular values up to max(atol, rtol * largest) count as zero."""
    return _pinv(A, atol, rtol if rcond is None else rcond, hermitian)


def _pinv(A: Tensor, atol: float | None, rtol: float | None, hermitian: bool) -> Tensor:  # noqa: N803
    check_matrix("linalg.pinv", A)
    check_floating("linalg.pinv", A)
    if hermitian:
        w, v = eigh(A.detach())
        zero = w.abs() <= _limit(A, w, atol, rtol)
        u, vh, s = v, adjoint(v), w
    else:
        u, s, vh = (result(each, A) for each in _converged("linalg.svd", lapack.svd, A._a, False))
        zero = s <= _limit(A, s, atol, rtol)
    inverse = (1 / s.masked_fill(zero, 1)).masked_fill(zero, 0)
    r = matmul(adjoint(vh) * inverse.unsqueeze(-2), adjoint(u))
    return record(r, "LinalgPinvBackward0", (A,), pinv_grad, (A, r), holomorphic=False)


def pinv_grad(g: Tensor, a: Tensor, p: Tensor) -> Tensor:
    """-P^H g P^H + (I - A P) g^H P P^H + P^H P g^H (I - P A) (G. Golub and V. Pereyra 1973), which needs no gaps between singular
    values."""
    gh, ph = adjoint(g), adjoint(p)
    x = matmul(gh, matmul(p, ph))
    y = matmul(matmul(ph, p), gh)
    return x - matmul(a, matmul(p, x)) + y - matmul(matmul(y, p), a) - matmul(ph, matmul(g, ph))


@op(namespace="linalg", out=True)
def matrix_rank(A: Tensor, tol: Operand | None = None, hermitian: bool = False, *, atol: Operand | None = None,
                rtol: Operand | None = None) -> Tensor:  # noqa: N803
    """How many singular values are above max(atol, rtol * largest)."""
    if not isinstance(hermitian, bool):
        raise TypeError(f"linalg_matrix_rank(): argument 'hermitian' must be bool, not {type(hermitian).__name__}")
    check_matrix("linalg.matrix_rank", A)
    if not A._a.size:
        return A.new_zeros(A._a.shape[:-2], dtype=A._kind.int64.dtype)
    check_floating("linalg.matrix_rank", A, kernel="linalg_svd_cpu")
    a = A.detach()
    s = eigvalsh(a).abs() if hermitian else svdvals(a)
    if tol is not None:
        atol, rtol = tol, 0.0
    return (s > _limit(A, s, atol, rtol)).sum(-1)


# --- least squares ----------------------------------------------------------------------------------------------------------------------
_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@op(namespace="linalg", out=True)
def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:  # noqa: N803
    """(solution, residuals, rank, singular values) of min |A X - B|; which of the last three are filled depends on the driver, as in
    LAPACK.

    driver  "gelsy" (default), "gelsd", "gelss" for any rank; "gels" takes A to have full rank
    """
    name = "torch.linalg.lstsq"
    check_floating(name, A)
    if A._a.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if B._a.ndim < 1:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    if A._kind.dtype is not B._kind.dtype:
        raise RuntimeError(f"{name}: Expected input and other to have the same dtype, but got {A._kind.dtype} and {B._kind.dtype} instead")
    if driver is None:
        driver = "gelsy"
    elif driver not in _DRIVERS:
        raise RuntimeError(f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    vector = B._a.ndim == A._a.ndim - 1 and B._a.shape == A._a.shape[:-1]
    b = B.unsqueeze(-1) if vector else B
    if b._a.ndim < 2 or b._a.shape[-2] != A._a.shape[-2]:
        raise RuntimeError(f"{name}: input.size(-2) should match other.size(-{1 if vector or B._a.ndim == 1 else 2})")
    broadcast_shapes(A._a.shape[:-2], b._a.shape[:-2])
    x, residuals, rank = _least_squares(A, b, rcond, driver)
    if vector:
        x = x.squeeze(-1)
    singular = svdvals(A.detach()) if driver in ("gelsd", "gelss") else wrap(np.empty(0, real_kind(A).np, like=A._a), real_kind(A))
    rank = rank if driver != "gels" else wrap(np.empty(0, np.int64, like=A._a), A._kind.int64)
    return lstsq_result((x, residuals, rank, singular))


def _least_squares(a: Tensor, b: Tensor, rcond: Any, driver: str) -> tuple[Tensor, Tensor, Tensor]:
    """(X, residuals, rank), the first two with gradients."""
    m, n = a._a.shape[-2:]
    relative = max(m, n) * float(np.finfo(a._a.dtype).eps) if rcond is None else float(rcond)
    solution, ranks = _converged("torch.linalg.lstsq", lambda a: lapack.least_squares(a, b._a, relative), a._a)
    x, rank = result(solution, a), wrap(as_array(ranks, np.dtype(np.int64)), a._kind.int64)
    plain, right = a.detach(), b.detach()
    full = driver == "gels" or bool((rank._a == n).all())
    if m > n and full and driver != "gelsy":
        e = matmul(plain, x) - right
        residuals = (e * e.conj()).real.sum(-2) if e.is_complex() else (e * e).sum(-2)
    else:
        residuals = wrap(np.empty(0, real_kind(a).np, like=a._a), real_kind(a))

    def grad(gs: list[Any], a: Tensor, b: Tensor) -> Any:
        gx, gr = gs
        p = _pinv(a, None, rcond, False)
        ga = gb = None
        if gx is not None:
            ga, gb = pinv_grad(matmul(gx, adjoint(b)), a, p), matmul(adjoint(p), gx)
        if gr is not None and gr._a.size:
            x = matmul(p, b)          # A^H (A X - B) = 0: the residual depends on X in second order only
            weighted = (matmul(a, x) - b) * (2 * gr.unsqueeze(-2))
            term = matmul(weighted, adjoint(x))
            ga, gb = (term, -weighted) if ga is None else (ga + term, gb - weighted)
        return ga, gb
    x, residuals = record((x, residuals), "LinalgLstsqBackward0", (a, b), grad, (a, b), holomorphic=False)
    return x, residuals, rank


@op(method=True)
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """`linalg.pinv` with `rcond` for singular values relative to the largest."""
    return pinv(input, rcond=rcond)
