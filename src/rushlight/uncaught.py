"""What stands below an error that nobody caught: its lesson, in scripts, interactive Python, threads and notebooks alike.

The hooks are set when rushlight is imported and do nothing until an error has reached the top; the lessons are loaded then.
"""

from __future__ import annotations

import builtins
import sys
import threading
from types import TracebackType
from typing import Any

__all__ = ["install", "teach"]


def teach(error: BaseException) -> None:
    """Put the lesson for an error below it as a note (PEP 678), once, where there is one and notes are wanted."""
    if not isinstance(error, Exception):
        return
    from .commands.lessons import language, lesson
    note = lesson(error, language())
    if note and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def install() -> None:
    """Have every way by which an uncaught error is shown say its lesson first; what the program sets itself comes after and is left
    alone."""
    _chain(sys, lambda kind, error, trace: error)
    _chain(threading, lambda args: args.exc_value)
    shell = getattr(builtins, "get_ipython", lambda: None)()
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((Exception,), _in_ipython)


def _chain(module: Any, error_of: Any) -> None:
    """Set the module's ``excepthook`` to one that teaches and then calls the present one."""
    before = module.excepthook

    def hook(*args: Any) -> None:
        error = error_of(*args)
        try:
            teach(error)
        finally:                    # whatever happens, the error itself is shown
            before(*args)
    module.excepthook = hook


def _in_ipython(shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: int | None = None) -> None:
    """IPython shows errors itself and has a place for this function."""
    teach(error)
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset, running_compiled_code=True)
