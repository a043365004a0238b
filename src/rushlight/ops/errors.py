"""PyTorch's errors for the arguments of ops, in its words: programs and tests look at them."""

from __future__ import annotations

from typing import Any

from ..dtypes import dtype
from ..kind import Kind

__all__ = ["broadcast_error", "no_lists", "not_a_tensor", "not_implemented", "title"]


def title(d: dtype) -> str:
    """The name that PyTorch's messages have for a dtype: "Half", "Long", "ComplexFloat"."""
    return {"uint8": "Byte", "int8": "Char", "bool": "Bool", "bfloat16": "BFloat16", "cfloat": "ComplexFloat",
            "cdouble": "ComplexDouble"}.get(
        d.alias or d.name, (d.alias or d.name).capitalize())


def not_a_tensor(name: str, parameter: str, position: int, value: Any) -> TypeError:
    """PyTorch's TypeError for an argument that must be a tensor."""
    return TypeError(f"{name}(): argument '{parameter}' (position {position}) must be Tensor, not {type(value).__name__}")


def no_lists(tensors: tuple[Any, ...]) -> None:
    """PyTorch's TypeError for a list where a function takes the tensors one by one."""
    for at, each in enumerate(tensors):
        if isinstance(each, (list, tuple)):
            raise TypeError(f"expected Tensor as element {at} in argument 0, but got {type(each).__name__}")


def broadcast_error(a: tuple[int, ...], b: tuple[int, ...]) -> RuntimeError:
    """PyTorch's RuntimeError for shapes that don't broadcast; names the first dimension (from the right) that disagrees."""
    ndim = max(len(a), len(b))
    full_a, full_b = (1,) * (ndim - len(a)) + a, (1,) * (ndim - len(b)) + b
    for dim in range(ndim - 1, -1, -1):
        if full_a[dim] != full_b[dim] and 1 not in (full_a[dim], full_b[dim]):
            return RuntimeError(f"The size of tensor a ({full_a[dim]}) must match the size of tensor b ({full_b[dim]}) at non-singleton "
                                f"dimension {dim}")
    return RuntimeError(f"shapes {list(a)} and {list(b)} can't be broadcast together")


def not_implemented(name: str, kind: Kind) -> NotImplementedError:
    """PyTorch's error for a dtype that an op does not have."""
    return NotImplementedError(f'"{name}_cpu" not implemented for \'{title(kind.dtype)}\'')
