"""What PyTorch's test files import and a side lacks: placeholders that can be imported, derived from and used as decorators, but raise when a test calls them.

`install` is called in every Python process of a run (`run.py` writes a ``sitecustomize``). The newer PyTorch has dropped names that the test files
import, so both sides need this; `asked` says which names they were. On rushlight's side ``torch.testing._internal`` is read from the wheel's source.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import sys
import types
from typing import Any

BORROWED = ("torch.testing._internal", "torch.testing._comparison", "torch._vendor", "torchgen")       # on rushlight's side, from the wheel
_loading = 0
_asked: dict[str, str] = {}             # a name -> the module that asked for it first


def asked() -> dict[str, str]:
    """The names that were replaced so far."""
    return dict(_asked)


class Missing(type):
    """The class of placeholders, which are classes: each can be a base, an annotation, or isinstance's second argument."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if "_missing" not in vars(cls):                     # a test's class derived from one
            return super().__call__(*args, **kwargs)
        if not _loading:
            raise NotImplementedError(f"absent: {cls._missing}")
        return args[0] if len(args) == 1 and not kwargs and isinstance(args[0], (type, types.FunctionType)) else cls

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or name == "parametrize_fn" or "_missing" not in vars(cls):
            raise AttributeError(name)
        return placeholder(f"{cls._missing}.{name}")

    def __getitem__(cls, key: Any) -> Any:
        return cls

    def __iter__(cls) -> Any:
        return iter(())

    def __len__(cls) -> int:
        return 0

    def __bool__(cls) -> bool:
        return False

    def __add__(cls, other: Any) -> Any:
        return other
    __radd__ = __add__

    def __lt__(cls, other: Any) -> bool:
        return False
    __gt__ = __le__ = __ge__ = __lt__


def placeholder(name: str) -> Any:
    """Something to import under a name that is not there."""
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if not _loading:
            raise NotImplementedError(f"absent: {name}")
    def __getattr__(self: Any, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if not _loading:
            raise NotImplementedError(f"absent: {name}.{attribute}")
        return placeholder(f"{name}.{attribute}")
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"absent: {name}")
    return Missing(name.rpartition(".")[2], (), {"_missing": name, "__init__": __init__, "__getattr__": __getattr__, "__call__": __call__})


class _Module(types.ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _asked.setdefault(f"{self.__name__}.{name}", self.__name__)
        return placeholder(f"{self.__name__}.{name}")


class _ModuleLoader:
    def create_module(self, spec: Any) -> Any:
        return _Module(spec.name)

    def exec_module(self, module: Any) -> None:
        return None


class _Lenient(importlib.machinery.SourceFileLoader):
    """Loads a file; where it asks for a name that is not there, that name gets a placeholder, and the file is begun anew."""

    def get_data(self, path: str) -> bytes:
        """The text. (One form of calling a base class's method never ends in the classes that the newer utilities derive.)"""
        return super().get_data(path).replace(b"super(self.__class__, self)", b"super()")

    def exec_module(self, module: Any) -> None:
        global _loading
        code, fresh, last = self.get_code(module.__name__), dict(vars(module)), ""
        _loading += 1
        try:
            while True:
                try:
                    return exec(code, vars(module))         # noqa: S102
                except (ImportError, AttributeError, NotImplementedError) as error:
                    if str(error) == last or not supply(error, module.__name__):
                        raise
                    last = str(error)
                vars(module).clear()
                vars(module).update(fresh)
        finally:
            _loading -= 1


def supply(error: Any, importer: str) -> bool:
    """Put a placeholder where the error says that a name is absent. False: it says something else."""
    if isinstance(error, ModuleNotFoundError):
        if not error.name or error.name in _asked or not re.match(r"(torch|functorch|torchgen|caffe2)\b", error.name):
            return False
        _asked[error.name] = importer
        return True                                         # `_Finder` finds it now
    refused = re.match(r"torch\.([\w.]+)\.(\w+) is not supported", str(error))
    if refused:                                             # a name that can be imported, and raises when it is used
        owner, name = sys.modules.get(f"torch.{refused[1]}"), refused[2]
    elif isinstance(error, ImportError):
        found = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error))
        owner, name = (sys.modules.get(found[2]), found[1]) if found else (None, None)
    else:
        owner, name = getattr(error, "obj", None), getattr(error, "name", None)
    if owner is None or not name:
        return False
    where = getattr(owner, "__name__", type(owner).__name__)
    _asked.setdefault(f"{where}.{name}", importer)
    try:
        # one list of ops was renamed: the files that ask for it would have no tests
        setattr(owner, name, owner.binary_ufuncs if name == "binary_ufuncs_and_refs" else placeholder(f"{where}.{name}"))
    except (AttributeError, TypeError):
        return False
    return True


class _Finder:
    """Finds the test files and utilities (leniently), and the modules that `supply` was asked for."""

    def __init__(self, tests: str, wheel: str) -> None:
        self.tests, self.wheel = tests, wheel

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name in _asked:
            return importlib.machinery.ModuleSpec(name, _ModuleLoader(), is_package=True)       # type: ignore[arg-type]
        if self.wheel and name.startswith(BORROWED):
            return self.borrowed(name)
        if path is None or name.partition(".")[0] in sys.modules:
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            if spec and spec.origin and spec.origin.startswith(self.tests + os.sep) and spec.origin.endswith(".py"):
                spec.loader = _Lenient(name, spec.origin)
                return spec
        return None

    def borrowed(self, name: str) -> Any:
        """PyTorch's own test utilities, from the wheel's source."""
        place = os.path.join(os.path.dirname(self.wheel), *name.split("."))
        file = os.path.join(place, "__init__.py") if os.path.isdir(place) else place + ".py"
        if not os.path.exists(file):
            return None
        return importlib.util.spec_from_file_location(name, file, loader=_Lenient(name, file),
                                                      submodule_search_locations=[place] if os.path.isdir(place) else None)


def install() -> None:
    """Called once in every Python process of a run."""
    wheel = os.environ.get("PTESTS_WHEEL", "")
    if wheel:
        import rushlight.compat
        rushlight.compat.install()
    sys.meta_path.insert(0, _Finder(os.environ["PTESTS_DIR"], wheel))   # type: ignore[arg-type]
