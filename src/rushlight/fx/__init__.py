"""``torch.fx``: there is no symbolic tracing. `wrap`, which only marks functions for it, gives back what it gets."""

from __future__ import annotations

from typing import Any

from ..unsupported import attribute_of

__all__ = ["wrap"]


def wrap(fn_or_name: Any) -> Any:
    """Mark a function as one that tracing shall not look into; nothing traces here, so there is nothing to mark."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    return fn_or_name


__getattr__ = attribute_of("fx", "a model is the Python code that runs; hooks (register_forward_hook) and TorchFunctionMode see what it does")
