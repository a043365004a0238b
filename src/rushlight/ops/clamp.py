"""clamp: values limited to a range, given by numbers or tensors."""

from __future__ import annotations

from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import BOOL
from ..kernels import formula as f
from ..kernels.arrays import as_array
from ..kernels.fuse import fuse
from ..kernels.native import elementwise
from ..kind import kind_of
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, Operand
from .creation import _fits
from .errors import broadcast_error
from .indexing import _plain
from .promotion import number_tensor, result_dtype
from .public import checked_inplace, export, method, op
from .record import record, rename
from .write import AT_ONCE, computed_at_once, inplace_from, write_in_place

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["clamp"]


def _limits(input: Tensor, name: str, *bounds: Any) -> None:
    for label, bound in zip(("min", "max"), bounds, strict=True):
        if bound is not None and not isinstance(bound, (Tensor, Number, np.generic)):
            raise TypeError(f"{name}() received an invalid combination of arguments: '{label}' must be Number or Tensor, not "
                            f"{type(bound).__name__}")
    if bounds == (None, None):
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if input._kind.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    if any(isinstance(bound, Tensor) and bound._kind.is_complex for bound in bounds):
        raise NotImplementedError("clamp is not supported for complex types")
    if any(isinstance(bound, complex) for bound in bounds):
        if input._kind.is_floating and name == "clamp":
            raise RuntimeError("value cannot be converted to type double without overflow")
        raise NotImplementedError("clamp is not supported for complex types")


@op(method=True, out=True, alias=("clip",))
def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Values below `min` become min, above `max` max (None: no limit). Limits are numbers or tensors; floats lift integers to floats."""
    kind = input._kind
    low, high = min, max
    if kind.fast and (low is None or low.__class__ is float or low.__class__ is int) and (
            high is None or high.__class__ is float or high.__class__ is int) and low is not high:
        return _by_numbers(input, low, high)
    _limits(input, "clamp", low, high)
    tensors = [t for t in (low, high) if isinstance(t, Tensor)]
    if len(tensors) == 1 and tensors[0]._a.ndim == 0 and (low is not None and high is not None):
        low, high = (t.item() if isinstance(t, Tensor) else t for t in (low, high))
        tensors = []
    if len(tensors) == 1 and low is not None and high is not None:
        raise TypeError("clamp() received an invalid combination of arguments: 'min' and 'max' must both be numbers or both be tensors")
    d = result_dtype("clamp", input, *[t for t in (low, high) if t is not None])
    out_kind = kind_of(d, kind.device)
    if d.category == BOOL and not tensors:
        raise NotImplementedError("\"clamp_scalar_cpu\" not implemented for 'Bool'")
    if not tensors:
        return _by_numbers(input.to(d) if kind is not out_kind else input, low, high)
    return _by_tensors(input, low, high, out_kind)


_maximum, _minimum = elementwise(np.maximum), elementwise(np.minimum)
_between = fuse(lambda x, low, high: f.minimum(f.maximum(x, low), high))
_between_gradient = fuse(lambda g, x, low, high: f.where((x >= low) & (x <= high), g, 0.0))
_above_gradient = fuse(lambda g, x, low: f.where(x >= low, g, 0.0))
_below_gradient = fuse(lambda g, x, high: f.where(x <= high, g, 0.0))


def _gradient(low: Any, high: Any) -> Function:
    """The gradient (g, x) of limits that are numbers, None where there is none: for tensors and arrays."""
    if low is None:
        return lambda g, x: _below_gradient(g, x, high)
    return (lambda g, x: _above_gradient(g, x, low)) if high is None else lambda g, x: _between_gradient(g, x, low, high)


def _by_numbers(input: Tensor, low: Any, high: Any) -> Tensor:
    a, kind = input._a, input._kind
    if kind.fast and low is not None and high is not None:
        array = _between(a, low, high)
        r = wrap(array if array.__class__ is np.ndarray else as_array(array, kind.np), kind)
        if input._node is None:
            return r
        gradient = _gradient(low, high)
        return record(r, "ClampBackward1", (input,), gradient, (input,), gradient)
    if kind.reduced:
        a = a.astype(np.float32)
    lo = None if low is None else _bound(kind, low)
    hi = None if high is None else _bound(kind, high)
    array = _minimum(a, hi) if lo is None else _maximum(a, lo) if hi is None else a.clip(lo, hi)
    r = wrap(as_array(array, kind.np), kind)
    if input._node is None:
        return r

    gradient = _gradient(low, high)
    return record(r, "ClampBackward1", (input,), gradient, (input,), gradient)


def _bound(kind: Kind, value: Any) -> Any:
    if kind.fast:
        found = kind.scalars.get(value)
        return (number_tensor(kind, value) if found is None else found)._a
    if not kind.differentiable:
        return _fits(value, kind)[()]
    return np.float32(_fits(value, kind)) if kind.reduced else kind.np.type(value)




def _by_tensors(input: Tensor, low: Any, high: Tensor, kind: Kind) -> Tensor:
    bounds = [None if t is None else t if isinstance(t, Tensor) else wrap(np.asarray(t, kind.np), kind) for t in (low, high)]
    work = np.dtype(np.float32) if kind.reduced else kind.np
    a, lo, hi = [None if t is None else t._a.astype(work, copy=False) for t in (input, *bounds)]
    try:
        array = a if lo is None else _maximum(a, lo)
    except ValueError:
        raise broadcast_error(a.shape, lo.shape) from None
    try:
        array = array if hi is None else _minimum(array, hi)
    except ValueError:
        raise broadcast_error(array.shape, hi.shape) from None
    r = wrap(as_array(array, kind.np), kind)
    low_t, high_t = bounds
    saved = tuple(t for t in (input, low_t, high_t) if t is not None)
    has_low, has_high = low_t is not None, high_t is not None

    def grad(g: Tensor, x: Tensor, *rest: Tensor) -> tuple[Any, ...]:
        lo_t = rest[0] if has_low else None
        hi_t = rest[-1] if has_high else None

        def where(mask: Any) -> Tensor:
            return g.masked_fill(wrap(as_array(np.logical_not(mask)), g._kind.bool_), 0)
        if hi_t is None:
            return where(x._a >= lo_t._a), where(x._a < lo_t._a), None
        if lo_t is None:
            return where(x._a <= hi_t._a), None, where(x._a > hi_t._a)
        return (where((x._a >= lo_t._a) & (x._a <= hi_t._a)), where((x._a < lo_t._a) & (lo_t._a < hi_t._a)),
                where((x._a > hi_t._a) | (hi_t._a < lo_t._a)))
    return record(r, "ClampBackward0", (input, low_t, high_t), grad, saved)


def _one_sided(input: Tensor, low: float, high: Any, name: str) -> Tensor:
    """clamp under the node name of clamp_min or clamp_max."""
    r = clamp(input, low, high)
    if r._node is not None and r is not input:
        number = not isinstance(high if low is None else low, Tensor)
        rename(r, name + ("0" if number else "1"))
    return r


@op(method=True, out=True, inplace="function")
def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """Values below `min` (a number or tensor) become min."""
    if min is None:
        raise TypeError("clamp_min() received an invalid combination of arguments - got (NoneType): 'min' must be Number or Tensor")
    return _one_sided(input, min, None, "ClampMinBackward")


@op(method=True, out=True, inplace="function")
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Values above `max` (a number or tensor) become max."""
    if max is None:
        raise TypeError("clamp_max() received an invalid combination of arguments - got (NoneType): 'max' must be Number or Tensor")
    return _one_sided(input, None, max, "ClampMaxBackward")


AT_ONCE[clamp_min] = lambda self, min: computed_at_once(self, _maximum, min)
AT_ONCE[clamp_max] = lambda self, max: computed_at_once(self, _minimum, max)


def clamp_(self: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """In-place form of `clamp`."""
    if self._kind.fast and _plain(self, None) and not isinstance(min, Tensor) and not isinstance(max, Tensor):
        _limits(self, "clamp_", min, max)

        def direct(a: Array) -> None:
            low, high = None if min is None else _bound(self._kind, min), None if max is None else _bound(self._kind, max)
            if low is not None and high is not None:
                _minimum(_maximum(a, low, out=a), high, out=a)
            elif low is not None:
                _maximum(a, low, out=a)
            else:
                _minimum(a, high, out=a)
        return write_in_place(self, direct)
    return inplace_from(self, clamp, (self, min, max), {})


for _name in ("clamp_", "clip_"):
    method(clamp_, _name)
    export(checked_inplace(clamp_, _name[:-1]), _name)
