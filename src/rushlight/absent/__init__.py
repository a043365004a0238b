"""PyTorch's modules that rushlight has not: they can be imported, and what is in them says what to do instead when it is used.

Libraries import such names at their top and use them, if ever, behind a question (``torch.distributed.is_available()``). `names.txt`
says what there is (``python tools/absent_names.py`` writes it); a module that exists comes first, so adding one here needs no change there.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ..homes import is_own, place
from ..unsupported import absent_class, attribute_of, not_supported

__all__ = ["Finder", "install", "named"]

_INSTEAD = {
    "distributed": "collectives, torchrun and DistributedDataParallel are there (docs/distributed.md lists them), this is not",
    "fx": "torch.fx has tracing, graphs, interpreters and the common passes; sizes are numbers here, never symbols",
    "onnx": "torch.onnx.export writes models, and torch.onnx.load reads them (docs/onnx.md)",
    "export": "export, ExportedProgram, Dim and the signature are there (docs/graphs.md)",
    "ao": "there is no quantisation; torch.amp computes in bfloat16 or float16",
    "nested": "pad the sequences (torch.nn.utils.rnn.pad_sequence), or pack them (torch.nn.utils.rnn.pack_padded_sequence)",
    "nn.parallel": "it trains in one process on one device",
    "utils.data": "a dataset and a DataLoader do the work of data pipes",
    "_functorch": "torch.func has vmap, grad and their like",
}
_OTHERWISE = "there is no tracing compiler: torch.compile runs the function as it is"


@cache
def table() -> dict[str, dict[str, str]]:
    """Path of a module below torch -> names -> what they are: "class", "error", "function", an enumeration's members, or "=" and a
    literal."""
    from pathlib import Path
    found: dict[str, dict[str, str]] = {}
    for line in Path(__file__).with_name("names.txt").read_text(encoding="utf-8").splitlines():
        path, _, names = line.partition(": ")
        found[path.rstrip(":")] = dict(_entry(each) for each in names.split())
    return found


def _entry(text: str) -> tuple[str, str]:
    if "=" in text:
        name, _, value = text.partition("=")
        return name, "=" + value
    if text.endswith("()"):
        return text[:-2], "function"
    if text.endswith("!"):
        return text[:-1], "error"
    name, brace, members = text.partition("{")
    return name, members.rstrip("}") if brace else "class"


def _instead(path: str) -> str:
    parts = path.split(".")
    return next((_INSTEAD[key] for n in range(len(parts), 0, -1) if (key := ".".join(parts[:n])) in _INSTEAD), _OTHERWISE)


def _make(path: str, name: str, what: str) -> Any:
    if what.startswith("="):
        from ast import literal_eval
        return literal_eval(what[1:])
    full, instead = f"{path}.{name}", _instead(path)
    if what == "function":
        made = not_supported(full, instead)
        made.__module__ = place(path)
        return made
    if what == "error":
        return type(name, (RuntimeError,), {"__module__": place(path), "__doc__": "An error that nothing here raises."})
    if what != "class":
        from enum import Enum
        return Enum(name, what.split(","), module=place(path))
    return absent_class(full, instead)


class Finder(MetaPathFinder):
    """Asked last: gives the absent modules of ours."""

    def find_spec(self, fullname: str, path: list[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if not is_own(fullname) or path is None:
            return None
        rest = fullname.partition(".")[2]
        if rest not in table():
            return None
        return ModuleSpec(fullname, _Loader(rest), is_package=True)


class _Loader(Loader):
    def __init__(self, path: str) -> None:
        self.path = path

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name, f"``torch.{self.path}``: not supported; using it says what to do instead.")
        module.__loader__ = self
        vars(module).update(__getattr__=attribute_of(self.path, _instead(self.path)), __all__=sorted(table()[self.path]))
        return module

    def exec_module(self, module: ModuleType) -> None:
        return None


@cache
def named(path: str, name: str) -> Any:
    """What stands for torch.<path>.<name>, a module among them; None where the table has no such name."""
    if f"{path}.{name}" in table():
        from importlib import import_module
        return import_module(place(f"{path}.{name}"))
    what = table().get(path, {}).get(name)
    return None if what is None else _make(path, name, what)


def install() -> None:
    """Have the import system ask for the absent modules, after everything else."""
    sys.meta_path.append(Finder())
