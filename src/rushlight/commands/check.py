"""``rushlight check PATH…``: which names of torch a program uses, and which of them are here. It reads the program and runs nothing of
it."""

from __future__ import annotations

import ast
import difflib
import json
import os
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from ..homes import place
from ..unsupported import NotSupported, why_absent, why_partly
from .progress import track

__all__ = ["Unreadable", "Use", "check", "report", "status_of"]

SKIPPED = {"__pycache__", "node_modules", "site-packages", "build", "dist"}
OPTIONAL = {"ImportError", "ModuleNotFoundError", "AttributeError", "Exception", "BaseException", "NotImplementedError"}


class Unreadable(Exception):
    """A path that is no program: it isn't there, or Python can't parse it."""


@dataclass(frozen=True)
class Use:
    """One use of a name of torch. status: "there", "partly", "missing", or "unknown" (no such name here: perhaps a slip).

    guarded  the program asks first (try ... except, hasattr), so that it goes on without it.
    """
    file: str
    line: int
    name: str
    status: str
    instead: str
    guarded: bool


def check(paths: Iterable[str]) -> list[Use]:
    """Every use of torch in Python files, and in folders of them; Unreadable for a path that can't be read or parsed."""
    files = [file for path in paths for file in _files(path)]
    return [Use(file, line, name, *status_of(name), guarded) for file in track(files, os.path.basename)
            for line, name, guarded in _uses(file)]


def _files(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
        return
    if not os.path.isdir(path):
        raise Unreadable(f"can't open {path!r}: there is no such file or folder")
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED
                            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg")))
        yield from (os.path.join(folder, name) for name in sorted(files) if name.endswith(".py"))


def _uses(file: str) -> list[tuple[int, str, bool]]:
    try:
        with tokenize.open(file) as opened:
            tree = ast.parse(opened.read(), file)
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise Unreadable(f"can't read {file!r}{line}: {getattr(error, 'msg', None) or error}") from error
    except OSError as error:
        raise Unreadable(f"can't open {file!r}: {error.strerror}") from error
    reader = _Reader()
    reader.bind(tree)
    reader.visit(tree)
    return sorted(set(reader.found))


class _Reader(ast.NodeVisitor):
    """Follows names bound to torch, its modules and what is in them (import, from, ``F = torch.nn.functional``) through one file."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}         # a name of the program -> torch's, "" for torch itself
        self.found: list[tuple[int, str, bool]] = []
        self.guards = 0

    def bind(self, tree: ast.AST) -> None:
        """Learn what the imports bind, wherever they stand."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for each in node.names:
                    if each.name.split(".")[0] == "torch":
                        self.names[each.asname or "torch"] = each.name.partition(".")[2] if each.asname else ""
            elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "torch":
                inner = (node.module or "").partition(".")[2]
                self.names |= {each.asname or each.name: f"{inner}.{each.name}".lstrip(".") for each in node.names if each.name != "*"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                found = self._dotted(node.value)
                if found and isinstance(node.value, ast.Attribute):
                    self.names.setdefault(node.targets[0].id, found)

    def _dotted(self, node: ast.AST) -> str:
        """The name of torch that an expression spells; "" where it is none, or torch itself."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.names:
            return ""
        return ".".join([*filter(None, [self.names[node.id]]), *reversed(parts)])

    def _note(self, node: Any, name: str) -> None:
        if name:
            self.found.append((node.lineno, name, self.guards > 0))

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            if each.name.startswith("torch."):
                self._note(node, each.name.partition(".")[2])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if not node.level and module.split(".")[0] == "torch":
            for each in node.names:
                self._note(node, ".".join(filter(None, [module.partition(".")[2], each.name if each.name != "*" else ""])))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._dotted(node)
        self._note(node, name) if name else self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        optional = any(handler.type is None or OPTIONAL & {getattr(each, "id", getattr(each, "attr", "")) for each in
                       (handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type])} for handler in node.handlers)
        self._guarded(node.body, optional)
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_If(self, node: ast.If) -> None:
        asks = any(isinstance(each, ast.Call) and (getattr(each.func, "id",
                                                           "") == "hasattr" or getattr(each.func, "attr", "") == "is_available")
                   for each in ast.walk(node.test)) or getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING"
        self.visit(node.test)
        self._guarded(node.body, asks)
        for part in node.orelse:
            self.visit(part)

    def _guarded(self, body: list[ast.stmt], guarded: bool) -> None:
        self.guards += guarded
        for part in body:
            self.visit(part)
        self.guards -= guarded


# --- what is here ----------------------------------------------------------------------------------------------------------------------

@cache
def status_of(name: str) -> tuple[str, str]:
    """(status, what to use instead) of ``torch.<name>``."""
    value: Any = import_module(place(""))
    path = ""
    partly = ""
    for part in name.split("."):
        path = f"{path}.{part}".lstrip(".")
        try:
            value = _member(value, part, path)
        except NotSupported as error:
            return "missing", str(error).partition(": ")[2] or str(error)
        except (AttributeError, ImportError):
            return "unknown", _near(value, part, path)
        why = why_absent(value)
        if why:
            return "missing", why
        partly = partly or why_partly(value)
        if not isinstance(value, (ModuleType, type)):
            break                       # an attribute of an instance: it is known when the program runs
    return ("partly", partly) if partly else ("there", "")


def _member(value: Any, part: str, path: str) -> Any:
    try:
        return getattr(value, part)
    except NotSupported:
        raise
    except AttributeError:
        if not isinstance(value, ModuleType):
            raise
        return import_module(place(path))


def _near(value: Any, part: str, path: str) -> str:
    near = difflib.get_close_matches(part, dir(value), 1, 0.75)
    parent = path.rpartition(".")[0]
    return f"did you mean torch.{parent + '.' if parent else ''}{near[0]}?" if near else "rushlight has no such name"


# --- what is printed -------------------------------------------------------------------------------------------------------------------

def report(uses: list[Use], as_json: bool = False) -> tuple[str, int]:
    """The text, and the exit status: 1 where something is missing that the program does not ask for first."""
    bad = [each for each in uses if each.status in ("missing", "unknown")]
    status = int(any(not each.guarded for each in bad))
    if as_json:
        return json.dumps({"ok": not status, "uses": [asdict(each) for each in uses]}, indent=1), status
    if not uses:
        return "nothing of torch is used", 0
    lines = [f"{each.file}:{each.line}: torch.{each.name} {_said(each)}" for each in uses if each.status != "there"]
    names = {each.name: each.status for each in uses}
    counts = {status: sum(found == status for found in names.values()) for status in ("there", "partly", "missing", "unknown")}
    files = len({each.file for each in uses})
    lines.append(f"{len(names)} names of torch in {files} file{'s' * (files != 1)}: "
                 + ", ".join(f"{count} {status}" for status, count in counts.items() if count))
    lines.append("runs as far as names tell (methods of objects are seen only when they run)" if not status else
                 "needs what is listed above")
    return "\n".join(lines), status


def _said(use: Use) -> str:
    what = {"partly": "is there in part", "missing": "is missing", "unknown": "is not known"}[use.status]
    return f"{what}{' (the program asks first)' if use.guarded else ''}: {use.instead}"
