"""What `inspect.signature` says of public functions that take more, or other names, than the functions that they call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from types import MappingProxyType
from typing import Any

__all__ = ["SignatureOf"]

_OUT = Parameter("out", Parameter.KEYWORD_ONLY, default=None, annotation="Tensor | None")


class SignatureOf(Signature):
    """The signature of another function, read when somebody asks: with `out` where it is taken, and with `self` first in methods."""

    __slots__ = ("function", "out", "method")

    function: Callable[..., Any]
    out: bool
    method: bool

    def __new__(cls, function: Callable[..., Any], out: bool = False, method: bool = False) -> SignatureOf:
        """Nothing is read yet."""
        self = object.__new__(cls)
        self.function, self.out, self.method = function, out, method
        return self

    def __init__(self, function: Callable[..., Any], out: bool = False, method: bool = False) -> None:
        pass

    @property
    def _parameters(self) -> Mapping[str, Parameter]:
        found = list(signature(self.function).parameters.values())
        if self.method and found:
            found[0] = found[0].replace(name="self")
        if self.out and all(each.name != "out" for each in found):
            found.insert(len(found) - any(each.kind is Parameter.VAR_KEYWORD for each in found), _OUT)
        return MappingProxyType({each.name: each for each in found})

    @property
    def _return_annotation(self) -> Any:
        return signature(self.function).return_annotation
