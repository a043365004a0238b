"""What goes to a mode with `whole`: functions whose operator has other arguments than the public function, with composites left as they
are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..devices import device as Place
from ..dtypes import dtype as Type
from ..ops import aten as A
from ..tensor import Tensor
from . import lowering, nn
from .lowering import Whole

__all__ = ["TABLE"]

# Python's own forms, which are no operators at any level.
TABLE: dict[str, Callable[..., Any]] = {name: lowering.TABLE[name] for name in (
    "getitem", "setitem", "data", "item", "__bool__", "__float__", "__int__", "__complex__", "rsub", "__rsub__", "__rtruediv__",
    "_reflected_power", "stack", "cat", "concat", "concatenate", "__iter__")}


def _attribute(name: str, operator: str) -> None:
    TABLE[name] = lambda self: getattr(A, operator).default(self)


for _name, _operator in (("_T", "numpy_T"), ("_mT", "mT"), ("_H", "matrix_H"), ("_mH", "mH"), ("real", "real"), ("imag", "imag")):
    _attribute(_name, _operator)



Form = Callable[..., Any]


def _form(*names: str) -> Callable[[Form], Form]:
    def register(function: Form) -> Form:
        TABLE.update(dict.fromkeys(names, function))
        return function
    return register


def _trimmed(values: list[Any], defaults: list[Any]) -> list[Any]:
    """Arguments without those at the end that are the defaults."""
    while values and type(values[-1]) is type(defaults[len(values) - 1]) and values[-1] == defaults[len(values) - 1]:
        values.pop()
    return values


def _many(value: Any, n: int) -> list[int]:
    return [int(value)] * n if isinstance(value, int) else [int(v) for v in value] * (n if len(value) == 1 else 1)


# --- shapes and dtypes ----------------------------------------------------------------------------------------------------------------

@_form("reshape")
def _reshape(input: Tensor, *shape: Any) -> Tensor:
    return A.reshape.default(input, [int(n) for n in (shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)])


@_form("unbind")
def _unbind(input: Tensor, dim: int = 0) -> Any:
    return tuple(A.unbind.int(input, dim) if dim else A.unbind.int(input))


@_form("split")
def _split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> Any:
    more = (dim,) if dim else ()
    if isinstance(split_size_or_sections, (list, tuple)):
        return tuple(A.split_with_sizes.default(tensor, [int(n) for n in split_size_or_sections], *more))
    return tuple(A.split.Tensor(tensor, split_size_or_sections, *more))


@_form("unflatten")
def _unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    return A.unflatten.int(input, dim, [int(n) for n in ([sizes] if isinstance(sizes, int) else sizes)])


@_form("flatten")
def _flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return A.flatten.using_ints(input, *_trimmed([start_dim, end_dim], [0, -1]))


@_form("pad")
def _pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Tensor:
    return A.pad.default(input, [int(n) for n in pad], *_trimmed([mode, value], ["constant", None]))


@_form("to")
def _to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, other: Any = None, non_blocking: bool = False, copy: bool = False,
        memory_format: Any = None) -> Tensor:
    for each in args:
        if isinstance(each, Tensor):
            dtype, device = each.dtype, each.device
        elif isinstance(each, Type):
            dtype = each
        elif isinstance(each, (str, Place)):
            device = each
        else:
            raise Whole
    if other is not None:
        dtype, device = other.dtype, other.device
    more = {**({"copy": True} if copy else {}), **({} if memory_format is None else {"memory_format": memory_format})}
    if device is None or Place(device) == self.device:
        return A.to.dtype(self, self.dtype if dtype is None else dtype, **more)
    return A.to.device(self, Place(device), self.dtype if dtype is None else dtype, **more)


def _cast(name: str) -> None:
    wanted = getattr(lowering.dtypes, name)
    for each in {"float32": ("float",), "float64": ("double",), "float16": ("half",), "bfloat16": ("bfloat16",), "int64": ("long",),
                 "int32": ("int",), "int16": ("short",), "int8": ("char",), "uint8": ("byte",), "bool_": ("bool",),
                 "complex64": ("cfloat",), "complex128": ("cdouble",)}[name]:
        TABLE[each] = lambda self, memory_format=None: A.to.dtype(self, wanted)


for _name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool_", "complex64", "complex128"):
    _cast(_name)


@_form("contiguous")
def _contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    wanted = lowering.contiguous_format if memory_format is None else memory_format
    if self.is_contiguous(memory_format=wanted):
        return self
    return A.contiguous.default(self, **({} if memory_format is None else {"memory_format": memory_format}))


@_form("norm")
def _norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None) -> Tensor:
    if out is not None or dtype is not None or (isinstance(p, str)
                                                and (p != "fro" or (dim is not None and not isinstance(dim, int) and len(dim) > 1))):
        raise Whole
    dims = None if dim is None else [dim] if isinstance(dim, int) else [int(n) for n in dim]
    return A.linalg_vector_norm.default(input, *_trimmed([2 if isinstance(p, str) or p is None else p, dims, keepdim], [2, None, False]))


@_form("einsum")
def _einsum(equation: str, *operands: Any) -> Tensor:
    if not isinstance(equation, str):
        raise Whole
    return A.einsum.default(equation, list(operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands))


# --- layers -----------------------------------------------------------------------------------------------------------------------------

def _convolution(n: int) -> None:
    def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
             groups: int = 1) -> Tensor:
        word = isinstance(padding, str)
        values = [bias, _many(stride, n), padding if word else _many(padding, n), _many(dilation, n), groups]
        op = getattr(A, f"conv{n}d")
        return (op.padding if word else op.default)(input, weight, *_trimmed(values, [None, [1] * n, [0] * n, [1] * n, 1]))

    def transposed(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
                   groups: int = 1, dilation: Any = 1) -> Tensor:
        values = [bias, _many(stride, n), _many(padding, n), _many(output_padding, n), groups, _many(dilation, n)]
        op = getattr(A, f"conv_transpose{n}d")
        return (op.default if n == 1 else op.input)(input, weight, *_trimmed(values, [None, [1] * n, [0] * n, [0] * n, 1, [1] * n]))
    TABLE[f"conv{n}d"], TABLE[f"conv_transpose{n}d"] = conv, transposed


def _pooling(n: int) -> None:
    def largest(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
                return_indices: bool = False) -> Any:
        kernel = _many(kernel_size, n)
        values = [kernel if stride is None or stride == [] else _many(stride, n), _many(padding, n), _many(dilation, n), ceil_mode]
        name = f"max_pool{n}d" + ("_with_indices" if return_indices else "")
        return getattr(A, name).default(input, kernel, *_trimmed(values, [None, [0] * n, [1] * n, False]))

    def mean(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
             *divisor: Any, divisor_override: Any = None) -> Tensor:
        kernel = _many(kernel_size, n)
        values = [kernel if stride is None or stride == [] else _many(stride, n), _many(padding, n), ceil_mode, count_include_pad]
        values += [divisor[0] if divisor else divisor_override] * (n > 1)
        return getattr(A, f"avg_pool{n}d").default(input, kernel, *_trimmed(values, [None, [0] * n, False, True, None]))

    def adaptive(name: str) -> Any:
        def call(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
            given = [output_size] * n if isinstance(output_size, int) else list(output_size)
            sizes = [int(have) if want is None else int(want) for want, have in zip(given, input._a.shape[-n:], strict=True)]
            found = getattr(A, f"adaptive_{name}_pool{n}d").default(input, sizes)
            return found if return_indices or name == "avg" else found[0]
        return call
    TABLE[f"max_pool{n}d"], TABLE[f"avg_pool{n}d"] = largest, mean
    TABLE[f"max_pool{n}d_with_indices"] = lambda *args, **kwargs: largest(*args, **{**kwargs, "return_indices": True})
    TABLE[f"adaptive_avg_pool{n}d"], TABLE[f"adaptive_max_pool{n}d"] = adaptive("avg"), adaptive("max")


for _n in (1, 2, 3):
    _convolution(_n)
    _pooling(_n)


@_form("embedding")
def _embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: Any = None, norm_type: float = 2.0,
               scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    if max_norm is not None:
        raise Whole
    padding = -1 if padding_idx is None else padding_idx % weight._a.shape[0]
    return A.embedding.default(weight, input, *_trimmed([padding, scale_grad_by_freq, sparse], [-1, False, False]))


@_form("batch_norm")
def _batch_norm(input: Tensor, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
                momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    return A.batch_norm.default(input, weight, bias, running_mean, running_var, training, momentum, eps, False)


@_form("instance_norm")
def _instance_norm(input: Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
                   use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    return A.instance_norm.default(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, False)


@_form("layer_norm")
def _layer_norm(input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
                cudnn_enable: bool = True) -> Tensor:
    return A.layer_norm.default(input, _many(normalized_shape, 1), weight, bias, eps, False)


@_form("group_norm")
def _group_norm(input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5,
                cudnn_enabled: bool = True) -> Tensor:
    return A.group_norm.default(input, num_groups, weight, bias, eps, False)


def _dropout(name: str) -> None:
    def call(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return getattr(A, operator + "_" if inplace else operator).default(input, p, training)
    operator = "feature_dropout" if name[-1] == "d" else name
    TABLE[name] = call


for _name in ("dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d"):
    _dropout(_name)


def _normalised(name: str) -> None:
    def call(input: Tensor, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None, *, out: Any = None) -> Tensor:
        if out is not None or dim is None:
            raise Whole
        dtype = dtype if _stacklevel is None or isinstance(_stacklevel, int) else _stacklevel
        return getattr(A, name).int(input, dim, *([] if dtype is None else [dtype]))
    TABLE[name] = call


_normalised("softmax")
_normalised("log_softmax")


def _activation(name: str, operator: str, *defaults: Any, shown: int = 0) -> None:
    def call(input: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
        if kwargs or len(args) > len(defaults):
            raise Whole
        given = [*args, *defaults[len(args):]]
        values = given[:shown] + (_trimmed(given[shown:], list(defaults[shown:])) if len(given) > shown else [])
        return getattr(A, operator + "_" if inplace else operator).default(input, *values)
    TABLE[name] = call


for _name in ("relu", "silu", "mish", "hardswish", "hardsigmoid", "relu6", "selu"):
    _activation(_name, _name)
_activation("leaky_relu", "leaky_relu", 0.01)
_activation("elu", "elu", 1.0, shown=1)
_activation("celu", "celu", 1.0, shown=1)
_activation("hardtanh", "hardtanh", -1.0, 1.0, shown=2)


@_form("glu")
def _glu(input: Tensor, dim: int = -1) -> Tensor:
    return A.glu.default(input, *_trimmed([dim], [-1]))


_RESIZE = {("nearest", n): f"upsample_nearest{n}d"
           for n in (1, 2, 3)} | {("nearest-exact", n): f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)} | {
    ("linear", 1): "upsample_linear1d", ("bilinear", 2): "upsample_bilinear2d", ("bicubic", 2): "upsample_bicubic2d",
    ("trilinear", 3): "upsample_trilinear3d"}


@_form("interpolate")
def _interpolate(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None,
                 recompute_scale_factor: Any = None, antialias: bool = False) -> Tensor:
    n = input._a.ndim - 2
    if (mode, n) not in _RESIZE or antialias or recompute_scale_factor or (size is None) == (scale_factor is None):
        raise Whole
    factors = None if scale_factor is None else [float(scale_factor)] * n if isinstance(scale_factor, (int, float)) else [float(v) for v in scale_factor]
    corners = [] if "nearest" in mode else [bool(align_corners)]
    return getattr(A, _RESIZE[mode, n]).vec(input, None if size is None else _many(size, n), *corners, factors)


@_form("scaled_dot_product_attention")
def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
               scale: Any = None, enable_gqa: bool = False) -> Tensor:
    more = {**({} if scale is None else {"scale": scale}), **({"enable_gqa": True} if enable_gqa else {})}
    return A.scaled_dot_product_attention.default(query, key, value, *_trimmed([attn_mask, dropout_p, is_causal], [None, 0.0, False]),
                                                  **more)


# --- losses -----------------------------------------------------------------------------------------------------------------------------

@_form("cross_entropy")
def _cross_entropy(input: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
                   reduce: Any = None, reduction: Any = "mean", label_smoothing: float = 0.0) -> Tensor:
    if size_average is not None or reduce is not None:
        raise Whole
    return A.cross_entropy_loss.default(input, target,
                                        *_trimmed([weight, nn._number(reduction), ignore_index, label_smoothing], [None, 1, -100, 0.0]))


@_form("nll_loss")
def _nll_loss(input: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
              reduction: Any = "mean") -> Tensor:
    if size_average is not None or reduce is not None:
        raise Whole
    return A.nll_loss_nd.default(input, target, *_trimmed([weight, nn._number(reduction), ignore_index], [None, 1, -100]))
