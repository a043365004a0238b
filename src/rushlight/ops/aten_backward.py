"""The operators of ``torch.ops.aten`` that compute gradients (``convolution_backward``, ``gelu_backward``, ...).

Programs meet them where they look at a backward pass operator by operator. Each runs its forward operator on the inputs and sends the
gradient through that: one formula for both, and the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.api import grad
from ..autograd.grad_mode import enable_grad
from ..tensor import Tensor
from ..vocabulary import Dtype, Function, PerDim
from . import activation, embedding, loss, pooling
from . import aten_forms as forms
from .attention import scaled_dot_product_attention
from .lowlevel import ATEN
from .registry import FUNCTIONS

__all__: list[str] = []


def _form(function: Function) -> Function:
    forms.FORMS[function.__name__] = function
    return function


def _through(function: Callable[..., Tensor], gradient: Tensor, *inputs: Tensor | None,
             wanted: Sequence[bool] | None = None) -> tuple[Any, ...]:
    """The gradients of a function's inputs (None for those that are None, not wanted, or do not matter)."""
    wanted = [True] * len(inputs) if wanted is None else wanted
    leaves = [t if t is None or not want else t.detach().requires_grad_() for t, want in zip(inputs, wanted, strict=True)]
    with enable_grad():
        y = function(*leaves)
    asked = [t for t, want in zip(leaves, wanted, strict=True) if t is not None and want]
    found = iter(grad(y, asked, gradient, allow_unused=True) if asked else ())
    return tuple([next(found) if t is not None and want else None for t, want in zip(leaves, wanted, strict=True)])


# --- activations ----------------------------------------------------------------------------------------------------------------------

@_form
def threshold_backward(grad_output: Tensor, self: Tensor, threshold: float) -> Tensor:
    """The gradient where self > threshold, else 0."""
    return grad_output.masked_fill(~(self > threshold), 0)


@_form
def tanh_backward(grad_output: Tensor, output: Tensor) -> Tensor:
    """From the result: g * (1 - y * y)."""
    return grad_output * (1 - output * output)


@_form
def sigmoid_backward(grad_output: Tensor, output: Tensor) -> Tensor:
    """From the result: g * y * (1 - y)."""
    return grad_output * (1 - output) * output


@_form
def gelu_backward(grad_output: Tensor, self: Tensor, *, approximate: str = "none") -> Tensor:
    """The gradient of gelu."""
    return _through(lambda x: activation.gelu(x, approximate), grad_output, self)[0]


@_form
def leaky_relu_backward(grad_output: Tensor, self: Tensor, negative_slope: float, self_is_result: bool) -> Tensor:
    """The gradient of leaky_relu, from its input or (same signs) its result."""
    return _through(lambda x: activation.leaky_relu(x, negative_slope), grad_output, self)[0]


@_form
def hardtanh_backward(grad_output: Tensor, self: Tensor, min_val: float, max_val: float) -> Tensor:
    """The gradient of hardtanh."""
    return _through(lambda x: activation.hardtanh(x, min_val, max_val), grad_output, self)[0]


@_form
def softplus_backward(grad_output: Tensor, self: Tensor, beta: float, threshold: float) -> Tensor:
    """The gradient of softplus."""
    return _through(lambda x: activation.softplus(x, beta, threshold), grad_output, self)[0]


@_form
def elu_backward(grad_output: Tensor, alpha: float, scale: float, input_scale: float, is_result: bool, self_or_result: Tensor) -> Tensor:
    """The gradient of elu from its input. NotImplementedError from the result (in-place elu)."""
    if is_result:
        raise NotImplementedError("aten::elu_backward from the result of elu is not supported by rushlight: give the input, and "
                                  "is_result=False")
    return _through(lambda x: forms.FORMS["elu"](x, alpha, scale, input_scale), grad_output, self_or_result)[0]


def _of_input(name: str, forward: Callable[..., Any]) -> None:
    def call(grad_output: Tensor, self: Tensor) -> Tensor:
        return _through(forward, grad_output, self)[0]
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The gradient of {name.removesuffix('_backward')}."
    _form(call)


for _name in ("silu", "mish", "hardswish", "hardsigmoid"):
    _of_input(_name + "_backward", getattr(activation, _name))


@_form
def log_sigmoid_forward(self: Tensor) -> tuple[Tensor, Tensor]:
    """(logsigmoid, exp(-|x|))."""
    return activation.logsigmoid(self), (-self.detach().abs()).exp()


@_form
def log_sigmoid_backward(grad_output: Tensor, self: Tensor, buffer: Tensor) -> Tensor:
    """The gradient of logsigmoid."""
    return _through(activation.logsigmoid, grad_output, self)[0]


@_form
def _log_softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: Dtype) -> Tensor:
    """From the result: g - exp(y) * sum(g)."""
    g, y = (t.float() if t._kind.reduced else t for t in (grad_output, output))
    return (g - y.exp() * g.sum(dim, keepdim=True)).to(input_dtype)


# --- normalisation --------------------------------------------------------------------------------------------------------------------

@_form
def native_layer_norm_backward(grad_out: Tensor, input: Tensor, normalized_shape: Sequence[int], mean: Tensor, rstd: Tensor,
                               weight: Tensor | None, bias: Tensor | None, output_mask: Sequence[bool]) -> tuple[Any, ...]:
    """The gradients of input, weight and bias."""
    shape = tuple(normalized_shape)
    eps = _eps(input, list(range(input.dim() - len(shape), input.dim())), rstd)
    return _through(lambda x, w, b: FUNCTIONS["layer_norm"](x, shape, w, b, eps), grad_out, input, weight, bias, wanted=output_mask)


@_form
def native_group_norm_backward(grad_out: Tensor, input: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None, N: int, C: int, HxW: int,
                               # noqa: N803
                               group: int, output_mask: Sequence[bool]) -> tuple[Any, ...]:
    """The gradients of input, weight and bias."""
    eps = _eps(input.reshape(N, group, C // group * HxW), [2], rstd)
    bias = None if weight is None else weight.new_zeros(C)
    return _through(lambda x, w, b: FUNCTIONS["group_norm"](x, group, w, b, eps), grad_out, input, weight, bias, wanted=output_mask)


def _eps(x: Tensor, axes: list[int], rstd: Tensor) -> float:
    """The epsilon of a normalisation, which its operators do not hand on: 1 / rstd ** 2 - variance."""
    if x.device.type == "meta" or not x.numel():
        return 1e-5
    found = (rstd.double().reshape(-1) ** -2 - x.double().var(axes, correction=0).reshape(-1)).median().item()
    return next((each for each in (1e-5, 1e-6, 1e-12, 1e-3, 1e-8) if abs(found - each) < each * 0.2), max(found, 0.0))


@_form
def native_batch_norm_backward(grad_out: Tensor, input: Tensor, weight: Tensor | None, running_mean: Tensor | None,
                               running_var: Tensor | None, save_mean: Tensor | None, save_invstd: Tensor | None, train: bool, eps: float,
                               output_mask: Sequence[bool]) -> tuple[Any, ...]:
    """The gradients of input, weight and bias."""
    bias = input.new_zeros(input.shape[1]) if weight is None else weight.new_zeros(weight.shape)
    weight = input.new_ones(input.shape[1]) if weight is None else weight
    mean, var = (None, None) if train else (running_mean, running_var)
    return _through(lambda x, w, b: forms.FORMS["batch_norm"](x, w, b, mean, var, train, 0.0, eps, False), grad_out, input, weight, bias,
                    wanted=output_mask)


# --- losses ---------------------------------------------------------------------------------------------------------------------------

@_form
def nll_loss_backward(grad_output: Tensor, self: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int,
                      total_weight: Tensor) -> Tensor:
    """The gradient of nll_loss."""
    return _through(lambda x: forms.FORMS["nll_loss"](x, target, weight, reduction, ignore_index), grad_output, self)[0]


forms.FORMS["nll_loss2d_backward"] = nll_loss_backward


@_form
def mse_loss_backward(grad_output: Tensor, self: Tensor, target: Tensor, reduction: int) -> Tensor:
    """The gradient of mse_loss."""
    scale = 2.0 / self.numel() if reduction == 1 else 2.0
    return (self - target) * scale * grad_output


@_form
def smooth_l1_loss_backward(grad_output: Tensor, self: Tensor, target: Tensor, reduction: int, beta: float) -> Tensor:
    """The gradient of smooth_l1_loss."""
    word = forms.word_of(reduction, "smooth_l1_loss_backward", 4)
    return _through(lambda x: loss.smooth_l1_loss(x, target, reduction=word, beta=beta), grad_output, self)[0]


@_form
def huber_loss_backward(grad_output: Tensor, self: Tensor, target: Tensor, reduction: int, delta: float) -> Tensor:
    """The gradient of huber_loss."""
    word = forms.word_of(reduction, "huber_loss_backward", 4)
    return _through(lambda x: loss.huber_loss(x, target, reduction=word, delta=delta), grad_output, self)[0]


# --- windows, indexing ----------------------------------------------------------------------------------------------------------------

@_form
def convolution_backward(grad_output: Tensor, input: Tensor, weight: Tensor, bias_sizes: Sequence[int] | None, stride: Sequence[int],
                         padding: Sequence[int], dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
                         output_mask: Sequence[bool]) -> tuple[Any, ...]:
    """The gradients of input, weight and bias."""
    bias = weight.new_zeros(list(bias_sizes)) if bias_sizes is not None and output_mask[2] else None
    return _through(lambda x, w, b: forms.FORMS["convolution"](x, w, b, stride, padding, dilation, transposed, output_padding, groups),
                    grad_output, input, weight, bias, wanted=output_mask)


@_form
def avg_pool2d_backward(grad_output: Tensor, self: Tensor, kernel_size: PerDim, stride: PerDim, padding: PerDim, ceil_mode: bool,
                        count_include_pad: bool, divisor_override: int | None) -> Tensor:
    """The gradient of avg_pool2d."""
    return _through(lambda x: pooling.avg_pool2d(x, kernel_size, stride or None, padding, ceil_mode, count_include_pad, divisor_override),
                    grad_output, self)[0]


@_form
def _adaptive_avg_pool2d(self: Tensor, output_size: PerDim) -> Tensor:
    """adaptive_avg_pool2d."""
    return pooling.adaptive_avg_pool2d(self, output_size)


@_form
def _adaptive_avg_pool2d_backward(grad_output: Tensor, self: Tensor) -> Tensor:
    """The gradient of adaptive_avg_pool2d, whose output size is the gradient's."""
    size = [int(n) for n in grad_output.shape[-2:]]
    return _through(lambda x: pooling.adaptive_avg_pool2d(x, size), grad_output, self)[0]


@_form
def embedding_dense_backward(grad_output: Tensor, indices: Tensor, num_weights: int, padding_idx: int, scale_grad_by_freq: bool) -> Tensor:
    """The gradient of the rows of an embedding."""
    weight = grad_output.new_zeros((num_weights, grad_output.shape[-1]))
    padding = None if padding_idx < 0 else padding_idx
    return _through(lambda w: embedding.embedding(indices, w, padding, scale_grad_by_freq=scale_grad_by_freq), grad_output, weight)[0]


@_form
def slice_backward(grad_output: Tensor, input_sizes: Sequence[int], dim: int, start: int, end: int, step: int) -> Tensor:
    """Zeros, with the gradient in the place of the slice."""
    r = grad_output.new_zeros(list(input_sizes))
    ATEN["slice"](r, dim, start, end, step).copy_(grad_output)
    return r


@_form
def select_backward(grad_output: Tensor, input_sizes: Sequence[int], dim: int, index: int) -> Tensor:
    """Zeros, with the gradient in the place of what was selected."""
    r = grad_output.new_zeros(list(input_sizes))
    r.select(dim, index).copy_(grad_output)
    return r


# --- attention ------------------------------------------------------------------------------------------------------------------------

@_form
def _scaled_dot_product_flash_attention_for_cpu(query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0, is_causal: bool = False,
                                                *, attn_mask: Tensor | None = None, scale: float | None = None) -> tuple[Tensor, Tensor]:
    """(the attention, the logarithms of the sums that its rows were divided by). NotImplementedError with dropout, as in PyTorch's
    kernel."""
    if dropout_p:
        raise NotImplementedError("aten::_scaled_dot_product_flash_attention_for_cpu has no dropout: use "
                                  "torch.nn.functional.scaled_dot_product_attention")
    out = scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, scale=scale)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query.detach() @ key.detach().transpose(-2, -1)).float() * factor
    if is_causal:
        rows, columns = scores.shape[-2:]
        scores = scores.masked_fill(scores.new_ones((rows, columns)).tril() == 0, float("-inf"))
    if attn_mask is not None:
        mask = attn_mask.detach()
        scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, float("-inf"))
    return out, scores.logsumexp(-1)


@_form
def _scaled_dot_product_flash_attention_for_cpu_backward(grad_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor,
                                                         logsumexp: Tensor, dropout_p: float, is_causal: bool, *,
                                                         attn_mask: Tensor | None = None, scale: float | None = None) -> tuple[Any, ...]:
    """The gradients of query, key and value."""
    return _through(lambda q, k, v: scaled_dot_product_attention(q, k, v, attn_mask, 0.0, is_causal, scale=scale), grad_out, query, key,
                    value)
