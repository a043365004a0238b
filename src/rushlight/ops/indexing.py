"""``x[index]`` and ``x[index] = value``.

An index is taken in two steps, as PyTorch does. First everything basic: ints and 0-dim integer tensors select, slices slice, None and bools
add dimensions; the result is a view. Then, if there are index tensors (or lists, masks), they pick from that view: a copy. The result of
index tensors stands where they stood if they are neighbours, else in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import services
from ..autograd.grad_mode import LOCAL, STATE
from ..devices import CPU
from ..kernels.arrays import as_array
from ..kernels.indexing import select_masked
from ..kernels.memory import converted
from ..kernels.shapes import check_picked
from ..kernels.strides import zeros_for
from ..kind import NotBatched
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Number, Operand
from .accumulate import put_add
from .convert import move
from .creation import _fits, tensor
from .errors import title
from .record import record
from .record import view as make_view
from .slices import basic, embed
from .write import check_apart, check_inplace, rebase, root_of, writable

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["advanced", "index_put_into", "getitem", "setitem"]

ndarray = np.ndarray
_EVERYTHING = slice(None)
_INVALID = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got {})"


# --- reading --------------------------------------------------------------------------------------------------------------------------

def getitem(self: Tensor, index: Operand | slice | tuple[Any, ...] | None) -> Tensor:
    """``self[index]``."""
    a = self._a
    cls = index.__class__
    if cls is tuple:
        for item in index:
            c = item.__class__
            if c is slice:
                if item.step is not None:
                    _check_step(item)
            elif c is not int and item is not None and item is not Ellipsis:
                return _general(self, index)
    elif cls is slice:
        if index.step is not None:
            _check_step(index)
    elif cls is not int:
        if cls is Tensor and index._a.ndim and a.ndim and index._kind.dtype.name == "int64" and index._kind.device is self._kind.device:
            return advanced(self, {0: index._a}, (index,))
        return _general(self, index)
    elif a.ndim == 1:
        index = (index, ...)         # an array, not a NumPy scalar
    try:
        r = a[index]
    except (IndexError, TypeError):
        return _general(self, index)
    if isinstance(r, np.generic):
        index = (*index, ...)
        r = a[index]
    if self._node is None:
        return make_view(self, r, "SliceBackward0", None, basic, (index,))
    shape = a.shape

    def array_back(g: Array) -> Array:
        zeros = zeros_for(g, shape)
        zeros[index] = g
        return zeros
    name = "SelectBackward0" if cls is int else "SliceBackward0" if cls is slice else _label(index)
    return make_view(self, r, name, lambda g: _embed(g, shape, index), basic, (index, name), array_back)


def _embed(g: Tensor, shape: tuple[int, ...], index: slice | tuple[Any, ...]) -> Tensor:
    return embed(g, shape, index)


def _label(index: tuple[Any, ...]) -> str:
    """The name of the last step that PyTorch would take for a basic index."""
    name = "AliasBackward0"
    for item in index:
        if item is None:
            name = "UnsqueezeBackward0"
        elif item.__class__ is slice:
            if item != _EVERYTHING or (len(index) == 1):
                name = "SliceBackward0"
        elif item is not Ellipsis:
            name = "SelectBackward0"
    return name


def _check_step(s: slice) -> None:
    step = s.step.__index__()
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step < 0:
        raise ValueError("step must be greater than zero")


def _general(self: Tensor, index: Sequence[Any] | Tensor | None) -> Tensor:
    items, arrays = _parse(self, index)
    if not arrays:
        return basic(self, items, _label(_plain_part(items)))
    given = tuple([item for item in (index if index.__class__ is tuple else (index,)) if isinstance(item, Tensor)
                   and item._kind.dtype.name == "int64"])
    return advanced(self if _trivial(items) else basic(self, items, _label(_plain_part(items))), arrays, given)


def _trivial(items: tuple[Any, ...]) -> bool:
    """Whether a basic index changes nothing."""
    return all(item is Ellipsis or item is _EVERYTHING for item in items)


def _plain_part(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return items[:-1] if len(items) > 1 and items[-1] is Ellipsis else items


# --- from what the user wrote to a basic index and index tensors ------------------------------------------------------------------------

def _parse(self: Tensor, index: Operand | Sequence[Any] | slice | None) -> tuple[tuple[Any, ...], dict[int, Any]]:
    """The basic part of an index (checked against the shape, ending in an Ellipsis), and its index arrays by dimension of what that
    gives."""
    items = _as_tuple(index)
    prepared = [_prepare(item) for item in items]
    shape = self._a.shape
    used = sum(_consumes(item) for item in prepared)
    if used > len(shape):
        if not shape and any(item.__class__ is int for item in prepared):
            raise IndexError("invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
                             "0-dim tensor to a number")
        if not shape and any(item.__class__ is slice for item in prepared):
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    plain: list[Any] = []
    arrays: dict[int, Any] = {}
    at = to = 0                      # dimension of self, dimension of the basic part's result
    seen_ellipsis = False
    for item in prepared:
        if item is Ellipsis:
            skip = 0 if seen_ellipsis else len(shape) - used
            seen_ellipsis = True
            plain += [_EVERYTHING] * skip
            at, to = at + skip, to + skip
        elif item is None:
            plain.append(None)
            to += 1
        elif item.__class__ is int:
            if not -shape[at] <= item < shape[at]:
                raise IndexError(f"index {item} is out of bounds for dimension {len(plain)} with size {shape[at]}")
            plain.append(item)
            at += 1
        elif item.__class__ is slice:
            plain.append(item)
            at, to = at + 1, to + 1
        elif item.__class__ is bool:
            plain.append(None)
            arrays[to] = np.zeros(1 if item else 0, np.int64)
            to += 1
        elif item.dtype.kind == "b":
            for i, n in enumerate(item.shape):
                if n != shape[at + i]:
                    raise IndexError(f"The shape of the mask {list(item.shape)} at index {i} does not match the shape of the indexed "
                                     f"tensor {_shape_so_far(shape, plain)} at index {to + i}")
            if item.ndim == len(shape) == 1 + at + item.ndim - 1 and len(prepared) == 1:
                arrays[to] = item        # the whole tensor is masked: NumPy's own way is fastest
                plain.append(_EVERYTHING)
                at = to = len(shape)
                continue
            for positions in item.nonzero():
                arrays[to] = positions
                plain.append(_EVERYTHING)
                at, to = at + 1, to + 1
        else:
            arrays[to] = item
            plain.append(_EVERYTHING)
            at, to = at + 1, to + 1
    return (*plain, ...), _beside(self._kind, items, arrays)


def _beside(kind: Kind, items: tuple[Any, ...], arrays: dict[int, Any]) -> dict[int, Any]:
    """Index arrays where the indexed tensor is: from the CPU to anywhere, but not from one device to another."""
    if kind.device is not CPU:
        return {d: kind.xp.asarray(array) for d, array in arrays.items()}
    if any(isinstance(item, Tensor) and item._kind.device is not CPU and item._a.ndim for item in items):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    return arrays


def _shape_so_far(shape: tuple[int, ...], plain: list[Any]) -> list[int]:
    """The shape of a tensor to which the first items of a basic index have been applied."""
    return list(np.broadcast_to(np.empty(()), shape)[tuple(plain)].shape)


def _consumes(item: Any) -> int:
    """How many dimensions an item takes up."""
    if item is None or item is Ellipsis or item.__class__ is bool:
        return 0
    if item.__class__ is int or item.__class__ is slice:
        return 1
    return item.ndim if item.dtype.kind == "b" else 1


def _as_tuple(index: Operand | Sequence[Any] | slice | None) -> tuple[Any, ...]:
    if index.__class__ is tuple:
        return index
    if isinstance(index, tuple):
        return tuple(index)
    if isinstance(index, list) and len(index) < 32 and any(
            item is None or item is Ellipsis or isinstance(item, (Tensor, slice, list, tuple, str)) for item in index):
        import warnings
        warnings.warn("Using a non-tuple sequence for multidimensional indexing is deprecated: use x[tuple(seq)] instead of x[seq]. It "
                      "may be read as a tensor index, x[torch.tensor(seq)], one day, with an error or another "
                      "result.", UserWarning, stacklevel=4)
        return tuple(index)
    return (index,)


def _prepare(item: Any) -> Any:
    """One item of an index as None, Ellipsis, int, slice, bool, or an array of integers or bools."""
    if item is None or item is Ellipsis:
        return item
    cls = item.__class__
    if cls is int or cls is bool:
        return item
    if cls is slice:
        if item.step is not None:
            _check_step(item)
        return item
    if isinstance(item, Tensor):
        return _prepare_tensor(item)
    if isinstance(item, (np.bool_, float, complex, dict, set, np.floating)):
        raise IndexError(_INVALID.format(f"numpy.{cls.__name__}" if isinstance(item, np.generic) else cls.__name__))
    if isinstance(item, np.ndarray):
        return _prepare_array(item)
    if isinstance(item, str):
        raise TypeError(f"new(): invalid data type '{cls.__name__}'")
    if hasattr(item, "__index__"):
        return item.__index__()
    if hasattr(item, "__len__") and hasattr(item, "__getitem__"):
        return _prepare_array(_sequence(item))
    raise IndexError(_INVALID.format(cls.__name__))


def _sequence(item: Any) -> Any:
    if len(item) and all(isinstance(each, Tensor) for each in item):
        return np.array([each.tolist() for each in item])
    return tensor(item)._a


def _prepare_array(array: Array) -> Any:
    if array.ndim == 0:
        return bool(array) if array.dtype.kind == "b" else int(array)
    return array if array.dtype.kind == "b" else array.astype(np.int64, copy=False)


def _prepare_tensor(t: Tensor) -> Array | bool | int:
    a, d = t._a, t._kind.dtype.name
    if a.ndim == 0:
        if d == "bool":
            return bool(a)
        if d == "uint8":
            return bool(a)
        if not t._kind.differentiable:
            return int(a)
    if d in ("int64", "int32", "bool"):
        return a
    if d == "uint8":
        import warnings
        warnings.warn("indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.", UserWarning,
                      stacklevel=6)
        return a != 0
    raise IndexError("tensors used as indices must be long, int, byte or bool tensors")


# --- index tensors --------------------------------------------------------------------------------------------------------------------

def _numpy_index(arrays: dict[int, Any]) -> tuple[Any, ...]:
    last = max(arrays)
    return tuple([arrays.get(d, _EVERYTHING) for d in range(last + 1)])


def index_error(error: IndexError, shape: tuple[int, ...], arrays: dict[int, Any]) -> IndexError:
    """PyTorch's wording of what NumPy found wrong with index arrays."""
    for number, (d, array) in enumerate(sorted(arrays.items())):
        if array.dtype.kind != "b" and array.size:
            n = shape[d]
            wrong = array[(array < -n) | (array >= n)]
            if wrong.size and not n:
                return IndexError("index is out of bounds for dimension with size 0")
            if wrong.size:
                return IndexError(f"index {wrong[0]} is out of bounds for dimension {number} with size {n}")
    if "broadcast" in str(error):
        shapes = ", ".join(str(list(array.shape)) for _, array in sorted(arrays.items()))
        return IndexError(f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}")
    return IndexError(str(error))


def advanced(self: Tensor, arrays: dict[int, Any], given: tuple[Tensor, ...] = ()) -> Tensor:
    """Pick from `self` with index arrays (or one full mask), by dimension; `given`: tensors among them, whose changes backward has to
    notice."""
    a = self._a
    index = _numpy_index(arrays)
    check_picked(a.ndim, index[-1].ndim)
    try:
        if len(index) == 1 and index[0].dtype.kind != "b":
            array = a.take(index[0], 0)
        elif len(arrays) == 1 and index[-1].dtype.kind != "b":
            array = a.take(index[-1], len(index) - 1)      # faster than NumPy's own indexing, and contiguous as PyTorch's results are
        elif len(index) == 1 and (picked := select_masked(a, index[0])) is not None:
            array = picked
        else:
            array = a[index]
            if not array.flags.c_contiguous:
                array = array.copy("C")
    except IndexError as error:
        raise index_error(error, a.shape, arrays) from None
    except NotBatched:
        array = services.batched_getitem(a, index)
    r = wrap(as_array(array), self._kind)
    if self._node is None:
        return r
    shape = a.shape
    return record(r, "IndexBackward0", (self,), lambda g, *_: _put_back(g, shape, arrays), given, lambda g, *_: put_add(shape, arrays, g))


def _put_back(g: Tensor, shape: tuple[int, ...], arrays: dict[int, Any]) -> Tensor:
    """Zeros of `shape` with `g` added at the index: the adjoint of `advanced`."""
    r = wrap(put_add(shape, arrays, g._a), g._kind)
    return record(r, "IndexPutBackward0", (g,), lambda gg: advanced(gg, arrays))


# --- writing --------------------------------------------------------------------------------------------------------------------------

def setitem(self: Tensor, index: Operand | slice | tuple[Any, ...], value: Operand) -> None:
    """``self[index] = value``."""
    kind = self._kind
    cls = index.__class__
    if cls is tuple:
        for item in index:
            c = item.__class__
            if c is slice:
                if item.step is not None:
                    _check_step(item)
            elif c is not int and item is not None and item is not Ellipsis:
                return _set_general(self, index, value)
    elif cls is slice:
        if index.step is not None:
            _check_step(index)
    elif cls is not int:
        return _set_general(self, index, value)
    if not _plain(self, value):
        return _set_general(self, index, value)
    a = self._a
    if not a.flags.writeable:      # what the index leaves of an expanded tensor may be written to
        return _set_general(self, index, value)
    try:
        if isinstance(value, Tensor):
            b = value._a
            if value._kind is not kind:
                b = _converted(value, kind)
            if np.may_share_memory(a, b):
                b = b.copy()
            a[index] = b
        else:
            a[index] = _number(value, kind)
    except (IndexError, ValueError, TypeError):
        return _set_general(self, index, value)
    self._ver += 1
    return None


def _plain(self: Tensor, value: Operand | None) -> bool:
    """Whether nothing has to be recorded: no gradients are involved, or recording is off."""
    if STATE.unusual and not LOCAL.grad:
        return True
    if self._node is not None or (isinstance(value, Tensor) and value._node is not None):
        return False
    return self._view is None or root_of(self)._node is None


def _number(value: Any, kind: Kind) -> Number:
    if value.__class__ is float and kind.fast:
        return value
    if isinstance(value, (np.number, np.bool_)):
        value = value.item()
    if not isinstance(value, (bool, int, float, complex)):
        raise TypeError(f"can't assign a {_class_name(value)} to a {_type_name(kind)}")
    if isinstance(value, int) and not -2**63 <= value < 2**64:
        raise ValueError("Overflow when unpacking long long")
    return _fits(value, kind)


def _class_name(value: Any) -> str:
    module = type(value).__module__
    return type(value).__name__ if module == "builtins" else f"{module}.{type(value).__name__}"


def _type_name(kind: Kind) -> str:
    return f"torch.{title(kind.dtype)}Tensor"


def _converted(value: Tensor, kind: Kind) -> Any:
    """The array of a tensor in another kind."""
    b, have = value._a, value._kind
    if have.device is not kind.device:
        b = move(b, have.device, kind.device)
    if have.dtype is kind.dtype:
        return b
    if have.is_complex and not kind.is_complex:
        b = b.real
    return converted(b, kind.np)


def _set_general(self: Tensor, index: Operand | slice | tuple[Any, ...], value: Operand) -> None:
    kind = self._kind
    if not isinstance(value, Tensor):
        value = wrap(kind.xp.asarray(_number(value, kind), kind.np), kind)
    items, arrays = _parse(self, index)
    target = self if _trivial(items) else basic(self, items)
    if arrays:
        if value._a.ndim == 0 and value._kind is not kind and len(arrays) == 1 and next(iter(arrays.values())).dtype.kind == "b":
            value = value.to(kind.dtype)
        index_put_into(target, arrays, _without_lead(value, None))
        return
    value = _without_lead(value, target._a.ndim)
    shape, have = target._a.shape, value._a.shape
    if len(have) > len(shape):
        raise RuntimeError(f"expand({value.type()}{{{list(have)}}}, size={list(shape)}): the number of sizes provided ({len(shape)}) must "
                           f"be greater or equal to the number of dimensions in the tensor ({len(have)})")
    for i in range(1, len(have) + 1):
        if have[-i] != shape[-i] and have[-i] != 1:
            raise RuntimeError(f"The expanded size of the tensor ({shape[-i]}) must match the existing size ({have[-i]}) at non-singleton "
                               f"dimension {len(shape) - i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(have)}")
    if np.may_share_memory(target._a, value._a):
        value = value.clone()
    if not have and not target._a.flags.writeable:
        target.fill_(value)
    else:
        target.copy_(value)


def _without_lead(value: Tensor, ndim: int | None) -> Tensor:
    """The value without leading dimensions of size one (all of them, or those beyond `ndim`)."""
    shape = value._a.shape
    skip = 0
    while skip < len(shape) and shape[skip] == 1 and (ndim is None or len(shape) - skip > ndim):
        skip += 1
    return value.reshape(shape[skip:]) if skip else value


def index_put_into(self: Tensor, arrays: dict[int, Any], value: Tensor, accumulate: bool = False) -> Tensor:
    """Write (or add) values at index arrays, in place, with version and history."""
    kind, a = self._kind, self._a
    if value._kind is not kind:
        if value._kind.dtype is not kind.dtype:
            raise RuntimeError(f"Index put requires the source and destination dtypes match, got {title(kind.dtype)} for the destination "
                               f"and {title(value._kind.dtype)} for the source.")
        value = value.to(kind.device)
    if not arrays:
        if not a.size and accumulate:
            return self
        raise RuntimeError("index_put_(): at least one index is needed")
    index = _numpy_index(arrays)
    b = value._a
    if b.ndim or accumulate:
        try:
            target_shape = _result_shape(a, index, arrays)
        except IndexError:                       # shapes are looked at before the values of the index
            zeros = {dim: each if each.dtype == bool else np.zeros_like(each) for dim, each in arrays.items()}
            target_shape = _result_shape(a, _numpy_index(zeros), zeros) if a.size else ()
            if len(b.shape) <= len(target_shape) and all(have in (1, want)
                                                         for have, want in zip(b.shape[::-1], target_shape[::-1], strict=False)):
                raise
        if len(b.shape) > len(target_shape) or any(have not in (1, want)
                                                   for have, want in zip(b.shape[::-1], target_shape[::-1], strict=False)):
            raise RuntimeError(f"shape mismatch: value tensor of shape {list(b.shape)} cannot be broadcast to indexing result of shape "
                               f"{list(target_shape)}")
    check_inplace(self, value._node is not None)
    if not a.flags.writeable:
        writable(self, by_index=True)
    check_apart(self, (value,))
    if np.may_share_memory(a, b):
        b = b.copy()
    if accumulate:
        put_add(a.shape, arrays, np.broadcast_to(b, target_shape), a)
    elif b.ndim == 0 and len(arrays) == 1 and index[0].__class__ is ndarray and index[0].dtype.kind == "b" and index[0].ndim == a.ndim:
        np.copyto(a, b, where=index[0])
    else:
        try:
            a[index] = b          # NumPy checks the indices before it writes
        except IndexError as error:
            raise index_error(error, a.shape, arrays) from None
    self._ver += 1
    if (STATE.unusual and not LOCAL.grad) or (self._node is None and value._node is None):
        return self
    before = wrap(a, kind)
    before._node = self._node
    r = wrap(a, kind)
    record(r, "IndexPutBackward0", (before, value), (lambda g: g if accumulate else _zero_at(g, arrays), lambda g: advanced(g, arrays)))
    rebase(self, r)
    return self


def _zero_at(g: Tensor, arrays: dict[int, Any]) -> Tensor:
    """The gradient with zeros where other values were written."""
    a = g._a.copy()
    a[_numpy_index(arrays)] = 0
    return record(wrap(a, g._kind), "IndexPutBackward0", (g,), lambda gg: _zero_at(gg, arrays))


def _result_shape(a: Array, index: tuple[Any, ...], arrays: dict[int, Any]) -> tuple[int, ...]:
    """The shape of ``a[index]``, without making it; raises for what is out of range."""
    try:
        if len(index) == 1:
            if index[0].dtype.kind == "b":
                return (int(np.count_nonzero(index[0])), *a.shape[index[0].ndim:])
            i = index[0]
            if i.size and (i.min() < -a.shape[0] or i.max() >= a.shape[0]):
                raise IndexError("out of bounds")
            return (*i.shape, *a.shape[1:])
        probe = np.broadcast_to(np.empty((), np.bool_, like=a), a.shape)
        return probe[index].shape
    except IndexError as error:
        raise index_error(error, a.shape, arrays) from None


Tensor.__getitem__ = getitem
Tensor.__setitem__ = setitem


def _delitem(self: Tensor, key: Any) -> None:
    raise TypeError("Tensor does not support deleting items")


Tensor.__delitem__ = _delitem  # type: ignore[attr-defined]
