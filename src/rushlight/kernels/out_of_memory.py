"""Out of memory means RuntimeError in PyTorch, and programs catch that to try a smaller batch; in NumPy it is a MemoryError.

NumPy raises one private class for all its allocations, so that class becomes both: ``except MemoryError`` goes on working, NumPy's own text
stays in the message, and no op has to look.
"""

from __future__ import annotations

from typing import Any

__all__ = ["errors_are_both"]


def errors_are_both() -> None:
    """Make NumPy's MemoryError a RuntimeError, too, that says what PyTorch's says. Nothing happens where NumPy has no such class."""
    try:
        from numpy._core._exceptions import _ArrayMemoryError as Error
    except ImportError:
        return
    if issubclass(Error, RuntimeError):
        return
    plain = Error.__str__

    def text(self: Any) -> str:
        size = f"you tried to allocate {self._total_size} bytes. " if hasattr(self, "_total_size") else ""
        return f"DefaultCPUAllocator: can't allocate memory: {size}{plain(self)}"
    Error.__bases__ = (MemoryError, RuntimeError)
    Error.__str__ = text  # type: ignore[method-assign]
