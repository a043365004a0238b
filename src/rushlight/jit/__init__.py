"""``torch.jit``: script and trace give callables and modules that do what the originals do. Nothing is compiled; see docs/compile.md.

`load` also reads TorchScript archives, which PyTorch wrote: see `torchscript`.
"""

from __future__ import annotations

import builtins
import typing
from collections.abc import Callable
from types import UnionType
from typing import Any, Final, NamedTuple

from ..futures import Future
from ..unsupported import attribute_of, not_supported
from .files import load, save
from .scripted import ScriptFunction, ScriptModule, TracerWarning, script, trace, trace_module
from .torchscript.modules import RecursiveScriptModule
from .torchscript.values import Error

__all__ = ["Attribute", "CompilationUnit", "Error", "Final", "Future", "RecursiveScriptModule", "ScriptFunction", "ScriptModule",
           "TracerWarning", "annotate", "enable_onednn_fusion", "export", "export_opnames", "fork", "freeze", "ignore", "interface",
           "is_scripting", "is_tracing", "isinstance", "load", "onednn_fusion_enabled", "optimize_for_inference",
           "run_frozen_optimizations", "save", "script", "script_if_tracing", "script_method", "set_fusion_strategy", "strict_fusion",
           "trace", "trace_module", "unused", "wait"]


class Attribute(NamedTuple):
    """A value with the type that TorchScript shall give it."""

    value: Any
    type: Any


def is_scripting() -> bool:
    """Whether the code that asks runs as TorchScript: never, it is Python."""
    return False


def is_tracing() -> bool:
    """Whether the code that asks is being traced: never; `trace` runs it as it is."""
    return False


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value; its type is for TorchScript's compiler."""
    return the_value


def export(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method as one that a scripted module has, too; they all have all methods here."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """A decorator (with or without arguments): leave a function to Python, where all functions are left."""
    return drop if callable(drop) else lambda fn: fn


def unused(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that TorchScript does not need."""
    return fn


def interface(obj: type) -> type:
    """Mark a class as the interface of modules (RuntimeError for anything but a class)."""
    if not builtins.isinstance(obj, type):
        raise RuntimeError("interface must be applied to a class")
    return obj


def _overload(func: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function's body-less form, which only the scripting compiler reads; the last definition is the one that runs."""
    return func


_overload_method = _overload


_get_trace_graph = not_supported("jit._get_trace_graph", "nothing is compiled, so there is no graph of TorchScript; torch.fx "
                                 "has graphs, and torch.utils.flop_counter counts operations")


def script_if_tracing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that would be compiled when it is first traced."""
    return fn


def script_method(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method of a ScriptModule."""
    return fn


def isinstance(obj: Any, target_type: Any) -> bool:
    """`isinstance` that knows the container types of `typing`: ``isinstance(x, List[int])`` looks at the elements."""
    if builtins.isinstance(target_type, tuple):
        return any(isinstance(obj, each) for each in target_type)
    origin, args = typing.get_origin(target_type), typing.get_args(target_type)
    if origin is None:
        return builtins.isinstance(obj, type(None) if target_type is None else target_type)
    if origin in (typing.Union, UnionType):
        return any(isinstance(obj, each) for each in args)
    if not builtins.isinstance(obj, origin):
        return False
    if issubclass(origin, dict):
        return all(isinstance(key, args[0]) and isinstance(value, args[1]) for key, value in obj.items())
    if issubclass(origin, tuple):
        if len(args) == 2 and args[1] is ...:
            return all(isinstance(each, args[0]) for each in obj)
        return len(obj) == len(args) and all(isinstance(each, kind) for each, kind in zip(obj, args, strict=True))
    return all(isinstance(each, args[0]) for each in obj)


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
    """A future for ``func(*args, **kwargs)``, which is run at once."""
    future = Future()
    future.set_result(func(*args, **kwargs))
    return future


def wait(future: Future) -> Any:
    """The value of a future."""
    if future is None:
        raise RuntimeError("Future can't be None")
    if not hasattr(future, "wait"):
        raise TypeError(f"wait(): incompatible function arguments: a Future was expected, but got {type(future).__name__}")
    return future.wait()


def freeze(mod: Any, preserved_attrs: list[str] | None = None, optimize_numerics: bool = True) -> Any:
    """A copy of a ScriptModule in evaluation mode whose parameters need no gradients. RuntimeError for others, or in training mode."""
    if not builtins.isinstance(mod, ScriptModule):
        raise RuntimeError("Freezing expects a ScriptModule as input. Please use torch.jit.script or torch.jit.trace to script your "
                           "'nn.Module'.")
    if mod.training:
        raise RuntimeError("Freezing is currently only implemented for modules in eval mode. Please call .eval() on your module before "
                           "freezing.")
    for name in preserved_attrs or ():
        getattr(mod, name)
    from copy import deepcopy
    return deepcopy(mod).requires_grad_(False)


def run_frozen_optimizations(mod: Any, optimize_numerics: bool = True, preserved_methods: list[str] | None = None) -> None:
    """Optimise a frozen module in place; it runs as it is."""


def optimize_for_inference(mod: Any, other_methods: list[str] | None = None) -> Any:
    """A frozen copy of a module (of a frozen one: itself)."""
    return freeze(mod.eval()) if any(p.requires_grad for p in mod.parameters()) else mod


_fusion: dict[str, Any] = {"strategy": [("STATIC", 2), ("DYNAMIC", 10)], "onednn": False}


def set_fusion_strategy(strategy: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Choose how often code would be specialised; returns the choice before. There is no code to specialise."""
    previous, _fusion["strategy"] = _fusion["strategy"], list(strategy)
    return previous


def enable_onednn_fusion(enabled: bool) -> None:
    """Remember whether oneDNN's fusion shall be used; it is not here."""
    _fusion["onednn"] = bool(enabled)


def onednn_fusion_enabled() -> bool:
    """What `enable_onednn_fusion` was given."""
    return _fusion["onednn"]


class strict_fusion:
    """A context in which TorchScript would complain where it can't fuse; in Python, as in PyTorch's eager mode, it does nothing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        return None


class CompilationUnit:
    """Functions from TorchScript source: not supported (NotImplementedError), because there is no compiler for it."""

    def __init__(self, lang: str | None = None, _frames_up: int = 0) -> None:
        if lang is not None:
            not_supported("jit.CompilationUnit", "write the functions in Python and pass them to torch.jit.script")()


export_opnames = not_supported("jit.export_opnames", "a scripted module is Python code here, it has no list of operators")

__getattr__ = attribute_of("jit", "script and trace run the Python code as it is; there is no TorchScript compiler")
_script_if_tracing = script_if_tracing
