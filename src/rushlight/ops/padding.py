"""Padding: constant, reflect, replicate, circular."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..kernels.resample import Table
from ..kernels.strides import zeros_for
from ..tensor import Tensor, wrap
from ..vocabulary import Array
from .errors import not_a_tensor
from .interpolate import resampled
from .memory_format import in_format_of
from .public import export, functional
from .record import record

__all__ = ["pad"]


def _checked_widths(pad: Any, mode: Any, value: Any) -> list[int]:
    """The widths as integers; PyTorch's TypeError for what is of another type."""
    if not isinstance(pad, (tuple, list)):
        raise TypeError(f"pad(): argument 'pad' (position 2) must be tuple of ints, not {type(pad).__name__}")
    for at, each in enumerate(pad):
        if isinstance(each, (bool, float, str)) or not hasattr(each, "__index__"):
            raise TypeError(f"pad(): argument 'pad' (position 2) must be tuple of ints, but found element of type {type(each).__name__} "
                            f"at pos {at}")
        if not -2**63 <= int(each) < 2**63:
            raise TypeError(f"pad(): argument 'pad' failed to unpack the object at pos {at + 1} with error \"Overflow when unpacking long "
                            "long\"")
    if not isinstance(mode, str):
        raise TypeError(f"pad(): argument 'mode' (position 3) must be str, not {type(mode).__name__}")
    if value is not None and not isinstance(value, (int, float, complex, np.number, np.bool_, Tensor)):
        raise TypeError(f"pad(): argument 'value' (position 4) must be float, not {type(value).__name__}")
    return [int(each) for each in pad]


@functional
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`input` with (left, right) more elements per dimension, from the last one backwards; negative numbers take elements away.

    mode: "constant" (filled with `value`, 0 by default), "reflect", "replicate" or "circular" (for the last 1 to 3 dimensions of
    tensors with one or two leading dimensions).
    """
    if not isinstance(input, Tensor):
        raise not_a_tensor("pad", "input", 1, input)
    widths = _checked_widths(pad, mode, value)
    if value is not None and value != 0 and mode in _INDICES:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode != "constant" and mode not in _INDICES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if len(widths) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {len(widths)}")
    if len(widths) // 2 > input._a.ndim:
        raise RuntimeError("Padding length should be less than or equal to two times the input dimension but got padding length "
                           f"{len(widths)} and input of dimension {input._a.ndim}")
    if mode == "constant":
        return _constant(input, widths, 0 if value is None else value)
    n = len(widths) // 2
    if not (n <= 3 and input._a.ndim in (n + 1, n + 2)):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now")
    indices: list[Any] = [None] * n                     # which elements each dimension of the result shows, the last one first
    for i in range(n):
        left, right = widths[2 * i:2 * i + 2]
        if left or right:
            indices[i] = _INDICES[mode](input, input._a.ndim - 1 - i, left, right)
    if input._kind.is_floating and input._a.__class__ is np.ndarray and input._a.size and all(each is None or len(each) for each in indices):
        return _shown(input, indices[::-1], "CopySlices" if mode == "circular" else f"{_NODES[mode]}{n}DBackward0")
    for i, index in enumerate(indices):
        if index is not None:
            input = input.index_select(input._a.ndim - 1 - i, wrap(input._kind.xp.asarray(index), input._kind.int64))
    return input


_NODES = {"reflect": "ReflectionPad", "replicate": "ReplicationPad"}


@lru_cache(256)
def _table(index: bytes, size: int) -> Any:
    """The table of picked elements; kept, since it keeps its transposed form for the gradient."""
    return Table(np.frombuffer(index, np.int64)[None], None, size)


def _shown(input: Tensor, indices: list[Any], name: str) -> Tensor:
    """The elements that `indices` name along the last dimensions, one vector or None for each, in one pass."""
    unbatched = input._a.ndim == len(indices) + 1
    x = input.unsqueeze(0) if unbatched else input
    tables = tuple([None if index is None else _table(index.tobytes(), size) for index, size in zip(indices, x._a.shape[2:], strict=True)])
    y = resampled(x, tables, name, name != "CopySlices")
    return y.squeeze(0) if unbatched else y if name == "CopySlices" else in_format_of(y, x)


def _constant(input: Tensor, widths: list[int], value: Any) -> Tensor:
    a = input._a
    ndim = a.ndim
    before, after = [0] * ndim, [0] * ndim
    for i in range(len(widths) // 2):
        before[ndim - 1 - i], after[ndim - 1 - i] = widths[2 * i], widths[2 * i + 1]
    shape = tuple([n + b + e for n, b, e in zip(a.shape, before, after, strict=True)])
    for dim, n in enumerate(shape):
        if n < 0:
            raise RuntimeError(f"The input size {a.shape[dim]}, plus negative padding {before[dim]} and {after[dim]} resulted in a "
                               f"negative output size, which is invalid. Check dimension {dim} of your input.")
    inner = tuple([slice(max(b, 0), n - max(e, 0)) for n, b, e in zip(shape, before, after, strict=True)])
    source = tuple([slice(max(-b, 0), n - max(-e, 0)) for n, b, e in zip(a.shape, before, after, strict=True)])
    out = input._kind.xp.full(shape, value, input._kind.np)
    out[inner] = a[source]
    back = [-w for w in widths]

    def array_grad(g: Array) -> Array:
        full = zeros_for(g, a.shape)
        full[source] = g[inner]
        return full
    return record(in_format_of(wrap(out, input._kind), input), "ConstantPadNdBackward0", (input,), lambda g: _constant(g, back, 0),
                  array_grad=array_grad)


def _reflect(input: Tensor, dim: int, left: int, right: int) -> Array:
    n = input._a.shape[dim]
    if left >= n or right >= n:
        raise RuntimeError(f"Padding size should be less than the corresponding input dimension, but got: padding ({left}, {right}) at "
                           f"dimension {dim} of input {list(input._a.shape)}")
    i = np.abs(np.arange(-left, n + right))
    return np.where(i >= n, 2 * (n - 1) - i, i)


def _replicate(input: Tensor, dim: int, left: int, right: int) -> Array:
    return np.clip(np.arange(-left, input._a.shape[dim] + right), 0, input._a.shape[dim] - 1)


def _circular(input: Tensor, dim: int, left: int, right: int) -> Array:
    n = input._a.shape[dim]
    if left > n or right > n:
        raise RuntimeError("Padding value causes wrapping around more than once.")
    kept = n + min(left, 0) + min(right, 0)          # negative widths cut first; what is left wraps around
    return max(-left, 0) + np.arange(-max(left, 0), kept + max(right, 0)) % max(kept, 1)


_INDICES = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}


@export(guard=True)
def constant_pad_nd(input: Tensor, pad: Any, value: float = 0) -> Tensor:
    """`pad` with a constant."""
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    return _constant(input, [int(p) for p in pad], value)
