"""Ops that PyTorch shows under low-level names: some as private functions of `torch`, some in `torch.ops.aten` only."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..dtypes import int32, uint8
from ..tensor import Tensor, wrap
from ..vocabulary import Device, Dtype, Function, PerDim, Scalar
from .floating import segment_reduce
from .indexing import index_put_into
from .joining import cat
from .normalization import batch_norm, group_norm, layer_norm
from .padding import pad
from .public import export
from .slices import _at, basic
from .softmax import softmax
from .write import write_out

__all__ = ["ATEN"]

ATEN: dict[str, Any] = {}      # what only `torch.ops.aten` shows


def _aten(function: Function) -> Function:
    ATEN[function.__name__.rstrip("_")] = function
    return function


# --- views and pieces -----------------------------------------------------------------------------------------------------------------

@_aten
def slice_(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """The view ``[start:end:step]`` of a dimension."""
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    return basic(input, _at(wrap_dim(dim, input._a.ndim), slice(start, end, step)))


def _chunk_cat(tensors: Any, dim: int, num_chunks: int, *, out: Tensor | None = None) -> Tensor:
    """Each tensor in `num_chunks` zero-padded chunks along `dim`; the chunks of all tensors with one number, flattened, side by side."""
    if out is not None:
        return write_out(out, _chunk_cat(tensors, dim, num_chunks), "_chunk_cat")
    if num_chunks <= 0:
        raise RuntimeError("_chunk_cat expects positive num_chunks")
    if not tensors:
        raise RuntimeError("_chunk_cat expects a non-empty input tensor list")
    if any(not t._a.size for t in tensors):
        raise RuntimeError("_chunk_cat expects non-empty tensor")
    rows = []
    for t in tensors:
        d = dim % t._a.ndim
        missing = -t._a.shape[d] % num_chunks
        if missing:
            t = pad(t, [0, 0] * (t._a.ndim - d - 1) + [0, missing])
        lead = t._a.shape[:d]
        rows.append(t.reshape(*lead, num_chunks, prod(t._a.shape[d:]) // num_chunks))
    return cat(rows, -1)


def _unsafe_masked_index(input: Tensor, mask: Tensor, indices: Any, fill: Any) -> Tensor:
    """``input[indices]`` where the mask holds, else `fill`; indices elsewhere may be out of range."""
    return input[_clamped(input, indices)].masked_fill(~mask, fill)


def _unsafe_masked_index_put_accumulate(input: Tensor, mask: Tensor, indices: Any, values: Tensor) -> Tensor:
    """`input` with the values where the mask holds added at the indices."""
    arrays = {d: each._a for d, each in enumerate(_clamped(input, indices)) if isinstance(each, Tensor)}
    return index_put_into(input.clone(), arrays, values.masked_fill(~mask, 0), True)


def _clamped(input: Tensor, indices: Any) -> tuple[Any, ...]:
    return tuple([slice(None) if i is None else i.clamp(0, n - 1) if i._kind.dtype.name != "bool" else i
                  for i, n in zip(indices, input._a.shape, strict=False)])


# --- normalisation with its statistics ------------------------------------------------------------------------------------------------

def native_batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
                      training: bool, momentum: float, eps: float, *, out: Tensor | None = None) -> Any:
    """(`batch_norm`, the batch's means, the inverses of its standard deviations); both are empty outside of training."""
    y = batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    x = input.detach().float() if input._kind.reduced else input.detach()
    if training:
        axes = [0, *range(2, input._a.ndim)]
        mean = x.mean(axes)
        rstd = (((x - mean.reshape(1, -1, *[1] * (x._a.ndim - 2))) ** 2).mean(axes) + eps).rsqrt()
        r = (y, mean.to(input.dtype), rstd.to(input.dtype))
    else:
        r = (y, input.new_empty(0), input.new_empty(0))
    if out is not None:
        return write_out(out, r, "native_batch_norm")
    return r


def _native_batch_norm_legit(input: Tensor, weight: Tensor | None, bias: Tensor | None, *args: Any, **kwargs: Any) -> Any:
    """`native_batch_norm`, also without running statistics: (input, weight, bias, training, momentum, eps)."""
    if isinstance(args[0] if args else kwargs.get("training"), bool):
        return native_batch_norm(input, weight, bias, None, None, *args, **kwargs)
    return native_batch_norm(input, weight, bias, *args, **kwargs)


@_aten
def _batch_norm_with_update(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor, running_var: Tensor,
                            momentum: float,
                            eps: float) -> Any:
    """`native_batch_norm` in training, with an empty reserve."""
    return (*native_batch_norm(input, weight, bias, running_mean, running_var, True, momentum, eps), input.new_empty(0, dtype=uint8))


def native_layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
    """(`layer_norm`, the means, the inverses of the standard deviations)."""
    n = len(tuple(normalized_shape)) if isinstance(normalized_shape, (tuple, list)) else 1
    y = layer_norm(input, normalized_shape, weight, bias, eps)
    axes = list(range(input._a.ndim - n, input._a.ndim))
    return (y, *_statistics(input.detach(), axes, eps))


def native_group_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int,  # noqa: N803
                      eps: float) -> tuple[Tensor, ...]:
    """(`group_norm`, the means, the inverses of the standard deviations), both (N, groups)."""
    if group <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {group}")
    mean, rstd = _statistics(input.reshape(N, group, C // group * HxW), [2], eps)
    return group_norm(input, group, weight, bias, eps), mean.squeeze(2), rstd.squeeze(2)


def _statistics(input: Tensor, axes: list[int], eps: float) -> tuple[Tensor, Tensor]:
    x = input.float() if input._kind.reduced else input
    mean = x.mean(axes, True)
    rstd = ((x - mean) ** 2).mean(axes, True).add(eps).rsqrt()
    return mean.to(input.dtype), rstd.to(input.dtype)


# --- softmax, dropout, pooling, resizing ----------------------------------------------------------------------------------------------

def _softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: Any, *, grad_input: Any = None) -> Tensor:
    """The gradient of softmax: y * (g - sum(g * y))."""
    g, y = (t.float() if t._kind.reduced else t for t in (grad_output, output))
    product = g * y
    return (product - y * product.sum(dim, keepdim=True)).to(input_dtype)


def _safe_softmax(input: Tensor, dim: int, dtype: Dtype = None) -> Tensor:
    """softmax that gives zeros where all of a row is -inf."""
    empty = (input == float("-inf")).all(dim, True)
    return softmax(input.masked_fill(empty, 0), dim, dtype=dtype).masked_fill(empty, 0)


@_aten
def native_dropout_backward(grad_output: Tensor, mask: Tensor, scale: float) -> Tensor:
    """grad_output * mask * scale."""
    return grad_output * (mask.to(grad_output.dtype) * scale)


@_aten
def max_pool2d_with_indices_backward(grad_output: Tensor, self: Tensor, kernel_size: PerDim, stride: PerDim, padding: PerDim | str,
                                     dilation: PerDim, ceil_mode: bool,
                                     indices: Tensor) -> Tensor:
    """The gradient of max_pool2d: what arrives, added where the largest values were."""
    shape = self._a.shape
    lead = shape[:-2]
    flat = grad_output.new_zeros((*lead, shape[-2] * shape[-1]))
    r = flat.scatter_add(-1, indices.flatten(-2), grad_output.flatten(-2)).view(shape)
    # Where the largest values are does not change with small changes of the input: its gradient is zero.
    return r if self._node is None else r + self * 0


@_aten
def _upsample_bilinear2d_aa(input: Tensor, output_size: PerDim, align_corners: bool, scales_h: float | None = None,
                            scales_w: float | None = None,
                            scale_factors: Any = None) -> Tensor:
    """Bilinear resizing with a triangle filter as wide as the step between samples, so that shrinking does not alias."""
    scales = (scales_h, scales_w) if scale_factors is None else tuple(scale_factors)
    if output_size is None:
        output_size = [int(n * s) for n, s in zip(input._a.shape[2:], scales, strict=True)]
    work = input.float() if input._kind.reduced else input
    for dim, out, scale in ((3, output_size[1], scales[1]), (2, output_size[0], scales[0])):
        weights = _antialias(input._a.shape[dim], int(out), align_corners, scale)
        matrix = wrap(work._kind.xp.asarray(weights.astype(work._kind.np)), work._kind)
        work = (work @ matrix.t()) if dim == 3 else (matrix @ work)
    return work.to(input.dtype)


def _antialias(size: int, out: int, align_corners: bool, scale: float | None) -> Any:
    """(out, size) weights: each output is a mean of the inputs under a triangle, whose weights sum to one."""
    step = (size - 1) / (out - 1) if align_corners and out > 1 else 0.0 if align_corners else 1.0 / scale if scale else size / out
    support = max(step, 1.0)
    weights = np.zeros((out, size))
    for i in range(out):
        center = step * (i + 0.5)
        start, stop = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), size)
        row = np.maximum(1 - np.abs((np.arange(start, stop) - center + 0.5) / support), 0)
        weights[i, start:stop] = row / row.sum() if row.sum() else row
    return weights


for _function in (_chunk_cat, _unsafe_masked_index, _unsafe_masked_index_put_accumulate, native_batch_norm, _native_batch_norm_legit,
                  native_layer_norm, native_group_norm, _softmax_backward_data, _safe_softmax):
    export(_function, guard=True)
export(segment_reduce, "_segment_reduce")


@export
def _int_mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two int8 matrices, summed in int32."""
    def names(t: Tensor) -> str:
        return {"float32": "float", "float64": "double", "int32": "int", "int64": "long int"}.get(t._kind.dtype.name, t._kind.dtype.name)
    if input.dim() != 2 or mat2.dim() != 2:
        which, t = ("self", input) if input.dim() != 2 else ("mat2", mat2)
        raise RuntimeError(f"int_mm_out_cpu: Expected {which} to be of dimension 2 but got {t.dim()}")
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(f"int_mm_out_cpu: self.size(1) needs to match mat2.size(0) but got {input.shape[1]} and {mat2.shape[0]}")
    if input._kind.dtype.name not in ("int8", "uint8"):
        raise RuntimeError(f"int_mm_out_cpu: Expected self dtype to be int8 or uint8 but got {names(input)}")
    if mat2._kind.dtype.name != "int8":
        raise RuntimeError(f"int_mm_out_cpu: Expected mat2 dtype to be of type int8 but got {names(mat2)}")
    if out is not None and out._kind.dtype is not int32:
        raise RuntimeError(f"int_mm_out_cpu: Expected result dtype to be of type kInt but got {names(out)}")
    if out is not None and out.shape != (input.shape[0], mat2.shape[1]):
        raise RuntimeError(f"int_mm_out_cpu: Expected result to be of shape {[input.shape[0], mat2.shape[1]]} but got {list(out.shape)}")
    r = input.to(int32) @ mat2.to(int32)
    return r if out is None else write_out(out, r, "_int_mm")


# --- memory and sparse products -------------------------------------------------------------------------------------------------------

@_aten
def _pin_memory(input: Tensor, device: Device = None) -> Tensor:
    """The tensor in memory that a GPU can read by itself."""
    return input.pin_memory() if device is None else input.pin_memory(device)


@_aten
def _sparse_addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Scalar = 1, alpha: Scalar = 1) -> Tensor:
    """``beta * input + alpha * mat1 @ mat2`` with a sparse `mat1`."""
    return input.addmm(mat1, mat2, beta=beta, alpha=alpha)


@_aten
def _sparse_mm_reduce_impl(input: Tensor, other: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    """A sparse product whose sums are other reductions: only sums are (NotImplementedError)."""
    if reduce != "sum":
        raise NotImplementedError(f"torch.ops.aten._sparse_mm_reduce_impl(reduce={reduce!r}) is not supported by rushlight: "
                                  "scatter_reduce the products")
    found = input @ other
    return found, found.new_empty((0,), dtype=input.crow_indices().dtype)
