"""The definitions of an archive, by their full names: ``__torch__.package.module.Class`` stands in ``code/__torch__/package/module.py``.

A definition is read when it is first asked for, and `compile_all` turns into closures everything that was reached, so that what is not
known is named before the first call.
"""

from __future__ import annotations

import ast
import enum
import warnings
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

from ...nn.modules.module import Module
from .language import Code, literal
from .values import Instance, ScriptClass, Type, refused, type_of

__all__ = ["Library", "Maker"]

_OWN_LISTS = {"__parameters__": "parameters", "__buffers__": "buffers", "__forward_hooks__": "hooks", "__forward_pre_hooks__": "pre_hooks"}
# What an nn.Module keeps in an instance for itself; the two that archives declare have the same meaning there.
_TAKEN = frozenset((*vars(Module()), "_class", "_compiled_call_impl")) - {"training", "_is_full_backward_hook"}
_NESTED = "a deeper nest than Python's stack"
_LONGEST = 64 << 20            # of a text, in characters


class Maker:
    """A class of an archive where it is named by code: `instance` makes an instance of it without calling anything."""

    def __init__(self, cls: ScriptClass) -> None:
        self.cls = cls
        self.instance = partial(Instance, cls) if not cls.is_module else None

    def __deepcopy__(self, memo: Any) -> Maker:
        return self


class Library:
    """Finds what an archive defines. `text_of` gives the text of a file ("code/__torch__.py"), or None where there is no such file."""

    def __init__(self, text_of: Callable[[str], str | None], version: int) -> None:
        self._text_of, self.version = text_of, version
        self._constants: tuple[Any, ...] = ()
        self._files: dict[str, dict[str, ast.stmt] | None] = {}
        self._lines: dict[str, list[str]] = {}
        self._found: dict[str, Any] = {}
        self._waiting: list[Code] = []
        self._interfaces: dict[str, frozenset[str]] = {}

    def __deepcopy__(self, memo: Any) -> Library:
        return self

    # --- what code asks for -----------------------------------------------------------------------------------------------------------

    def constant(self, name: str) -> Any:
        """``CONSTANTS.c3``."""
        number = name.removeprefix("CONSTANTS.c")
        if not number.isdecimal() or len(number) > 9 or int(number) >= len(self._constants):
            raise refused(f"the code uses {name[:80]}, which the file does not hold")
        return self._constants[int(number)]

    def set_constants(self, constants: Any) -> None:
        """Take what the archive holds under ``CONSTANTS``."""
        if not isinstance(constants, tuple):
            raise refused("the constants of the archive are no tuple")
        self._constants = constants

    def enumeration(self, name: str) -> type | None:
        """An enumeration by its name; None where the name means something else."""
        found = self.find(name)
        return found if isinstance(found, type) and issubclass(found, enum.Enum) else None

    def find(self, name: str) -> Any:
        """A function (`Code`), class (`Maker`), named tuple or enumeration (a class of Python's), or a member of one of these."""
        if name not in self._found:
            self._found[name] = self._look_up(name)
        return self._found[name]

    def cls(self, name: str) -> ScriptClass:
        """A class by its name; RuntimeError where it is no class."""
        found = self.find(name)
        if not isinstance(found, Maker):
            raise refused(f"{name[:80]} is no class that can have instances")
        return found.cls

    def compile_all(self) -> None:
        """Compile what was found, and what it finds."""
        try:
            while self._waiting:
                self._waiting.pop().compile()
        except RecursionError:
            raise refused(f"the code is {_NESTED}") from None

    # --- how it is found --------------------------------------------------------------------------------------------------------------

    def _look_up(self, name: str) -> Any:
        home, _, short = name.rpartition(".")
        definition = self._definitions(home).get(short) if home.startswith("__torch__") else None
        if isinstance(definition, ast.FunctionDef):
            return self._code(name, definition, home, False)
        if isinstance(definition, ast.ClassDef):
            return self._class(name, definition, home)
        if home.startswith("__torch__.torch.classes."):
            raise refused(f"the file needs {name[:200]}: an instance of a class written in C++, which rushlight does not have")
        if home.count(".") > 0:                                     # a method, or an enumeration's member
            owner = self.find(home)
            if isinstance(owner, Maker) and short in owner.cls.methods:
                return owner.cls.methods[short]
            if isinstance(owner, type) and issubclass(owner, enum.Enum) and short in owner.__members__:
                return owner.__members__[short]
        raise refused(f"the file names {name[:200]}, and does not define it")

    def _definitions(self, home: str) -> dict[str, ast.stmt]:
        if home not in self._files:
            self._files[home] = None
            text = self._text_of("code/" + home.replace(".", "/") + ".py")
            if text is not None:
                self._files[home] = self._parsed(home, text)
        return self._files[home] or {}

    def _parsed(self, home: str, text: str) -> dict[str, ast.stmt]:
        if len(text) > _LONGEST:
            raise refused(f"the code of {home} has {len(text)} characters, which is too much to read")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                warnings.simplefilter("ignore", DeprecationWarning)
                body = ast.parse(text).body
        except (SyntaxError, ValueError) as error:
            raise refused(f"the code of {home} can't be read: {type(error).__name__} in line {getattr(error, 'lineno', '?')}") from None
        except (RecursionError, MemoryError):
            raise refused(f"the code of {home} is {_NESTED}") from None
        self._lines[home] = text.split("\n")
        found: dict[str, ast.stmt] = {}
        for each in body:
            if isinstance(each, (ast.ClassDef, ast.FunctionDef)):
                found[each.name] = each
            elif not (isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name) and each.targets[0].id == "op_version_set"):
                raise refused(f"the code of {home} has a statement in line {each.lineno} that is no definition")
        return found

    def _code(self, name: str, definition: ast.FunctionDef, home: str, method: bool) -> Code:
        lines = self._lines[home][definition.lineno - 1:definition.end_lineno]
        indent = definition.col_offset
        found = Code(name, definition, "\n".join([line[indent:] for line in lines]) + "\n", self, method)
        self._waiting.append(found)
        return found

    def _class(self, name: str, definition: ast.ClassDef, home: str) -> Any:
        kind = definition.bases[0].id if len(definition.bases) == 1 and isinstance(definition.bases[0], ast.Name) else ""
        if (definition.bases and not kind) or definition.keywords or definition.decorator_list:
            raise refused(f"{name[:200]} is defined in a way that TorchScript does not have")
        if kind == "NamedTuple":
            return self._named_tuple(name, definition)
        if kind == "Enum":
            return self._enumeration(name, definition)
        if kind in ("Interface", "ModuleInterface"):
            self._interfaces[name] = frozenset(each.name for each in definition.body if isinstance(each, ast.FunctionDef))
            return None
        if kind not in ("", "Module"):
            raise refused(f"{name[:200]} is a {kind}, which rushlight does not know")
        cls = ScriptClass(name, kind == "Module")
        cls.interfaces = self._interfaces
        self._found[name] = made = Maker(cls)                       # its methods may name it
        for each in definition.body:
            self._member(cls, each, home)
        return made

    def _member(self, cls: ScriptClass, node: ast.stmt, home: str) -> None:
        if isinstance(node, ast.FunctionDef):
            cls.methods[node.name] = self._code(f"{cls.name}.{node.name}", node, home, True)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self._declared(cls, node.target.id, node.annotation, node.value)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            self._listed(cls, node.targets[0], node.value)
        elif not isinstance(node, ast.Pass):
            raise refused(f"the class {cls.name[:200]} has a statement in line {node.lineno} that declares nothing")

    def _declared(self, cls: ScriptClass, attribute: str, annotation: ast.expr, value: ast.expr | None) -> None:
        if attribute.startswith("__") or value is None and cls.is_module and attribute in _TAKEN:
            raise refused(f"the class {cls.name[:200]} declares an attribute {attribute}, which a module has for itself")
        if value is not None:
            cls.constants[attribute] = literal(value, self)
        else:
            cls.attributes[attribute] = type_of(annotation)
            self._prepare(cls.attributes[attribute])

    def _prepare(self, kind: Type) -> None:
        """Read the definitions of the interfaces that a type names; classes are read where instances of them are met."""
        for each in kind.args:
            self._prepare(each)
        if kind.name.startswith("__torch__.") and not kind.name.startswith("__torch__.torch.classes."):
            home, _, short = kind.name.rpartition(".")
            definition = self._definitions(home).get(short)
            if isinstance(definition, ast.ClassDef) and any(getattr(base, "id", "").endswith("Interface") for base in definition.bases):
                self.find(kind.name)

    def _listed(self, cls: ScriptClass, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name) and target.id in _OWN_LISTS:
            names = literal(value, self)
            if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
                raise refused(f"{target.id} of the class {cls.name[:200]} is no list of names")
            getattr(cls, _OWN_LISTS[target.id]).extend(names)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id == "__annotations__" and (
                isinstance(target.slice, ast.Constant) and isinstance(target.slice.value, str)):
            self._declared(cls, target.slice.value, value, None)
        else:
            raise refused(f"the class {cls.name[:200]} has a statement in line {target.lineno} that declares nothing")

    def _named_tuple(self, name: str, definition: ast.ClassDef) -> type:
        fields, defaults = [], []
        for each in definition.body:
            if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name) or each.target.id.startswith("_"):
                raise refused(f"the named tuple {name[:200]} has a field that a named tuple can't have")
            fields.append(each.target.id)
            defaults += [literal(each.value, self)] if each.value is not None else []
        made = namedtuple(definition.name if not definition.name.startswith("_") else "Tuple", fields, defaults=defaults)  # type: ignore[misc]
        made._script_name = name  # type: ignore[attr-defined]
        return made

    def _enumeration(self, name: str, definition: ast.ClassDef) -> type:
        members = {}
        for each in definition.body:
            target = each.targets[0] if isinstance(each, ast.Assign) else None
            if not isinstance(each, ast.Assign) or not isinstance(target, ast.Name) or target.id.startswith("_") or target.id == "mro":
                raise refused(f"the enumeration {name[:200]} has a member that an enumeration can't have")
            members[target.id] = literal(each.value, self)
        made = enum.Enum(definition.name, members)  # type: ignore[misc]
        made._script_name = name  # type: ignore[attr-defined]
        return made  # type: ignore[return-value]
