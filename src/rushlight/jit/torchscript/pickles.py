"""The pickle of a module in a TorchScript archive, written by the types that the module's classes declare."""

from __future__ import annotations

import enum
import struct
from typing import Any

from ...devices import device
from ...serialization.locations import location_tag
from ...storage import LEGACY_STORAGES, UntypedStorage, storage_name
from ...tensor import Tensor
from .values import Holder, ScriptClass, Type

__all__ = ["ModulePickler"]

_LISTS = {"int": "int", "Tensor": "tensor", "float": "double", "bool": "bool", "complex": "complex"}


class ModulePickler:
    """Writes protocol 2 as PyTorch's own writer does, and collects the storages of tensors by the keys that it gives them.

    The standard pickler would ask Python for the classes, which exist in the archive's text alone.
    """

    def __init__(self) -> None:
        self.storages: dict[str, UntypedStorage] = {}
        self._keys: dict[UntypedStorage, str] = {}
        self._memo: dict[int, int] = {}
        self._out: list[bytes] = []

    def dumps(self, module: Any) -> bytes:
        """The pickle."""
        self._out = [b"\x80\x02"]
        self._holder(module)
        self._out.append(b".")
        return b"".join(self._out)

    def _global(self, module: str, name: str) -> None:
        self._out.append(b"c" + f"{module}\n{name}\n".encode())

    def _text(self, text: str) -> None:
        content = text.encode("utf-8", "surrogatepass")
        self._out.append(b"X" + struct.pack("<I", len(content)) + content)

    def _holder(self, value: Any) -> None:
        cls: ScriptClass = value._class
        module, _, name = cls.name.rpartition(".")
        self._global(module, name)
        self._out.append(b")\x81}(")
        for attribute, kind in cls.attributes.items():
            self._text(attribute)
            try:
                self.value(value._read(attribute), kind)
            except _Unwritable as error:
                raise RuntimeError(f"torch.jit.save: the attribute {attribute} of {cls.name} is {error}, which is no {kind}") from None
        self._out.append(b"ub")

    def value(self, value: Any, kind: Type) -> None:
        """A value of a type."""
        if kind.name == "Optional" and value is not None:
            kind = kind.args[0]
        if isinstance(value, Holder):
            self._holder(value)
        elif isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, (list, dict)):
            self._container(value, kind)
        elif isinstance(value, tuple):
            self._tuple(value, kind)
        elif isinstance(value, enum.Enum):
            module, _, name = type(value)._script_name.rpartition(".")  # type: ignore[attr-defined]
            self._global(module, name)
            self.value(value.value, Type("Any", (), "Any"))
            self._out.append(b"R")
        else:
            self._atom(value)

    def _atom(self, value: Any) -> None:
        if value is None or isinstance(value, bool):
            self._out.append(b"N" if value is None else b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            self._integer(value)
        elif isinstance(value, float):
            self._out.append(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            self._text(value)
        elif isinstance(value, complex):
            self._global("builtins", "complex")
            self._out.append(b"G" + struct.pack(">d", value.real) + b"G" + struct.pack(">d", value.imag) + b"\x86R")
        elif isinstance(value, device):
            self._global("torch", "device")
            self._text(str(value))
            self._out.append(b"\x85R")
        else:
            raise _Unwritable(f"a {type(value).__name__}")

    def _integer(self, value: int) -> None:
        if -2**31 <= value < 2**31:
            self._out.append(b"J" + struct.pack("<i", value))
        elif -2**63 <= value < 2**63:
            self._out.append(b"\x8a\x08" + struct.pack("<q", value))
        else:
            raise _Unwritable("an integer of more than 64 bits")

    def _container(self, value: Any, kind: Type) -> None:
        parts = kind.args or (Type("Any", (), "Any"),) * 2
        special = _LISTS.get(parts[0].name) if isinstance(value, list) else None
        self._global("torch.jit._pickle", f"build_{special}list" if special else "restore_type_tag")
        if isinstance(value, list):
            self._out.append(b"(](" if special else b"](")
            for each in value:
                self.value(each, parts[0])
            self._out.append(b"e")
        else:
            self._out.append(b"}(")
            for key, each in value.items():
                self.value(key, parts[0])
                self.value(each, parts[-1])
            self._out.append(b"u")
        if special:
            self._out.append(b"tR")
        else:
            self._text(kind.text)
            self._out.append(b"\x86R")

    def _tuple(self, value: tuple[Any, ...], kind: Type) -> None:
        kinds = kind.args if kind.name == "Tuple" and len(kind.args) == len(value) else (Type("Any", (), "Any"),) * len(value)
        self._out.append(b"(")
        for each, part in zip(value, kinds, strict=True):
            self.value(each, part)
        self._out.append(b"t")

    def _tensor(self, value: Tensor) -> None:
        if id(value) in self._memo:                # the same tensor, not a second one of the same memory
            self._out.append(b"j" + struct.pack("<I", self._memo[id(value)]))
            return
        self._rebuilt(value)
        self._memo[id(value)] = len(self._memo)
        self._out.append(b"r" + struct.pack("<I", self._memo[id(value)]))

    def _rebuilt(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key = self._keys.get(storage)
        if key is None:
            key = self._keys[storage] = str(len(self.storages))
            self.storages[key] = storage
        self._global("torch._utils", "_rebuild_tensor_v2")
        self._out.append(b"((")
        self._text("storage")
        self._global("torch", LEGACY_STORAGES[storage_name(value.dtype)].__name__)
        self._text(key)
        self._text(location_tag(storage))
        self._integer(storage.nbytes() // value.dtype.itemsize)
        self._out.append(b"tQ")
        self._integer(value.storage_offset())
        for numbers in (value.shape, value.stride()):
            self._out.append(b"(")
            for each in numbers:
                self._integer(each)
            self._out.append(b"t")
        self._out.append(b"\x88" if value.requires_grad else b"\x89")
        self._global("collections", "OrderedDict")
        self._out.append(b")RtR")


class _Unwritable(Exception):
    """A value that an archive can't hold."""
