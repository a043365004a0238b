"""Storages: the flat memory under tensors. Tensors that are views of one another share one.

NumPy keeps memory alive through ``array.base``; the last array of that chain is the *root*. There is at most one living
`UntypedStorage` per root, so ``a.untyped_storage() is b.untyped_storage()`` says whether two tensors share memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from mmap import mmap
from sys import getrefcount
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from . import dtypes as _dtype
from . import services
from .devices import CPU, device, resolve
from .kernels.strides import strided
from .kind import NotBatched, kind_of
from .references import ATTRIBUTE
from .tensor import wrap
from .vocabulary import Array, Device, Dtype

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["LEGACY_STORAGES", "TypedStorage", "UntypedStorage", "array_over", "is_storage", "storage_of", "storage_offset",
           "untyped_storage"]


# --- from an array to its memory -----------------------------------------------------------------------------------------------------

def _root(array: Array) -> Array:
    """The array at the end of the chain of bases: the one that owns the memory, or stands over a foreign buffer."""
    base = array.base
    while base is not None:
        if hasattr(base, "strides") and hasattr(base, "dtype"):
            array = base
        elif not hasattr(base, "__array_interface__"):      # as_strided puts such an object between two arrays
            break
        base = getattr(base, "base", None)
    return array


def _span(array: Array) -> tuple[int, int]:
    """How far the elements reach below and above the first one, in bytes."""
    if array.size == 0:
        return 0, 0
    reaches = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
    return sum(r for r in reaches if r < 0), sum(r for r in reaches if r > 0) + array.dtype.itemsize


def _address(array: Array) -> int:
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    if hasattr(array, "level"):
        raise NotBatched("vmap: Cannot access the storage of a tensor that is batched")
    return int(array.data.ptr)


def _device_of(array: Array) -> device:
    if hasattr(array, "level"):
        raise NotBatched("vmap: Cannot access the storage of a tensor that is batched")
    if isinstance(array, np.ndarray):
        return CPU
    where = array.device
    return where if where.__class__ is device else device("cuda", where.id)


def _flat(root: Array) -> Array:
    """All the memory of a root as one vector of bytes (a view)."""
    if root.size == 0:
        return root.reshape(-1).view(np.uint8)
    low, high = _span(root)
    first = root[tuple(slice(0, 1) if stride >= 0 else slice(size - 1, size) for size, stride in zip(root.shape, root.strides,
                                                                                                     strict=True))]
    return strided(first.reshape(1).view(np.uint8), (high - low,), (1,))


_living: WeakValueDictionary[int, UntypedStorage] = WeakValueDictionary()     # by id(root)


def storage_of(array: Array) -> UntypedStorage:
    """The storage under an array; views of the same memory give the same object."""
    root = _root(array)
    found = _living.get(id(root))
    if found is None:
        found = _living.setdefault(id(root), UntypedStorage._over(root))
    return found


def untyped_storage(t: Tensor) -> UntypedStorage:
    """``t.untyped_storage()``."""
    return storage_of(t._a)


def storage_offset(array: Array) -> int:
    """Where the first element of `array` lies in its storage, counted in elements."""
    root = _root(array)
    return (_address(array) - _address(root) - _span(root)[0]) // array.dtype.itemsize


def array_over(storage: UntypedStorage, dtype: _dtype.dtype, offset: int, size: Sequence[int], stride: Sequence[int]) -> Array:
    """The array of this dtype, size and stride (in elements) at `offset` in a storage. RuntimeError where it would not fit."""
    size, stride, item = tuple(size), tuple(stride), dtype.itemsize
    if len(size) != len(stride) or offset < 0 or any(n < 0 for n in size) or any(step < 0 for step in stride):
        raise RuntimeError(f"setStorage: size {list(size)}, stride {list(stride)}, storage offset {offset}: "
                           "there must be one stride per dimension and nothing may be negative")
    if 0 in size:
        return _flat_bytes(storage, 0, 0).view(dtype.np).reshape(size)
    need = (offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1) * item
    if need > storage.nbytes():
        raise RuntimeError(f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize {item} "
                           f"requiring a storage size of {need} are out of bounds for storage of size {storage.nbytes()}")
    flat = _flat_bytes(storage, offset * item, need)
    strides = tuple(step * item for step in stride)
    if isinstance(flat, np.ndarray):
        if flat.flags.aligned and (_address(flat) % min(item, 8)) == 0:
            return np.ndarray(size, dtype.np, buffer=flat, strides=strides)
        raise RuntimeError(f"the memory of the storage is not aligned for {dtype}: clone it first")
    return flat.strided(size, strides, dtype=dtype.np)


def _flat_bytes(storage: UntypedStorage, start: int, stop: int) -> Array:
    return _flat(storage._array)[start:stop]


def map_file(filename: str, shared: bool, nbytes: int) -> Any:
    """A vector of bytes over a file: the file's own memory if shared, else a private copy of each page that is written."""
    if shared:
        with open(filename, "ab") as file:
            if file.tell() < nbytes:
                file.truncate(nbytes)
    try:
        size = os.stat(filename).st_size
    except OSError as error:
        raise RuntimeError(f"unable to open file <{filename}> in {'read-write' if shared else 'read-only'} mode: {error.strerror} "
                           f"({error.errno})") from None
    if size < nbytes:
        raise RuntimeError(f"file <{filename}> size <{size}> is smaller than the required mapping size <{nbytes}>")
    return np.asarray(np.memmap(filename, np.uint8, "r+" if shared else "c", shape=(nbytes,))) if nbytes else np.empty(0, np.uint8)


# --- untyped -------------------------------------------------------------------------------------------------------------------------

class UntypedStorage:
    """A block of bytes: ``UntypedStorage(5)`` (uninitialised), ``UntypedStorage([1, 2])``, or what ``t.untyped_storage()`` returns."""

    __slots__ = ("_array", "_device", "_size", "__dict__", "__weakref__")

    is_sparse = is_sparse_csr = False

    def __init__(self, source: int | Sequence[int] = 0, *, device: device | str | None = None) -> None:
        where = resolve(_as_device(device))
        if isinstance(source, int):
            if source < 0:
                raise RuntimeError(f"UntypedStorage(): the size must not be negative, got {source}")
            array = kind_of(_dtype.uint8, where).xp.empty(source, np.uint8)
        elif hasattr(source, "__len__") and not isinstance(source, str):
            array = kind_of(_dtype.uint8, where).xp.asarray(np.array(source, dtype=np.uint8))
        else:
            raise TypeError(f"UntypedStorage(): expected a size or a sequence of bytes, got {type(source).__name__}")
        self._array, self._device, self._size = array, where, array.size
        _living[id(array)] = self

    @classmethod
    def _over(cls, root: Array) -> UntypedStorage:
        self = cls.__new__(cls)
        low, high = _span(root)
        self._array, self._device, self._size = root, _device_of(root), high - low
        return self

    @classmethod
    def from_buffer(cls, buffer: Any, count: int = -1, offset: int = 0, **kwargs: Any) -> UntypedStorage:
        """A copy of `count` bytes of a buffer from `offset` on."""
        if kwargs:
            raise NotImplementedError(f"UntypedStorage.from_buffer({', '.join(kwargs)}=...): byte order and dtype are not taken; "
                                      "use numpy.frombuffer and torch.from_numpy")
        return storage_of(np.frombuffer(buffer, np.uint8, count, offset).copy())

    @property
    def _bytes(self) -> Array:
        """The memory as a vector of uint8."""
        if self._device.type == "meta":
            raise NotImplementedError("Not available for 'meta' device type")
        return _flat(self._array)

    @property
    def device(self) -> device:
        return self._device

    @property
    def is_cuda(self) -> bool:
        return self._device.type == "cuda"

    @property
    def filename(self) -> None:
        """Storages are not backed by named files."""
        return None

    @property
    def _cdata(self) -> int:
        return id(self._array)

    def nbytes(self) -> int:
        """The size in bytes."""
        return self._size

    size = nbytes

    def __len__(self) -> int:
        return self._size

    def element_size(self) -> int:
        return 1

    def data_ptr(self) -> int:
        """The address of the first byte (0 on the meta device)."""
        return 0 if self._device.type == "meta" else _address(self._array) + _span(self._array)[0]

    def get_device(self) -> int:
        """The index of the device, -1 for the CPU."""
        return -1 if self._device.index is None else self._device.index

    def untyped(self) -> UntypedStorage:
        return self

    def type(self) -> str:
        return "torch.cuda.UntypedStorage" if self.is_cuda else "torch.storage.UntypedStorage"

    def is_pinned(self, device: Device = "cuda") -> bool:
        """Whether the memory is page-locked: never, for NumPy's memory."""
        return False

    def is_shared(self) -> bool:
        """Whether other processes may see the memory."""
        if self.is_cuda:
            return True
        base = getattr(self._array, "base", None)
        return isinstance(base, (memoryview, mmap))

    def share_memory_(self) -> UntypedStorage:
        """Memory that NumPy has allocated can't become shared in place."""
        if self.is_shared():
            return self
        raise NotImplementedError("UntypedStorage.share_memory_: use Tensor.share_memory_, which moves the tensor")

    def resizable(self) -> bool:
        """Whether `resize_` can work: nothing else may look at the memory."""
        return self._array.base is None and self._users() == 0

    def _users(self) -> int:
        return getrefcount(self._array) - ATTRIBUTE

    def resize_(self, size: int) -> UntypedStorage:
        """Change the size in bytes, keeping the content. RuntimeError while tensors use the memory: NumPy's buffers can't grow in place."""
        if size == self._size:
            return self
        if size < 0:
            raise RuntimeError(f"UntypedStorage.resize_: the size must not be negative, got {size}")
        if not self.resizable():
            raise RuntimeError(f"Trying to resize storage that is not resizable: tensors share its memory (size {self._size}, asked for "
                               f"{size}). Make a new tensor of the wanted size and copy into it.")
        old = self._bytes
        new = kind_of(_dtype.uint8, self._device).xp.empty(size, np.uint8)
        keep = min(size, self._size)
        new[:keep] = old[:keep]
        del _living[id(self._array)]
        self._array, self._size = new, size
        _living[id(new)] = self
        return self

    def new(self) -> UntypedStorage:
        return UntypedStorage(0, device=self._device)

    @staticmethod
    def from_file(filename: str, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first `nbytes` of a file as memory; shared: changes are written to it, and it is made as large as that. RuntimeError where
        it can't."""
        return storage_of(map_file(filename, bool(shared), nbytes))

    def clone(self) -> UntypedStorage:
        """A copy of the memory."""
        return storage_of(self._bytes.copy())

    def copy_(self, source: Any, non_blocking: bool | None = None) -> UntypedStorage:
        """Overwrite the memory with that of a storage of the same size."""
        source = source.untyped()
        if source.nbytes() != self._size:
            raise RuntimeError(f"size does not match, self was {self._size} bytes but src was {source.nbytes()} bytes")
        self._bytes[...] = source.to(device=self._device)._bytes
        return self

    def fill_(self, value: int) -> UntypedStorage:
        self._bytes[...] = value
        return self

    def byteswap(self, dtype: _dtype.dtype) -> None:
        """Swap the byte order of every element (each part of a complex one) in place."""
        width = dtype.to_real().itemsize
        if width > 1:
            self._bytes.view(f"u{width}").byteswap(inplace=True)

    def to(self, *, device: Device, non_blocking: bool = False) -> UntypedStorage:
        """The storage on a device: itself where it is there already, else a copy."""
        where = resolve(_as_device(device))
        if where is self._device:
            return self
        if where.type == "meta":
            return UntypedStorage(self._size, device=where)
        return storage_of(wrap(self._bytes, kind_of(_dtype.uint8, self._device)).to(where)._a)

    def cpu(self) -> UntypedStorage:
        return self.to(device=CPU)

    def cuda(self, device: Device = None, non_blocking: bool = False) -> UntypedStorage:
        return self.to(device="cuda" if device is None else device)

    def tolist(self) -> list[int]:
        """The bytes as ints."""
        return self._bytes.tolist()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            if index.step not in (None, 1):
                raise RuntimeError(f"Trying to slice with a step of {index.step}, but only a step of 1 is supported")
            return storage_of(self._bytes[index].copy())
        return int(self._bytes[_index(index, self._size)])

    def __setitem__(self, index: Any, value: int) -> None:
        self._bytes[index if isinstance(index, slice) else _index(index, self._size)] = value

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> UntypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> UntypedStorage:
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = UntypedStorage(self._size, device=self._device) if self._device.type == "meta" else self.clone()
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduced(self)

    def __repr__(self) -> str:
        return _repr(self, "UntypedStorage", "")


def _as_device(value: device | None) -> device:
    return CPU if value is None else device(value)


def _index(index: Any, size: int) -> int:
    position = index.__index__()
    if not -size <= position < size:
        raise IndexError(f"index {position} out of range for storage of size {size}")
    return position


def _repr(self: Any, name: str, dtype: str) -> str:
    content = "..." if self.device.type == "meta" else "\n ".join(map(str, self.tolist()))
    lead = "" if content == "..." else " "
    return f"{lead}{content}\n[torch.storage.{name}({dtype}device={self.device}) of size {len(self)}]"


def is_storage(obj: object, /) -> bool:
    """Whether `obj` is a storage."""
    return isinstance(obj, (UntypedStorage, TypedStorage))


# --- typed ---------------------------------------------------------------------------------------------------------------------------

def _dtype_to_storage_type_map() -> dict[_dtype.dtype, str]:
    """The names of the old storage classes by their dtypes."""
    names = {"double": "float64", "float": "float32", "half": "float16", "long": "int64", "int": "int32", "short": "int16", "char": "int8",
             "byte": "uint8", "bool": "bool_", "bfloat16": "bfloat16", "complexDouble": "complex128", "complexFloat": "complex64"}
    return {getattr(_dtype, dtype): f"{name[0].upper()}{name[1:]}Storage".replace("Bfloat16", "BFloat16") for name, dtype in names.items()}


def _storage_type_to_dtype_map() -> dict[str, _dtype.dtype]:
    """The dtypes of the old storage classes by their names."""
    return {name: dtype for dtype, name in _dtype_to_storage_type_map().items()}


class TypedStorage:
    """An `UntypedStorage` read as elements of a dtype: ``TypedStorage([1, 2], dtype=torch.float32)``. PyTorch calls these deprecated."""

    __slots__ = ("_untyped_storage", "dtype")

    is_sparse = False

    def __init__(self, source: int = 0, *, dtype: _dtype.dtype | None = None, device: Device = None, wrap_storage: UntypedStorage |
                 None = None, _internal: bool = False) -> None:
        self.dtype = dtype = _dtype.get_default_dtype() if dtype is None else dtype
        if not isinstance(dtype, _dtype.dtype):
            raise TypeError(f"TypedStorage(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
        if wrap_storage is not None:
            if not isinstance(wrap_storage, UntypedStorage):
                raise TypeError(f"TypedStorage(): argument 'wrap_storage' must be UntypedStorage, not {type(wrap_storage).__name__}")
            self._untyped_storage = wrap_storage
        elif isinstance(source, int):
            self._untyped_storage = UntypedStorage(source * dtype.itemsize, device=device)
        else:
            self._untyped_storage = storage_of(np.array(source, dtype=dtype.np)).to(device=_as_device(device))

    @property
    def _cdata(self) -> int:
        return self._untyped_storage._cdata

    @property
    def _elements(self) -> Any:
        whole = self._size() * self.dtype.itemsize
        return self._untyped_storage._bytes[:whole].view(self.dtype.np)

    @property
    def device(self) -> device:
        return self._untyped_storage.device

    @property
    def is_cuda(self) -> bool:
        return self._untyped_storage.is_cuda

    def _size(self) -> int:
        return self._untyped_storage.nbytes() // self.dtype.itemsize

    size = __len__ = _size

    def nbytes(self) -> int:
        return self._untyped_storage.nbytes()

    def element_size(self) -> int:
        return self.dtype.itemsize

    def data_ptr(self) -> int:
        return self._untyped_storage.data_ptr()

    def get_device(self) -> int:
        return self._untyped_storage.get_device()

    def untyped(self) -> UntypedStorage:
        return self._untyped_storage

    def is_shared(self) -> bool:
        return self._untyped_storage.is_shared()

    def is_pinned(self, device: Device = "cuda") -> bool:
        return self._untyped_storage.is_pinned()

    def pickle_storage_type(self) -> str:
        """The name under which files know this dtype, e.g. FloatStorage."""
        return storage_name(self.dtype)

    def type(self, dtype: Dtype = None) -> Any:
        """``type()`` names the legacy class; ``type(dtype)`` converts."""
        if dtype is None:
            return ("torch.cuda." if self.is_cuda else "torch.") + storage_name(self.dtype)
        return self._converted(dtype)

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        return self._elements.tolist()

    def clone(self) -> TypedStorage:
        return TypedStorage(wrap_storage=self._untyped_storage.clone(), dtype=self.dtype)

    def copy_(self, source: Any, non_blocking: bool | None = None) -> TypedStorage:
        """Overwrite the elements with those of a typed storage of the same length, converted."""
        if len(source) != len(self):
            raise RuntimeError(f"size does not match, self has {len(self)} elements but src has {len(source)}")
        self._elements[...] = source._elements
        return self

    def fill_(self, value: Any) -> TypedStorage:
        self._elements[...] = value
        return self

    def resizable(self) -> bool:
        """Whether `resize_` can work."""
        return self._untyped_storage.resizable()

    def resize_(self, size: int) -> TypedStorage:
        self._untyped_storage.resize_(size * self.dtype.itemsize)
        return self

    def cpu(self) -> TypedStorage:
        return self.to(device=CPU)

    def cuda(self, device: Device = None, non_blocking: bool = False) -> TypedStorage:
        return self.to(device="cuda" if device is None else device)

    def to(self, *, device: Device, non_blocking: bool = False) -> TypedStorage:
        moved = self._untyped_storage.to(device=device)
        return self if moved is self._untyped_storage else TypedStorage(wrap_storage=moved, dtype=self.dtype)

    def _converted(self, dtype: _dtype.dtype) -> TypedStorage:
        if dtype is self.dtype:
            return self
        return TypedStorage(wrap_storage=storage_of(self._elements.astype(dtype.np)), dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._elements[_index(index, len(self))].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements[index if isinstance(index, slice) else _index(index, len(self))] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedStorage) and (self._untyped_storage, self.dtype) == (other._untyped_storage, other.dtype)

    def __hash__(self) -> int:
        return hash(self._untyped_storage)

    def __copy__(self) -> TypedStorage:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> TypedStorage:
        return TypedStorage(wrap_storage=self._untyped_storage.__deepcopy__(memo), dtype=self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduced(self)

    def __repr__(self) -> str:
        return _repr(self, "TypedStorage", f"dtype={self.dtype}, ")


def _reduced(storage: UntypedStorage | TypedStorage) -> tuple[Any, ...]:
    """A storage in a plain pickle: PyTorch's form, a call with the bytes of a file of its own."""
    from io import BytesIO
    file = BytesIO()
    services.save_file(storage, file, _use_new_zipfile_serialization=False)
    return _load_from_bytes, (file.getvalue(),)


def _load_from_bytes(content: bytes) -> TypedStorage:
    """The storage that a plain pickle holds (it runs what it is told to, as every pickle does)."""
    from io import BytesIO
    return services.load_file(BytesIO(content), weights_only=False)


# The names of the classes that files and old programs use, by dtype.
_NAMES = {"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
          "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
          "BoolStorage": "bool", "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64"}
_BY_DTYPE = {_dtype.DTYPES[name]: storage for storage, name in _NAMES.items()}


def storage_name(dtype: _dtype.dtype) -> str:
    """FloatStorage for float32 etc.; KeyError for dtypes that have no such class (uint16, float8, ...)."""
    return _BY_DTYPE[dtype]


class _Legacy(type):
    """The type of ``torch.FloatStorage`` and its like: calling one makes a TypedStorage, isinstance looks at the dtype."""

    dtype: _dtype.dtype

    def __call__(cls, source: Any = 0, *, device: Device = None, wrap_storage: UntypedStorage | None = None) -> TypedStorage:
        return TypedStorage(source, dtype=cls.dtype, device=device, wrap_storage=wrap_storage)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls.dtype and instance.device.type == "cpu"


def _conversion(dtype: _dtype.dtype) -> tuple[Callable[[Any], TypedStorage], Callable[[Any], TypedStorage]]:
    def typed(self: TypedStorage) -> TypedStorage:
        return self._converted(dtype)

    def untyped(self: UntypedStorage) -> TypedStorage:
        elements = self._bytes.astype(dtype.np)
        return TypedStorage(wrap_storage=storage_of(elements), dtype=dtype)

    return typed, untyped


LEGACY_STORAGES: dict[str, type] = {}
for _name, _dtype_name in _NAMES.items():
    LEGACY_STORAGES[_name] = _Legacy(_name, (), {"dtype": _dtype.DTYPES[_dtype_name], "__module__": "torch",
                                                 "__doc__": f"Makes a TypedStorage of {_dtype_name} (kept for old programs)."})
    _method = {"BFloat16": "bfloat16", "ComplexDouble": "complex_double", "ComplexFloat": "complex_float"}.get(_name[:-7],
                                                                                                               _name[:-7].lower())
    for _class, _function in zip((TypedStorage, UntypedStorage), _conversion(_dtype.DTYPES[_dtype_name]), strict=True):
        setattr(_class, _method, _function)

globals().update(LEGACY_STORAGES)      # torch.FloatStorage and its like
