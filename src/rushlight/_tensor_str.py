"""``torch._tensor_str``: how tensors are printed."""

from __future__ import annotations

from typing import Any

from .printing import _contents, _options, set_printoptions
from .tensor import Tensor

__all__ = ["PRINT_OPTS", "set_printoptions"]


class _Options:
    """The options of printing as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return _options[name]
        except KeyError:
            raise AttributeError(f"there is no print option {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        _options[name] = value


PRINT_OPTS = _Options()


def _tensor_str(self: Tensor, indent: int) -> str:
    """The elements as ``repr(tensor)`` shows them, with later lines indented."""
    return _contents(self._a, indent)
