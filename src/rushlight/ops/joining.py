"""Joining tensors: cat, stack and their named special cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import services
from ..dims import wrap_dim
from ..dtypes import can_cast, promote_types
from ..kernels import native
from ..kernels.memory import joined
from ..layout import SparseRefusal
from ..tensor import Tensor, wrap
from ..vocabulary import Array
from .errors import title
from .failed_calls import overridden
from .public import export
from .record import record
from .shape import _reshape
from .write import check_fresh, write_out

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["cat", "stack"]

_join = None if native.library is None else native.library.join_tensors       # for plain tensors


def _checked(tensors: Sequence[Any], name: str) -> list[Tensor]:
    """The argument `tensors` as a list; TypeError where it holds anything else."""
    if tensors.__class__ is not list:
        if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
            raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}")
        tensors = list(tensors)
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    return tensors


def _common_kind(tensors: list[Tensor], name: str) -> Kind:
    """The kind that tensors of several dtypes are joined in."""
    kind = tensors[0]._kind
    for t in tensors:
        if t._kind is not kind:
            if t._kind.device is not kind.device:
                raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {kind.device} and "
                                   f"{t._kind.device}! (when checking argument for argument tensors in method {name})")
            kind = kind.with_dtype(promote_types(kind.dtype, t._kind.dtype))
    return kind


def _arrays(tensors: list[Tensor], kind: Kind) -> list[Any]:
    return [t._a if t._kind is kind else t._a.astype(kind.np) for t in tensors]


def _sparse(name: str, *args: Any) -> Tensor:
    """The sparse form of a joining op."""
    return services.sparse_form(name, *args)


def _finish(r: Tensor, out: Tensor | None, name: str, tensors: Any) -> Tensor:
    if out is None:
        return r
    check_fresh(out, tensors, name)
    if isinstance(out, Tensor) and not can_cast(r._kind.dtype, out._kind.dtype):
        raise RuntimeError(f"torch.{name}(): input types can't be cast to the desired output type {title(out._kind.dtype)}")
    return write_out(out, r, name)


def cat(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None, out: Tensor | None = None) -> Tensor:
    """Join tensors along a dimension that exists. The other sizes have to agree; vectors of size 0 are skipped (as PyTorch does)."""
    if _join is not None and out is None and axis is None:
        r = _join(tensors, dim, False)
        if r is not None:
            for t in tensors:
                if t._node is not None:
                    _record_cat(r, tensors, dim if dim >= 0 else dim + r._a.ndim)
                    break
            return r
    if out is None and axis is None and (tensors.__class__ is list
                                         or tensors.__class__ is tuple) and tensors and tensors[0].__class__ is Tensor:
        kind = tensors[0]._kind
        arrays, recorded = [], False
        for t in tensors:
            if not isinstance(t, Tensor) or t._kind is not kind or t._a.shape == (0,):
                break
            arrays.append(t._a)
            if t._node is not None:
                recorded = True
        else:
            try:
                r = wrap(joined(arrays, dim, False), kind)
                if recorded:
                    _record_cat(r, tensors, dim if dim >= 0 else dim + arrays[0].ndim)
                return r
            except (ValueError, TypeError):
                pass                     # said properly below
    try:
        tensors = _checked(tensors, "cat")
    except TypeError as error:
        return overridden(cat, (tensors, dim if axis is None else axis), {} if out is None else {"out": out}, error)
    if any(t._kind.sparse for t in tensors):
        return _sparse("cat", tensors, dim if axis is None else axis)
    if axis is not None:
        dim = axis
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    kind = _common_kind(tensors, "cat")
    parts = [t for t in tensors if t._a.shape != (0,)]
    ndim = (parts or tensors)[0]._a.ndim
    for i, t in enumerate(tensors):
        if t._a.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    dim = wrap_dim(dim, ndim)
    if not parts:
        parts = tensors
    try:
        array = joined(_arrays(parts, kind), dim, False)
    except ValueError:
        raise _mismatch(tensors, dim) from None
    r = wrap(array, kind)
    for t in parts:
        if t._node is not None:
            _record_cat(r, tensors if len(tensors) == len(parts) else parts, dim)
            break
    return r if out is None else _finish(r, out, "cat", tensors)


def _mismatch(tensors: list[Tensor], dim: int) -> RuntimeError:
    parts = [(i, t._a.shape) for i, t in enumerate(tensors) if t._a.shape != (0,)]
    first = parts[0][1]
    for i, shape in parts[1:]:
        if len(shape) != len(first):
            return RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        for d, (want, have) in enumerate(zip(first, shape, strict=True)):
            if d != dim and want != have:
                return RuntimeError(f"Sizes of tensors must match except in dimension {dim}. Expected size {want} but got size {have} for "
                                    f"tensor number {i} in the list.")
    return RuntimeError(f"cat: the shapes {[list(shape) for _, shape in parts]} don't fit along dimension {dim}")


def _record_cat(r: Tensor, parts: list[Tensor], dim: int) -> None:
    lead = (slice(None),) * dim
    indices, start = [], 0
    for t in parts:
        stop = start + t._a.shape[dim]
        indices.append((*lead, slice(start, stop), ...))
        start = stop

    def array_back(g: Array | Tensor) -> tuple[Any, ...]:
        return tuple([g[index] for index in indices])
    record(r, "CatBackward0", tuple(parts), array_back, (), array_back)


def stack(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None, out: Tensor | None = None) -> Tensor:
    """Join tensors of one shape along a new dimension."""
    if _join is not None and out is None and axis is None:
        r = _join(tensors, dim, True)
        if r is not None:
            for t in tensors:
                if t._node is not None:
                    return _record_stack(r, tensors, dim if dim >= 0 else dim + r._a.ndim)
            return r
    try:
        tensors = _checked(tensors, "stack")
    except TypeError as error:
        return overridden(stack, (tensors, dim if axis is None else axis), {} if out is None else {"out": out}, error)
    if axis is not None:
        dim = axis
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    try:
        shape = tensors[0]._a.shape
    except SparseRefusal:
        return _sparse("stack", tensors, dim)
    dim = wrap_dim(dim, len(shape) + 1)
    for i, t in enumerate(tensors):
        if t._a.shape != shape:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(t._a.shape)} at "
                               f"entry {i}")
    kind = _common_kind(tensors, "stack")
    r = wrap(joined(_arrays(tensors, kind), dim, True), kind)
    if any(t._node is not None for t in tensors):
        _record_stack(r, tensors, dim)
    return r if out is None else _finish(r, out, "stack", tensors)


def _record_stack(r: Tensor, tensors: list[Tensor], dim: int) -> Tensor:
    places = [(*(slice(None),) * dim, i, ...) for i in range(len(tensors))]

    def back(g: Array | Tensor) -> tuple[Any, ...]:
        return tuple([g[place] for place in places])
    return record(r, "StackBackward0", tuple(tensors), back, (), back)


def _at_least(tensors: list[Any], ndim: int, name: str) -> list[Tensor]:
    """Tensors brought to `ndim` dimensions, as hstack and its like do."""
    tensors = _checked(tensors, name)
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    from .rearrange import atleast
    return [atleast(t, ndim) for t in tensors]


def hstack(tensors: Sequence[Any], *, out: Tensor | None = None) -> Tensor:
    """Join side by side: along dimension 1 (0 for vectors)."""
    try:
        parts = _at_least(tensors, 1, "hstack")
    except SparseRefusal:
        return _sparse("hstack", tensors)
    return _finish(cat(parts, 0 if parts[0]._a.ndim == 1 else 1), out, "hstack", tensors)


def vstack(tensors: Sequence[Any], *, out: Tensor | None = None) -> Tensor:
    """Join row-wise: along dimension 0, vectors counting as rows."""
    try:
        parts = _at_least(tensors, 2, "vstack")
    except SparseRefusal:
        return _sparse("vstack", tensors)
    return _finish(cat(parts, 0), out, "vstack", tensors)


def dstack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """Join along dimension 2."""
    return _finish(cat(_at_least(tensors, 3, "dstack"), 2), out, "dstack", tensors)


def column_stack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """Join along dimension 1, vectors counting as columns."""
    tensors = _checked(tensors, "column_stack")
    if not tensors:
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return _finish(cat([t if t._a.ndim > 1 else _reshape(t, (t._a.size, 1)) for t in tensors], 1), out, "column_stack", tensors)


for _function, _names in ((cat, ("concat", "concatenate")), (stack, ()), (hstack, ()), (vstack, ("row_stack",)), (dstack, ()),
                          (column_stack, ())):
    for _name in (_function.__name__, *_names):
        export(_function, _name)
