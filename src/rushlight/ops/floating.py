"""Parts of floating-point numbers, angles, differences on a grid, hashes, and norms held below a limit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..dims import wrap_dim, wrap_dims
from ..kernels import formula as f
from ..kernels.arrays import as_array
from ..kernels.fuse import fuse
from ..tensor import Tensor, wrap
from ..vocabulary import Device, Dims, Dtype, Layout, PerDim
from .creation import empty_strided
from .errors import not_implemented
from .failed_calls import check_tensor
from .joining import cat, stack
from .linalg.norms import vector_norm
from .public import op
from .record import record
from .reduction import reduced_dims
from .selection import where

__all__: list[str] = []

_frexp = return_types.make("frexp", "mantissa", "exponent")


@op(method=True, out=True)
def angle(input: Tensor) -> Tensor:
    """The argument of complex numbers in (-pi, pi]; for real ones 0, or pi where negative (nan stays)."""
    kind = input._kind
    if kind.is_complex:
        real = kind.with_dtype(kind.dtype.to_real())
        return record(wrap(as_array(np.angle(input._a), real.np), real), "AngleBackward0", (input,), _angle_grad, (input,),
                      holomorphic=False)
    out_kind = kind.float_
    a = input._a if kind.fast else input._a.astype(np.float32 if out_kind.reduced else out_kind.np)
    r = _half_turn(a)
    return record(wrap(as_array(r, out_kind.np), out_kind), "AngleBackward0", (input,), lambda g: g * 0)


_half_turn = fuse(lambda a: f.where(f.isnan(a), a, f.where(a < 0, math.pi, 0.0)))


def _angle_grad(g: Tensor, z: Tensor) -> Tensor:
    size = (z.real * z.real + z.imag * z.imag)
    scale = (g / size).masked_fill(size == 0, 0)
    return z * scale * 1j


@op(method=True, out=True)
def frexp(input: Tensor) -> Any:
    """(mantissa, exponent) with input = mantissa * 2 ** exponent and the mantissa in [0.5, 1); int32 exponents."""
    kind = input._kind
    if not kind.is_floating:
        raise RuntimeError(f"torch.frexp() only supports floating-point dtypes, but got {kind.dtype}")
    mantissa, exponent = np.frexp(input._a.astype(np.float32) if kind.reduced else input._a)
    power = wrap(as_array(exponent, np.int32), kind.with_dtype(dtypes.int32))
    first = wrap(as_array(mantissa, kind.np), kind)
    record(first, "FrexpBackward0", (input,), lambda g, e: g / (2.0 ** e.to(g.dtype)), (power,))
    return _frexp((first, power))


@op(method=True, inplace="function", out=True)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other."""
    check_tensor("ldexp", input=input, other=other)
    return input * 2.0 ** other


@op(method=True, out=True)
def hash_tensor(input: Tensor, dim: PerDim = (), *, keepdim: bool = False, mode: int = 0) -> Tensor:
    """The exclusive or of all elements' bits (or along dimensions): floats as float64, all others as int64; the result is uint64."""
    if mode != 0:
        raise RuntimeError(f"hash_tensor: Unknown hash_mode {mode}: 0 is the one there is")
    if input._kind.is_complex:
        raise not_implemented("hash_tensor", input._kind)
    dims = reduced_dims(dim, input._a.ndim)
    bits = input._a.astype(np.float64 if input._kind.is_floating else np.int64).view(np.uint64)
    kind = input._kind.with_dtype(dtypes.uint64)
    return wrap(as_array(np.bitwise_xor.reduce(bits, axis=dims, keepdims=keepdim)), kind)


@op(method=True, inplace=True, out=True)
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices along `dim` whose p-norm is above `maxnorm` scaled down to it."""
    if input._a.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input._a.ndim} dimensions")
    if isinstance(p, complex) or not p > 0:
        raise RuntimeError("renorm: non-positive norm not supported" if not isinstance(p, complex) else "renorm: p must be real-valued")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    dim = wrap_dim(dim, input._a.ndim)
    if not input._kind.differentiable:
        raise not_implemented("renorm", input._kind)
    others = [d for d in range(input._a.ndim) if d != dim]
    work = input.float() if input._kind.reduced else input
    norms = vector_norm(work, p, others, True)
    scaled = work * where(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)
    return scaled.to(input.dtype)


# --- differences on a grid ------------------------------------------------------------------------------------------------------------

@op
def gradient(input: Tensor, *, spacing: Any = None, dim: Dims = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Second-order central differences along each of the dimensions `dim` (all by default), one-sided at the edges.

    spacing     1, a distance, a distance per dimension, or the coordinates per dimension as 1-D tensors
    edge_order  1 or 2: the order of accuracy at the edges
    """
    ndim = input._a.ndim
    dims = tuple(range(ndim)) if dim is None else wrap_dims(dim if isinstance(dim, (tuple, list)) else (dim,), ndim)
    if dim is None and isinstance(spacing, (tuple, list)) and len(spacing) != ndim:
        raise RuntimeError("torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to 'self.dim() = "
                           f"{ndim}', but got a list of length {len(spacing)}")
    steps = list(spacing) if isinstance(spacing, (tuple, list)) else [1 if spacing is None else spacing] * len(dims)
    if len(steps) != len(dims):
        raise RuntimeError("torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to have the "
                           f"same length, but got a spacing argument of length {len(steps)} and a dim argument of length {len(dims)}.")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if input._kind.dtype is dtypes.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    for d in dims:
        if (input._a.shape[d] if ndim else 0) < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    for d, step in zip(dims, steps, strict=True):
        if isinstance(step, Tensor) and step._a.ndim and (step._a.ndim != 1 or step._a.size != input._a.shape[d]):
            raise RuntimeError(f"torch.gradient expected the coordinates of dimension {d} to be a vector of {input._a.shape[d]} elements, "
                               f"but got shape {list(step._a.shape)}")
    return tuple([_along(input, d, step, edge_order) for d, step in zip(dims, steps, strict=True)])


def _along(f: Tensor, dim: int, step: Any, edge_order: int) -> Tensor:
    n = f._a.shape[dim]

    def part(start: int, length: int) -> Tensor:
        return f.narrow(dim, start, length)
    if not isinstance(step, Tensor) or step._a.ndim == 0:
        inner = (part(2, n - 2) - part(0, n - 2)) / (2 * step) if n > 2 else None
        if edge_order == 1:
            first, last = (part(1, 1) - part(0, 1)) / step, (part(n - 1, 1) - part(n - 2, 1)) / step
        else:
            first = (part(1, 1) * 4 - part(0, 1) * 3 - part(2, 1)) / (2 * step)
            last = (part(n - 1, 1) * 3 - part(n - 2, 1) * 4 + part(n - 3, 1)) / (2 * step)
    else:
        shape = [1] * f._a.ndim
        shape[dim] = n - 1
        gaps = (step.narrow(0, 1, n - 1) - step.narrow(0, 0, n - 1)).reshape(shape)

        def gap(start: int, length: int) -> Tensor:
            return gaps.narrow(dim, start, length)
        inner = None
        if n > 2:
            a, b = gap(0, n - 2), gap(1, n - 2)
            inner = part(0, n - 2) * (-b / (a * (a + b))) + part(1, n - 2) * ((b - a) / (a * b)) + part(2, n - 2) * (a / (b * (a + b)))
        if edge_order == 1:
            first, last = (part(1, 1) - part(0, 1)) / gap(0, 1), (part(n - 1, 1) - part(n - 2, 1)) / gap(n - 2, 1)
        else:
            a, b = gap(0, 1), gap(1, 1)
            first = part(0, 1) * (-(a * 2 + b) / (a * (a + b))) + part(1, 1) * ((a + b) / (a * b)) + part(2, 1) * (-a / (b * (a + b)))
            a, b = gap(n - 3, 1), gap(n - 2, 1)
            last = part(n - 3, 1) * (b / (a * (a + b))) + part(n
                                                               - 2, 1) * (-(a + b) / (a * b)) + part(n - 1, 1) * ((b * 2 + a) / (b * (a + b)))
    return cat([t for t in (first, inner, last) if t is not None], dim)


# --- reductions of segments -----------------------------------------------------------------------------------------------------------

_SEGMENT = {"sum": lambda t: t.sum(0), "mean": lambda t: t.sum(0), "max": lambda t: t.amax(0), "min": lambda t: t.amin(0),
            "prod": lambda t: t.prod(0)}
_EMPTY = {"sum": 0.0, "mean": float("nan"), "max": float("-inf"), "min": float("inf"), "prod": 1.0}


@op
def segment_reduce(data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
                   offsets: Tensor | None = None,
                   axis: int = 0, unsafe: bool = False, initial: float | None = None) -> Tensor:
    """Neighbouring slices of dimension `axis`, cut into segments by their `lengths` or `offsets`, reduced: "sum", "mean", "max", "min",
    "prod"."""
    if reduce not in _SEGMENT:
        raise RuntimeError(f"unsupported reduction given! {reduce}")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined")
    bounds = lengths if lengths is not None else offsets
    assert bounds is not None
    axis = wrap_dim(axis, data._a.ndim)
    if bounds._a.ndim != axis + 1:
        raise RuntimeError(f"segment_reduce(): Expected the segments to have {axis + 1} dimension(s), but got {bounds._a.ndim}")
    sizes = bounds._a if lengths is not None else np.diff(bounds._a)
    if not unsafe and lengths is not None and ((sizes < 0).any() or (sizes.sum(-1) != data._a.shape[axis]).any()):
        raise RuntimeError("segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) when !unsafe.")
    return _segments(data, reduce, sizes, None if lengths is not None else bounds._a, initial)


def _segments(data: Tensor, reduce: str, sizes: Any, offsets: Any, initial: float | None) -> Tensor:
    if sizes.ndim > 1:
        return stack([_segments(row, reduce, sizes[i], None if offsets is None else offsets[i],
                                initial) for i, row in enumerate(data.unbind(0))])
    starts = np.cumsum(sizes) - sizes if offsets is None else offsets[:-1]
    results = [_segment(data.narrow(0, int(start), int(n)), reduce, initial) for start, n in zip(starts, sizes, strict=True)]
    return stack(results) if results else data.narrow(0, 0, 0)


def _segment(part: Tensor, reduce: str, initial: float | None) -> Tensor:
    n = part._a.shape[0]
    if not n:
        return part.new_full(part._a.shape[1:], _EMPTY[reduce] if initial is None else initial)
    r = _extreme(part, reduce) if reduce in ("max", "min") else _SEGMENT[reduce](part)
    if initial is not None:
        r = {"sum": r + initial, "mean": r + initial, "max": r.clamp(min=initial), "min": r.clamp(max=initial), "prod": r * initial}[reduce]
    return r / n if reduce == "mean" else r


def _extreme(part: Tensor, reduce: str) -> Tensor:
    """The largest or smallest slice; its gradient goes to the elements that are it, or nan."""
    r = _SEGMENT[reduce](part.detach())

    def grad(g: Tensor, part: Tensor, r: Tensor) -> Tensor:
        chosen = (part == r) | part.isnan()
        return chosen * (g / chosen.sum(0))
    return record(r, f"SegmentReduceBackward{reduce}", (part,), grad, (part, r))


# --- empty tensors in a given order of memory -----------------------------------------------------------------------------------------

@op
def empty_permuted(size: Any, physical_layout: Any, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
                   requires_grad: bool = False,
                   pin_memory: bool = False) -> Tensor:
    """An uninitialised tensor whose dimensions lie in memory in the order `physical_layout`, from the outermost to the innermost."""
    size, order = tuple(size), tuple(physical_layout)
    if len(order) != len(size):
        raise RuntimeError(f"Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = {len(size)} "
                           f"is not equal to len(physical_layout) = {len(order)}")
    if sorted(order) != list(range(len(size))):
        raise RuntimeError(f"Duplicate dim not allowed, or dimension out of range, in physical_layout {list(order)}")
    stride, step = [0] * len(size), 1
    for d in reversed(order):
        stride[d] = step
        step *= max(size[d], 1)
    return empty_strided(size, stride, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad, pin_memory=pin_memory)


