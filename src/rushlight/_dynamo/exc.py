"""``torch._dynamo.exc``: the errors of capturing a program."""

from __future__ import annotations

from enum import Enum, auto

from ..homes import settle
from ..unsupported import attribute_of

__all__ = ["TorchDynamoException", "UserError", "UserErrorType"]


class TorchDynamoException(RuntimeError):  # noqa: N818
    """What goes wrong while a program is captured."""


class UserErrorType(Enum):
    """Kinds of `UserError`."""

    DYNAMIC_CONTROL_FLOW = auto()
    ANTI_PATTERN = auto()
    STANDARD_LIBRARY = auto()
    CONSTRAINT_VIOLATION = auto()
    DYNAMIC_DIM = auto()
    INVALID_INPUT = auto()
    INVALID_OUTPUT = auto()
    UNSUPPORTED_ALIASED_MUTATED_DYNAMIC_INPUTS = auto()


class UserError(TorchDynamoException):
    """A program, or what was asked about it, can't be captured as it is."""

    def __init__(self, error_type: UserErrorType, msg: str, case_name: str | None = None) -> None:
        super().__init__(msg)
        self.error_type, self.message = error_type, msg


settle("_dynamo.exc", globals())

__getattr__ = attribute_of("_dynamo.exc", "rushlight captures no programs of Python; `UserError` and `TorchDynamoException` are there")
