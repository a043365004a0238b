"""``torch._prims_common``: which dtype an op computes in, and what dtypes have to do with each other and with Python's numbers."""

from __future__ import annotations

from enum import Enum
from typing import Any

from . import dtypes as D
from .ops.promotion import result_type
from .tensor import Tensor
from .unsupported import attribute_of

__all__ = ["ELEMENTWISE_TYPE_PROMOTION_KIND", "corresponding_complex_dtype", "corresponding_real_dtype", "dtype_to_type",
           "elementwise_dtypes", "get_computation_dtype", "is_boolean_dtype", "is_complex_dtype", "is_float_dtype", "is_integer_dtype"]


class ELEMENTWISE_TYPE_PROMOTION_KIND(Enum):
    """How an elementwise op chooses its dtypes."""

    DEFAULT = (0,)
    NO_OPMATH = (1,)
    INT_TO_FLOAT = (2,)
    ALWAYS_BOOL = (3,)
    COMPLEX_TO_FLOAT = (4,)
    BOOL_TO_LONG = (5,)


_BOOL = D.bool_
_COMPLEX = {D.bfloat16: D.complex64, D.float32: D.complex64, D.float64: D.complex128}
_WIDER = {D.float16: D.float32, D.bfloat16: D.float32}


def corresponding_complex_dtype(dtype: D.dtype) -> D.dtype:
    """float32 -> complex64."""
    return _COMPLEX[dtype]


def corresponding_real_dtype(dtype: D.dtype) -> D.dtype:
    """complex64 -> float32."""
    return dtype.to_real()


def get_computation_dtype(dtype: D.dtype) -> D.dtype:
    """The dtype that an op computes in: float32 for the half precisions."""
    return _WIDER.get(dtype, dtype)


def is_boolean_dtype(dtype: D.dtype) -> bool:
    """Whether it is bool."""
    return dtype is _BOOL


def is_float_dtype(dtype: D.dtype) -> bool:
    """Whether it is a real floating-point dtype."""
    return dtype.is_floating_point


def is_complex_dtype(dtype: D.dtype) -> bool:
    """Whether it is a complex dtype."""
    return dtype.is_complex


def is_integer_dtype(dtype: D.dtype) -> bool:
    """Whether it is an integer dtype (bool is none)."""
    return not (dtype.is_floating_point or dtype.is_complex or dtype is _BOOL)


def dtype_to_type(dtype: D.dtype) -> type:
    """Python's type for a dtype's values."""
    return bool if dtype is _BOOL else float if dtype.is_floating_point else complex if dtype.is_complex else int


def elementwise_dtypes(*_args: Any, type_promotion_kind: ELEMENTWISE_TYPE_PROMOTION_KIND) -> tuple[D.dtype, D.dtype]:
    """(the dtype of the computation, that of the result) of an elementwise op on tensors and numbers; None among them is left out."""
    kinds, given = ELEMENTWISE_TYPE_PROMOTION_KIND, [each for each in _args if each is not None]
    if any(not isinstance(each, (Tensor, int, float, complex)) for each in given):
        raise ValueError("expected tensors and numbers")
    found = _common(given)
    if type_promotion_kind is kinds.NO_OPMATH:
        return found, found
    if type_promotion_kind is kinds.INT_TO_FLOAT and (is_integer_dtype(found) or found is _BOOL):
        found = D.get_default_dtype()
    wide = get_computation_dtype(found)
    if type_promotion_kind is kinds.COMPLEX_TO_FLOAT and found.is_complex:
        return wide, found.to_real()
    if type_promotion_kind is kinds.BOOL_TO_LONG and found is _BOOL:
        return D.int64, D.int64
    return wide, _BOOL if type_promotion_kind is kinds.ALWAYS_BOOL else found


def _common(given: list[Any]) -> D.dtype:
    from . import tensor
    whole: Any = given[0] if isinstance(given[0], Tensor) else tensor(given[0])
    found = whole.dtype if len(given) == 1 else result_type(given[0], given[1])
    for each in given[2:]:
        found = D.promote_types(found, each.dtype if isinstance(each, Tensor) else tensor(each).dtype)
    return found


__getattr__ = attribute_of("_prims_common", "the library has no primitives: ops are Python on NumPy, see torch.overrides and the registry")
