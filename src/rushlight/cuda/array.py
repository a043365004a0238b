"""`DeviceArray`: the array of a CUDA tensor. It wraps a cupy.ndarray and answers to NumPy's names, so that ops are written once.

Ops call NumPy's functions on the arrays they are given; NumPy hands the call to `__array_ufunc__` and `__array_function__` here, and they to
a fused kernel (kernels/cuda), to CuPy, or, for the few functions that neither has, to NumPy on a copy (`HOST_CALLS` counts those).
New arrays come from ``kind.xp`` (a `Namespace`) or from NumPy's ``like=``. NumPy arrays never mix with device arrays, except 0-dim ones,
which stand for numbers: that is how an operand on another device is noticed, in every op alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from sys import getrefcount
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..homes import place
from ..kernels.cuda import driver, multi_tensor, optimizer
from ..kernels.cuda.driver import AcceleratorError
from ..kernels.cuda.elementwise import FORMULAS, UFUNCS, formula_of
from ..kernels.cuda.indexing import check_bounds
from ..kernels.cuda.matmul import matmul
from ..kernels.door import join
from ..kernels.native import ELEMENTWISE, RUNNERS, written
from ..references import ATTRIBUTE
from ..vocabulary import Array, Dtype, Function
from . import pinned
from .memory import explain

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["DeviceArray", "Namespace", "box", "raw", "HOST_CALLS", "KERNELS"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
HOST_CALLS: Counter[str] = Counter()            # functions that ran on the host because CuPy has no such function
KERNELS: dict[str, Callable[..., Any]] = {}     # ufunc name -> kernel (*cupy arrays and numbers, out=None) -> cupy array or NotImplemented
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
    """Whether this is the class of vmap's arrays (func/batched.py): those take part in NumPy's protocols themselves, so that ours steps back."""
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


class Flags:
    """``array.flags``: contiguity is CuPy's, `writeable` is kept by the DeviceArray."""

    __slots__ = ("_array",)

    def __init__(self, array: DeviceArray) -> None:
        self._array = array

    c_contiguous = property(lambda self: self._array.c.flags.c_contiguous)
    f_contiguous = property(lambda self: self._array.c.flags.f_contiguous)
    contiguous = c_contiguous
    forc = property(lambda self: self._array.c.flags.forc)
    owndata = property(lambda self: self._array.base is None)
    aligned = property(lambda self: True)
    carray = property(lambda self: self._array.c.flags.c_contiguous and self._array.writeable)

    @property
    def writeable(self) -> bool:
        """Whether in-place ops may write: False for expanded tensors."""
        return self._array.writeable

    @writeable.setter
    def writeable(self, value: bool) -> None:
        self._array.writeable = value


class DeviceArray:
    """An array in GPU memory; see the module's text."""

    __slots__ = ("c", "shape", "dtype", "ndim", "size", "base", "writeable", "__weakref__")
    __array_priority__ = 100000
    __hash__ = None  # type: ignore[assignment]
    c: Any
    shape: tuple[int, ...]
    dtype: Any
    ndim: int
    size: int
    base: Any
    writeable: bool

    strides = property(lambda self: self.c.strides)
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    flags = property(Flags)
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
        raise TypeError(f"can't convert cuda:{self.device.id} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")

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

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"DeviceArray({self.c!r})"

    def __str__(self) -> str:
        return str(self.get())

    # --- elements -------------------------------------------------------------------------------------------------------------------

    def __getitem__(self, item: tuple[Any, ...]) -> DeviceArray:
        return box(_here(self.c, self.c.__getitem__, _index(item, self)), self)

    def __setitem__(self, item: EllipsisType, value: Array) -> None:
        value = raw(value)
        cls = value.__class__
        if not (cls is float or cls is int or cls is driver.array_class):
            value = np.asarray(value)[()] if not isinstance(value, (list, tuple)) else driver.needed().asarray(value, self.dtype)
        _here(self.c, self.c.__setitem__, _index(item, self), value)

    # --- memory ---------------------------------------------------------------------------------------------------------------------

    def copy(self, order: str = "C") -> DeviceArray:
        """A copy with its own memory."""
        return box(_here(self.c, self.c.copy, order))

    def astype(self, dtype: Dtype, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True) -> DeviceArray:
        """The elements in another dtype; the array itself where nothing changes and `copy` is False."""
        if not copy and self.dtype == dtype:
            return self
        return box(_here(self.c, self.c.astype, dtype, order))

    def owned(self) -> bool:
        """Whether nobody else can see the memory: neither a view nor another holder of the cupy array."""
        return self.base is None and self.writeable and self.c.base is None and getrefcount(self.c) <= ATTRIBUTE

    def view(self, dtype: Dtype = None) -> DeviceArray:
        """The same memory, read as another dtype."""
        return box(self.c.view(dtype) if dtype is not None else self.c.view(), self)

    def reshape(self, *shape: Any, order: str = "C") -> DeviceArray:
        """The elements in another shape: a view where that is possible."""
        return box(_here(self.c, self.c.reshape, *shape, order=order), self)

    def strided(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, dtype: Dtype = None) -> DeviceArray:
        """A view of the same memory with any shape, strides and offset (in bytes); the caller has checked the bounds."""
        r = box(driver.needed().ndarray(shape, self.dtype if dtype is None else dtype, memptr=self.c.data + offset, strides=strides))
        r.base = self if self.base is None else self.base
        r.writeable = self.writeable
        return r

    def fill(self, value: Any) -> None:
        """Set all elements to one number."""
        _here(self.c, self.c.fill, raw(value))

    def sort(self, axis: int = -1, kind: Kind = None) -> None:
        """Sort in place; always stable."""
        self[...] = SPECIAL["sort"](self, axis)

    def round(self, decimals: int = 0) -> DeviceArray:
        """Rounded to a number of decimals."""
        return box(_here(self.c, self.c.round, decimals))

    # --- dispatch -------------------------------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Function, method: str, *inputs: Any, **kwargs: Any) -> Array:
        if method == "__call__":
            return call_ufunc(ufunc, inputs, kwargs, self)
        return _METHODS[method](ufunc, inputs, kwargs)

    def __array_function__(self, func: Function, types: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
        if len(types) > 1 and any(is_batched(each) for each in types):
            return NotImplemented
        special = SPECIAL.get(func.__name__)
        if special is not None:
            return guarded(self.c, lambda: special(*args, **kwargs)) if driver.several else special(*args, **kwargs)
        return call_function(func, args, kwargs, self)


def _index(item: EllipsisType | tuple[Any, ...], array: DeviceArray) -> EllipsisType | tuple[Any, ...]:
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
    used = sum(each.ndim if hasattr(each, "dtype") and each.dtype.kind == "b" else 1 for each in items if each is not None and each is not Ellipsis)
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


def _call(function: Function, *args: Any, **kwargs: Any) -> Any:
    """Call CuPy; its out-of-memory error becomes PyTorch's."""
    try:
        return function(*args, **kwargs)
    except MemoryError as error:
        raise explained(error) from None


def _here(c: Any, function: Function, *args: Any, **kwargs: Any) -> Any:
    """`_call` while the GPU of the cupy array `c` is the current one."""
    if driver.several:
        return guarded(c, lambda: _call(function, *args, **kwargs))
    return _call(function, *args, **kwargs)


def on_host(function: Function, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run a NumPy function on copies in host memory, for what CuPy lacks; results go back to the device."""
    HOST_CALLS[name] += 1
    out = kwargs.pop("out", None)
    if out is None:
        return _boxed_host(function(*_host(args), **_host(kwargs)))
    target = out[0] if isinstance(out, tuple) else out
    target[...] = _boxed_host(function(*_host(args), out=target.get(), **_host(kwargs)))
    return target


def _host(value: Any) -> Any:
    if value.__class__ is DeviceArray:
        return value.get()
    if value.__class__ is tuple or value.__class__ is list:
        return value.__class__([_host(each) for each in value])
    if value.__class__ is dict:
        return {key: _host(each) for key, each in value.items()}
    return value


def _boxed_host(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return box(_call(driver.needed().asarray, value))
    if isinstance(value, (tuple, list)):
        items = [_boxed_host(each) for each in value]
        return value.__class__(*items) if hasattr(value, "_fields") else value.__class__(items)
    return value


# --- ufuncs ------------------------------------------------------------------------------------------------------------------------------

def call_ufunc(ufunc: Function, inputs: tuple[Any, ...], kwargs: dict[Any, Any], first: DeviceArray) -> Any:
    """A ufunc on arrays of the device: a fused kernel where there is one, else CuPy's, else NumPy's on copies."""
    name = ufunc.__name__
    out = kwargs.get("out")
    values = []
    for each in inputs:
        cls = each.__class__
        if cls is DeviceArray:
            values.append(each.c)
        elif cls is float or cls is int:
            values.append(each)
        elif is_batched(cls):
            return NotImplemented
        else:
            values.append(raw(each))
    if driver.several:
        return guarded(first.c, _call_ufunc, ufunc, name, values, inputs, kwargs, out)
    return _call_ufunc(ufunc, name, values, inputs, kwargs, out)


def _call_ufunc(ufunc: Function, name: str, values: list[Any], inputs: tuple[Any, ...], kwargs: dict[Any, Any], out: Any) -> Array:
    try:
        if not kwargs or (out is not None and len(kwargs) <= 1 + ("casting" in kwargs) and len(out) == 1 and out[0].__class__ is DeviceArray):
            kernel = KERNELS.get(name)
            target = None if out is None else out[0]
            if kernel is not None:
                result = kernel(*values, out=None if target is None else target.c)
                if result is not NotImplemented:
                    return box(result) if target is None else target
            function = getattr(driver.needed(), name, None)
            if function is None:
                return on_host(ufunc, name, inputs, dict(kwargs))
            if target is None:
                return box(function(*values))
            function(*values, out=target.c, **({"casting": kwargs["casting"]} if "casting" in kwargs else {}))
            return target
        return _rare_ufunc(ufunc, name, values, inputs, kwargs)
    except (TypeError, NotImplementedError):
        return on_host(ufunc, name, inputs, dict(kwargs))
    except MemoryError as error:
        raise explained(error) from None


def _rare_ufunc(ufunc: np.ufunc, name: str, values: Any, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """where=, dtype= and several outputs."""
    function = getattr(driver.needed(), name, None)
    if function is None:
        return on_host(ufunc, name, inputs, dict(kwargs))
    options = {key: raw(value) for key, value in kwargs.items()}
    if options.get("where") is True:
        del options["where"]
    out = options.pop("out", None)
    if out is None:
        return box(function(*values, **options))
    if len(out) == 1:
        function(*values, out=out[0], **options)
        return kwargs["out"][0]
    for target, result in zip(kwargs["out"], function(*values, **options), strict=True):
        if target is not None:
            target[...] = box(result)
    return kwargs["out"]


def guarded(c: Any, function: Any, *args: Any) -> Any:
    """Call a function while the GPU of an array is the current one."""
    module = driver.needed()
    if c.device.id == module.cuda.runtime.getDevice():
        return function(*args)
    with module.cuda.Device(c.device.id):
        return function(*args)


_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any"}


def _reduce(ufunc: Any, inputs: Any, kwargs: Any) -> Any:
    values = dict(zip(("axis", "dtype", "out", "keepdims", "initial", "where"), inputs[1:], strict=False)) | kwargs
    a = inputs[0]
    name = _REDUCTIONS.get(ufunc.__name__)
    axis, keepdims = values.get("axis", 0), bool(values.get("keepdims", False))
    if name is None or values.get("where", True) is not True or values.get("out") is not None:
        return on_host(ufunc.reduce, f"{ufunc.__name__}.reduce", inputs, dict(kwargs))
    initial = values.get("initial", np._NoValue)
    if a.ndim == 0:
        axis = None
    return guarded(a.c, _reduce_here, a, name, axis, keepdims, values.get("dtype"), None if initial is np._NoValue else initial)


def _reduce_here(a: DeviceArray, name: str, axis: Sequence[int], keepdims: bool, dtype: Any, initial: Any) -> Array:
    c = a.c
    if name in ("sum", "prod"):
        r = _call(getattr(c, name), axis, dtype, None, keepdims)
        if initial is not None:
            r = r + initial if name == "sum" else r * initial
        return box(r)
    if name in ("max", "min") and initial is not None:
        axes = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        if any(a.shape[each] == 0 for each in axes):
            wanted = {each % max(a.ndim, 1) for each in axes}
            shape = tuple(1 if i in wanted else n for i, n in enumerate(a.shape) if keepdims or i not in wanted)
            return box(driver.needed().full(shape, initial, a.dtype))
        r = _call(getattr(c, name), axis, None, keepdims)
        return box(getattr(driver.needed(), "maximum" if name == "max" else "minimum")(r, raw(np.asarray(initial, a.dtype))))
    return box(_call(getattr(c, name), axis, None, keepdims))


def _accumulate(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> Any:
    values = dict(zip(("axis", "dtype", "out"), inputs[1:], strict=False)) | kwargs
    name = {"add": "cumsum", "multiply": "cumprod"}.get(ufunc.__name__)
    if name is None or values.get("out") is not None:
        return on_host(ufunc.accumulate, f"{ufunc.__name__}.accumulate", inputs, dict(kwargs))
    return guarded(inputs[0].c, lambda: box(_call(getattr(inputs[0].c, name), values.get("axis", 0), values.get("dtype"))))


def _at(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> None:
    a, index = inputs[0], inputs[1]
    name = ufunc.__name__
    if a.__class__ is not DeviceArray:
        raise mixed(a, inputs[-1].device.id)
    function = {"add": "scatter_add", "maximum": "scatter_max", "minimum": "scatter_min"}.get(name)
    if function is None or a.dtype.kind not in "fiu" or (a.dtype.itemsize < 4 and function != "scatter_add") or a.dtype.itemsize < 2:
        HOST_CALLS[f"{name}.at"] += 1
        host = a.get()
        ufunc.at(host, _host(index), *[_host(each) for each in inputs[2:]])
        a[...] = _boxed_host(host)
        return
    guarded(a.c, lambda: getattr(a.c, function)(_index(index, a), raw(inputs[2])))


def _outer(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> Any:
    a, b = inputs
    return ufunc(a.reshape(a.shape + (1,) * b.ndim), b, **kwargs)


def _reduceat(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> Any:
    return on_host(ufunc.reduceat, f"{ufunc.__name__}.reduceat", inputs, dict(kwargs))


_METHODS = {"reduce": _reduce, "accumulate": _accumulate, "at": _at, "outer": _outer, "reduceat": _reduceat}


# --- functions ---------------------------------------------------------------------------------------------------------------------------

_found: dict[Any, Any] = {}


def cupy_function(func: Function) -> Function:
    """CuPy's function of the same name as a NumPy function, or None."""
    module = driver.needed()
    key = (module, func)
    if key not in _found:
        holder: Any = module
        try:
            for part in func.__module__.split(".")[1:]:
                holder = getattr(holder, part)
            found = getattr(holder, func.__name__)
        except AttributeError:
            found = None
        _found[key] = None if found is func else found
    return _found[key]


def call_function(func: Function, args: tuple[Any, ...], kwargs: dict[Any, Any], first: Array | None = None) -> Array:
    """A NumPy function (not a ufunc) on arrays of the device."""
    function = cupy_function(func)
    if function is None:
        return on_host(func, func.__name__, args, dict(kwargs))
    values, options = [raw(each) for each in args], {key: raw(value) for key, value in kwargs.items()}
    source = next((each for each in args if each.__class__ is DeviceArray), first)
    try:
        result = guarded(source.c, lambda: function(*values, **options)) if driver.several and source is not None else function(*values, **options)
    except (TypeError, NotImplementedError):
        return on_host(func, func.__name__, args, dict(kwargs))
    except MemoryError as error:
        raise explained(error) from None
    out = kwargs.get("out")
    if out is not None:
        return out[0] if isinstance(out, tuple) and len(out) == 1 else out
    return box(result, source)


def _creation(name: str) -> Function:
    """np.<name>(..., like=array)."""
    func = getattr(np, name)

    def create(*args: Any, **kwargs: Any) -> Array:
        module = driver.needed()
        kwargs.pop("device", None)
        if name in ("array", "asarray", "ascontiguousarray"):
            if args[0].__class__ is DeviceArray:
                if driver.several and args[0].device.id != module.cuda.runtime.getDevice():
                    return box(_call(module.array, args[0].c))      # from another GPU
                return call_function(func, args, kwargs, args[0])
            return box(_call(getattr(module, name), *args, **kwargs))
        return box(_call(getattr(module, name), *[raw(each) for each in args], **kwargs))
    return create


def _sorted(name: str) -> Function:
    func = getattr(np, name)

    def call(a: Any, axis: Any = -1, kind: Kind = None, **kwargs: Any) -> Any:
        if axis is None:
            a, axis = a.reshape(-1), -1
        if a.ndim == 0:
            return on_host(func, name, (a,), {"axis": -1}) if name == "argsort" else a.copy()
        return call_function(func, (a, axis), {})        # CuPy's sort is stable
    return call


def _lexsort(keys: Any, axis: int = -1) -> Any:
    if keys.__class__ is not DeviceArray:
        keys = np.stack(list(keys))
    return call_function(np.lexsort, (keys,), {})


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    if repeats.__class__ is DeviceArray or repeats.__class__ is host_array:
        counts = _host(repeats)
        if a.__class__ is not DeviceArray:
            a = _boxed_host(a)
        if counts.size == 1:
            repeats = int(counts.reshape(-1)[0])
        else:
            length = a.size if axis is None else a.shape[axis]
            where = np.repeat(np.arange(length), np.broadcast_to(counts, (length,)))
            return (a.reshape(-1) if axis is None else a)[(slice(None),) * (0 if axis is None else axis % a.ndim) + (where,)]
    return call_function(np.repeat, (a, repeats), {"axis": axis})


def _where(condition: Any, *args: Any) -> Any:
    if condition.__class__ is host_array and not condition.ndim:
        condition = np.asarray(condition, like=next(each for each in args if each.__class__ is DeviceArray))
    return call_function(np.where, (condition, *args), {})


def _may_share(a: Any, b: Any, max_work: Any = None) -> bool:
    if a.__class__ is not DeviceArray or b.__class__ is not DeviceArray or not a.size or not b.size:
        return False

    def bounds(x: DeviceArray) -> tuple[int, int]:
        reach = [(n - 1) * step for n, step in zip(x.shape, x.strides, strict=True)]
        start = x.data.ptr
        return start + sum(r for r in reach if r < 0), start + sum(r for r in reach if r > 0) + x.itemsize
    low_a, high_a = bounds(a)
    low_b, high_b = bounds(b)
    return low_a < high_b and low_b < high_a


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **kwargs: Any) -> Any:
    low, high = kwargs.get("min", a_min), kwargs.get("max", a_max)
    r = a
    if low is not None:
        r = np.maximum(r, low)
    if high is not None:
        r = np.minimum(r, high)
    if out is None:
        return r.copy() if r is a else r
    out[...] = r
    return out


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if where is True:
        dst[...] = src
    else:
        dst[...] = np.where(where, src, dst)


def _dtype_of(value: Any) -> Any:
    return value.dtype if value.__class__ is DeviceArray else value


SPECIAL: dict[str, Callable[..., Any]] = {
    **{name: _creation(name) for name in ("empty", "zeros", "ones", "full", "array", "asarray", "ascontiguousarray", "arange", "eye", "identity",
                                          "tri", "asfortranarray")},
    "sort": _sorted("sort"), "argsort": _sorted("argsort"), "lexsort": _lexsort, "repeat": _repeat, "where": _where,
    "may_share_memory": _may_share, "shares_memory": _may_share, "clip": _clip, "copyto": _copyto,
    "result_type": lambda *values: np.result_type(*[_dtype_of(each) for each in values]),
    "can_cast": lambda from_, to, casting="safe": np.can_cast(_dtype_of(from_), to, casting),
    "shape": lambda a: a.shape, "ndim": lambda a: a.ndim, "iscomplexobj": lambda a: a.dtype.kind == "c",
    "isrealobj": lambda a: a.dtype.kind != "c",
    "size": lambda a, axis=None: a.size if axis is None else a.shape[axis],
    "max": lambda a, axis=None, out=None, keepdims=False, **other: np.maximum.reduce(a, axis=axis, keepdims=keepdims, **other),
    "min": lambda a, axis=None, out=None, keepdims=False, **other: np.minimum.reduce(a, axis=axis, keepdims=keepdims, **other),
    "copy": lambda a, order="K", subok=False: a.copy(order),
}
SPECIAL["amax"], SPECIAL["amin"] = SPECIAL["max"], SPECIAL["min"]


def kernel_on_arrays(function: Function) -> Function:
    """A function of cupy arrays as one of DeviceArrays; out of memory becomes PyTorch's error. It steps aside for vmap's arrays."""
    def call(*args: Any, **kwargs: Any) -> Any:
        for each in args:
            if is_batched(each.__class__):
                return NotImplemented
        values = raw(args)
        if driver.several:
            first = next((each for each in values if each.__class__ is driver.array_class), None)
            if first is not None:
                return box(guarded(first, lambda: _call(function, *values, **kwargs)))
        return box(_call(function, *values, **kwargs))
    return call


def find_kernel(family: str, name: str) -> Function | None:
    """``kernels/cuda/<family>.py: <name>`` on DeviceArrays; None where there is none: then NumPy's functions find their way by their arguments."""
    from importlib import import_module
    from importlib.util import find_spec
    path = place(f"kernels.cuda.{family}")
    module = import_module(path) if find_spec(path) is not None else None
    return kernel_on_arrays(getattr(module, name)) if name in getattr(module, "__all__", ()) else None


join(DeviceArray, find_kernel)


def _written(function: Function) -> Any:
    """The Python function of a kernel or fused formula, if it is always the same one (a closure is made anew by each call); else None."""
    inner = written(function)
    return inner if hasattr(inner, "__code__") and not inner.__closure__ else None


_formulas: dict[Any, Any] = {}      # function -> its Formula, or None where it has none


def run_formula(function: Function, operands: tuple[Any, ...], name: str = "formula") -> Any:
    """A function of arrays as one kernel, whose formula is traced at first use; as it is where that can't be. name: what a profile shows."""
    try:
        formula = _formulas[function]
    except KeyError:
        formula = _formulas[function] = formula_of(function, len(operands), name)
    return run_kernel(formula, function, operands)


def run_kernel(formula: Any, function: Function, operands: tuple[Any, ...]) -> Any:
    """The formula's kernel, or the function where the operands are none for it: halves in float32."""
    if formula is not None:
        values = []
        first = None
        for each in operands:
            if each.__class__ is DeviceArray:
                first = each.c
                values.append(first)
            elif each.__class__ is float or each.__class__ is int:
                values.append(each)
            elif is_batched(each.__class__):
                return function(*operands)
            else:
                values.append(raw(each))
        r = guarded(first, _call, formula, *values) if driver.several else _call(formula, *values)
        if r is not NotImplemented:
            return box(r)
    halves = [each for each in operands if each.__class__ is DeviceArray and each.dtype.name in ("float16", "bfloat16")]
    if not halves:
        return function(*operands)
    wide = [each.astype(np.float32) if each.__class__ is DeviceArray and each.dtype == halves[0].dtype else each for each in operands]
    r = function(*wide)
    narrow = halves[0].dtype
    return tuple([each if each is None else each.astype(narrow) for each in r]) if r.__class__ is tuple else r.astype(narrow)


def over_tensors(name: str, tensors: Any, *more: Any) -> Any:
    """``multi_tensor.<name>`` over all tensors in one launch; NotImplemented where they are not of one dtype on one GPU, without gaps."""
    arrays = [t._a.c for t in tensors if t._a.__class__ is DeviceArray]
    if len(arrays) != len(tensors) or not arrays or not multi_tensor.fit(arrays):
        return NotImplemented
    r = guarded(arrays[0], _call, getattr(multi_tensor, name), arrays, *raw(list(more)))
    if name != "norm":
        for t in tensors:
            t._ver += 1
    return box(r)


def step(recording: Any, h: Any, keep: float, rows: list[tuple[Any, ...]], name: str) -> bool:
    """One kernel that steps all parameters of a dtype, in place: see kernels/cuda/optimizer.py. False where it can't."""
    return optimizer.step(recording, h, keep, [raw(row) for row in rows], name)


class Elementwise:
    """Elementwise ops of floating dtypes as one kernel each, where there is one."""

    @staticmethod
    def forward(name: str, function: Function) -> Function:
        """How the elementwise op `name`, or "" for a formula, is computed here."""
        kernel = FORMULAS.get(name)
        if kernel is None:
            inner = _written(function)
            return _widened(function) if inner is None else lambda *operands: run_formula(inner, operands)

        def run(a: DeviceArray) -> Array:
            r = guarded(a.c, kernel, a.c) if driver.several else _call(kernel, a.c)
            return box(r) if r is not NotImplemented else _widened(function)(a)
        return run

    @staticmethod
    def gradient(name: str, function: Function) -> Function:
        """How the gradient of the op `name`, a formula, is computed here."""
        inner, label = _written(function), f"{name}_gradient".replace(".", "_") if name else "formula"
        return lambda *operands: run_formula(inner, operands, label) if inner is not None else run_kernel(None, function, operands)

    @staticmethod
    def rounds_once(ufunc: Function, a: Any, b: Any) -> bool:
        """Whether a ufunc has a kernel that rounds once, for two arrays of 16 bits, or for one of them and one of float32."""
        if getattr(ufunc, "__name__", "") not in KERNELS:
            return False
        if a.dtype == b.dtype:
            return a.dtype.name in ("float16", "bfloat16")
        return {each.dtype.name for each in (a, b) if each.__class__ is DeviceArray and each.ndim} in _MIXTURES


class Namespace:
    """``kind.xp`` of a CUDA kind: NumPy's functions, with results on the device. Creation happens on one GPU."""

    def __init__(self, index: int, path: str = "") -> None:
        self._index, self._path = index, path

    random: Any = None      # cuda/random.py, which draws with kernels
    pinned = pinned
    over_tensors, step = staticmethod(over_tensors), staticmethod(step)

    def queued(self, array: np.ndarray[Any, Any]) -> DeviceArray:
        """A copy of a host's array, which is only queued where the array lies in page-locked memory."""
        return box(pinned.to_device(array, self._index))

    def __getattr__(self, name: str) -> Function:
        func = getattr(np.linalg if self._path == "linalg" else np.fft if self._path == "fft" else np, name)
        if name in ("linalg", "fft"):
            value: Any = Namespace(self._index, name)
        elif isinstance(func, type) or not callable(func):
            value = func
        elif name in _CREATORS and not self._path:
            value = _on(self._index, SPECIAL.get(name) or (lambda *args, **kwargs: call_function(func, args, kwargs)))
        else:
            value = func      # finds its way by its arguments
        setattr(self, name, value)
        return value


def _widened(function: Function) -> Any:
    """A NumPy expression on an array of a dtype that is computed in float32."""
    return lambda a, *numbers: function(a.astype(np.float32) if a.dtype.itemsize == 2 else a, *numbers)


_MIXTURES = ({"float32", "float16"}, {"float32", "bfloat16"})
_CREATORS = ("empty", "zeros", "ones", "full", "array", "asarray", "ascontiguousarray", "arange", "eye", "identity", "tri", "linspace")


def _on(index: int, function: Function) -> Function:
    def create(*args: Any, **kwargs: Any) -> Array:
        if not driver.several:
            return function(*args, **kwargs)
        with driver.needed().cuda.Device(index):
            return function(*args, **kwargs)
    return create


# --- methods and operators ---------------------------------------------------------------------------------------------------------------

def _forward(name: str, may_view: bool) -> Function:
    def call(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        r = _here(self.c, getattr(self.c, name), *raw(args), **{key: raw(value) for key, value in kwargs.items()})
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
for _name in ("flatten", "sum", "prod", "mean", "cumsum", "cumprod", "argmax", "argmin", "all", "any", "nonzero", "take", "trace", "std", "var"):
    setattr(DeviceArray, _name, _forward(_name, False))
DeviceArray.max = lambda self, axis=None, out=None, keepdims=False, **other: np.maximum.reduce(self, axis=axis, keepdims=keepdims, **other)  # type: ignore[attr-defined]
DeviceArray.min = lambda self, axis=None, out=None, keepdims=False, **other: np.minimum.reduce(self, axis=axis, keepdims=keepdims, **other)  # type: ignore[attr-defined]
DeviceArray.conj = DeviceArray.conjugate = lambda self: np.conjugate(self) if self.dtype.kind == "c" else self  # type: ignore[attr-defined]
DeviceArray.argsort = lambda self, axis=-1, kind=None: SPECIAL["argsort"](self, axis)  # type: ignore[attr-defined]
DeviceArray.clip = lambda self, min=None, max=None, out=None: _clip(self, min, max, out)  # type: ignore[attr-defined]
DeviceArray.repeat = lambda self, repeats, axis=None: _repeat(self, repeats, axis)  # type: ignore[attr-defined]
DeviceArray.searchsorted = lambda self, v, side="left": call_function(np.searchsorted, (self, v), {"side": side})  # type: ignore[attr-defined]
DeviceArray.byteswap = lambda self: _boxed_host(self.get().byteswap())  # type: ignore[attr-defined]

_OPERATORS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide, "mod": np.remainder,
              "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "lshift": np.left_shift, "rshift": np.right_shift}


def _operator(ufunc: Function, mode: str) -> Function:
    if mode == "i":
        def inplace(self: DeviceArray, other: Any) -> Any:
            r = call_ufunc(ufunc, (self, other), {"out": (self,)}, self)
            # What steps back is asked through NumPy: Python would compute out of place.
            return ufunc(self, other, out=(self,)) if r is NotImplemented else r
        return inplace
    if mode == "r":
        return lambda self, other: call_ufunc(ufunc, (other, self), {}, self)
    return lambda self, other: call_ufunc(ufunc, (self, other), {}, self)


for _name, _ufunc in _OPERATORS.items():
    for _mode in ("", "r", "i"):
        setattr(DeviceArray, f"__{_mode}{_name}__", _operator(_ufunc, _mode))
for _name, _ufunc in {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal}.items():
    setattr(DeviceArray, f"__{_name}__", _operator(_ufunc, ""))
for _name, _ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
    setattr(DeviceArray, f"__{_name}__", lambda self, u=_ufunc: call_ufunc(u, (self,), {}, self))
DeviceArray.__matmul__ = lambda self, other: np.matmul(self, other)  # type: ignore[attr-defined]
DeviceArray.__rmatmul__ = lambda self, other: np.matmul(other, self)  # type: ignore[attr-defined]

RUNNERS[DeviceArray] = run_formula
ELEMENTWISE[DeviceArray] = Elementwise()
KERNELS.update({name: FORMULAS[name] for name in UFUNCS})


def _matmul(a: Any, b: Any, out: Any = None) -> Any:
    if out is not None or not hasattr(a, "ndim") or not hasattr(b, "ndim"):
        return NotImplemented
    if a.ndim == 1 or b.ndim == 1:
        if a.dtype.kind not in "fV" or not a.ndim or not b.ndim:
            return NotImplemented
        r = matmul(a.reshape(1, -1) if a.ndim == 1 else a, b.reshape(-1, 1) if b.ndim == 1 else b)
        if r is NotImplemented:
            return r
        return r.reshape(r.shape[:-2] + (() if a.ndim == 1 else r.shape[-2:-1]) + (() if b.ndim == 1 else r.shape[-1:]))
    return matmul(a, b)


KERNELS["matmul"] = _matmul
DeviceArray.dot = lambda self, b, out=None: np.matmul(self, b) if self.ndim <= 2 and b.ndim <= 2 and self.ndim and b.ndim else (  # type: ignore[attr-defined]
    call_function(np.dot, (self, b), {}))
SPECIAL["dot"] = lambda a, b, out=None: a.dot(b)
