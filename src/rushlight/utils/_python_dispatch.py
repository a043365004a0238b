"""``torch.utils._python_dispatch``: names that programs import. rushlight has no dispatcher below its Python functions."""

from __future__ import annotations

from typing import Any

__all__ = ["TorchDispatchMode", "is_traceable_wrapper_subclass"]


class TorchDispatchMode:
    """Not supported (NotImplementedError on use): ops have no aten level here that a mode could see."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> Any:
        raise NotImplementedError("TorchDispatchMode: rushlight has no aten dispatcher; torch.overrides.TorchFunctionMode sees every "
                                  "torch function")

    def __exit__(self, *exception: object) -> None:
        pass


def is_traceable_wrapper_subclass(t: object) -> bool:
    """Always False: there are no wrapper subclasses."""
    return False


def _get_current_dispatch_mode() -> None:
    """None: there are no dispatch modes."""


def _get_current_dispatch_mode_stack() -> list[Any]:
    """Empty: there are no dispatch modes."""
    return []
