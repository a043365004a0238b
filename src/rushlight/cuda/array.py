"""`DeviceArray`: the array of a CUDA tensor. It wraps a cupy.ndarray and answers to NumPy's names, so that ops are written once.

Ops call NumPy's functions on the arrays they are given; NumPy hands the call to `__array_ufunc__` (ufuncs.py) and `__array_function__`
(functions.py), and they to a fused kernel (kernels/cuda), to CuPy, or, for the few functions that neither has, to NumPy on a copy
(`HOST_CALLS` counts those). New arrays come from ``kind.xp`` (namespace.py) or from NumPy's ``like=``. NumPy arrays never mix with device
arrays, except 0-dim ones, which stand for numbers: that is how an operand on another device is noticed, in every op alike.
"""

from __future__ import annotations

from collections import Counter
from sys import getrefcount
from types import EllipsisType
from typing import Any

import numpy as np

from ..kernels.cuda import driver
from ..kernels.cuda.driver import AcceleratorError
from ..kernels.cuda.indexing import check_bounds
from ..kernels.wrapped import Flags, WrappedArray
from ..references import ATTRIBUTE
from ..vocabulary import Array, Dtype, Function
from .memory import explain

__all__ = ["DeviceArray", "HOST_CALLS", "box", "call_cupy", "explained", "from_host", "guarded", "here", "index_of", "is_batched", "mixed",
           "on_host", "raw", "to_host"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
HOST_CALLS: Counter[str] = Counter()            # functions that ran on the host because CuPy has no such function
new = object.__new__
host_array = np.ndarray


def mixed(value: Any, index: int) -> RuntimeError:
    """PyTorch's error for operands on different devices."""
    other = f"cuda:{value.device.id}" if hasattr(value, "device") and hasattr(value.device, "id") else "cpu"
    return RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, cuda:{index} and {other}!")


def raw(value: Any) -> Any:
    """What CuPy takes for an argument: its own arrays, numbers, and lists of them."""
    cls = value.__class__
    if cls is DeviceArray:
        return value.c
    if cls is host_array:
        if value.ndim:
            raise mixed(value, driver.needed().cuda.runtime.getDevice())
        return value[()]
    if cls is float or cls is int:
        return value
    if cls is tuple or cls is list:
        return cls([raw(each) for each in value])
    return value


def is_batched(cls: type[Any]) -> bool:
    """Whether this is the class of vmap's arrays (func/batched.py): those take part in NumPy's protocols themselves, so that ours steps
    back."""
    return hasattr(cls, "physical")


def box(c: Any, source: DeviceArray | None = None) -> Any:
    """A result of CuPy as a DeviceArray; `source`: the array that it may be a view of. Other values as they are."""
    if c.__class__ is not driver.array_class:
        if isinstance(c, (tuple, list)):
            items = [box(each, source) for each in c]
            return c.__class__(*items) if hasattr(c, "_fields") else c.__class__(items)
        return c
    r = new(DeviceArray)
    r.c = c
    r.shape = c.shape
    r.dtype = c.dtype
    r.ndim = c.ndim
    r.size = c.size
    r.writeable = True
    if source is None:
        r.base = None
    elif c is source.c:
        return source
    else:
        memory = c.base
        r.base = (source if source.base is None else source.base) if memory is not None and (
            memory is source.c or memory is source.c.base) else None
        r.writeable = source.writeable or r.base is None
    return r


class DeviceArray(WrappedArray):
    """An array in GPU memory; see the module's text."""

    __slots__ = ("c", "shape", "dtype", "ndim", "size", "base", "writeable", "__weakref__")
    __array_priority__ = 100000
    c: Any
    shape: tuple[int, ...]
    dtype: Any
    ndim: int
    size: int
    base: Any
    writeable: bool

    strides = property(lambda self: self.c.strides)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    flags = property(lambda self: Flags(self, self.c.flags))
    data = property(lambda self: self.c.data)
    device = property(lambda self: self.c.device)
    T = property(lambda self: box(self.c.T, self))
    mT = property(lambda self: box(self.c.swapaxes(-1, -2), self))
    flat = property(lambda self: self.get().flat)
    __cuda_array_interface__ = property(lambda self: self.c.__cuda_array_interface__)

    @property
    def real(self) -> DeviceArray:
        """The real part, a view."""
        return box(self.c.real, self)

    @real.setter
    def real(self, value: Any) -> None:
        self.c.real = raw(value)

    @property
    def imag(self) -> DeviceArray:
        """The imaginary part, a view (zeros for real arrays)."""
        return box(self.c.imag, self)

    @imag.setter
    def imag(self, value: Any) -> None:
        self.c.imag = raw(value)

    # --- to the host ----------------------------------------------------------------------------------------------------------------

    def __array__(self, dtype: Dtype = None, copy: Any = None) -> Any:
        raise TypeError(f"can't convert cuda:{self.device.id} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                        "memory first.")

    def get(self, out: Any = None) -> Any:
        """A copy in host memory, of the same order in memory where there is one."""
        c = self.c
        if out is not None:
            return c.get(out=out)
        return c.get(order="F" if c.flags.f_contiguous and not c.flags.c_contiguous else "C")

    def item(self, *args: Any) -> Any:
        """One element as a Python number."""
        return self.c.get().item(*args)

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.c.get().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        """The elements as bytes."""
        return self.c.get().tobytes(order)

    def __bool__(self) -> bool:
        return bool(self.c.get())

    def __int__(self) -> int:
        return int(self.c.get())

    def __index__(self) -> int:
        return self.c.get().__index__()

    def __float__(self) -> float:
        return float(self.c.get())

    def __complex__(self) -> complex:
        return complex(self.c.get())

    def __repr__(self) -> str:
        return f"DeviceArray({self.c!r})"

    def __str__(self) -> str:
        return str(self.get())

    # --- elements -------------------------------------------------------------------------------------------------------------------

    def __getitem__(self, item: tuple[Any, ...]) -> DeviceArray:
        return box(here(self.c, self.c.__getitem__, index_of(item, self)), self)

    def __setitem__(self, item: EllipsisType, value: Array) -> None:
        value = raw(value)
        cls = value.__class__
        if not (cls is float or cls is int or cls is driver.array_class):
            value = np.asarray(value)[()] if not isinstance(value, (list, tuple)) else driver.needed().asarray(value, self.dtype)
        here(self.c, self.c.__setitem__, index_of(item, self), value)

    # --- memory ---------------------------------------------------------------------------------------------------------------------

    def copy(self, order: str = "C") -> DeviceArray:
        """A copy with its own memory."""
        return box(here(self.c, self.c.copy, order))

    def astype(self, dtype: Dtype, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True) -> DeviceArray:
        """The elements in another dtype; the array itself where nothing changes and `copy` is False."""
        if not copy and self.dtype == dtype:
            return self
        return box(here(self.c, self.c.astype, dtype, order))

    def owned(self) -> bool:
        """Whether nobody else can see the memory: neither a view nor another holder of the cupy array."""
        return self.base is None and self.writeable and self.c.base is None and getrefcount(self.c) <= ATTRIBUTE

    def view(self, dtype: Dtype = None) -> DeviceArray:
        """The same memory, read as another dtype."""
        return box(self.c.view(dtype) if dtype is not None else self.c.view(), self)

    def reshape(self, *shape: Any, order: str = "C") -> DeviceArray:
        """The elements in another shape: a view where that is possible."""
        return box(here(self.c, self.c.reshape, *shape, order=order), self)

    def strided(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, dtype: Dtype = None) -> DeviceArray:
        """A view of the same memory with any shape, strides and offset (in bytes); the caller has checked the bounds."""
        r = box(driver.needed().ndarray(shape, self.dtype if dtype is None else dtype, memptr=self.c.data + offset, strides=strides))
        r.base = self if self.base is None else self.base
        r.writeable = self.writeable
        return r

    def fill(self, value: Any) -> None:
        """Set all elements to one number."""
        here(self.c, self.c.fill, raw(value))

    def round(self, decimals: int = 0) -> DeviceArray:
        """Rounded to a number of decimals."""
        return box(here(self.c, self.c.round, decimals))


def index_of(item: EllipsisType | tuple[Any, ...], array: DeviceArray) -> EllipsisType | tuple[Any, ...]:
    """An index in CuPy's terms. Integer arrays are checked on the device: CuPy would wrap what is out of bounds."""
    cls = item.__class__
    if cls is tuple:
        if not any(each.__class__ is DeviceArray or each.__class__ is host_array or each.__class__ is list for each in item):
            return item
        return _array_index(item, array)
    if cls is DeviceArray or cls is host_array or cls is list:
        return _array_index((item,), array)
    return item


def _array_index(items: tuple[Any, ...], array: DeviceArray) -> tuple[Any, ...]:
    if driver.several and array.device.id != driver.needed().cuda.runtime.getDevice():
        with driver.needed().cuda.Device(array.device.id):
            return _array_index(items, array)
    module = driver.needed()
    result: list[Any] = []
    used = sum(each.ndim if hasattr(each, "dtype") and each.dtype.kind == "b" else 1 for each in items if each is not None
               and each is not Ellipsis)
    dim = 0
    for each in items:
        if each is Ellipsis:
            dim += array.ndim - used
        elif each is not None:
            if each.__class__ is list:
                each = np.asarray(each)
            if each.__class__ is host_array:
                if each.dtype == bool or not each.ndim:
                    each = box(module.asarray(each))
                else:
                    size = array.shape[dim] if dim < array.ndim else 0
                    if each.size and dim < array.ndim and not (-size <= each.min() and each.max() < size):
                        bad = next(int(i) for i in each.reshape(-1) if not -size <= i < size)
                        raise IndexError(f"index {bad} is out of bounds for dimension {dim} with size {size}")
                    result.append(module.asarray(each))
                    dim += 1
                    continue
            if each.__class__ is DeviceArray:
                if each.dtype == bool:
                    dim += each.ndim
                else:
                    if each.size and dim < array.ndim:
                        check_bounds(each.c, array.shape[dim])
                    dim += 1
                each = each.c
            else:
                dim += 1
        result.append(each)
    return tuple(result)


def explained(error: Any) -> Exception:
    """PyTorch's error for one of CuPy's: out of memory, or an error that the device reported."""
    module = driver.needed()
    if isinstance(error, module.cuda.memory.OutOfMemoryError):
        return explain(error)
    return AcceleratorError(f"CUDA error: {error}")


def call_cupy(function: Function, *args: Any, **kwargs: Any) -> Any:
    """Call CuPy; its out-of-memory error becomes PyTorch's."""
    try:
        return function(*args, **kwargs)
    except MemoryError as error:
        raise explained(error) from None


def guarded(c: Any, function: Any, *args: Any) -> Any:
    """Call a function while the GPU of an array is the current one."""
    module = driver.needed()
    if c.device.id == module.cuda.runtime.getDevice():
        return function(*args)
    with module.cuda.Device(c.device.id):
        return function(*args)


def here(c: Any, function: Function, *args: Any, **kwargs: Any) -> Any:
    """`call_cupy` while the GPU of the cupy array `c` is the current one."""
    if driver.several:
        return guarded(c, lambda: call_cupy(function, *args, **kwargs))
    return call_cupy(function, *args, **kwargs)


def on_host(function: Function, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run a NumPy function on copies in host memory, for what CuPy lacks; results go back to the device."""
    HOST_CALLS[name] += 1
    out = kwargs.pop("out", None)
    if out is None:
        return from_host(function(*to_host(args), **to_host(kwargs)))
    target = out[0] if isinstance(out, tuple) else out
    target[...] = from_host(function(*to_host(args), out=target.get(), **to_host(kwargs)))
    return target


def to_host(value: Any) -> Any:
    if value.__class__ is DeviceArray:
        return value.get()
    if value.__class__ is tuple or value.__class__ is list:
        return value.__class__([to_host(each) for each in value])
    if value.__class__ is dict:
        return {key: to_host(each) for key, each in value.items()}
    return value


def from_host(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return box(call_cupy(driver.needed().asarray, value))
    if isinstance(value, (tuple, list)):
        items = [from_host(each) for each in value]
        return value.__class__(*items) if hasattr(value, "_fields") else value.__class__(items)
    return value


# --- methods that CuPy has under the same names -----------------------------------------------------------------------------------------

def _forward(name: str, may_view: bool) -> Function:
    def call(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        r = here(self.c, getattr(self.c, name), *raw(args), **{key: raw(value) for key, value in kwargs.items()})
        return box(r, self if may_view else None)
    call.__name__ = name
    call.__doc__ = f"As ``numpy.ndarray.{name}``."
    return call


def _transpose(self: DeviceArray, *axes: Any) -> DeviceArray:
    """The dimensions in another order, a view."""
    if len(axes) == 1 and axes[0].__class__ is host_array:
        axes = tuple(axes[0].tolist())
    return box(self.c.transpose(*axes), self)


DeviceArray.transpose = _transpose  # type: ignore[attr-defined]
for _name in ("swapaxes", "squeeze", "ravel", "diagonal"):
    setattr(DeviceArray, _name, _forward(_name, True))
for _name in ("flatten", "sum", "prod", "mean", "cumsum", "cumprod", "argmax", "argmin", "all", "any", "nonzero", "take", "trace", "std",
              "var"):
    setattr(DeviceArray, _name, _forward(_name, False))
DeviceArray.max = lambda self, axis=None, out=None, keepdims=False, **other: np.maximum.reduce(self, axis=axis, keepdims=keepdims, **other)  # type: ignore[attr-defined]
DeviceArray.min = lambda self, axis=None, out=None, keepdims=False, **other: np.minimum.reduce(self, axis=axis, keepdims=keepdims, **other)  # type: ignore[attr-defined]
DeviceArray.conj = DeviceArray.conjugate = lambda self: np.conjugate(self) if self.dtype.kind == "c" else self  # type: ignore[attr-defined]
