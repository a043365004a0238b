"""Kernels on vmap's arrays: the batch becomes part of a dimension that the kernel treats as its own batch, and one call computes all
samples.

What has no rule here runs by its NumPy twin, on NumPy's protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ..homes import place
from ..vocabulary import Array
from .batched import BatchedArray, NotBatched, shared_write, zeros_at

__all__ = ["find"]

Rule = Callable[..., Any]
Sizes = tuple[int, ...]


def _top(args: tuple[Any, ...]) -> tuple[int, int]:
    """(highest level, its batch size) of the arrays."""
    a = max((a for a in args if a.__class__ is BatchedArray), key=lambda a: a.level)
    return a.level, a.batch


def _is_at(a: Array, level: int) -> bool:
    return a.__class__ is BatchedArray and a.level == level


def _whole(a: Any, level: int, size: int) -> Array:
    """The array with the batch in front; repeated where it has none."""
    return a.physical if _is_at(a, level) else np.broadcast_to(a, (size, *a.shape))


def _unfolded(r: Array, level: int, size: int) -> Array:
    if r.__class__ is tuple:
        return tuple([_unfolded(each, level, size) for each in r])
    return BatchedArray(r.reshape((size, r.shape[0] // size, *r.shape[1:])), level)


def _images(kernel: Rule, *args: Any) -> Any:
    """Kernels on arrays (N, ...), each image by itself: the batch becomes part of N."""
    level, size = _top(args)
    flat = []
    for each in args:
        if hasattr(each, "ndim"):
            a = _whole(each, level, size)
            each = a.reshape((size * a.shape[1], *a.shape[2:]))
        flat.append(each)
    return _unfolded(kernel(*flat), level, size)


def _beside(a: Array, level: int, size: int) -> Array:
    """(N, C, *) of each sample as (N, samples * C, *)."""
    a = _whole(a, level, size).swapaxes(0, 1)
    return a.reshape((a.shape[0], size * a.shape[2], *a.shape[3:]))


def _apart(r: Any, level: int, size: int) -> Any:
    """The opposite of `_beside`."""
    return BatchedArray(r.reshape((r.shape[0], size, r.shape[1] // size, *r.shape[2:])).swapaxes(0, 1), level)


def _filters(w: Any, level: int, size: int) -> Any:
    """(O, C, *) of each sample as (samples * O, C, *)."""
    w = _whole(w, level, size)
    return w.reshape((size * w.shape[1], *w.shape[2:]))


def _forward(kernel: Rule, x: Array, w: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, bias: Any = None) -> Array:
    """A weight that all samples share sees one large batch of images; else every sample is a group of its own."""
    level, size = _top((x, w, bias))
    if not _is_at(x, level) and not _is_at(w, level):
        y = kernel(x, w, stride, padding, dilation, groups)
    elif not _is_at(w, level):
        y = _unfolded(kernel(_flat(x), w, stride, padding, dilation, groups), level, size)
    else:
        y = _apart(kernel(_beside(x, level, size), _filters(w, level, size), stride, padding, dilation, groups * size), level, size)
    return y if bias is None else y + bias.reshape((1, -1) + (1,) * (y.ndim - 2))


def _flat(a: BatchedArray) -> Array:
    """The batch as part of the first dimension."""
    return a.physical.reshape((a.batch * a.shape[0], *a.shape[1:]))


def _input_gradient(kernel: Rule, g: Any, w: Any, size: Sizes, *geometry: Any) -> Any:
    level, count = _top((g, w))
    *rest, groups = geometry
    if not _is_at(w, level):
        return _unfolded(kernel(_flat(g), w, size, *geometry), level, count)
    return _apart(kernel(_beside(g, level, count), _filters(w, level, count), size, *rest, groups * count), level, count)


def _weight_gradient(kernel: Rule, x: Array, g: Array, shape: Sizes, *geometry: Any) -> Array:
    level, count = _top((x, g))
    *rest, groups = geometry
    return _unfolded(kernel(_beside(x, level, count), _beside(g, level, count), shape, *rest, groups * count), level, count)


def _leading(kernel: Rule, a: Any, *args: Any) -> Any:
    """Kernels on the last dimensions of one array: the batch is one more leading dimension."""
    return a.like(kernel(a.physical, *args))


def _add_rows(kernel: Rule, target: Any, rows: Any, values: Any) -> Any:
    """The rows of all samples are rows of one array."""
    if BatchedArray not in (target.__class__, rows.__class__):
        return NotImplemented
    level, size = _top((target, rows, values))
    if not _is_at(target, level):
        raise shared_write()
    p, n = target.physical, target.shape[0]
    flat = p.reshape(size * n, *p.shape[2:])
    at, v = _whole(rows, level, size), _whole(values, level, size)
    kernel(flat, (np.where(at < 0, at + n, at) + np.arange(size)[:, None] * n).reshape(-1),
           v.reshape(v.shape[0] * v.shape[1], *v.shape[2:]))
    if not np.may_share_memory(flat, p):
        p[...] = flat.reshape(p.shape)
    return target


def _zeros_beside(kernel: Rule, shape: Sizes, dtype: Any, *arrays: Any) -> Any:
    return zeros_at(shape, dtype, arrays)


def _sample_strided(kernel: Rule, a: Any, size: Sizes, stride: Sizes, start: int) -> Any:
    """Samples have to lie in order."""
    if not a.flags.c_contiguous:
        raise NotBatched("as_strided of samples that are not contiguous")
    last = start + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and not 0 <= last < a.size:
        raise RuntimeError(f"as_strided: sizes {list(size)}, strides {list(stride)} and offset {start} reach beyond a sample of {a.size} "
                           "elements")
    return a.strided(size, tuple([step * a.itemsize for step in stride]), start * a.itemsize)


def _overlap(kernel: Rule, a: Any, b: Any) -> bool:
    """What holds for the first sample holds for all. Arrays of which one is not batched are not the same memory."""
    if not a.__class__ is b.__class__ is BatchedArray or not a.batch or not b.batch:
        return False
    return kernel(a.physical[0, ...], b.physical[0, ...])


_RULES: dict[tuple[str, str], Rule] = {
    ("strides", "sample_strided"): _sample_strided, ("memory", "overlap"): _overlap,
    ("conv", "forward"): _forward, ("conv", "input_gradient"): _input_gradient, ("conv", "weight_gradient"): _weight_gradient,
    ("resample", "resample"): _images, ("lapack", "lu_rows"): _leading,
    ("indexing", "add_rows"): _add_rows, ("memory", "zeros_beside"): _zeros_beside,
    **{("pooling", name): _images for name in ("max_forward", "max_with_taps", "max_gradient", "max_places", "average", "average_gradient",
                                               "adaptive_average", "adaptive_average_gradient", "adaptive_max_indices")},
}


def find(family: str, name: str) -> Rule | None:
    """The rule of a kernel, as the door asks for it."""
    rule = _RULES.get((family, name))
    return None if rule is None else partial(rule, getattr(import_module(place(f"kernels.{family}")), name))

