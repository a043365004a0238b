"""Copies, conversions and fills of arrays. NumPy is the reference; native/memory.cpp, where it is built, does them with several threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array, Number, NumpyDtype, NumpyDtypeLike
from . import door, out_of_memory
from .door import kernel

__all__ = ["copied", "copied_like", "converted", "assign", "fill", "affine", "between", "fma", "joined", "triangle", "overlap"]


out_of_memory.errors_are_both()


@kernel
def copied(a: Array) -> Array:
    """A copy in C order."""
    return a.copy("C")


@kernel
def copied_like(a: Array) -> Array:
    """A copy in the array's own order of dimensions."""
    return a.copy("K")


@kernel
def converted(a: Array, dtype: NumpyDtype) -> Array:
    """The array in another dtype. Fractions are cut off by way of int64, as the CPU converts; half precision goes through float32."""
    if dtype.kind in "iu" and a.dtype.kind not in "biuc":
        if a.dtype.itemsize == 2:
            a = a.astype(np.float32)
        with np.errstate(invalid="ignore"):
            return a.astype(np.int64).astype(dtype) if dtype.itemsize < 8 else a.astype(dtype)
    return a.astype(dtype)


door.converted = converted


@kernel
def assign(target: Array, values: Any) -> None:
    """target[...] = values, converted."""
    if values.dtype != target.dtype and target.dtype.kind in "iu" and values.dtype.kind not in "biuc":
        values = converted(values, target.dtype)
    target[...] = values


@kernel
def fill(target: Array, value: Array | Number) -> None:
    """target[...] = value"""
    target[...] = value


@kernel
def affine(target: Array, first: Number, by: Number) -> None:
    """target[i] = first + i * by, computed in float64 and rounded once (integers: in int64)."""
    target[...] = first + np.arange(target.shape[0], like=target) * (by if target.dtype.kind in "iu" else float(by))


@kernel
def between(target: Array, start: Number, end: Number) -> None:
    """Evenly spaced numbers into a row of 2 or more, computed from both ends."""
    number, steps = target.dtype.type, target.shape[0]
    low, high = number(start), number(end)
    step = (high - low) / number(max(steps - 1, 1))
    i = np.arange(steps, like=target)
    target[...] = np.where(i < steps // 2, fma(step, i, low), fma(-step, steps - 1 - i, high))


@kernel
def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays, each without gaps, share memory and are not the same elements in the same order."""
    return overlapping(a.__array_interface__["data"][0], b.__array_interface__["data"][0], a, b)


def overlapping(start_a: int, start_b: int, a: Array, b: Array) -> bool:
    """The same, of arrays at these addresses."""
    if start_a == start_b and a.size == b.size:
        return a.strides != b.strides
    return start_a < start_b + b.nbytes and start_b < start_a + a.nbytes


def fma(step: Any, i: Array, base: Any) -> Array:
    """base + step * i, of float32 with one rounding, as fused multiply-add instructions give it."""
    if step.dtype == np.float32:
        return (base.astype(np.float64) + step.astype(np.float64) * i).astype(np.float32)
    return base + step * i.astype(step.dtype)


@kernel
def triangle(a: Array, diagonal: int, upper: bool) -> Array:
    """That triangle of each matrix, zeros elsewhere."""
    rows, columns = np.arange(a.shape[-2], like=a)[:, None], np.arange(a.shape[-1], like=a)
    return np.where(columns - rows >= diagonal if upper else columns - rows <= diagonal, a, a.dtype.type(0))


@kernel
def joined(arrays: list[Array], axis: int, new: bool) -> Array:
    """A list of arrays of one dtype joined along an axis, which is a new one if `new`."""
    if new and axis < arrays[0].ndim:
        shape = arrays[0].shape
        if any(each.shape != shape for each in arrays):
            raise ValueError("all arrays have to have one shape")
        return joined(arrays, axis, False).reshape(*shape[:axis], len(arrays), *shape[axis:])
    if new:
        arrays = [each[..., None] for each in arrays]
    r = np.concatenate(arrays, axis)
    # NumPy keeps the order of the dimensions; PyTorch does so for images with the channels last only.
    return r if r.flags.c_contiguous or not new and _has_channels_last(r) else r.copy("C")


def _has_channels_last(a: Array) -> bool:
    return a.ndim in (4, 5) and np.moveaxis(a, 1, -1).flags.c_contiguous


@kernel
def zeros_beside(shape: tuple[int, ...], dtype: NumpyDtypeLike, *arrays: Any) -> Any:
    """Zeros to write to what is computed from all of these arrays; the first (which may be a NumPy scalar) says where."""
    a = arrays[0]
    return np.zeros(shape, dtype) if a.__class__ is np.ndarray or isinstance(a, np.generic) else np.zeros(shape, dtype, like=a)
