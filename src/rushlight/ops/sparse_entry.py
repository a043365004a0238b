"""Where dense tensors meet sparse layouts: methods of every tensor, and torch functions, that load the sparse package at first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..vocabulary import Function
from .public import export, method

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__: list[str] = []


def _lazy(module: str, name: str, doc: str) -> Function:
    def call(*args: Any, **kwargs: Any) -> Tensor:
        return getattr(import_module(f"..sparse.{module}", __package__), name)(*args, **kwargs)
    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    return call


for _name in ("to_sparse", "to_sparse_coo", "to_sparse_csr", "to_sparse_csc", "to_sparse_bsr", "to_sparse_bsc", "to_dense", "sparse_mask",
              "coalesce", "is_coalesced", "indices", "values", "_indices", "_values", "_nnz", "sparse_dim", "dense_dim", "crow_indices",
              "col_indices", "ccol_indices", "row_indices"):
    method(_lazy("conversion", _name, f"See `rushlight.sparse.conversion.{_name}`."), _name)
for _name in ("sparse_coo_tensor", "sparse_csr_tensor", "sparse_csc_tensor", "sparse_bsr_tensor", "sparse_bsc_tensor",
              "sparse_compressed_tensor", "_validate_sparse_coo_tensor_args", "_validate_sparse_compressed_tensor_args",
              "_validate_sparse_csr_tensor_args", "_validate_sparse_csc_tensor_args"):
    export(_lazy("creation", _name, f"See `rushlight.sparse.creation.{_name}`."), _name)
for _name in ("smm", "hspmm", "sspaddmm"):
    export(_lazy("matmul", _name, f"See `rushlight.sparse.matmul.{_name}`."), _name)
export(_lazy("matmul", "mm", "The product of a sparse and a dense matrix: an old name of `mm`."), "spmm")
method(_lazy("matmul", "smm", "See `rushlight.sparse.matmul.smm`."), "smm")
method(_lazy("matmul", "sspaddmm", "See `rushlight.sparse.matmul.sspaddmm`."), "sspaddmm")
