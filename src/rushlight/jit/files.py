"""``torch.jit.save`` and ``torch.jit.load``: rushlight's own files (TorchScript's can't be read or written).

A file of a module has the module's class by name and its state; of a function, its name. Loading imports the classes' modules, as
unpickling would, but takes nothing else from the file than instances of Module subclasses, tensors and plain data.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from .. import serialization
from ..nn.modules.module import Module
from ..serialization import names
from .scripted import ScriptFunction, ScriptModule, script

__all__ = ["save", "load"]

_FORMAT = "rushlight.jit 1"


def _function_name(function: Any) -> tuple[str, str]:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module is None or not name or "<" in name:
        raise RuntimeError(f"torch.jit.save can't save {function!r}: its file would hold the function's name, by which it is imported again, and "
                           "lambdas and local functions can't be imported. Define it at the top of a module")
    return module, name


def save(m: Any, f: Any, _extra_files: dict[str, Any] | None = None) -> None:
    """Write a ScriptModule or ScriptFunction to a file (a path or a binary file)."""
    if isinstance(m, ScriptModule):
        content: dict[str, Any] = {"module": m.__dict__["_original"]}
    elif isinstance(m, ScriptFunction):
        content = {"function": _function_name(m.function)}
    else:
        raise AttributeError(f"torch.jit.save: expected a ScriptModule or ScriptFunction (torch.jit.script makes them), got {type(m).__name__}")
    serialization.save({"format": _FORMAT, "extra": dict(_extra_files or {}), **content}, f)


def _allowed(full: str) -> Any:
    """A class or function that a file names, if it is a Module's class or a function of nn.functional; else RuntimeError."""
    module, _, name = full.rpartition(".")
    try:
        found = names.our_object(module, name) if module.startswith("torch.") else getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise RuntimeError(f"the file needs {full}, which can't be imported here: {error}") from error
    if isinstance(found, type) and issubclass(found, Module):
        return found
    from ..nn import functional
    if getattr(functional, name, None) is found:
        return found
    raise RuntimeError(f"the file needs {full}, which is neither a Module's class nor a function of torch.nn.functional: torch.jit.load takes "
                       "nothing else. Save the state_dict instead, or use torch.save and torch.load(weights_only=False)")


def _read(f: Any, map_location: Any) -> dict[str, Any]:
    unknown = serialization.get_unsafe_globals_in_checkpoint(f)
    if hasattr(f, "seek"):
        f.seek(0)
    with serialization.safe_globals([(_allowed(name), name) for name in unknown]):
        return serialization.load(f, map_location=map_location, weights_only=True)


def load(f: Any, map_location: Any = None, _extra_files: dict[str, Any] | None = None, _restore_shapes: bool = False) -> Any:
    """Read what `save` wrote. The classes' modules have to be importable.

    map_location  as for ``torch.load``
    ValueError where there is no such file; RuntimeError for anything else than `save`'s files (TorchScript archives among them).
    """
    if isinstance(f, (str, os.PathLike)) and not os.path.exists(f):
        raise ValueError(f"The provided filename {f} does not exist")
    try:
        content = _read(f, map_location)
    except KeyError as error:
        content = {"error": error}
    except RuntimeError as error:
        if "data.pkl" not in str(error) and "__torch__" not in str(error):
            raise
        content = {"error": error}
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise RuntimeError("torch.jit.load reads files of rushlight's torch.jit.save only. TorchScript archives hold compiled code: in PyTorch, save "
                           "the module's state_dict, and load that into the same module here")
    for name in _extra_files or ():
        if name in content["extra"]:
            _extra_files[name] = content["extra"][name]  # type: ignore[index]
    if "module" in content:
        return script(content["module"])
    module, name = content["function"]
    target: Any = import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    return ScriptFunction(target.function if isinstance(target, ScriptFunction) else target)
