"""``torch._C._nn``: functions of `torch.nn.functional`, and how the arguments of ``to`` are read."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..homes import place
from ..nn.modules._convert import parse_to

__all__ = ["_parse_to"]


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """(device, dtype, non_blocking, memory_format) of a call of ``to``."""
    return parse_to(args, kwargs)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(place("nn.functional")), "logsigmoid" if name == "log_sigmoid" else name)
