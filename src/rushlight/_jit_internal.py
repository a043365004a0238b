"""``torch._jit_internal``: what libraries mark functions with for the scripting compiler; everything runs as it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .futures import Future
from .jit import _overload, _overload_method, export, ignore, is_scripting, unused

__all__ = ["Final", "Future", "boolean_dispatch", "export", "ignore", "is_scripting", "unused",
           "_copy_to_script_wrapper", "_overload", "_overload_method"]


def __getattr__(name: str) -> Any:
    if name.startswith("BroadcastingList"):
        from .jit import annotations
        return getattr(annotations, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _copy_to_script_wrapper(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method that the scripted module keeps: here it is the same module."""
    return fn


def boolean_dispatch(arg_name: str, arg_index: int, default: bool, if_true: Callable[..., Any], if_false: Callable[..., Any],
                     module_name: Any, func_name: str) -> Callable[..., Any]:
    """A function that calls one of two, as a bool argument says."""
    def fn(*args: Any, **kwargs: Any) -> Any:
        chosen = kwargs[arg_name] if arg_name in kwargs else args[arg_index] if arg_index < len(args) else default
        return (if_true if chosen else if_false)(*args, **kwargs)
    fn.__doc__ = if_true.__doc__ or if_false.__doc__
    fn.__name__ = func_name or fn.__name__
    if module_name is not None:
        fn.__module__ = module_name
    return fn
