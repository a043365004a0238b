"""Products with sparse matrices.

sparse @ dense gathers the rows of the dense matrix, multiplies them by the values and adds them up by row, in rounds in which no row
occurs twice; its gradient for the values is
the row-wise product of both sides at the pattern's places, that for the dense matrix is the product with the transposed pattern.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.accumulate import add_rows
from ..ops.record import record
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor, wrap
from ..vocabulary import Operand
from .conversion import build, coalesced, index_tensor, link, to_dense, values_of
from .elementwise import _named, mul
from .patterns import Compressed, Coo, Pattern
from .tensor import SparseTensor, define, rule

__all__ = ["addmm", "mm", "sparse_addmm", "sparse_mm"]

_TYPES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int32": "Int"}


def _spmm(pattern: Pattern, axis: int, values: Tensor, dense: Tensor) -> Tensor:
    """The product of the matrix with this pattern and these values (its transpose with axis=1) and a dense one."""
    lines, others = pattern.coords()[[axis, 1 - axis]]
    v, d = values._a, dense._a
    out = np.zeros((pattern.shape[axis], d.shape[1]), v.dtype, like=v)
    rounds = pattern.rounds(axis)
    if rounds is None:
        step = max(1, (1 << 22) // max(1, d.shape[1]))          # keeps the gathered rows in bounds
        for start in range(0, v.shape[0], step):
            part = slice(start, start + step)
            add_rows(out, lines[part], v[part, None] * d[others[part]])
    else:
        for part in rounds:
            rows = d.take(others[part], 0)
            out[lines[part]] += np.multiply(rows, v[part, None], out=rows)
    at_lines, at_others = index_tensor(lines), index_tensor(others)
    return record(wrap(out, values._kind), "SparseAddmmBackward0", (values, dense),
                  (lambda g, v, d: (g.index_select(0, at_lines) * d.index_select(0, at_others)).sum(1),
                   lambda g, v, d: _spmm(pattern, 1 - axis, v, g)), (values, dense))


def _check(a: Any, b: Any) -> None:
    for x in (a, b):
        if not isinstance(x, Tensor):
            raise TypeError(f"mm(): expected two matrices, but got a {type(x).__name__}")
    if a.dim() != 2 or b.dim() != 2:
        raise RuntimeError(f"mm: expected two matrices, but got tensors of {a.dim()} and {b.dim()} dimensions")
    for x in (a, b):
        if isinstance(x, SparseTensor) and x.pattern.sparse_dim != 2:
            raise RuntimeError(f"addmm: expected sparse matrices with 2 sparse dimensions, but got {x.pattern.sparse_dim}")
    if a.shape[1] != b.shape[0]:
        if isinstance(a, SparseTensor) and not isinstance(b, SparseTensor) and isinstance(a.pattern, Coo):
            raise RuntimeError(f"addmm: Argument #3 (dense): Expected dim 0 size {a.shape[1]}, got {b.shape[0]}")
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})")
    if a.dtype is not b.dtype:
        names = [_TYPES.get(x.dtype.name, x.dtype.name) for x in (a, b)]
        raise RuntimeError(f"expected scalar type {names[0]} but found {names[1]}")


def sparse_mm(mat1: Any, mat2: Any, reduce: str | None = None) -> Tensor:
    """The product of two matrices of which at least one is sparse; the gradient of a sparse one is sparse.

    sparse @ dense and dense @ sparse are dense, sparse @ sparse is sparse. `reduce` other than "sum" is not supported.
    """
    if reduce not in (None, "sum"):
        raise NotImplementedError(f"torch.sparse.mm(reduce={reduce!r}) is not supported: only 'sum'")
    if not isinstance(mat1, SparseTensor) and not isinstance(mat2, SparseTensor):
        return FUNCTIONS["mm"](mat1, mat2)
    _check(mat1, mat2)
    if isinstance(mat1, SparseTensor) and isinstance(mat2, SparseTensor):
        return _sparse_product(mat1, mat2)
    if not isinstance(mat1, SparseTensor):
        return sparse_mm(mat2.t(), mat1.t()).t()
    mat1 = coalesced(mat1) if mat1._node is not None else mat1
    return _spmm(mat1.pattern, 0, values_of(mat1), mat2)


def _sparse_product(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """Every element (i, k) of a meets the elements (k, j) of b: their products, added up by place."""
    p, q = a.pattern, b.pattern
    if p.layout is not q.layout and Coo in (p.__class__, q.__class__):
        raise RuntimeError(f"addmm: computation on CPU is not implemented for {p.title} @ {q.title}: bring both to one layout")
    rows, inner = p.coords()
    right = q.coords()
    by_row = np.lexsort((right[1], right[0]))
    starts = np.searchsorted(right[0][by_row], np.arange(b.shape[0] + 1, like=inner))
    counts = (starts[1:] - starts[:-1])[inner]
    left = np.repeat(np.arange(inner.size, like=inner), counts)
    within = np.arange(left.size, like=inner) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = by_row[starts[inner][left] + within]
    values = values_of(a).index_select(0, index_tensor(left)) * values_of(b).index_select(0, index_tensor(chosen))
    r = coalesced(build(Coo(np.stack((rows[left], right[1][chosen])), (a.shape[0], b.shape[1])), values))
    if isinstance(p, Compressed):
        r = r.to_sparse_csr()
    return _named(r, "sparse_sparse_matmul")


@rule("mm", "spmm")
def mm(self: Any, mat2: Any) -> Tensor:
    """The product of two matrices; unlike `torch.sparse.mm` the gradient of a sparse factor is dense (as in PyTorch)."""
    if isinstance(self, SparseTensor) and isinstance(mat2, SparseTensor):
        return sparse_mm(self, mat2)
    _check(self, mat2)
    out = sparse_mm(self.detach(), mat2.detach())
    return link(out, "MmBackward0", (self, mat2), (lambda g: FUNCTIONS["mm"](g, mat2.t()), lambda g: FUNCTIONS["mm"](self.t(), g)))


@rule("mv")
def mv(self: Any, vec: Any) -> Tensor:
    """The product of a sparse matrix and a dense vector."""
    if not isinstance(self, SparseTensor) or isinstance(vec, SparseTensor):
        raise NotImplementedError("mv: the matrix may be sparse, the vector may not; use .to_dense()")
    if self.dim() != 2 or vec.dim() != 1:
        raise RuntimeError(f"mv: expected a matrix and a vector, but got tensors of {self.dim()} and {vec.dim()} dimensions")
    if self.shape[1] != vec.shape[0]:
        raise RuntimeError("mv: expected self.size(-1) == vec.size(-1)")
    return mm(self, vec.unsqueeze(1)).squeeze(1)


@rule("matmul")
def matmul(self: Any, other: Any) -> Tensor:
    """``@`` of matrices and vectors, at least one of which is a sparse matrix."""
    if self.dim() == 2 and other.dim() == 1:
        return mv(self, other)
    if self.dim() == 1 and other.dim() == 2 and not isinstance(self, SparseTensor):
        return mm(self.unsqueeze(0), other).squeeze(0)
    if self.dim() == 2 and other.dim() == 2:
        return mm(self, other)
    raise NotImplementedError(f"matmul of tensors of {self.dim()} and {other.dim()} dimensions with layouts {self.layout} and "
                              f"{other.layout} is not supported: use .to_dense()")


define("__matmul__", matmul)
define("__rmatmul__", lambda self, other: matmul(other, self))


@rule("addmm")
def addmm(input: Tensor, mat1: SparseTensor | int, mat2: Operand, *, beta: int = 1, alpha: int = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2) with a dense `input`."""
    if isinstance(input, SparseTensor):
        raise RuntimeError(f"addmm: expected strided result tensor, got tensor with layout {input.pattern.title}")
    return _plus(input, mm(mat1, mat2), beta, alpha, "addmm")


def sparse_addmm(input: Tensor, mat1: SparseTensor, mat2: Tensor, *, beta: int = 1, alpha: int = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2), dense; the gradient of the sparse mat1 is sparse."""
    return _plus(input, sparse_mm(mat1, mat2), beta, alpha, "sparse_addmm")


def _plus(input: Tensor, term: Tensor, beta: int, alpha: int, name: str) -> Tensor:
    if alpha != 1:
        term = term * alpha
    if beta == 0:
        return term
    out = term.detach() + input.detach() * beta
    return link(out, "".join(part.capitalize() for part in name.split("_")) + "Backward0", (input, term),
                (lambda g: (g if beta == 1 else g * beta).sum_to_size(input.shape), lambda g: g))


@rule("smm", method=True)
def smm(self: SparseTensor | int, mat2: Operand) -> Any:
    """The product of a sparse and a dense matrix as a sparse one."""
    _check(self, mat2)
    return sparse_mm(self, mat2).to_sparse()


@rule("hspmm", method=False)
def hspmm(mat1: Any, mat2: Any) -> Any:
    """The product of a sparse and a dense matrix as a tensor with one sparse dimension (the rows that are not empty)."""
    _check(mat1, mat2)
    return to_dense(sparse_mm(mat1, mat2)).to_sparse(1)


@rule("sspaddmm", method=True)
def sspaddmm(input: SparseTensor, mat1: int, mat2: int, *, beta: int = 1, alpha: int = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2) as a sparse matrix, for sparse input and mat1."""
    return mul(input, beta) + mul(smm(mat1, mat2), alpha)


@rule("linear", method=False)
def linear(input: Tensor, weight: SparseTensor, bias: Any = None) -> Tensor:
    """input @ weight.T + bias."""
    r = matmul(input, weight.t())
    return r if bias is None else r + bias
