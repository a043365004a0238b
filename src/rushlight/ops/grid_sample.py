"""Sampling images on grids: `grid_sample`, and `affine_grid` that makes grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import grid_sample as K
from ..tensor import Tensor, wrap
from .errors import title
from .failed_calls import check_tensor
from .public import functional, op
from .recompute import recomputed_grad, taken
from .record import record
from .registry import FUNCTIONS
from .selection import where

__all__ = ["grid_sample", "affine_grid"]


@functional(guard=True)
def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The sampling grid (N, H, W, 2) (or (N, D, H, W, 3)) of affine maps theta (N, 2, 3) (or (N, 3, 4)) for `grid_sample`."""
    if not theta._kind.is_floating:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    spatial = tuple(size[2:])
    n = len(spatial)
    if theta._a.ndim != 3 or theta._a.shape[1:] != (n, n + 1):
        raise ValueError(f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {tuple(size)}. Got "
                         f"{tuple(theta._a.shape)}.")
    axes = []
    for length in spatial:
        line = np.linspace(-1, 1, length) if length > 1 else np.zeros(1)
        axes.append(line if align_corners else line * (length - 1) / length)
    mesh = np.meshgrid(*axes, indexing="ij")
    base = np.stack([*reversed(mesh), np.ones(spatial)], -1).reshape(1, -1, n + 1).astype(theta._kind.np)
    grid = FUNCTIONS["matmul"](wrap(base, theta._kind).expand(theta._a.shape[0], -1, -1), theta.transpose(1, 2))
    return grid.view(theta._a.shape[0], *spatial, n)


def _unnormalized(x: Tensor, size: int, align_corners: bool) -> Tensor:
    return (x + 1) * ((size - 1) / 2) if align_corners else ((x + 1) * size - 1) / 2


def _reflected(x: Tensor, low: float, high: float) -> Tensor:
    """x reflected into [low, high]."""
    if low == high:
        return x * 0
    span = high - low
    away = (x - low).abs()
    flips = (away / span).floor()
    rest = away - flips * span
    return where(flips.detach() % 2 == 0, rest + low, span - rest + low)


def _placed(x: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    """Pixel coordinates, moved inside as the padding mode says."""
    return _inside(_unnormalized(x, size, align_corners), size, mode, align_corners)


def _inside(x: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    if mode == "zeros":
        return x
    if mode == "reflection":
        x = _reflected(x, 0, size - 1) if align_corners else _reflected(x, -0.5, size - 0.5)
    x = x.clamp(0, size - 1)
    return x.masked_fill(x.isnan(), 0)


@functional
def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:
    """Values of input (N, C, H, W) at grid (N, HO, WO, 2), x before y, in [-1, 1]; volumes with one more dimension.

    mode "bilinear" or "nearest"; padding_mode "zeros", "border" or "reflection".
    """
    check_tensor("grid_sampler", input=input, grid=grid)
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError("nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
                         f"'{padding_mode}'")
    if align_corners is None:
        import warnings
        warnings.warn("Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
                      "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.", UserWarning,
                      stacklevel=2)
    n = input._a.ndim - 2
    if n not in (2, 3) or grid._a.ndim != input._a.ndim or grid._a.shape[-1] != n or grid._a.shape[0] != input._a.shape[0]:
        raise RuntimeError(f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
                           f"{list(input._a.shape)} and grid with sizes {list(grid._a.shape)}")
    if grid._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"expected scalar type {title(input._kind.dtype)} but found {title(grid._kind.dtype)}")
    if mode == "bicubic" and n != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    options = K.MODES.index(mode), K.PADDINGS.index(padding_mode), bool(align_corners)
    result = K.grid_sample(input._a, grid._a, *options)
    if result is NotImplemented:
        return _composed(input, grid, mode, padding_mode, options[2])
    need = input._node is not None, grid._node is not None

    def again(x: Tensor, grid: Tensor) -> tuple[Tensor]:
        return (_composed(x, grid, mode, padding_mode, options[2]),)
    return record(wrap(result, input._kind), f"GridSampler{n}DBackward0", (input, grid),
                  lambda g, x, grid: recomputed_grad(again, (x, grid), (g,)), (input, grid),
                  lambda g, x, grid: taken(K.grid_sample_gradients(g, x, grid, *options, *need)))


def _composed(input: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: bool) -> Tensor:
    """`grid_sample` out of other ops: the reference, what is differentiated twice, and what runs on arrays elsewhere."""
    n = input._a.ndim - 2
    spatial = input._a.shape[2:]
    if mode == "bicubic":
        return _bicubic(input, grid, padding_mode, align_corners)
    places = [_placed(grid[..., n - 1 - i], spatial[i], padding_mode, align_corners) for i in range(n)]
    if n == 3 and padding_mode == "zeros":
        places = [p.masked_fill(~p.isfinite(), -3) for p in places]      # outside; an image shows nan there
    if mode == "nearest":
        y = _picked(input, [np.rint(p._a).astype(np.int64) for p in places], None)
        return record(wrap(y._a, y._kind), "GridSamplerBackward0", (y, grid), lambda g, grid: (g, grid.new_zeros(grid.shape)), (grid,))
    total = None
    lows = [np.floor(p._a) for p in places]
    for corner in np.ndindex(*(2,) * n):
        at = [(low + c).astype(np.int64) for low, c in zip(lows, corner, strict=True)]
        weight = None
        for p, low, c in zip(places, lows, corner, strict=True):
            part = p - wrap(low.astype(p._kind.np), p._kind)
            part = part if c else 1 - part
            weight = part if weight is None else weight * part
        value = _picked(input, at, weight)
        total = value if total is None else total + value
    return total


def _cubic_weights(t: Tensor) -> list[Tensor]:
    """The weights of four neighbours at distances 1 + t, t, 1 - t, 2 - t: Keys' cubic convolution with A = -0.75."""
    a = -0.75

    def near(d: Tensor) -> Tensor:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _bicubic(input: Tensor, grid: Tensor, padding_mode: str, align_corners: bool) -> Tensor:
    height, width = input._a.shape[2:]
    y, x = _unnormalized(grid[..., 1], height, align_corners), _unnormalized(grid[..., 0], width, align_corners)
    top, left = y.detach().floor(), x.detach().floor()
    rows, columns = _cubic_weights(y - top), _cubic_weights(x - left)
    total = None
    for i, j in np.ndindex(4, 4):
        at = [_inside(corner + (k - 1), size, padding_mode, align_corners)._a.astype(np.float64)
              for corner, k, size in ((top, i, height), (left, j, width))]
        value = _picked(input, [np.floor(each).astype(np.int64) for each in at], rows[i] * columns[j])
        total = value if total is None else total + value
    return total


@op(alias=("grid_sampler_2d", "grid_sampler_3d"))
def grid_sampler(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    """`grid_sample` with its modes as numbers: 0 bilinear, 1 nearest; 0 zeros, 1 border, 2 reflection."""
    if not 0 <= interpolation_mode < 3 or not 0 <= padding_mode < 3:
        grid_sample(input, grid, "bilinear", "zeros", align_corners)          # what is wrong with the tensors comes first
        raise RuntimeError(f"grid_sampler(): interpolation_mode and padding_mode have to be 0, 1 or 2, but got {interpolation_mode} and "
                           f"{padding_mode}")
    return grid_sample(input, grid, K.MODES[interpolation_mode], K.PADDINGS[padding_mode], align_corners)


def _picked(input: Tensor, at: list[Any], weight: Tensor | None) -> Tensor:
    """input[n, :, at...] (N, C, *out), zero outside, times the weight."""
    spatial = input._a.shape[2:]
    inside = np.ones(at[0].shape, bool, like=at[0])
    flat = np.zeros(at[0].shape, np.int64, like=at[0])
    for place, size in zip(at, spatial, strict=True):
        inside &= (place >= 0) & (place < size)
        flat = flat * size + np.clip(place, 0, size - 1)
    n, c = input._a.shape[:2]
    index = np.ascontiguousarray(np.broadcast_to(flat.reshape(n, 1, -1), (n, c, flat[0].size)), like=flat)
    values = input.flatten(2).gather(2, wrap(index, input._kind.int64)).view(n, c, *flat.shape[1:])
    if not inside.all():
        values = values.masked_fill(wrap(~inside[:, None], input._kind.bool_), 0)
    return values if weight is None else values * weight.unsqueeze(1)
