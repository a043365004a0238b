"""Layers, activations and products in terms of ONNX's operators (see `translations.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

from .. import dtypes
from ..vocabulary import Dtype, Function, PerDim
from .building import TRANSLATIONS, Builder, Value, translates, wrong
from .translations import _transpose, axis_of, reduced

__all__: list[str] = []

B = Builder


def _many(value: PerDim, n: int) -> list[int]:
    return [int(value)] * n if isinstance(value, int) else [int(v) for v in value] * (n if len(value) == 1 else 1)


# --- products -------------------------------------------------------------------------------------------------------------------------

@translates("linear")
def _linear(b: B, input: Value, weight: Value, bias: Value | None = None) -> Value:
    if input.rank == 2 and bias is not None:
        return b.op("Gemm", input, weight, bias, transB=1)
    r = b.op("MatMul", input, b.op("Transpose", weight, perm=[1, 0], dtype=weight.dtype))
    return r if bias is None else b.op("Add", r, bias)


@translates("matmul", "mm", "bmm", "_operator", "mv", "dot")
def _matmul(b: B, input: Value, other: Value) -> Value:
    return b.op("MatMul", input, other)


@translates("addmm")
def _addmm(b: B, input: Value, mat1: Value, mat2: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    return b.op("Gemm", mat1, mat2, input, alpha=float(alpha), beta=float(beta))


@translates("baddbmm")
def _baddbmm(b: B, input: Value, batch1: Value, batch2: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    product = b.op("MatMul", batch1, batch2)
    product = product if alpha == 1 else b.op("Mul", product, b.value(alpha, b.dtype))
    return b.op("Add", product, input if beta == 1 else b.op("Mul", input, b.value(beta, b.dtype)))


@translates("einsum")
def _einsum(b: B, equation: str, *operands: Any) -> Value:
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    return b.op("Einsum", *given, equation=equation)


@translates("scaled_dot_product_attention")
def _attention(b: B, query: Value, key: Value, value: Value, attn_mask: Value | None = None, dropout_p: float = 0.0,
               is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Value:
    if dropout_p or enable_gqa:
        raise wrong("scaled_dot_product_attention with dropout or enable_gqa")
    factor = 1 / sqrt(query.shape[-1]) if scale is None else scale
    scores = b.op("MatMul", b.op("Mul", query, b.value(factor, query.dtype)), _transpose(b, key, -1, -2))
    if is_causal:
        sizes = b.op("Concat", *[b.op("Shape", each, start=each.rank - 2, end=each.rank - 1, dtype=dtypes.int64) for each in (query, key)],
                     axis=0, dtype=dtypes.int64)
        ones = b.op("Expand", b.value(1), sizes, dtype=dtypes.int64)
        seen = b.cast(b.op("Trilu", ones, upper=0, dtype=dtypes.int64), dtypes.bool_)
        scores = b.op("Where", seen, scores, b.value(float("-inf"), query.dtype))
    if attn_mask is not None:
        scores = b.op("Where", attn_mask, scores,
                      b.value(float("-inf"), query.dtype)) if attn_mask.dtype is dtypes.bool_ else b.op("Add", scores, attn_mask)
    return b.op("MatMul", b.op("Softmax", scores, axis=-1), value)


@translates("multi_head_attention_forward")
def _multi_head(b: B, query: Value, key: Value, value: Value, embed_dim_to_check: int, num_heads: int, in_proj_weight: Value | None,
                in_proj_bias: Value | None, bias_k: Value | None, bias_v: Value | None, add_zero_attn: bool, dropout_p: float,
                out_proj_weight: Value, out_proj_bias: Value | None, training: bool = True, key_padding_mask: Value | None = None,
                need_weights: bool = True, attn_mask: Value | None = None, use_separate_proj_weight: bool = False,
                q_proj_weight: Value | None = None, k_proj_weight: Value | None = None, v_proj_weight: Value | None = None,
                static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True, is_causal: bool = False) -> Any:
    if bias_k is not None or add_zero_attn or key_padding_mask is not None or static_k is not None or static_v is not None or query.rank != 3:
        raise wrong("multi_head_attention_forward with bias_k, add_zero_attn, a key_padding_mask, static keys or unbatched input")
    width = query.shape[-1]
    weights = [q_proj_weight, k_proj_weight, v_proj_weight]
    if not use_separate_proj_weight:
        weights = [b.op("Slice", in_proj_weight, [i * width], [(i + 1) * width], [0], shape=[width, width]) for i in range(3)]
    biases = [None] * 3 if in_proj_bias is None else [b.op("Slice", in_proj_bias, [i * width], [(i + 1) * width], [0],
                                                           shape=[width]) for i in range(3)]
    dtype = b.dtype

    # (length, batch, width) -> (batch, heads, length, width of a head)
    def heads(x: Value, weight: Value, bias: Value | None) -> Value:
        y = _linear(b, x, weight, bias)
        return b.op("Transpose", b.op("Reshape", y, [0, 0, num_heads, width // num_heads],
                                      shape=[*x.shape[:2], num_heads, width // num_heads]), perm=[1, 2, 0, 3],
                    shape=[x.shape[1], num_heads, x.shape[0], width // num_heads])
    q, k, v = (heads(x, w, c) for x, w, c in zip((query, key, value), weights, biases, strict=True))  # type: ignore[arg-type]
    scores = b.op("MatMul", b.op("Mul", q, b.value((width // num_heads) ** -0.5, dtype)), b.op("Transpose", k, perm=[0, 1, 3, 2]))
    if attn_mask is not None:
        if attn_mask.rank == 3:
            raise wrong("multi_head_attention_forward with a mask per head")
        scores = b.op("Where", attn_mask, b.value(float("-inf"), dtype),
                      scores) if attn_mask.dtype is dtypes.bool_ else b.op("Add", scores, attn_mask)
    shares = b.op("Softmax", scores, axis=-1)
    mixed = b.op("Reshape", b.op("Transpose", b.op("MatMul", shares, v), perm=[2, 0, 1, 3]), [0, 0, width], shape=query.shape)
    out = _linear(b, mixed, out_proj_weight, out_proj_bias)
    if not need_weights:
        return [out, None]
    shares.shape = [q.shape[0], num_heads, query.shape[0], key.shape[0]]
    return [out, b.op("ReduceMean", shares, [1], keepdims=0) if average_attn_weights else shares]


# --- convolution and pooling ----------------------------------------------------------------------------------------------------------

def _batched(b: B, x: Value, n: int, run: Function) -> Value:
    if x.rank == n + 2:
        return run(x)
    one = b.op("Unsqueeze", x, [0], shape=[1, *x.shape])
    return b.op("Squeeze", run(one), [0])


def _conv(n: int) -> None:
    def conv(b: B, input: Value, weight: Value, bias: Value | None = None, stride: PerDim = 1, padding: PerDim | str = 0,
             dilation: PerDim = 1, groups: int = 1) -> Value:
        if padding == "valid":
            padding = 0
        if padding == "same":
            totals = [d * (k - 1) for d, k in zip(_many(dilation, n), weight.shape[2:], strict=True)]
            pads = [each // 2 for each in totals] + [each - each // 2 for each in totals]
        else:
            pads = _many(padding, n) * 2
        return _batched(b, input, n, lambda x: b.op("Conv", x, weight, bias, strides=_many(stride, n), pads=pads,
                                                    dilations=_many(dilation, n), group=groups, kernel_shape=weight.shape[2:]))

    def transposed(b: B, input: Value, weight: Value, bias: Value | None = None, stride: PerDim = 1, padding: PerDim = 0,
                   output_padding: PerDim = 0, groups: int = 1, dilation: PerDim = 1) -> Value:
        return _batched(b, input, n, lambda x: b.op("ConvTranspose", x, weight, bias, strides=_many(stride, n), pads=_many(padding, n) * 2,
                                                    group=groups, output_padding=_many(output_padding, n), dilations=_many(dilation, n),
                                                    kernel_shape=weight.shape[2:]))

    def max_pool(b: B, input: Value, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim = 0, dilation: PerDim = 1,
                 ceil_mode: bool = False, return_indices: bool = False) -> Value:
        if return_indices:
            raise wrong(f"max_pool{n}d with return_indices")
        return _batched(b, input, n, lambda x: b.op("MaxPool", x, kernel_shape=_many(kernel_size, n), pads=_many(padding, n) * 2,
                                                    ceil_mode=int(ceil_mode), strides=_many(kernel_size if stride in (None, []) else stride, n), dilations=_many(dilation, n)))

    def avg_pool(b: B, input: Value, kernel_size: PerDim, stride: PerDim | None = None, padding: PerDim = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, divisor_override: int | None = None) -> Value:
        if divisor_override is not None:
            raise wrong("avg_pool with divisor_override")
        return _batched(b, input, n, lambda x: b.op("AveragePool", x, kernel_shape=_many(kernel_size, n), pads=_many(padding, n) * 2,
                                                    ceil_mode=int(ceil_mode), strides=_many(kernel_size if stride in (None, []) else stride, n), count_include_pad=int(count_include_pad)))

    def adaptive(kind: str, single: str) -> Function:
        def pool(b: B, input: Value, output_size: PerDim, return_indices: bool = False) -> Value:
            given = [output_size] * n if output_size is None or isinstance(output_size, int) else list(output_size)
            have = input.shape[-n:]
            size = [m if want is None else want for want, m in zip(given, have, strict=True)]
            if size == [1] * n:
                return reduced(b, single, input, list(range(-n, 0)), True)
            if any(m % want for m, want in zip(have, size, strict=True)):
                raise wrong(f"adaptive pooling from {have} to {size}, which does not divide evenly,")
            kernel = [m // want for m, want in zip(have, size, strict=True)]
            return _batched(b, input, n, lambda x: b.op(kind, x, kernel_shape=kernel, strides=kernel))
        return pool
    for name, function in ((f"conv{n}d", conv), (f"conv_transpose{n}d", transposed), (f"max_pool{n}d", max_pool),
                           (f"avg_pool{n}d", avg_pool), (f"adaptive_avg_pool{n}d", adaptive("AveragePool", "ReduceMean")),
                           (f"adaptive_max_pool{n}d", adaptive("MaxPool", "ReduceMax"))):
        TRANSLATIONS[name] = function


for _n in (1, 2, 3):
    _conv(_n)


@translates("pad")
def _pad(b: B, input: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise wrong(f"pad with mode={mode!r}")
    n = len(pad) // 2
    before = [0] * (input.rank - n) + list(pad[0::2])[::-1]
    after = [0] * (input.rank - n) + list(pad[1::2])[::-1]
    kind = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    return b.op("Pad", input, b.ints(before + after), b.value(0 if value is None else value, input.dtype) if kind == "constant" else None,
                mode=kind)


def _resized(name: str, mode: str) -> None:
    def translate(b: B, input: Value, output_size: Any = None, *args: Any, **kwargs: Any) -> Value:
        corners = mode != "nearest" and bool(args[0] if args else kwargs.get("align_corners"))
        sizes = b.op("Concat", b.op("Shape", input, start=0, end=2, dtype=dtypes.int64), b.ints(b.shape[2:]), axis=0, dtype=dtypes.int64)
        where = "asymmetric" if mode == "nearest" else "align_corners" if corners else "half_pixel" if mode == "cubic" else "pytorch_half_pixel"
        return b.op("Resize", input, None, None, sizes, mode=mode, coordinate_transformation_mode=where,
                    nearest_mode="floor" if mode == "nearest" else None, cubic_coeff_a=-0.75 if mode == "cubic" else None)
    translates(name)(translate)


@translates("interpolate", "upsample")
def _interpolate(b: B, input: Value, size: PerDim | None = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
                 align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False) -> Value:
    known = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}
    if mode not in known or antialias:
        raise wrong(f"interpolate with mode={mode!r}" + ", antialias=True" * antialias)
    where = "asymmetric" if mode == "nearest" else "align_corners" if align_corners else "half_pixel" if mode == "bicubic" else "pytorch_half_pixel"
    more = {"mode": known[mode], "coordinate_transformation_mode": where, "nearest_mode": "floor" if mode == "nearest" else None,
            "cubic_coeff_a": -0.75 if mode == "bicubic" else None}
    if scale_factor is not None:
        factors = [float(scale_factor)] * (input.rank - 2) if isinstance(scale_factor, (int, float)) else [float(f) for f in scale_factor]
        return b.op("Resize", input, None, b.constant(np.array([1.0, 1.0, *factors], dtype=np.float32), dtypes.float32), **more)
    sizes = b.op("Concat", b.op("Shape", input, start=0, end=2, dtype=dtypes.int64),
                 b.ints([size] * (input.rank - 2) if isinstance(size, (int, Value)) else size), axis=0, dtype=dtypes.int64)
    return b.op("Resize", input, None, None, sizes, **more)


@translates("pixel_shuffle")
def _pixel_shuffle(b: B, input: Value, upscale_factor: int) -> Value:
    return b.op("DepthToSpace", input, blocksize=upscale_factor, mode="CRD")


# --- activations ----------------------------------------------------------------------------------------------------------------------

@translates("softmax")
def _softmax(b: B, input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Dtype = None) -> Value:
    return b.op("Softmax", b.cast(input, b.dtype), axis=axis_of(input, -1 if dim is None else dim))


@translates("log_softmax")
def _log_softmax(b: B, input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Dtype = None) -> Value:
    return b.op("LogSoftmax", b.cast(input, b.dtype), axis=axis_of(input, -1 if dim is None else dim))


@translates("gelu")
def _gelu(b: B, input: Value, approximate: str = "none") -> Value:
    def number(x: float) -> Value:
        return b.value(x, input.dtype)
    if approximate == "tanh":
        cubic = b.op("Add", input, b.op("Mul", b.op("Mul", b.op("Mul", input, input), input), number(0.044715)))
        inner = b.op("Tanh", b.op("Mul", cubic, number(sqrt(2 / np.pi))))
    else:
        inner = b.op("Erf", b.op("Mul", input, number(sqrt(0.5))))
    return b.op("Mul", b.op("Mul", input, number(0.5)), b.op("Add", inner, number(1.0)))


@translates("silu", "silu_")
def _silu(b: B, input: Value, inplace: bool = False) -> Value:
    return b.op("Mul", input, b.op("Sigmoid", input))


@translates("mish")
def _mish(b: B, input: Value, inplace: bool = False) -> Value:
    return b.op("Mul", input, b.op("Tanh", b.op("Softplus", input)))


@translates("hardswish")
def _hardswish(b: B, input: Value, inplace: bool = False) -> Value:
    return b.op("HardSwish", input)


@translates("hardsigmoid")
def _hardsigmoid(b: B, input: Value, inplace: bool = False) -> Value:
    return b.op("HardSigmoid", input, alpha=1 / 6, beta=0.5)


@translates("relu6")
def _relu6(b: B, input: Value, inplace: bool = False) -> Value:
    return b.op("Clip", input, b.value(0, input.dtype), b.value(6, input.dtype))


@translates("hardtanh")
def _hardtanh(b: B, input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Value:
    return b.op("Clip", input, b.value(min_val, input.dtype), b.value(max_val, input.dtype))


@translates("leaky_relu", "leaky_relu_")
def _leaky_relu(b: B, input: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    return b.op("LeakyRelu", input, alpha=float(negative_slope))


@translates("elu", "elu_")
def _elu(b: B, input: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    return b.op("Elu", input, alpha=float(alpha))


@translates("selu")
def _selu(b: B, input: Value, inplace: bool = False) -> Value:
    return b.op("Selu", input)


@translates("celu")
def _celu(b: B, input: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    return b.op("Celu", input, alpha=float(alpha))


@translates("prelu")
def _prelu(b: B, input: Value, weight: Value) -> Value:
    if weight.shape != [1] and input.rank > 2:
        weight = b.op("Reshape", weight, [-1, *[1] * (input.rank - 2)], dtype=weight.dtype)
    return b.op("PRelu", input, weight)


@translates("softplus")
def _softplus(b: B, input: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    x = input if beta == 1 else b.op("Mul", input, b.value(beta, input.dtype))
    y = b.op("Softplus", x)
    return y if beta == 1 else b.op("Div", y, b.value(beta, input.dtype))


@translates("softsign")
def _softsign(b: B, input: Value) -> Value:
    return b.op("Softsign", input)


@translates("logsigmoid")
def _logsigmoid(b: B, input: Value) -> Value:
    return b.op("Neg", b.op("Softplus", b.op("Neg", input)))


@translates("glu")
def _glu(b: B, input: Value, dim: int = -1) -> Value:
    axis = axis_of(input, dim)
    one, two = b.op("Split", input, [input.shape[axis] // 2] * 2, outputs=2, axis=axis)
    return b.op("Mul", one, b.op("Sigmoid", two))


@translates("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout", "dropout_")
def _dropout(b: B, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training and p:
        raise wrong("dropout in training: call eval() on the model, which")
    return input


# --- normalisation, embedding ---------------------------------------------------------------------------------------------------------

@translates("batch_norm")
def _batch_norm(b: B, input: Value, running_mean: Value | None, running_var: Value | None, weight: Value | None = None,
                bias: Value | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Value:
    if training or running_mean is None:
        raise wrong("batch_norm in training: call eval() on the model, which")
    count = running_mean.shape[0]
    scale = b.constant(np.ones(count, dtype=input.dtype.np), input.dtype) if weight is None else weight
    shift = b.constant(np.zeros(count, dtype=input.dtype.np), input.dtype) if bias is None else bias
    return b.op("BatchNormalization", input, scale, shift, running_mean, running_var, epsilon=float(eps))


@translates("instance_norm")
def _instance_norm(b: B, input: Value, running_mean: Value | None = None, running_var: Value | None = None, weight: Value | None = None,
                   bias: Value | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> Value:
    if not use_input_stats:
        raise wrong("instance_norm with running statistics")
    count = input.shape[1]
    scale = b.constant(np.ones(count, dtype=input.dtype.np), input.dtype) if weight is None else weight
    shift = b.constant(np.zeros(count, dtype=input.dtype.np), input.dtype) if bias is None else bias
    return b.op("InstanceNormalization", input, scale, shift, epsilon=float(eps))


@translates("layer_norm")
def _layer_norm(b: B, input: Value, normalized_shape: PerDim, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5,
                cudnn_enable: bool = True) -> Value:
    shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    scale = b.constant(np.ones(shape, dtype=input.dtype.np), input.dtype) if weight is None else weight
    return b.op("LayerNormalization", input, scale, bias, axis=-len(shape), epsilon=float(eps))


@translates("group_norm")
def _group_norm(b: B, input: Value, num_groups: int, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5) -> Value:
    groups = b.op("Reshape", input, [0, num_groups, -1])
    one, zero = (b.constant(np.full(num_groups, value, dtype=input.dtype.np), input.dtype) for value in (1, 0))
    y = b.op("Reshape", b.op("InstanceNormalization", groups, one, zero, epsilon=float(eps)), b.op("Shape", input, dtype=dtypes.int64))
    tail = [-1, *[1] * (input.rank - 2)]
    y = y if weight is None else b.op("Mul", y, b.op("Reshape", weight, tail))
    return y if bias is None else b.op("Add", y, b.op("Reshape", bias, tail))


@translates("rms_norm")
def _rms_norm(b: B, input: Value, normalized_shape: PerDim, weight: Value | None = None, eps: float | None = None) -> Value:
    axes = list(range(-len([normalized_shape] if isinstance(normalized_shape, int) else normalized_shape), 0))
    mean = reduced(b, "ReduceMean", b.op("Mul", input, input), axes, True)
    small = float(np.finfo(input.dtype.np).eps) if eps is None else eps
    y = b.op("Div", input, b.op("Sqrt", b.op("Add", mean, b.value(small, input.dtype))))
    return y if weight is None else b.op("Mul", y, weight)


@translates("normalize")
def _normalize(b: B, input: Value, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Value:
    if p != 2:
        raise wrong(f"normalize with p={p}")
    length = reduced(b, "ReduceL2", input, dim, True)
    return b.op("Div", input, b.op("Max", length, b.value(eps, input.dtype)))


@translates("embedding")
def _embedding(b: B, input: Value, weight: Value, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
               scale_grad_by_freq: bool = False, sparse: bool = False) -> Value:
    if max_norm is not None:
        raise wrong("embedding with max_norm")
    return b.op("Gather", weight, input, axis=0)


# --- recurrent layers -----------------------------------------------------------------------------------------------------------------

_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}      # where ONNX's gates stand among PyTorch's


def _recurrent(name: str, kind: str, activation: str = "") -> None:
    def translate(b: B, input: Value, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
                  bidirectional: bool, batch_first: bool) -> Any:
        if dropout and train:
            raise wrong("dropout between recurrent layers in training")
        hidden = list(hx) if isinstance(hx, (list, tuple)) else [hx]
        directions, per = 2 if bidirectional else 1, 4 if has_biases else 2
        size = params[1].shape[1]
        if kind == "LSTM" and len(params) != num_layers * directions * per:
            raise wrong("LSTM with proj_size")
        x = b.op("Transpose", input, perm=[1, 0, 2]) if batch_first else input
        finals: list[list[Value]] = [[] for _ in hidden]
        for layer in range(num_layers):
            given = [params[(layer * directions + d) * per:(layer * directions + d + 1) * per] for d in range(directions)]
            w, r = (b.op("Concat", *[b.op("Unsqueeze", _ordered(b, each[i], kind, size), [0]) for each in given], axis=0) for i in (0, 1))
            bias = b.op("Concat", *[b.op("Unsqueeze", b.op("Concat", *[_ordered(b, each[i], kind, size) for i in (2, 3)], axis=0),
                                         [0]) for each in given],
                        axis=0) if has_biases else None
            starts = [b.op("Slice", each, [layer * directions], [(layer + 1) * directions], [0]) for each in hidden]
            more: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
            if activation:
                more["activations"] = [activation] * directions
            outs = b.op(kind, x, w, r, bias, None, *starts, outputs=1 + len(hidden), hidden_size=size,
                        direction="bidirectional" if bidirectional else "forward", **more)
            y = b.op("Transpose", outs[0], perm=[0, 2, 1, 3])
            x = b.op("Reshape", y, [0, 0, directions * size])
            for kept, each in zip(finals, outs[1:], strict=True):
                kept.append(each)
        x = b.op("Transpose", x, perm=[1, 0, 2]) if batch_first else x
        return [x, *[each[0] if len(each) == 1 else b.op("Concat", *each, axis=0) for each in finals]]
    translates(name)(translate)


def _ordered(b: B, x: Value, kind: str, size: int) -> Value:
    order = _GATES[kind]
    if order == (0,):
        return x
    parts = b.op("Split", x, [size] * len(order), outputs=len(order), axis=0)
    return b.op("Concat", *[parts[i] for i in order], axis=0)


_recurrent("lstm", "LSTM")
_recurrent("gru", "GRU")
_recurrent("rnn_tanh", "RNN", "Tanh")
_recurrent("rnn_relu", "RNN", "Relu")
