"""Adding values into an array at positions that may repeat: the backward pass of indexing, and the forward of index_add and scatter_add."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.indexing import add_rows, add_slices
from ..kernels.memory import zeros_beside
from ..kernels.shapes import broadcast_arrays
from ..vocabulary import Array

__all__ = ["put_add", "add_rows"]


def put_add(shape: tuple[int, ...], arrays: dict[int, Any], values: Array, into: Array | None = None) -> Array:
    """Add `values` at index arrays given by dimension (see `indexing.advanced`); into zeros of `shape`, or into an array."""
    first = next(iter(arrays.values()))
    target = zeros_beside(shape, values.dtype, values, *arrays.values()) if into is None else into
    if len(arrays) == 1 and first.ndim == 1:
        dim = next(iter(arrays))
        if dim and add_slices(target, dim, first, values):
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
