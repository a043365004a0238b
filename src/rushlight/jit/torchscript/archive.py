"""Reading and writing TorchScript archives: zip files of text, a pickle, and the memory of tensors."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from io import BytesIO
from typing import Any

from ... import serialization
from ...nn.parameter import Parameter
from ...serialization.archive import ArchiveReader, ArchiveWriter
from ...serialization.locations import Restore
from ...serialization.unpickler import RestrictedUnpickler
from ...storage import UntypedStorage
from ...tensor import Tensor
from .library import Library
from .modules import RecursiveScriptModule
from .pickles import ModulePickler
from .values import Instance, ScriptClass, refused

__all__ = ["Archive", "is_archive", "load_archive", "save_archive"]

_NESTED = "a deeper nest than Python's stack"
_OLDEST, _NEWEST = 1, 10
_KEPT = ("constants.pkl", "version", ".data/version", "byteorder", ".data/serialization_id", ".format_version", ".storage_alignment")


class Record:
    """An instance in the pickle, before it becomes a module or an instance."""

    script: ScriptClass
    records: list[Record]

    state: Any = None

    def __new__(cls) -> Record:
        made = super().__new__(cls)
        cls.records.append(made)
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Archive:
    """What all modules of one file share: its text and constants, as they were read. `torch.jit.save` writes them again."""

    def __init__(self, reader: ArchiveReader) -> None:
        self.kept = {name: reader.read(name) for name in reader.names() if name in _KEPT or name.startswith(("code/", "constants/"))}
        self.version = _version(self.kept.get(".data/version") or self.kept.get("version", b""))
        self.library: Library

    def text(self, record: str) -> str | None:
        """A file of the code."""
        if record not in self.kept:
            return None
        try:
            return self.kept[record].decode()
        except UnicodeDecodeError:
            raise refused(f"{record[:200]} is no text") from None

    def __deepcopy__(self, memo: Any) -> Archive:
        return self


def _version(content: bytes) -> int:
    text = content.strip()
    if not text.isdigit() or len(text) > 4 or int(text) < _OLDEST:
        raise refused("the archive does not say which version of the format it has")
    if int(text) > _NEWEST:
        raise refused(f"the archive has version {int(text)} of the format, which is newer than rushlight knows ({_NEWEST})")
    return int(text)


def is_archive(file: Any) -> bool:
    """Whether a file that can seek is a TorchScript archive; it stands where it stood afterwards."""
    start = file.tell()
    magic = file.read(4)
    file.seek(start)
    if magic != b"PK\x03\x04":
        return False
    found = ArchiveReader(file).has("constants.pkl")
    file.seek(start)
    return found


def _given(values: Any, *rest: Any) -> Any:
    return values


_CALLED = {f"build_{kind}list": _given for kind in ("int", "tensor", "double", "bool", "complex")} | {"restore_type_tag": _given}


class _Reader:
    """Reads the pickles of an archive, and makes modules of what they hold."""

    def __init__(self, file: Any, restore: Restore) -> None:
        self._reader, self._restore = ArchiveReader(file), restore
        self.archive = Archive(self._reader)
        self._kinds: dict[str, type] = {}
        self._records: list[Record] = []
        self._made: dict[int, Any] = {}                # by the identity of what the pickle held, which `_kept` keeps alive
        self._kept: list[Any] = []
        self.archive.library = Library(self.archive.text, self.archive.version)
        constants = self._unpickled("constants.pkl", "constants")
        self.archive.library.set_constants(self._whole(constants))

    def module(self) -> Any:
        """The module that the archive is of."""
        root = self._unpickled("data.pkl", "data")
        if not isinstance(root, Record) or not root.script.is_module:
            raise refused("the archive does not hold a module")
        self.archive.library.compile_all()
        for record in self._records:
            self._parameters(record)
        return self._whole(root)

    def _whole(self, root: Any) -> Any:
        try:
            return self._converted(root)
        except RecursionError:
            raise refused(f"the file holds {_NESTED}") from None

    def extra(self, name: str) -> bytes | None:
        """A file that was saved beside the module."""
        return self._reader.read(f"extra/{name}") if self._reader.has(f"extra/{name}") else None

    def _unpickled(self, record: str, folder: str) -> Any:
        source = BytesIO(self._reader.read(record))
        load = serialization.persistent_loader(self._reader, self._restore, folder=folder)
        try:
            return RestrictedUnpickler(source, load, classes=self._kind, calls=self._called).load()
        except pickle.UnpicklingError as error:
            raise pickle.UnpicklingError("torch.jit.load takes nothing from a file but tensors, data, and instances of classes that its "
                                         f"code defines. {error}") from None

    def _kind(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if not module.startswith("__torch__"):
            raise refused(f"the file needs {full[:200]}, and torch.jit.load takes nothing but what the file's own code defines")
        if full not in self._kinds:
            cls = self.archive.library.cls(full)
            if "__setstate__" in cls.methods:
                raise refused(f"{full[:200]} has a __setstate__, which would run while the file is read: rushlight runs no code of a file "
                              "before the program calls it. In PyTorch, save the module's state_dict instead")
            self._kinds[full] = type("Record", (Record,), {"script": cls, "records": self._records})
        return self._kinds[full]

    def _called(self, module: str, name: str) -> Callable[..., Any] | None:
        """What the pickle may call beside the constructors of data: what marks lists with their types, and enumerations."""
        if module == "torch.jit._pickle":
            return _CALLED.get(name)
        return self.archive.library.enumeration(f"{module}.{name}") if module.startswith("__torch__") else None

    def _parameters(self, record: Record) -> None:
        """Make the tensors that are parameters such ones, before anything else that is the same tensor is looked at."""
        state = record.state if isinstance(record.state, dict) else {}
        for name in record.script.parameters:
            value = state.get(name)
            if isinstance(value, Tensor) and id(value) not in self._made:
                self._made[id(value)] = Parameter(value.detach(), value.requires_grad)

    def _converted(self, value: Any) -> Any:
        """A value of the pickle with modules and instances in the place of records. What is there twice stays one."""
        if id(value) in self._made:
            return self._made[id(value)]
        if isinstance(value, Record):
            return self._instance(value)
        made: Any
        if isinstance(value, list):
            made = self._made[id(value)] = []
            made.extend([self._converted(each) for each in value])
        elif isinstance(value, dict):
            made = self._made[id(value)] = {}
            made.update({self._converted(key): self._converted(each) for key, each in value.items()})
        elif type(value) is tuple:
            made = self._made[id(value)] = tuple([self._converted(each) for each in value])
        else:
            return value
        self._kept.append(value)
        return made

    def _instance(self, record: Record) -> Any:
        cls, state = record.script, record.state
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise refused(f"the state of a {cls.name} is no dict of attributes")
        if cls.is_module:
            made = self._made[id(record)] = RecursiveScriptModule(cls, self.archive)
            made._fill({name: self._converted(each) for name, each in state.items()})
            return made
        instance = self._made[id(record)] = Instance(cls)
        for name, each in state.items():
            instance._write(name, self._converted(each))
        return instance


def load_archive(file: Any, restore: Restore, extra: dict[str, Any] | None) -> Any:
    """The module in an archive. RuntimeError, or pickle.UnpicklingError, for what is damaged or not understood."""
    reader = _Reader(file, restore)
    module = reader.module()
    for name in extra or ():
        content = reader.extra(name)
        if content is not None:
            extra[name] = content  # type: ignore[index]
    return module


def save_archive(module: RecursiveScriptModule, file: Any, name: str, extra: dict[str, Any]) -> None:
    """Write a module that was loaded: the archive's text as it was, the attributes and tensors as they are now."""
    pickler = ModulePickler()
    content = pickler.dumps(module)
    with ArchiveWriter(file, name) as writer:
        writer.write("data.pkl", content)
        for record, data in module._archive.kept.items():
            writer.write(record, data)
        for key, storage in pickler.storages.items():
            writer.write(f"data/{key}", _bytes_of(storage))
        for each, data in extra.items():
            writer.write(f"extra/{each}", data.encode() if isinstance(data, str) else data)


def _bytes_of(storage: UntypedStorage) -> Any:
    return storage.cpu()._bytes
