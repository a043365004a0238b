"""Reading pickles: one reader that trusts the file, and one that takes nothing but data.

The second (``weights_only=True``) knows a short list of globals, calls only those of them that make tensors or containers, and never
hands out a class that the file could change. Users extend the list with `add_safe_globals`.
"""

from __future__ import annotations

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import dtypes as _dtype
from .._utils import _rebuild_from_type_v2
from ..devices import device
from ..size import Size
from ..storage import LEGACY_STORAGES, TypedStorage, UntypedStorage
from ..tensor import Tensor
from . import names

if TYPE_CHECKING:
    from ..distributions.constraints import Constraint
    from ..kind import Kind

__all__ = ["RestrictedUnpickler", "add_safe_globals", "as_text", "bytes_left", "clear_safe_globals", "element_type", "get_safe_globals",
           "refused", "safe_globals", "storage_description", "trusting_unpickler", "unsafe_globals"]

PersistentLoad = Callable[[Any], Any]
_user_globals: list[Any] = []
_PARAMETER = "torch.nn.parameter.Parameter"
_NEVER = ("os", "sys", "posix", "nt", "subprocess", "builtins.eval", "builtins.exec")


def add_safe_globals(safe_globals: Sequence[Any]) -> None:
    """Let ``load(weights_only=True)`` use these classes and functions too; an entry may be (object, "the name in the file")."""
    for entry in safe_globals:
        obj = entry[0] if isinstance(entry, tuple) else entry
        if isinstance(entry, tuple) and (len(entry) != 2 or not isinstance(entry[1], str)):
            raise ValueError(f"add_safe_globals(): expected (object, name in the file), got {entry!r}")
        if not callable(obj) and not hasattr(obj, "__qualname__"):
            raise TypeError(f"add_safe_globals(): expected classes or functions, got {type(obj).__name__}")
    _user_globals.extend(entry for entry in safe_globals if entry not in _user_globals)


def get_safe_globals() -> list[Any]:
    """What was added by `add_safe_globals`."""
    return list(_user_globals)


def clear_safe_globals() -> None:
    """Forget what was added by `add_safe_globals`."""
    _user_globals.clear()


@contextmanager
def safe_globals(safe_globals: Sequence[Any]) -> Iterator[None]:
    """`add_safe_globals` for a ``with`` block."""
    before = list(_user_globals)
    try:
        add_safe_globals(safe_globals)
        yield
    finally:
        _user_globals[:] = before


# --- what counts as data -------------------------------------------------------------------------------------------------------------

def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 spells bytes: a call of ``_codecs.encode``, of which this is the one harmless form."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("refused to call _codecs.encode with another encoding than latin1: only that (bytes) is data")
    return text.encode("latin1")


def _bytearray(*args: Any) -> bytearray:
    if any(isinstance(arg, int) for arg in args):
        raise pickle.UnpicklingError("refused to make a bytearray of a given length")
    return bytearray(*args)


def _size(numbers: Any = ()) -> Size:
    if not isinstance(numbers, (tuple, list)) or not all(isinstance(n, int) for n in numbers):
        raise pickle.UnpicklingError("a torch.Size is made of integers")
    return Size(numbers)


def _device(kind: Kind, index: Any = None) -> device:
    if not isinstance(kind, (str, int)) or not (index is None or isinstance(index, int)):
        raise pickle.UnpicklingError("a torch.device is made of a string and an integer")
    return device(kind) if index is None else device(kind, index)


@cache
def _callables() -> dict[str, Any]:
    """What a file may call."""
    plain = {"collections.OrderedDict": OrderedDict, "collections.Counter": Counter, "builtins.set": set, "builtins.complex": complex,
             "builtins.bytearray": _bytearray, "_codecs.encode": _latin1, "torch.Size": _size, "torch.device": _device}
    return {**plain, **{".".join(key): function for key, function in names.rebuilders().items()}}


@cache
def _passive() -> dict[str, Any]:
    """What a file may only name: dtypes, storage classes, tensor classes (and Parameter, see `find_class`)."""
    return {**{f"torch.{name}": found for name, found in _dtype.DTYPES.items()},
            **{f"torch.{name}": found for name, found in LEGACY_STORAGES.items()},
            **{f"torch.cuda.{name}": found for name, found in LEGACY_STORAGES.items()},
            "torch.storage.UntypedStorage": UntypedStorage, "torch.storage.TypedStorage": TypedStorage,
            "torch.Tensor": Tensor}


def _from_user() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in _user_globals:
        obj, given = entry if isinstance(entry, tuple) else (entry, None)
        for name in [given] if given is not None else names.full_names(obj):
            found[name] = obj
    return found


# --- the careful reader --------------------------------------------------------------------------------------------------------------

# Those of protocol 2 that PyTorch's own reader takes, and what the later protocols need for the same values; nothing that allocates a size
# it names.
_DATA_OPCODES = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE SHORT_BINSTRING BINBYTES
    SHORT_BINBYTES EMPTY_LIST EMPTY_TUPLE EMPTY_DICT EMPTY_SET TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS BINPUT LONG_BINPUT
    BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD BINPERSID"""
# Bytes that empty containers of one byte in the file take in memory, with their place in a list that grows; and how many bytes of them a
# small file may ask for.
_EMPTY = {"list": 80, "dict": 88, "set": 240}
_SMALL_FILE, _ROOM = 24 << 20, 80 << 20
_KEY_PARTS = 1000          # of a tuple that is a key: hashing visits a part as often as it is there


class RestrictedUnpickler(pickle._Unpickler):
    """An unpickler for data only: every step that could run foreign code is checked against the lists above."""

    # what the standard class has, and typeshed does not tell
    proto: int
    stack: list[Any]
    metastack: list[list[Any]]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    _unframer: Any

    dispatch = {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _DATA_OPCODES.split()}

    def __init__(self, file: Any, persistent_load: PersistentLoad, encoding: str = "utf-8", classes: Callable[[str, str], Any] |
                 None = None, calls: Callable[[str, str], Any] | None = None) -> None:
        """classes  finds more globals by (module, name): what it gives may be named, classes also made by NEWOBJ and BUILD, nothing
                    called
        calls       the same for what may be called; it is asked first, and gives None for what is not its own"""
        super().__init__(file, encoding=encoding)
        self._storage, self._file = persistent_load, file
        self._user = _from_user()
        self._classes, self._calls, self._instances = classes, calls, set()
        self._of_one: list[Any] = []               # what `calls` gave: PyTorch's own writer hands it a single argument as it is
        size = bytes_left(file)
        self._room = _ROOM + 3 * size if size < _SMALL_FILE else 1 << 62
        self._may_call = {id(found) for found in (*_callables().values(), *self._user.values())}

    def persistent_load(self, saved_id: Any) -> Any:
        try:
            return self._storage(saved_id)
        except Exception as error:
            raise _Outside(error) from error

    def load(self) -> Any:
        try:
            return super().load()
        except (pickle.UnpicklingError, RuntimeError):
            raise
        except _Outside as error:
            raise error.args[0] from None
        except KeyError as error:
            raise pickle.UnpicklingError(f"Unsupported operand {error}: not an instruction that data needs, or no pickle at all") from error
        except EOFError as error:
            raise pickle.UnpicklingError("the pickle ends before it is complete") from error
        except Exception as error:
            raise pickle.UnpicklingError(f"the pickle is damaged ({type(error).__name__}: {error})") from error
        except RecursionError as error:
            raise pickle.UnpicklingError("the pickle is a deeper nest than Python's stack") from error

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module}.{name}"
        if module.partition(".")[0] in _NEVER or full in _NEVER:
            raise pickle.UnpicklingError(f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked.")
        for known in (self._user, _callables(), _passive()):
            if full in known:
                return known[full]
        if full == _PARAMETER:              # not in the table: most files don't name it, and it takes importing nn
            return names.our_object(module, name)
        found = self._calls(module, name) if self._calls is not None else None
        if found is not None:
            self._of_one.append(found)
            self._may_call.add(id(found))
            return found
        if self._classes is None:
            raise _unsupported(full)
        found = self._classes(module, name)
        if isinstance(found, type):
            self._instances.add(found)
        return found

    def load_reduce(self) -> None:
        function, args = self.stack[-2], self.stack[-1]
        if not isinstance(args, tuple) and any(function is each for each in self._of_one):
            args = self.stack[-1] = (args,)
        if not isinstance(args, tuple):
            raise pickle.UnpicklingError(f"refused to call {_describe(function)} with a {type(args).__name__} of arguments")
        # a tensor's subclass is made by a function that the arguments name, perhaps by this one again
        while True:
            if id(function) not in self._may_call:
                raise pickle.UnpicklingError(f"refused to call {_describe(function)}: it may be named, but not called")
            if function is not _rebuild_from_type_v2:
                break
            if len(args) < 3 or not isinstance(args[2], tuple):
                raise pickle.UnpicklingError("refused to make a tensor without a function and its arguments")
            function, args = args[0], args[2]
        if function in (set, OrderedDict, Counter):
            _check_keys(args[0] if args else (), pairs=function is OrderedDict)
        super().load_reduce()

    def load_newobj(self) -> None:
        cls = self.stack[-2]
        if cls is not OrderedDict and not (isinstance(cls, type) and
                                           (cls in self._instances or any(cls is known for known in self._user.values()))):
            raise _unsupported(_describe(cls), "refused to make an instance of")
        super().load_newobj()

    def load_build(self) -> None:
        target, state = self.stack[-2], self.stack[-1]
        if type(target) in (OrderedDict, Counter):
            if not isinstance(state, dict) or any(not isinstance(name, str) or name.startswith("__") for name in state):
                raise pickle.UnpicklingError(f"refused to set the state of a {type(target).__name__}: it is no dict of plain attributes")
        elif type(target) not in self._instances and not any(type(target) is known for known in self._user.values()):
            raise pickle.UnpicklingError(f"refused to set the state of {_describe(target)}")
        super().load_build()

    def _need(self, target: Any, *classes: type) -> None:
        user = tuple(known for known in self._user.values() if isinstance(known, type))
        if type(target) not in classes and not isinstance(target, user):
            raise pickle.UnpicklingError(f"refused to fill {_describe(target)} as if it were a {classes[0].__name__}")

    def load_append(self) -> None:
        self._need(self.stack[-2], list)
        super().load_append()

    def load_appends(self) -> None:
        self._need(self.metastack[-1][-1], list)
        super().load_appends()

    def load_setitem(self) -> None:
        self._need(self.stack[-3], dict, OrderedDict, Counter)
        _check_key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._need(self.metastack[-1][-1], dict, OrderedDict, Counter)
        for key in self.stack[::2]:
            _check_key(key)
        super().load_setitems()

    def _take(self, kind: str) -> None:
        self._room -= _EMPTY[kind]
        if self._room < 0:
            raise pickle.UnpicklingError("the pickle asks for far more containers than a file of its size holds")

    def load_frame(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        if size > bytes_left(self._file):
            raise pickle.UnpicklingError("the pickle ends before its frame is complete")
        self._unframer.load_frame(size)

    def load_empty_list(self) -> None:
        self._take("list")
        self.append([])

    def load_empty_dictionary(self) -> None:
        self._take("dict")
        self.append({})

    def load_empty_set(self) -> None:
        self._take("set")
        self.append(set())

    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    for _name in ("reduce", "newobj", "build", "append", "appends", "setitem", "setitems", "empty_list", "empty_set", "frame"):
        dispatch[getattr(pickle, _name.upper())[0]] = locals()["load_" + _name]


def _check_key(key: Any) -> None:
    """Refuse a nest of tuples as a key that would take for ever to hash, or more stack than there is."""
    if not isinstance(key, tuple):
        return
    parts, seen = [key], 0
    while parts:
        for part in parts.pop():
            seen += 1
            if seen > _KEY_PARTS:
                raise pickle.UnpicklingError("refused a nest of tuples as a key")
            if isinstance(part, tuple):
                parts.append(part)


def _check_keys(values: Any, pairs: bool) -> None:
    """The same for the keys in what a set, a Counter or (by pairs) an OrderedDict is made of."""
    if isinstance(values, (list, tuple, set)):
        for value in values:
            _check_key(value[0] if pairs and isinstance(value, (list, tuple)) and value else value)


def bytes_left(file: Any) -> int:
    """How many bytes a file has from where it stands."""
    at = file.tell()
    size = file.seek(0, 2)
    file.seek(at)
    return size - at


class _Outside(BaseException):
    """Carries an error of the storages' reader (missing file, wrong device, the user's map_location) past the pickle's own."""


def _describe(obj: Any) -> str:
    """What an object is, never what it holds: the values of a file can be nests without end."""
    return f"{obj.__module__}.{obj.__qualname__}" if hasattr(obj, "__qualname__") else f"a {type(obj).__name__}"


def _unsupported(full: str, what: str = "Unsupported global: GLOBAL") -> pickle.UnpicklingError:
    short = full.removeprefix("builtins.")
    return pickle.UnpicklingError(
        f"{what} {short} was not an allowed global by default. If you trust this class/function, allow it with "
        f"`torch.serialization.add_safe_globals([{short}])` or inside `with torch.serialization.safe_globals([{short}]):`.")


def refused(error: Exception) -> pickle.UnpicklingError:
    """The error that `load` raises for what the careful reader did not take."""
    return pickle.UnpicklingError(
        f"Weights only load failed. {error}\nload() reads nothing but data unless told otherwise (weights_only=True is the default). If "
        "you trust where the file comes from, weights_only=False loads any object in it, but that can run any code that the file contains.")


def unsafe_globals(data: bytes) -> list[str]:
    """The globals in a pickle that the careful reader would refuse."""
    from pickletools import genops
    known = {_PARAMETER, *_callables(), *_passive(), *_from_user()}
    found: list[str] = []
    strings: list[str] = []
    try:
        opcodes = list(genops(data))
    except Exception as error:
        raise pickle.UnpicklingError(f"the pickle is damaged ({type(error).__name__})") from error
    for opcode, argument, _ in opcodes:
        if opcode.name == "GLOBAL":
            module, name = argument.split(" ", 1)
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        elif opcode.name == "STACK_GLOBAL":
            if len(strings) < 2:
                raise pickle.UnpicklingError("the pickle is damaged: a global without a name")
            module, name = strings[-2:]
        else:
            if isinstance(argument, str):
                strings.append(argument)
            continue
        full = f"{module}.{name}"
        if full not in known and full not in found:
            found.append(full)
    return found


def as_text(value: Any) -> Any:
    """The text of an ASCII string that ``encoding="bytes"`` has left as bytes; anything else as it is."""
    return value.decode("ascii") if isinstance(value, bytes) and value.isascii() else value


def storage_description(saved_id: tuple[Any, ...], fields: int) -> tuple[Any, ...]:
    """The fields after "storage" of a persistent id: class, key, location, number of elements (and the old format's view)."""
    if isinstance(saved_id, tuple):
        saved_id = tuple(map(as_text, saved_id))
    if not isinstance(saved_id, tuple) or len(saved_id) != fields or saved_id[0] != "storage" or saved_id[4].__class__ is not int \
            or saved_id[4] < 0 or not isinstance(saved_id[2], str) or not isinstance(saved_id[3], str):
        raise pickle.UnpicklingError(f"expected the description of a storage, got {_describe(saved_id)}")
    return saved_id[1:]


def element_type(cls: type[Any]) -> _dtype.dtype:
    """The dtype of the storage class in a persistent id (bytes, for untyped ones)."""
    dtype = _dtype.uint8 if cls is UntypedStorage else getattr(cls, "dtype", None)
    if not isinstance(dtype, _dtype.dtype):
        raise pickle.UnpicklingError(f"expected a storage class, got {_describe(cls)}")
    return dtype


# --- the trusting reader -------------------------------------------------------------------------------------------------------------

def trusting_unpickler(file: Constraint, persistent_load: PersistentLoad, pickle_module: ModuleType | Any = pickle,
                       **arguments: Any) -> Any:
    """An unpickler that loads any object, with PyTorch's names meaning ours."""

    base: Any = pickle_module.Unpickler

    class Unpickler(base):
        def find_class(self, module: str, name: str) -> type[Any]:
            if module == "torch" or module.startswith("torch."):
                return names.our_object(module, name)
            return super().find_class(module, name)

        def persistent_load(self, saved_id: tuple[Any, ...]) -> TypedStorage:
            return persistent_load(saved_id)

    return Unpickler(file, **arguments)
