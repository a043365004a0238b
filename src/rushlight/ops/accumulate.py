"""Adding values into an array at positions that may repeat: the backward pass of indexing, and the forward of index_add and scatter_add."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import services
from ..kernels import native
from ..kernels.memory import copied
from ..kernels.shapes import broadcast_arrays
from ..kernels.strides import zeros_for

__all__ = ["put_add", "add_rows"]

_library = native.library
ndarray = np.ndarray


def add_rows(target: Any, rows: Any, values: Any) -> Any:
    """``target[rows[i]] += values[i]`` for a matrix `target` (or vector), vector `rows` and matching `values`; rows may repeat.

    `rows` are in range; negative ones count from the end. Vectors and few rows are added by NumPy, many rows are grouped first."""
    if target.__class__ is not ndarray and hasattr(target, "level") or rows.__class__ is not ndarray and hasattr(rows, "level"):
        return services.batched_add_rows(target, rows, values)
    n = rows.size
    if _library is not None and values.__class__ is np.ndarray and not values.flags.c_contiguous:      # a gradient of a sum, for example
        values = copied(values)
    if n == 0 or (_library is not None and target.__class__ is rows.__class__ is values.__class__ is np.ndarray and _library.add_rows(target, rows, values)):
        return target
    if target.ndim == 1 and target.dtype.kind == "f" and target.dtype.itemsize >= 4 and n * 4 >= target.size:
        target += np.bincount(rows if rows.min() >= 0 else rows % target.size, values, target.size).astype(target.dtype, copy=False)
        return target
    if target.ndim == 1 or values.size < 8192:
        if target.dtype.kind == "V" or target.dtype.itemsize == 2 and target.dtype.kind == "f":
            wide = target.astype(np.float32)
            np.add.at(wide, rows, values.astype(np.float32))
            target[...] = wide.astype(target.dtype)
            return target
        np.add.at(target, rows, values)
        return target
    if rows.min() < 0:
        rows = np.where(rows < 0, rows + target.shape[0], rows)
    wide = values.astype(np.float32) if target.dtype.kind == "V" or target.dtype.itemsize == 2 and target.dtype.kind == "f" else values
    rows, sums = _group(rows, wide)
    if target.dtype.kind == "b":
        target[rows] |= sums
    else:
        target[rows] = (target.take(rows, 0) + sums).astype(target.dtype, copy=False)
    return target


def _group(rows: Any, values: Any) -> tuple[Any, Any]:
    """Each row number once, with the sum of its values: neighbours among the sorted rows are added in pairs until none is left.

    That is a handful of array operations per doubling of the longest run, and pairwise summation in accuracy; NumPy's own
    ``add.reduceat`` takes ten times as long on matrices."""
    order = np.argsort(rows, kind="stable")
    rows, values = rows[order], values.take(order, 0)
    new_run = rows[1:] != rows[:-1]
    if new_run.all():
        return rows, values
    n = rows.size
    starts = np.flatnonzero(new_run) + 1
    rank = np.arange(n, like=rows)
    rank[starts[0] if starts.size else n:] -= np.repeat(starts, np.diff(starts, append=n))
    while True:
        even = np.flatnonzero(rank & 1 == 0)
        left = np.flatnonzero(rank & 1) - 1         # where the pair of an odd element begins
        values[left] += values[left + 1]
        rows, values, rank = rows[even], values.take(even, 0), rank[even] >> 1
        if not rank.any():
            return rows, values


def put_add(shape: tuple[int, ...], arrays: dict[int, Any], values: Any, into: Any = None) -> Any:
    """Add `values` at index arrays given by dimension (see `indexing.advanced`); into zeros of `shape`, or into an array."""
    first = next(iter(arrays.values()))
    if into is not None:
        target = into
    elif any(each.__class__ is not ndarray and hasattr(each, "level") for each in arrays.values()):
        target = services.batched_zeros(shape, values.dtype, (values, *arrays.values()))
    else:
        target = zeros_for(values, shape)
    if _library is not None and len(arrays) == 1 and first.ndim == 1 and target.__class__ is first.__class__ is ndarray:
        dim = next(iter(arrays))
        if dim and _library.add_slices(target, dim, first, values):
            return target
    if first.dtype.kind == "b":
        if into is None:
            target[first] = values
        else:
            target[first] += values
        return target
    dims = sorted(arrays)
    index = broadcast_arrays(*[arrays[d] for d in dims]) if len(dims) > 1 else [first]
    picked = index[0].ndim
    neighbours = dims[-1] - dims[0] == len(dims) - 1
    if neighbours and dims[0]:
        values = np.moveaxis(values, range(dims[0], dims[0] + picked), range(picked))
    order = dims + [d for d in range(len(shape)) if d not in arrays]
    front = target.transpose(order) if order != list(range(len(shape))) else target
    if len(dims) == 1:
        flat = index[0].reshape(-1)
    else:
        wrapped = [np.where(each < 0, each + shape[d], each) for each, d in zip(index, dims, strict=True)]
        flat = wrapped[0]
        for each, d in zip(wrapped[1:], dims[1:], strict=True):
            flat = flat * shape[d] + each
        flat = flat.reshape(-1)
    rest = front.shape[len(dims):]
    count = 1
    for d in dims:
        count *= shape[d]
    columns = 1
    for n in rest:
        columns *= n
    rows = front.reshape((count,) if columns == 1 else (count, columns))
    shared = np.may_share_memory(rows, target)
    add_rows(rows, flat, values.reshape((flat.size,) if columns == 1 else (flat.size, columns)))
    if not shared:
        front[...] = rows.reshape(front.shape)
    return target
