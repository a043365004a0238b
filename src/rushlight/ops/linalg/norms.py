"""Norms of vectors and matrices, and condition numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from ...dims import wrap_dim
from ...dtypes import promote_types
from ...tensor import Tensor
from ...vocabulary import Dims, Dtype, Number, PerDim
from ..public import op
from ..reduction import _vector_norm
from .common import check_floating, check_matrix, check_square, real_kind
from .solving import inv_ex
from .spectral import svdvals

__all__ = ["cond", "matrix_norm", "norm", "vector_norm"]


def _cast(name: str, x: Tensor, dtype: Any) -> Tensor:
    """The input in the dtype asked for, which must be of the same category and not narrower."""
    check_floating(name, x, low=True)
    if dtype is None:
        return x
    if not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(f"{name}: dtype should be floating point or complex. Got {dtype}")
    if dtype.is_complex is not x._kind.is_complex:
        raise RuntimeError(f"{name}: dtype should be {'complex' if x._kind.is_complex else 'real'} for "
                           f"{'complex' if x._kind.is_complex else 'real'} "
                           f"inputs, but got {dtype}")
    if promote_types(x._kind.dtype, dtype) is not dtype:
        raise RuntimeError(f"{name}: the dtype of the input ({x._kind.dtype}) should be convertible without narrowing to the specified "
                           f"dtype ({dtype})")
    return x.to(dtype)


@op(namespace="linalg", out=True)
def vector_norm(x: Tensor, ord: Number = 2, dim: PerDim | None = None, keepdim: bool = False, *, dtype: Dtype = None) -> Tensor:
    """The norm of order `ord` over all elements or the given dimensions; complex numbers count by their absolute value."""
    if isinstance(ord, str):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' (position 2) must be Number, not {type(ord).__name__}")
    x = _cast("linalg.vector_norm", x, dtype)
    order = float(ord)
    empty = [d for d in (range(x._a.ndim) if dim is None else [dim] if isinstance(dim, int) else dim) if x._a.ndim and x._a.shape[d] == 0]
    if empty and (order < 0 or order == inf):
        raise RuntimeError(f"linalg.vector_norm cannot compute the {order} norm on an empty tensor because the operation does not have an "
                           "identity")
    if isinstance(dim, (list, tuple)) and not dim:
        dim = None
    return _vector_norm(x, order, dim, keepdim)


@op(namespace="linalg", out=True)
def matrix_norm(A: Tensor, ord: Number | str = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *,
                dtype: Dtype = None) -> Tensor:  # noqa: N803
    """A norm of matrices: "fro", "nuc" (sum of singular values), 2 and -2 (largest, smallest), 1, -1 (of columns' sums), inf, -inf
    (rows)."""
    name = "linalg.matrix_norm"
    check_matrix(name, A)
    A = _cast(name, A, dtype)  # noqa: N806
    dims = [dim] if isinstance(dim, int) else list(dim)
    if len(dims) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {' '.join(map(str, dims))}")
    rows, columns = (wrap_dim(d, A._a.ndim) for d in dims)
    if rows == columns:
        raise RuntimeError(f"{name}: dims must be different. Got ({dims[0]}, {dims[1]})")
    if isinstance(ord, str):
        if ord not in ("fro", "nuc"):
            raise RuntimeError(f"{name}: Order {ord} not supported.")
    elif abs(ord) not in (1, 2, inf):
        raise RuntimeError(f"{name}: Order {ord} not supported.")
    if ord == "fro":
        return _vector_norm(A, 2.0, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        check_floating("linalg.svd", A)
        s = svdvals(A.movedim((rows, columns), (-2, -1)))
        r = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord == 2 else s.amin(-1)
        if keepdim:
            for d in sorted((rows, columns)):
                r = r.unsqueeze(d)
        return r
    first, second = (columns, rows) if abs(ord) == inf else (rows, columns)
    sums = _vector_norm(A, 1.0, first, True)
    r = sums.amax(second, True) if ord > 0 else sums.amin(second, True)
    return r if keepdim else r.squeeze((rows, columns))


@op(namespace="linalg", out=True)
def norm(A: Tensor, ord: Any = None, dim: Dims = None, keepdim: bool = False, *, dtype: Dtype = None) -> Tensor:  # noqa: N803
    """`vector_norm` or `matrix_norm`: a matrix norm where `dim` has two dimensions, or `ord` is given for a 2-D tensor."""
    dims = None if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if dims is not None and (not dims or len(dims) > 2 and ord is not None):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {dims}")
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype)
    if dims is None and not isinstance(ord, str) and A._a.ndim not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A._a.ndim}D.")
    if isinstance(ord, str) or (len(dims) == 2 if dims is not None else A._a.ndim == 2):
        if dims is None and A._a.ndim != 2 and A._a.ndim > 1:
            raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A._a.ndim}D.")
        return matrix_norm(A, ord, (-2, -1) if dims is None else dims, keepdim, dtype=dtype)
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)


@op(namespace="linalg", out=True)
def cond(A: Tensor, p: Number | str | None = None) -> Tensor:  # noqa: N803
    """The condition number |A| |A^-1| in the given norm; in the 2-norm (default) the ratio of the extreme singular values."""
    check_matrix("linalg.cond", A)
    check_floating("linalg.cond", A, kernel="linalg_svd_cpu" if p in (None, 2, -2) else "")
    if p in (None, 2, -2):
        if not A._a.size:
            return A.new_zeros(A._a.shape[:-2], dtype=real_kind(A).dtype)
        s = svdvals(A)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    if p not in ("fro", "nuc", 1, -1, inf, -inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    check_square(f"linalg.cond(ord={p})", A)
    if not A._a.size:
        return A.new_zeros(A._a.shape[:-2], dtype=real_kind(A).dtype)
    inverse, info = inv_ex(A)
    bad = info != 0
    if not bool(bad._a.any()):
        return matrix_norm(A, p) * matrix_norm(inverse, p)
    finite = inverse.masked_fill(bad[..., None, None], 0)
    return (matrix_norm(A, p) * matrix_norm(finite, p)).masked_fill(bad, np.inf)
