"""What stands below an uncaught error of a common kind (`uncaught`): the call with its shapes side by side, and what to do.

In Chinese where that is the reader's language.

The error itself keeps PyTorch's words, so that a search finds them; this is a note on it (PEP 678), which tracebacks and
pretty printers show below. RUSHLIGHT_LANG=zh (or en, or none for no notes) chooses the language; else the locale does.
Nothing here is loaded before an error is shown.
"""

from __future__ import annotations

import inspect
import os
import re
from types import CodeType, FrameType, TracebackType
from typing import Any

from ..homes import is_own
from ..nn.modules.module import Module
from ..tensor import Tensor
from .advice import LESSONS

__all__ = ["language", "lesson"]


def language() -> str:
    """"zh", "en" or "none"."""
    chosen = os.environ.get("RUSHLIGHT_LANG", "").lower()
    if not chosen:
        chosen = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "en")
    return "none" if chosen == "none" else "zh" if chosen.lower().startswith("zh") else "en"


def lesson(error: BaseException, language: str) -> str:
    """What there is to say of an error: the call with its tensors, and what to do. "" where nothing is known, or no notes are wanted."""
    if language == "none":
        return ""
    text = str(error)
    call = _call(error.__traceback__)
    for pattern, english, chinese in LESSONS:
        found = re.search(pattern, text)
        if found:
            return "\n".join([*call, _filled(chinese if language == "zh" else english, found)])
    return "\n".join(call) if _raised_by_us(error.__traceback__) else ""


def _filled(advice: str, found: re.Match[str]) -> str:
    """The advice with the groups of the message in it."""
    return re.sub(r"\{(\d)\}", lambda number: found[int(number[1])] or "", advice)


def _raised_by_us(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is one of our functions: what a program raises in its own forward it explains itself."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and is_own(str(trace.tb_frame.f_globals.get("__name__", "")))


def _call(trace: TracebackType | None) -> list[str]:
    """The innermost module that was running, and the first function of ours with tensors among its arguments, with their shapes."""
    module = call = ""
    while trace is not None:
        frame = trace.tb_frame
        own = frame.f_locals.get("self")
        if isinstance(own, Module) and frame.f_code.co_name == "forward":
            module, call = " ".join(f"{type(own).__name__}({own.extra_repr()})".split()), ""
        home = str(frame.f_globals.get("__name__", ""))
        if not call and is_own(home) and not home.endswith(".ops.write"):           # which writes the results of in-place ops
            call = _arguments(frame)
        trace = trace.tb_next
    return [line for line in (module, call) if line]


def _arguments(frame: FrameType) -> str:
    """``linear(input: 2 x 5 float32, weight: 4 x 3 float32)``; "" where no named argument is a tensor."""
    code, values = frame.f_code, frame.f_locals
    names = [name for name in code.co_varnames[:code.co_argcount] if isinstance(values.get(name), Tensor)]
    if not names or code.co_name.startswith("_") or code.co_name == "forward" or code.co_flags & inspect.CO_VARARGS:
        return ""
    shown = [f"{name}: {' x '.join(map(str, value.shape)) or 'scalar'} {str(value.dtype).removeprefix('torch.')}"
             for name in names for value in [values[name]]]
    return f"{_called(code, values)}({', '.join(shown)})"


def _called(code: CodeType, values: dict[str, Any]) -> str:
    """What a program knows the function as: most ops are made by factories, whose inner function has the op's name, or the op itself,
    beside it."""
    if "name" in code.co_freevars and isinstance(values.get("name"), str):
        return str(values["name"])
    if "fn" in code.co_freevars and code.co_name == "fn_":
        return f"{getattr(values.get('fn'), '__name__', 'fn')}_"
    return code.co_name
