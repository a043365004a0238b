"""Where a program that is exported records gradients: what its own `no_grad`, `enable_grad`, `set_grad_enabled` and `inference_mode` say.

The export itself runs without gradients, so that the switch of the thread does not tell; the contexts are looked at as they are entered.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..autograd import grad_mode
from ..ops.interception import intercept, release

__all__ = ["Recording"]

_ROOT = str(Path(__file__).resolve().parent.parent)
_HERE = str(Path(grad_mode.__file__).resolve())


class _Local(threading.local):
    now: Recording | None = None


LOCAL = _Local()


class Recording:
    """A context in which `on` tells whether the program, where it is now, records gradients."""

    def __init__(self) -> None:
        self.on = True
        self._before: dict[int, bool] = {}             # id of a context -> what was before it
        self._around: Recording | None = None

    def __enter__(self) -> Recording:
        self._around, LOCAL.now = LOCAL.now, self
        for function, layer in _LAYERS.items():
            intercept(function, "overrides", layer)
        return self

    def __exit__(self, *exception: object) -> None:
        LOCAL.now = self._around
        if LOCAL.now is None:
            for function in _LAYERS:
                release(function, "overrides")

    def enter(self, context: Any, on: bool) -> None:
        """The program enters one of the contexts."""
        self._before.setdefault(id(context), self.on)
        self.on = on

    def leave(self, context: Any) -> None:
        """It leaves one."""
        self.on = self._before.pop(id(context), self.on)


def _of_the_program(frame: Any) -> bool:
    """Whether this frame, which enters a context, is the program's, or that of a function which the program has decorated; what
    rushlight does for itself (a custom Function's forward, for one) is no business of the program's gradients."""
    name = frame.f_code.co_filename
    if name == _HERE:
        name = getattr(getattr(frame.f_locals.get("function"), "__code__", None), "co_filename", "")
    return not name.startswith(_ROOT)


def _entered(mode: Callable[[Any], bool], inside: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = inside(*args, **kwargs)
    if LOCAL.now is not None and _of_the_program(sys._getframe(2)):
        LOCAL.now.enter(args[0], mode(args[0]))
    return result


def _left(inside: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if LOCAL.now is not None:
        LOCAL.now.leave(args[0])
    return inside(*args, **kwargs)


_LAYERS: dict[Any, Any] = {
    grad_mode.no_grad.__enter__: functools.partial(_entered, lambda context: False),
    grad_mode.enable_grad.__enter__: functools.partial(_entered, lambda context: True),
    grad_mode.set_grad_enabled.__init__: functools.partial(_entered, lambda context: context.mode),
    grad_mode.set_grad_enabled.__enter__: functools.partial(_entered, lambda context: context.mode),
    grad_mode.inference_mode.__enter__: functools.partial(_entered, lambda context: not context.mode),
    grad_mode.set_grad_enabled.__call__: _left, grad_mode._Context.__exit__: _left, grad_mode.inference_mode.__exit__: _left}
