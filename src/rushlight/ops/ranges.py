"""Ranges and grids: numbers at even distances, and ones on the diagonal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..dtypes import get_default_dtype
from ..kernels import memory as M
from ..kind import Kind, kind_of
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Device, Dtype, Layout, Number, Operand
from .creation import creation_kind, finish
from .promotion import real
from .public import export
from .write import write_out

__all__: list[str] = []


def _number(value: Any, name: str, parameter: str) -> Number:
    if isinstance(value, Tensor):
        return value.item()
    if isinstance(value, (int, float, np.number)):
        return value
    if isinstance(value, complex):
        return real(value)
    raise TypeError(f"{name}(): argument '{parameter}' must be Number, not {type(value).__name__}")


def arange(*args: Any, start: Any = None, end: Any = None, step: Any = None, out: Tensor | None = None, dtype: Dtype = None,
           layout: Layout = None,
           device: Device = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """``arange(end)``, ``arange(start, end)``, ``arange(start, end, step)``: evenly spaced values in [start, end).

    int64 where all arguments are ints, else the default dtype.
    """
    if len(args) == 1 and args[0].__class__ is int and args[0] >= 0 and start is None and step is None and out is None and dtype is None:
        r = _line(creation_kind(dtypes.int64, device), 0, 1, args[0])
        return finish(r, requires_grad, pin_memory, layout) if requires_grad or pin_memory or layout is not None else r
    names = ("end",) if len(args) == 1 else ("start", "end", "step")
    given = {"start": start, "end": end, "step": step}
    if len(args) == 1 and end is not None:
        names = ("start",)
    for parameter, value in zip(names, args, strict=False):
        given[parameter] = value
    if given["end"] is None:
        raise TypeError("arange() missing 1 required positional arguments: \"end\"")
    first = 0 if given["start"] is None else _number(given["start"], "arange", "start")
    last, by = _number(given["end"], "arange", "end"), 1 if given["step"] is None else _number(given["step"], "arange", "step")
    ints = all(isinstance(v, (int, np.integer)) for v in (first, last, by))
    kind = creation_kind(dtype, device, (dtypes.int64 if ints else None) if out is None else out._kind.dtype)
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if kind.dtype is dtypes.int64 and not ints and math.isfinite(first) and math.isfinite(last):
        first, last, by, ints = int(first), int(last), int(by), True
        if by == 0:
            raise ValueError("step must be nonzero")
    if not (math.isfinite(first) and math.isfinite(last)):
        raise RuntimeError(f"unsupported range: {first} -> {last}")
    if (last - first) * by < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    n = max(0, -((int(first) - int(last)) // int(by))) if ints else math.ceil((last - first) / by)
    if ints or not kind.differentiable:
        first, by = int(first), int(by)
    r = _line(kind, first, by, n)
    if out is not None:
        return write_out(out, _shaped(r, out), "arange")
    return finish(r, requires_grad, pin_memory, layout)


def _shaped(r: Tensor, out: Tensor | None) -> Tensor:
    """A row of values in the shape of the tensor given as out=, if that has as many elements."""
    return wrap(r._a.reshape(out._a.shape), r._kind) if isinstance(out, Tensor) and out._a.size == r._a.size else r


def _line(kind: Kind, first: Number, by: Number, n: int) -> Tensor:
    """first + i * by for i < n, computed in float64 and rounded once (float32: as PyTorch's vector loop does)."""
    a = kind.xp.empty(n, kind.np)
    M.affine(a, first, by)
    return wrap(a, kind)


def range_(start: Any, end: Any = None, step: Any = 1, *, out: Tensor | None = None, dtype: Dtype = None, layout: Layout = None,
           device: Device = None,
           requires_grad: bool = False) -> Tensor:
    """Like `arange`, but `end` is included (deprecated in PyTorch)."""
    import warnings
    warnings.warn("torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with Python's "
                  "range builtin. Instead, use torch.arange, which produces values in [start, end).", UserWarning, stacklevel=2)
    if end is None:
        start, end = 0, start
    kind = creation_kind(dtype, device, None if out is None else out._kind.dtype)
    start, end, step = real(start), real(end), real(step)
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    n = math.floor((end - start) / step) + 1
    if n < 1 or step == 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign" if step else "step must be nonzero")
    r = _line(kind, start, step, n)
    return write_out(out, _shaped(r, out), "range") if out is not None else finish(r, requires_grad, False, layout)


def _ends(name: str, start: Number, end: Number, steps: int) -> list[Any]:
    """The ends of a range as numbers, checked."""
    if isinstance(steps, float):
        raise TypeError(f"{name}(): argument 'steps' must be int, not float")
    if any(isinstance(v, Tensor) and v._a.ndim for v in (start, end)):
        shown = [v._a.ndim if isinstance(v, Tensor) else 0 for v in (start, end)]
        raise RuntimeError(f"{name} only supports 0-dimensional start and end tensors, but got start with {shown[0]} dimension(s) and end "
                           f"with {shown[1]} dimension(s).")
    return [v.item() if isinstance(v, Tensor) else v for v in (start, end)]


def linspace(start: Operand, end: Operand, steps: int, *, out: Tensor | None = None, dtype: Dtype = None, layout: Layout = None,
             device: Device = None,
             requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """`steps` evenly spaced values from start to end, both included; computed from both ends, so that it is symmetric."""
    start, end = _ends("linspace", start, end, steps)
    kind = creation_kind(dtype, device, out._kind.dtype if out is not None else get_default_dtype().to_complex()
                         if isinstance(start, complex)
                         or isinstance(end, complex) else None)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if kind is kind.bool_ and steps > 1:
        raise NotImplementedError("\"linspace_cpu\" not implemented for 'Bool'")
    r = wrap(_linspace(kind, start, end, steps), kind)
    return write_out(out, _shaped(r, out), "linspace") if out is not None else finish(r, requires_grad, pin_memory, layout)


def _linspace(kind: Kind, start: Number, end: Number, steps: int) -> Array:
    if steps == 1:
        return kind.xp.full(1, start, kind.np)
    if not kind.differentiable:
        start, end = int(start), int(end)
        step = (np.float32(end) - np.float32(start)) / np.float32(max(steps - 1, 1))
        i = kind.xp.arange(steps)
        a = np.where(i < steps // 2, start + step * i.astype(np.float32), end - step * (steps - 1 - i).astype(np.float32))
        return np.trunc(a).astype(kind.np)
    a = kind.xp.empty(steps, np.float32 if kind.reduced else kind.np)
    M.between(a, start, end)
    return a.astype(kind.np, copy=False)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Tensor | None = None, dtype: Dtype = None, layout: Layout = None,
             device: Device = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """base ** linspace(start, end, steps)."""
    start, end = _ends("logspace", start, end, steps)
    complex_ends = isinstance(start, complex) or isinstance(end, complex)
    kind = creation_kind(dtype, device, out._kind.dtype if out is not None else get_default_dtype().to_complex() if complex_ends else None)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if complex_ends and not kind.is_complex:
        raise RuntimeError(f"logspace(): inferred dtype {get_default_dtype().to_complex()} can't be safely cast to passed dtype "
                           f"{kind.dtype}")
    work = kind if kind.fast or complex_ends else kind_of(dtypes.float64, kind.device)
    if not kind.differentiable:
        start, end = int(start), int(end)
    a = np.power(np.asarray(base, work.np), _linspace(work, start, end, steps))
    r = wrap(a.astype(kind.np), kind)
    return write_out(out, _shaped(r, out), "logspace") if out is not None else finish(r, requires_grad, pin_memory, layout)


def eye(n: int, m: int | None = None, *, out: Tensor | None = None, dtype: Dtype = None, layout: Layout = None, device: Device = None,
        requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """The n x m matrix with ones on its diagonal."""
    m = n if m is None else m
    for label, value in (("n", n), ("m", m)):
        if value < 0:
            raise RuntimeError(f"{label} must be greater or equal to 0, got {value}")
    kind = creation_kind(dtype, device, None if out is None else out._kind.dtype)
    if n * m * kind.np.itemsize >= 2 ** 63:
        raise RuntimeError(f"numel: integer multiplication overflow: {n} x {m}")
    r = wrap(kind.xp.eye(n, m, dtype=kind.np), kind)
    return write_out(out, r, "eye") if out is not None else finish(r, requires_grad, pin_memory, layout)


for _fn in (arange, linspace, logspace, eye):
    export(_fn, guard=_fn is not arange)
export(range_, "range", guard=True)
