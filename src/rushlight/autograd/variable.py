"""`Variable`: what tensors with gradients were called once. It makes tensors."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .engine import queue_callback

__all__ = ["Variable"]


class _VariableMeta(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor)


class _Engine:
    """What runs backward passes, by its one method that programs call."""

    queue_callback = staticmethod(queue_callback)


class Variable(metaclass=_VariableMeta):
    """``Variable(tensor, requires_grad=True)`` gives a tensor that shares the memory."""

    _execution_engine = _Engine()

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: Any = None) -> Any:
        if data is None:
            return Tensor()
        r = data.detach() if isinstance(data, Tensor) else Tensor(data)
        return r.requires_grad_() if requires_grad else r
