"""`skip_init`: make a module without initialising its parameters."""

from __future__ import annotations

from typing import Any

from .._torch import torch
from ..modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: int | type[Any], *args: Any, **kwargs: Any) -> Module:
    """``module_cls(*args, **kwargs)`` with parameters of any value: no random numbers are drawn. The class must take the argument
    `device`."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    import inspect
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    # There is no device without memory to build it on; what counts is that no random numbers are used up.
    state = torch.get_rng_state()
    try:
        return module_cls(*args, **kwargs)
    finally:
        torch.set_rng_state(state)
