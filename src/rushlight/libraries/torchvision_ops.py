"""torchvision's compiled operators on NumPy: non-maximum suppression, pooling of regions, deformable convolution.

torchvision registers the gradients itself, in terms of the backward operators that stand here beside the forward ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import autograd, from_numpy, tensor, zeros
from ..autograd.grad_mode import enable_grad
from ..library import Library
from ..tensor import Tensor

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_LIBRARY = Library("torchvision", "DEF")
_REGION = "Tensor rois, float spatial_scale, int pooled_height, int pooled_width"
_SHAPE = "int batch_size, int channels, int height, int width"
_CONV = ("Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, int stride_h, int stride_w, int pad_h, int pad_w, int "
         "dilation_h, int dilation_w, int groups, int offset_groups, bool use_mask")


def _operator(schema: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _LIBRARY.impl(_LIBRARY.define(schema), function, "CPU")
        return function
    return register


@_operator("_cuda_version() -> int")
def _cuda_version() -> int:
    return -1


_LIBRARY.impl("_cuda_version", _cuda_version, "default")


# --- boxes ----------------------------------------------------------------------------------------------------------------------------


@_operator("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that overlap none of a higher score by more than the threshold, best first. RuntimeError for other shapes."""
    if dets.dim() != 2 or dets.size(1) != 4:
        raise RuntimeError(f"boxes should be a 2d tensor of shape (n, 4), got {tuple(dets.shape)}")
    if scores.dim() != 1 or scores.size(0) != dets.size(0):
        raise RuntimeError(f"scores should be a 1d tensor of as many elements as boxes, got {tuple(scores.shape)} for {dets.size(0)} boxes")
    boxes = dets.detach().numpy()
    order = np.argsort(-scores.detach().numpy(), kind="stable")
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        width = np.maximum(np.minimum(x2[best], x2[order]) - np.maximum(x1[best], x1[order]), 0)
        height = np.maximum(np.minimum(y2[best], y2[order]) - np.maximum(y1[best], y1[order]), 0)
        inside = width * height
        order = order[~(inside / (areas[best] + areas[order] - inside) > iou_threshold)]
    return from_numpy(np.array(kept, np.int64))


for _schema in ("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                f"qroi_align(Tensor input, {_REGION}, int sampling_ratio, bool aligned) -> Tensor"):
    _LIBRARY.define(_schema)      # of quantised tensors, which there are none of: without a kernel


# --- regions, sampled between pixels --------------------------------------------------------------------------------------------------


def _axis(start: Array, size: Array, pooled: int, ratio: int) -> list[tuple[Array, int]]:
    """Per region, where an axis is sampled: (positions (pooled, n), n)."""
    found = []
    for first, length in zip(start, size, strict=True):
        step = length / start.dtype.type(pooled)
        n = ratio if ratio > 0 else max(math.ceil(step), 0)
        offsets = (np.arange(n, dtype=start.dtype) + start.dtype.type(0.5)) * step / start.dtype.type(max(n, 1))
        found.append((first + np.arange(pooled, dtype=start.dtype)[:, None] * step + offsets, n))
    return found


def _between(position: Array, size: int) -> tuple[Array, Array, Array, Array, Array]:
    """(low, high, weight of low, weight of high, inside) for positions along an axis."""
    inside = (position >= -1) & (position <= size)
    position = np.maximum(position, 0)
    low = np.minimum(position.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = np.where(low >= size - 1, 0, position - low).astype(position.dtype)
    return low, high, 1 - share, share, inside


def _corners(y: Array, x: Array, height: int, width: int) -> tuple[Array, Array]:
    """(places in a plane (4, ...), weights (4, ...)) of the pixels around the points of a grid of positions y (a) and x (b): (4, a, b)."""
    y0, y1, hy, ly, y_in = _between(y, height)
    x0, x1, hx, lx, x_in = _between(x, width)
    places = np.stack([a[:, None] * width + b for a in (y0, y1) for b in (x0, x1)])
    weights = np.stack([a[:, None] * b for a in (hy, ly) for b in (hx, lx)])
    return places, weights * (y_in[:, None] & x_in)


def _samples(rois: Array, scale: float, pooled: tuple[int, int], ratio: int, aligned: bool, at_least_one: bool,
             plane: tuple[int, int]) -> list[tuple[int, Array, Array]]:
    """Per region: (its image, places (pooled, pooled, n), weights of the same shape that sum up to the mean)."""
    kind = rois.dtype.type
    edges = rois[:, 1:] * kind(scale) - kind(0.5 if aligned else 0)
    size = edges[:, 2:] - edges[:, :2]
    if at_least_one:
        size = np.maximum(size, 1)
    rows, columns = _axis(edges[:, 1], size[:, 1], pooled[0], ratio), _axis(edges[:, 0], size[:, 0], pooled[1], ratio)
    found = []
    for image, (y, ny), (x, nx) in zip(rois[:, 0].astype(int), rows, columns, strict=True):
        places, weights = _corners(y.ravel(), x.ravel(), *plane)
        shape = (4, pooled[0], ny, pooled[1], nx)
        order, flat = (1, 3, 0, 2, 4), (*pooled, 4 * ny * nx)
        found.append((int(image), places.reshape(shape).transpose(order).reshape(flat),
                      (weights / kind(max(ny * nx, 1))).reshape(shape).transpose(order).reshape(flat)))
    return found


def _check_regions(input: Tensor, rois: Tensor) -> None:
    if rois.dim() != 2 or rois.size(1) != 5:
        raise RuntimeError(f"rois must have shape as Tensor[K, 5], got {tuple(rois.shape)}")
    if input.dtype != rois.dtype:
        raise RuntimeError(f"Expected tensor for input to have the same type as tensor for rois; but type {input.dtype} does not equal "
                           f"{rois.dtype}")


@_operator(f"roi_align(Tensor input, {_REGION}, int sampling_ratio, bool aligned) -> Tensor")
def roi_align(input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int,
              aligned: bool) -> Tensor:
    """(K, C, pooled_height, pooled_width): the means of points between the pixels of each region."""
    _check_regions(input, rois)
    planes = input.detach().numpy().reshape(*input.shape[:2], -1)
    out = np.empty((len(rois), input.size(1), pooled_height, pooled_width), planes.dtype)
    samples = _samples(rois.detach().numpy(), spatial_scale, (pooled_height, pooled_width), sampling_ratio, aligned, not aligned,
                       tuple(input.shape[2:]))
    for k, (image, places, weights) in enumerate(samples):
        out[k] = (planes[image][:, places] * weights).sum(-1)
    return from_numpy(out)


@_operator(f"_roi_align_backward(Tensor grad, {_REGION}, {_SHAPE}, int sampling_ratio, bool aligned) -> Tensor")
def roi_align_backward(grad: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, batch_size: int,
                       channels: int,
                       height: int, width: int, sampling_ratio: int, aligned: bool) -> Tensor:
    """The gradient of `roi_align`'s input."""
    gradient = grad.detach().numpy()
    out = np.zeros((batch_size, channels, height * width), gradient.dtype)
    samples = _samples(rois.detach().numpy(), spatial_scale, (pooled_height, pooled_width), sampling_ratio, aligned, not aligned,
                       (height, width))
    for k, (image, places, weights) in enumerate(samples):
        for c in range(channels):
            np.add.at(out[image, c], places, gradient[k, c][..., None] * weights)
    return from_numpy(out.reshape(batch_size, channels, height, width))


def _mapping(count: int, channels: int, pooled: tuple[int, int]) -> Array:
    """The input's channel for each output of position-sensitive pooling: (K, channels, pooled, pooled)."""
    one = np.arange(channels * pooled[0] * pooled[1], dtype=np.int32).reshape(channels, *pooled)
    return np.broadcast_to(one, (count, *one.shape)).copy()


@_operator(f"ps_roi_align(Tensor input, {_REGION}, int sampling_ratio) -> (Tensor, Tensor)")
def ps_roi_align(input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int,
                 sampling_ratio: int) -> tuple[Tensor, Tensor]:
    """(the means of points, each from a channel of its own; which channel): both (K, C / (pooled_height * pooled_width), pooled_height,
    pooled_width)."""
    _check_regions(input, rois)
    pooled = pooled_height, pooled_width
    channels = _channels(input, pooled)
    planes = input.detach().numpy().reshape(*input.shape[:2], -1)
    mapping = _mapping(len(rois), channels, pooled)
    out = np.empty(mapping.shape, planes.dtype)
    for k, (image, places, weights) in enumerate(_samples(rois.detach().numpy(), spatial_scale, pooled, sampling_ratio, True, False,
                                                          tuple(input.shape[2:]))):
        out[k] = (planes[image][mapping[k][..., None], places] * weights).sum(-1)
    return from_numpy(out), from_numpy(mapping)


@_operator("_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, int pooled_height, int "
           f"pooled_width, int sampling_ratio, {_SHAPE}) -> Tensor")
def ps_roi_align_backward(grad: Tensor, rois: Tensor, channel_mapping: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int,
                          sampling_ratio: int, batch_size: int, channels: int, height: int, width: int) -> Tensor:
    """The gradient of `ps_roi_align`'s input."""
    gradient, mapping = grad.detach().numpy(), channel_mapping.numpy()
    out = np.zeros((batch_size, channels, height * width), gradient.dtype)
    samples = _samples(rois.detach().numpy(), spatial_scale, (pooled_height, pooled_width), sampling_ratio, True, False, (height, width))
    for k, (image, places, weights) in enumerate(samples):
        np.add.at(out[image], (mapping[k][..., None], places[None]), gradient[k][..., None] * weights)
    return from_numpy(out.reshape(batch_size, channels, height, width))


def _channels(input: Tensor, pooled: tuple[int, int]) -> int:
    if input.size(1) % (pooled[0] * pooled[1]):
        raise RuntimeError("input channels must be a multiple of pooling height * pooling width")
    return input.size(1) // (pooled[0] * pooled[1])


# --- regions, in whole pixels ---------------------------------------------------------------------------------------------------------


def _rounded(x: Array) -> Array:
    """As C rounds: halves away from zero."""
    return np.trunc(x + np.copysign(0.5, x)).astype(np.int64)


def _bins(first: int, length: Any, pooled: int, size: int, kind: type) -> list[tuple[int, int]]:
    """Where the bins of a region begin and end along an axis."""
    step = kind(length) / kind(pooled)
    return [tuple(int(min(max(edge + first, 0), size)) for edge in (np.floor(kind(i) * step), np.ceil(kind(i + 1) * step)))
            for i in range(pooled)]


@_operator(f"roi_pool(Tensor input, {_REGION}) -> (Tensor, Tensor)")
def roi_pool(input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int) -> tuple[Tensor, Tensor]:
    """(the largest element of each bin, 0 for empty ones; its place in the plane or -1): both (K, C, pooled_height, pooled_width)."""
    _check_regions(input, rois)
    x, boxes = input.detach().numpy(), rois.detach().numpy()
    height, width = x.shape[2:]
    out = np.zeros((len(boxes), x.shape[1], pooled_height, pooled_width), x.dtype)
    argmax = np.full(out.shape, -1, np.int32)
    edges = _rounded(boxes[:, 1:] * boxes.dtype.type(spatial_scale))
    for k, (x1, y1, x2, y2) in enumerate(edges):
        rows = _bins(y1, max(y2 - y1 + 1, 1), pooled_height, height, x.dtype.type)
        columns = _bins(x1, max(x2 - x1 + 1, 1), pooled_width, width, x.dtype.type)
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                if bottom > top and right > left:
                    part = x[int(boxes[k, 0]), :, top:bottom, left:right].reshape(x.shape[1], -1)
                    best = part.argmax(1)
                    out[k, :, i, j] = part[np.arange(len(part)), best]
                    argmax[k, :, i, j] = (best // (right - left) + top) * width + best % (right - left) + left
    return from_numpy(out), from_numpy(argmax)


@_operator("_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float spatial_scale, int pooled_height, int pooled_width, "
           f"{_SHAPE}) -> Tensor")
def roi_pool_backward(grad: Tensor, rois: Tensor, argmax: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int,
                      batch_size: int,
                      channels: int, height: int, width: int) -> Tensor:
    """The gradient of `roi_pool`'s input."""
    gradient, places = grad.detach().numpy(), argmax.numpy()
    out = np.zeros((batch_size, channels, height * width), gradient.dtype)
    images = np.broadcast_to(rois.detach().numpy()[:, 0].astype(int)[:, None, None, None], places.shape)
    planes = np.broadcast_to(np.arange(channels)[:, None, None], places.shape)
    taken = places >= 0
    np.add.at(out, (images[taken], planes[taken], places[taken]), gradient[taken])
    return from_numpy(out.reshape(batch_size, channels, height, width))


def _position_bins(boxes: Array, scale: float, pooled: tuple[int, int], plane: tuple[int, int]) -> Any:
    """Per region and bin: (k, i, j, image, top, bottom, left, right) of the bins that are not empty."""
    for k, (x1, y1, x2, y2) in enumerate(_rounded(boxes[:, 1:] * boxes.dtype.type(scale))):
        rows = _bins(y1, max(y2 - y1, 1), pooled[0], plane[0], boxes.dtype.type)
        columns = _bins(x1, max(x2 - x1, 1), pooled[1], plane[1], boxes.dtype.type)
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                if bottom > top and right > left:
                    yield k, i, j, int(boxes[k, 0]), top, bottom, left, right


@_operator(f"ps_roi_pool(Tensor input, {_REGION}) -> (Tensor, Tensor)")
def ps_roi_pool(input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int) -> tuple[Tensor, Tensor]:
    """(the mean of each bin, each from a channel of its own; which channel): both (K, C / (pooled_height * pooled_width), pooled_height,
    pooled_width)."""
    _check_regions(input, rois)
    pooled = pooled_height, pooled_width
    x, boxes = input.detach().numpy(), rois.detach().numpy()
    mapping = _mapping(len(boxes), _channels(input, pooled), pooled)
    out = np.zeros(mapping.shape, x.dtype)
    for k, i, j, image, top, bottom, left, right in _position_bins(boxes, spatial_scale, pooled, x.shape[2:]):
        out[k, :, i, j] = x[image, mapping[k, :, i, j], top:bottom, left:right].mean((1, 2))
    return from_numpy(out), from_numpy(mapping)


@_operator("_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor channel_mapping, float spatial_scale, int pooled_height, int "
           f"pooled_width, {_SHAPE}) -> Tensor")
def ps_roi_pool_backward(grad: Tensor, rois: Tensor, channel_mapping: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int,
                         batch_size: int, channels: int, height: int, width: int) -> Tensor:
    """The gradient of `ps_roi_pool`'s input."""
    gradient, boxes, mapping = grad.detach().numpy(), rois.detach().numpy(), channel_mapping.numpy()
    out = np.zeros((batch_size, channels, height, width), gradient.dtype)
    for k, i, j, image, top, bottom, left, right in _position_bins(boxes, spatial_scale, (pooled_height, pooled_width), (height, width)):
        share = gradient[k, :, i, j] / ((bottom - top) * (right - left))
        np.add.at(out[image, :, top:bottom, left:right], mapping[k, :, i, j], share[:, None, None])
    return from_numpy(out)


# --- deformable convolution -----------------------------------------------------------------------------------------------------------


@_operator(f"deform_conv2d({_CONV}) -> Tensor")
def deform_conv2d(input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, stride_h: int, stride_w: int, pad_h: int,
                  pad_w: int,
                  dilation_h: int, dilation_w: int, groups: int, offset_groups: int, use_mask: bool) -> Tensor:
    """A convolution whose taps are moved by `offset` (and weighted by `mask`), read between pixels, with zeros outside."""
    n, channels, height, width = input.shape
    out_channels, _, kh, kw = weight.shape
    oh = (height + 2 * pad_h - dilation_h * (kh - 1) - 1) // stride_h + 1
    ow = (width + 2 * pad_w - dilation_w * (kw - 1) - 1) // stride_w + 1
    if offset.shape != (n, offset_groups * 2 * kh * kw, oh, ow):
        raise RuntimeError(f"offset has to be of shape {(n, offset_groups * 2 * kh * kw, oh, ow)}, got {tuple(offset.shape)}")
    taps = np.indices((kh, kw)).reshape(2, -1, 1, 1)
    base = [taps[axis] * (dilation_h, dilation_w)[axis] - (pad_h, pad_w)[axis]
            + np.indices((oh, ow))[axis] * (stride_h, stride_w)[axis] for axis in (0, 1)]
    moved = offset.view(n, offset_groups, kh * kw, 2, oh, ow)
    y, x = (moved[:, :, :, axis] + tensor(base[axis], dtype=input.dtype) for axis in (0, 1))
    columns = _read(input.reshape(n, offset_groups, channels // offset_groups, height * width), y, x, height, width)
    if use_mask:
        columns = columns * mask.view(n, offset_groups, 1, kh * kw, oh, ow)
    columns = columns.reshape(n, groups, channels // groups * kh * kw, oh * ow)
    out = weight.reshape(groups, out_channels // groups, -1) @ columns
    return out.reshape(n, out_channels, oh, ow) + bias.view(1, -1, 1, 1)


def _read(planes: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """Values between the pixels of planes (N, G, C, H * W) at points (N, G, K, h, w), zeros outside: (N, G, C, K, h, w)."""
    n, groups, channels, _ = planes.shape
    top, left = y.detach().floor(), x.detach().floor()
    found = zeros((), dtype=planes.dtype)
    inside = (y.detach() > -1) & (y.detach() < height) & (x.detach() > -1) & (x.detach() < width)
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = top + dy, left + dx
            share = (y - top if dy else 1 - (y - top)) * (x - left if dx else 1 - (x - left))
            there = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            places = (row.clamp(0, height - 1) * width
                      + column.clamp(0, width - 1)).long().view(n, groups, 1, -1).expand(-1, -1, channels, -1)
            found = found + planes.gather(3, places).view(n, groups, channels, *y.shape[2:]) * (share * there).unsqueeze(2)
    return found


@_operator(f"_deform_conv2d_backward(Tensor grad, {_CONV}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
def deform_conv2d_backward(grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor,
                           *geometry: Any) -> tuple[Tensor, ...]:
    """The gradients of `deform_conv2d`'s five tensors."""
    with enable_grad():
        leaves = [each.detach().requires_grad_() for each in (input, weight, offset, mask, bias)]
        out = deform_conv2d(*leaves, *geometry)
        found = autograd.grad(out, leaves, grad, allow_unused=True)
    return tuple(leaf.new_zeros(leaf.shape) if each is None else each for each, leaf in zip(found, leaves, strict=True))
