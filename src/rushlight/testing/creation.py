"""`make_tensor`: a tensor of random values for a test, the ones that PyTorch makes from the same seed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from ..dtypes import dtype as dtype_type
from ..dtypes import finfo, iinfo
from ..ops.registry import FUNCTIONS as torch
from ..tensor import Tensor
from ..vocabulary import Device, MemoryFormat

__all__ = ["make_tensor"]


def _range(low: float | None, high: float | None, least: float, most: float, default: tuple[float, float], dtype: dtype_type) -> Any:
    """The bounds inside what the dtype holds; integers for integral dtypes."""
    low, high = default[0] if low is None else low, default[1] if high is None else high
    real = dtype.is_floating_point or dtype.is_complex
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"`low` and `high` cannot be NaN, but got {low=} and {high=}")
    if low == high and real:
        warnings.warn("Passing `low==high` to `torch.testing.make_tensor` for floating or complex types is deprecated since 2.1 and will "
                      "be removed in 2.3. Use `torch.full(...)` instead.", FutureWarning, stacklevel=4)
    elif low >= high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    elif high < least or low >= most:
        raise ValueError(f"The value interval specified by `low` and `high` is [{low}, {high}), but {dtype} only supports [{least}, "
                         f"{most})")
    low, high = min(max(low, least), most), min(max(high, least), most)
    return (low, high) if real else (math.ceil(low), math.ceil(high))


def make_tensor(*shape: Any, dtype: dtype_type, device: Device, low: float | None = None, high: float | None = None,
                requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False,
                memory_format: MemoryFormat = None) -> Tensor:
    """A tensor of this shape, filled with uniform values of [low, high).

    low, high      default to -9 and 9 for floating dtypes, -9 and 10 for integers (0 for unsigned ones), 0 and 2 for bool; they are
                   clamped to what the dtype holds
    noncontiguous  every second element of a larger tensor (where there are two elements at least)
    exclude_zero   zeros become the smallest positive normal number (1 for integers)
    ValueError for bounds out of order or out of range, NaN, requires_grad with integers, noncontiguous with a memory format.
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else tuple(shape)
    real = dtype.is_floating_point or dtype.is_complex
    if noncontiguous and memory_format is not None:
        raise ValueError("The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got "
                         f"{noncontiguous=} and {memory_format=}")
    if requires_grad and not real:
        raise ValueError(f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype=}")
    stretched = noncontiguous and math.prod(sizes) > 1
    if stretched:
        sizes = (*sizes[:-1], 2 * sizes[-1])
    if real:
        limits = finfo(dtype)
        low, high = _range(low, high, limits.min, limits.max, (-9, 9), dtype)
        result = torch["empty"](sizes, device=device, dtype=dtype)
        parts = torch["view_as_real"](result) if dtype.is_complex else result
        if high - low >= limits.max:
            parts.uniform_(low / 2, high / 2).mul_(2)
        else:
            parts.uniform_(low, high)
    else:
        if dtype.name == "bool":
            low, high = _range(low, high, 0, 2, (0, 2), dtype)
        else:
            last = int(iinfo(dtype).max)
            low, high = _range(low, high, iinfo(dtype).min, last + (dtype.name != "int64"), (-9, 10), dtype)
        result = torch["randint"](low, high, sizes, device=device, dtype=dtype)
    if stretched:
        result = result[..., 1::2]
    elif memory_format is not None:
        result = result.clone(memory_format=memory_format)
    if exclude_zero:
        result[result == 0] = finfo(dtype).tiny if real else 1
    return result.requires_grad_(requires_grad) if real else result
