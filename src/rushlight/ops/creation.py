"""Making tensors: from data, filled, ranges, grids, and like others."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes, services
from ..devices import CPU, as_device
from ..dtypes import dtype as dtype_type
from ..dtypes import from_numpy_dtype, get_default_dtype, promote_types
from ..kernels import memory as M
from ..kernels.arrays import as_truth
from ..kernels.strides import strided as strided_view
from ..kind import Kind, cpu_kind, kind_of
from ..layout import strided
from ..settings import fills_memory, is_warn_always_enabled
from ..size import Size
from ..storage import TypedStorage, UntypedStorage, array_over
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Device, Dtype, Function, Layout, MemoryFormat, Number, NumpyDtype, Operand, PerDim
from .convert import convert, move
from .errors import not_a_tensor
from .promotion import in_64_bits, number_dtype
from .public import export, method
from .write import write_out

if TYPE_CHECKING:
    from ..dtypes import dtype

__all__ = ["tensor", "as_tensor", "creation_kind", "finish", "size_of"]

ndarray = np.ndarray


def creation_kind(dtype: Dtype, device: Device, default: dtype | None = None) -> Kind:
    """The kind that `dtype=` and `device=` ask for."""
    if dtype is None:
        dtype = default or get_default_dtype()
    elif dtype.__class__ is not dtype_type:
        dtype = _dtype_argument(dtype)
    return kind_of(dtype, as_device(device))


def _dtype_argument(value: Any) -> Any:
    known = dtypes.dtype_of(value)
    if known.__class__ is dtype_type:
        return known
    raise TypeError(f"argument 'dtype' must be torch.dtype, not {type(value).__name__}")


def check_layout(layout: Layout) -> None:
    """Only `zeros` and `empty` make tensors of a sparse layout."""
    if layout is not None and layout is not strided:
        if not isinstance(layout, strided.__class__):
            raise TypeError(f"argument 'layout' must be torch.layout, not {type(layout).__name__}")
        raise NotImplementedError(f"this function is not implemented for layout={layout!r}: use torch.strided, and .to_sparse() on the "
                                  "result")


def finish(r: Tensor, requires_grad: bool, pin_memory: bool = False, layout: Layout = None) -> Tensor:
    """The options that all creation functions share."""
    if layout is not None:
        check_layout(layout)
    if pin_memory:
        return r.pin_memory()
    if not requires_grad:
        return r
    if requires_grad.__class__ is bool and not r._kind.differentiable:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    return r.requires_grad_(requires_grad)


def size_of(size: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """A shape given as separate ints or as one sequence."""
    one = len(size) == 1 and not isinstance(size[0], (tuple, list))
    if len(size) == 1 and not hasattr(size[0], "__index__") and isinstance(size[0], (tuple, list, Size)):
        size = tuple(size[0])
    elif len(size) == 1 and isinstance(size[0], Tensor) and size[0]._a.ndim == 1:
        size = tuple(size[0].tolist())
    try:
        shape = tuple([s if s.__class__ is int else s.__index__() for s in size])
    except (AttributeError, TypeError):
        at = next((i for i, s in enumerate(size) if not hasattr(s, "__index__") or isinstance(s, Tensor)), 0)
        what = type(size[at]).__name__
        raise TypeError(f"{name}(): argument 'size' (position 1) must be tuple of ints, not {what}" if one else
                        f"{name}(): argument 'size' failed to unpack the object at pos {at + 1} with error \"type must be tuple of "
                        f"ints,but got {what}\"") from None
    for at, s in enumerate(shape, 1):
        if not -2**63 <= s < 2**63:
            raise TypeError(f"{name}(): argument 'size' failed to unpack the object at pos {at} with error \"Overflow when unpacking long "
                            "long\"")
        if s < 0:
            if name == "zeros":
                raise RuntimeError(f"zeros: Dimension size must be non-negative. Got {s} in {list(shape)}")
            raise RuntimeError(f"Trying to create tensor with negative dimension {s}: {list(shape)}")
    return shape


# --- from data ------------------------------------------------------------------------------------------------------------------------

def _scan(data: Any, state: list[Any], shape: list[int], depth: int) -> None:
    """Walk nested sequences: check that they are rectangular, and find the dtype of their leaves."""
    if isinstance(data, Tensor):
        _leaf(data._kind.dtype, state)
        inner: tuple[int, ...] = data._a.shape
        _shape_at(inner, shape, depth)
        return
    if isinstance(data, np.ndarray):
        _leaf(from_numpy_dtype(data.dtype), state)
        _shape_at(data.shape, shape, depth)
        return
    if isinstance(data, (list, tuple)) or (hasattr(data, "__len__") and hasattr(data, "__getitem__")
                                           and not isinstance(data, (str, bytes, dict))):
        n = len(data)
        if depth == len(shape):
            if state[1]:
                raise TypeError(f"not a sequence: found a sequence of length {n} at dim {depth} beside numbers")
            shape.append(n)
        elif shape[depth] != n:
            raise ValueError(f"expected sequence of length {shape[depth]} at dim {depth} (got {n})")
        for each in data:
            _scan(each, state, shape, depth + 1)
        return
    if depth < len(shape):
        raise TypeError(f"not a sequence: expected one of length {shape[depth]} at dim {depth}, got a {type(data).__name__}")
    state[1] = True
    if isinstance(data, (bool, np.bool_)):
        _leaf(dtypes.bool_, state)
    elif isinstance(data, np.generic) and not isinstance(data, (float, complex)):
        _leaf(from_numpy_dtype(data.dtype), state)
    elif isinstance(data, (int, np.integer)):
        _leaf(dtypes.int64, state)
    elif isinstance(data, float):
        _leaf(get_default_dtype() if type(data) is float else dtypes.float64, state)
    elif isinstance(data, complex):
        _leaf(get_default_dtype().to_complex(), state)
    elif data is None:
        raise RuntimeError("Could not infer dtype of NoneType")
    elif isinstance(data, str):
        if shape and state[0] is None:
            raise ValueError("too many dimensions 'str'")
        raise TypeError("new(): invalid data type 'str'")
    else:
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


def _shape_at(inner: tuple[int, ...], shape: list[int], depth: int) -> None:
    for i, n in enumerate(inner):
        at = depth + i
        if at == len(shape):
            shape.append(n)
        elif shape[at] != n:
            raise ValueError(f"expected sequence of length {shape[at]} at dim {at} (got {n})")


def _leaf(d: dtype, state: list[Any]) -> None:
    state[0] = d if state[0] is None else promote_types(state[0], d)


def _plain(data: Any) -> Any:
    """Nested data with tensors turned into arrays, which NumPy reads."""
    if isinstance(data, Tensor):
        a = data._a
        return a if isinstance(a, np.ndarray) else a.get()
    if isinstance(data, (list, tuple)):
        return [_plain(each) for each in data]
    return data


_QUICK = {float: None, int: dtypes.int64, bool: dtypes.bool_}


def _array_from(data: Array | Number | list[Any], dtype: dtype | None) -> tuple[Any, Any]:
    """(array, dtype) of Python data; always new memory."""
    cls = type(data)
    if cls in _QUICK:
        d = dtype or _QUICK[cls] or get_default_dtype()
        return _checked_array(data, d), d
    if isinstance(data, Tensor):
        d = dtype or data._kind.dtype
        a = data._a if isinstance(data._a, np.ndarray) else data._a.get()
        if d is not data._kind.dtype:
            return convert(wrap(a, kind_of(data._kind.dtype)), kind_of(d))._a, d
        return a.copy(), d
    if isinstance(data, np.ndarray):
        _check_strides(data)
        have = from_numpy_dtype(data.dtype)
        d = dtype or have
        if d is not have:
            return convert(wrap(data.astype(have.np), kind_of(have)), kind_of(d))._a, d
        return np.array(data, d.np, order="C"), d
    if hasattr(data, "__array__") and not isinstance(data, (list, tuple, np.generic)):
        return _array_from(np.asarray(data), dtype)
    if cls is list or cls is tuple:
        quick = _plain_numbers(data, dtype)
        if quick is not None:
            return quick
    if cls in _SEQUENCES and data and isinstance(data[0], np.ndarray):
        _warn_once("arrays", "Creating a tensor from a list of numpy.ndarrays is extremely slow. Please consider converting the list to a "
                             "single numpy.ndarray with numpy.array() before converting to a tensor.")
    state: list[Any] = [None, False]
    shape: list[int] = []
    _scan(data, state, shape, 0)
    d = dtype or state[0] or get_default_dtype()
    if 0 in shape:
        return np.empty(tuple(shape), d.np), d
    return _checked_array(_plain(data), d).reshape(shape), d


def _warn_once(what: str, text: str) -> None:
    """A warning of PyTorch's, the first time (always after `set_warn_always`)."""
    if what not in _WARNED or is_warn_always_enabled():
        import warnings
        _WARNED.add(what)
        warnings.warn(text, UserWarning, stacklevel=4)


_WARNED: set[str] = set()


def _check_strides(a: Array) -> None:
    if any(step % a.itemsize for step in a.strides):
        raise ValueError("given numpy array strides not a multiple of the element byte size. Copy the numpy array to reallocate the "
                         "memory.")


_SEQUENCES = {list, tuple}


def _plain_numbers(data: list[Any], dtype: dtype | None) -> tuple[Array, dtype] | None:
    """The common case, nested lists of floats, of ints or of bools, level by level, without walking them in Python; None for all else."""
    shape, level = [len(data)], data
    while (kinds := set(map(type, level))) and kinds <= _SEQUENCES:
        lengths = set(map(len, level))
        if len(lengths) > 1:
            return None
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    cls = kinds.pop() if len(kinds) == 1 else None
    if cls not in _QUICK:
        return None
    d = dtype or _QUICK[cls] or get_default_dtype()
    a = _checked_array(level, d)
    return (a if len(shape) == 1 else a.reshape(shape)), d


def _checked_array(data: Number | list[Any], d: dtype) -> Array:
    """np.array(data) in dtype d, with PyTorch's errors for values that don't fit."""
    try:
        if d.category == dtypes.INT:
            return _checked_ints(np.asarray(data), d)
        if d is dtypes.bool_:
            return np.asarray(np.asarray(data) != 0)
        if not d.is_complex:
            a = np.asarray(data)
            if a.dtype.kind == "c":
                raise TypeError("must be real number, not complex")
            return a.astype(d.np)
        return np.array(data, d.np)
    except OverflowError:
        raise ValueError("Overflow when unpacking long long") from None


def _checked_ints(a: Array, d: dtype) -> Array:
    """Numbers as integers of dtype d: fractions are cut off, and values outside of its range refused (an unsigned one takes -1 for its
    largest number, as PyTorch does)."""
    if a.dtype.kind == "O" or a.dtype == np.uint64 and a.size and a.max() > 2 ** 63 - 1 and d.np != np.uint64:
        raise OverflowError
    if a.dtype.kind == "c":
        raise TypeError("'complex' object cannot be interpreted as an integer")
    if a.size and a.dtype.kind in "iuf":
        limits = np.iinfo(d.np)
        low, high = a.min(), a.max()
        if not (high < limits.max + 1 and low > (-limits.max - 1 if limits.min == 0 else limits.min - 1)):      # also for nan
            raise RuntimeError(f"value cannot be converted to type {d.name} without overflow")
    if a.dtype.kind == "f":
        return a.astype(np.int64).astype(d.np)
    return a.astype(d.np)


def tensor(data: Any, *, dtype: Dtype = None, device: Device = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A new tensor from numbers, nested sequences, NumPy arrays or tensors; always a copy.

    The dtype follows from the data (floats become the default dtype) unless given. ValueError for ragged data, RuntimeError or
    TypeError for things that are no numbers.
    """
    if isinstance(data, TypedStorage):
        if dtype is not None and dtypes.dtype_of(dtype) is not data.dtype:
            raise RuntimeError(f"Expected a Storage of type {dtypes.dtype_of(dtype)} or an UntypedStorage, but got type {data.dtype} for "
                               "argument 1 'storage'")
        dtype, data = data.dtype, data.untyped()
    if isinstance(data, UntypedStorage):
        d = dtypes.uint8 if dtype is None else dtypes.dtype_of(dtype)
        data = array_over(data, d, 0, (data.nbytes() // d.itemsize,), (1,))
    if isinstance(data, Tensor):
        import warnings
        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
                      "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).", UserWarning,
                      stacklevel=2)
        if device is None:
            device = data._kind.device
        if data._kind.sparse:
            r = data.detach().clone() if dtype is None else data.detach().to(dtype, copy=True)
            return r.requires_grad_() if requires_grad else r
    if dtype is not None and dtype.__class__ is not dtype_type:
        dtype = _dtype_argument(dtype)
    a, d = _array_from(data, dtype)
    target = as_device(device)
    if target is not CPU:
        a = move(a, CPU, target)
    r = wrap(a, kind_of(d, target))
    return finish(r, requires_grad, pin_memory) if requires_grad or pin_memory else r


def as_tensor(data: Any, dtype: Dtype = None, device: Device = None) -> Tensor:
    """A tensor of the data that shares memory (and history) where possible."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=data._kind.device if device is None else device)
    if isinstance(data, np.ndarray):
        r = from_numpy(data)
        return r.to(dtype=dtype, device=as_device(device))
    if hasattr(data, "__dlpack__") or type(data).__name__ == "PyCapsule":
        from ..utils.dlpack import from_dlpack
        return from_dlpack(data).to(dtype=dtype, device=as_device(device))
    if isinstance(data, (memoryview, bytearray)) and dtype is not None:
        return frombuffer(data, dtype=dtypes.dtype_of(dtype)).to(device=as_device(device))
    return tensor(data, dtype=dtype, device=device)


def asarray(obj: Any, *, dtype: Dtype = None, device: Device = None, copy: bool | None = None, requires_grad: bool | None = None) -> Tensor:
    """A tensor of any array-like: of a tensor, an array, a DLPack capsule, a buffer (read as `dtype`), or of numbers.

    copy           True always copies, False never does (ValueError where it would have to)
    requires_grad  False detaches the result; a tensor's history is kept otherwise
    """
    source = _in_memory(obj, dtype)
    if source is None:
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        r = as_tensor(obj, dtype, device)
    else:
        r = source.to(dtype=source._kind.dtype if dtype is None else dtype,
                      device=source._kind.device if device is None else as_device(device))
        if copy is False and r.data_ptr() != source.data_ptr():
            raise ValueError("can't alias tensor: the data has to be copied")
        if copy and r.data_ptr() == source.data_ptr():
            r = r.clone()
    if requires_grad and r._node is None:
        return r.requires_grad_()
    return r.detach() if requires_grad is False and r._node is not None else r


def _in_memory(obj: Any, dtype: Dtype) -> Tensor | None:
    """A tensor over the memory of an object that has some: its own where it is one."""
    if isinstance(obj, Tensor):
        return obj
    if isinstance(obj, (list, tuple, int, float, complex, str, np.generic)):
        return None
    if isinstance(obj, np.ndarray):
        return from_numpy(obj)
    if type(obj).__name__ == "PyCapsule" or hasattr(obj, "__dlpack__"):
        return as_tensor(obj)
    if hasattr(obj, "__array__") or hasattr(obj, "__array_interface__"):
        return from_numpy(np.asarray(obj))
    try:
        memoryview(obj)
    except TypeError:
        return None
    return frombuffer(obj, dtype=get_default_dtype() if dtype is None else dtypes.dtype_of(dtype))


def from_numpy(ndarray: Array) -> Tensor:
    """A tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    kind = cpu_kind(ndarray)
    if any(step < 0 for step in ndarray.strides):
        raise ValueError("At least one stride in the given numpy array is negative, and tensors with negative strides are not currently "
                         "supported. (You can probably work around this by making a copy of your array  with array.copy().)")
    _check_strides(ndarray)
    if not ndarray.dtype.isnative:
        raise ValueError("given numpy array has byte order different from the native byte order. Conversion between byte orders is "
                         "currently not supported.")
    if not ndarray.flags.writeable:
        import warnings
        warnings.warn("The given NumPy array is not writable, and PyTorch does not support non-writable tensors. Writing to this tensor "
                      "raises an error in rushlight; copy the array first if you want to write.", UserWarning, stacklevel=2)
    array = ndarray.view(np.ndarray)
    return wrap(array if kind.dtype is not dtypes.bool_ else as_truth(array), kind)


def frombuffer(buffer: Any, *, dtype: Dtype, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-D tensor that shares the memory of an object with the buffer protocol."""
    try:
        length = memoryview(buffer).nbytes
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    if length == 0 or count == 0:
        raise ValueError(f"both buffer length ({length}) and count ({count}) must not be 0")
    size = dtype.itemsize
    if not 0 <= offset < length:
        raise ValueError(f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({length} bytes) minus 1")
    if count < 0 and (length - offset) % size:
        raise ValueError(f"buffer length ({length - offset} bytes) after offset ({offset} bytes) must be a multiple of element size "
                         f"({size})")
    if count > 0 and offset + count * size > length:
        raise ValueError(f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than actual "
                         f"buffer length ({length} bytes)")
    array = np.frombuffer(buffer, dtype.np, count, offset)
    if not array.flags.writeable:
        _warn_once("buffers", "The given buffer is not writable, and PyTorch does not support non-writable tensors. Writing to this "
                              "tensor raises an error in rushlight; copy the buffer first if you want to write.")
    return finish(wrap(array if dtype is not dtypes.bool_ else as_truth(array), kind_of(dtype)), requires_grad)


for _fn in (tensor, as_tensor, asarray, from_numpy, frombuffer):
    export(_fn)


@export
def scalar_tensor(s: Any, *, dtype: Dtype = None, layout: Layout = None, device: Device = None, pin_memory: bool = False,
                  requires_grad: bool = False) -> Tensor:
    """A tensor () of a number, in the default dtype unless another is asked for."""
    if isinstance(s, complex) and (dtype is None or not dtype.is_complex):
        raise RuntimeError(f"value cannot be converted to type {(dtype or get_default_dtype()).name} without overflow")
    return tensor(s, dtype=get_default_dtype() if dtype is None else dtype, device=device, requires_grad=requires_grad,
                  pin_memory=pin_memory)


# --- filled ---------------------------------------------------------------------------------------------------------------------------

def _filler(name: str, maker: Function, doc: str) -> Function:
    def fn(*size: Any, out: Tensor | None = None, dtype: Dtype = None, layout: Layout = None, device: Device = None,
           pin_memory: bool = False,
           requires_grad: bool = False, memory_format: MemoryFormat = None, names: Any = None) -> Tensor:
        kind = creation_kind(dtype, device, out._kind.dtype if out is not None else None)
        if layout is not None and layout is not strided and name in ("zeros", "empty"):
            return finish(services.sparse_zeros(size_of(size, name), kind, layout), requires_grad)
        r = wrap(maker(kind.xp, size_of(size, name), kind.np), kind)
        if memory_format is not None:
            r = r.contiguous(memory_format=memory_format)
        if out is not None:
            return write_out(out, r, name)
        if requires_grad or pin_memory or layout is not None:
            return finish(r, requires_grad, pin_memory, layout)
        return r

    def with_keyword(*size: Any, **kwargs: Any) -> Tensor:
        if "size" in kwargs:
            size = (kwargs.pop("size"),)
        elif not size:
            raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
        return fn(*size, **kwargs)

    def like(input: Tensor, *, dtype: Dtype = None, layout: Layout = None, device: Device = None, pin_memory: bool = False,
             requires_grad: bool = False, memory_format: MemoryFormat = None) -> Tensor:
        if not isinstance(input, Tensor):
            raise not_a_tensor(name + "_like", "input", 1, input)
        kind = like_kind(input, dtype, device)
        if input._kind.sparse:
            return services.sparse_form(name + "_like", input, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)
        if layout is not None and layout is not strided:
            return with_keyword(input._a.shape, dtype=kind.dtype, layout=layout, device=kind.device, requires_grad=requires_grad)
        r = wrap(like_layout(maker(maker_for(input._a, kind), input._a.shape, kind.np), input._a), kind)
        return finish(r, requires_grad, pin_memory, layout)

    def new(self: Tensor, *size: Any, dtype: Dtype = None, device: Device = None, requires_grad: bool = False, layout: Layout = None,
            pin_memory: bool = False, **kwargs: Any) -> Tensor:
        if "size" in kwargs:
            size = (kwargs.pop("size"),)
        if kwargs:
            raise TypeError(f"new_{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
        kind = like_kind(self, dtype, device)
        return finish(wrap(maker(maker_for(self._a, kind), size_of(size, name), kind.np), kind), requires_grad, pin_memory, layout)

    for each, label in ((fn, name), (with_keyword, name), (like, name + "_like"), (new, "new_" + name)):
        each.__name__ = each.__qualname__ = label
        each.__doc__ = doc
    export(with_keyword)
    export(like)
    method(new)
    return with_keyword



def like_kind(input: Tensor, dtype: Dtype, device: Device) -> Kind:
    """The kind of `input`, with what dtype= and device= override."""
    have = input._kind
    if dtype is None and device is None:
        return have
    if dtype is not None and dtype.__class__ is not dtype_type:
        dtype = _dtype_argument(dtype)
    return kind_of(have.dtype if dtype is None else dtype, have.device if device is None else as_device(device))


def maker_for(a: Array, kind: Kind) -> Any:
    """Where new arrays of a kind come from that go with an array: the device's module, or vmap's, whose arrays have room for each
    sample."""
    return kind.xp if a.__class__ is ndarray else getattr(a, "maker", lambda xp: xp)(kind.xp)


def like_layout(fresh: Array, a: Array) -> Array:
    """A fresh array of a's shape, in a's order of dimensions where a is dense but permuted (channels_last, transposed)."""
    if a.flags.c_contiguous or 0 in a.strides or a.ndim < 2:
        return fresh
    order = sorted(range(a.ndim), key=lambda i: (-a.strides[i], i))
    return fresh.reshape([a.shape[i] for i in order]).transpose(np.argsort(order))


def _filled(xp: Any, shape: tuple[int, ...], value: Number, np_dtype: NumpyDtype) -> Array:
    """A new array of one value."""
    a = _made(xp, "empty", shape, np_dtype)
    M.fill(a, value)
    return a


def _made(xp: Any, make: str, shape: tuple[int, ...], np_dtype: NumpyDtype) -> Array:
    """``xp.zeros`` or ``xp.empty``; PyTorch's error where the number of bytes is no number of 64 bits."""
    try:
        return getattr(xp, make)(shape, np_dtype)
    except ValueError:
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}") from None


zeros = _filler("zeros", lambda xp, shape, np_dtype: _made(xp, "zeros", shape, np_dtype), "A tensor of zeros.")
ones = _filler("ones", lambda xp, shape, np_dtype: _filled(xp, shape, 1, np_dtype), "A tensor of ones.")


def uninitialised(xp: Any, shape: Any, np_dtype: NumpyDtype) -> Array:
    """An array of whatever the memory holds; filled where programs asked for determinism: with nan, the largest integer, or True."""
    a = _made(xp, "empty", shape, np_dtype)
    if fills_memory():
        a[...] = _UNINITIALISED.get(a.dtype.kind, np.nan) if a.dtype.kind not in "iu" else np.iinfo(a.dtype).max
    return a


_UNINITIALISED = {"b": True}
empty = _filler("empty", uninitialised, "A tensor whose values are whatever the memory holds.")


def full(size: PerDim, fill_value: bool | float, *, out: Tensor | None = None, dtype: Dtype = None, layout: Layout = None,
         device: Device = None,
         requires_grad: bool = False, pin_memory: bool = False, names: Any = None) -> Tensor:
    """A tensor of one value; without dtype, that of the value (bool, int64, default float, complex)."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    if isinstance(size, int):
        raise TypeError("full(): argument 'size' (position 1) must be tuple of ints, not int")
    if not isinstance(value, (int, float, complex, bool, np.number, np.bool_)):
        raise TypeError(f"full(): argument 'fill_value' (position 2) must be Number, not {type(fill_value).__name__}")
    kind = creation_kind(dtype, device, number_dtype(value) if out is None else out._kind.dtype)
    r = wrap(_filled(kind.xp, size_of((size,) if not isinstance(size, int) else (size,), "full"), _fits(value, kind), kind.np), kind)
    if out is not None:
        return write_out(out, r, "full")
    return finish(r, requires_grad, pin_memory, layout)


def _fits(value: Any, kind: Kind) -> Any:
    """A Python number that the kind can hold, or PyTorch's error."""
    in_64_bits(value)
    if isinstance(value, complex) and not kind.is_complex:
        if value.imag:
            name = f"{kind.dtype.name}_t" if kind.dtype.category == dtypes.INT else kind.dtype.alias or kind.dtype.name
            raise RuntimeError(f"value cannot be converted to type {name} without overflow")
        value = value.real
    if kind.dtype.category == dtypes.INT:
        if isinstance(value, float) and (math.isnan(value) or math.isinf(value)):
            raise RuntimeError(f"value cannot be converted to type {kind.dtype.name}_t without overflow")
        limits = np.iinfo(kind.np)
        if isinstance(value, float) and not limits.min <= value <= limits.max:
            raise RuntimeError(f"value cannot be converted to type {kind.dtype.name}_t without overflow")
        if not limits.min - (limits.max + 1 if limits.min == 0 else 0) <= int(value) <= limits.max:
            raise RuntimeError(f"value cannot be converted to type {kind.dtype.name}_t without overflow")
        return np.asarray(int(value)).astype(kind.np)
    if kind.is_floating and not isinstance(value, bool) and kind.np.itemsize < 8 and math.isfinite(value):
        limit = float(dtypes.finfo(kind.dtype).max)
        if abs(value) > limit:
            raise RuntimeError(f"value cannot be converted to type {'at::Half' if kind.np.itemsize == 2 else 'float'} without overflow")
    return value


def full_like(input: Tensor, fill_value: Operand, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
              pin_memory: bool = False,
              requires_grad: bool = False, memory_format: MemoryFormat = None) -> Tensor:
    """A tensor of one value with the shape, dtype and device of another."""
    if input._kind.sparse:
        return services.sparse_form("full_like", input, fill_value, dtype=dtype, requires_grad=requires_grad)
    kind = like_kind(input, dtype, device)
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    r = wrap(like_layout(_filled(maker_for(input._a, kind), input._a.shape, _fits(value, kind), kind.np), input._a), kind)
    return finish(r, requires_grad, pin_memory, layout)


def new_full(self: Tensor, size: PerDim, fill_value: Operand, *, dtype: Dtype = None, device: Device = None, requires_grad: bool = False,
             layout: Layout = None, pin_memory: bool = False) -> Tensor:
    """A tensor of one value, with self's dtype and device."""
    if isinstance(size, int):
        raise TypeError("new_full(): argument 'size' (position 1) must be tuple of ints, not int")
    kind = like_kind(self, dtype, device)
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    r = wrap(_filled(maker_for(self._a, kind), size_of((size,), "new_full"), _fits(value, kind), kind.np), kind)
    return finish(r, requires_grad, pin_memory, layout)


def new_tensor(self: Tensor, data: Operand, *, dtype: Dtype = None, device: Device = None, requires_grad: bool = False,
               layout: Layout = None,
               pin_memory: bool = False) -> Tensor:
    """A copy of the data with self's dtype and device."""
    kind = like_kind(self, dtype, device)
    if isinstance(data, Tensor):
        data = data.detach()
        return finish(data.to(kind.dtype).to(kind.device, copy=True), requires_grad, pin_memory, layout)
    return tensor(data, dtype=kind.dtype, device=kind.device, requires_grad=requires_grad)


def empty_strided(size: Any, stride: PerDim, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
                  requires_grad: bool = False,
                  pin_memory: bool = False) -> Tensor:
    """An uninitialised tensor with the given strides (in elements)."""
    return _strided(creation_kind(dtype, device), None, size, stride, layout, requires_grad, pin_memory)


def _strided(kind: Kind, like: Any, size: Any, stride: PerDim, layout: Layout, requires_grad: bool, pin_memory: bool) -> Tensor:
    if len(size) != len(stride):
        raise RuntimeError(f"dimensionality of sizes ({len(size)}) must match dimensionality of strides ({len(stride)})")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    total = 0 if 0 in size else 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    buffer = uninitialised(maker_for(like, kind), total, kind.np)
    a = strided_view(buffer, tuple(size), tuple(s * kind.np.itemsize for s in stride))
    return finish(wrap(a, kind), requires_grad, pin_memory, layout)


def new_empty_strided(self: Tensor, size: Any, stride: PerDim, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
                      requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """An uninitialised tensor with the given strides, and self's dtype and device."""
    kind = like_kind(self, dtype, device)
    return _strided(kind, self._a, size, stride, layout, requires_grad, pin_memory)


method(new_empty_strided)
export(full)
export(full_like, guard=True)
export(empty_strided)
method(new_full, guard=True)
method(new_tensor)
