"""``torch.utils._python_dispatch``: modes that see every operator, and what tensor subclasses with a ``__torch_dispatch__`` use."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ..dispatching.modes import LOCAL, TorchDispatchMode, disabled
from ..dispatching.wrappers import is_traceable_wrapper_subclass, return_and_correct_aliasing, transform_subclass

__all__ = ["TorchDispatchMode", "BaseTorchDispatchMode", "is_traceable_wrapper_subclass", "return_and_correct_aliasing",
           "transform_subclass", "is_in_torch_dispatch_mode"]


class BaseTorchDispatchMode(TorchDispatchMode):
    """A mode that changes nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return func(*args, **(kwargs or {}))


def is_in_torch_dispatch_mode(include_infra_modes: bool = True) -> bool:
    """Whether a mode is on."""
    return bool(LOCAL.modes)


def _get_current_dispatch_mode() -> Any:
    """The innermost mode that is on, or None."""
    return LOCAL.modes[-1] if LOCAL.modes else None


def _get_current_dispatch_mode_stack() -> list[Any]:
    """All modes that are on, outermost first."""
    return list(LOCAL.modes)


def _disable_current_modes() -> AbstractContextManager[Any]:
    """Context: no mode is on; gives those that were."""
    return disabled()


def _pop_mode_temporarily() -> AbstractContextManager[Any]:
    """Context: the innermost mode is off."""
    return disabled(1)
