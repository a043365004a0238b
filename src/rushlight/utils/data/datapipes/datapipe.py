"""Data pipes, as far as PyTorch's own library keeps them: base classes to subclass, and functional names for them.

PyTorch's ready-made pipes are not here: a dataset and a DataLoader do their work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..dataset import Dataset, IterableDataset

__all__ = ["IterDataPipe", "MapDataPipe", "DFIterDataPipe", "DataChunk"]

T_co = TypeVar("T_co", covariant=True)


class _Functional:
    """Pipes that were registered under a name are methods of all pipes: ``pipe.name(...)`` is ``Cls(pipe, ...)``."""

    functions: dict[str, Callable[..., Any]]

    @classmethod
    def register_function(cls, function_name: str, function: Callable[..., Any]) -> None:
        """Make a function (of a pipe and more) a method of all pipes."""
        cls.functions[function_name] = function

    @classmethod
    def register_datapipe_as_function(cls, function_name: str, cls_to_register: Any, enable_df_api_tracing: bool = False) -> None:
        """Make a pipe class a method of all pipes. Exception where the name is taken."""
        if function_name in cls.functions:
            raise Exception(f"Unable to add DataPipe function name {function_name} as it is already taken")
        cls.functions[function_name] = cls_to_register

    def __getattr__(self, name: str) -> Any:
        if name in self.functions:
            function = self.functions[name]
            return lambda *args, **kwargs: function(self, *args, **kwargs)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}' (and no data pipe is registered under that name)")

    def __repr__(self) -> str:
        return type(self).__qualname__


class IterDataPipe(_Functional, IterableDataset[T_co]):
    """A pipe of samples from ``__iter__``."""

    functions: dict[str, Callable[..., Any]] = {}

    def reset(self) -> None:
        """Begin anew; for pipes that keep a state."""


class DFIterDataPipe(IterDataPipe[T_co]):
    """A pipe of data frames."""

    def _is_dfpipe(self) -> bool:
        return True


class MapDataPipe(_Functional, Dataset[T_co]):
    """A pipe of samples by key."""

    functions: dict[str, Callable[..., Any]] = {}


class DataChunk(list[T_co]):
    """A batch of samples, as a list."""

    def __init__(self, items: Any) -> None:
        items = list(items)
        super().__init__(items)
        self.items = items

    def as_str(self, indent: str = "") -> str:
        """The samples in brackets."""
        return indent + "[" + ", ".join(str(each) for each in self) + "]"

    def raw_iterator(self) -> Any:
        """The samples one by one."""
        yield from self.items
