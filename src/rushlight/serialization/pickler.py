"""Writing objects as pickles that PyTorch reads: tensors by their storages, our classes under PyTorch's names."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from types import FunctionType
from typing import Any, BinaryIO

from .. import dtypes as _dtype
from .._utils import _get_layout
from ..layout import layout
from ..storage import LEGACY_STORAGES, TypedStorage, UntypedStorage, storage_name
from ..tensor import Tensor
from ..vocabulary import Function
from .locations import location_tag
from .names import torch_name
from .pickling import reduce_tensor

__all__ = ["StoragePickler"]

_ATOMS = frozenset((int, float, bool, type(None)))
_PLAIN = frozenset((str, tuple, list, dict, OrderedDict, bytes))


class StoragePickler(pickle._Pickler):
    """A pickler that leaves the storages out, collecting them in `storages` (key -> storage) for the caller to write.

    The Python form of the standard pickler is used since only there the name under which a global is written can be chosen.
    `key_of` gives the key of the n-th new storage; `legacy` adds the field that the old format has for views of storages.
    """

    # what the standard class has, and typeshed does not tell
    proto: int
    framer: Any
    write: Callable[[bytes], Any]
    memoize: Callable[[Any], None]

    dispatch = dict(pickle._Pickler.dispatch)

    def __init__(self, file: BinaryIO | Any, protocol: int, key_of: Callable[[UntypedStorage, int], str], legacy: bool = False) -> None:
        super().__init__(file, protocol)
        self.storages: dict[str, UntypedStorage] = {}
        self._keys: dict[UntypedStorage, str] = {}
        self._dtypes: dict[UntypedStorage, _dtype.dtype] = {}
        self._key_of, self._legacy = key_of, legacy

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        # The standard method asks all hooks about each number; here numbers and the like go straight to where it would send them.
        if type(obj) in _ATOMS:
            self.framer.commit_frame()
            self.dispatch[type(obj)](self, obj)
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        if type(obj) in _PLAIN:
            return None
        if isinstance(obj, TypedStorage):
            storage, dtype = obj.untyped(), obj.dtype
            cls, count = LEGACY_STORAGES[storage_name(dtype)], len(obj)
        elif isinstance(obj, UntypedStorage):
            storage, dtype, cls, count = obj, _dtype.uint8, UntypedStorage, len(obj)
        else:
            return None
        if self._dtypes.setdefault(storage, dtype) is not dtype:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as different types "
                               f"({self._dtypes[storage]} and {dtype}): clone() one of them first")
        key = self._keys.get(storage)
        if key is None:
            key = self._keys[storage] = self._key_of(storage, len(self.storages))
            self.storages[key] = storage
        found = ("storage", cls, key, location_tag(storage), count)
        return (*found, None) if self._legacy else found

    def item_size(self, storage: UntypedStorage) -> int:
        """Bytes per element of a collected storage."""
        return self._dtypes[storage].itemsize

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in _PLAIN:
            return NotImplemented
        if isinstance(obj, Tensor):
            return reduce_tensor(obj) if type(obj).__reduce_ex__ is Tensor.__reduce_ex__ else NotImplemented
        if isinstance(obj, _dtype.dtype):
            return obj.name
        if isinstance(obj, layout):
            return _get_layout, (repr(obj),)
        return NotImplemented

    def save_global(self, obj: Function | type[Any], name: str | None = None) -> None:
        named = torch_name(obj, name)
        if named is None:
            super().save_global(obj, name)
            return
        module, name = named
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii" if self.proto < 3 else "utf-8"))
        self.memoize(obj)

    dispatch[FunctionType] = save_global
