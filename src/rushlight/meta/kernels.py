"""Forms of kernels for arrays without memory, where the twin would look at values, write into memory of NumPy's own, or take long over it.

All other kernels run by their twins. A form gives arrays of the shapes, dtypes and order in memory that the kernel's results have.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..kernels.conv import output_size
from ..kernels.door import join
from ..kernels.memory import overlapping
from ..kernels.native import RUNNERS
from ..kernels.shapes import broadcast_shapes
from ..vocabulary import Function
from .array import MetaArray, fresh, like
from .functions import columns, elementwise, on_one_device

__all__ = ["FORMS", "SAMPLED", "find"]

FORMS: dict[tuple[str, str], Callable[..., Any]] = {}
Sizes = tuple[int, ...]


def form(family: str, *names: str) -> Callable[[Any], Any]:
    """Register the form of kernels, whose arguments it gets."""
    def register(function: Function) -> Any:
        for name in names:
            FORMS[family, name] = function
        return function
    return register


def find(family: str, name: str) -> Any:
    """The form of a kernel, as the door asks for it; None where the twin serves."""
    return FORMS.get((family, name))


# --- convolution, pooling, resampling
# ------------------------------------------------------------------------------------------------------

def _last(a: Any) -> bool:
    """Whether an array of images lies with its channels last."""
    return a.ndim in (4, 5) and not a.flags.c_contiguous and a.transpose(0, *range(2, a.ndim), 1).flags.c_contiguous


def _images(shape: Sizes, dtype: Any, *like_these: Any) -> MetaArray:
    """New images, with channels last where those have them."""
    n = len(shape)
    return fresh(shape, dtype, (0, *range(2, n), 1) if any(_last(each) for each in like_these) else None)


@form("conv", "forward")
def _conv(x: Any, w: Any, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, bias: Any = None) -> MetaArray:
    on_one_device((x, w))
    return fresh((x.shape[0], w.shape[0], *output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)), x.dtype)


@form("conv", "input_gradient")
def _conv_input(g: Any, w: Any, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> MetaArray:
    return _images((g.shape[0], w.shape[1] * groups, *size), g.dtype, g, w)


@form("conv", "weight_gradient")
def _conv_weight(x: Any, g: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> MetaArray:
    return _images((g.shape[1], x.shape[1] // groups, *kernel), x.dtype, x)


@form("pooling", "max_forward", "average", "adaptive_average")
def _pooled(x: Any, out: Sizes, *geometry: Any) -> MetaArray:
    return _images((*x.shape[:2], *out), x.dtype, x)


@form("pooling", "max_with_taps")
def _with_taps(x: Any, out: Sizes, kernel: Sizes, *geometry: Any) -> tuple[MetaArray, MetaArray]:
    shape = (*x.shape[:2], *out)
    return _images(shape, x.dtype, x), _images(shape, np.uint8 if prod(kernel) < 255 else np.int32, x)


@form("pooling", "max_gradient")
def _max_gradient(g: Any, taps: Any, size: Sizes, *geometry: Any) -> MetaArray:
    return _images((*g.shape[:2], *size), g.dtype, g)


@form("pooling", "average_gradient", "adaptive_average_gradient")
def _unpooled(g: Any, size: Sizes, *geometry: Any) -> MetaArray:
    return _images((*g.shape[:2], *size), g.dtype, g)


FORMS["pooling", "max_places"] = lambda taps, size, *geometry: like(taps, np.int64)
FORMS["pooling", "adaptive_max_indices"] = lambda x, out: _images((*x.shape[:2], *out), np.int64, x)


@form("resample", "resample")
def _resampled(x: Any, tables: Any) -> MetaArray:
    """Each table says how one spatial dimension changes."""
    sizes = [n if table is None else table.index.shape[-1] for n, table in zip(x.shape[2:], tables, strict=True)]
    return _images((*x.shape[:2], *sizes), x.dtype, x)


# --- linear algebra --------------------------------------------------------------------------------------------------------------------

FORMS["lapack", "solve_triangular"] = lambda a, b, upper, unit=False: fresh((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)
FORMS["lapack", "lu_factor"] = lambda a: (columns(a.shape, a.dtype), fresh((*a.shape[:-2], min(a.shape[-2:])), np.int32),
                                          fresh(a.shape[:-2], np.int32))
FORMS["lapack", "lu_rows"] = lambda pivots, m: fresh((*pivots.shape[:-1], m), np.int64)
FORMS["lapack", "cholesky"] = lambda a: (columns(a.shape, a.dtype), fresh(a.shape[:-2], np.int32))
FORMS["lapack", "ldl_factor"] = lambda a, hermitian: (columns(a.shape, a.dtype), fresh(a.shape[:-1], np.int32),
                                                      fresh(a.shape[:-2], np.int32))


FORMS["memory", "overlap"] = lambda a, b: overlapping(a.data.ptr, b.data.ptr, a, b)
FORMS["scan", "running_extreme"] = lambda a, dim, largest: (like(a), like(a, np.int64))
FORMS["sorting", "mode_places"] = lambda a, dim: fresh([1 if i == dim else n for i, n in enumerate(a.shape)], np.int64)

# --- random numbers --------------------------------------------------------------------------------------------------------------------

SAMPLED: dict[str, Callable[..., Any]] = {
    "multinomial": lambda kind, weights, count: fresh((weights.shape[0], count), np.int64),
    "poisson": lambda kind, rates: like(rates),
    "standard_gamma": lambda kind, shapes: like(shapes),
    "permutation": lambda kind, n: fresh((n,), kind.np),
}

join(MetaArray, find)
RUNNERS[MetaArray] = elementwise
