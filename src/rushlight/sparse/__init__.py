"""``torch.sparse``: functions of sparse tensors. Their making is in `creation`, their arithmetic in the modules beside it."""

from __future__ import annotations

from typing import Any

from .creation import check_sparse_tensor_invariants, spdiags
from .matmul import sparse_addmm as addmm
from .matmul import sparse_mm as mm
from .reduction import log_softmax, softmax
from .reduction import sum_ as sum
from ..layout import sparse_csr
from .conversion import build, index_tensor, values_of
from .tensor import SparseTensor, unsupported

__all__ = ["addmm", "as_sparse_gradcheck", "check_sparse_tensor_invariants", "log_softmax", "mm", "sampled_addmm", "softmax", "spdiags",
           "spsolve", "sum"]


def sampled_addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2) at the places of the CSR matrix `input`, without the dense product."""
    if not isinstance(input, SparseTensor) or input.layout is not sparse_csr:
        raise unsupported("sparse_sampled_addmm", (input,))
    if mat1.shape[-1] != mat2.shape[-2] or (mat1.shape[0], mat2.shape[-1]) != tuple(input.shape):
        raise RuntimeError(f"sampled_addmm: expected factors of a matrix of shape {list(input.shape)}, but got {list(mat1.shape)} and "
                           f"{list(mat2.shape)}")
    rows, cols = (index_tensor(each) for each in input.pattern.coords())
    products = (mat1.index_select(0, rows) * mat2.t().index_select(0, cols)).sum(1)
    return build(input.pattern, values_of(input) * beta + products * alpha)


def spsolve(input: Any, other: Any, *, left: bool = True) -> Any:
    """NotImplementedError, as PyTorch's CPU: solve with ``torch.linalg.solve(input.to_dense(), other)``."""
    raise NotImplementedError("spsolve needs a sparse direct solver: use torch.linalg.solve(input.to_dense(), other)")


def as_sparse_gradcheck(gradcheck: Any) -> Any:
    """NotImplementedError: gradcheck takes dense tensors."""
    raise NotImplementedError("as_sparse_gradcheck: give gradcheck the values and build the sparse tensor inside of the function")
