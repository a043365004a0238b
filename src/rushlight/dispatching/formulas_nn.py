"""Formulas of `derivatives.py` for layers and losses."""

from __future__ import annotations

from typing import Any

from ..ops import aten as A
from ..unsupported import NotSupported
from .derivatives import Context, rule

__all__: list[str] = []

Found = dict[str, Any]


@rule("relu", results=[0])
def _relu(c: Context, g: Any) -> Found:
    return {"self": A.threshold_backward.default(g, c.result(), 0)}


@rule("tanh", results=[0])
def _tanh(c: Context, g: Any) -> Found:
    return {"self": A.tanh_backward.default(g, c.result())}


@rule("sigmoid", results=[0])
def _sigmoid(c: Context, g: Any) -> Found:
    return {"self": A.sigmoid_backward.default(g, c.result())}


@rule("gelu", saved="self")
def _gelu(c: Context, g: Any) -> Found:
    more = {} if c.approximate == "none" else {"approximate": c.approximate}
    return {"self": A.gelu_backward.default(g, c.self, **more)}


@rule("silu", "mish", "hardswish", "hardsigmoid", saved="self")
def _of_input(c: Context, g: Any) -> Found:
    return {"self": getattr(A, c._op._opname + "_backward").default(g, c.self)}


@rule("leaky_relu", saved="self")
def _leaky_relu(c: Context, g: Any) -> Found:
    return {"self": A.leaky_relu_backward.default(g, c.self, c.negative_slope, False)}


@rule("hardtanh", saved="self")
def _hardtanh(c: Context, g: Any) -> Found:
    return {"self": A.hardtanh_backward.default(g, c.self, c.min_val, c.max_val)}


@rule("elu", saved="self")
def _elu(c: Context, g: Any) -> Found:
    return {"self": A.elu_backward.default(g, c.alpha, c.scale, c.input_scale, False, c.self)}


@rule("softplus", saved="self")
def _softplus(c: Context, g: Any) -> Found:
    return {"self": A.softplus_backward.default(g, c.self, c.beta, c.threshold)}


@rule("log_sigmoid_forward", saved="self", quiet=[1])
def _log_sigmoid(c: Context, g: Any) -> Found:
    return {"self": A.log_sigmoid_backward.default(_one(g), c.self, c._results[0])}


@rule("_softmax", results=[0])
def _softmax(c: Context, g: Any) -> Found:
    return {"self": A._softmax_backward_data.default(g, c.result(), c.dim, g.dtype)}


@rule("_log_softmax", results=[0])
def _log_softmax(c: Context, g: Any) -> Found:
    return {"self": A._log_softmax_backward_data.default(g, c.result(), c.dim, g.dtype)}


def _one(g: Any) -> Any:
    return g[0] if isinstance(g, list) else g


def _mask(c: Context, *names: str) -> list[bool]:
    return [c.want(name) for name in names]


def _named(found: Any, *names: str) -> Found:
    return dict(zip(names, found, strict=True))


@rule("convolution", saved="self weight")
def _convolution(c: Context, g: Any) -> Found:
    sizes = c.shapes.get("bias")
    return _named(A.convolution_backward.default(g, c.self, c.weight, sizes if sizes is not None else None if not c.want("bias") else [0],
                                                 c.stride, c.padding, c.dilation, c.transposed, c.output_padding, c.groups,
                                                 _mask(c, "self", "weight", "bias")),
                  "self", "weight", "bias")


@rule("native_layer_norm", saved="self weight bias", quiet=[1, 2])
def _layer_norm(c: Context, g: Any) -> Found:
    return _named(A.native_layer_norm_backward.default(_one(g), c.self, c.normalized_shape, *c._results, c.weight, c.bias,
                                                       _mask(c, "self", "weight", "bias")),
                  "self", "weight", "bias")


@rule("native_group_norm", saved="self weight", results=[1, 2])
def _group_norm(c: Context, g: Any) -> Found:
    return _named(A.native_group_norm_backward.default(_one(g), c.self, c.result(0), c.result(1), c.weight, c.N, c.C, c.HxW, c.group,
                                                       _mask(c, "self", "weight", "bias")), "self", "weight", "bias")


@rule("native_batch_norm", saved="self weight running_mean running_var", quiet=[1, 2])
def _batch_norm(c: Context, g: Any) -> Found:
    return _named(A.native_batch_norm_backward.default(_one(g), c.self, c.weight, c.running_mean, c.running_var, *c._results, c.training,
                                                       c.eps, _mask(c, "self", "weight", "bias")), "self", "weight", "bias")


@rule("max_pool2d_with_indices", saved="self", quiet=[1])
def _max_pool(c: Context, g: Any) -> Found:
    return {"self": A.max_pool2d_with_indices_backward.default(_one(g), c.self, c.kernel_size, c.stride, _two(c.padding), _two(c.dilation),
                                                               c.ceil_mode, c._results[0])}


def _two(value: Any) -> Any:
    return [value, value] if isinstance(value, int) else value


@rule("avg_pool2d", saved="self")
def _avg_pool(c: Context, g: Any) -> Found:
    return {"self": A.avg_pool2d_backward.default(g, c.self, c.kernel_size, c.stride, _two(c.padding), c.ceil_mode, c.count_include_pad,
                                                  c.divisor_override)}


@rule("_adaptive_avg_pool2d", saved="self")
def _adaptive(c: Context, g: Any) -> Found:
    return {"self": A._adaptive_avg_pool2d_backward.default(g, c.self)}


@rule("nll_loss_forward", "nll_loss2d_forward", saved="self target weight", quiet=[1])
def _nll_loss(c: Context, g: Any) -> Found:
    op = getattr(A, c._op._opname.replace("forward", "backward"))
    return {"self": op.default(_one(g), c.self, c.target, c.weight, c.reduction, c.ignore_index, c._results[0])}


def _reduction(c: Context) -> int:
    return {"none": 0, "mean": 1, "sum": 2}.get(c.reduction, c.reduction)


@rule("mse_loss", saved="self target")
def _mse_loss(c: Context, g: Any) -> Found:
    return {"self": lambda: A.mse_loss_backward.default(g, c.self, c.target, _reduction(c)),
            "target": lambda: A.neg.default(A.mse_loss_backward.default(g, c.self, c.target, _reduction(c)))}


@rule("smooth_l1_loss", saved="self target")
def _smooth_l1_loss(c: Context, g: Any) -> Found:
    return {"self": lambda: A.smooth_l1_loss_backward.default(g, c.self, c.target, _reduction(c), c.beta)}


@rule("huber_loss", saved="self target")
def _huber_loss(c: Context, g: Any) -> Found:
    return {"self": lambda: A.huber_loss_backward.default(g, c.self, c.target, _reduction(c), c.delta)}


@rule("_scaled_dot_product_flash_attention_for_cpu", saved="query key value attn_mask", results=[0], quiet=[1])
def _attention(c: Context, g: Any) -> Found:
    more = {} if c.attn_mask is None else {"attn_mask": c.attn_mask}
    if c.scale is not None:
        more["scale"] = c.scale
    return _named(A._scaled_dot_product_flash_attention_for_cpu_backward.default(_one(g), c.query, c.key, c.value, c.result(0), c._results[1], c.dropout_p,
                                                                                 c.is_causal, **more), "query", "key", "value")


@rule("binary_cross_entropy_with_logits", saved="self target weight pos_weight")
def _bce_with_logits(c: Context, g: Any) -> Found:
    if c.pos_weight is not None or c.weight is not None:
        raise NotSupported("the gradient of binary_cross_entropy_with_logits with weights through __torch_dispatch__ is not supported by "
                           "rushlight: multiply the unreduced loss")
    grad = A.mul.Tensor(A.sub.Tensor(A.sigmoid.default(c.self), c.target), g)
    count = 1
    for n in c.shape:
        count *= n
    return {"self": A.div_.Scalar(grad, count) if _reduction(c) == 1 else grad}
