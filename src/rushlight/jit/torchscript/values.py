"""What a program of TorchScript handles beside tensors and plain values: types, classes, and instances of classes."""

from __future__ import annotations

import ast
import enum
from copy import deepcopy
from functools import partial
from typing import Any

from ...devices import device
from ...futures import Future
from ...generator import Generator
from ...homes import settle
from ...tensor import Tensor
from ...vocabulary import Function

__all__ = ["Error", "Holder", "Instance", "ScriptClass", "Type", "refused", "type_of"]


class Error(RuntimeError):
    """What TorchScript code raises."""


def refused(why: str) -> RuntimeError:
    """The error for archives whose code is not understood."""
    return RuntimeError(f"torch.jit.load: {why}")


_PLAIN = {"Tensor": Tensor, "int": int, "float": float, "bool": bool, "str": str, "complex": complex, "Device": device,
          "NoneType": type(None), "None": type(None), "list": list, "tuple": tuple, "dict": dict, "Future": Future, "Generator": Generator}
_ANY = frozenset(("Any", "t", "AnyList", "AnyTuple", "Scalar", "number", "Layout", "Storage", "AnyEnum", "Stream", "QScheme"))


class Type:
    """A type as it stands in the text: its name, what it is made of, and the text itself."""

    __slots__ = ("name", "args", "text")

    def __init__(self, name: str, args: tuple[Type, ...], text: str) -> None:
        self.name, self.args, self.text = name, args, text

    def holds(self, value: Any) -> bool:
        """Whether a value is of this type, as far as a value tells."""
        name, args = self.name, self.args
        if name == "Optional":
            return value is None or args[0].holds(value)
        if name == "Union":
            return any(each.holds(value) for each in args)
        if name in ("List", "Dict", "Tuple"):
            return self._holds_parts(value)
        if name in ("int", "float") and value.__class__ is bool:
            return False
        plain = _PLAIN.get(name)
        if plain is not None:
            return isinstance(value, plain)
        return name in _ANY or self._holds_instance(value)

    def _holds_parts(self, value: Any) -> bool:
        if self.name == "List":
            return isinstance(value, list) and all(self.args[0].holds(each) for each in value)
        if self.name == "Dict":
            return isinstance(value, dict) and all(self.args[0].holds(key) and self.args[1].holds(each) for key, each in value.items())
        return isinstance(value, tuple) and len(value) == len(self.args) and all(
            each.holds(part) for each, part in zip(self.args, value, strict=True))

    def _holds_instance(self, value: Any) -> bool:
        """For classes of the archive: instances of them; of interfaces any object; of named tuples and enumerations Python's own, too."""
        found = value._class.name if isinstance(value, Holder) else getattr(type(value), "_script_name", None)
        return found == self.name or isinstance(value, (tuple, enum.Enum)) and found is None or (
            isinstance(value, Holder) and self.name not in (value._class.name, "") and value._class.has_interface(self.name))

    def taken(self, value: Any) -> Any:
        """A value that a program of Python's gives for this type: an int stands for a float, a tuple for a list."""
        if self.name == "float" and value.__class__ is int:
            return float(value)
        if self.name == "Optional" and value is not None:
            return self.args[0].taken(value)
        if self.name == "List" and isinstance(value, (list, tuple)):
            return [self.args[0].taken(each) for each in value]
        if self.name == "Tuple" and isinstance(value, tuple) and len(value) == len(self.args):
            return tuple([each.taken(part) for each, part in zip(self.args, value, strict=True)])
        return value

    def __repr__(self) -> str:
        return self.text


def type_of(node: ast.expr | None) -> Type:
    """The type that an annotation says; RuntimeError for what is none."""
    if node is None:
        return Type("Any", (), "Any")
    text = ast.unparse(node)
    if isinstance(node, ast.Subscript):
        inner = node.slice
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if not isinstance(node.value, ast.Name):
            raise refused(f"{text} is no type")
        args = tuple([type_of(each) for each in parts])
        if len(args) < {"Optional": 1, "List": 1, "Dict": 2}.get(node.value.id, 0):
            raise refused(f"{text} is no type")
        return Type(node.value.id, args, text)
    if isinstance(node, ast.Name):
        return Type(node.id, (), text)
    if isinstance(node, ast.Constant) and node.value is None:
        return Type("NoneType", (), "NoneType")
    if isinstance(node, ast.Attribute):
        return Type(text, (), text)
    raise refused(f"{text[:80]} is no type")


class ScriptClass:
    """A class of an archive: what it declares, and its methods."""

    def __init__(self, name: str, is_module: bool) -> None:
        self.name, self.is_module = name, is_module
        self.attributes: dict[str, Type] = {}
        self.constants: dict[str, Any] = {}
        self.parameters: list[str] = []
        self.buffers: list[str] = []
        self.hooks: list[str] = []
        self.pre_hooks: list[str] = []
        self.methods: dict[str, Function] = {}
        self.interfaces: dict[str, frozenset[str]] = {}

    def has_interface(self, name: str) -> bool:
        """Whether the class has the methods of an interface of the archive."""
        return name in self.interfaces and self.interfaces[name] <= self.methods.keys()

    def __deepcopy__(self, memo: Any) -> ScriptClass:
        return self

    def __repr__(self) -> str:
        return f"<class {self.name} of a TorchScript archive>"


class Holder:
    """What has attributes that TorchScript code reads and sets, and methods that it calls."""

    _class: ScriptClass

    def _read(self, name: str) -> Any:
        raise NotImplementedError

    def _write(self, name: str, value: Any) -> None:
        raise NotImplementedError

    def _method(self, name: str) -> Any:
        try:
            return self._class.methods[name]
        except KeyError:
            raise Error(f"{self._class.name} has no method {name}") from None


class Instance(Holder):
    """An instance of a class of an archive that is no module."""

    _values: dict[str, Any]

    def __init__(self, cls: ScriptClass) -> None:
        self.__dict__.update(_class=cls, _values={})

    def _read(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            if name in self._class.constants:
                return self._class.constants[name]
            raise Error(f"{self._class.name} has no attribute {name}, or it is not set yet") from None

    def _write(self, name: str, value: Any) -> None:
        if name not in self._class.attributes:
            raise Error(f"{self._class.name} declares no attribute {name}")
        self._values[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._class.methods:
            return partial(self._class.methods[name], self)
        if name in self._values or name in self._class.constants:
            return self._read(name)
        raise AttributeError(f"{self._class.name} has no attribute {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        self._write(name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Instance:
        other = memo[id(self)] = Instance(self._class)
        other._values.update(deepcopy(self._values, memo))
        return other

    def __repr__(self) -> str:
        return f"<{self._class.name} object>"


settle("jit", globals(), ("Error",))
