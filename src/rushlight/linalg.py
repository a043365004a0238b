"""``torch.linalg``: linear algebra. The functions are in `ops/linalg.py`."""

from __future__ import annotations

from .ops.define import FUNCTIONS
from .ops.linalg import (
    LinAlgError,
    cholesky,
    cholesky_ex,
    cond,
    det,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    inv,
    inv_ex,
    lstsq,
    matrix_exp,
    matrix_norm,
    matrix_power,
    matrix_rank,
    multi_dot,
    norm,
    pinv,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
    tensorinv,
    tensorsolve,
    vander,
    vecdot,
    vector_norm,
)
from .ops.matmul import matmul

__all__ = ["LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "inv_ex",
           "lstsq", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet",
           "solve", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm"]


def cross(input, other, *, dim=-1, out=None):
    """The vector product along a dimension (the last by default)."""
    r = FUNCTIONS["cross"](input, other, dim)
    return r if out is None else FUNCTIONS["cross"](input, other, dim, out=out)


def diagonal(A, *, offset=0, dim1=-2, dim2=-1):  # noqa: N803
    """A view of the diagonals of matrices."""
    return A.diagonal(offset, dim1, dim2)
