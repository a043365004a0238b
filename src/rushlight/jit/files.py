"""``torch.jit.save`` and ``torch.jit.load``: rushlight's own files, and TorchScript archives that PyTorch wrote (`torchscript`).

A module that came from an archive is saved as one again; what was scripted here is Python code, and goes into a file of our own: of a
module, its class by name and its state; of a function, its name. Loading imports nothing and calls nothing that a file names: see `load`.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

from .. import serialization
from ..homes import is_own
from ..nn import functional
from ..nn.modules.module import Module
from ..serialization import names
from ..serialization.locations import restorer
from ..vocabulary import Function
from .scripted import SCRIPTED, ScriptFunction, ScriptModule, script
from .torchscript.archive import is_archive, load_archive, save_archive
from .torchscript.modules import RecursiveScriptModule

__all__ = ["save", "load"]

_FORMAT = "rushlight.jit 1"


def _function_name(function: Function) -> tuple[str, str]:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module is None or not name or "<" in name:
        raise RuntimeError(f"torch.jit.save can't save {function!r}: its file would hold the function's name, by which it is imported "
                           "again, and lambdas and local functions can't be imported. Define it at the top of a module")
    return module, name


def save(m: Any, f: Any, _extra_files: dict[str, Any] | None = None) -> None:
    """Write a ScriptModule or ScriptFunction to a file (a path or a binary file); one that was loaded from an archive as an archive."""
    if isinstance(m, RecursiveScriptModule):
        with serialization.for_writing(f) as file:
            save_archive(m, file, serialization.archive_name(f), dict(_extra_files or {}))
        return
    if isinstance(m, ScriptModule):
        content: dict[str, Any] = {"module": m.__dict__["_original"]}
    elif isinstance(m, ScriptFunction):
        content = {"function": _function_name(m.function)}
    else:
        raise AttributeError(f"torch.jit.save: expected a ScriptModule or ScriptFunction (torch.jit.script makes them), got "
                             f"{type(m).__name__}")
    serialization.save({"format": _FORMAT, "extra": dict(_extra_files or {}), **content}, f)


def _allowed(module: str, name: str) -> Any:
    """What a file may name: a Module's class that this program has imported (or that is rushlight's), a public function of
    nn.functional."""
    if module == "torch.nn.functional" and not name.startswith("_"):
        found = getattr(functional, name, None)
        if callable(found) and not isinstance(found, type) and is_own(getattr(found, "__module__", None) or ""):
            return found
    found = _ours(module, name) if module.partition(".")[0] == "torch" else getattr(sys.modules.get(module), name, None)
    if isinstance(found, type) and issubclass(found, Module):
        return found
    raise RuntimeError(
        f"the file needs {module}.{name}, which is neither the class of a Module that this program has imported nor a function of "
        "torch.nn.functional, and torch.jit.load takes nothing else: import its module before if you trust it (other classes and "
        "functions: torch.serialization.add_safe_globals), or save the state_dict instead")


def _ours(module: str, name: str) -> Any:
    if not module.startswith(("torch.nn.", "torch.ao.", "torch.optim.", "torch.jit.")):
        return None
    try:
        return names.our_object(module, name)
    except AttributeError:
        return None


def _function(module: Any, name: Any) -> Any:
    """The function that a file names: one that was allowed by `add_safe_globals`, or that this program has scripted under that name."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise RuntimeError("torch.jit.load: the file does not name a function")
    for entry in serialization.get_safe_globals():
        obj, given = entry if isinstance(entry, tuple) else (entry, None)
        if f"{module}.{name}" == (given or f"{getattr(obj, '__module__', '')}.{getattr(obj, '__qualname__', '')}"):
            return obj
    if (module, name) in SCRIPTED:
        return SCRIPTED[module, name]
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, ScriptFunction):
        return found.function
    raise RuntimeError(f"torch.jit.load: the file names the function {module}.{name}, which this program has not scripted "
                       "(torch.jit.script) and not allowed: pass it to torch.serialization.add_safe_globals if you trust the file")


def load(f: Any, map_location: Any = None, _extra_files: dict[str, Any] | None = None, _restore_shapes: bool = False) -> Any:
    """Read what `save` or PyTorch's ``torch.jit.save`` wrote, without running anything that the file brings or names.

    From a TorchScript archive comes a `RecursiveScriptModule`. Its code is text of the archive, in which nothing but TorchScript's own
    operators can be called; it runs when the program calls the module, not before.
    From a file of rushlight's: a module is made of tensors, plain data and Module classes that this program has imported already (or that
    are rushlight's own); nothing is imported because a file says so. A function has to be one that the program has scripted, or has
    allowed by ``torch.serialization.add_safe_globals``.

    map_location  as for ``torch.load``
    ValueError where there is no such file; RuntimeError for what is neither, is damaged, or needs what is not allowed or not known.
    """
    if not isinstance(f, (str, os.PathLike)):
        return _load(f, map_location, _extra_files)
    if not os.path.exists(f):
        raise ValueError(f"The provided filename {f} does not exist")
    if os.path.isdir(f):
        raise ValueError(f"The provided filename {f} is a directory")
    with open(f, "rb") as file:
        return _load(file, map_location, _extra_files)


def _load(f: Any, map_location: Any, extra: dict[str, Any] | None) -> Any:
    if is_archive(f):
        return load_archive(f, restorer(map_location), extra)
    try:
        content = serialization.load_instances(f, map_location, _allowed)
    except pickle.UnpicklingError as error:
        raise RuntimeError(f"torch.jit.load takes nothing else than modules and data. {error}") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise RuntimeError("torch.jit.load reads TorchScript archives and files of rushlight's torch.jit.save only; this is another file "
                           "of torch.save: read it with torch.load")
    kept = content.get("extra")
    for name in extra or () if isinstance(kept, dict) else ():
        if name in kept:
            extra[name] = kept[name]  # type: ignore[index]
    if "module" in content:
        return script(content["module"])
    named = content.get("function")
    return ScriptFunction(_function(*named if isinstance(named, tuple) and len(named) == 2 else (None, None)))
