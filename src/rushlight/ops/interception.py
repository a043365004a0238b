"""Looking in on functions while somebody wants to, at no cost while nobody does.

`intercept` exchanges a function's code, in place, for code that hands the call to a layer first: whoever holds the function, through
whatever name, gets the layer. `release` puts the code back. Layers, outermost first: "overrides" (``__torch_function__``, modes, and vmap's
fallback; see overrides.py), "autocast" (amp/casting.py), "dispatch" (``__torch_dispatch__``; dispatching/modes.py) and "profile"
(profiler/operators.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from ..kernels import native
from ..vocabulary import Function
from .signatures import SignatureOf

__all__ = ["intercept", "release", "code_of", "original_of", "python_function"]

_NativeOp: Any = None if native.library is None else native.library.Op
Layer = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

_ORDER = ("profile", "dispatch", "autocast", "overrides")                      # from the inside
_originals: dict[FunctionType, FunctionType] = {}                   # function -> a copy that keeps its code
_layers: dict[FunctionType, dict[str, Layer]] = {}                  # function -> the layers that are on
_codes: dict[tuple[FunctionType, tuple[Layer, ...]], CodeType] = {}  # what was made for these layers before


def python_function(value: Any) -> FunctionType | None:
    """The function itself, or the closure behind a native op (which leaves calls to the closure while that is intercepted); else None."""
    if value.__class__ is FunctionType:
        return value
    return value.__wrapped__ if value.__class__ is _NativeOp else None


def intercept(function: FunctionType, name: str, layer: Layer) -> None:
    """Let calls of a function go to ``layer(inner, args, kwargs)``, which may call ``inner(*args, **kwargs)``."""
    if function not in _originals:
        original = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
        original.__kwdefaults__, original.__annotations__ = function.__kwdefaults__, function.__annotations__
        original.__dict__.update(function.__dict__)             # among them what it wraps
        _originals[function] = original
        if not {"__signature__", "__wrapped__"} & set(function.__dict__):         # exchanged code takes anything; what it takes stays known
            function.__signature__ = SignatureOf(original)  # type: ignore[attr-defined]
    _layers.setdefault(function, {})[name] = layer
    _exchange(function)


def release(function: FunctionType, name: str) -> None:
    """Take a layer off again."""
    if _layers.get(function, {}).pop(name, None) is not None:
        _exchange(function)


def original_of(function: Function) -> Function:
    """The function without layers."""
    return _originals.get(python_function(function), function)  # type: ignore[arg-type]


def code_of(function: Function) -> Any:
    """The code of a function as it was defined."""
    return _originals[function].__code__ if function in _originals else function.__code__


def _exchange(function: FunctionType) -> None:
    on = _layers[function]
    layers = tuple([on[name] for name in _ORDER if name in on])
    if not layers:
        function.__code__ = _originals[function].__code__
        return
    code = _codes.get((function, layers))
    if code is None:
        inner: Any = _originals[function]
        for layer in layers[:-1]:
            inner = _Inner(layer, inner)
        enter = functools.partial(layers[-1], inner)
        template = _template(len(function.__closure__ or ()))
        code = _codes[function, layers] = template.replace(
            co_consts=tuple([enter if each == _HOLE else each for each in template.co_consts]), co_name=function.__name__)
    function.__code__ = code


class _Inner:
    """A layer around a function, as a function."""

    __slots__ = ("layer", "inner", "__name__")

    def __init__(self, layer: Layer, inner: Any) -> None:
        self.layer, self.inner, self.__name__ = layer, inner, inner.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer(self.inner, args, kwargs)


_HOLE = 4096.5


@functools.cache
def _template(free: int) -> CodeType:
    """The code of a function that hands its arguments to the constant `_HOLE` (to be replaced), with so many free variables: Python puts
    code only into functions that have as many."""
    names = ", ".join(f"_{i}" for i in range(free))
    keep = f"        if 0: {names}\n" if free else ""
    scope: dict[str, Any] = {}
    exec(f"def outer({names}):\n    def door(*args, **kwargs):\n{keep}        enter = {_HOLE}\n        return enter(args, kwargs)\n    "
         "return door",
         scope)
    return next(each for each in scope["outer"].__code__.co_consts if isinstance(each, CodeType))
