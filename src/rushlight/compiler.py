"""``torch.compiler``: what programs ask of a compiler and tell it. Nothing is compiled (see `torch.compile`), so the answers are short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .compiling import compile
from .ops.creation import from_numpy
from .tensor import Tensor
from .unsupported import attribute_of
from .utils._pytree import tree_map_only
from .vocabulary import Function

__all__ = ["compile", "assume_constant_result", "reset", "allow_in_graph", "substitute_in_graph", "list_backends", "disable", "set_stance",
           "cudagraph_mark_step_begin", "wrap_numpy", "is_compiling", "is_dynamo_compiling", "is_exporting", "set_default_backend",
           "get_default_backend"]

_STANCES = ("default", "force_eager", "eager_on_recompile", "fail_on_recompile", "eager_then_compile", "aot_eager_then_compile")
_backend: list[str] = ["inductor"]


def is_compiling() -> bool:
    """Whether the code that asks is being compiled or exported: never."""
    return False


def is_dynamo_compiling() -> bool:
    """Whether the code that asks is being traced by torch.compile: never."""
    return False


def is_exporting() -> bool:
    """Whether the code that asks is being exported: never."""
    return False


def disable(fn: Function | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Keep a function from being compiled: it is itself. Without `fn`, a decorator."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: Function) -> Any:
    """Let a function (or each of a list) into the compiled graph as it is."""
    if isinstance(fn, (list, tuple)):
        return [allow_in_graph(each) for each in fn]
    if not callable(fn):
        raise AssertionError("allow_in_graph expects a callable")
    return fn


def assume_constant_result(fn: Function) -> Any:
    """Say that a function's result does not change: it is itself."""
    return fn


def substitute_in_graph(original_fn: Any, *, can_constant_fold_through: bool = False, skip_signature_check: bool = False) -> Any:
    """A decorator: the decorated function is what a compiler sees for `original_fn`."""
    return lambda function: function


def wrap_numpy(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy arrays as one of tensors."""
    from functools import wraps

    import numpy as np


    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map_only(Tensor, lambda t: t.numpy(), (args, kwargs))
        return tree_map_only(np.ndarray, from_numpy, fn(*args, **kwargs))
    return wrapped


def reset() -> None:
    """Forget compiled code: there is none."""


def cudagraph_mark_step_begin() -> None:
    """Mark the beginning of a step for CUDA graphs, which are not used."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The compilers that there are: none."""
    return []


def set_default_backend(backend: Any) -> None:
    """Remember the name that `get_default_backend` gives."""
    _backend[0] = backend


def get_default_backend() -> Any:
    """The name of the compiler that torch.compile would be asked for."""
    return _backend[0]


@contextmanager
def _undo() -> Iterator[None]:
    yield


def set_stance(stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend: Any = None) -> Any:
    """Say when to compile, as a call or a context. RuntimeError for an unknown stance. Everything runs as it is in all of them."""
    if stance not in _STANCES:
        raise RuntimeError(f"invalid torch.compile stance '{stance}'")
    return _undo()


__getattr__ = attribute_of("compiler", "nothing is compiled; torch.compile runs a function as it is")
