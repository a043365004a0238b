"""``torch.fx.experimental.symbolic_shapes``: the errors of captured programs. There are no symbols while a program runs."""

from __future__ import annotations

from ...homes import settle
from ...unsupported import attribute_of

__all__ = ["ConstraintViolationError", "GuardOnDataDependentSymNode"]


class GuardOnDataDependentSymNode(RuntimeError):  # noqa: N818
    """A captured program branches on the values of a tensor. `cond` is the operator that asked for them."""

    def __init__(self, cond: object, msg: str) -> None:
        super().__init__(msg)
        self.cond = cond


class ConstraintViolationError(RuntimeError):
    """A size is not in the range that was given for it."""


settle("fx.experimental.symbolic_shapes", globals())

__getattr__ = attribute_of("fx.experimental.symbolic_shapes", "sizes are numbers while a program runs; torch.export finds which of them "
                                                              "may change")
