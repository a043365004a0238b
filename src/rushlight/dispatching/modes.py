"""The stack of dispatch modes, and how an operator goes through it.

An operator first goes to the innermost `TorchDispatchMode` (whose ``__torch_dispatch__`` runs with that mode off), then to the classes of
its arguments that have a ``__torch_dispatch__``, then it is computed. All of this is below autograd: what handlers do is not recorded, what
they return is given the operator's gradient.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import overrides, return_types, services
from ..amp import casting
from ..autograd.grad_mode import _set_grad, is_grad_enabled
from ..ops import aten, attention
from ..ops.interception import intercept, python_function, release
from ..tensor import Tensor
from ..unsupported import NotSupported
from . import derivatives, lowering, naming, passes, whole
from . import nn as _nn  # noqa: F401

__all__ = ["LOCAL", "TorchDispatchMode", "disabled", "dispatch", "flat"]


class _Local(threading.local):
    modes: tuple[Any, ...] = ()
    frame: _Frame | None = None


class _Frame:
    """An operator whose result autograd waits for."""

    __slots__ = ("op", "given", "ran")

    def __init__(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.op, self.given, self.ran = op, tuple(map(id, flat((args, kwargs)))), None

    def matches(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return self.op is op and self.given == tuple(map(id, flat((args, kwargs))))


LOCAL = _Local()


class TorchDispatchMode:
    """A context in which every operator goes to ``self.__torch_dispatch__(func, types, args, kwargs)``.

    `func` is an overload such as ``torch.ops.aten.add.Tensor``. Inside of that method the mode is off (the one around it is on), so that
    ``func(*args, **kwargs)`` computes it. With `whole`, composite functions go to it as the operators of their names (PyTorch's
    pre-dispatch level).
    """

    whole = False
    unseen = ""          # with `whole`: the last function that was no operator

    def __init__(self, _dispatch_key: Any = None) -> None:
        if _dispatch_key is not None:
            raise NotSupported("torch.utils._python_dispatch.TorchDispatchMode(_dispatch_key) is not supported by rushlight: there is one "
                               "stack of modes")

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        raise NotImplementedError("a TorchDispatchMode has to define __torch_dispatch__(self, func, types, args=(), kwargs=None)")

    def __enter__(self) -> Any:
        _open()
        LOCAL.modes = (*LOCAL.modes, self)
        return self

    def __exit__(self, *exception: object) -> None:
        LOCAL.modes = LOCAL.modes[:-1]
        _close()

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Any:
        """Old name for making a mode."""
        return cls(*args, **kwargs)


@contextmanager
def disabled(count: int | None = None) -> Iterator[Any]:
    """Context: the innermost `count` modes (None: all) are off; gives them."""
    before = LOCAL.modes
    kept = len(before) - count if count is not None else 0
    LOCAL.modes = before[:kept]
    try:
        yield before[kept:]
    finally:
        LOCAL.modes = before


# --- where calls come from ------------------------------------------------------------------------------------------------------------

_lock = threading.RLock()
_visits = 0          # modes that are on, and one more once a class with __torch_dispatch__ has an instance
_keep = False
_layers: dict[Any, Any] = {}
_WANTED_PROPERTIES = frozenset(("_T", "_mT", "_H", "_mH", "real", "imag", "data"))


def _open() -> None:
    global _visits
    with _lock:
        if _visits == 0:
            if not _layers:
                _find_functions()
            for function, layer in _layers.items():
                intercept(function, "dispatch", layer)
            aten.observer = _overload
            passes.observe(observing)
        _visits += 1


def _close() -> None:
    global _visits
    with _lock:
        _visits -= 1
        if _visits == 0:
            for function in _layers:
                release(function, "dispatch")
            aten.observer = None
            passes.observe(None)


@services.watch_dispatch.given
def watch_dispatch() -> None:
    """A tensor of a class with ``__torch_dispatch__`` is made: operators are looked at from now on."""
    global _keep
    if not _keep:
        _keep = True
        _open()


def public_operators() -> dict[Any, str]:
    """Function -> the name under which it is public, for what computes; also the properties that do."""
    methods = {python_function(value): key for key, value in reversed(vars(Tensor).items()) if python_function(value)}
    found = {}
    for function, public in overrides.public_functions().items():
        name = getattr(public, "__name__", "")
        if name == "cast":
            name = methods.get(function, name)
        if name == "__get__" and function.__name__ in _WANTED_PROPERTIES:
            found[function] = function.__name__
        elif name not in ("__get__", "__set__") and name not in lowering.BELOW:
            found[function] = name
    found[attention.scaled_dot_product_attention] = "scaled_dot_product_attention"      # as the layers call it
    return found


def _find_functions() -> None:
    for function, name in public_operators().items():
        _layers[function] = functools.partial(_function, name)


def observing() -> bool:
    """Whether a mode looks at the operators of this thread."""
    return bool(LOCAL.modes)


def _function(name: str, inside: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a public function."""
    if not LOCAL.modes and not (_keep and _wrapped(args, kwargs)):
        return inside(*args, **kwargs)
    name = naming.plain_name(name)
    if casting.LOCAL.enabled:               # it comes before modes; a function around the listed one (`__matmul__`) is seen here first
        return casting.run_cast(naming.same_name(name), lambda *args, **kwargs: _named(name, inside, args, kwargs), args, kwargs)
    return _named(name, inside, args, kwargs)


def _named(name: str, inside: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of the operator of this name, or of what is none."""
    if name == "tensor":
        return dispatch(aten.lift_fresh.default, (inside(*args, **kwargs),), {})
    lowered = (whole.TABLE if LOCAL.modes and LOCAL.modes[-1].whole else lowering.TABLE).get(name)
    if lowered is not None:
        try:
            return lowered(*args, **kwargs)
        except lowering.Whole:
            pass
        except TypeError:
            if lowering.fits(lowered, args, kwargs):
                raise
    out = kwargs.get("out")
    found = naming.canonical(name, args, {key: value for key, value in kwargs.items() if key != "out"})
    if found is None:
        return _unseen(name, inside, args, kwargs)
    packet, args, kwargs = found
    op = naming._overload(packet, args, kwargs, Tensor)
    if out is not None:
        op = next((getattr(packet, each) for each in packet.overloads() if aten._is_out(each)), None)
        kwargs = {**kwargs, "out": out}
    return _unseen(name, inside, args, kwargs) if op is None else _public(packet.__name__, dispatch(op, args, kwargs))


def _public(name: str, result: Any) -> Any:
    """An operator's results as the public function gives them: tuples, with names where it names them."""
    if result.__class__ is list:
        return tuple(result)
    named = getattr(return_types, name, None) if result.__class__ is tuple else None
    return named(result) if isinstance(named, type) and named.n_fields == len(result) else result  # type: ignore[attr-defined]


def _unseen(name: str, inside: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a function that is no operator: the operators in it are looked at."""
    if LOCAL.modes and LOCAL.modes[-1].whole:
        LOCAL.modes[-1].unseen = name
    return inside(*args, **kwargs)


def _overload(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of an operator by its name."""
    if not LOCAL.modes and not (_keep and _wrapped(args, kwargs)):
        return _compute(op, args, kwargs)
    if op._opname in lowering.COMPOSITE and not op._takes_out and not (LOCAL.modes and LOCAL.modes[-1].whole):
        return _function(op._opname, op, args, kwargs)
    return dispatch(op, args, kwargs)


def flat(value: Any) -> Iterator[Any]:
    """What stands in containers."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from flat(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from flat(each)
    else:
        yield value


def _wrapped(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments whose classes have a ``__torch_dispatch__``, one per class, subclasses first."""
    found: list[Any] = []
    for each in flat((args, kwargs)) if kwargs else flat(args):
        if each.__class__ is not Tensor and isinstance(each, Tensor) and _handler(type(each)) is not None:
            overrides._insert(found, each)
    return found


def _handler(cls: type[Any]) -> Any:
    found = getattr(cls, "__torch_dispatch__", None)
    return None if found is Tensor._disabled_torch_dispatch else found


# --- an operator ----------------------------------------------------------------------------------------------------------------------

def dispatch(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator through the modes and classes that want to see it."""
    wrapped = _wrapped(args, kwargs)
    if not LOCAL.modes and not wrapped:
        return _compute(op, args, kwargs)
    if not (is_grad_enabled() and any(isinstance(each, Tensor) and each._node is not None for each in flat((args, kwargs)))):
        return _ask(op, wrapped, args, kwargs)
    noted = derivatives.before(op, args, kwargs)
    frame = _Frame(op, args, kwargs)
    previous, LOCAL.frame = LOCAL.frame, frame
    _set_grad(False)
    try:
        result = _ask(op, wrapped, args, kwargs)
    finally:
        _set_grad(True)
        LOCAL.frame = previous
    if frame.ran is not None:
        _hand_on(result, frame.ran)
    result = derivatives.after(noted, result, frame.ran is not None)
    if wrapped:
        derivatives.mark(result)
    return result


def _hand_on(result: Any, ran: Any) -> None:
    """Give what a handler returned the place in the graph of what was computed for it."""
    for given, each in zip(flat(result), flat(ran), strict=False):
        if given is not each and isinstance(given, Tensor) and isinstance(each, Tensor) and given._node is None:
            given._node = each._node


def _ask(op: Any, wrapped: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    types = tuple(map(type, wrapped))
    modes = LOCAL.modes
    if modes:
        LOCAL.modes = modes[:-1]
        try:
            result = modes[-1].__torch_dispatch__(op, types, args, kwargs)
        finally:
            LOCAL.modes = modes
        if result is not NotImplemented:
            return result
        if len(modes) > 1:
            with disabled(1):
                return _ask(op, wrapped, args, kwargs)
    for each in wrapped:
        with disabled():
            result = type(each).__torch_dispatch__(op, types, args, kwargs)
        if result is not NotImplemented:
            return result
    asked = [f"mode object {modes[-1]}"] if modes else []
    asked += [f"tensor subclass {each}" for each in types]
    raise TypeError(f"Multiple dispatch failed for 'torch._ops.{op}'; all __torch_dispatch__ handlers returned NotImplemented:\n\n"
                    + "\n".join("  - " + each for each in asked))


def _compute(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operator itself; with a gradient where autograd waits for this very call."""
    frame = LOCAL.frame
    if frame is None or not frame.matches(op, args, kwargs):
        return op.run(args, dict(kwargs))
    LOCAL.frame = None
    _set_grad(True)
    try:
        frame.ran = op.run(args, dict(kwargs))
    finally:
        _set_grad(False)
        LOCAL.frame = frame
    return frame.ran
