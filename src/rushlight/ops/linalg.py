"""Linear algebra through LAPACK (NumPy's), with batches and gradients. ``torch.linalg`` shows these under its own names."""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from .. import return_types
from ..dtypes import int32 as _int32
from ..tensor import Tensor, as_array, wrap
from .define import FUNCTIONS, method, op
from .dims import wrap_dim
from .matmul import matmul
from .record import record
from .reduction import _vector_norm
from .write import title

__all__: list[str] = []


class LinAlgError(RuntimeError):
    """A matrix that the algorithm can't handle (singular, not positive definite, not converging)."""


def check_matrix(name: str, a: Tensor, square: bool = False, argument: str = "A") -> None:
    """Raise PyTorch's error unless `a` is a batch of (square) floating-point matrices."""
    if a._a.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor {argument} must have at least 2 dimensions.")
    if square and a._a.shape[-1] != a._a.shape[-2]:
        raise RuntimeError(f"linalg.{name}: {argument} must be batches of square matrices, but they are {a._a.shape[-2]} by {a._a.shape[-1]} "
                           "matrices")
    if not a._kind.differentiable:
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {title(a._kind.dtype)}")
    if a._kind.reduced:
        raise RuntimeError(f"linalg.{name}: Low precision dtypes not supported. Got {title(a._kind.dtype)}")


def result(a: Any, like: Tensor) -> Tensor:
    """A tensor of LAPACK's output in the dtype of `like` (real where the output is real)."""
    kind = like._kind
    a = as_array(a)
    if a.dtype.kind in "fc":
        if a.dtype.kind == "f" and kind.is_complex:
            kind = kind.with_dtype(kind.dtype.to_real())
        elif a.dtype.kind == "c" and not kind.is_complex:
            kind = kind.with_dtype(kind.dtype.to_complex())
        return wrap(a.astype(kind.np, copy=False), kind)
    return wrap(a.astype(np.int64), kind.int64)


def run(name: str, function: Any, *arrays: Any) -> Any:
    """Call NumPy's LAPACK, and turn its error into ours."""
    try:
        return function(*arrays)
    except np.linalg.LinAlgError as error:
        text = str(error)
        if "ingular" in text:
            text = "The diagonal element 1 is zero, the inversion could not be completed because the input matrix is singular."
            if name == "solve":
                text = "The solver failed because the input matrix is singular."
        elif "positive definite" in text:
            text = "The factorization could not be completed because the input is not positive-definite."
        raise LinAlgError(f"linalg.{name}: {text}") from None


def adjoint(a: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    return a.mH


# --- inverse, solve, determinant ------------------------------------------------------------------------------------------------------

@op(torch=False, out=True)
def inv(A: Tensor) -> Tensor:  # noqa: N803
    """The inverse of a batch of square matrices; LinAlgError where one is singular."""
    check_matrix("inv", A, True)
    r = result(run("inv", np.linalg.inv, A._a), A)
    return record(r, "LinalgInvExBackward0", (A,), lambda g, y: -matmul(matmul(adjoint(y), g), adjoint(y)), (r,), holomorphic=False)


@op(torch=False)
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:  # noqa: N803
    """(inverse, info): info is 0 where the inverse exists."""
    check_matrix("inv_ex", A, True)
    try:
        return inv_ex_result((inv(A), wrap(np.zeros(A._a.shape[:-2], np.int32), A._kind.with_dtype(_int32))))
    except LinAlgError:
        if check_errors:
            raise
        bad = np.abs(np.linalg.det(A._a)) == 0
        return inv_ex_result((A * float("nan"), wrap(as_array(bad.astype(np.int32)), A._kind.with_dtype(_int32))))


inv_ex_result = return_types.make("linalg_inv_ex", "inverse", "info")


@op(torch=False, out=True)
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:  # noqa: N803
    """X with A X = B (X A = B if not left); B may be a batch of vectors or matrices."""
    check_matrix("solve", A, True)
    if A._kind is not B._kind:
        raise RuntimeError(f"linalg.solve: Expected A and B to have the same dtype, but found A of type {title(A._kind.dtype)} and B of type "
                           f"{title(B._kind.dtype)} instead")
    vector = B._a.ndim == 1 or (B._a.ndim == A._a.ndim - 1 and B._a.shape == A._a.shape[:-1])
    if vector:
        return _solve(A, B.unsqueeze(-1)).squeeze(-1) if left else solve(A.mT, B)
    if not left:
        return _solve(A.mT, B.mT).mT
    if B._a.shape[-2] != A._a.shape[-1]:
        raise RuntimeError(f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({A._a.shape[-2]}x{A._a.shape[-1]} and "
                           f"{B._a.shape[-2]}x{B._a.shape[-1]})")
    return _solve(A, B)


def _solve(a: Tensor, b: Tensor) -> Tensor:
    r = result(run("solve", np.linalg.solve, a._a, b._a), a)

    def grad(g: Tensor, a: Tensor, x: Tensor) -> Any:
        gb = _solve(adjoint(a), g)
        return -matmul(gb, adjoint(x)), gb
    return record(r, "LinalgSolveExBackward0", (a, b), grad, (a, r), holomorphic=False)


@op(torch=False, out=True)
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:  # noqa: N803
    """X with A X = B for triangular A; only that triangle is read."""
    check_matrix("solve_triangular", A, True)
    a = A.triu() if upper else A.tril()
    if unitriangular:
        a = a - a.diagonal(0, -2, -1).diag_embed() + FUNCTIONS["eye"](A._a.shape[-1], dtype=A._kind.dtype)
    return solve(a, B, left=left) if left else _solve(a.mT, B.mT).mT


@op(torch=False, out=True)
def det(A: Tensor) -> Tensor:  # noqa: N803
    """The determinant of a batch of square matrices."""
    check_matrix("det", A, True)
    r = result(np.linalg.det(A._a), A)
    return record(r, "LinalgDetBackward0", (A,), lambda g, a, y: _det_grad(g, a, y), (A, r), holomorphic=False)


def _det_grad(g: Tensor, a: Tensor, y: Tensor) -> Tensor:
    """g * conj(det(A)) * A^-H; for singular matrices through the adjugate from the singular values."""
    if bool((y._a != 0).all()):
        return (g * y.conj())[..., None, None] * adjoint(inv(a))
    u, s, vh = svd(a, full_matrices=False)
    n = a._a.shape[-1]
    products = FUNCTIONS["stack"]([prod([s[..., j] for j in range(n) if j != i], start=s[..., 0] * 0 + 1) for i in range(n)], -1)
    sign = (det(u.detach()) * det(vh.detach())).conj()
    return (g * sign)[..., None, None] * matmul(u * products.unsqueeze(-2), vh)


slogdet_result = return_types.make("linalg_slogdet", "sign", "logabsdet")


@op(torch=False)
def slogdet(A: Tensor) -> Any:  # noqa: N803
    """(sign, log of the absolute value) of the determinant."""
    check_matrix("slogdet", A, True)
    sign, log = np.linalg.slogdet(A._a)
    logabs = result(log, A)
    if A._kind.is_complex:
        logabs = wrap(logabs._a.real.astype(A._kind.with_dtype(A._kind.dtype.to_real()).np), A._kind.with_dtype(A._kind.dtype.to_real()))
    record(logabs, "LinalgSlogdetBackward0", (A,), lambda g, a: g[..., None, None] * adjoint(inv(a)), (A,), holomorphic=False)
    return slogdet_result((result(sign, A), logabs))


# --- factorisations -------------------------------------------------------------------------------------------------------------------

@op(torch=False, out=True)
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:  # noqa: N803
    """L with A = L L^H (or U with A = U^H U) of positive-definite matrices."""
    check_matrix("cholesky", A, True)
    r = result(run("cholesky", np.linalg.cholesky, A._a), A)

    def grad(g: Tensor, y: Tensor) -> Tensor:
        phi = matmul(adjoint(y), g).tril()
        phi = phi - phi.diagonal(0, -2, -1).diag_embed() / 2
        left = _solve(adjoint(y), phi)
        s = adjoint(_solve(adjoint(y), adjoint(left)))
        return (s + adjoint(s)) / 2
    record(r, "LinalgCholeskyExBackward0", (A,), grad, (r,), holomorphic=False)
    return adjoint(r) if upper else r


cholesky_ex_result = return_types.make("linalg_cholesky_ex", "L", "info")


@op(torch=False)
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:  # noqa: N803
    """(L, info): info is 0 where the factorisation exists."""
    int32 = A._kind.with_dtype(_int32)
    try:
        return cholesky_ex_result((cholesky(A, upper=upper), wrap(np.zeros(A._a.shape[:-2], np.int32), int32)))
    except LinAlgError:
        if check_errors:
            raise
        return cholesky_ex_result((A * float("nan"), wrap(np.ones(A._a.shape[:-2], np.int32), int32)))


qr_result = return_types.make("linalg_qr", "Q", "R")


@op(torch=False)
def qr(A: Tensor, mode: str = "reduced") -> Any:  # noqa: N803
    """(Q, R) with A = Q R; mode "reduced", "complete" or "r"."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'")
    check_matrix("qr", A)
    if mode == "r":
        return qr_result((result(np.empty(0), A), result(np.linalg.qr(A._a, "r"), A)))
    q, r = (result(each, A) for each in np.linalg.qr(A._a, mode))
    m, n = A._a.shape[-2:]

    def grad(gs: Any, q: Tensor, r: Tensor) -> Tensor:
        if mode == "complete" and m > n:
            raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols")
        if m < n:
            raise NotImplementedError("the gradient of qr for wide matrices (fewer rows than columns): transpose, or use svd")
        gq, gr = gs
        s = 0
        if gr is not None:
            s = matmul(gr, adjoint(r))
        if gq is not None:
            s = s - matmul(adjoint(q), gq) if isinstance(s, Tensor) else -matmul(adjoint(q), gq)
        total = matmul(q, _copy_upper(s))
        if gq is not None:
            total = total + gq
        return adjoint(_solve(r, adjoint(total)))
    return qr_result(record((q, r), "LinalgQrBackward0", (A,), grad, (q, r), holomorphic=False))


def _copy_upper(s: Tensor) -> Tensor:
    """The Hermitian matrix with the upper triangle of s - s^H folded, as the gradient of QR needs it."""
    u = s.triu()
    return u + adjoint(u) - u.diagonal(0, -2, -1).diag_embed()


svd_result = return_types.make("linalg_svd", "U", "S", "Vh")


@op(torch=False)
def svd(A: Tensor, full_matrices: bool = True, *, driver: Any = None) -> Any:  # noqa: N803
    """(U, S, Vh) with A = U diag(S) Vh."""
    check_matrix("svd", A)
    u, s, vh = (result(each, A) for each in run("svd", lambda a: np.linalg.svd(a, full_matrices), A._a))
    m, n = A._a.shape[-2:]

    def grad(gs: Any, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
        if full_matrices and m != n and (gs[0] is not None or gs[2] is not None):
            raise RuntimeError("svd_backward: the gradient of U and Vh needs full_matrices=False")
        k = min(m, n)
        return _svd_grad(gs, u[..., :k], s, vh[..., :k, :])
    return svd_result(record((u, s, vh), "LinalgSvdBackward0", (A,), grad, (u, s, vh), holomorphic=False))


def _svd_grad(gs: Any, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    gu, g_s, gvh = gs
    if gu is None and gvh is None:
        return matmul(u * g_s.unsqueeze(-2), vh)
    k = s._a.shape[-1]
    eye = FUNCTIONS["eye"](k, dtype=s.dtype)
    square = s * s
    gaps = square.unsqueeze(-2) - square.unsqueeze(-1)
    f = (1 - eye) / (gaps + eye)
    middle = s.new_zeros(s.shape).diag_embed() if g_s is None else g_s.diag_embed()
    total = matmul(u, matmul(middle, vh)) if g_s is not None else None
    if gu is not None:
        inner = f * matmul(adjoint(u), gu)
        inner = (inner + adjoint(inner)) * s.unsqueeze(-2)
        term = matmul(u, matmul(inner, vh)) + matmul((gu - matmul(u, matmul(adjoint(u), gu))) / s.unsqueeze(-2), vh)
        total = term if total is None else total + term
    if gvh is not None:
        gv = adjoint(gvh)
        v = adjoint(vh)
        inner = f * matmul(vh, gv)
        inner = s.unsqueeze(-1) * (inner + adjoint(inner))
        term = matmul(u, matmul(inner, vh)) + matmul(u, adjoint((gv - matmul(v, matmul(vh, gv))) / s.unsqueeze(-2)))
        total = term if total is None else total + term
    return total


@op(torch=False, out=True)
def svdvals(A: Tensor, *, driver: Any = None) -> Tensor:  # noqa: N803
    """The singular values, largest first."""
    return svd(A, False)[1]


eigh_result = return_types.make("linalg_eigh", "eigenvalues", "eigenvectors")


@op(torch=False)
def eigh(A: Tensor, UPLO: str = "L") -> Any:  # noqa: N803
    """(eigenvalues, eigenvectors) of symmetric or Hermitian matrices, smallest first."""
    check_matrix("eigh", A, True)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    w, v = (result(each, A) for each in run("eigh", lambda a: np.linalg.eigh(a, UPLO), A._a))

    def grad(gs: Any, w: Tensor, v: Tensor) -> Tensor:
        gw, gv = gs
        if gv is None:
            return matmul(v * gw.unsqueeze(-2), adjoint(v))
        n = w._a.shape[-1]
        eye = FUNCTIONS["eye"](n, dtype=w.dtype)
        gaps = w.unsqueeze(-2) - w.unsqueeze(-1)
        inner = matmul(adjoint(v), gv) * ((1 - eye) / (gaps + eye))
        if gw is not None:
            inner = inner + gw.diag_embed()
        return matmul(v, matmul(inner, adjoint(v)))
    return eigh_result(record((w, v), "LinalgEighBackward0", (A,), grad, (w, v), holomorphic=False))


@op(torch=False, out=True)
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:  # noqa: N803
    """The eigenvalues of symmetric or Hermitian matrices, smallest first."""
    return eigh(A, UPLO)[0]


eig_result = return_types.make("linalg_eig", "eigenvalues", "eigenvectors")


@op(torch=False)
def eig(A: Tensor) -> Any:  # noqa: N803
    """(eigenvalues, eigenvectors) of square matrices; always complex."""
    check_matrix("eig", A, True)
    kind = A._kind.with_dtype(A._kind.dtype.to_complex())
    w, v = (wrap(as_array(each, kind.np), kind) for each in run("eig", np.linalg.eig, A._a))

    def grad(gs: Any, w: Tensor, v: Tensor) -> Tensor:
        gw, gv = gs
        vh = adjoint(v)
        if gv is None:
            r = matmul(_solve(vh, gw.diag_embed()), vh)
        else:
            n = w._a.shape[-1]
            eye = FUNCTIONS["eye"](n, dtype=w.dtype)
            vhgv = matmul(vh, gv)
            diagonal = vhgv.diagonal(0, -2, -1).real
            inner = vhgv - matmul(vh, v * diagonal.unsqueeze(-2))
            gaps = (w.unsqueeze(-2) - w.unsqueeze(-1)).conj()
            inner = inner / (gaps + eye) * (1 - eye)
            if gw is not None:
                inner = inner + gw.diag_embed()
            r = _solve(vh, matmul(inner, vh))
        return r if A._kind.is_complex else r.real
    return eig_result(record((w, v), "LinalgEigBackward0", (A,), grad, (w, v), holomorphic=False))


@op(torch=False, out=True)
def eigvals(A: Tensor) -> Tensor:  # noqa: N803
    """The eigenvalues of square matrices; always complex."""
    return eig(A)[0]


# --- from these -----------------------------------------------------------------------------------------------------------------------

@op(torch=False, out=True)
def pinv(A: Tensor, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, rcond: Any = None) -> Tensor:  # noqa: N803
    """The Moore-Penrose pseudo-inverse; singular values up to max(atol, rtol * largest) count as zero."""
    check_matrix("pinv", A)
    u, s, vh = svd(A, False)
    cut = _cut(A, s, atol, rtol if rcond is None else rcond)
    zero = s <= cut
    inverse = (1 / s.masked_fill(zero, 1)).masked_fill(zero, 0)
    return matmul(adjoint(vh) * inverse.unsqueeze(-2), adjoint(u))


def _cut(a: Tensor, s: Tensor, atol: Any, rtol: Any) -> Any:
    """The limit below which singular values count as zero."""
    if rtol is None:
        rtol = 0.0 if atol is not None else max(a._a.shape[-2:]) * float(np.finfo(s._a.dtype).eps)
    top = s.detach()[..., :1] if s._a.shape[-1] else s.detach().sum(-1, keepdim=True)
    limit = top * rtol
    return limit if atol is None else limit.clamp(min=atol) if not isinstance(atol, Tensor) else FUNCTIONS["maximum"](limit, atol)


@op(torch=False, out=True)
def matrix_rank(A: Tensor, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, tol: Any = None) -> Tensor:  # noqa: N803
    """How many singular values are above the limit."""
    check_matrix("matrix_rank", A)
    s = svdvals(A.detach())
    return (s > _cut(A, s, atol if tol is None else tol, rtol)).sum(-1)


@op(torch=False, out=True)
def matrix_power(A: Tensor, n: int) -> Tensor:  # noqa: N803
    """A multiplied by itself n times; the inverse for negative n."""
    if A._a.ndim < 2 or A._a.shape[-1] != A._a.shape[-2]:
        check_matrix("matrix_power", A, True)
    if n < 0:
        A, n = inv(A), -n  # noqa: N806
    if n == 0:
        return FUNCTIONS["eye"](A._a.shape[-1], dtype=A._kind.dtype).expand(A._a.shape).clone()
    r = None
    while n:
        if n & 1:
            r = A if r is None else matmul(r, A)
        n >>= 1
        if n:
            A = matmul(A, A)  # noqa: N806
    return r


@op(torch=False, out=True)
def matrix_exp(A: Tensor) -> Tensor:  # noqa: N803
    """The exponential of square matrices: scaling, a Taylor polynomial of degree 18, squaring."""
    check_matrix("matrix_exp", A, True)
    size = float(np.abs(A._a).sum(-1).max(initial=0.0))
    squarings = max(0, int(np.ceil(np.log2(size))) + 1) if size > 0 else 0
    x = A * (0.5 ** squarings)
    term = r = FUNCTIONS["eye"](A._a.shape[-1], dtype=A._kind.dtype).expand(A._a.shape) + 0 * x
    for k in range(1, 19):
        term = matmul(term, x) / k
        r = r + term
    for _ in range(squarings):
        r = matmul(r, r)
    return r


@op(torch=False, out=True)
def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices (the first and last may be vectors), in the cheapest order."""
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0]._a.ndim == 1, tensors[-1]._a.ndim == 1
    if first:
        tensors[0] = tensors[0].unsqueeze(0)
    if last:
        tensors[-1] = tensors[-1].unsqueeze(1)
    for t in tensors:
        if t._a.ndim != 2:
            raise RuntimeError("multi_dot(): the tensors between the first and the last must be 2D")
    r = _ordered(tensors)
    if first:
        r = r.squeeze(0)
    return r.squeeze(-1) if last else r


def _ordered(matrices: list[Tensor]) -> Tensor:
    """Multiply in the order that dynamic programming finds cheapest."""
    n = len(matrices)
    dims = [m._a.shape[0] for m in matrices] + [matrices[-1]._a.shape[1]]
    cost: dict[tuple[int, int], tuple[float, int]] = {(i, i): (0.0, i) for i in range(n)}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j] = min((cost[i, k][0] + cost[k + 1, j][0] + dims[i] * dims[k + 1] * dims[j + 1], k) for k in range(i, j))

    def build(i: int, j: int) -> Tensor:
        if i == j:
            return matrices[i]
        k = cost[i, j][1]
        return matmul(build(i, k), build(k + 1, j))
    return build(0, n - 1)


lstsq_result = return_types.make("linalg_lstsq", "solution", "residuals", "rank", "singular_values")


@op(torch=False)
def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: Any = None) -> Any:  # noqa: N803
    """(solution, residuals, rank, singular values) of min |A X - B|."""
    check_matrix("lstsq", A)
    vector = B._a.ndim == A._a.ndim - 1
    b = B.unsqueeze(-1) if vector else B
    x = matmul(pinv(A, rtol=rcond), b)
    m, n = A._a.shape[-2:]
    rank = matrix_rank(A)
    full = bool((rank._a == n).all())
    driver = driver or "gelsy"
    residual = (matmul(A, x) - b).abs().square().sum(-2).detach() if m > n and full and driver != "gelsy" else result(np.empty(0), A)
    empty = driver not in ("gelsd", "gelss")
    return lstsq_result((x.squeeze(-1) if vector else x, residual, rank if driver != "gels" else wrap(np.empty(0, np.int64), A._kind.int64),
                         result(np.empty(0), A) if empty else svdvals(A.detach())))


# --- norms ----------------------------------------------------------------------------------------------------------------------------

@op(torch=False, out=True)
def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of order `ord` over all elements or the given dimensions."""
    if not x._kind.differentiable:
        raise RuntimeError(f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {title(x._kind.dtype)}")
    return _vector_norm(x if dtype is None else x.to(dtype), float(ord), dim, keepdim)


@op(torch=False, out=True)
def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Tensor:  # noqa: N803
    """A norm of matrices: "fro", "nuc", inf, -inf, 1, -1, 2 or -2."""
    check_matrix("matrix_norm", A)
    A = A if dtype is None else A.to(dtype)  # noqa: N806
    rows, columns = (wrap_dim(d, A._a.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return _vector_norm(A, 2.0, (rows, columns), keepdim)
    if ord in (inf, -inf, 1, -1):
        first, second = (columns, rows) if ord in (inf, -inf) else (rows, columns)
        sums = A.abs().sum(first, keepdim=True)
        r = sums.amax(second, True) if ord in (inf, 1) else sums.amin(second, True)
    elif ord in ("nuc", 2, -2):
        s = svdvals(A.movedim((rows, columns), (-2, -1)))
        r = s.sum(-1) if ord == "nuc" else s[..., 0] if ord == 2 else s[..., -1]
        for d in sorted((rows, columns)):
            r = r.unsqueeze(d)
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return r if keepdim else r.squeeze((rows, columns))


@op(torch=False, out=True)
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:  # noqa: N803
    """`vector_norm` or `matrix_norm`, by `ord` and the number of dimensions."""
    pair = isinstance(dim, (tuple, list)) and len(dim) == 2
    if ord is not None and (isinstance(ord, str) or pair or (dim is None and A._a.ndim == 2)):
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


@op(torch=False, out=True)
def cond(A: Tensor, p: Any = None) -> Tensor:  # noqa: N803
    """The condition number in the given norm (2 by default)."""
    if p in (None, 2, -2):
        s = svdvals(A)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


@op(torch=False, out=True)
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of conj(x) * y along a dimension."""
    return (x.conj() * y).sum(dim)


@op(torch=False, out=True)
def vander(x: Tensor, N: int | None = None) -> Tensor:  # noqa: N803
    """The matrix of powers x^0, x^1, ... of each element."""
    n = x._a.shape[-1] if N is None else N
    return x.unsqueeze(-1) ** FUNCTIONS["arange"](n)


@op(torch=False, out=True)
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:  # noqa: N803
    """The inverse of `tensordot` with A over `ind` dimensions."""
    shape = A._a.shape
    n = prod(shape[ind:])
    if prod(shape[:ind]) != n:
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
                           f"{n} != {prod(shape[:ind])}")
    return inv(A.reshape(n, n)).reshape(shape[ind:] + shape[:ind])


@op(torch=False, out=True)
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:  # noqa: N803
    """X with tensordot(A, X) = B."""
    if dims is not None:
        A = A.movedim(dims, tuple(range(A._a.ndim - len(dims), A._a.ndim)))  # noqa: N806
    shape = A._a.shape[B._a.ndim:]
    return solve(A.reshape(B._a.size, -1), B.reshape(-1)).reshape(shape)


# --- under the names of torch itself --------------------------------------------------------------------------------------------------

@op(method=True)
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input._a.ndim != 2:
        raise RuntimeError("trace: expected a matrix, but got input with " + f"{input._a.ndim} dimensions")
    return input.diagonal().sum()


@op(method=True)
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant: nan where that is negative."""
    sign, log = slogdet(input)
    return log.masked_fill(sign < 0, float("nan"))


svd_old = return_types.make("svd", "U", "S", "V")


@op(name="svd", method="svd")
def _old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with input = U diag(S) V^H (old form; see torch.linalg.svd)."""
    u, s, vh = svd(input, not some)
    return svd_old((u, s, adjoint(vh)))


@op(name="qr", method="qr")
def _old_qr(input: Tensor, some: bool = True) -> Any:
    """(Q, R) (old form; see torch.linalg.qr)."""
    return return_types.make("qr", "Q", "R")(qr(input, "reduced" if some else "complete"))


@op(method=True)
def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Tensor:
    """The covariance matrix of variables in rows, observations in columns."""
    if input._a.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with {input._a.ndim} dimensions")
    x = input.reshape(1, -1) if input._a.ndim < 2 else input
    x = x if x._kind.differentiable else x.to(x._kind.float_.dtype)
    w = None
    for weights in (fweights, aweights):
        if weights is not None:
            w = weights if w is None else w * weights
    if w is None:
        centered = x - x.mean(1, keepdim=True)
        count: Any = x._a.shape[1] - correction
        weighted = centered
    else:
        total = w.sum()
        centered = x - (x * w).sum(1, keepdim=True) / total
        count = total - correction * (w * aweights).sum() / total if aweights is not None else total - correction
        weighted = centered * w
    return (matmul(weighted, adjoint(centered)) / count).squeeze()


@op(method=True)
def corrcoef(input: Tensor) -> Tensor:
    """The correlation matrix of variables in rows."""
    c = cov(input)
    if c._a.ndim == 0:
        return c / c
    d = c.diagonal().real.sqrt() if c.is_complex() else c.diagonal().sqrt()
    return c / d.unsqueeze(0) / d.unsqueeze(1)


for _name, _fn in {"det": det, "slogdet": slogdet, "inverse": inv, "pinverse": pinv, "cholesky": cholesky, "matrix_power": matrix_power,
                   "matrix_exp": matrix_exp}.items():
    FUNCTIONS[_name] = _fn
    method(_fn, _name)
FUNCTIONS["cholesky"] = lambda input, upper=False, *, out=None: cholesky(input, upper=upper)
method(FUNCTIONS["cholesky"], "cholesky")
