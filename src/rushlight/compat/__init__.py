"""``import torch`` means rushlight: for programs written for PyTorch.

    import rushlight.compat
    rushlight.compat.install()      # before the first `import torch`
    import torch.nn as nn           # is rushlight.nn, the same module

``rushlight run script.py`` does this for a script that is left as it is. Child processes of ``multiprocessing`` get it too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ..version import __version__

__all__ = ["install", "installed", "uninstall"]

_OWN = __name__.partition(".")[0]
_SPAWN = "multiprocessing.spawn"


def install() -> None:
    """From now on ``torch`` and ``torch.*`` are rushlight's modules. RuntimeError where PyTorch itself has been imported already."""
    if installed():
        return
    ours = sys.modules[_OWN]
    present = sys.modules.get("torch", ours)
    if present is not ours:
        place = getattr(present, "__file__", None) or "an unknown place"
        raise RuntimeError(f"torch has already been imported from {place}, and objects of two frameworks would get mixed: "
                           "call rushlight.compat.install() before the first `import torch`")
    sys.meta_path.insert(0, _finder)
    if _SPAWN in sys.modules:
        _patch_spawn(sys.modules[_SPAWN])


def uninstall() -> None:
    """Undo `install`: later imports of ``torch`` find PyTorch, if it is there. Modules that were imported keep what they have."""
    if not installed():
        return
    sys.meta_path.remove(_finder)
    for name in [name for name, module in sys.modules.items() if _is_torch(name) and _is_ours(module)]:
        del sys.modules[name]
    spawn: Any = sys.modules.get(_SPAWN)
    if spawn is not None:
        spawn.get_preparation_data = getattr(spawn.get_preparation_data, "original", spawn.get_preparation_data)


def installed() -> bool:
    """Whether ``torch`` means rushlight now."""
    return _finder in sys.meta_path


def _is_torch(name: str) -> bool:
    return name == "torch" or name.startswith("torch.")


def _is_ours(module: Any) -> bool:
    name = getattr(module, "__name__", "")
    return name == _OWN or name.startswith(_OWN + ".")


class _Finder(MetaPathFinder):
    """Asked first for every import: answers for torch, and for multiprocessing's spawn, whose children need the finder too."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if _is_torch(fullname):
            name = _OWN + fullname[len("torch"):]
            if not _exists(name):
                raise ModuleNotFoundError(f"No module named {fullname!r}: {fullname} is not supported by rushlight {__version__} "
                                          f"(there is no {name})", name=fullname)
            return ModuleSpec(fullname, _AliasLoader(name))
        if fullname == _SPAWN:
            spec = PathFinder.find_spec(fullname, path)
            if spec is not None and spec.loader is not None:
                spec.loader = _PatchingLoader(spec.loader)
            return spec
        return None


_finder = _Finder()


def _exists(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            return False  # a parent is no package
        raise


class _AliasLoader(Loader):
    """Loads a module of rushlight, and has the import system enter it under its second name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec: Any = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put the alias's there


class _PatchingLoader(Loader):
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if installed():
            _patch_spawn(module)


class _InstallInChild:
    """Unpickling this installs the finder. It travels in what a child process reads before it imports the main script again."""

    def __reduce__(self) -> Any:
        root = str(import_module(_OWN).__path__[0]).rpartition(_OWN)[0]
        return exec, (f"import sys\ntry:\n import {_OWN}\nexcept ImportError:\n sys.path.insert(0, {root!r})\n"
                      f"import {__name__}\n{__name__}.install()",)


def _patch_spawn(spawn: Any) -> None:
    original = spawn.get_preparation_data
    if hasattr(original, "original"):
        return

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {f"{_OWN}_compat": _InstallInChild(), **original(name)}

    get_preparation_data.original = original  # type: ignore[attr-defined]
    spawn.get_preparation_data = get_preparation_data
