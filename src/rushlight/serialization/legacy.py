"""The format that PyTorch wrote before 1.6: five pickles one after the other, then the storages' raw bytes.

The pickles: a magic number, the protocol version, what kind of machine wrote it, the object, and the keys of the storages in the
order in which their content follows (each as a 64-bit count of elements and the elements).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from .. import dtypes as _dtype
from .._utils import sparse_tensors_later
from ..storage import TypedStorage, UntypedStorage, storage_of
from .archive import _fill
from .locations import Restore
from .pickler import StoragePickler
from .unpickler import as_text, bytes_left, element_type, storage_description

__all__ = ["legacy_load", "legacy_save"]

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_MACHINE = {"protocol_version": _VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def legacy_save(obj: Any, file: BinaryIO, protocol: int) -> None:
    """Write an object in the old format."""
    for header in (_MAGIC, _VERSION, _MACHINE):
        pickle.dump(header, file, protocol=protocol)
    pickler = StoragePickler(file, protocol, lambda storage, _: str(storage._cdata), legacy=True)
    pickler.dump(obj)
    keys = sorted(pickler.storages)
    pickle.dump(keys, file, protocol=protocol)
    file.flush()
    for key in keys:
        storage = pickler.storages[key]
        file.write((storage.nbytes() // pickler.item_size(storage)).to_bytes(8, "little"))
        file.write(storage.cpu()._bytes.tobytes())


def legacy_load(file: BinaryIO, restore: Restore, read_pickle: Callable[[Callable[[Any], Any]], Any]) -> TypedStorage:
    """Read an object in the old format; ``read_pickle(persistent_load)`` reads the next pickle of the file."""
    if read_pickle(_no_storage) != _MAGIC:
        raise RuntimeError("Invalid magic number; corrupt file?")
    version = read_pickle(_no_storage)
    if version != _VERSION:
        raise RuntimeError("Invalid protocol version; corrupt file?")
    machine = read_pickle(_no_storage)
    storages: dict[str, tuple[UntypedStorage, _dtype.dtype, UntypedStorage]] = {}
    room = bytes_left(file)             # what the storages' contents can have at most

    def persistent_load(saved_id: tuple[Any, ...]) -> Any:
        if isinstance(saved_id, tuple) and len(saved_id) > 1 and saved_id[0] == "module":
            return saved_id[1]              # the class of a module, beside its source text
        cls, key, location, count, view = storage_description(saved_id, 6)
        dtype = element_type(cls)
        if key not in storages:
            nonlocal room
            room -= count * dtype.itemsize
            if room < 0:
                raise RuntimeError("the storages that the file names are larger than the file; corrupt file?")
            content = UntypedStorage(count * dtype.itemsize)
            storages[key] = content, dtype, restore(content, location)
        found = storages[key][2]
        if view is not None:
            if not isinstance(view, tuple) or len(view) != 3 or not all(isinstance(n, int) and n >= 0 for n in view[1:]):
                raise RuntimeError("a view of a storage is a key, an offset and a size; corrupt file?")
            offset, size = view[1] * dtype.itemsize, view[2] * dtype.itemsize
            found = storage_of(found._bytes[offset:offset + size])
        return found if cls is UntypedStorage else TypedStorage(wrap_storage=found, dtype=dtype)

    with sparse_tensors_later():        # the indices are in the contents, which follow
        result = read_pickle(persistent_load)
        _read_contents(file, read_pickle, storages, machine)
    return result


def _read_contents(file: BinaryIO, read_pickle: Callable[[Callable[[Any], Any]], Any], storages: dict[str, Any],
                   machine: dict[Any, Any]) -> None:
    """Fill the storages that a pickle has named with what follows it."""
    keys = read_pickle(_no_storage)
    keys = [as_text(key) for key in keys] if isinstance(keys, list) else keys
    if (not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages) or
        len(keys) != len(storages)):
        raise RuntimeError("the storages that the file holds are not those that it names; corrupt file?")
    for key in keys:
        content, dtype, placed = storages[key]
        _read_content(file, content, dtype, machine)
        if placed is not content and placed.device.type != "meta":
            placed.copy_(content)


def _read_content(file: BinaryIO, content: UntypedStorage, dtype: _dtype.dtype, machine: dict[Any, Any]) -> None:
    header = file.read(8)
    little = not isinstance(machine, dict) or machine.get("little_endian", True)
    count = int.from_bytes(header, "little" if little else "big")
    if len(header) != 8 or count * dtype.itemsize != content.nbytes():
        raise RuntimeError(f"storage has wrong byte size: expected {content.nbytes()} got {count * dtype.itemsize}; corrupt file?")
    buffer = np.empty(content.nbytes(), np.uint8)
    if _fill(file, buffer) != buffer.size:
        raise RuntimeError(f"unexpected EOF, expected {buffer.size} bytes of a storage. The file might be corrupted.")
    content._bytes[...] = buffer if dtype is not _dtype.bool_ else buffer != 0
    if not little:
        content.byteswap(dtype)


def _no_storage(saved_id: Any) -> Any:
    raise pickle.UnpicklingError("a storage where the header of the file was expected")
