"""Dtype promotion by PyTorch's rules: dimensioned tensors before 0-dim tensors before Python numbers, by category."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import CPU
from ..dtypes import BOOL, COMPLEX, FLOAT, INT, bool_, dtype, float32, get_default_dtype, int64, promote_types
from ..kind import Kind, kind_of
from ..tensor import Tensor, wrap
from ..vocabulary import Function
from .errors import not_a_tensor

if TYPE_CHECKING:
    from ..devices import device

__all__ = ["NUMBERS", "in_64_bits", "number_dtype", "number_tensor", "promote", "real", "result_dtype", "result_type", "same_device"]


def real(value: Any, type: str = "double") -> Any:
    """A number that has to be real, of PyTorch's C++ `type`; its RuntimeError for complex ones."""
    if isinstance(value, complex):
        if value.imag:
            raise RuntimeError(f"value cannot be converted to type {type} without overflow")
        return value.real
    if not isinstance(value, (int, float, np.number, np.bool_, Tensor)):
        raise TypeError(f"a number was expected where there is a {value.__class__.__name__}")
    return value


def in_64_bits(value: Any) -> None:
    """Python's error for an integer that no 64 bits hold, which PyTorch raises as it reads its arguments."""
    if value.__class__ is int and not -2**63 <= value < 2**64:
        raise OverflowError("int too big to convert")


def number_dtype(value: Any) -> dtype:
    """The dtype that a Python number has on its own: bool, int64, the default float or its complex type."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, (float, np.floating)):
        return get_default_dtype()
    return get_default_dtype().to_complex()


# Functions that take numbers in the place of both tensors: torch.add(1, 2).
_OF_NUMBERS = frozenset(("add", "sub", "mul", "div", "floor_divide"))
NUMBERS = (bool, int, float, complex, np.number, np.bool_)


def number_tensor(kind: Kind, value: Any) -> Tensor:
    """A Python number as a 0-dim tensor of `kind`, kept for next time. Zeros are not kept: 0.0 and -0.0 are one dict key."""
    in_64_bits(value)
    t = wrap(np.array(value, kind.np), kind)      # on any device: a 0-dim NumPy array stands for a number
    if value and value == value and kind.fast:
        scalars = kind.scalars
        if len(scalars) >= 1024:
            scalars.clear()
        scalars[value] = t
    return t


def result_dtype(name: str, *values: Any) -> dtype:
    """The dtype that tensors and numbers combine to."""
    best: list[dtype | None] = [None, None, None]  # dimensioned tensors, 0-dim tensors, numbers
    for value in values:
        if isinstance(value, Tensor):
            group, d = (0 if value.dim() else 1), value._kind.dtype
        else:
            group, d = 2, number_dtype(value)
        have = best[group]
        best[group] = d if have is None else promote_types(have, d)
    dims, zero, number = best
    result = dims
    for lower in (zero, number):
        if lower is not None:
            if result is None:
                result = lower
            elif lower.category > result.category:
                # A number or 0-dim tensor of a higher category lifts the result into it.
                if lower.category == COMPLEX:
                    result = promote_types(result, lower) if lower is not zero or result.category != FLOAT else result.to_complex()
                    if lower is number and dims is not None and dims.category == FLOAT:
                        result = dims.to_complex()
                else:
                    result = lower
    assert result is not None
    return result


def same_device(name: str, a: Tensor, b: Tensor) -> device:
    """The common device of two tensors; a 0-dim CPU tensor goes anywhere."""
    da, db = a._kind.device, b._kind.device
    if da is db:
        return da
    if da is CPU and a._a.ndim == 0:
        return db
    if db is CPU and b._a.ndim == 0:
        return da
    raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {da} and {db}! ({name})")


def promote(name: str, input: Any, other: Any, *, to_float: bool = False, refuse: Function | None = None) -> tuple[Tensor, Tensor,
            Kind]:
    """Both operands as tensors, and the kind in which to compute. The tensors keep their own dtypes: cast ``t._a`` to ``kind.np``."""
    a_tensor, b_tensor = isinstance(input, Tensor), isinstance(other, Tensor)
    if not a_tensor and not ((b_tensor or name in _OF_NUMBERS) and isinstance(input, NUMBERS)):
        raise not_a_tensor(name, "input", 1, input)
    if not b_tensor and not isinstance(other, NUMBERS):
        raise not_a_tensor(name, "other", 2, other)
    if a_tensor and b_tensor and input._kind is other._kind:
        kind = input._kind
    else:
        device = same_device(name, input,
                             other) if a_tensor and b_tensor else CPU if not (a_tensor or b_tensor) else (input if a_tensor else other)._kind.device
        kind = kind_of(result_dtype(name, input, other), device)
    if refuse is not None:
        message = refuse(input._kind.dtype if a_tensor else number_dtype(input), other._kind.dtype if b_tensor else number_dtype(other))
        if message:
            raise RuntimeError(message)
    if to_float and not kind.differentiable:
        kind = kind.float_
    # Numbers keep float32 precision next to float16 tensors: arithmetic happens there.
    as_kind = kind_of(float32, kind.device) if kind.reduced else kind
    if not a_tensor:
        input = _number(as_kind, input, kind)
    elif input._kind.device is not kind.device:
        input = input.to(kind.device)
    if not b_tensor:
        other = _number(as_kind, other, kind)
    elif other._kind.device is not kind.device:
        other = other.to(kind.device)
    return input, other, kind


def _number(as_kind: Kind, value: Any, kind: Kind) -> Tensor:
    in_64_bits(value)
    if kind.dtype.category in (BOOL, INT) and isinstance(value, int) and kind.dtype is not bool_:
        limits = np.iinfo(kind.np)
        if not limits.min <= value <= limits.max:
            if limits.bits == 64:
                raise RuntimeError("value cannot be converted to type int64_t without overflow")
            value = (value - limits.min) % (1 << limits.bits) + limits.min
    return wrap(np.array(value, as_kind.np), as_kind)


def result_type(*args: Any, **kwargs: Any) -> dtype:
    """The dtype that an arithmetic operation on two tensors or numbers would have: (tensor, other), (scalar, tensor) or (scalar1,
    scalar2)."""
    given = list(args)
    for names in (("tensor", "other"), ("scalar", "tensor"), ("scalar1", "scalar2")):
        if kwargs and set(kwargs) == set(names[len(args):]):
            given += [kwargs[name] for name in names[len(args):]]
            break
    if len(given) != 2:
        raise TypeError("result_type() received an invalid combination of arguments - got "
                        f"({', '.join([type(each).__name__ for each in args] + list(kwargs))})")
    tensor1, tensor2 = given
    for position, value in enumerate((tensor1, tensor2), 1):
        if not isinstance(value, (Tensor, *NUMBERS)):
            raise TypeError(f"result_type(): argument 'tensor{position}' (position {position}) must be Tensor, not {type(value).__name__}")
    return result_dtype("result_type", tensor1, tensor2)
