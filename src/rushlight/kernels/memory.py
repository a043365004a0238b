"""Copies, conversions and fills of arrays. NumPy is the reference; native/memory.cpp, where it is built, does them with several threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from .native import function

__all__ = ["copied", "copied_like", "converted", "assign", "fill", "affine", "between", "fma", "joined", "triangle"]


def _numpy_converted(a: Any, dtype: Any) -> Any:
    """The array in another dtype. Fractions are cut off by way of int64, as the CPU converts; half precision goes through float32."""
    if dtype.kind in "iu" and a.dtype.kind not in "biuc":
        if a.dtype.itemsize == 2:
            a = a.astype(np.float32)
        with np.errstate(invalid="ignore"):
            return a.astype(np.int64).astype(dtype) if dtype.itemsize < 8 else a.astype(dtype)
    return a.astype(dtype)


def _numpy_assign(target: Any, values: Any) -> None:
    if values.dtype != target.dtype and target.dtype.kind in "iu" and values.dtype.kind not in "biuc":
        values = _numpy_converted(values, target.dtype)
    target[...] = values


def _numpy_fill(target: Any, value: Any) -> None:
    target[...] = value


def _numpy_affine(n: int, first: Any, by: Any, dtype: Any) -> Any:
    """first + i * by for i < n, computed in float64 and rounded once (integers: in int64)."""
    i = np.arange(n)
    return (first + i * (by if dtype.kind in "iu" else float(by))).astype(dtype)


def _numpy_between(steps: int, start: Any, end: Any, dtype: Any) -> Any:
    """`steps` (2 or more) evenly spaced numbers, computed from both ends."""
    low, high = dtype.type(start), dtype.type(end)
    step = (high - low) / dtype.type(max(steps - 1, 1))
    i = np.arange(steps)
    return np.where(i < steps // 2, fma(step, i, low), fma(-step, steps - 1 - i, high)).astype(dtype)


def fma(step: Any, i: Any, base: Any) -> Any:
    """base + step * i, of float32 with one rounding, as fused multiply-add instructions give it."""
    if step.dtype == np.float32:
        return (base.astype(np.float64) + step.astype(np.float64) * i).astype(np.float32)
    return base + step * i.astype(step.dtype)


def _numpy_triangle(a: Any, diagonal: int, upper: bool) -> Any:
    rows, columns = np.arange(a.shape[-2], like=a)[:, None], np.arange(a.shape[-1], like=a)
    return np.where(columns - rows >= diagonal if upper else columns - rows <= diagonal, a, a.dtype.type(0))


def _numpy_joined(arrays: Any, axis: int, new: bool) -> Any:
    if new:
        index = (slice(None),) * axis + (None,)
        arrays = [each[index] for each in arrays]
    return np.concatenate(arrays, axis)


copied = function("copied", lambda a: a.copy("C"))                  # (array) -> a copy in C order
copied_like = function("copied_like", lambda a: a.copy("K"))        # (array) -> a copy in the array's own order of dimensions
converted = function("converted", _numpy_converted)                 # (array, dtype) -> a converted copy in that order
assign = function("assign", _numpy_assign)                          # target[...] = values, converted
fill = function("fill", _numpy_fill)                                # target[...] = value
affine = function("affine", _numpy_affine)                          # (n, first, by, dtype) -> first + i * by for i < n
between = function("between", _numpy_between)                       # (steps, start, end, dtype) -> evenly spaced numbers, both ends included
joined = function("joined", _numpy_joined)                          # (list of arrays of one dtype, axis, whether it is a new one)
triangle = function("triangle", _numpy_triangle)                    # (array, diagonal, upper) -> that triangle of each matrix, zeros elsewhere
