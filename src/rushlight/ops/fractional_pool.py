"""Fractional max pooling (Graham 2014): max pooling with windows whose places are drawn at random."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..tensor import Tensor, wrap
from ..vocabulary import PerDim
from .errors import title
from .public import functional
from .registry import FUNCTIONS

__all__ = ["fractional_max_pool2d", "fractional_max_pool3d"]


@functional
def fractional_max_pool2d(input: Tensor, kernel_size: PerDim, output_size: PerDim | None = None, output_ratio: Any = None,
                          return_indices: bool = False,
                          _random_samples: Tensor | None = None) -> Any:
    """Fractional max pooling of (N, C, H, W) or (C, H, W). Give output_size, or output_ratio: the output's share of the input's size.

    _random_samples  (N, C, 2) numbers in [0, 1) that place the windows; drawn where not given
    """
    return _pool(input, 2, kernel_size, output_size, output_ratio, return_indices, _random_samples)


@functional
def fractional_max_pool3d(input: Tensor, kernel_size: PerDim, output_size: PerDim | None = None, output_ratio: Any = None,
                          return_indices: bool = False,
                          _random_samples: Tensor | None = None) -> Any:
    """Fractional max pooling of (N, C, D, H, W) or (C, D, H, W); arguments as in `fractional_max_pool2d`, samples (N, C, 3)."""
    return _pool(input, 3, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def _pool(input: Tensor, n: int, kernel_size: PerDim, output_size: PerDim, output_ratio: Any, return_indices: bool,
          samples: Tensor | None) -> Any:
    name = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if samples is None and input.dim() != n + 1:
        wrap_dim(0, input.dim())
    if samples is None:
        wrap_dim(-n - 1, input.dim())
        if not input._kind.is_floating:
            raise NotImplementedError(f"\"check_uniform_bounds\" not implemented for '{title(input._kind.dtype)}'")
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}")
    kernel = _sizes(kernel_size, n)
    space = tuple(input.shape[-n:])
    out = _sizes(output_size, n) if output_size is not None else tuple(
        int(size * ratio) for size, ratio in zip(space, _sizes(output_ratio, n), strict=True))
    for size, k, o in zip(space, kernel, out, strict=True):
        if o + k - 1 > size or o < 1:
            raise RuntimeError(f"{name}(): pool size {k} with output size {o} does not fit into an input of size {size}")
    x = input.unsqueeze(0) if input.dim() == n + 1 else input
    if not input._a.size:
        empty = x.new_empty((*x.shape[:2], *out)) + x.sum()
        return (empty, empty.detach().to(x._kind.int64.dtype)) if return_indices else empty
    if samples is not None and samples.dim() == 3 and samples.size(0) > x.size(0):
        samples = samples.narrow(0, 0, x.size(0))
    if samples is None:
        samples = FUNCTIONS["rand"](x.size(0), x.size(1), n, dtype=input.dtype, device=input.device)
    elif tuple(samples.shape) != (x.size(0), x.size(1), n):
        raise RuntimeError(f"{name}(): expected _random_samples of shape {(x.size(0), x.size(1), n)}, got {tuple(samples.shape)}")
    indices = _winners(x._a, samples._a, kernel, out)
    flat = x.flatten(2)
    chosen = wrap(indices.reshape(*indices.shape[:2], -1), x._kind.int64)
    result = flat.gather(2, chosen).reshape(indices.shape)
    where = chosen.view(indices.shape)      # so that the gradient notices when it is changed
    if input.dim() == n + 1:
        result, where = result.squeeze(0), where.squeeze(0)
    return (result, where) if return_indices else result


def _sizes(value: Any, n: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) else (value,) * n


def _starts(size: int, kernel: int, out: int, sample: Any) -> Any:
    """Where the windows along one dimension start: (N, C, out). The last one always ends at the edge."""
    last = np.full((*sample.shape, 1), size - kernel, like=sample)
    if out == 1:
        return last
    step = sample.dtype.type(size - kernel) / sample.dtype.type(out - 1)
    sample = sample[..., None]
    inner = ((np.arange(out - 1, dtype=sample.dtype, like=sample) + sample) * step).astype(np.int64) - (sample * step).astype(np.int64)
    return np.concatenate([inner, last], -1)


def _winners(x: Any, samples: Any, kernel: tuple[int, ...], out: tuple[int, ...]) -> Any:
    """The flat position, within its channel, of each window's maximum: (N, C, *out)."""
    n = len(kernel)
    space = x.shape[2:]
    # PyTorch's samples belong to width, height in 2d, but to depth, height, width in 3d.
    order = (1, 0) if n == 2 else (0, 1, 2)
    places = np.zeros((1,) * (2 + 2 * n), np.int64, like=x)         # (N, C, *out, *kernel)
    for d in range(n):
        starts = _starts(space[d], kernel[d], out[d], samples[:, :, order[d]])
        steps = starts[..., None] + np.arange(kernel[d], like=x)
        shape = [*x.shape[:2], *[1] * (2 * n)]
        shape[2 + d], shape[2 + n + d] = out[d], kernel[d]
        places = places * space[d] + steps.reshape(shape)
    places = places.reshape(*x.shape[:2], *out, -1)
    rows = np.take_along_axis(x.reshape(*x.shape[:2], -1), places.reshape(*x.shape[:2], -1), 2).reshape(places.shape)
    return np.take_along_axis(places, rows.argmax(-1)[..., None], -1)[..., 0]
