"""``torch.save`` and ``torch.load``: PyTorch's own file formats, read and written.

A file is a zip archive: ``data.pkl`` is the pickled object without the tensors' memory, ``data/<key>`` the memory of one storage.
Storages that tensors share are written once and shared again after loading.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from enum import Enum
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .. import services
from .._utils import _get_layout
from ..devices import device
from ..dtypes import bool_
from ..storage import TypedStorage, UntypedStorage, storage_of
from . import archive
from .archive import ArchiveReader, ArchiveWriter, whole_file
from .locations import Restore, default_restore_location, location_tag, register_package, restorer
from .pickler import StoragePickler
from .unpickler import (
    RestrictedUnpickler,
    add_safe_globals,
    bytes_left,
    clear_safe_globals,
    element_type,
    get_safe_globals,
    refused,
    safe_globals,
    storage_description,
    trusting_unpickler,
    unsafe_globals,
)

if TYPE_CHECKING:
    from ..distributions.constraints import Constraint

__all__ = ["LoadEndianness", "add_safe_globals", "clear_safe_globals", "default_restore_location", "get_default_load_endianness",
           "get_default_mmap_options", "get_safe_globals", "get_unsafe_globals_in_checkpoint", "load", "location_tag", "register_package",
           "get_crc32_options", "safe_globals", "save", "set_crc32_options", "set_default_load_endianness", "set_default_mmap_options"]

FileLike = str | os.PathLike[str] | IO[bytes]
MapLocation = Callable[[UntypedStorage, str], UntypedStorage | None] | device | str | dict[str, str] | None

# PyTorch's names for the two, which libraries annotate with.
FILE_LIKE, MAP_LOCATION = FileLike, MapLocation
# Reads a pickle from a file with a function for its storages.
Unpickle = Callable[[Any, Callable[[Any], Any]], Any]
DEFAULT_PROTOCOL = 2
_BLOCK = 1 << 16
MAP_SHARED, MAP_PRIVATE = 1, 2
_MMAP_FLAGS = [MAP_PRIVATE]


class LoadEndianness(Enum):
    """The byte order that `load` assumes in files that don't name theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


_ENDIANNESS: list[LoadEndianness | None] = [None]


def get_default_load_endianness() -> LoadEndianness | None:
    """What `set_default_load_endianness` has set; None means the machine's."""
    return _ENDIANNESS[0]


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """The byte order to assume in files without a byteorder record (written before PyTorch 2.1)."""
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError(f"set_default_load_endianness(): expected a LoadEndianness, got {type(endianness).__name__}")
    _ENDIANNESS[0] = endianness


def get_default_mmap_options() -> int:
    """How ``load(mmap=True)`` maps files: ``mmap.MAP_PRIVATE`` (changes stay in memory) or ``mmap.MAP_SHARED`` (they go to the file)."""
    return _MMAP_FLAGS[0]


class set_default_mmap_options:
    """Choose between ``mmap.MAP_PRIVATE`` and ``mmap.MAP_SHARED`` from now on, or for a ``with`` block.

    Changes made through a shared mapping don't update the file's checksums: such a file loads with ``mmap=True`` only.
    """

    def __init__(self, flags: int) -> None:
        if flags not in (MAP_PRIVATE, MAP_SHARED):
            raise ValueError(f"Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, got "
                             f"{flags}")
        self._before, _MMAP_FLAGS[0] = _MMAP_FLAGS[0], int(flags)

    def __enter__(self) -> None:
        """The option is set already."""

    def __exit__(self, *exception: object) -> None:
        _MMAP_FLAGS[0] = self._before


def get_crc32_options() -> bool:
    """What `set_crc32_options` has set."""
    return archive.CHECKSUMS[0]


def set_crc32_options(compute_crc32: bool) -> None:
    """Whether `save` writes the records' checksums: without them `load` can't notice damage, and zipfile doesn't unpack the files."""
    archive.CHECKSUMS[0] = bool(compute_crc32)


# --- save ----------------------------------------------------------------------------------------------------------------------------

@services.save_file.given
def save(obj: object, f: FileLike, pickle_module: Any = pickle, pickle_protocol: int = DEFAULT_PROTOCOL,
         _use_new_zipfile_serialization: bool = True, _disable_byteorder_record: bool = False) -> None:
    """Write an object with its tensors to a path or a file-like object, in the form that PyTorch reads.

    A path gets its new content all at once, when everything is written; if something fails its old content stays.
    """
    if pickle_module is not pickle:
        raise NotImplementedError(f"save(pickle_module={getattr(pickle_module, '__name__', pickle_module)!r}): only the standard pickle "
                                  "module can write PyTorch's names; make the object picklable instead")
    if not isinstance(pickle_protocol, int) or not 2 <= pickle_protocol <= pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"save(): pickle_protocol must be between 2 and {pickle.HIGHEST_PROTOCOL}, got {pickle_protocol!r}")
    if not isinstance(f, (str, os.PathLike)) and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    if not _use_new_zipfile_serialization:
        from .legacy import legacy_save
        with for_writing(f) as file:
            legacy_save(obj, file, pickle_protocol)
        return
    content = BytesIO()
    pickler = StoragePickler(content, pickle_protocol, lambda storage, count: str(count))
    pickler.dump(obj)
    with for_writing(f) as file, ArchiveWriter(file, archive_name(f)) as archive:
        archive.write("data.pkl", content.getbuffer())
        archive.write(".format_version", b"1")
        archive.write(".storage_alignment", b"64")
        if not _disable_byteorder_record:
            archive.write("byteorder", sys.byteorder.encode())
        for key, storage in pickler.storages.items():
            archive.write(f"data/{key}", storage.cpu()._bytes)
        archive.write("version", b"3\n")


@contextmanager
def for_writing(f: FileLike) -> Any:
    """A file for writing, from a path (whole or not at all) or a file-like object."""
    if isinstance(f, (str, os.PathLike)):
        with whole_file(os.fspath(f)) as file:
            yield file
    else:
        yield f
        if hasattr(f, "flush"):
            f.flush()


def archive_name(f: FileLike) -> str:
    """The folder inside the archive: named like the file, as PyTorch does."""
    if not isinstance(f, (str, os.PathLike)):
        return "archive"
    return os.path.splitext(os.path.basename(os.fspath(f)))[0]


# --- load ----------------------------------------------------------------------------------------------------------------------------

@services.load_file.given
def load(f: FileLike, map_location: MapLocation = None, pickle_module: Any = None, *, weights_only: bool | None = None,
         mmap: bool | None = None, **pickle_load_args: Any) -> TypedStorage:
    """Read what `save` (or PyTorch) wrote, from a path or a file-like object that can seek.

    map_location  where the storages go instead of their own device: a device, its name, a dict of names, or a function of
                  (storage on the cpu, name of its place) that returns a storage or None
    weights_only  True (the default): nothing but tensors, containers and plain values; anything else is an UnpicklingError that
                  names it. False: any object. The file can then run any code, so only for files you trust.
    mmap          leave the storages in the file (a path) until they are used

    RuntimeError where the file is damaged.
    """
    careful = _weights_only(weights_only, pickle_module)

    def unpickle(source: Constraint, persistent_load: Callable[[Any], Any]) -> Any:
        if not careful:
            return trusting_unpickler(source, persistent_load, pickle_module or pickle, **pickle_load_args).load()
        return _careful(RestrictedUnpickler(source, persistent_load, **pickle_load_args))
    return _read(f, restorer(map_location), unpickle, bool(mmap))


def load_instances(f: FileLike, map_location: MapLocation, classes: Callable[[str, str], Any]) -> Any:
    """`load` with weights_only=True that also makes instances of the classes which ``classes(module, name)`` gives (it raises for the
    others)."""
    return _read(f, restorer(map_location), lambda source, persistent_load: _careful(RestrictedUnpickler(source, persistent_load,
                                                                                                         classes=classes)))


def _careful(unpickler: RestrictedUnpickler) -> Any:
    try:
        return unpickler.load()
    except pickle.UnpicklingError as error:
        raise refused(error) from None


def _read(f: FileLike, restore: Restore, unpickle: Unpickle, mmap: bool = False) -> TypedStorage:
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _load(file, restore, unpickle, mmap)
    if mmap:
        raise ValueError("f must be a file path in order to use the mmap argument")
    for attribute in ("seek", "tell", "read", "readline"):
        if not hasattr(f, attribute):
            raise AttributeError(f"'{type(f).__name__}' object has no attribute '{attribute}'. You can only torch.load from a file that is "
                                 "seekable. Please pre-load the data into a buffer like io.BytesIO and try to load from it instead.")
    return _load(f, restore, unpickle, False)


def _weights_only(weights_only: bool | None, pickle_module: Any) -> bool:
    """The argument, or what the environment says, or the default: True unless the caller brings a pickle module."""
    on, off = (os.environ.get(name, "").lower() in ("1", "y", "yes", "true")
               for name in ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"))
    if on and off:
        raise RuntimeError("Only one of TORCH_FORCE_WEIGHTS_ONLY_LOAD or TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD should be set, but both were "
                           "set.")
    if on:
        weights_only = True
    elif weights_only is None:
        weights_only = pickle_module is None and not off
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    return bool(weights_only)


def _load(file: Any, restore: Restore, unpickle: Unpickle, mmap: bool) -> TypedStorage:
    start = file.tell()
    magic = file.read(4)
    file.seek(start)
    if not magic:
        raise EOFError("Ran out of input: the file is empty")

    if magic == b"PK\x03\x04":
        return _load_archive(file, restore, unpickle, mmap)
    if mmap:
        raise RuntimeError("mmap can only be used with files saved with `torch.save(_use_new_zipfile_serialization=True), please "
                           "torch.save your checkpoint with this option in order to use mmap.")
    from .legacy import legacy_load
    bounded = _Bounded(file)
    return legacy_load(bounded, restore, lambda persistent_load: unpickle(bounded, persistent_load))


class _Bounded:
    """A file that is never asked for more bytes than it has, since it might make room for them first."""

    def __init__(self, file: Any) -> None:
        self._file, self.readline, self.seek, self.tell = file, file.readline, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        return self._file.read(min(size, bytes_left(self._file)) if size > _BLOCK else size)


def _load_archive(file: BinaryIO, restore: Restore, unpickle: Unpickle, mmap: bool) -> Any:
    archive = ArchiveReader(file)
    if archive.has("constants.pkl"):
        raise RuntimeError("the file is a TorchScript archive (torch.jit.save): read it with torch.jit.load")
    memory = _mapped(file) if mmap else None
    return unpickle(BytesIO(archive.read("data.pkl")), persistent_loader(archive, restore, memory))


def persistent_loader(archive: ArchiveReader, restore: Restore, memory: Any = None, folder: str = "data") -> Callable[[Any], Any]:
    """The function that finds the storages which a pickle of an archive names: in the records of `folder`, read or (`memory`) mapped."""
    swap = _is_foreign(archive)
    storages: dict[str, UntypedStorage] = {}

    def persistent_load(saved_id: Any) -> Any:
        cls, key, location, count = storage_description(saved_id, 5)
        dtype, record = element_type(cls), f"{folder}/{key}"
        if key not in storages:
            content = storage_of(archive.array(record) if memory is None else archive.mapped(record, memory))
            if content.nbytes() != count * dtype.itemsize:
                raise RuntimeError(f"the storage {key} has {content.nbytes()} bytes where {count * dtype.itemsize} were expected; corrupt "
                                   "file?")
            if dtype is bool_ and memory is None:          # whatever the file holds, a bool is 0 or 1
                np.minimum(content._bytes, 1, out=content._bytes)
            if swap:
                if cls is UntypedStorage:
                    raise RuntimeError(f"the storage {key} has another byte order than this machine, and its element type is not known")
                content.byteswap(dtype)
            storages[key] = restore(content, location)
        return storages[key] if cls is UntypedStorage else TypedStorage(wrap_storage=storages[key], dtype=dtype)

    return persistent_load


def _is_foreign(archive: ArchiveReader) -> bool:
    """Whether the file has the other byte order than this machine."""
    if archive.has("byteorder"):
        order = archive.read("byteorder").decode("ascii", "replace")
        if order not in ("little", "big"):
            raise RuntimeError(f"Unknown endianness type: {order}")
        return order != sys.byteorder
    assumed = _ENDIANNESS[0]
    return assumed not in (None, LoadEndianness.NATIVE) and assumed.name.lower() != sys.byteorder


def _mapped(file: BinaryIO) -> Any:
    from mmap import ACCESS_COPY, ACCESS_WRITE, mmap
    if _MMAP_FLAGS[0] == MAP_PRIVATE:
        return mmap(file.fileno(), 0, access=ACCESS_COPY)
    with open(file.name, "r+b") as writable:
        return mmap(writable.fileno(), 0, access=ACCESS_WRITE)


def get_unsafe_globals_in_checkpoint(f: FileLike) -> list[str]:
    """The classes and functions in a file that ``load(weights_only=True)`` would refuse (see `add_safe_globals`)."""
    with open(f, "rb") if isinstance(f, (str, os.PathLike)) else nullcontext(f) as file:
        return unsafe_globals(ArchiveReader(file).read("data.pkl"))
