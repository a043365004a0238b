"""`assert_close` for sparse tensors: indices have to be equal, values close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dtypes import promote_types
from .comparison import Mismatch, _values_close

if TYPE_CHECKING:
    from ..sparse.tensor import SparseTensor

__all__ = ["compare_sparse"]

# layout -> its methods for the indices
_COMPRESSED = {"sparse_csr": ("crow_indices", "col_indices"), "sparse_csc": ("ccol_indices", "row_indices"),
               "sparse_bsr": ("crow_indices", "col_indices"), "sparse_bsc": ("ccol_indices", "row_indices")}


def compare_sparse(actual: SparseTensor, expected: SparseTensor, rtol: float, atol: float, equal_nan: bool, path: tuple[Any, ...]) -> None:
    """Raise `Mismatch` unless two sparse tensors of one layout agree."""
    layout = actual.layout.name
    name = layout.removeprefix("sparse_").upper()
    coo = name == "COO"
    if coo and actual.sparse_dim() != expected.sparse_dim():
        raise Mismatch(AssertionError, "The number of sparse dimensions in sparse COO tensors does not match: "
                       f"{actual.sparse_dim()} != {expected.sparse_dim()}", path)
    if actual._nnz() != expected._nnz():
        raise Mismatch(AssertionError, f"The number of specified values in sparse {name} tensors does not match: "
                       f"{actual._nnz()} != {expected._nnz()}", path)
    if coo:
        _values_close(actual._indices(), expected._indices(), 0, 0, False, path, "Sparse COO indices")
        values = actual._values(), expected._values()
    else:
        for method in _COMPRESSED[layout]:
            first, second = getattr(actual, method)(), getattr(expected, method)()
            common = promote_types(first.dtype, second.dtype)
            _values_close(first.to(common), second.to(common), 0, 0, False, path, f"Sparse {name} {method}")
        values = actual.values(), expected.values()
    _values_close(*values, rtol, atol, equal_nan, path, f"Sparse {name} values")
