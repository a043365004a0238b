"""``torch.fx._compatibility``: marks on functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["compatibility"]


def compatibility(is_backward_compatible: bool) -> Callable[[Any], Any]:
    """Decorator: says in the docstring whether a function stays as it is."""
    def decorate(function: Any) -> Any:
        note = "Backwards-compatibility for this API is guaranteed." if is_backward_compatible else "This API is experimental and may change."
        function.__doc__ = f"{function.__doc__ or ''}\n\n.. note::\n    {note}\n"
        return function
    return decorate
