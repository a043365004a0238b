"""Activation functions, elementwise (softmax and its family are in softmax.py). What is named as in `torch.nn.functional` takes
`inplace`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.grad_mode import STATE
from ..devices import CPU
from ..dims import wrap_dim
from ..dtypes import bool_
from ..generator import generator_of
from ..kernels import formula as f
from ..kernels import gelu as G
from ..kernels import special as S
from ..kernels.arrays import as_array
from ..kernels.door import narrowed, widened
from ..kernels.fuse import fuse
from ..kernels.native import ELEMENTWISE, kernel, takes_target
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, GeneratorLike
from .creation import _fits
from .define import unary
from .errors import title
from .failed_calls import check_tensor
from .joining import cat
from .promotion import real
from .public import export, functional, method
from .random import fresh, uniform_writer
from .record import depending, record
from .registry import FUNCTIONS
from .sampling import drawn_here
from .write import assign, inplace_from, write_out

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["relu", "relu_", "relu6", "elu", "elu_", "selu", "selu_", "celu", "celu_", "gelu", "silu", "mish", "hardtanh", "hardtanh_",
           "hardswish", "hardsigmoid", "hardshrink", "softshrink", "tanhshrink", "threshold", "threshold_", "leaky_relu", "leaky_relu_",
           "prelu", "rrelu", "rrelu_", "glu", "softplus", "softsign", "logsigmoid", "sigmoid", "tanh"]

# Self-normalising networks' constants (Klambauer et al., 2017).
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

# --- the error and gamma functions ----------------------------------------------------------------------------------------------------
erf = unary("erf", kernel("erf", S.erf), lambda g, x: g * f.exp(-(x * x)) * (2 / math.sqrt(math.pi)), complex=False)
erfc = unary("erfc", kernel("erfc", S.erfc), lambda g, x: g * f.exp(-(x * x)) * (-2 / math.sqrt(math.pi)), complex=False)
erfinv = unary("erfinv", kernel("erfinv", S.erfinv), lambda g, y: g * f.exp(y * y) * (math.sqrt(math.pi) / 2), complex=False,
               domain=(-0.9, 0.9), inplace=True)
_digamma = f.function(kernel("digamma", S.digamma), "digamma")
lgamma = unary("lgamma", kernel("lgamma", S.lgamma), lambda g, x: g * _digamma(x), complex=False, domain=(0.2, 4.0), inplace=True)
digamma = unary("digamma", kernel("digamma", S.digamma), lambda g, x: g * polygamma(1, x), arrays=False, complex=False, domain=(0.2, 4.0),
                inplace=True)


def polygamma(n: int, input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The n-th derivative of digamma."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"polygamma(): argument 'n' (position 1) must be int, not {type(n).__name__}")
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if out is not None:
        return write_out(out, polygamma(n, input), "polygamma")
    if input._kind.is_complex:
        raise NotImplementedError(f"\"polygamma\" not implemented for '{title(input._kind.dtype)}'")
    kind = input._kind.float_
    a = input._a.astype(np.float32) if kind.reduced else input._a.astype(kind.np, copy=False)
    r = wrap(as_array(S.polygamma(n, a), kind.np), kind)
    return record(r, "PolygammaBackward0", (input,), lambda g, x: g * polygamma(n + 1, x), (input,))


export(polygamma, guard=True)
method(lambda self, n: polygamma(n, self), "polygamma")
method(lambda self, n: inplace_from(self, lambda x: polygamma(n, x), (self,), {}), "polygamma_")

# --- the machinery --------------------------------------------------------------------------------------------------------------------


def _floating(input: Tensor, name: str) -> Kind:
    """The kind of a floating-point tensor; PyTorch's error for others."""
    try:
        kind = input._kind
    except AttributeError:
        raise TypeError(f"{name.removesuffix('_cpu')}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}") from None
    if not kind.is_floating:
        raise NotImplementedError(f'"{name}" not implemented for \'{title(kind.dtype)}\'')
    return kind


def _apply(label: str, name: str, input: Tensor, forward: Function, gradient: Function, *numbers: float,
           back: tuple[float, ...] | None = None,
           piecewise: str = "") -> Tensor:
    """One node that saves its input: ``forward(x, *numbers)`` and ``gradient(g, x, *numbers)``, which are formulas.

    back        the gradient's numbers where they are others
    piecewise   of a piecewise linear function: the name of the gradient's node, whose own derivative by the input is zero
    """
    kind = input._kind if input.__class__ is Tensor and input._kind.fast else _floating(input, name)
    if input.__class__ is _Overwritten:
        return input.take(forward, numbers)
    a, arrays = input._a, gradient
    if kind.fast:
        try:
            r = forward(a, *numbers)
        except TypeError:
            for each in numbers:
                real(each)
            raise
    elif (own := ELEMENTWISE.get(a.__class__)) is not None:
        r, arrays = own.forward("", forward)(a, *numbers), own.gradient("", gradient)
    elif kind.reduced:
        r, arrays = forward(widened(a), *numbers), _widened(gradient)
    else:
        r = forward(a, *numbers)
    r = wrap(r if r.__class__ is np.ndarray and kind.fast else as_array(r, kind.np), kind)
    if input._node is None:
        return r
    if not numbers and not piecewise:
        return record(r, label, (input,), gradient, (input,), arrays)
    back = numbers if back is None else back

    def tensors(g: Tensor, x: Tensor) -> Tensor:
        r = gradient(g, x, *back)
        return depending(r, x, name=piecewise) if piecewise else r
    return record(r, label, (input,), tensors, (input,), lambda g, a: arrays(g, a, *back))


def _widened(gradient: Any) -> Any:
    """The gradient of a reduced-precision tensor: computed in float32."""
    return lambda g, a, *numbers: narrowed(gradient(widened(g), widened(a), *numbers), g.dtype)


class _Overwritten:
    """A plain tensor whose array takes what `_apply` computes of it."""

    __slots__ = ("_a", "_kind", "_node")

    def __init__(self, input: Tensor) -> None:
        self._a, self._kind, self._node = input._a, input._kind, None

    def take(self, forward: Function, numbers: tuple[float, ...]) -> Any:
        """``forward(array, *numbers)``, in the array."""
        a = self._a
        if takes_target(forward):
            forward(a, *numbers, a)
        else:
            a[...] = forward(a, *numbers)
        return self


def _inplace(function: Function, input: Tensor, *args: Any) -> Tensor:
    if input.__class__ is Tensor and input._kind.fast and input._node is None and input._view is None and not STATE.unusual and input._a.flags.writeable:
        place: Any = _Overwritten(input)
        if (r := function(place, *args)) is not place:
            return assign(input, r)
        input._ver += 1
        return input
    return inplace_from(input, function, (input, *args), {})


# --- relu -----------------------------------------------------------------------------------------------------------------------------
def _relu_formula(x: f.Value) -> f.Value:
    if x.dtype.kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")
    return f.maximum(x, 0)


_relu = unary("relu", kernel("relu", _relu_formula), kernel("relu_gradient", lambda g, y: f.where(f.nonzero(y), g, 0.0)), ints="same",
              refuse_bool="Boolean inputs not supported for relu", piecewise="ThresholdBackwardBackward0")
relu_ = functional(FUNCTIONS["relu_"])


@functional
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x)."""
    return relu_(input) if inplace else _relu(input)


_hardtanh = kernel("clamp", lambda x, low, high: f.minimum(f.maximum(x, low), high))
_hardtanh_gradient = fuse(lambda g, x, low, high: f.where((x <= low) | (x >= high), 0.0, g))


def _clamped(input: Tensor, low: float, high: float) -> Tensor:
    kind = input._kind
    if kind.dtype is bool_:
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if kind.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    if not kind.is_floating:
        if kind.np.kind == "u" and low < 0:
            raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
        return wrap(as_array(np.clip(input._a, _fits(low, kind), _fits(high, kind)), kind.np), kind)
    return _apply("HardtanhBackward0", "hardtanh_cpu", input, _hardtanh, _hardtanh_gradient, low, high,
                  piecewise="HardtanhBackwardBackward0")


@functional
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]; ValueError where min_val is larger."""
    check_tensor("hardtanh", input=input)
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _inplace(_clamped, input, min_val, max_val) if inplace else _clamped(input, min_val, max_val)


@functional
def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` in place."""
    return _inplace(_clamped, input, min_val, max_val)


@functional
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6)."""
    check_tensor("relu6", input=input)
    return _inplace(_clamped, input, 0, 6) if inplace else _clamped(input, 0, 6)


# --- the exponential linear units -----------------------------------------------------------------------------------------------------

_elu_forward = fuse(lambda x, scale, factor, input_scale: f.where(x > 0, x * scale, f.expm1(f.minimum(x, 0) * input_scale) * factor))
_elu_gradient = fuse(lambda g, x, scale, slope, input_scale: g * f.where(x > 0, scale, f.exp(f.minimum(x, 0) * input_scale) * slope))


def _elu(input: Tensor, alpha: float, scale: float, input_scale: float, label: str = "EluBackward0") -> Tensor:
    """scale * (x, or alpha (exp(input_scale x) - 1) for x < 0)."""
    if alpha.__class__ is complex:
        alpha = real(alpha)
    factor = alpha * scale
    if label.endswith("1") and factor < 0:
        return _no_gradient(_elu(input, alpha, scale, input_scale), input, label,
                            "elu backward calculation is triggered with a negative slope")
    return _apply(label, "elu_cpu", input, _elu_forward, _elu_gradient, scale, factor, input_scale,
                  back=(scale, factor * input_scale, input_scale))


@functional
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x for x > 0, else alpha (exp(x) - 1)."""
    check_tensor("elu", input=input)
    return elu_(input, alpha) if inplace else _elu(input, alpha, 1.0, 1.0)


@functional
def elu_(input: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """`elu` in place."""
    return _inplace(_elu, input, alpha, real(scale), real(input_scale), "EluBackward1")


@functional
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Scaled ELU with the self-normalising constants."""
    check_tensor("selu", input=input)
    return selu_(input) if inplace else _elu(input, _SELU_ALPHA, _SELU_SCALE, 1.0)


@functional
def selu_(input: Tensor) -> Tensor:
    """`selu` in place."""
    return _inplace(_elu, input, _SELU_ALPHA, _SELU_SCALE, 1.0, "EluBackward1")


def _celu(input: Tensor, alpha: float, label: str = "CeluBackward0") -> Tensor:
    if real(alpha) == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _elu(input, real(alpha), 1.0, 1.0 / real(alpha), label)


@functional
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x for x > 0, else alpha (exp(x / alpha) - 1)."""
    check_tensor("celu", input=input)
    return celu_(input, alpha) if inplace else _celu(input, alpha)


@functional
def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` in place."""
    return _inplace(_celu, input, alpha, "CeluBackward1")


# --- gelu, silu, mish, softplus -------------------------------------------------------------------------------------------------------

@functional
def gelu(input: Tensor, approximate: str = "none", *, out: Tensor | None = None) -> Tensor:
    """x times the normal distribution function of x; approximate="tanh" uses a tanh in its place."""
    if out is not None:
        return write_out(out, gelu(input, approximate), "gelu")
    if approximate not in ("none", "tanh"):
        check_tensor("gelu", input=input)
        raise RuntimeError("approximate argument must be either none or tanh.")
    if approximate == "none":
        return _apply("GeluBackward0", "GeluKernelImpl", input, G.gelu, G.gelu_gradient)
    return _apply("GeluBackward0", "GeluKernelImpl", input, G.gelu_tanh, G.gelu_tanh_gradient)


_sigmoid = f.function(kernel("sigmoid", lambda x: 1 / (1 + f.exp(-x))), "sigmoid")
_silu_forward = kernel("silu", lambda x: x / (1 + f.exp(-x)))


def _silu_formula(g: f.Value, x: f.Value) -> f.Value:
    s = _sigmoid(x)
    return g * (s * (1 + x * (1 - s)))


_silu_gradient = kernel("silu_gradient", _silu_formula)


def _silu(input: Tensor) -> Tensor:
    if input._kind.is_complex:
        return record(wrap(_silu_forward(input._a), input._kind), "SiluBackward0", (input,), _silu_gradient, (input,))
    return _apply("SiluBackward0", "silu_cpu", input, _silu_forward, _silu_gradient)


@functional
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    check_tensor("silu", input=input)
    return _inplace(_silu, input) if inplace else _silu(input)


# log(1 + exp(x)) without overflow
_softplus = f.function(kernel("softplus", lambda x: f.maximum(x, 0) + f.log1p(f.exp(-f.absolute(x)))), lambda x: softplus(x))
_mish_forward = kernel("mish", lambda x: x * f.tanh(_softplus(x)))


def _mish_formula(g: f.Value, x: f.Value) -> f.Value:
    t = f.tanh(_softplus(x))
    return g * (t + x * _sigmoid(x) * (1 - t * t))


_mish_gradient = kernel("mish_gradient", _mish_formula)


def _mish(input: Tensor) -> Tensor:
    return _apply("MishBackward0", "mish_cpu", input, _mish_forward, _mish_gradient)


@functional
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    check_tensor("mish", input=input)
    return _inplace(_mish, input) if inplace else _mish(input)


_softplus_forward = fuse(lambda x, beta, threshold: f.where(x * beta > threshold, x, _softplus(x * beta) / beta))
_softplus_gradient = fuse(lambda g, x, beta, threshold: f.where(x * beta > threshold, g, g * _sigmoid(x * beta)))


@functional(out=True)
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""
    return _apply("SoftplusBackward0", "softplus_cpu", input, _softplus_forward, _softplus_gradient, beta, threshold)


_logsigmoid_forward = fuse(lambda x: f.minimum(x, 0) - f.log1p(f.exp(-f.absolute(x))))
_falling = f.function(lambda x: 1 / (1 + f.exp(x)), lambda x: (-x).sigmoid())
_logsigmoid_gradient = fuse(lambda g, x: g * _falling(x))


@functional(out=True)
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = -softplus(-x)."""
    return _apply("LogSigmoidBackward0", "log_sigmoid_cpu", input, _logsigmoid_forward, _logsigmoid_gradient)


# --- piecewise linear -----------------------------------------------------------------------------------------------------------------

_hardswish_forward = kernel("hardswish", lambda x: x * f.minimum(f.maximum(x + 3, 0), 6) / 6)
_hardswish_gradient = kernel("hardswish_gradient", lambda g, x: g * f.where(x <= -3, 0.0, f.where(x >= 3, 1.0, x / 3 + 0.5)))
_hardsigmoid_forward = kernel("hardsigmoid", lambda x: f.minimum(f.maximum(x + 3, 0), 6) / 6)
_hardsigmoid_gradient = kernel("hardsigmoid_gradient", lambda g, x: f.where((x > -3) & (x < 3), g / 6, 0.0))


def _hardswish(input: Tensor) -> Tensor:
    return _apply("HardswishBackward0", "hardswish_cpu", input, _hardswish_forward, _hardswish_gradient)


@functional
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6."""
    check_tensor("hardswish", input=input)
    return _inplace(_hardswish, input) if inplace else _hardswish(input)


def _hardsigmoid(input: Tensor) -> Tensor:
    return _apply("HardsigmoidBackward0", "hardsigmoid_cpu", input, _hardsigmoid_forward, _hardsigmoid_gradient)


@functional
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    check_tensor("hardsigmoid", input=input)
    return _inplace(_hardsigmoid, input) if inplace else _hardsigmoid(input)


_outside = fuse(lambda g, x, limit: f.where((x >= -limit) & (x <= limit), 0.0, g))
_hardshrink_forward = fuse(lambda x, limit: f.where((x >= -limit) & (x <= limit), 0.0, x))
_softshrink_forward = kernel("softshrink", lambda x, limit: f.where(x > limit, x - limit, f.where(x < -limit, x + limit, x * 0)))


@functional(out=True)
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return _apply("HardshrinkBackward0", "hardshrink_cpu", input, _hardshrink_forward, _outside, lambd,
                  piecewise="HardshrinkBackwardBackward0")


@functional(out=True)
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 where that would cross it."""
    _floating(input, "softshrink_check")
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    return _apply("SoftshrinkBackward0", "softshrink_cpu", input, _softshrink_forward, _outside, lambd,
                  piecewise="SoftshrinkBackwardBackward0")


@functional
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - input.tanh()


@functional
def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


_threshold_forward = fuse(lambda x, limit, value: f.where(x <= limit, value, x))
_threshold_gradient = fuse(lambda g, x, limit: f.where(x <= limit, 0.0, g))


def _threshold(input: Tensor, limit: float, value: float, label: str = "ThresholdBackward0") -> Tensor:
    kind = input._kind
    if kind.dtype is bool_ or kind.is_complex:
        raise NotImplementedError(f"\"threshold_cpu\" not implemented for '{title(kind.dtype)}'")
    limit, value = [real(each, "int64_t" if not kind.is_floating else "float") for each in (limit, value)]
    if not kind.is_floating:
        return wrap(as_array(np.where(input._a <= _fits(limit, kind), _fits(value, kind), input._a), kind.np), kind)
    return _apply(label, "threshold_cpu", input, _threshold_forward, _threshold_gradient, limit, value, back=(limit,),
                  piecewise="ThresholdBackwardBackward0")


@functional
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else `value`."""
    check_tensor("threshold", input=input)
    return threshold_(input, threshold, value) if inplace else _threshold(input, threshold, value)


@functional
def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold` in place."""
    return _inplace(_threshold, input, threshold, value, "ThresholdBackward1")


# --- with slopes ----------------------------------------------------------------------------------------------------------------------

_leaky_forward = kernel("leaky_relu", lambda x, slope: f.where(x > 0, x, x * slope))
_leaky_gradient = kernel("leaky_relu_gradient", lambda g, x, slope: f.where(x > 0, g, g * slope))


def _no_gradient(r: Tensor, input: Tensor, label: str, what: str) -> Tensor:
    """The result of an in-place op whose gradient would have to be found from the result, which does not tell the input."""
    def grad(g: Tensor) -> Tensor:
        raise RuntimeError(f"In-place {what} which is not supported. This is caused by calling in-place forward function with a negative "
                           "slope, please call out-of-place version instead.")
    return record(wrap(r._a, r._kind), label, (input,), grad)


def _leaky(input: Tensor, slope: float, label: str = "LeakyReluBackward0") -> Tensor:
    if label.endswith("1") and slope < 0:
        return _no_gradient(_leaky(input, slope), input, label, "leakyReLu backward calculation is triggered with a negative slope")
    return _apply(label, "leaky_relu_cpu", input, _leaky_forward, _leaky_gradient, slope, piecewise="LeakyReluBackwardBackward0")


@functional
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x for x > 0, else negative_slope * x."""
    check_tensor("leaky_relu", input=input)
    return leaky_relu_(input, negative_slope) if inplace else _leaky(input, negative_slope)


@functional
def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` in place."""
    return _inplace(_leaky, input, negative_slope, "LeakyReluBackward1")


@functional
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x for x > 0, else weight * x, with one weight or one per channel (dimension 1)."""
    check_tensor("prelu", input=input, weight=weight)
    kind = input._kind
    if weight._kind.dtype is not kind.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {title(kind.dtype)} and {title(weight._kind.dtype)}")
    if weight.dim() > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}")
    count = weight.numel()
    if count != 1:
        if input.dim() == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.dim() >= 2 else 1
        if channels != count:
            raise RuntimeError(f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {count} and channel size "
                               f"= {channels}.")
    if input.dim() > 1:
        weight = weight.reshape(1, count, *(1,) * (input.dim() - 2))
    elif input.dim() == 0 and weight.dim() == 1:
        weight = weight.reshape(())
    _floating(input, "prelu_cpu")
    r = wrap(as_array(_leaky_forward(input._a, weight._a), kind.np), kind)
    return record(r, "PreluKernelBackward0", (input, weight), (_prelu_slopes, lambda g, x, w: _negative_part(g, x)), (input, weight),
                  array_grad=lambda g, x, w: (_leaky_gradient(g, x, w), _negative_part(g, x)))


_negative_part = fuse(lambda g, x: f.where(x > 0, 0.0, g * x))


def _prelu_slopes(g: Tensor, x: Tensor, w: Tensor) -> Tensor:
    return depending(_leaky_gradient(g, x, w), x, name="PreluKernelBackwardBackward0")


def _rrelu(input: Tensor, lower: float, upper: float, training: bool, generator: GeneratorLike = None,
           label: str = "RreluWithNoiseBackward0") -> Tensor:
    lower, upper = real(lower), real(upper)
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound, but got {lower:g} and {upper:g}")
    if not training:
        return _leaky(input, (lower + upper) / 2, label)
    kind = _floating(input, "rrelu_with_noise_out_cpu")
    if kind.np == np.float16 and kind.device is CPU:
        raise NotImplementedError("\"rrelu_with_noise_out_cpu\" not implemented for 'Half'")
    a = input._a
    if kind.device is not CPU and _drawn_here(kind):
        noise = _device_slopes(input, lower, upper, generator)
        return record(wrap(a * noise._a, kind), label, (input,),
                      lambda g, x, noise: depending(g * noise, x, name="RreluWithNoiseBackwardBackward0"),
                      (input, noise), lambda g, x, noise: g * noise)
    slope = np.ones(a.shape, np.float64)
    falling = a <= 0
    count = int(np.count_nonzero(falling))
    if count:
        slope[falling] = _slopes(count, lower, upper, kind, generator)
    noise = wrap(slope.astype(kind.np), kind)
    r = wrap(as_array(a * noise._a, kind.np), kind)
    return record(r, label, (input,), lambda g, x, noise: depending(g * noise, x, name="RreluWithNoiseBackwardBackward0"), (input, noise),
                  lambda g, x, noise: g * noise)


def _drawn_here(kind: Kind) -> bool:
    return drawn_here(kind)


def _device_slopes(input: Tensor, lower: float, upper: float, generator: GeneratorLike) -> Tensor:
    """The GPU draws for every element, and 1 takes the place of what is not needed."""
    kind = input._kind
    gen = generator_of(generator, kind.device, "rrelu")
    drawn = fresh(kind, input._a.shape, uniform_writer(gen, kind, lower, upper))
    return wrap(np.where(input._a <= 0, drawn._a, kind.np.type(1)), kind)


def _slopes(count: int, lower: float, upper: float, kind: Kind, generator: GeneratorLike) -> Array:
    """A uniform number per element that needs one, in PyTorch's order."""
    gen = generator_of(generator, kind.device, "rrelu")
    with gen.lock:
        return gen.doubles(count) * (upper - lower) + lower


@functional
def rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False) -> Tensor:
    """x for x > 0, else a * x: a uniform on [lower, upper] in training, else their mean."""
    check_tensor("rrelu", input=input)
    return rrelu_(input, lower, upper, training) if inplace else _rrelu(input, lower, upper, training)


@functional
def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
           generator: GeneratorLike = None) -> Tensor:
    """`rrelu` in place."""
    return inplace_from(input, _rrelu, (input, lower, upper, training, generator, "RreluWithNoiseBackward1"), {})


_gated = fuse(lambda first, second: first / (1 + f.exp(-second)))


@fuse
def _gated_gradient(g: f.Value, first: f.Value, second: f.Value) -> tuple[f.Value, f.Value]:
    s = _sigmoid(second)
    return g * s, g * first * (s * (1 - s))


@functional
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b) for the halves a and b of dimension `dim`."""
    check_tensor("glu", input=input)
    if input.dim() == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    d = wrap_dim(dim, input.dim())
    n = input.shape[d]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {d} is size {n}")
    kind = _floating(input, "glu_cpu")
    half = n // 2
    a = input._a.astype(np.float32) if kind.reduced else input._a
    first, second = np.split(a, [half], axis=d)
    r = wrap(as_array(_gated(first, second), kind.np), kind)

    def grad(g: Tensor, x: Tensor) -> Tensor:
        return cat(_gated_gradient(g, x.narrow(d, 0, half), x.narrow(d, half, half)), d)

    def array_grad(g: Array, a: Array) -> Array:
        first, second = np.split(a, [half], axis=d)
        return np.concatenate(_gated_gradient(g, first, second), axis=d)
    return record(r, "GluBackward0", (input,), grad, (input,),
                  _widened(array_grad) if kind.reduced else array_grad)


@functional
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return input.sigmoid()


@functional
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return input.tanh()


# --- what torch shows -----------------------------------------------------------------------------------------------------------------

def _torch_rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
                 generator: GeneratorLike = None) -> Tensor:
    """x for x > 0, else a * x: a uniform on [lower, upper] in training, else their mean."""
    check_tensor("rrelu", input=input)
    return _rrelu(input, lower, upper, training, generator)


def _torch_selu(input: Tensor) -> Tensor:
    """Scaled ELU with the self-normalising constants."""
    return selu(input)


def _torch_celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x for x > 0, else alpha (exp(x / alpha) - 1)."""
    return celu(input, alpha)


def _torch_threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where x > threshold, else `value`."""
    check_tensor("threshold", input=input)
    return _threshold(input, threshold, value)


for _name, _function in (("rrelu", _torch_rrelu), ("selu", _torch_selu), ("celu", _torch_celu), ("threshold", _torch_threshold),
                         ("rrelu_", rrelu_), ("selu_", selu_), ("celu_", celu_), ("threshold_", threshold_), ("prelu", prelu),
                         ("hardshrink", hardshrink)):
    export(_function, _name, guard=True)
method(prelu, guard=True)
method(hardshrink, guard=True)
