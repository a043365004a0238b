"""Code that is not to see torch, because it only asks whether it is there or brings parts compiled for PyTorch.

This file uses nothing but the standard library: ``rushlight link --hide NAME`` copies it into the environment, where it is loaded at
every start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["hidden", "hide"]


def _is_torch(name: str) -> bool:
    return name == "torch" or name.startswith("torch.")


@contextmanager
def hidden() -> Iterator[None]:
    """Inside, there is no torch: ``import torch`` raises ModuleNotFoundError, find_spec gives None, importlib.metadata knows none.

    It holds for the whole process, so no tensor work should go on in other threads meanwhile.
    """
    kept = {name: module for name, module in sys.modules.items() if _is_torch(name)}
    for name in kept:
        del sys.modules[name]
    filters = [_Filtered(finder) for finder in sys.meta_path]
    sys.meta_path[:] = filters
    try:
        yield
    finally:
        sys.meta_path[:] = [finder.finder if isinstance(finder, _Filtered) else finder for finder in sys.meta_path]
        for name in [name for name in sys.modules if _is_torch(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


class _Filtered:
    """A finder that finds what another does, but for torch."""

    def __init__(self, finder: Any) -> None:
        self.finder = finder

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        return None if _is_torch(fullname) else self.finder.find_spec(fullname, path, target)

    def find_distributions(self, context: Any = None) -> Iterable[Any]:
        asked, find = getattr(context, "name", None), getattr(self.finder, "find_distributions", None)
        if asked == "torch" or find is None:
            return
        for found in find(context) if context is not None else find():
            if asked is not None or found.metadata["Name"] != "torch":
                yield found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


class _Hider:
    """A finder that has the packages of these names imported with torch hidden."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] not in self.names:
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self and getattr(finder, "finder", None) is not self]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: Any) -> Any:
        with hidden():
            return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        with hidden():
            self.loader.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)


def hide(*names: str) -> None:
    """From now on the packages of these names are imported without seeing torch."""
    sys.meta_path.insert(0, _Hider(names))
