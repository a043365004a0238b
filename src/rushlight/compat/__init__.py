"""``import torch`` means rushlight: for programs written for PyTorch.

    import rushlight.compat
    rushlight.compat.install()      # before the first `import torch`
    import torch.nn as nn           # is rushlight.nn, the same module

The package then has the name ``torch``: its modules, classes and functions say that they are from torch, so that pickles name them as
PyTorch's do, and ``rushlight`` is the second name of the same modules. ``rushlight run script.py`` does this for a script that is left as
it is, and ``rushlight link`` for a whole environment (`linking`). Child processes of ``multiprocessing`` get it too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any

from ..homes import root
from .hiding import hidden
from .naming import rename

__all__ = ["hidden", "install", "installed", "uninstall"]

_SPAWN = "multiprocessing.spawn"
LINK = "__rushlight_link__"         # what the package that `rushlight link` writes has, while it is being imported


def install() -> None:
    """From now on ``torch`` and ``torch.*`` are rushlight's modules. RuntimeError where PyTorch itself has been imported already."""
    if installed():
        return
    ours = sys.modules[root()]
    present = sys.modules.get("torch", ours)
    linked = LINK in vars(present)
    if present is not ours and not linked:
        place = getattr(present, "__file__", None) or "an unknown place"
        raise RuntimeError(f"torch has already been imported from {place}, and objects of two frameworks would get mixed: "
                           "call rushlight.compat.install() before the first `import torch`")
    rename("rushlight", "torch")
    sys.meta_path.insert(0, _finder)
    if not linked:          # else the children find the link themselves
        _finder.spawning = True
        if _SPAWN in sys.modules:
            _patch_spawn(sys.modules[_SPAWN])


def uninstall() -> None:
    """Undo `install`: later imports of ``torch`` find PyTorch, if it is there. Modules that were imported keep what they have."""
    if not installed():
        return
    sys.meta_path.remove(_finder)
    _finder.spawning = False
    rename("torch", "rushlight")
    for name in [name for name in sys.modules if name == "torch" or name.startswith("torch.")]:
        del sys.modules[name]
    spawn: Any = sys.modules.get(_SPAWN)
    if spawn is not None:
        spawn.get_preparation_data = getattr(spawn.get_preparation_data, "original", spawn.get_preparation_data)


def installed() -> bool:
    """Whether ``torch`` means rushlight now."""
    return root() == "torch"


class _Finder(MetaPathFinder):
    """Asked first for every import: answers for our first name once we have the second, and for multiprocessing's spawn, whose children
    need us too."""

    spawning = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.startswith("rushlight."):
            return _second_name(fullname)
        if fullname.partition(".")[0] == "functorch" and self.spawning:
            return _second_name(fullname, "functorch", "torch.compat.functorch")
        if fullname == _SPAWN and self.spawning:
            spec = PathFinder.find_spec(fullname, path)
            if spec is not None and spec.loader is not None:
                spec.loader = _PatchingLoader(spec.loader)
            return spec
        return None

    def find_distributions(self, context: Any) -> Iterable[Any]:
        """What ``importlib.metadata`` is told about torch where nothing is linked."""
        if self.spawning and (context.name or "").lower() == "torch":
            from .linking import distribution
            yield distribution()


_finder = _Finder()


def _second_name(fullname: str, second: str = "rushlight", first: str = "torch") -> ModuleSpec | None:
    name = first + fullname[len(second):]
    if name not in sys.modules:
        from importlib.util import find_spec
        try:
            if find_spec(name) is None:
                return None
        except ModuleNotFoundError as error:        # a parent is no package
            if error.name is None or not name.startswith(error.name):
                raise
            return None
    return ModuleSpec(fullname, _AliasLoader(name))


class _AliasLoader(Loader):
    """Loads a module of ours under its name, and has the import system enter it under its second one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec: Any = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put the alias's there

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code, for ``python -m``."""
        from importlib.util import find_spec
        spec: Any = find_spec(self.name)
        return spec.loader.get_code(self.name)


class _PatchingLoader(Loader):
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if _finder.spawning:
            _patch_spawn(module)


class _InstallInChild:
    """Unpickling this installs the names. It travels in what a child process reads before it imports the main script again."""

    def __reduce__(self) -> Any:
        folder = str(sys.modules[root()].__path__[0]).rpartition("rushlight")[0]
        return exec, (f"import sys\ntry:\n import rushlight\nexcept ImportError:\n sys.path.insert(0, {folder!r})\n"
                      "import rushlight.compat\nrushlight.compat.install()",)


def _patch_spawn(spawn: Any) -> None:
    original = spawn.get_preparation_data
    if hasattr(original, "original"):
        return

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {"rushlight_compat": _InstallInChild(), **original(name)}

    get_preparation_data.original = original  # type: ignore[attr-defined]
    spawn.get_preparation_data = get_preparation_data
