"""Data pipes, as far as PyTorch's own library keeps them: base classes to subclass, and functional names for them.

PyTorch's ready-made pipes (``torch.utils.data.datapipes``) are not here: a dataset and a DataLoader do their work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...unsupported import not_supported
from .dataset import Dataset, IterableDataset

__all__ = ["IterDataPipe", "MapDataPipe", "DFIterDataPipe", "DataChunk", "functional_datapipe", "argument_validation",
           "guaranteed_datapipes_determinism", "non_deterministic", "runtime_validation", "runtime_validation_disabled"]

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


class functional_datapipe:
    """A decorator that registers a pipe class under a functional name."""

    def __init__(self, name: str, enable_df_api_tracing: bool = False) -> None:
        self.name = name

    def __call__(self, cls: Any) -> Any:
        if isinstance(cls, type) and issubclass(cls, IterDataPipe):
            IterDataPipe.register_datapipe_as_function(self.name, cls)
        elif isinstance(cls, type) and issubclass(cls, MapDataPipe):
            MapDataPipe.register_datapipe_as_function(self.name, cls)
        else:
            raise TypeError("`functional_datapipe` can only decorate IterDataPipe or MapDataPipe")
        return cls


_deterministic = [False]


class guaranteed_datapipes_determinism:
    """A switch (as a call or a context): inside, pipes marked `non_deterministic` refuse to be made."""

    def __init__(self) -> None:
        self.previous = _deterministic[0]
        _deterministic[0] = True

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        _deterministic[0] = self.previous


class non_deterministic:
    """A decorator that marks a pipe class whose order is not always the same."""

    def __init__(self, arg: Any) -> None:
        self.cls = arg if isinstance(arg, type) else None
        self.condition = None if isinstance(arg, type) else arg

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.cls is None:
            self.cls = args[0]
            return self
        if _deterministic[0] and (self.condition is None or self.condition(*args, **kwargs)):
            raise TypeError(f"{self.cls.__name__} is non-deterministic, but you set 'guaranteed_datapipes_determinism'. You can turn off determinism "
                            "for this DataPipe if that is acceptable for your application")
        return self.cls(*args, **kwargs)


_INSTEAD = "the types of samples are not checked at run time; check them in the dataset"
argument_validation = not_supported("utils.data.argument_validation", _INSTEAD)
runtime_validation = not_supported("utils.data.runtime_validation", _INSTEAD)
runtime_validation_disabled = not_supported("utils.data.runtime_validation_disabled", _INSTEAD)
