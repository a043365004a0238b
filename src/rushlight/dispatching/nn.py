"""Layers and losses in terms of operators (see `lowering.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtypes import int64, uint8
from ..ops import aten as A
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor
from .lowering import COMPOSITE, TABLE, Whole, _to, lowers, sizes

__all__: list[str] = []


def _many(value: Any, n: int) -> list[int]:
    return [int(value)] * n if isinstance(value, int) else [int(v) for v in value] * (n if len(value) == 1 else 1)


# --- convolution and pooling ----------------------------------------------------------------------------------------------------------

def _convolution(n: int) -> None:
    def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
             groups: int = 1) -> Tensor:
        dilation = _many(dilation, n)
        if padding == "valid":
            padding = 0
        if padding == "same":
            totals = [d * (k - 1) for d, k in zip(dilation, sizes(weight)[2:], strict=True)]
            if any(each % 2 for each in totals):
                raise Whole
            padding = [each // 2 for each in totals]
        return _unbatched(input, n, lambda x: A.convolution.default(x, weight, bias, _many(stride, n), _many(padding, n), dilation, False, [0] * n, groups))

    def transposed(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
                   groups: int = 1, dilation: Any = 1) -> Tensor:
        return _unbatched(input, n, lambda x: A.convolution.default(x, weight, bias, _many(stride, n), _many(padding, n), _many(dilation, n), True,
                                                                    _many(output_padding, n), groups))
    lowers(f"conv{n}d")(conv)
    lowers(f"conv_transpose{n}d")(transposed)


def _unbatched(input: Tensor, n: int, run: Any) -> Tensor:
    if input._a.ndim != n + 1:
        return run(input)
    return A.squeeze.dim(run(A.unsqueeze.default(input, 0)), 0)


for _n in (1, 2, 3):
    _convolution(_n)


def _pool(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else [int(v) for v in value]


@lowers("max_pool2d", operator=True)
def _max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
                return_indices: bool = False) -> Any:
    values, indices = _with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return (values, indices) if return_indices else values


@lowers("max_pool2d_with_indices", operator=False)
def _with_indices(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
                  return_indices: bool = True) -> Any:
    more = [_pool(padding), _pool(dilation), ceil_mode]
    for plain in (False, [1, 1], [0, 0]):
        if more[-1] != plain:
            break
        more.pop()
    return A.max_pool2d_with_indices.default(input, _pool(kernel_size),
                                             _pool(kernel_size) if stride is None or stride == [] else _pool(stride), *more)


@lowers("avg_pool2d", operator=False)
def _avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    more = [_pool(padding), ceil_mode, count_include_pad, divisor_override]
    for plain in (None, True, False, [0, 0]):
        if more[-1] != plain:
            break
        more.pop()
    return A.avg_pool2d.default(input, _pool(kernel_size), _pool(kernel_size) if stride is None or stride == [] else _pool(stride), *more)


@lowers("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    given = [output_size, output_size] if isinstance(output_size, int) else list(output_size)
    size = [n if want is None else want for want, n in zip(given, sizes(input)[-2:], strict=True)]
    return A.mean.dim(input, [-1, -2], True) if size == [1, 1] else A._adaptive_avg_pool2d.default(input, size)


@lowers("embedding", operator=False)
def _embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: Any = None, norm_type: float = 2.0,
               scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    if max_norm is not None or sparse:
        raise Whole
    padding = -1 if padding_idx is None else padding_idx % sizes(weight)[0]
    more = (padding, scale_grad_by_freq) if scale_grad_by_freq else (padding,) if padding != -1 else ()
    return A.embedding.default(weight, input, *more)


# --- normalisation, softmax, dropout --------------------------------------------------------------------------------------------------

@lowers("layer_norm")
def _layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
                cudnn_enable: bool = True) -> Tensor:
    shape = [normalized_shape] if isinstance(normalized_shape, int) else [int(n) for n in normalized_shape]
    return A.native_layer_norm.default(input, shape, weight, bias, eps)[0]


@lowers("group_norm")
def _group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
                cudnn_enabled: bool = True) -> Tensor:
    shape = sizes(input)
    inner = 1
    for n in shape[2:]:
        inner *= n
    return A.native_group_norm.default(input, weight, bias, shape[0], shape[1], inner, num_groups, eps)[0]


def _batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
                bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    FUNCTIONS["empty"]([0], dtype=uint8, device=input.device)
    return A.native_batch_norm.default(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]


def _batch_norm_either(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """nn.functional's batch_norm, or (the operator's arguments) torch's."""
    if len(args) == 8 or "cudnn_enabled" in kwargs or (len(args) > 4 and isinstance(args[4], bool) is False
                                                       and isinstance(args[4], (Tensor, type(None))) and len(args) > 6):
        weight, bias, mean, var, training, momentum, eps = args[:7]
        return _batch_norm(input, mean, var, weight, bias, training, momentum, eps)
    return _batch_norm(input, *args, **kwargs)


TABLE["batch_norm"] = _batch_norm_either
COMPOSITE.add("batch_norm")


def _normalised(name: str) -> None:
    def call(input: Tensor, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None, *, out: Any = None) -> Tensor:
        if out is not None or dim is None:
            raise Whole
        if _stacklevel is not None and not isinstance(_stacklevel, int):
            dtype = _stacklevel
        x = input if dtype is None else _to(input, dtype=dtype)
        return getattr(A, name).default(x, dim, False)
    lowers(name[1:])(call)


_normalised("_softmax")
_normalised("_log_softmax")


@lowers("dropout")
def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or p == 0 or not input.numel():
        return input
    if inplace or p == 1:
        raise Whole
    noise = A.bernoulli_.float(A.empty_like.default(input), 1 - p)
    return A.mul.Tensor(input, A.div_.Scalar(noise, 1 - p))


@lowers("relu", operator=False)
def _relu(input: Tensor, inplace: bool = False, *, out: Any = None) -> Tensor:
    if out is not None:
        raise Whole
    return A.relu_.default(input) if inplace else A.relu.default(input)


def _activation(name: str, operator: str, *defaults: Any) -> None:
    def call(input: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
        if kwargs or len(args) > len(defaults):
            raise Whole
        given = [*args, *defaults[len(args):]]
        while given and args is not None and given[-1] == defaults[len(given) - 1]:
            given.pop()
        return getattr(A, operator + "_" if inplace else operator).default(input, *given)
    TABLE[name] = call


for _name in ("silu", "mish", "hardswish", "hardsigmoid"):
    _activation(_name, _name)
_activation("leaky_relu", "leaky_relu", 0.01)
_activation("relu6", "hardtanh")
COMPOSITE.add("relu6")


def _relu6(input: Tensor, inplace: bool = False) -> Tensor:
    return (A.hardtanh_ if inplace else A.hardtanh).default(input, 0.0, 6.0)


TABLE["relu6"] = _relu6


@lowers("logsigmoid", "log_sigmoid")
def _logsigmoid(input: Tensor, *, out: Any = None) -> Tensor:
    return A.log_sigmoid_forward.default(input)[0]


# --- losses ---------------------------------------------------------------------------------------------------------------------------

_WORDS = {"none": 0, "mean": 1, "sum": 2}


def _number(reduction: Any) -> int:
    return _WORDS[reduction] if isinstance(reduction, str) else reduction


@lowers("nll_loss", operator=False)
def _nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100,
              reduce: Any = None, reduction: Any = "mean") -> Tensor:
    if size_average is not None or reduce is not None or input._a.ndim not in (1, 2, 4):
        raise Whole
    op = A.nll_loss2d_forward if input._a.ndim == 4 else A.nll_loss_forward
    return op.default(input, target, weight, _number(reduction), ignore_index)[0]


@lowers("cross_entropy", "cross_entropy_loss", operator=False)
def _cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100,
                   reduce: Any = None, reduction: Any = "mean", label_smoothing: float = 0.0) -> Tensor:
    if label_smoothing or target.dtype is not int64 or input._a.ndim not in (1, 2, 4):
        raise Whole
    return _nll_loss(A._log_softmax.default(input, 1 if input._a.ndim > 1 else 0, False), target, weight, size_average, ignore_index,
                     reduce, reduction)


@lowers("l1_loss", operator=True)
def _l1_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: Any = "mean",
             weight: Any = None) -> Tensor:
    if size_average is not None or reduce is not None or weight is not None:
        raise Whole
    each = A.abs.default(A.sub.Tensor(input, target))
    return (each, A.mean.default(each) if _number(reduction) == 1 else None, A.sum.default(each) if _number(reduction) == 2 else None)[_number(reduction)]  # type: ignore[return-value]


# --- attention ------------------------------------------------------------------------------------------------------------------------

@lowers("scaled_dot_product_attention")
def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
               scale: float | None = None, enable_gqa: bool = False) -> Tensor:
    if dropout_p or enable_gqa or not all(t._a.ndim == 4 for t in (query, key, value)) or sizes(query)[-1] != sizes(value)[-1] or (
            attn_mask is not None and attn_mask._node is not None):
        raise Whole
    more = {} if attn_mask is None else {"attn_mask": attn_mask}
    if scale is not None:
        more["scale"] = scale  # type: ignore[assignment]
    return A._scaled_dot_product_flash_attention_for_cpu.default(query, key, value, *((0.0, True) if is_causal else ()), **more)[0]


def _seq(values: Sequence[Any]) -> list[Any]:
    return list(values)
