"""Operators of `torch.ops.aten` that take their arguments in another order, or under other names, than the public function does.

The forms have the parameters of PyTorch's operators. Everything is computed by the public functions, gradients included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..dtypes import bool_, int64
from ..tensor import Tensor
from ..vocabulary import Device, Dtype, Function, Layout, MemoryFormat, PerDim
from . import activation, grid_sample, interpolate, loss, matmul, normalization, padding, pooling, softmax, vision
from .errors import not_implemented
from .registry import FUNCTIONS, NAMESPACES

__all__ = ["FORMS", "word_of"]

FORMS: dict[str, Callable[..., Any]] = {}

_REDUCTIONS = ("none", "mean", "sum")


def word_of(reduction: Any, name: str, position: int) -> str:
    """nn.functional's word for an operator's number: 1 is the mean, 2 the sum, all others reduce nothing."""
    if not isinstance(reduction, int) or isinstance(reduction, bool):
        raise TypeError(f"{name}(): argument 'reduction' (position {position}) must be int, not {type(reduction).__name__}")
    return _REDUCTIONS[reduction] if 0 <= reduction < 3 else "none"


def _form(function: Function) -> Function:
    FORMS[function.__name__] = function
    return function


# --- activations and softmax ----------------------------------------------------------------------------------------------------------

@_form
def elu(self: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """scale * (x for x > 0, else alpha * (exp(input_scale * x) - 1))."""
    if input_scale == 1:
        y = activation.elu(self, alpha)
        return y if scale == 1 else y * scale
    return FUNCTIONS["where"](self > 0, self, alpha * (self * input_scale).expm1()) * scale


@_form
def elu_(self: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """In-place form of `elu`."""
    return activation.elu_(self, alpha) if scale == input_scale == 1 else self.copy_(elu(self, alpha, scale, input_scale))


def _in_place(name: str, function: Function) -> None:
    def call(self: Tensor) -> Tensor:
        return function(self, inplace=True)
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In-place form of `{name[:-1]}`."
    _form(call)


for _name in ("silu", "mish", "hardswish", "hardsigmoid", "relu6"):
    _in_place(_name + "_", getattr(activation, _name))


@_form
def log_sigmoid(self: Tensor, *, out: Tensor | None = None) -> Tensor:
    """log(1 / (1 + exp(-x)))."""
    return activation.logsigmoid(self, out=out)


@_form
def _softmax(self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """softmax; half_to_float: float16 in, float32 out."""
    return softmax.softmax(self.float() if half_to_float else self, dim)


@_form
def _log_softmax(self: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """log_softmax; half_to_float: float16 in, float32 out."""
    return softmax.log_softmax(self.float() if half_to_float else self, dim)


# --- losses ---------------------------------------------------------------------------------------------------------------------------

@_form
def nll_loss(self: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = 1, ignore_index: int = -100) -> Tensor:
    """The negative log-likelihood."""
    return loss.nll_loss(self, target, weight, ignore_index=ignore_index, reduction=word_of(reduction, "nll_loss", 4))


@_form
def nll_loss_forward(self: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """(the loss, the sum of the weights of the targets that count: 0 where nothing is reduced)."""
    r = nll_loss(self, target, weight, reduction, ignore_index)
    if reduction == 0:
        return r, self.new_zeros(())
    counts = target != ignore_index
    weights = self.new_ones(counts.shape) if weight is None else weight[target.clamp(0, len(weight) - 1)]
    return r, (weights * counts).sum().to(self.dtype)


FORMS["nll_loss_nd"] = nll_loss
FORMS["nll_loss2d"] = nll_loss
FORMS["nll_loss2d_forward"] = nll_loss_forward


@_form
def cross_entropy_loss(self: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = 1, ignore_index: int = -100,
                       label_smoothing: float = 0.0) -> Tensor:
    """log_softmax and the negative log-likelihood."""
    return loss.cross_entropy(self, target, weight, ignore_index=ignore_index, reduction=word_of(reduction, "cross_entropy_loss", 4),
                              label_smoothing=label_smoothing)


@_form
def binary_cross_entropy_with_logits(self: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None,
                                     reduction: int = 1) -> Tensor:
    """Binary cross-entropy of a sigmoid."""
    if not self._kind.is_floating:
        raise not_implemented("log_sigmoid", self._kind)
    return loss.binary_cross_entropy_with_logits(self, target, weight, pos_weight=pos_weight,
                                                 reduction=word_of(reduction, "binary_cross_entropy_with_logits", 5))


# --- normalisation: the library that PyTorch may take is of no matter here ------------------------------------------------------------

for _name in ("layer_norm", "group_norm"):
    FORMS[_name] = FUNCTIONS[_name]


@_form
def batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
               training: bool, momentum: float, eps: float, cudnn_enabled: bool) -> Tensor:
    """Standardised per channel over the batch."""
    return normalization.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@_form
def _native_batch_norm_legit_functional(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor,
                                        running_var: Tensor, training: bool, momentum: float, eps: float) -> tuple[Tensor, ...]:
    """native_batch_norm with the new running statistics as results."""
    mean, var = running_mean.clone(), running_var.clone()
    return (*FUNCTIONS["native_batch_norm"](input, weight, bias, mean, var, training, momentum, eps), mean, var)


@_form
def copy(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """The values of `src` in self's shape and dtype."""
    return self.clone().copy_(src)


@_form
def instance_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
                  use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool) -> Tensor:
    """Standardised per channel and sample."""
    return normalization.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


# --- indices and views ----------------------------------------------------------------------------------------------------------------

@_form
def index(self: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """``self[indices]``; None stands for a whole dimension."""
    return self[tuple([slice(None) if each is None else each for each in indices])]


FORMS["_unsafe_index"] = index


@_form
def _unsafe_view(self: Tensor, size: Sequence[int]) -> Tensor:
    """`view` as a tensor of its own in the eyes of autograd."""
    return self.reshape(size)


@_form
def alias(self: Tensor) -> Tensor:
    """A view of all of it."""
    return self.view_as(self)


@_form
def lift_fresh(self: Tensor) -> Tensor:
    """The tensor itself."""
    return self


@_form
def lift_fresh_copy(self: Tensor) -> Tensor:
    """A copy of a constant."""
    return self.clone()


@_form
def sym_size(self: Tensor, dim: int) -> int:
    """The size of a dimension."""
    return self.size(dim)


@_form
def _assert_tensor_metadata(a: Tensor, size: Sequence[int] | None = None, stride: Sequence[int] | None = None, dtype: Dtype = None, *,
                            device: Device = None, layout: Layout = None) -> None:
    """RuntimeError where a tensor is another one than a program was exported for."""
    for name, wanted, have in (("sizes", size, list(a.shape)), ("strides", stride, list(a.stride())), ("dtype", dtype, a.dtype),
                               ("device", device, a.device), ("layout", layout, a.layout)):
        if wanted is not None and wanted != have:
            raise RuntimeError(f"Tensor {name} mismatch!\nExpected: {wanted}\nGot: {have}")


@_form
def detach_(self: Tensor) -> Tensor:
    """The tensor itself, cut off from the graph."""
    return self.detach_()


@_form
def numpy_T(self: Tensor) -> Tensor:  # noqa: N802
    """The dimensions in reverse order."""
    return self.permute(*range(self.dim() - 1, -1, -1))


@_form
def mT(self: Tensor) -> Tensor:  # noqa: N802
    """The last two dimensions exchanged."""
    return self.transpose(-2, -1)


@_form
def mH(self: Tensor) -> Tensor:  # noqa: N802
    """The last two dimensions exchanged, conjugated."""
    return self.transpose(-2, -1).conj()


@_form
def matrix_H(self: Tensor) -> Tensor:  # noqa: N802
    """A matrix transposed and conjugated."""
    return self.transpose(0, 1).conj()


@_form
def _to_copy(self: Tensor, *, dtype: Dtype = None, layout: Layout = None, device: Device = None, pin_memory: bool | None = None,
             non_blocking: bool = False, memory_format: MemoryFormat = None) -> Tensor:
    """A copy of another dtype or on another device."""
    if layout is not None and layout is not self.layout:
        raise NotImplementedError(f"aten::_to_copy: rushlight does not change the layout from {self.layout} to {layout} here: take "
                                  "Tensor.to_sparse or Tensor.to_dense")
    return self.to(device=device or self.device, dtype=dtype or self.dtype, copy=True)


@_form
def _local_scalar_dense(self: Tensor) -> Any:
    """The one element as a number."""
    return self.item()


# --- pooling, padding, resizing --------------------------------------------------------------------------------------------

def _pooling(n: int) -> None:
    largest, fractional = (getattr(pooling, f"{name}_max_pool{n}d", None) for name in ("adaptive", "fractional"))

    def adaptive_max_pool(self: Tensor, output_size: PerDim) -> tuple[Tensor, Tensor]:
        return largest(self, output_size, True)

    def fractional_max_pool(self: Tensor, kernel_size: PerDim, output_size: PerDim, random_samples: Tensor) -> tuple[Tensor, Tensor]:
        return fractional(self, kernel_size, output_size, return_indices=True, _random_samples=random_samples)
    for function, found in ((adaptive_max_pool, largest), (fractional_max_pool, fractional)):
        if found is not None:
            function.__name__ = function.__qualname__ = found.__name__
            function.__doc__ = f"`{found.__name__}` with the places of the largest values."
            _form(function)


for _n in (1, 2, 3):
    _pooling(_n)


@_form
def max_unpool2d(self: Tensor, indices: Tensor, output_size: Sequence[int]) -> Tensor:
    """Values put back where max_pool2d found them, zeros elsewhere, in images of `output_size`."""
    return _unpooled(self, indices, output_size, 2)


@_form
def max_unpool3d(self: Tensor, indices: Tensor, output_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """The same for max_pool3d."""
    return _unpooled(self, indices, output_size, 3)


def _unpooled(self: Tensor, indices: Tensor, output_size: Sequence[int], n: int) -> Tensor:
    lead = self.shape[:-n]
    size = 1
    for each in output_size:
        size *= each
    flat = self.new_zeros((*lead, size)).scatter(-1, indices.flatten(-n), self.flatten(-n))
    return flat.reshape(*lead, *output_size)


@_form
def im2col(self: Tensor, kernel_size: PerDim, dilation: PerDim, padding: PerDim | str, stride: PerDim) -> Tensor:
    """The windows of images as columns: `nn.functional.unfold`."""
    return vision.unfold(self, kernel_size, dilation, padding, stride)


@_form
def col2im(self: Tensor, output_size: PerDim, kernel_size: PerDim, dilation: PerDim, padding: PerDim | str, stride: PerDim) -> Tensor:
    """The sums of windows at their places: `nn.functional.fold`."""
    return vision.fold(self, output_size, kernel_size, dilation, padding, stride)


def _padding(n: int, operator: str, mode: str) -> None:
    def call(self: Tensor, padding: Sequence[int]) -> Tensor:
        if len(padding) != 2 * n:
            raise RuntimeError(f"padding size is expected to be {2 * n}, but got: {len(padding)}")
        return pad(self, padding, mode)
    pad = padding.pad
    call.__name__ = call.__qualname__ = f"{operator}_pad{n}d"
    call.__doc__ = f"`nn.functional.pad` with mode {mode!r} in {n} dimensions."
    _form(call)


for _n in (1, 2, 3):
    _padding(_n, "reflection", "reflect")
    _padding(_n, "replication", "replicate")


def _upsampling(operator: str, mode: str, n: int, corners: bool) -> None:
    def resized(self: Tensor, output_size: PerDim, align_corners: bool | None, *scales: float | None) -> Tensor:
        if len(scales) == 1 and (output_size is None or isinstance(scales[0], (list, tuple))):
            if output_size is None:
                return interpolate.interpolate(self, None, list(scales[0]), mode, align_corners)  # type: ignore[call-overload]
            scales = ()
        if any(each is not None for each in scales):
            factors = [1.0 if each is None else float(each) for each in scales]
            if [int(size * each) for size, each in zip(self.shape[2:], factors, strict=True)] != list(output_size):
                raise NotImplementedError(f"aten::{operator}: rushlight takes scales beside output_size only where they give that size")
            return interpolate.interpolate(self, None, factors, mode, align_corners)
        return interpolate.interpolate(self, list(output_size), None, mode, align_corners)

    def with_corners(self: Tensor, output_size: PerDim, align_corners: bool, *scales: Any) -> Tensor:
        return resized(self, output_size, align_corners, *scales)

    def without(self: Tensor, output_size: PerDim, *scales: Any) -> Tensor:
        return resized(self, output_size, None, *scales)
    call = with_corners if corners else without
    call.__name__ = call.__qualname__ = operator
    call.__doc__ = f"`nn.functional.interpolate` with mode {mode!r}, to `output_size` or by `scale_factors`."
    _form(call)


for _n in (1, 2, 3):
    _upsampling(f"upsample_nearest{_n}d", "nearest", _n, False)
    _upsampling(f"_upsample_nearest_exact{_n}d", "nearest-exact", _n, False)
for _mode, _n in (("linear", 1), ("bilinear", 2), ("bicubic", 2), ("trilinear", 3)):
    _upsampling(f"upsample_{_mode}{_n}d", _mode, _n, True)


@_form
def grid_sampler(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    """`nn.functional.grid_sample` with numbers for the modes."""
    mode, padding = ("bilinear", "nearest", "bicubic")[interpolation_mode], ("zeros", "border", "reflection")[padding_mode]
    return grid_sample.grid_sample(input, grid, mode, padding, align_corners)


FORMS["grid_sampler_2d"] = FORMS["grid_sampler_3d"] = grid_sampler


@_form
def affine_grid_generator(theta: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """`nn.functional.affine_grid`."""
    if len(size) not in (4, 5):
        raise RuntimeError("AffineGridGenerator needs 4d (spatial) or 5d (volumetric) inputs.")
    return grid_sample.affine_grid(theta, size, align_corners)


# --- the rest -------------------------------------------------------------------------------------------------------------------------

@_form
def tensordot(self: Tensor, other: Tensor, dims_self: Sequence[int], dims_other: Sequence[int], *, out: Tensor | None = None) -> Tensor:
    """The product summed over pairs of dimensions."""
    return FUNCTIONS["tensordot"](self, other, (list(dims_self), list(dims_other)), out=out)


@_form
def linalg_pinv(self: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None,
                out: Tensor | None = None) -> Tensor:
    """`linalg.pinv`."""
    return NAMESPACES["linalg"]["pinv"](self, rcond, hermitian, atol=atol, rtol=rtol, out=out)


@_form
def linalg_matrix_rank(self: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None,
                       out: Tensor | None = None) -> Tensor:
    """`linalg.matrix_rank`."""
    return NAMESPACES["linalg"]["matrix_rank"](self, tol, hermitian, atol=atol, rtol=rtol, out=out)


@_form
def stft(self: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Tensor | None = None, *args: Any,
         **kwargs: Any) -> Tensor:
    """`torch.stft`, uncentred where neither `center` nor `pad_mode` is given."""
    centred = "center" in kwargs or "pad_mode" in kwargs or len(args) > 4 or (len(args) > 1 and isinstance(args[1], str))
    return FUNCTIONS["stft"](self, n_fft, hop_length, win_length, window, *(() if centred else (False, "reflect")), *args, **kwargs)


@_form
def _unique2(self: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """(the values, where each element is among them, how often each is there); empty where it was not asked for."""
    return _all_three(FUNCTIONS["unique"](self, sorted, return_inverse, return_counts), self, return_inverse, return_counts)


@_form
def unique_dim(self: Tensor, dim: int, sorted: bool = True, return_inverse: bool = False,
               return_counts: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The same of the slices along a dimension; PyTorch's operator gives all three always."""
    return FUNCTIONS["unique"](self, sorted, True, True, dim)


@_form
def unique_consecutive(self: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The same where equal elements follow each other."""
    return _all_three(FUNCTIONS["unique_consecutive"](self, return_inverse, return_counts, dim), self, return_inverse, return_counts)


@_form
def block_diag(tensors: Sequence[Tensor]) -> Tensor:
    """The matrices along the diagonal of one."""
    return FUNCTIONS["block_diag"](*tensors)


@_form
def convolution(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
                transposed: bool, output_padding: Sequence[int], groups: int) -> Tensor:
    """Convolution, or transposed convolution, of (N, C, *spatial) with one to three spatial dimensions."""
    n = weight.dim() - 2
    if not 1 <= n <= 3 or len(input.shape) != n + 2:
        raise RuntimeError(f"Expected {n + 2}-dimensional input for {n + 2}-dimensional weight {list(weight.shape)}, but got "
                           f"{input.dim()}-dimensional input of size {list(input.shape)} instead")
    stride, padding, dilation, output_padding = (
        [*each] * n if len(each) == 1 else [*each] for each in (stride, padding, dilation, output_padding))
    if transposed:
        return FUNCTIONS[f"conv_transpose{n}d"](input, weight, bias, stride, padding, output_padding, groups, dilation)
    return FUNCTIONS[f"conv{n}d"](input, weight, bias, stride, padding, dilation, groups)


@_form
def _convolution_mode(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: str, dilation: Sequence[int],
                      groups: int) -> Tensor:
    """Convolution with a word for the padding: "same" or "valid"."""
    return FUNCTIONS[f"conv{weight.dim() - 2}d"](input, weight, bias, list(stride), padding, list(dilation), groups)


@_form
def broadcast_tensors(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape."""
    return FUNCTIONS["broadcast_tensors"](*tensors)


# --- attention, as PyTorch's fast path for inference calls it -------------------------------------------------------------------------

def _masked(scores: Tensor, mask: Tensor | None, mask_type: int | None) -> Tensor:
    """Scores of (batch, heads, queries, keys) without what a mask hides: 0 is one of (queries, keys), 1 of (batch, keys), 2 of all four."""
    if mask is None:
        return scores
    mask = mask[:, None, None, :] if mask_type == 1 else mask
    return scores.masked_fill(mask, float("-inf")) if mask.dtype is bool_ else scores + mask


@_form
def _native_multi_head_attention(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_head: int, qkv_weight: Tensor,
                                 qkv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor, mask: Tensor | None = None,
                                 need_weights: bool = True, average_attn_weights: bool = True,
                                 mask_type: int | None = None) -> tuple[Tensor, Tensor]:
    """(the projected result, the weights; empty where they are not needed) of attention over inputs of (batch, places, features)."""
    linear = matmul.linear
    weights, biases = qkv_weight.chunk(3), qkv_bias.chunk(3)
    q, k, v = [linear(x, w, b).unflatten(-1, (num_head, embed_dim // num_head)).transpose(1, 2)
               for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    attention = _masked((q / (embed_dim // num_head) ** 0.5) @ k.transpose(-2, -1), mask, mask_type).softmax(-1)
    result = linear((attention @ v).transpose(1, 2).flatten(-2), proj_weight, proj_bias)
    if not need_weights:
        return result, query.new_empty(0)
    return result, attention.mean(1) if average_attn_weights else attention


@_form
def _transformer_encoder_layer_fwd(src: Tensor, embed_dim: int, num_heads: int, qkv_weight: Tensor, qkv_bias: Tensor, proj_weight: Tensor,
                                   proj_bias: Tensor, use_gelu: bool, norm_first: bool, eps: float, norm_weight_1: Tensor,
                                   norm_bias_1: Tensor, norm_weight_2: Tensor, norm_bias_2: Tensor, ffn_weight_1: Tensor,
                                   ffn_bias_1: Tensor, ffn_weight_2: Tensor, ffn_bias_2: Tensor, mask: Tensor | None = None,
                                   mask_type: int | None = None) -> Tensor:
    """A layer of a transformer's encoder."""
    linear, norm = matmul.linear, FUNCTIONS["layer_norm"]

    def attend(x: Tensor) -> Tensor:
        return _native_multi_head_attention(x, x, x, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, mask, False, True,
                                            mask_type)[0]

    def feed(x: Tensor) -> Tensor:
        inner = linear(x, ffn_weight_1, ffn_bias_1)
        return linear(activation.gelu(inner) if use_gelu else inner.relu(), ffn_weight_2, ffn_bias_2)

    def first(x: Tensor) -> Tensor:
        return norm(x, (embed_dim,), norm_weight_1, norm_bias_1, eps)

    def second(x: Tensor) -> Tensor:
        return norm(x, (embed_dim,), norm_weight_2, norm_bias_2, eps)
    if norm_first:
        x = src + attend(first(src))
        return x + feed(second(x))
    x = first(src + attend(src))
    return second(x + feed(x))


def _all_three(r: Any, self: Tensor, inverse: bool, counts: bool) -> tuple[Tensor, Tensor, Tensor]:

    found = list(r) if isinstance(r, tuple) else [r]
    empty = self.new_empty(0, dtype=int64)
    return found[0], found[1] if inverse else empty, found[-1] if counts else empty
