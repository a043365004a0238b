"""``torch._C._functions``: the node of leaves, and functions that stand in a graph for what goes wrong there."""

from __future__ import annotations

from typing import Any

from ..autograd.function import Function
from ..autograd.graph import AccumulateGrad
from ..tensor import Tensor

__all__ = ["AccumulateGrad", "DelayedError", "UndefinedGrad"]


class _Undefined(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> None:
        return None


class UndefinedGrad:
    """``UndefinedGrad()(x)`` is x, to which no gradient flows."""

    def __call__(self, x: Tensor) -> Any:
        return _Undefined.apply(x)


class _Error(Function):
    @staticmethod
    def forward(ctx: Any, message: str, x: Tensor) -> Tensor:
        ctx.message = message
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> None:
        raise RuntimeError(ctx.message)


class DelayedError:
    """``DelayedError(message, 1)(x)`` is x; a backward pass through it raises."""

    def __init__(self, message: str, num_inputs: int) -> None:
        self.message, self.count = message, num_inputs

    def __call__(self, *inputs: Tensor) -> Any:
        if len(inputs) != self.count:
            raise RuntimeError(f"DelayedError: {self.count} inputs were announced, {len(inputs)} are given")
        results = tuple([_Error.apply(self.message, x) for x in inputs])
        return results[0] if len(results) == 1 else results
