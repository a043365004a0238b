"""Making sparse tensors from indices and values, with the checks that keep every later operation in bounds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import services
from ..devices import CPU
from ..layout import sparse_coo, sparse_csc, sparse_csr
from ..ops.convert import move
from ..ops.creation import creation_kind, size_of
from ..ops.registry import FUNCTIONS
from ..size import Size
from ..tensor import Tensor
from ..unsupported import NotSupported
from ..vocabulary import Array, Device, Dtype, Function, Layout, Number
from .conversion import build, index_tensor
from .patterns import Compressed, Coo, flat_keys
from .tensor import SparseTensor, kind_of_array, load_rules, make

if TYPE_CHECKING:
    from ..dtypes import dtype
    from ..kind import Kind
    from ..sparse.patterns import Pattern

__all__ = ["check_sparse_tensor_invariants", "sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_compressed_tensor", "sparse_coo_tensor",
           "sparse_csc_tensor", "sparse_csr_tensor", "spdiags", "zeros"]

load_rules()


class check_sparse_tensor_invariants:
    """Switch the checks of sparse tensors' indices on or off: a context manager, a decorator, and ``enable()``/``disable()``.

    rushlight always makes the checks that keep it in bounds (PyTorch makes none by default). Those that are only about order (coalesced
    coordinates that are sorted, columns of a row that are) are made while this is on, or with ``check_invariants=True``.
    """

    _state = threading.local()

    def __init__(self, enable: bool = True) -> None:
        self.state, self.saved = enable, False

    @classmethod
    def is_enabled(cls) -> bool:
        """Whether the checks are on."""
        return getattr(cls._state, "on", False)

    @classmethod
    def enable(cls) -> None:
        """Switch the checks on."""
        cls._state.on = True

    @classmethod
    def disable(cls) -> None:
        """Switch the checks off."""
        cls._state.on = False

    def __enter__(self) -> None:
        self.saved = self.is_enabled()
        type(self)._state.on = self.state

    def __exit__(self, *error: Any) -> None:
        type(self)._state.on = self.saved

    def __call__(self, function: Function) -> Any:
        from functools import wraps

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.state):
                return function(*args, **kwargs)
        return checked


def _values(values: Tensor | list[Any], dtype: dtype | None, device: Device) -> Tensor:
    if not isinstance(values, Tensor):
        values = FUNCTIONS["tensor"](values, dtype=dtype)
    elif dtype is not None:
        values = values.to(dtype)
    if isinstance(values, SparseTensor):
        raise RuntimeError(f"values has incorrect layout: expected torch.strided, but got {values.layout}")
    return values if device is None else values.to(device)


def _index_array(name: str, indices: Tensor | list[Any], int32: bool = False) -> Array:
    """The indices as integers, where they are; a list's on the CPU."""
    if isinstance(indices, Tensor):
        if isinstance(indices, SparseTensor):
            raise RuntimeError(f"{name} must be a strided tensor, but got {indices.layout}")
        a = indices._a
    else:
        a = np.asarray(indices.tolist() if hasattr(indices, "tolist") else indices)
    if a.size == 0 or int32 and a.dtype == np.int32:
        return a if a.dtype in (np.int64, np.int32) and int32 else a.astype(np.int64)
    if int32 and a.dtype.kind != "b" and np.dtype(a.dtype).kind not in "iu":
        raise NotImplementedError(f"\"estimate_sparse_compressed_tensor_size\" not implemented for '{a.dtype}': {name} must be an integer "
                                  "tensor")
    if a.dtype.kind not in "iuf" or (int32 and a.dtype.kind == "f"):
        raise RuntimeError(f"{name} must be an integer tensor, but got {a.dtype}")
    return a.astype(np.int64)


def _beside(indices: Array, values: Tensor) -> Array:
    """The indices on the device of the values."""
    return move(indices, kind_of_array(indices).device, values.device)


def _finish(pattern: Pattern, values: Tensor, requires_grad: bool, name: str) -> SparseTensor:
    if requires_grad:
        if not values.dtype.is_floating_point and not values.dtype.is_complex:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        return make(pattern, values._a, values._kind).requires_grad_()
    return build(pattern, values, name)


def sparse_coo_tensor(indices: Tensor | list[Any] | None = None, values: Tensor | list[Any] | None = None,
                      size: Sequence[int] | None = None, *, dtype: Dtype = None, device: Device = None,
                      pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None,
                      is_coalesced: bool | None = None) -> SparseTensor:
    """A tensor with the given values at the given places and zeros elsewhere; values at equal places are added up when it is used.

    indices  (sparse_dim, nnz) integers
    values   (nnz, *dense dimensions)
    size     the shape; by default the smallest that holds the indices
    """
    if values is None and size is None and indices is not None:
        size, indices = indices, None
    if indices is None:
        size = tuple(Size(size)) if isinstance(size, (tuple, list)) else size_of((size,), "sparse_coo_tensor")
        if any(n < 0 for n in size):
            raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
        kind = creation_kind(dtype, device)
        r = make(Coo(kind.xp.zeros((len(size), 0), np.int64), size, True), kind.xp.zeros(0, kind.np), kind)
        return r.requires_grad_() if requires_grad else r
    at = _index_array("indices", indices)
    if at.ndim == 1 and not at.size:
        at = at.reshape(0, 0)
    if at.ndim != 2:
        if at.ndim == 1:                # PyTorch takes a vector as the places of one element
            at = at.reshape(-1, 1)
        else:
            raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(at.shape)}")
    values = _values(values, dtype, device)
    if not values.dim():
        values = values.unsqueeze(0)
    if size is None:
        if not at.shape[1] and at.shape[0]:
            size = (0,) * at.shape[0]
        else:
            size = tuple(int(n) + 1 for n in at.max(1)) if at.shape[0] else ()
        size = (*size, *values.shape[1:])
        if at.size and at.min() < 0:
            raise RuntimeError(f"found negative index {int(at.min())} for dim {int(np.argwhere(at == at.min())[0][0])}")
    if not isinstance(size, (tuple, list)):
        raise TypeError("sparse_coo_tensor() received an invalid combination of arguments: 'size' must be tuple of ints, not "
                        f"{type(size).__name__}")
    size = Size(size)
    _check_coo(at, values, tuple(size))
    at = _beside(at, values)
    coalesced = bool(is_coalesced)
    if coalesced and at.shape[1] > 1 and (np.diff(flat_keys(at, tuple(size))) <= 0).any():
        raise RuntimeError("cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor")
    return _finish(Coo(at, tuple(size), coalesced), values, requires_grad, "SparseCooTensorWithDimsAndTensorsBackward0")


def _check_coo(at: Array, values: Tensor, size: tuple[int, ...]) -> None:
    n, dense = at.shape[0], values.dim() - 1
    if any(each < 0 for each in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    if len(size) != n + dense:
        raise RuntimeError(f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, sparse_dim = {n}, dense_dim "
                           f"= {dense}")
    if at.shape[1] != values.shape[0]:
        raise RuntimeError(f"indices and values must have same nnz, but got nnz from indices: {at.shape[1]}, nnz from values: "
                           f"{values.shape[0]}")
    if tuple(values.shape[1:]) != size[n:]:
        raise RuntimeError(f"values has incorrect size, expected {[values.shape[0], *size[n:]]}, got {list(values.shape)}")
    if not at.size:
        return
    low, high = at.min(1), at.max(1)
    for dim in range(n):
        if low[dim] < 0:
            raise RuntimeError(f"found negative index {int(low[dim])} for dim {dim}")
        if high[dim] >= size[dim]:
            raise RuntimeError(f"size is inconsistent with indices: for dim {dim}, size is {size[dim]} but found index {int(high[dim])}")


def sparse_compressed_tensor(compressed_indices: Sequence[int] | Tensor, plain_indices: Sequence[int] | Tensor,
                             values: Tensor | list[Number], size: Sequence[int] | None = None, *, dtype: Dtype = None,
                             layout: Layout = None,
                             device: Device = None, pin_memory: bool = False, requires_grad: bool = False,
                             check_invariants: bool | None = None) -> SparseTensor:
    """A matrix in layout sparse_csr or sparse_csc: where each row (column) begins, the columns (rows) of the elements, and their values."""
    if size is not None and not isinstance(size, (tuple, list)):
        raise TypeError("sparse_compressed_tensor() received an invalid combination of arguments: 'size' must be tuple of ints, not "
                        f"{type(size).__name__}")
    if layout is None:
        raise RuntimeError("sparse_compressed_tensor expected sparse compressed tensor layout but got none")
    if layout not in (sparse_csr, sparse_csc):
        raise NotSupported(f"sparse_compressed_tensor(layout={layout}): only torch.sparse_csr and torch.sparse_csc are supported")
    by_column = layout is sparse_csc
    long, short = ("ccol", "row") if by_column else ("crow", "col")
    checked = check_invariants or (check_invariants is None and check_sparse_tensor_invariants.is_enabled())
    try:
        crow, col, values, size = _parts(long, short, by_column, (compressed_indices, plain_indices, values, size), dtype, device, layout)
    except (RuntimeError, TypeError) as error:
        if size is None or checked or isinstance(error, (NotSupported, TypeError)):
            raise
        raise NotSupported(f"a tensor of layout {layout} that is none, which PyTorch makes unseen, is not supported by rushlight: {error}") from None
    if checked:
        inside = np.ones(max(col.size - 1, 0), bool, like=col)
        inside[(crow[1:-1] - 1)[(crow[1:-1] > 0) & (crow[1:-1] < col.size)]] = False
        if (np.diff(col)[inside] <= 0).any():
            raise RuntimeError(f"`{short}_indices[..., {long}_indices[..., i - 1]:{long}_indices[..., i]] for all i = 1, ..., "
                               f"{'ncols' if by_column else 'nrows'} are sorted and distinct along the last dimension values` is not "
                               "satisfied.")
    return _finish(Compressed(crow, col, size, by_column), values, requires_grad, "SparseCompressedTensorBackward0")


def _parts(long: str, short: str, by_column: bool, given: tuple[Any, ...], dtype: Dtype, device: Device,
           layout: Layout) -> tuple[Array, Array, Tensor, tuple[int, ...]]:
    """The indices, the values and the size of a compressed tensor, all of them checked."""
    compressed_indices, plain_indices, values, size = given
    crow, col = _index_array(f"{long}_indices", compressed_indices, True), _index_array(f"{short}_indices", plain_indices, True)
    values = _values(values, dtype, device)
    if crow.ndim != 1 or col.ndim != 1:
        raise NotSupported(f"{layout}: batches of matrices are not supported ({long}_indices has {crow.ndim} dimensions, not 1)")
    if crow.size < 1:
        raise RuntimeError(f"{long}_indices must hold at least one element")
    if size is None:
        other = int(col.max()) + 1 if col.size else 0
        size = ((other, crow.size - 1) if by_column else (crow.size - 1, other)) + tuple(values.shape[1:])
    size = tuple(Size(size))
    _check_compressed(crow, col, values, size, by_column)
    return _beside(crow, values), _beside(col, values), values, size


def _check_compressed(crow: Array, col: Array, values: Tensor, size: tuple[int, ...], by_column: bool) -> None:
    long, short, lines, width = ("ccol", "row", "ncols", "nrows") if by_column else ("crow", "col", "nrows", "ncols")
    if len(size) != 1 + values.dim():
        raise RuntimeError("tensor dimensionality must be sum of batch, base, and dense dimensionalities (=0 + 2 + "
                           f"{max(values.dim() - 1, 0)}) but got {len(size)}")
    n, m = (size[1], size[0]) if by_column else size[:2]
    if crow.size != n + 1:
        raise RuntimeError(f"{long}_indices.shape[-1] must be equal to the number of {lines[1:]} + 1 (={n + 1}), but got {crow.size}")
    if col.size != values.shape[0]:
        raise RuntimeError(f"number of elements in {short}_indices must match number of elements in values, but got {col.size} and "
                           f"{values.shape[0]}")
    if tuple(values.shape[1:]) != size[2:]:
        raise RuntimeError(f"values must have the dense dimensions {list(size[2:])} of the size, but got shape {list(values.shape)}")
    if crow[0] != 0:
        raise RuntimeError(f"`{long}_indices[..., 0] == 0` is not satisfied.")
    if crow[-1] != col.size:
        raise RuntimeError(f"`{long}_indices[..., -1] == nnz` is not satisfied.")
    steps = np.diff(crow)
    if (steps < 0).any() or (steps > m).any():
        raise RuntimeError(f"`0 <= {long}_indices[..., 1:] - {long}_indices[..., :-1] <= {width}` is not satisfied.")
    if col.size and (col.min() < 0 or col.max() >= m):
        raise RuntimeError(f"`0 <= {short}_indices < {width}` is not satisfied.")


def _validate_sparse_coo_tensor_args(indices: Tensor, values: Tensor, size: Sequence[int], is_coalesced: bool | None = None) -> None:
    """Raise what making such a tensor would."""
    sparse_coo_tensor(indices, values, size, is_coalesced=is_coalesced, check_invariants=True)


def _validate_sparse_compressed_tensor_args(compressed_indices: Tensor, plain_indices: Tensor, values: Tensor, size: Sequence[int],
                                            layout: Layout) -> None:
    """Raise what making such a tensor would."""
    sparse_compressed_tensor(compressed_indices, plain_indices, values, size, layout=layout, check_invariants=True)


def _validate_sparse_csr_tensor_args(crow_indices: Tensor, col_indices: Tensor, values: Tensor, size: Sequence[int]) -> None:
    """Raise what making such a tensor would."""
    _validate_sparse_compressed_tensor_args(crow_indices, col_indices, values, size, sparse_csr)


def _validate_sparse_csc_tensor_args(ccol_indices: Tensor, row_indices: Tensor, values: Tensor, size: Sequence[int]) -> None:
    """Raise what making such a tensor would."""
    _validate_sparse_compressed_tensor_args(ccol_indices, row_indices, values, size, sparse_csc)


def sparse_csr_tensor(crow_indices: Sequence[int] | Tensor, col_indices: Sequence[int] | Tensor, values: Tensor | list[Number],
                      size: Sequence[int] | None = None, **options: Any) -> SparseTensor:
    """A matrix stored by rows: `crow_indices` (rows + 1) says where each row begins in `col_indices` and `values` (nnz)."""
    return sparse_compressed_tensor(crow_indices, col_indices, values, size, layout=_only(options, sparse_csr), **options)


def sparse_csc_tensor(ccol_indices: Sequence[int], row_indices: Sequence[int], values: list[Number], size: Sequence[int] | None = None,
                      **options: Any) -> SparseTensor:
    """A matrix stored by columns: `ccol_indices` (columns + 1) says where each column begins in `row_indices` and `values` (nnz)."""
    return sparse_compressed_tensor(ccol_indices, row_indices, values, size, layout=_only(options, sparse_csc), **options)


def _only(options: dict[str, Any], layout: Layout) -> Any:
    given = options.pop("layout", None)
    if given is not None and given is not layout:
        raise RuntimeError(f"{layout} was expected as layout, but got {given}")
    return layout


def sparse_bsr_tensor(*args: Any, **kwargs: Any) -> Any:
    """NotImplementedError: there are no block layouts."""
    raise NotSupported("sparse_bsr_tensor: the block layouts are not supported; use sparse_csr_tensor")


def sparse_bsc_tensor(*args: Any, **kwargs: Any) -> Any:
    """NotImplementedError: there are no block layouts."""
    raise NotSupported("sparse_bsc_tensor: the block layouts are not supported; use sparse_csc_tensor")


@services.sparse_zeros.given
def zeros(size: tuple[int, ...], kind: Kind, layout: Layout) -> SparseTensor:
    """A sparse tensor without elements: ``torch.zeros(size, layout=...)``."""
    xp = kind.xp
    if layout is sparse_coo:
        return make(Coo(xp.zeros((len(size), 0), np.int64), size, True), xp.zeros(0, kind.np), kind)
    if layout not in (sparse_csr, sparse_csc):
        raise NotImplementedError(f"layout={layout} is not supported: use torch.sparse_csr or torch.sparse_csc")
    if len(size) != 2:
        raise RuntimeError(f"torch.empty: Only batched sparse compressed (non-block) tensors are supported, but got size {list(size)}")
    by_column = layout is sparse_csc
    pattern = Compressed(xp.zeros(size[1 if by_column else 0] + 1, np.int64), xp.zeros(0, np.int64), size, by_column)
    return make(pattern, xp.zeros(0, kind.np), kind)


def spdiags(diagonals: Tensor, offsets: Tensor, shape: Sequence[int], layout: Layout = None) -> Any:
    """A sparse matrix with the rows of `diagonals` on the diagonals that `offsets` number; element j of a row goes to column j."""
    rows = diagonals.unsqueeze(0) if diagonals.dim() == 1 else diagonals
    if rows.dim() != 2:
        raise RuntimeError("Diagonals must be vector or matrix")
    if len(shape) != 2:
        raise RuntimeError("Output shape must be 2d")
    at = move(offsets._a, offsets.device, CPU).reshape(-1)
    if offsets.dim() > 1:
        raise RuntimeError("Offsets must be scalar or vector")
    if offsets.dtype.name != "int64":
        raise RuntimeError("Offset Tensor must have dtype Long")
    if at.size != rows.shape[0]:
        raise RuntimeError(f"Number of diagonals ({rows.shape[0]}) does not match the number of offsets ({at.size})")
    if np.unique(at).size != at.size:
        raise RuntimeError("Offset tensor contains duplicate values")
    if layout is not None and layout not in (sparse_coo, sparse_csr, sparse_csc):
        raise RuntimeError(f"Only output layouts (Sparse, SparseCsc, SparseCsr) are supported, got {layout}")
    indices, chosen = [], []
    for i, offset in enumerate(at.tolist()):
        columns = np.arange(max(0, offset), min(rows.shape[1], shape[1], shape[0] + offset), dtype=np.int64)
        indices.append(np.stack((columns - offset, columns)))
        chosen.append(i * rows.shape[1] + columns)
    places = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    values = rows.reshape(-1).index_select(0, index_tensor(_beside(places, rows)))
    r = build(Coo(_beside(np.concatenate(indices, 1) if indices else np.zeros((2, 0), np.int64), rows), tuple(shape)), values)
    return r if layout is None else r.to_sparse(layout=layout)
