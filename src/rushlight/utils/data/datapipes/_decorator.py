"""What decorates classes of data pipes: functional names, and whether their order is always the same."""

from __future__ import annotations

from typing import Any

from ....unsupported import not_supported
from .datapipe import IterDataPipe, MapDataPipe

__all__ = ["argument_validation", "functional_datapipe", "guaranteed_datapipes_determinism", "non_deterministic", "runtime_validation",
           "runtime_validation_disabled"]


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
            raise TypeError(f"{self.cls.__name__} is non-deterministic, but you set 'guaranteed_datapipes_determinism'. You can turn off "
                            "determinism for this DataPipe if that is acceptable for your application")
        return self.cls(*args, **kwargs)


_INSTEAD = "the types of samples are not checked at run time; check them in the dataset"
argument_validation = not_supported("utils.data.argument_validation", _INSTEAD)
runtime_validation = not_supported("utils.data.runtime_validation", _INSTEAD)
runtime_validation_disabled = not_supported("utils.data.runtime_validation_disabled", _INSTEAD)
