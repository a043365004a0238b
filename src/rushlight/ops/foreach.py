"""``torch._foreach_*``: one op over each tensor of a list, or each pair of two lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..linalg import vector_norm
from ..tensor import Tensor
from ..vocabulary import Dtype, MemoryFormat
from .public import export
from .registry import FUNCTIONS

__all__ = ["UNARY", "BINARY", "NAMES"]

UNARY = ["abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma", "log", "log10",
         "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"]
BINARY = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "pow": "pow", "maximum": "maximum", "minimum": "minimum",
          "clamp_max": "minimum", "clamp_min": "maximum"}
_TERNARY = ("addcmul", "addcdiv")


def _pairs(tensors: Sequence[Tensor], other: Any) -> list[tuple[Tensor, Any]]:
    """Each tensor with its operand: of a list of the same length, or the same number (or tensor) for all. RuntimeError for another
    length."""
    if not tensors:
        raise RuntimeError("Tensor list must have at least one tensor.")
    if not isinstance(other, (list, tuple)):
        return [(each, other) for each in tensors]
    if len(other) != len(tensors):
        what = "Tensor lists" if any(isinstance(each, Tensor) for each in other) else "Tensor list"
        raise RuntimeError(f"{what} must have the same number of tensors, got {len(tensors)} and {len(other)}"
                           if what == "Tensor lists" else "Tensor list must have same number of elements as scalar list.")
    return list(zip(tensors, other, strict=True))


def _like(value: Any, tensor: Tensor) -> Any:
    """A number as a tensor, for ops that take no numbers: of the other operand's dtype, unless the number is of a higher category."""
    if isinstance(value, Tensor):
        return value
    kind = tensor._kind
    fits = kind.is_complex or kind.is_floating and not isinstance(value, complex) or isinstance(value, bool)
    if fits or isinstance(value, int) and kind.dtype.name != "bool":
        return tensor.new_full((), value)
    return FUNCTIONS["tensor"](value, device=tensor.device)


def _over_each(method: str, in_place: bool) -> Callable[..., Any]:
    def function(self: Sequence[Tensor]) -> Any:
        found = tuple(getattr(each, method)() for each, _ in _pairs(self, None))
        return self if in_place else found
    return function


def _over_pairs(method: str, numbers: bool, in_place: bool) -> Callable[..., Any]:
    def function(self: Any, other: Any, **options: Any) -> Any:
        if not isinstance(self, (list, tuple)):     # pow(2, tensors)
            found = tuple(_like(self, each).pow(each) for each in other)
        else:
            found = tuple(getattr(each, method)(value if numbers else _like(value, each), **options) for each, value in _pairs(self, other))
        return self if in_place else found
    return function


def _in_place_of(name: str) -> Callable[..., Any]:
    """The in-place form of an op that has no method of that kind."""
    def function(self: Sequence[Tensor], other: Any) -> Sequence[Tensor]:
        for each, value in _pairs(self, other):
            each.copy_(getattr(each, name)(_like(value, each)))
        return self
    return function


def _with_product(method: str, in_place: bool) -> Callable[..., Any]:
    def function(self: Sequence[Tensor], tensor1: Sequence[Tensor], tensor2: Sequence[Tensor], value: Any = 1) -> Any:
        values = value.tolist() if isinstance(value, Tensor) else value
        rows = zip(_pairs(self, tensor1), tensor2, (each for _, each in _pairs(self, values)), strict=True)
        found = tuple(getattr(each, method)(first, second, value=number) for (each, first), second, number in rows)
        return self if in_place else found
    return function


def _foreach_lerp(self: Sequence[Tensor], tensors1: Sequence[Tensor], weight: Any) -> tuple[Tensor, ...]:
    """Each tensor on its way to another, by a share (or shares of its own)."""
    return tuple(each.lerp(end, share) for (each, end), (_, share) in zip(_pairs(self, tensors1), _pairs(self, weight), strict=True))


def _foreach_lerp_(self: Sequence[Tensor], tensors1: Sequence[Tensor], weight: Any) -> Sequence[Tensor]:
    """The same in place."""
    for (each, end), (_, share) in zip(_pairs(self, tensors1), _pairs(self, weight), strict=True):
        each.lerp_(end, share)
    return self


def _foreach_norm(self: Sequence[Tensor], ord: Any = 2, dtype: Dtype = None) -> tuple[Tensor, ...]:
    """The vector norm of each tensor."""
    return tuple(vector_norm(each, ord, dtype=dtype) for each, _ in _pairs(self, None))


def _foreach_max(self: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The largest element of each tensor."""
    return tuple(each.max() for each, _ in _pairs(self, None))


def _foreach_clone(self: Sequence[Tensor], *, memory_format: MemoryFormat = None) -> tuple[Tensor, ...]:
    """A copy of each tensor."""
    return tuple(each.clone() if memory_format is None else each.clone(memory_format=memory_format) for each, _ in _pairs(self, None))


def _foreach_copy_(self: Sequence[Tensor], src: Sequence[Tensor], non_blocking: bool = False) -> Sequence[Tensor]:
    """Copy each tensor of one list into that of the other."""
    for into, each in _pairs(self, src):
        into.copy_(each, non_blocking)
    return self


def _foreach_zero_(self: Sequence[Tensor]) -> Sequence[Tensor]:
    """Write zeros into each tensor."""
    for each, _ in _pairs(self, None):
        each.zero_()
    return self


def _foreach_mm(self: Sequence[Tensor], mat2: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The matrix product of each tensor and its partner."""
    return tuple(each.mm(other) for each, other in _pairs(self, mat2))


def _named(name: str, function: Callable[..., Any], what: str) -> None:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = what
    export(function)


for _name in UNARY:
    _named(f"_foreach_{_name}", _over_each(_name, False), f"{_name} of each tensor.")
    _named(f"_foreach_{_name}_", _over_each(_name + "_", True), f"{_name} of each tensor, in place.")
for _name, _method in BINARY.items():
    _numbers = _name not in ("maximum", "minimum", "clamp_max", "clamp_min")
    _named(f"_foreach_{_name}", _over_pairs(_method, _numbers, False),
           f"{_name} of each tensor and its operand (of a list, or one for all).")
    _named(f"_foreach_{_name}_", _over_pairs(_method + "_", True, True) if _numbers else _in_place_of(_method),
           f"`_foreach_{_name}` in place.")
for _name in _TERNARY:
    _named(f"_foreach_{_name}", _with_product(_name, False), f"{_name} of each tensor and those of two other lists.")
    _named(f"_foreach_{_name}_", _with_product(_name + "_", True), f"`_foreach_{_name}` in place.")
for _function in (_foreach_lerp, _foreach_lerp_, _foreach_norm, _foreach_max, _foreach_clone, _foreach_copy_, _foreach_zero_, _foreach_mm):
    export(_function)

NAMES = tuple(sorted(name for name in FUNCTIONS if name.startswith("_foreach_")))
