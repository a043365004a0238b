"""Histograms in one and several dimensions."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import return_types
from ..dtypes import float32, float64
from ..kernels import sorting as K
from ..tensor import Tensor, wrap
from .errors import not_implemented
from .public import op
from .ranges import _linspace

if TYPE_CHECKING:
    from ..kind import Kind

__all__: list[str] = []

_histogram = return_types.make("histogram", "hist", "bin_edges")
_histogramdd = return_types.make("histogramdd", "hist", "bin_edges")


@op(method=True, out=True)
def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """Counts in equal bins between min and max (those of the data if both are 0)."""
    kind = input._kind
    if not kind.is_floating:
        raise not_implemented("histogram", kind)
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    if max < min:
        raise RuntimeError("max must be larger than min")
    a = input._a.reshape(-1).astype(np.float32 if kind.reduced else kind.np)
    low, high = float(min), float(max)
    if low == high and a.size and input._kind.device.type != "meta":
        low, high = float(a.min()), float(a.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    inside = (a >= low) & (a <= high)
    first = a.dtype.type(low)
    place = np.minimum(((np.where(inside, a, first) - first) / a.dtype.type(high - low) * bins).astype(np.int64), bins - 1)
    return wrap(np.bincount(np.where(inside, place, bins), minlength=bins + 1)[:bins].astype(kind.np), kind)


def _none(a: Any) -> tuple[float, float]:
    """The range where none is given: that of the data, or [0, 1] without data."""
    return (0.0, 0.0) if a.size else (0.0, 1.0)


def _edges(a: Any, bins: int, limits: tuple[float, float], kind: Kind) -> Any:
    """`bins` equal bins over a range; over that of the data where low == high, and half a unit to both sides if they are all equal."""
    low, high = limits
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins}")
    if low > high:
        raise RuntimeError("torch.histogram(): max must be larger than min")
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histogram(): range of [{low}, {high}] is not finite")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return _linspace(kind, low, high, bins + 1)


def _counted(columns: Any, edges: list[Any], weight: Tensor | None, density: bool, kind: Kind) -> Tensor:
    """The weights of all rows, added up in the boxes that the edges make. The last bin of each dimension holds its right edge."""
    shape = tuple([len(e) - 1 for e in edges])
    if len(edges) == 1 and shape[0] > 0:
        return _density(K.count_bins(columns[:, 0], edges[0], None if weight is None else weight._a.reshape(-1)), edges, density, kind)
    inside = np.ones(columns.shape[0], bool)
    flat = np.zeros(columns.shape[0], np.int64)
    for column, e, n in zip(columns.T, edges, shape, strict=True):
        place = np.searchsorted(e, column, side="right") - 1
        inside &= (column >= e[0]) & (column <= e[-1])
        flat = flat * n + np.clip(place, 0, n - 1)
    weights = None if weight is None else weight._a.reshape(-1)[inside].astype(np.float64)
    counts = np.bincount(flat[inside], weights, minlength=int(np.prod(shape))).astype(np.float64).reshape(shape)
    return _density(counts, edges, density, kind)


def _density(counts: Any, edges: list[Any], density: bool, kind: Kind) -> Tensor:
    if density:
        counts /= counts.sum()
        for d, e in enumerate(edges):
            counts /= np.diff(e.astype(np.float64)).reshape((-1,) + (1,) * (len(edges) - d - 1))
    return wrap(counts.astype(kind.np), kind)


def _real(name: str, input: Tensor, weight: Tensor | None, size: int) -> Any:
    kind = input._kind
    if kind.dtype not in (float32, float64):
        raise not_implemented(name, kind)
    if weight is not None:
        if weight._kind is not kind:
            raise RuntimeError(f"torch.{name}(): if weight tensor is provided, input tensor and weight tensor should have the same dtype, "
                               f"but got input: {input.dtype} and weight: {weight.dtype}")
        if weight._a.size != size:
            raise RuntimeError(f"torch.{name}(): if weight tensor is provided it should have the same shape as the input tensor excluding "
                               f"its innermost dimension, but got {list(weight._a.shape)} for {list(input._a.shape)}")
    return kind


def _given(edges: Tensor, kind: Kind, name: str) -> Any:
    if edges._kind is not kind:
        raise RuntimeError(f"torch.{name}(): input tensor and bins tensors should have the same dtype, but got {kind.dtype} and "
                           f"{edges.dtype}")
    if edges._a.ndim != 1 or not edges._a.size:
        raise RuntimeError(f"torch.{name}(): bins tensor should have one dimension and at least one element, but got "
                           f"{list(edges._a.shape)}")
    return edges._a


@op(method=True, out=True)
def histogram(input: Tensor, bins: Any = 100, *, range: Any = None, weight: Tensor | None = None, density: bool = False) -> Any:
    """(hist, bin_edges): counts (or sums of weights) in `bins` equal bins or between the given edges."""
    if range is not None and len(range) != 2:
        raise RuntimeError(f"torch.histogramdd: for a 1-dimensional histogram range should have 2 elements, but got {len(range)}")
    kind = _real("histogram", input, weight, input._a.size)
    a = input._a.reshape(-1)
    edges = _given(bins, kind, "histogram") if isinstance(bins, Tensor) else _edges(a, bins, range or _none(a), kind)
    return _histogram((_counted(a[:, None], [edges], weight, density, kind), wrap(np.array(edges, kind.np), kind)))


@op
def histogramdd(input: Tensor, bins: Any, range: Any = None, weight: Tensor | None = None, density: bool = False) -> Any:
    """(hist, bin_edges) of points (..., D): `bins` is a number, one per dimension, or a sequence of edges; `range` is low, high, low, high,
    ..."""
    if input._a.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    dims = input._a.shape[-1]
    points = input._a.reshape(prod(input._a.shape[:-1]), dims)
    kind = _real("histogramdd", input, weight, points.shape[0])
    each = list(bins) if isinstance(bins, (tuple, list)) else [bins] * dims
    if len(each) != dims:
        raise RuntimeError(f"torch.histogramdd(): The size of bins must be equal to the innermost dimension of the input: {dims}, not "
                           f"{len(each)}")
    limits = [_none(points)] * dims if range is None else [(range[2 * i], range[2 * i + 1]) for i in np.arange(dims)]
    edges = [_given(b, kind, "histogramdd") if isinstance(b, Tensor) else _edges(points[:, d], b, limits[d], kind)
             for d, b in enumerate(each)]
    return _histogramdd((_counted(points, edges, weight, density, kind), tuple([wrap(np.array(e, kind.np), kind) for e in edges])))
