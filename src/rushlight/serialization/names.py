"""Under which names things stand in files: PyTorch's, both when writing and when reading.

Files name classes and functions as ``module name``. Ours say that they are from PyTorch's modules (`homes`), below one of our two names.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any

from .. import _utils
from .. import dtypes as _dtype
from ..homes import is_own, place
from ..storage import LEGACY_STORAGES
from ..vocabulary import Function

__all__ = ["full_names", "our_object", "torch_name"]

_INNER = ("torch.ops.", "torch.kernels.", "torch.serialization.")


@cache
def rebuilders() -> dict[tuple[str, str], Any]:
    """The functions that make tensors from their parts, by the names that they have in files."""
    utils = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_meta_tensor_no_storage", "_rebuild_parameter",
             "_rebuild_parameter_with_state", "_rebuild_sparse_tensor")
    return {**{("torch._utils", name): getattr(_utils, name) for name in utils},
            ("torch._tensor", "_rebuild_from_type_v2"): _utils._rebuild_from_type_v2,
            ("torch.serialization", "_get_layout"): _utils._get_layout}


def torch_name(obj: Function | type[Any], name: str | None = None) -> tuple[str, str] | None:
    """(module, name) under which PyTorch knows one of our classes, functions or dtypes; None for what is not ours."""
    if isinstance(obj, _dtype.dtype):
        return "torch", obj.name
    module = getattr(obj, "__module__", None) or ""
    name = name or getattr(obj, "__qualname__", None) or getattr(obj, "__name__", "")
    if module == "torch" and LEGACY_STORAGES.get(name) is obj:
        return module, name
    if not is_own(module) or (module.partition(".")[0] == "torch" and _find(module, name) is not obj):
        return None
    path = "torch" + module[len(module.partition(".")[0]):]
    if not path.startswith(_INNER):
        return path, name
    # Functions of modules that only rushlight has are named by the highest namespace that shows them.
    best = path
    while "." in path:
        path = path.rpartition(".")[0]
        if _find(path, name) is obj:
            best = path
    return best, name


def full_names(obj: Any) -> set[str]:
    """The dotted names by which files may refer to a class or function."""
    named = torch_name(obj)
    names = {f"{obj.__module__}.{obj.__qualname__}"}
    if named is not None:
        names.add(".".join(named))
    return names


def our_object(module: str, name: str) -> type[Any]:
    """What PyTorch's ``module name`` means here. AttributeError where rushlight has no such thing."""
    found = rebuilders().get((module, name))
    if found is None and module == "torch":
        found = _dtype.DTYPES.get(name) or LEGACY_STORAGES.get(name)
    if found is None:
        found = _find(module, name)
    if found is None:
        raise AttributeError(f"the file refers to {module}.{name}, which rushlight does not have")
    return found


def _find(module: str, name: str) -> Any:
    """Look for an attribute in the module of ours with the same path, then in the packages above it."""
    path = place(module.partition(".")[2])
    while path:
        found = _module(path)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None and not _is_module(found):
            return found
        path = path.rpartition(".")[0]
    return None


def _module(path: str) -> Any:
    found = sys.modules.get(path)
    if found is None:
        try:
            found = import_module(path)
        except ModuleNotFoundError as error:
            if not path.startswith(error.name or "?"):
                raise
    return found


def _is_module(value: Any) -> bool:
    return isinstance(value, type(sys))
