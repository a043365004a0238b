"""In-place ops that only exist in place: fill_, zero_, fill_diagonal_; and those that change a tensor's shape: squeeze_, t_, resize_."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from sys import getrefcount
from typing import Any

import numpy as np

from ..autograd.grad_mode import LOCAL, STATE
from ..kernels import memory as M
from ..layout import channels_last as channels_last_2d
from ..layout import channels_last_3d
from ..references import ATTRIBUTE
from ..storage import UntypedStorage, array_over, storage_of, storage_offset, untyped_storage
from ..tensor import Tensor, from_array, wrap
from ..vocabulary import Array, Function, MemoryFormat, Operand
from .creation import uninitialised
from .indexing import _plain, index_put_into
from .memory_format import channels_last
from .promotion import in_64_bits
from .public import checked_inplace, export, method, op
from .record import record, rename
from .selection import _fill_value
from .shape import sizes, squeeze, swapaxes, t, transpose, unsqueeze
from .slices import as_strided, diagonal
from .write import check_inplace, rebase, writable

__all__ = ["fill_"]

LAST = {4: channels_last_2d, 5: channels_last_3d}


# --- filling --------------------------------------------------------------------------------------------------------------------------

@op(name="fill_", method="fill_", torch=False)
def fill_(self: Tensor, value: Operand) -> Tensor:
    """Write one value (a number, or a 0-dim tensor) everywhere."""
    in_64_bits(value)
    if (value.__class__ is float or value.__class__ is int) and self._kind.fast and self._a.flags.writeable and _plain(self, None):
        M.fill(self._a, value)
        self._ver += 1
        return self
    if isinstance(value, Tensor) and value._a.ndim:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value._a.ndim} dimensions.")
    return _fill(self, value, _fill_value(self, value, "fill_"), "FillBackward3" if isinstance(value, Tensor) else "FillBackward2")


def _fill(self: Tensor, value: Operand, array: Array | int, name: str) -> Tensor:
    a = self._a
    plain = _plain(self, value)
    source = value if isinstance(value, Tensor) and value._node is not None else None
    if not plain:
        check_inplace(self, source is not None)
    if not a.flags.writeable:      # an expanded tensor may be filled: each element in memory once
        a = a[(*[slice(0, 1) if step == 0 else slice(None) for step in a.strides], ...)]
        writable(wrap(a, self._kind), values=True)
    M.fill(a, array)
    self._ver += 1
    if not plain:
        before, r = wrap(self._a, self._kind), wrap(self._a, self._kind)
        before._node = self._node
        if source is None:
            record(r, name, (before,), lambda g: g * 0)
        else:
            record(r, name, (before, source), lambda g: (g * 0, g.sum()))
        rebase(self, r)
    return self


@method
def zero_(self: Tensor) -> Tensor:
    """Write zeros everywhere."""
    return _fill(self, 0, 0, "ZeroBackward0")


def _public_fill(input: Tensor, value: Any) -> Tensor:
    """``input.fill_(value)``."""
    if not isinstance(input, Tensor):
        raise TypeError(f"fill_(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return fill_(input, value)


def _public_zero(input: Tensor) -> Tensor:
    """``input.zero_()``."""
    if not isinstance(input, Tensor):
        raise TypeError(f"zero_(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return zero_(input)


export(_public_fill, "fill_")
export(_public_zero, "zero_")


@op
def fill(input: Tensor, value: Any) -> Tensor:
    """A copy with one value everywhere."""
    return fill_(input.clone(), value)


@method
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write a number on the main diagonal (of a tall matrix again and again, with `wrap`)."""
    a = self._a
    if a.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if a.ndim > 2 and len(set(a.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    if a.ndim == 2 and not wrap:
        diagonal(self).fill_(fill_value)
        return self
    if a.ndim == 2:
        rows = np.arange(a.shape[0], like=a)
        step = a.shape[1] + 1
        rows = rows[rows % step < a.shape[1]]
        index: Any = (rows, rows % step)
    else:
        index = (np.arange(a.shape[0], like=a),) * a.ndim
    value = from_array(np.asarray(_fill_value(self, fill_value, "fill_diagonal_"), self._kind.np))
    value._kind = self._kind
    return index_put_into(self, dict(enumerate(index)), value)


# --- another shape, in place ----------------------------------------------------------------------------------------------------------

def _in_place(function: Function, name: str) -> Function:
    """The in-place form of a view op: the tensor itself gets the view's array, history and (if it is a view) its way to be replayed."""
    def fn_(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_inplace(self, False)
        before = wrap(self._a, self._kind)
        before._node, before._view, before._ver = self._node, self._view, self._ver
        r = function(before, *args, **kwargs)
        if r._node is not None:
            rename(r, names[r._node.label])
        self._a = r._a
        if not (STATE.unusual and not LOCAL.grad and not LOCAL.dual):      # without recording a tensor keeps the history that it has
            self._node = r._node
        if self._view is not None:
            self._view = r._view
        self._ver += 1
        return self
    names = {f"{label}Backward{n}": f"{label}Backward{n + more}" for label, more, count in (
        ("Squeeze", 3, 3), ("Unsqueeze", 1, 1), ("T", 1, 1), ("Transpose", 1, 1), ("AsStrided", 1, 1)) for n in range(count)}
    fn_.__name__ = fn_.__qualname__ = name
    fn_.__doc__ = f"In-place form of `{name[:-1]}`: changes the tensor's shape, not its memory."
    method(fn_)
    return fn_


for _function, _name in ((squeeze, "squeeze_"), (unsqueeze, "unsqueeze_"), (t, "t_"), (transpose, "transpose_"), (transpose, "swapdims_"),
                         (swapaxes, "swapaxes_"), (as_strided, "as_strided_")):
    _in_place(_function, _name)


@method
def resize_(self: Tensor, *size: Any, memory_format: MemoryFormat = None) -> Tensor:
    """Change the shape in place; memory grows where it has to (new elements are not initialised), elements keep their order in memory."""
    shape = sizes(size, "resize_")
    if self._node is not None:
        raise RuntimeError("cannot resize variables that require grad")
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    order = _memory_order(memory_format, shape)
    if self._a.shape == shape and memory_format is None:
        return self
    if prod(shape) * self._a.itemsize >= 2 ** 63:
        raise RuntimeError("numel: integer multiplication overflow")
    return _resized(self, shape, order)


def _memory_order(memory_format: MemoryFormat, shape: tuple[int, ...]) -> Sequence[int]:
    """The dimensions from the outermost in memory to the innermost."""
    name = "contiguous_format" if memory_format is None else memory_format.name
    if name == "contiguous_format":
        return range(len(shape))
    order = {"channels_last": (0, 2, 3, 1), "channels_last_3d": (0, 2, 3, 4, 1)}.get(name)
    if order is None:
        raise RuntimeError("Unsupported memory formatPreserve")
    if len(order) != len(shape):
        raise RuntimeError(f"required rank {len(order)} tensor to use {name} format")
    return order


def _alone(self: Tensor, storage: UntypedStorage) -> bool:
    """Whether nothing but a tensor looks at its memory: no NumPy array that a program holds, and no tensor but those that it is a view of
    and that nobody else knows."""
    known, t = 1, self
    while t._view is not None:
        t = t._view[0]
        if getrefcount(t) > ATTRIBUTE + 1:          # the name `t` here
            return False
        known += 1
    return storage._users() == known and (storage._array is self._a or getrefcount(self._a) == ATTRIBUTE)


def _resized(self: Tensor, shape: tuple[int, ...], order: Sequence[int]) -> Tensor:
    """Read a tensor's memory in another shape; more of it is got where it is too small."""
    storage = untyped_storage(self)
    start, item = storage_offset(self._a), self._a.itemsize
    strides, count = [0] * len(shape), 1
    for i in reversed(order):
        strides[i] = count
        count *= max(shape[i], 1)
    count = 0 if 0 in shape else count
    if (start + count) * item <= storage.nbytes():
        self._a = array_over(storage, self._kind.dtype, start, shape, tuple(strides))
    else:
        if self._a.__class__ is np.ndarray and not _alone(self, storage):
            raise RuntimeError("Trying to resize storage that is not resizable: another tensor or array shares its memory")
        have = array_over(storage, self._kind.dtype, 0, (storage.nbytes() // item,), (1,))
        grown = uninitialised(self._kind.xp, start + count, self._kind.np)
        grown[:have.size] = have
        self._a = array_over(storage_of(grown), self._kind.dtype, start, shape, tuple(strides))
    self._ver += 1
    return self


@method
def resize_as_(self: Tensor, the_template: Tensor, *, memory_format: MemoryFormat = None) -> Tensor:
    """``self.resize_(the_template.size())``, with `memory_format` preserve_format in the template's order."""
    if memory_format is not None and memory_format.name == "preserve_format":
        memory_format = None if not channels_last(the_template._a) else LAST[the_template.dim()]
    return resize_(self, *the_template._a.shape, memory_format=memory_format)


for _name in ("as_strided_", "resize_as_"):
    export(checked_inplace(getattr(Tensor, _name), _name[:-1]), _name)
