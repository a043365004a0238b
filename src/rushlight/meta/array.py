"""`MetaArray`: an array without memory. It knows its shape, dtype and strides, and where in its storage it begins.

Inside is a NumPy array over an address where nothing is (`p`), on which only what never touches elements is called: basic indexing,
transposing, reshaping without a copy. Views so have NumPy's strides and offsets. Everything that would compute gives a new MetaArray of the
result's shape and dtype: `functions.py` has the rules, which NumPy's protocols lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..devices import device
from ..kernels.shapes import broadcast_shapes
from ..kernels.strides import order_by_strides
from ..kernels.wrapped import Flags, WrappedArray
from ..vocabulary import Array, Axes, Dtype, Function, Index, Number, NumpyDtype, PerDim, Scalar

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["MetaArray", "no_data", "META", "fresh", "like", "order_of", "shape_of"]

META = device("meta")
new = object.__new__
_TOP = 1 << 62
_addresses = count(1 << 44, 1 << 44)      # where storages pretend to begin: far from one another, so that views know whose they are


def no_data(message: str = "Cannot copy out of meta tensor; no data!") -> NotImplementedError:
    """The error where something asks for values."""
    return NotImplementedError(message)


class _Interface:
    """What NumPy makes an array of: an address, a shape and strides."""

    __slots__ = ("__array_interface__",)

    def __init__(self, address: int, shape: tuple[int, ...], strides: Sequence[int] | None, itemsize: int) -> None:
        self.__array_interface__ = {"version": 3, "data": (address, False), "shape": shape, "strides": strides, "typestr": f"|V{itemsize}"}


def _phantom(address: int, shape: tuple[int, ...], strides: Sequence[int] | None, dtype: NumpyDtype) -> Array:
    """A NumPy array over memory that is not there: never read, never written."""
    return np.asarray(_Interface(address, shape, strides, dtype.itemsize)).view(dtype)


def _address() -> int:
    found = next(_addresses)
    return found if found < _TOP else (1 << 44) + found % _TOP


def fresh(shape: PerDim, dtype: Dtype, order: Sequence[int] | None = None) -> MetaArray:
    """A new array; `order`: its dimensions from the one with the largest step in memory to the one with the smallest (None: C order)."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple([int(n) for n in shape])
    if any(n < 0 for n in shape):
        raise ValueError("negative dimensions are not allowed")
    strides = [0] * len(shape)
    step = dtype.itemsize
    for i in reversed(range(len(shape)) if order is None else order):
        strides[i] = step
        step *= max(shape[i], 1)
    if step >= 1 << 63:
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
    return _made(_phantom(_address(), shape, tuple(strides), dtype), None, True)


def _made(p: Array, base: MetaArray | None, writeable: bool) -> MetaArray:
    r = new(MetaArray)
    r.p, r.base, r.writeable, r.answer = p, base, writeable, None
    return r


def order_of(shape: tuple[int, ...], operands: Sequence[Array | MetaArray]) -> list[int] | None:
    """The order in memory of an elementwise result, which follows its operands' as PyTorch's does; None for C order."""
    n = len(shape)
    strides = [(0,) * (n - a.ndim) + tuple([0 if have == 1 and have != want else step
                                            for have, want, step in zip(a.shape, shape[n - a.ndim:], a.strides, strict=True)])
                                            for a in operands if a.ndim]
    if n < 2 or all(a.ndim == n and a.shape == shape and a.flags.c_contiguous for a in operands if a.ndim):
        return None
    return order_by_strides(shape, strides)


def like(a: Array | MetaArray, dtype: Dtype = None, shape: PerDim | None = None) -> MetaArray:
    """A new array that lies in memory as `a` does."""
    dtype = a.dtype if dtype is None else dtype
    return fresh(a.shape, dtype, order_of(a.shape, (a,))) if shape is None or tuple(shape) == a.shape else fresh(shape, dtype)


def shape_of(value: object) -> tuple[int, ...]:
    """The shape of an array, a number or a sequence of numbers."""
    return value.shape if hasattr(value, "shape") else np.shape(value)


class _Address:
    """``array.data``: where the array pretends to be."""

    __slots__ = ("ptr",)

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


class MetaArray(WrappedArray, NDArrayOperatorsMixin):
    """See the module's text.

    `answer` is for the checks of values in ops, which find that all is well: np.any is taken for False, np.all for True, and the least and
    the largest element ("min", "max") lie within all bounds that they are compared with. Tensors are asked by `item`, which refuses.
    """

    __slots__ = ("p", "base", "writeable", "answer", "__weakref__")
    __array_priority__ = 50000
    p: Any
    base: Any
    writeable: bool
    answer: Any

    shape = property(lambda self: self.p.shape)
    dtype = property(lambda self: self.p.dtype)
    ndim = property(lambda self: self.p.ndim)
    size = property(lambda self: self.p.size)
    strides = property(lambda self: self.p.strides)
    nbytes = property(lambda self: self.p.nbytes)
    flags = property(lambda self: Flags(self, self.p.flags))
    device = property(lambda self: META)
    data = property(lambda self: _Address(self.p.__array_interface__["data"][0]))
    T = property(lambda self: self.view_of(self.p.T))
    mT = property(lambda self: self.view_of(self.p.swapaxes(-1, -2)))
    flat = property(lambda self: self.get())
    real = property(lambda self: self.view_of(self.p.real) if self.p.dtype.kind == "c" else self,
                    lambda self, value: self.real.__setitem__(..., value))
    imag = property(lambda self: self.view_of(self.p.imag) if self.p.dtype.kind == "c" else like(self),
                    lambda self, value: self.imag.__setitem__(..., value))

    def view_of(self, p: Array) -> MetaArray:
        """An array of the same storage."""
        return _made(p, self if self.base is None else self.base, self.writeable)

    def __repr__(self) -> str:
        return f"MetaArray(shape={self.shape}, dtype={self.dtype})"

    # --- values, of which there are none --------------------------------------------------------------------------------------------

    def __array__(self, dtype: Dtype = None, copy: Any = None) -> NoReturn:
        raise TypeError("can't convert meta device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")

    def get(self, out: Array | None = None) -> NoReturn:
        """A copy in memory: there is nothing to copy (NotImplementedError)."""
        raise no_data()

    tolist = tobytes = get

    def item(self, *args: Any) -> Any:
        """One element (RuntimeError: there is none)."""
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    __int__ = __float__ = __complex__ = __index__ = item

    def __bool__(self) -> bool:
        if self.answer.__class__ is bool:
            return self.answer
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    # --- elements -------------------------------------------------------------------------------------------------------------------

    def __getitem__(self, item: Index) -> MetaArray:
        items = item if item.__class__ is tuple else (item,)
        if any(hasattr(each, "shape") or each.__class__ is list or each.__class__ is bool for each in items):
            return _picked(self, items)
        if not any(each is Ellipsis for each in items):
            items = (*items, Ellipsis)       # so that a single element is a view, too
        return self.view_of(self.p[items])

    def __setitem__(self, item: Index, value: Array | MetaArray | Number) -> None:
        items = item if item.__class__ is tuple else (item,)
        if any(each.__class__ is MetaArray and each.dtype == bool for each in items):
            return                            # how many are written is not known
        target = self[item]
        have = shape_of(value)
        while len(have) > target.ndim and have[0] == 1:
            have = have[1:]
        if broadcast_shapes(have, target.shape) != target.shape:
            raise ValueError(f"could not broadcast input array from shape {have} into shape {target.shape}")

    # --- memory ---------------------------------------------------------------------------------------------------------------------

    def copy(self, order: str = "C") -> MetaArray:
        """A new array of the same shape."""
        return fresh(self.shape, self.dtype) if order == "C" else like(self)

    def astype(self, dtype: Dtype, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True) -> MetaArray:
        """A new array of another dtype; the array itself where nothing changes and `copy` is False."""
        return self if not copy and self.dtype == dtype else like(self, dtype)

    def owned(self) -> bool:
        """Whether nobody else can see the memory."""
        return self.base is None and self.writeable

    def view(self, dtype: Dtype = None) -> MetaArray:
        """The same storage, read as another dtype."""
        return self.view_of(self.p.view() if dtype is None else self.p.view(dtype))

    def strided(self, shape: PerDim, strides: Sequence[int], offset: int = 0, dtype: Dtype = None) -> MetaArray:
        """A view of the same storage with any shape, strides and offset (in bytes)."""
        return self.view_of(_phantom(self.data.ptr + offset, tuple(shape), tuple(strides),
                                     self.dtype if dtype is None else np.dtype(dtype)))

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> MetaArray:
        """The elements in another shape: a view where that is possible, else a new array."""
        if order == "F":
            return self.T.reshape(*reversed(shape if len(shape) != 1 else tuple(shape[0]) if np.iterable(shape[0]) else shape)).T
        if len(shape) == 1 and np.iterable(shape[0]):
            shape = tuple(shape[0])
        wanted = [int(n) for n in shape]
        if wanted.count(-1) == 1:
            known = prod([n for n in wanted if n != -1])
            wanted[wanted.index(-1)] = self.size // known if known else 0
        if prod(wanted) != self.size or any(n < 0 for n in wanted):
            raise ValueError(f"cannot reshape array of size {self.size} into shape {tuple(shape)}")
        strides = _steps(self.shape, self.strides, wanted, self.itemsize)
        return fresh(wanted, self.dtype) if strides is None else self.strided(wanted, strides)

    def fill(self, value: Scalar) -> None:
        """Set all elements: nothing to do."""

    def sort(self, axis: int = -1, kind: Kind = None) -> None:
        """Sort in place: nothing to do."""

    # --- views and copies of other shapes -------------------------------------------------------------------------------------------

    def transpose(self, *axes: Any) -> MetaArray:
        """The dimensions in another order, a view."""
        if len(axes) == 1 and np.iterable(axes[0]):
            axes = tuple([int(each) for each in axes[0]])
        return self.view_of(self.p.transpose(*axes))

    def swapaxes(self, axis1: int, axis2: int) -> MetaArray:
        """Two dimensions exchanged, a view."""
        return self.view_of(self.p.swapaxes(axis1, axis2))

    def squeeze(self, axis: Axes = None) -> MetaArray:
        """Without dimensions of size 1, a view."""
        return self.view_of(self.p.squeeze(axis))

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> MetaArray:
        """A diagonal, a view."""
        return self.view_of(self.p.diagonal(offset, axis1, axis2))

    def ravel(self, order: str = "C") -> MetaArray:
        """The elements as a vector, a view where that is possible."""
        return self.reshape(-1) if order != "F" else self.T.reshape(-1)

    def flatten(self, order: str = "C") -> MetaArray:
        """The elements as a new vector."""
        return fresh((self.size,), self.dtype)

    # --- dispatch -------------------------------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from . import functions
        return functions.call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Function, types: Iterable[type[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from . import functions
        if any(hasattr(each, "physical") for each in types):      # vmap's arrays are asked first
            return NotImplemented
        return functions.call(func, args, kwargs)


def _steps(shape: Sequence[int], strides: Sequence[int], wanted: list[int], itemsize: int) -> list[int] | None:
    """The strides of a view in the wanted shape; None where the elements would have to move."""
    if 0 in wanted:
        return list(fresh(wanted, np.dtype(f"V{itemsize}")).strides)
    have = [(n, step) for n, step in zip(shape, strides, strict=True) if n != 1]
    result = [0] * len(wanted)
    at = len(wanted) - 1
    while have:
        n, step = have.pop()
        first = step
        while have and have[-1][1] == n * first:
            n *= have.pop()[0]
        size = 1
        while at >= 0 and (size < n or wanted[at] == 1):
            result[at] = first * size
            size *= wanted[at]
            at -= 1
        if size != n:
            return None
    for i in range(at, -1, -1):
        result[i] = itemsize if i + 1 >= len(wanted) else result[i + 1] * wanted[i + 1]
    return result


def _picked(a: MetaArray, items: tuple[Any, ...]) -> MetaArray:
    """Advanced indexing: the shape that NumPy gives it. no_data where a mask without values decides how many."""
    indices: list[Any] = []
    for each in items:
        if each.__class__ is list:
            each = np.asarray(each)
        if each.__class__ is bool or getattr(each, "dtype", None) == np.dtype(bool):
            if each.__class__ is MetaArray:
                raise no_data("nonzero: how many elements a mask on the meta device selects is not known, as it has no values. Use "
                              "torch.where, or "
                             "masks and indices with values")
            indices.extend(np.nonzero(each) if np.ndim(each) else (np.zeros(int(each), int),))
            if not np.ndim(each):
                indices[-1:] = [("new", indices[-1])]
        else:
            indices.append(each)
    used = sum(1 for each in indices if each is not None and each is not Ellipsis and each.__class__ is not tuple)
    if used > a.ndim:
        raise IndexError(f"too many indices for array: array is {a.ndim}-dimensional, but {used} were indexed")
    if not any(each is Ellipsis for each in indices):
        indices.append(Ellipsis)
    return _shaped(a, indices, used)


def _shaped(a: MetaArray, indices: list[Any], used: int) -> MetaArray:
    kept: list[Any] = []                      # sizes, and None where the picked dimensions might go
    picked: list[tuple[int, ...]] = []
    dim, last, apart = 0, -2, False
    whole = a.shape
    for place, each in enumerate(indices):
        if each is Ellipsis:
            kept.extend(whole[dim:dim + a.ndim - used])
            dim += a.ndim - used
        elif each is None:
            kept.append(1)
        elif isinstance(each, slice):
            kept.append(len(range(*each.indices(whole[dim]))))
            dim += 1
        else:
            apart = apart or bool(picked and last != place - 1)
            if not picked:
                kept.append(None)
            last = place
            if each.__class__ is tuple:
                picked.append(each[1].shape)
            else:
                picked.append(shape_of(each))
                _check(each, whole[dim], dim)
                dim += 1
    where = kept.index(None)
    del kept[where]
    both = broadcast_shapes(*picked)
    return fresh((*both, *kept) if apart else (*kept[:where], *both, *kept[where:]), a.dtype)


def _check(index: Any, size: int, dim: int) -> None:
    if index.__class__ is not MetaArray and np.size(index) and not (-size <= np.min(index) and np.max(index) < size):
        raise IndexError(f"index {int(np.max(index))} is out of bounds for axis {dim} with size {size}")
