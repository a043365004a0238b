"""Operators and backward functions while a profiler looks at them; nothing of it is there while none does."""

from __future__ import annotations

import functools
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ..autograd import engine
from ..autograd.grad_mode import LOCAL
from ..autograd.graph import array_of
from ..dispatching import modes, naming
from ..kind import NotBatched
from ..ops.interception import intercept, release
from ..tensor import Tensor, wrap
from .events import FunctionEvent

__all__ = ["attach", "detach"]

_ROOT = str(Path(__file__).resolve().parent.parent)


class _Local(threading.local):
    title = ""


_local = _Local()
_lock = threading.RLock()
_recorders: tuple[Any, ...] = ()
_outer: Any = None          # who else chooses the class of backward passes (dispatching/passes.py), and comes first
_layers: dict[Any, Any] = {}


def attach(recorder: Any) -> None:
    """Record operators for a profiler."""
    global _recorders, _outer
    with _lock:
        if not _recorders:
            if not _layers:
                _layers.update({function: functools.partial(_timed, _title(name)) for function, name in modes.public_operators().items()})
            for function, layer in _layers.items():
                intercept(function, "profile", layer)
            if engine.observer is not _watched:
                _outer, engine.observer = engine.observer, _watched
        _recorders = (*_recorders, recorder)


def detach(recorder: Any) -> None:
    """Stop recording for a profiler."""
    global _recorders
    with _lock:
        _recorders = tuple([each for each in _recorders if each is not recorder])
        if not _recorders:
            for function in _layers:
                release(function, "profile")
            if engine.observer is _watched:
                engine.observer = _outer


def _title(name: str) -> str:
    name = naming.plain_name(name).removeprefix("_") if name.startswith("_") and not name.startswith("__") else naming.plain_name(name)
    return f"aten::{naming.same_name(name)}"


def _timed(title: str, inside: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator and note it; what only hands on to the operator of its name is no other one."""
    around = _local.title
    if around == title:
        return inside(*args, **kwargs)
    _local.title = title
    start = time.perf_counter_ns()
    try:
        result = inside(*args, **kwargs)
    finally:
        _local.title = around
    _note(title, start, time.perf_counter_ns(), "cpu_op", args, result)
    return result


def _note(title: str, start: int, end: int, kind: str, args: tuple[Any, ...], result: Any) -> None:
    shapes = types = stack = None
    memory = 0
    if any(each.record_shapes for each in _recorders):
        shapes, types = [_shape(each) for each in args], [_type(each) for each in args]
    if any(each.profile_memory for each in _recorders):
        memory = _new_bytes(args, result)
    if any(each.with_stack for each in _recorders):
        stack = _stack()
    event = FunctionEvent(title, start, end, threading.get_ident(), kind, shapes, types, stack, memory)
    for each in _recorders:
        each._recorded.append(event)


def _shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return [int(n) for n in value._a.shape]
    return [_shape(each) for each in value] if isinstance(value, (list, tuple)) and any(isinstance(each, Tensor) for each in value) else []


def _type(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(value.dtype).removeprefix("torch.")
    return "Scalar" if isinstance(value, (int, float, complex)) else "TensorList" if _shape(value) else ""


def _new_bytes(args: tuple[Any, ...], result: Any) -> int:
    """The memory of the results that are neither views nor arguments."""
    given = {id(each) for each in args}
    results = result if isinstance(result, (list, tuple)) else [result]
    return sum(int(each._a.nbytes) for each in results if isinstance(each, Tensor) and each._view is None and id(each) not in given)


def _stack() -> list[str]:
    """The lines of the program outside of this package, the innermost first."""
    found, frame = [], sys._getframe(2)
    while frame is not None:
        if not frame.f_code.co_filename.startswith((_ROOT, "<")):
            found.append(f"{frame.f_code.co_filename}({frame.f_lineno}): {frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return found


# --- the backward pass --------------------------------------------------------------------------------------------------------------------

class _Pass(engine._Pass):
    """A backward pass whose nodes are noted."""

    __slots__ = ()

    @staticmethod
    def ones(tensor: Tensor) -> Tensor:
        """The gradient that a pass starts from."""
        return wrap(tensor._kind.xp.ones(tensor._a.shape, tensor._kind.np), tensor._kind)

    def run(self, roots: list[tuple[Any, Any]], order: list[Any]) -> None:
        if not self.graph:
            roots[:] = [(edge, array_of(g) if isinstance(g, Tensor) else g) for edge, g in roots]
        super().run(roots, order)

    def checked(self) -> Any:
        """A node's own formula, with the time that it takes."""
        return super().checked() if LOCAL.anomaly else _node


def _watched(roots: Any) -> Any:
    return (None if _outer is None else _outer(roots)) or _Pass


def _node(node: Any, g: Any, graph: bool) -> Any:
    start = time.perf_counter_ns()
    try:
        grads = node.tensors(g) if graph else node.arrays(g)
    except NotBatched as error:
        grads = engine._by_sample(node, g, graph, error)
    _note(f"autograd::engine::evaluate_function: {node.name()}", start, time.perf_counter_ns(), "cpu_op", (), None)
    return grads
