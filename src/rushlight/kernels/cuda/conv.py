"""Convolution of up to 3 dimensions on the device: which kernel computes it, with which tile.

1x1 kernels with stride 1 are plain products (cuBLAS), depthwise ones have kernels of their own (depthwise.py), all others are implicit
matrix products (implicit_gemm.py). float32 is rounded to TF32 for tensor cores while ``backends.cudnn.allow_tf32`` is on, which it is by
default, as in PyTorch. Sums are added in a fixed order: the same inputs give the same bits.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...backends import cudnn
from ...vocabulary import Array, NumpyDtype
from . import depthwise, driver, tiles
from .depthwise import three
from .elementwise import FORMULAS
from .implicit_gemm import ELEMENTS, PACK, PACK_WEIGHTS, SUM_SLICES, TILES, Tile, tiled
from .matmul import matmul
from .source import ACCUMULATE, THREADS, blocks
from .tensor_core import available

if TYPE_CHECKING:
    from .driver import CupyArray

__all__ = ["forward", "input_gradient", "weight_gradient", "gradients"]

Sizes = tuple[int, ...]
_NOTHING = np.uint64(0)
_MOST = 65535           # blocks along y and z of a grid


class _Geometry(NamedTuple):
    """One convolution's shape, in three dimensions; the key of its tables."""

    samples: int
    size: Sizes
    kernel: Sizes
    out: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes


class _Tables(NamedTuple):
    """What `gather` reads: on the device the offset of each tap, the taps' numbers and the phases; for the launch the number of phases, the
    most positions of one, and the sizes and steps of source and result as arguments."""

    taps: Any
    order: Any
    phases: Any
    phase_count: int
    positions: int
    arguments: tuple[Any, ...]


def _geometry(x_shape: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes) -> _Geometry:
    return _Geometry(x_shape[0], three(x_shape[2:], 1), three(kernel, 1), three(out, 1), three(stride, 1), three(padding, 0),
                     three(dilation, 1))


def _output(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    return tuple([(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)])


def _divisor(d: int) -> tuple[int, int]:
    """Multiplier and shift by which implicit_gemm.py's `divided` divides."""
    shift = (d - 1).bit_length()
    return (1 << 32) * ((1 << shift) - d) // d + 1, shift


def _phase(first: int, end: int, samples: int, at: Sizes, counts: Sizes) -> list[int]:
    return [first, end, samples * prod(counts), *at, *counts, *[v for n in counts for v in _divisor(n)], 0]


@lru_cache(maxsize=512)
def _tables(module: ModuleType, device: int, geometry: _Geometry, adjoint: bool) -> _Tables:
    samples, size, kernel, out, stride, padding, dilation = geometry
    taps, order, phases = [], [], []
    numbered = list(enumerate(product(*[range(k) for k in kernel])))
    source, result, source_step, result_step = (out, size, (1, 1, 1), stride) if adjoint else (size, out, stride, (1, 1, 1))
    if samples * max(prod(source), prod(result)) >= 1 << 31:
        raise NotImplementedError("convolution on CUDA: more than 2 ** 31 - 1 positions in one call: split the batch")

    def add(number: int, offset: Sizes) -> None:
        order.append(number)
        taps.append([*offset, (offset[0] * source[1] + offset[1]) * source[2] + offset[2]])
    if not adjoint:
        for number, at in numbered:
            add(number, tuple([k * d - p for k, d, p in zip(at, dilation, padding, strict=True)]))
        phases.append(_phase(0, len(taps), samples, (0, 0, 0), out))
    else:
        for phase in product(*[range(min(s, n)) for s, n in zip(stride, size, strict=True)]):
            first = len(taps)
            for number, at in numbered:
                reached = [f + p - k * d for f, p, k, d in zip(phase, padding, at, dilation, strict=True)]
                if all(r % s == 0 for r, s in zip(reached, stride, strict=True)):
                    add(number, tuple([r // s for r, s in zip(reached, stride, strict=True)]))
            phases.append(_phase(first, len(taps), samples, phase,
                                 tuple([-(-(n - f) // s) for n, f, s in zip(size, phase, stride, strict=True)])))
    host = np.array(taps + [[0] * 4], np.int64), np.array(order + [0], np.int64), np.array(phases, np.int64)
    places, numbers, table = [module.asarray(each.astype(np.uint32).view(np.int32)) for each in host]
    arguments = tuple([np.int32(v) for v in (*source, *source_step, *result_step, *result[1:], prod(result))])
    return _Tables(places, numbers, table, len(phases), max(p[2] for p in phases), arguments)


def _method(dtype: str) -> str:
    """How products of this dtype are computed here."""
    if dtype == "float64" or not available():
        return "plain"
    if dtype == "float32":
        return "tf32" if cudnn.allow_tf32 else "plain"
    return "half"


@lru_cache(maxsize=16)
def _processors(module: ModuleType, device: int) -> int:
    return int(module.cuda.Device(device).attributes["MultiProcessorCount"])


def _tile(method: str, dtype: str, rows: int, columns: int, copies: int, processors: int) -> Tile:
    """The largest tile that the result fills and that leaves no multiprocessor without work; else the smallest."""
    found = TILES[method]
    if method != "plain" or dtype == "float32":
        for tile in found[:-1]:
            if 2 * rows > tile.rows and 2 * columns > tile.columns and blocks(rows, tile.rows) * blocks(columns, tile.columns) * copies >= processors:
                return tile
    return found[-1]


def _chosen(module: ModuleType, device: int, kernel: str, method: str, dtype: str, rows: int, columns: int, copies: int) -> Tile:
    """The tile that was measured to be the fastest for such a result on this kind of GPU, else the one by reckoning."""
    measured = None if method == "plain" else tiles.conv(module, device, kernel, method, rows, columns * copies)
    return _tile(method, dtype, rows, columns, copies, _processors(module, device)) if measured is None else Tile(*measured)


def _packed(x: CupyArray, groups: int, method: str) -> CupyArray:
    """x (N, C, *size) with each group's channels side by side, filled up to 16 bytes; x itself where it lies like that (channels last)."""
    module = driver.needed()
    n, c = x.shape[:2]
    each, area, elements = c // groups, prod(x.shape[2:]), ELEMENTS[x.dtype.name]
    if method != "tf32" and each % elements == 0 and x.transpose(0, *range(2, x.ndim), 1).flags.c_contiguous and x.data.ptr % 16 == 0:
        return x
    chunks = blocks(each, elements)
    packed = module.empty((n, area, groups, chunks * elements), x.dtype)
    PACK(x.dtype.name)((n * groups * blocks(area, 64) * blocks(chunks * elements, 32),), (THREADS,), (
        module.ascontiguousarray(x), packed, np.int32(groups), np.int32(each), np.int32(chunks), np.int32(area),
        np.int32(method == "tf32")))
    return packed


def _gathered(source: CupyArray, w: CupyArray, bias: CupyArray | None, groups: int, geometry: _Geometry, adjoint: bool, shape: Sizes,
              method: str) -> CupyArray:
    """`gather` on a packed source; the result has this shape. `adjoint`: the roles of rows and channels of w are exchanged."""
    module = driver.needed()
    name, device = w.dtype.name, module.cuda.runtime.getDevice()
    tables = _tables(module, device, geometry, adjoint)
    outputs, inputs, taps = w.shape[0] // groups, w.shape[1], prod(geometry.kernel)
    rows, channels, row_step, channel_step = (inputs, outputs, taps, inputs * taps) if adjoint else (outputs, inputs, inputs * taps, taps)
    chunks = blocks(channels, ELEMENTS[name])
    filled = chunks * ELEMENTS[name]
    weights = module.empty((groups, rows, taps, filled), w.dtype)
    PACK_WEIGHTS(name)((blocks(weights.size),), (THREADS,), (
        module.ascontiguousarray(w), weights, tables.order, np.int64(weights.size), np.int32(rows), np.int32(channels), np.int32(filled),
        np.int32(taps), np.int64(outputs * inputs * taps), np.int64(row_step), np.int64(channel_step), np.int32(method == "tf32")))
    result = module.empty(shape, w.dtype)
    tile = _chosen(module, device, "gather", method, name, rows, tables.positions, groups * tables.phase_count)
    kernel = tiled("gather", method, tile)(name)
    across, at_once = blocks(rows, tile.rows) * blocks(tables.positions, tile.columns), max(1, _MOST // groups)
    for first in range(0, tables.phase_count, at_once):
        count = min(at_once, tables.phase_count - first)
        kernel((across, 1, groups * count), (tile.threads,), (
            source, weights, _NOTHING if bias is None else bias, result, tables.taps, tables.phases[first:] if first else tables.phases,
            np.int32(rows), np.int32(groups), np.int32(chunks), np.int32(taps), *tables.arguments), shared_mem=tile.shared)
    return result


def _correlated(source: CupyArray, above: CupyArray, groups: int, geometry: _Geometry, shape: Sizes, dtype: NumpyDtype,
                method: str) -> CupyArray:
    """`correlate` on the packed input and the packed gradient of the output; the gradient of a weight of this shape."""
    module = driver.needed()
    name, device = dtype.name, module.cuda.runtime.getDevice()
    tables, processors = _tables(module, device, geometry, False), _processors(module, device)
    rows, channels, taps, elements = shape[0] // groups, shape[1], prod(geometry.kernel), ELEMENTS[name]
    chunks = blocks(channels, elements)
    width = taps * chunks * elements
    deep = 64 // dtype.itemsize                  # positions of one step
    tile = _chosen(module, device, "correlate", method, name, rows, width, groups * blocks(tables.positions, deep * 8))
    across = blocks(rows, tile.rows) * blocks(width, tile.columns)
    slices = max(1, min(4 * processors // (across * groups), blocks(tables.positions, deep * 8), _MOST))
    per_slice = blocks(blocks(tables.positions, slices), deep) * deep
    slices = blocks(tables.positions, per_slice)
    partial = module.empty((slices, groups * rows, width), np.float64 if ACCUMULATE[name] == "double" else np.float32)
    tiled("correlate", method, tile)(name)((across, slices, groups), (tile.threads,), (
        above, source, partial, tables.taps, tables.phases, np.int32(rows), np.int32(groups), np.int32(blocks(rows, elements)),
        np.int32(chunks), np.int32(taps), np.int32(per_slice), *tables.arguments[:6]), shared_mem=tile.shared)
    gw = module.empty(shape, dtype)
    total = groups * rows * width
    SUM_SLICES(name)((blocks(total),), (THREADS,),
                     (partial, gw, np.int64(total), np.int32(slices), np.int32(channels), np.int32(chunks * elements), np.int32(taps)))
    return gw


def _is_pointwise(kernel: Sizes, stride: Sizes, padding: Sizes, groups: int) -> bool:
    return groups == 1 and prod(kernel) == 1 and not any(padding) and all(s == 1 for s in stride)


def _is_depthwise(channels: int, groups: int) -> bool:
    return groups > 1 and channels == groups


def _product(a: CupyArray, b: CupyArray) -> CupyArray:
    return matmul(a, b, _method(b.dtype.name) == "tf32")


def _checked(groups: int) -> None:
    if groups > _MOST:
        raise NotImplementedError(f"convolution on CUDA in more than {_MOST} groups of several channels")


def forward(x: CupyArray, w: CupyArray, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
            bias: CupyArray | None = None) -> Array:
    """The convolution of x with w, plus the bias (O,)."""
    module = driver.needed()
    kernel, (n, c), o = w.shape[2:], x.shape[:2], w.shape[0]
    out = _output(x.shape[2:], kernel, stride, padding, dilation)
    bias = None if bias is None else module.ascontiguousarray(bias)
    if not n * o * prod(out) * c * prod(kernel):
        y = module.zeros((n, o, *out), x.dtype)
        return y if bias is None else FORMULAS["add"](y, bias.reshape(-1, *(1,) * len(out)))
    if _is_depthwise(c, groups):
        return depthwise.forward(module.ascontiguousarray(x), module.ascontiguousarray(w), bias, out, stride, padding, dilation)
    if _is_pointwise(kernel, stride, padding, groups):
        y = _product(w.reshape(1, o, c), module.ascontiguousarray(x).reshape(n, c, prod(out))).reshape(n, o, *out)
        return y if bias is None else FORMULAS["add"](y, bias.reshape(-1, *(1,) * len(out)))
    _checked(groups)
    method = _method(x.dtype.name)
    return _gathered(_packed(x, groups, method), w, bias, groups, _geometry(x.shape, kernel, stride, padding, dilation, out), False,
                     (n, o, *out), method)


def input_gradient(g: CupyArray, w: CupyArray, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
                   packed: CupyArray | None = None) -> Array:
    """The gradient of the input, of spatial size `size`. `packed`: g packed, where the caller has that."""
    module = driver.needed()
    kernel, (n, o), c, size = w.shape[2:], g.shape[:2], w.shape[1] * groups, tuple(size)
    if not g.size * w.size * prod(size):
        return module.zeros((n, c, *size), g.dtype)
    if _is_depthwise(c, groups):
        return depthwise.input_gradient(module.ascontiguousarray(g), module.ascontiguousarray(w), c, size, stride, padding, dilation)
    if _is_pointwise(kernel, stride, padding, groups):
        return _product(w.reshape(1, o, c).swapaxes(1, 2), module.ascontiguousarray(g).reshape(n, o, prod(size))).reshape(n, c, *size)
    _checked(groups)
    method = _method(g.dtype.name)
    geometry = _geometry((n, c, *size), kernel, stride, padding, dilation, g.shape[2:])
    return _gathered(_packed(g, groups, method) if packed is None else packed, w, None, groups, geometry, True, (n, c, *size), method)


def weight_gradient(x: CupyArray, g: CupyArray, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
                    packed: CupyArray | None = None) -> Array:
    """The gradient of the weight, (O, C / groups, *kernel). `packed`: g packed, where the caller has that."""
    module = driver.needed()
    (n, o), c, kernel = g.shape[:2], x.shape[1], tuple(kernel)
    shape = (o, c // groups, *kernel)
    if not g.size * x.size * prod(kernel):
        return module.zeros(shape, g.dtype)
    if _is_depthwise(c, groups):
        return depthwise.weight_gradient(module.ascontiguousarray(x), module.ascontiguousarray(g), kernel, stride, padding, dilation)
    if _is_pointwise(kernel, stride, padding, groups) and g.dtype.itemsize > 2 and n * o * c <= 2 * (x.size + g.size):
        above, below = module.ascontiguousarray(g).reshape(n, o, -1), module.ascontiguousarray(x).reshape(n, c, -1)
        return _product(above, below.swapaxes(1, 2)).sum(0).reshape(shape)
    _checked(groups)
    method = _method(x.dtype.name)
    geometry = _geometry(x.shape, kernel, stride, padding, dilation, g.shape[2:])
    return _correlated(_packed(x, groups, method), _packed(g, groups, method) if packed is None else packed, groups, geometry, shape,
                       x.dtype, method)


def gradients(g: CupyArray, x: CupyArray, w: CupyArray, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> tuple[Array, Array]:
    """The gradients of input and weight; g is packed once for both."""
    kernel = w.shape[2:]
    packed = None
    if g.size and not _is_depthwise(x.shape[1], groups) and not _is_pointwise(kernel, stride, padding, groups):
        packed = _packed(g, groups, _method(g.dtype.name))
    return (input_gradient(g, w, x.shape[2:], stride, padding, dilation, groups, packed),
            weight_gradient(x, g, kernel, stride, padding, dilation, groups, packed))
