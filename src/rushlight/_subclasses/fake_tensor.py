"""Tensors without data that PyTorch makes while it traces: there are none, which `is_fake` says."""

from __future__ import annotations

from typing import Any

from ..unsupported import NotSupported

__all__ = ["FakeTensor", "FakeTensorMode", "is_fake"]


class FakeTensor:
    """A tensor without data. Nothing is an instance of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotSupported("torch._subclasses.FakeTensor is not supported by rushlight: nothing is traced")


class FakeTensorMode:
    """The mode in which PyTorch makes tensors without data (NotImplementedError)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotSupported("torch._subclasses.FakeTensorMode is not supported by rushlight: nothing is traced")


def is_fake(x: Any) -> bool:
    """Whether a tensor has no data: never."""
    return False
