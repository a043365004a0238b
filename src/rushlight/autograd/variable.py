"""`Variable`: what tensors with gradients were called once. It makes tensors."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor

__all__ = ["Variable"]


class _VariableMeta(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor)


class Variable(metaclass=_VariableMeta):
    """``Variable(tensor, requires_grad=True)`` gives a tensor that shares the memory."""

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: Any = None) -> Any:
        if data is None:
            return Tensor()
        r = data.detach() if isinstance(data, Tensor) else Tensor(data)
        return r.requires_grad_() if requires_grad else r
