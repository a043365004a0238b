"""ONNX's operators as functions of tensors: what the graphs of `torch.onnx.load` call. Named as ONNX names them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .. import dtypes
from ..nn import functional as F
from ..ops.creation import from_numpy
from ..ops.registry import FUNCTIONS as T
from ..ops.rnn import gru, lstm, rnn_relu, rnn_tanh
from ..tensor import Tensor
from ..unsupported import NotSupported

__all__ = ["BY_OPSET", "SEVERAL", "find"]

BY_OPSET = frozenset(("Softmax", "LogSoftmax"))             # operators whose meaning depends on the version
# their functions give several results
SEVERAL = frozenset(("Split", "TopK", "LSTM", "GRU", "RNN", "Dropout", "MaxPool", "BatchNormalization", "LayerNormalization"))
OPERATORS: dict[str, Callable[..., Any]] = {}

_TYPES = {1: dtypes.float32, 2: dtypes.uint8, 3: dtypes.int8, 5: dtypes.int16, 6: dtypes.int32, 7: dtypes.int64, 9: dtypes.bool_,
          10: dtypes.float16, 11: dtypes.float64, 16: dtypes.bfloat16}


def find(name: str) -> Callable[..., Any] | None:
    """The function of an operator."""
    return OPERATORS.get(name)


def operator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: this is the operator of its name."""
    OPERATORS[function.__name__] = function
    return function


def _ints(x: Any) -> list[int]:
    return [int(n) for n in x.tolist()] if isinstance(x, Tensor) else [int(n) for n in x]


def _simple(name: str, function: Callable[..., Any]) -> None:
    def call(*inputs: Any) -> Any:
        return function(*inputs)
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    globals()[name] = OPERATORS[name] = call


for _name, _function in {
    "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Tanh": "tanh", "Sigmoid": "sigmoid", "Erf": "erf", "Sin": "sin", "Cos": "cos",
    "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh",
    "Atanh": "atanh", "Reciprocal": "reciprocal", "Abs": "abs", "Neg": "neg",
    "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign", "Not": "logical_not", "IsNaN": "isnan", "IsInf": "isinf",
    "Add": "add", "Sub": "sub", "Mul": "mul", "Pow": "pow", "Greater": "gt", "Less": "lt", "GreaterOrEqual": "ge", "LessOrEqual": "le",
    "Equal": "eq", "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
    "MatMul": "matmul", "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
    "BitwiseNot": "bitwise_not"}.items():
    _simple(_name, T[_function])
for _name, _call in {"Relu": F.relu, "Softplus": F.softplus, "Softsign": F.softsign, "HardSwish": F.hardswish, "Mish": F.mish}.items():
    _simple(_name, _call)


@operator
def Identity(x: Any) -> Any:  # noqa: N802
    return x


@operator
def Div(a: Tensor, b: Tensor) -> Tensor:  # noqa: N802
    return T["div"](a, b) if a.is_floating_point() else T["div"](a, b, rounding_mode="trunc")


@operator
def Mod(a: Tensor, b: Tensor, fmod: int = 0) -> Tensor:  # noqa: N802
    return T["fmod"](a, b) if fmod else T["remainder"](a, b)


def _many(name: str, function: Any) -> None:
    def call(first: Tensor, *more: Tensor) -> Tensor:
        for each in more:
            first = function(first, each)
        return first
    _simple(name, call)


for _name, _function in {"Max": "maximum", "Min": "minimum"}.items():
    _many(_name, T[_function])
_many("Sum", T["add"])


@operator
def Mean(first: Tensor, *more: Tensor) -> Tensor:  # noqa: N802
    return OPERATORS["Sum"](first, *more) / (1 + len(more))


@operator
def Where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:  # noqa: N802
    return T["where"](condition, a, b)


@operator
def Clip(x: Tensor, low: Any = None, high: Any = None, min: Any = None, max: Any = None) -> Tensor:  # noqa: N802
    low, high = (min if low is None else low), (max if high is None else high)
    return x if low is None and high is None else T["clamp"](x, None if low is None else low.item() if isinstance(low, Tensor) else low,
                                                             None if high is None else high.item() if isinstance(high, Tensor) else high)


@operator
def Cast(x: Tensor, to: int, saturate: int = 1) -> Tensor:  # noqa: N802
    if to not in _TYPES:
        raise NotSupported(f"torch.onnx.load: Cast to ONNX's type {to} is not supported by rushlight")
    return x.to(_TYPES[to])


@operator
def CastLike(x: Tensor, like: Tensor) -> Tensor:  # noqa: N802
    return x.to(like.dtype)


# --- activations ----------------------------------------------------------------------------------------------------------------------

@operator
def LeakyRelu(x: Tensor, alpha: float = 0.01) -> Tensor:  # noqa: N802
    return F.leaky_relu(x, alpha)


@operator
def Elu(x: Tensor, alpha: float = 1.0) -> Tensor:  # noqa: N802
    return F.elu(x, alpha)


@operator
def Celu(x: Tensor, alpha: float = 1.0) -> Tensor:  # noqa: N802
    return F.celu(x, alpha)


@operator
def Selu(x: Tensor, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:  # noqa: N802
    return gamma * T["where"](x > 0, x, alpha * (T["exp"](x) - 1))


@operator
def Gelu(x: Tensor, approximate: str = "none") -> Tensor:  # noqa: N802
    return F.gelu(x, approximate=approximate)


@operator
def HardSigmoid(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:  # noqa: N802
    return T["clamp"](x * alpha + beta, 0, 1)


@operator
def PRelu(x: Tensor, slope: Tensor) -> Tensor:  # noqa: N802
    return T["where"](x < 0, x * slope, x)


def _normalised(name: str, function: Any) -> None:
    def call(x: Tensor, axis: int | None = None, opset: int = 13) -> Tensor:
        if opset >= 13:
            return function(x, -1 if axis is None else axis)
        at = (1 if axis is None else axis) % max(x.dim(), 1)
        return function(x.reshape(prod(x.shape[:at]), -1), 1).reshape(x.shape)
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    globals()[name] = OPERATORS[name] = call


_normalised("Softmax", F.softmax)
_normalised("LogSoftmax", F.log_softmax)


@operator
def Dropout(x: Tensor, ratio: Any = None, training_mode: Any = None, seed: int | None = None) -> tuple[Tensor, Tensor]:  # noqa: N802
    p = 0.5 if ratio is None else float(ratio)
    if training_mode is None or not bool(training_mode):
        return x, T["ones_like"](x, dtype=dtypes.bool_)
    y = F.dropout(x, p)
    return y, y != 0


# --- products and layers --------------------------------------------------------------------------------------------------------------

@operator
def Gemm(a: Tensor, b: Tensor, c: Tensor | None = None, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
         transB: int = 0) -> Tensor:  # noqa: N802, N803
    a = a.t() if transA else a
    if transB and c is not None and alpha == beta == 1.0 and c.dim() == 1:
        return F.linear(a, b, c)
    product = a @ (b.t() if transB else b)
    product = product if alpha == 1.0 else product * alpha
    return product if c is None else product + (c if beta == 1.0 else c * beta)


@operator
def Einsum(*operands: Tensor, equation: str) -> Tensor:  # noqa: N802
    return T["einsum"](equation, *operands)


def _padded(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int], pads: Any, auto_pad: str,
            value: float) -> tuple[Tensor, list[int]]:
    """(the input, padded where the two sides differ; the padding that is left for the layer)."""
    n = len(kernel)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        totals = [max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size,
                      0) for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = [*small, *large] if auto_pad == "SAME_UPPER" else [*large, *small]
    pads = [0] * (2 * n) if pads is None or auto_pad == "VALID" else list(pads)
    if pads[:n] == pads[n:]:
        return x, pads[:n]
    flat = [v for i in range(n - 1, -1, -1) for v in (pads[i], pads[n + i])]
    return F.pad(x, flat, value=value), [0] * n


@operator
def Conv(x: Tensor, w: Tensor, b: Tensor | None = None, kernel_shape: Any = None, strides: Any = None, pads: Any = None,
         dilations: Any = None,  # noqa: N802
         group: int = 1, auto_pad: str = "NOTSET") -> Tensor:
    n = w.dim() - 2
    strides, dilations = list(strides or [1] * n), list(dilations or [1] * n)
    x, padding = _padded(x, [int(k) for k in w.shape[2:]], strides, dilations, pads, auto_pad, 0.0)
    return getattr(F, f"conv{n}d")(x, w, b, strides, padding, dilations, group)


@operator
def ConvTranspose(x: Tensor, w: Tensor, b: Tensor | None = None, kernel_shape: Any = None, strides: Any = None, pads: Any = None,
                  # noqa: N802
                  dilations: Any = None, group: int = 1, output_padding: Any = None, output_shape: Any = None,
                  auto_pad: str = "NOTSET") -> Tensor:
    n = w.dim() - 2
    pads = [0] * (2 * n) if pads is None else list(pads)
    if output_shape is not None or auto_pad not in ("NOTSET", "VALID") or pads[:n] != pads[n:]:
        raise NotSupported("torch.onnx.load: ConvTranspose with output_shape, auto_pad or one-sided pads is not supported by rushlight")
    return getattr(F, f"conv_transpose{n}d")(x, w, b, list(strides or [1] * n), pads[:n], list(output_padding or [0] * n), group,
                                             list(dilations or [1] * n))


@operator
def MaxPool(x: Tensor, kernel_shape: Any, strides: Any = None, pads: Any = None, dilations: Any = None, ceil_mode: int = 0,
            auto_pad: str = "NOTSET",  # noqa: N802
            storage_order: int = 0) -> tuple[Tensor, Tensor]:
    n = len(kernel_shape)
    strides, dilations = list(strides or [1] * n), list(dilations or [1] * n)
    x, padding = _padded(x, list(kernel_shape), strides, dilations, pads, auto_pad, float("-inf"))
    return getattr(F, f"max_pool{n}d")(x, list(kernel_shape), strides, padding, dilations, bool(ceil_mode), return_indices=True)


@operator
def AveragePool(x: Tensor, kernel_shape: Any, strides: Any = None, pads: Any = None, ceil_mode: int = 0, count_include_pad: int = 0,
                # noqa: N802
                auto_pad: str = "NOTSET", dilations: Any = None) -> Tensor:
    n = len(kernel_shape)
    strides = list(strides or [1] * n)
    padded, padding = _padded(x, list(kernel_shape), strides, [1] * n, pads, auto_pad, 0.0)
    if padded is not x and not count_include_pad or (dilations is not None and any(d != 1 for d in dilations)):
        raise NotSupported("torch.onnx.load: AveragePool with one-sided pads that are not counted, or with dilations, is not supported by "
                           "rushlight")
    return getattr(F, f"avg_pool{n}d")(padded, list(kernel_shape), strides, padding, bool(ceil_mode), bool(count_include_pad))


@operator
def GlobalAveragePool(x: Tensor) -> Tensor:  # noqa: N802
    return x.mean(list(range(2, x.dim())), keepdim=True)


@operator
def GlobalMaxPool(x: Tensor) -> Tensor:  # noqa: N802
    return x.amax(list(range(2, x.dim())), keepdim=True)


@operator
def BatchNormalization(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, epsilon: float = 1e-5, momentum: float = 0.9,
                       # noqa: N802
                       training_mode: int = 0) -> tuple[Tensor, ...]:
    if training_mode:
        raise NotSupported("torch.onnx.load: BatchNormalization in training mode is not supported by rushlight")
    return F.batch_norm(x, mean.detach(), var.detach(), scale, bias, False, 0.0, epsilon), mean, var


@operator
def InstanceNormalization(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:  # noqa: N802
    return F.instance_norm(x, None, None, scale, bias, True, 0.0, epsilon)


@operator
def LayerNormalization(x: Tensor, scale: Tensor, bias: Tensor | None = None, axis: int = -1, epsilon: float = 1e-5,  # noqa: N802
                       stash_type: int = 1) -> tuple[Tensor, ...]:
    return (F.layer_norm(x, list(x.shape[axis % x.dim():]), scale.broadcast_to(x.shape[axis % x.dim():]), bias, epsilon),)


@operator
def GroupNormalization(x: Tensor, scale: Tensor, bias: Tensor, num_groups: int, epsilon: float = 1e-5,
                       stash_type: int = 1) -> Tensor:  # noqa: N802
    if scale.shape[0] != x.shape[1]:
        scale, bias = (t.repeat_interleave(x.shape[1] // num_groups) for t in (scale, bias))
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@operator
def LpNormalization(x: Tensor, axis: int = -1, p: int = 2) -> Tensor:  # noqa: N802
    return x / x.norm(p, axis, keepdim=True)


@operator
def LRN(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:  # noqa: N802
    return F.local_response_norm(x, size, alpha, beta, bias)


# --- shapes ---------------------------------------------------------------------------------------------------------------------------

@operator
def Shape(x: Tensor, start: int = 0, end: int | None = None) -> Tensor:  # noqa: N802
    return from_numpy(np.array(list(x.shape)[start:end], dtype=np.int64))


@operator
def Size(x: Tensor) -> Tensor:  # noqa: N802
    return from_numpy(np.array(x.numel(), dtype=np.int64))


@operator
def Reshape(x: Tensor, shape: Tensor, allowzero: int = 0) -> Tensor:  # noqa: N802
    wanted = _ints(shape)
    return x.reshape(wanted if allowzero else [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)])


@operator
def Flatten(x: Tensor, axis: int = 1) -> Tensor:  # noqa: N802
    at = axis % x.dim() if axis < 0 else axis
    return x.reshape(prod(x.shape[:at]), -1)


@operator
def Transpose(x: Tensor, perm: Any = None) -> Tensor:  # noqa: N802
    return x.permute(list(range(x.dim()))[::-1] if perm is None else list(perm))


@operator
def Squeeze(x: Tensor, axes: Any = None) -> Tensor:  # noqa: N802
    return x.squeeze() if axes is None else x.squeeze(_ints(axes))


@operator
def Unsqueeze(x: Tensor, axes: Any) -> Tensor:  # noqa: N802
    dims = _ints(axes)
    rank = x.dim() + len(dims)
    for d in sorted(d % rank for d in dims):
        x = x.unsqueeze(d)
    return x


@operator
def Expand(x: Tensor, shape: Tensor) -> Tensor:  # noqa: N802
    return x.broadcast_to(np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape))))


@operator
def Tile(x: Tensor, repeats: Tensor) -> Tensor:  # noqa: N802
    return x.repeat(_ints(repeats))


@operator
def Concat(*tensors: Tensor, axis: int) -> Tensor:  # noqa: N802
    return T["cat"](list(tensors), axis)


@operator
def Split(x: Tensor, split: Any = None, axis: int = 0, num_outputs: int | None = None, pieces: int = 1) -> tuple[Tensor, ...]:  # noqa: N802
    if split is not None:
        return x.split(_ints(split), axis)
    return x.split(-(-x.shape[axis] // (num_outputs or pieces)), axis)


@operator
def Slice(x: Tensor, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:  # noqa: N802
    starts, ends = _ints(starts), _ints(ends)
    axes = list(range(len(starts))) if axes is None else _ints(axes)
    steps = [1] * len(starts) if steps is None else _ints(steps)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = int(x.shape[axis])
        places = range(n)[slice(start, None if step < 0 and end < -n else end, step)]
        if step > 0:
            index = [slice(None)] * (axis % x.dim()) + [slice(places.start, places.stop, step)]
            x = x[tuple(index)]
        else:
            x = x.index_select(axis, from_numpy(np.array(places, dtype=np.int64)))
    return x


@operator
def Gather(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:  # noqa: N802
    axis = axis % x.dim()
    indices = T["where"](indices < 0, indices + x.shape[axis], indices)
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1:]])


@operator
def GatherElements(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:  # noqa: N802
    return x.gather(axis, T["where"](indices < 0, indices + x.shape[axis], indices))


@operator
def ScatterElements(x: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, reduction: str = "none") -> Tensor:  # noqa: N802
    indices = T["where"](indices < 0, indices + x.shape[axis], indices)
    if reduction == "none":
        return x.scatter(axis, indices, updates)
    words = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    return x.scatter_reduce(axis, indices, updates, words[reduction])


@operator
def Pad(x: Tensor, pads: Any, value: Any = None, axes: Any = None, mode: str = "constant") -> Tensor:  # noqa: N802
    given = _ints(pads)
    dims = list(range(x.dim())) if axes is None else [a % x.dim() for a in _ints(axes)]
    sides = {d: (given[i], given[len(dims) + i]) for i, d in enumerate(dims)}
    last = max((d for d in range(x.dim()) if sides.get(d, (0, 0)) == (0, 0)), default=-1) if mode != "constant" else -1
    flat = [v for d in range(x.dim() - 1, last, -1) for v in sides.get(d, (0, 0))]
    kind = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    return F.pad(x, flat, kind, 0.0 if value is None else float(value)) if kind == "constant" else F.pad(x, flat, kind)


@operator
def Trilu(x: Tensor, k: Any = None, upper: int = 1) -> Tensor:  # noqa: N802
    return (T["triu"] if upper else T["tril"])(x, 0 if k is None else int(k))


@operator
def DepthToSpace(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:  # noqa: N802
    if mode == "CRD":
        return F.pixel_shuffle(x, blocksize)
    n, c, h, w = x.shape
    y = x.reshape(n, blocksize, blocksize, c // blocksize ** 2, h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // blocksize ** 2, h * blocksize, w * blocksize)


@operator
def SpaceToDepth(x: Tensor, blocksize: int) -> Tensor:  # noqa: N802
    n, c, h, w = x.shape
    y = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize).permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * blocksize ** 2, h // blocksize, w // blocksize)


@operator
def Resize(x: Tensor, roi: Any = None, scales: Any = None, sizes: Any = None, mode: str = "nearest",  # noqa: N802
           coordinate_transformation_mode: str = "half_pixel", nearest_mode: str = "round_prefer_floor", cubic_coeff_a: float = -0.75,
           **options: Any) -> Tensor:
    known = (mode == "nearest" and coordinate_transformation_mode == "asymmetric" and nearest_mode == "floor") or (
        mode in ("linear", "cubic") and coordinate_transformation_mode in ("half_pixel", "pytorch_half_pixel", "align_corners"))
    if not known or options.get("antialias"):
        raise NotSupported(f"torch.onnx.load: Resize with mode={mode!r}, {coordinate_transformation_mode!r}, {nearest_mode!r} is not "
                           "supported by rushlight")
    word = "nearest" if mode == "nearest" else {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()] if mode == "linear" else "bicubic"
    more = {} if mode == "nearest" else {"align_corners": coordinate_transformation_mode == "align_corners"}
    if sizes is not None:
        return F.interpolate(x, size=_ints(sizes)[2:], mode=word, **more)
    return F.interpolate(x, scale_factor=[float(s) for s in scales.tolist()[2:]], mode=word, **more)


# --- reductions -----------------------------------------------------------------------------------------------------------------------

def _reduction(name: str, function: Callable[[Tensor, list[int], bool], Tensor]) -> None:
    def call(x: Tensor, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        dims = [] if axes is None else _ints(axes)
        if not dims and noop_with_empty_axes:
            return x
        return function(x, dims or list(range(x.dim())), bool(keepdims))
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    globals()[name] = OPERATORS[name] = call


def _product(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    for d in sorted((d % x.dim() for d in dims), reverse=True):
        x = x.prod(d, keepdim=keep)
    return x


for _name, _reduce in {
        "ReduceSum": lambda x, d, k: x.sum(d, keepdim=k), "ReduceMean": lambda x, d, k: x.mean(d, keepdim=k),
        "ReduceMax": lambda x, d, k: x.amax(d, keepdim=k), "ReduceMin": lambda x, d, k: x.amin(d, keepdim=k), "ReduceProd": _product,
        "ReduceL1": lambda x, d, k: x.abs().sum(d, keepdim=k), "ReduceL2": lambda x, d, k: x.square().sum(d, keepdim=k).sqrt(),
        "ReduceSumSquare": lambda x, d, k: x.square().sum(d, keepdim=k),
        "ReduceLogSumExp": lambda x, d, k: x.logsumexp(d, keepdim=k), "ReduceLogSum": lambda x, d, k: x.sum(d, keepdim=k).log()}.items():
    _reduction(_name, _reduce)


@operator
def ArgMax(x: Tensor, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:  # noqa: N802
    return x.argmax(axis, keepdim=bool(keepdims))


@operator
def ArgMin(x: Tensor, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:  # noqa: N802
    return x.argmin(axis, keepdim=bool(keepdims))


@operator
def TopK(x: Tensor, k: Any, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:  # noqa: N802
    return tuple(x.topk(int(k.reshape(()).item()), axis, bool(largest), bool(sorted)))


@operator
def CumSum(x: Tensor, axis: Any, exclusive: int = 0, reverse: int = 0) -> Tensor:  # noqa: N802
    dim = int(axis.reshape(()).item())
    x = x.flip(dim) if reverse else x
    y = x.cumsum(dim)
    y = y - x if exclusive else y
    return y.flip(dim) if reverse else y


@operator
def NonZero(x: Tensor) -> Tensor:  # noqa: N802
    return x.nonzero().t()


# --- making -----------------------------------------------------------------------------------------------------------------------------

OPERATORS["Constant"] = Identity


@operator
def ConstantOfShape(shape: Tensor, value: Any = None) -> Tensor:  # noqa: N802
    filled = np.zeros(1, dtype=np.float32) if value is None else np.asarray(value)
    return from_numpy(np.full(_ints(shape), filled.reshape(-1)[0], dtype=filled.dtype))


@operator
def Range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:  # noqa: N802
    return T["arange"](start.item(), limit.item(), delta.item(), dtype=start.dtype)


@operator
def OneHot(indices: Tensor, depth: Tensor, values: Tensor, axis: int = -1) -> Tensor:  # noqa: N802
    count = int(depth.reshape(()).item())
    hot = (indices.unsqueeze(-1) % count == T["arange"](count)).movedim(-1, axis)
    return T["where"](hot, values[1], values[0])


@operator
def EyeLike(x: Tensor, dtype: int | None = None, k: int = 0) -> Tensor:  # noqa: N802
    return from_numpy(np.eye(*x.shape, k=k, dtype=(x.dtype if dtype is None else _TYPES[dtype]).np))


# --- recurrent layers -----------------------------------------------------------------------------------------------------------------

def _recurrent(kind: str, order: list[int], x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, hidden: list[Any], size: int, direction: str,
               run: Any) -> tuple[Tensor, ...]:
    if direction == "reverse":
        raise NotSupported(f"torch.onnx.load: {kind} with direction='reverse' is not supported by rushlight")
    gates, n = len(order), w.shape[0]

    def ordered(t: Tensor) -> Tensor:
        parts = t.split(size, 0)
        return T["cat"]([parts[i] for i in order])
    weights = []
    for d in range(n):
        weights += [ordered(w[d]), ordered(r[d])]
        if b is not None:
            weights += [ordered(b[d][:gates * size]), ordered(b[d][gates * size:])]
    states = [T["zeros"]([n, x.shape[1], size], dtype=x.dtype) if each is None else each for each in hidden]
    out = run(x, tuple(states) if len(states) > 1 else states[0], weights, b is not None, 1, 0.0, False, n == 2, False)
    y = out[0].reshape(x.shape[0], x.shape[1], n, size).permute(0, 2, 1, 3)
    return (y, *out[1:])


@operator
def LSTM(x: Tensor, w: Tensor, r: Tensor, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None, p: Any = None,
         hidden_size: int = 0,  # noqa: N802
         direction: str = "forward", **options: Any) -> tuple[Tensor, ...]:
    if lengths is not None or p is not None or set(options) - {"layout"} or options.get("layout"):
        raise NotSupported("torch.onnx.load: LSTM with lengths, peepholes or other activations is not supported by rushlight")
    return _recurrent("LSTM", [0, 2, 3, 1], x, w, r, b, [h, c], r.shape[2], direction, lstm)


@operator
def GRU(x: Tensor, w: Tensor, r: Tensor, b: Any = None, lengths: Any = None, h: Any = None, hidden_size: int = 0,
        direction: str = "forward",  # noqa: N802
        linear_before_reset: int = 0, **options: Any) -> tuple[Tensor, ...]:
    if lengths is not None or not linear_before_reset or set(options) - {"layout"} or options.get("layout"):
        raise NotSupported("torch.onnx.load: GRU with lengths, other activations or linear_before_reset=0 is not supported by rushlight")
    return _recurrent("GRU", [1, 0, 2], x, w, r, b, [h], r.shape[2], direction, gru)


@operator
def RNN(x: Tensor, w: Tensor, r: Tensor, b: Any = None, lengths: Any = None, h: Any = None, hidden_size: int = 0,
        direction: str = "forward",  # noqa: N802
        activations: Any = None, **options: Any) -> tuple[Tensor, ...]:
    kinds = set(activations or ["Tanh"])
    if lengths is not None or kinds - {"Tanh", "Relu"} or len(kinds) > 1 or options:
        raise NotSupported("torch.onnx.load: RNN with lengths or other activations is not supported by rushlight")
    return _recurrent("RNN", [0], x, w, r, b, [h], r.shape[2], direction, rnn_relu if kinds == {"Relu"} else rnn_tanh)


for _each in OPERATORS.values():
    if not _each.__doc__:
        _each.__doc__ = f"ONNX's operator {_each.__name__}."
