"""Activation functions, elementwise (softmax and its family are in softmax.py). What is named as in `torch.nn.functional` takes `inplace`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..devices import CPU
from ..dims import wrap_dim
from ..dtypes import bool_
from ..kernels import gelu as G
from ..kernels import special as S
from ..kernels.arrays import as_array
from ..kernels.fuse import fuse
from ..kernels.native import kernel
from ..tensor import Tensor, wrap
from .define import check_tensor, export, functional, method, unary
from .record import depending, record
from .registry import FUNCTIONS
from .write import inplace_from, title, write_out

__all__ = ["relu", "relu_", "relu6", "elu", "elu_", "selu", "selu_", "celu", "celu_", "gelu", "silu", "mish", "hardtanh", "hardtanh_", "hardswish",
           "hardsigmoid", "hardshrink", "softshrink", "tanhshrink", "threshold", "threshold_", "leaky_relu", "leaky_relu_", "prelu", "rrelu",
           "rrelu_", "glu", "softplus", "softsign", "logsigmoid", "sigmoid", "tanh"]

# Self-normalising networks' constants (Klambauer et al., 2017).
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

# --- the error and gamma functions ----------------------------------------------------------------------------------------------------
erf = unary("erf", kernel("erf", S.erf), lambda g, x: g * (x * x).neg().exp() * (2 / math.sqrt(math.pi)), complex=False,
            array_grad=lambda g, x: g * np.exp(-(x * x)) * (2 / math.sqrt(math.pi)))
erfc = unary("erfc", kernel("erfc", S.erfc), lambda g, x: g * (x * x).neg().exp() * (-2 / math.sqrt(math.pi)), complex=False,
             array_grad=lambda g, x: g * np.exp(-(x * x)) * (-2 / math.sqrt(math.pi)))
erfinv = unary("erfinv", S.erfinv, lambda g, y: g * (y * y).exp() * (math.sqrt(math.pi) / 2), complex=False, domain=(-0.9, 0.9), inplace=True)
lgamma = unary("lgamma", kernel("lgamma", S.lgamma), lambda g, x: g * digamma(x), complex=False, domain=(0.2, 4.0), inplace=True)
digamma = unary("digamma", kernel("digamma", S.digamma), lambda g, x: g * polygamma(1, x), complex=False, domain=(0.2, 4.0), inplace=True)


def polygamma(n: int, input: Tensor, *, out: Any = None) -> Tensor:
    """The n-th derivative of digamma."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if out is not None:
        from .write import write_out
        return write_out(out, polygamma(n, input), "polygamma")
    kind = input._kind.float_
    a = input._a.astype(np.float32) if kind.reduced else input._a.astype(kind.np, copy=False)
    r = wrap(as_array(S.polygamma(n, a), kind.np), kind)
    return record(r, "PolygammaBackward0", (input,), lambda g, x: g * polygamma(n + 1, x), (input,))


export(polygamma, guard=True)
method(lambda self, n: polygamma(n, self), "polygamma")
method(lambda self, n: inplace_from(self, lambda x: polygamma(n, x), (self,), {}), "polygamma_")

# --- the machinery --------------------------------------------------------------------------------------------------------------------


def _floating(input: Tensor, name: str) -> Any:
    """The kind of a floating-point tensor; PyTorch's error for others."""
    try:
        kind = input._kind
    except AttributeError:
        raise TypeError(f"{name.removesuffix('_cpu')}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}") from None
    if not kind.is_floating:
        raise NotImplementedError(f'"{name}" not implemented for \'{title(kind.dtype)}\'')
    return kind


def _widened(array_grad: Any) -> Any:
    """The array-level gradient of a reduced-precision tensor: computed in float32."""
    if array_grad is None:
        return None
    return lambda g, a: array_grad(g.astype(np.float32), a.astype(np.float32)).astype(g.dtype)


_NAMES = {"_numpy_gelu": "gelu", "_numpy_gelu_tanh": "gelu_tanh", "_silu_forward": "silu", "_mish_twin": "mish"}      # what the twins of kernels compute, for the device's table


def _apply(label: str, name: str, input: Tensor, forward: Any, grad: Any, array_grad: Any = None) -> Tensor:
    """One node that saves its input: `forward(array)`, `grad(g, x)` on tensors, `array_grad(g, a)` on arrays."""
    kind = _floating(input, name)
    a = input._a
    if kind.xp is not np and kind.xp.fused_for(a):
        fused = getattr(forward, "__name__", "")
        fused = _NAMES.get(fused, fused)
        r = kind.xp.forward(fused, forward)(a)
        r = as_array(r, kind.np)
        if array_grad is not None:
            array_grad = kind.xp.gradient(fused, array_grad)
    elif kind.reduced:
        r = as_array(forward(a.astype(np.float32)), kind.np)
        if array_grad is not None:
            array_grad = _widened(array_grad)
    else:
        r = as_array(forward(a), kind.np)
    r = wrap(r, kind)
    return r if input._node is None else record(r, label, (input,), grad, (input,), array_grad)


def _inplace(function: Any, input: Tensor, *args: Any) -> Tensor:
    return inplace_from(input, function, (input, *args), {})


# --- relu -----------------------------------------------------------------------------------------------------------------------------
_ZERO = {np.dtype(name): np.zeros((), name) for name in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")}


def _relu_forward(a: Any) -> Any:
    if a.dtype.kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")
    return np.maximum(a, _ZERO[a.dtype])


def _relu_array(g: Any, y: Any) -> Any:
    return np.where(y <= _ZERO[y.dtype], _ZERO[g.dtype], g)


_relu = unary("relu", kernel("relu", _relu_forward), lambda g, y: depending(g.masked_fill(y <= 0, 0), y, name="ThresholdBackwardBackward0"), array_grad=kernel("relu_gradient", _relu_array), ints="same",
              refuse_bool="Boolean inputs not supported for relu")
relu_ = functional(FUNCTIONS["relu_"])


@functional
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x)."""
    return relu_(input) if inplace else _relu(input)


_hardtanh_forward = kernel("clamp", lambda a, low, high: np.minimum(np.maximum(a, low), high))
_hardtanh_array = fuse(lambda g, a, low, high: np.where((a <= low) | (a >= high), 0.0, g))


def _clamped(input: Tensor, low: float, high: float) -> Tensor:
    kind = input._kind
    if kind.dtype is bool_:
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if kind.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    if not kind.is_floating:
        if kind.np.kind == "u" and low < 0:
            raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
        return wrap(as_array(np.clip(input._a, int(low), int(high)), kind.np), kind)
    return _apply("HardtanhBackward0", "hardtanh_cpu", input, lambda a: _hardtanh_forward(a, low, high),
                  lambda g, x: depending(g.masked_fill((x <= low) | (x >= high), 0), x, name="HardtanhBackwardBackward0"),
                  lambda g, a: _hardtanh_array(g, a, low, high))


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
    return hardtanh(input, min_val, max_val, True)


@functional
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6)."""
    check_tensor("relu6", input=input)
    return _inplace(_clamped, input, 0, 6) if inplace else _clamped(input, 0, 6)


# --- the exponential linear units -----------------------------------------------------------------------------------------------------

_elu_forward = fuse(lambda a, scale, factor, input_scale: np.where(a > 0, a * scale, np.expm1(np.minimum(a, 0) * input_scale) * factor))
_elu_array = fuse(lambda g, a, scale, slope, input_scale: g * np.where(a > 0, scale, np.exp(np.minimum(a, 0) * input_scale) * slope))


def _elu(input: Tensor, alpha: float, scale: float, input_scale: float, label: str = "EluBackward0") -> Tensor:
    """scale * (x, or alpha (exp(input_scale x) - 1) for x < 0)."""
    factor = alpha * scale

    def grad(g: Tensor, x: Tensor) -> Tensor:
        from .selection import where
        return g * where(x > 0, scale, (x.clamp(max=0) * input_scale).exp() * (factor * input_scale))
    return _apply(label, "elu_cpu", input, lambda a: _elu_forward(a, scale, factor, input_scale), grad,
                  lambda g, a: _elu_array(g, a, scale, factor * input_scale, input_scale))


@functional
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x for x > 0, else alpha (exp(x) - 1)."""
    check_tensor("elu", input=input)
    return elu_(input, alpha) if inplace else _elu(input, alpha, 1.0, 1.0)


@functional
def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` in place."""
    return _inplace(_elu, input, alpha, 1.0, 1.0, "EluBackward1")


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
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _elu(input, alpha, 1.0, 1.0 / alpha, label)


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

def _gelu_grad(g: Tensor, x: Tensor) -> Tensor:
    return g * ((erf(x * math.sqrt(0.5)) + 1) * 0.5 + x * (x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi)))


def _gelu_tanh_grad(g: Tensor, x: Tensor) -> Tensor:
    scale = math.sqrt(2 / math.pi)
    square = x * x
    t = (x * (square * (0.044715 * scale) + scale)).tanh()
    return g * ((t + 1) * 0.5 + x * (1 - t * t) * ((square * (3 * 0.044715 * scale) + scale) * 0.5))


@functional
def gelu(input: Tensor, approximate: str = "none", *, out: Any = None) -> Tensor:
    """x times the normal distribution function of x; approximate="tanh" uses a tanh in its place."""
    if out is not None:
        return write_out(out, gelu(input, approximate), "gelu")
    if approximate == "none":
        return _apply("GeluBackward0", "GeluKernelImpl", input, G.gelu, _gelu_grad, G.gelu_gradient)
    if approximate == "tanh":
        return _apply("GeluBackward0", "GeluKernelImpl", input, G.gelu_tanh, _gelu_tanh_grad, G.gelu_tanh_gradient)
    raise RuntimeError("approximate argument must be either none or tanh.")


def _logistic(a: Any) -> Any:
    r = np.negative(a)
    np.exp(r, out=r)
    r += 1
    return np.reciprocal(r, out=r)


def _silu_forward(a: Any) -> Any:
    r = np.negative(a, out=np.empty_like(a))
    np.exp(r, out=r)
    r += 1
    return np.divide(a, r, out=r)


def _silu_array(g: Any, a: Any) -> Any:
    s = _logistic(a.reshape(-1) if a.ndim == 0 else a).reshape(a.shape)
    return g * (s * (1 + a * (1 - s)))


_silu_forward = kernel("silu", _silu_forward)
_silu_array = kernel("silu_gradient", _silu_array)


def _silu_grad(g: Tensor, x: Tensor) -> Tensor:
    s = x.sigmoid()
    return g * (s * (1 + x * (1 - s)))


def _silu(input: Tensor) -> Tensor:
    if input._kind.is_complex:
        return record(wrap(input._a / (1 + np.exp(-input._a)), input._kind), "SiluBackward0", (input,), _silu_grad, (input,))
    return _apply("SiluBackward0", "silu_cpu", input, _silu_forward, _silu_grad, _silu_array)


@functional
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    check_tensor("silu", input=input)
    return _inplace(_silu, input) if inplace else _silu(input)


def _softplus_array(a: Any) -> Any:
    """log(1 + exp(a)) without overflow."""
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


_softplus_array = kernel("softplus", _softplus_array)


def _mish_grad(g: Tensor, x: Tensor) -> Tensor:
    t = softplus(x).tanh()
    return g * (t + x * x.sigmoid() * (1 - t * t))


def _mish_array(g: Any, a: Any) -> Any:
    t = np.tanh(_softplus_array(a))
    return g * (t + a * (1 / (1 + np.exp(-a))) * (1 - t * t))


_mish_array = kernel("mish_gradient", _mish_array)


def _mish_twin(a: Any) -> Any:
    return a * np.tanh(_softplus_array(a))


_mish_forward = kernel("mish", _mish_twin)


def _mish(input: Tensor) -> Tensor:
    return _apply("MishBackward0", "mish_cpu", input, _mish_forward, _mish_grad, _mish_array)


@functional
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    check_tensor("mish", input=input)
    return _inplace(_mish, input) if inplace else _mish(input)


_softplus_forward = fuse(lambda a, beta, threshold: np.where(a * beta > threshold, a, _softplus_array(a * beta) / beta))
_softplus_gradient = fuse(lambda g, a, beta, threshold: np.where(a * beta > threshold, g, g / (1 + np.exp(-(a * beta)))))


@functional(out=True)
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""
    def grad(g: Tensor, x: Tensor) -> Tensor:
        from .selection import where
        z = x * beta
        return g * where(z > threshold, 1.0, z.sigmoid())

    return _apply("SoftplusBackward0", "softplus_cpu", input, lambda a: _softplus_forward(a, beta, threshold), grad,
                  lambda g, a: _softplus_gradient(g, a, beta, threshold))


_logsigmoid_forward = fuse(lambda a: np.minimum(a, 0) - np.log1p(np.exp(-np.abs(a))))
_logsigmoid_array = fuse(lambda g, a: g / (1 + np.exp(a)))


@functional(out=True)
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = -softplus(-x)."""
    return _apply("LogSigmoidBackward0", "log_sigmoid_cpu", input, _logsigmoid_forward, lambda g, x: g * (-x).sigmoid(), _logsigmoid_array)


# --- piecewise linear -----------------------------------------------------------------------------------------------------------------

_hardswish_forward = kernel("hardswish", lambda a: a * np.minimum(np.maximum(a + 3, 0), 6) / 6)
_hardswish_array = kernel("hardswish_gradient", lambda g, a: g * np.where(a <= -3, 0.0, np.where(a >= 3, 1.0, a / 3 + 0.5)))
_hardsigmoid_forward = kernel("hardsigmoid", lambda a: np.minimum(np.maximum(a + 3, 0), 6) / 6)
_hardsigmoid_array = kernel("hardsigmoid_gradient", lambda g, a: np.where((a > -3) & (a < 3), g / 6, 0.0))


def _hardswish_grad(g: Tensor, x: Tensor) -> Tensor:
    from .selection import where
    return g * where(x <= -3, 0.0, where(x >= 3, 1.0, x / 3 + 0.5))


def _hardswish(input: Tensor) -> Tensor:
    return _apply("HardswishBackward0", "hardswish_cpu", input, _hardswish_forward, _hardswish_grad, _hardswish_array)


@functional
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6."""
    check_tensor("hardswish", input=input)
    return _inplace(_hardswish, input) if inplace else _hardswish(input)


def _hardsigmoid(input: Tensor) -> Tensor:
    return _apply("HardsigmoidBackward0", "hardsigmoid_cpu", input, _hardsigmoid_forward,
                  lambda g, x: (g / 6).masked_fill(~((x > -3) & (x < 3)), 0), _hardsigmoid_array)


@functional
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    check_tensor("hardsigmoid", input=input)
    return _inplace(_hardsigmoid, input) if inplace else _hardsigmoid(input)


_outside = fuse(lambda g, a, limit: np.where((a >= -limit) & (a <= limit), 0.0, g))
_softshrink_forward = kernel("softshrink", lambda a, limit: np.where(a > limit, a - limit, np.where(a < -limit, a + limit, a * 0)))


@functional(out=True)
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return _apply("HardshrinkBackward0", "hardshrink_cpu", input, lambda a: _outside(a, a, lambd),
                  lambda g, x: depending(g.masked_fill((x >= -lambd) & (x <= lambd), 0), x, name="HardshrinkBackwardBackward0"), lambda g, a: _outside(g, a, lambd))


@functional(out=True)
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 where that would cross it."""
    _floating(input, "softshrink_check")
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    return _apply("SoftshrinkBackward0", "softshrink_cpu", input,
                  lambda a: _softshrink_forward(a, lambd),
                  lambda g, x: depending(g.masked_fill((x >= -lambd) & (x <= lambd), 0), x, name="SoftshrinkBackwardBackward0"), lambda g, a: _outside(g, a, lambd))


@functional
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    check_tensor("tanhshrink", input=input)
    return input - input.tanh()


@functional
def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    check_tensor("softsign", input=input)
    return input / (input.abs() + 1)


_threshold_forward = fuse(lambda a, limit, value: np.where(a <= limit, value, a))
_above = fuse(lambda g, a, limit: np.where(a <= limit, 0.0, g))


def _threshold(input: Tensor, limit: float, value: float, label: str = "ThresholdBackward0") -> Tensor:
    kind = input._kind
    if kind.dtype is bool_ or kind.is_complex:
        raise NotImplementedError(f"\"threshold_cpu\" not implemented for '{title(kind.dtype)}'")
    if not kind.is_floating:
        return wrap(as_array(np.where(input._a <= int(limit), int(value), input._a), kind.np), kind)
    return _apply(label, "threshold_cpu", input, lambda a: _threshold_forward(a, limit, value),
                  lambda g, x: depending(g.masked_fill(x <= limit, 0), x, name="ThresholdBackwardBackward0"), lambda g, a: _above(g, a, limit))


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

_leaky_forward = kernel("leaky_relu", lambda a, slope: np.where(a > 0, a, a * slope))
_leaky_array = kernel("leaky_relu_gradient", lambda g, a, slope: np.where(a > 0, g, g * slope))


def _leaky(input: Tensor, slope: float, label: str = "LeakyReluBackward0") -> Tensor:
    def grad(g: Tensor, x: Tensor) -> Tensor:
        from .selection import where
        return depending(where(x > 0, g, g * slope), x, name="LeakyReluBackwardBackward0")
    return _apply(label, "leaky_relu_cpu", input, lambda a: _leaky_forward(a, slope), grad, lambda g, a: _leaky_array(g, a, slope))


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
            raise RuntimeError(f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {count} and channel size = {channels}.")
    if input.dim() > 1:
        weight = weight.reshape(1, count, *(1,) * (input.dim() - 2))
    elif input.dim() == 0 and weight.dim() == 1:
        weight = weight.reshape(())
    _floating(input, "prelu_cpu")
    a, w = input._a, weight._a
    negative = wrap(as_array(~(a > 0)), kind.bool_)
    r = wrap(as_array(np.where(negative._a, a * w, a), kind.np), kind)

    def grad(g: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        from .selection import where
        return depending(where(negative, g * w, g), x, name="PreluKernelBackwardBackward0"), (g * x).masked_fill(~negative, 0)
    return record(r, "PreluKernelBackward0", (input, weight), grad, (input, weight))


def _rrelu(input: Tensor, lower: float, upper: float, training: bool, generator: Any = None, label: str = "RreluWithNoiseBackward0") -> Tensor:
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound, but got {lower:g} and {upper:g}")
    if not training:
        return _leaky(input, (lower + upper) / 2, label)
    kind = _floating(input, "rrelu_with_noise_out_cpu")
    a = input._a
    if kind.device is not CPU and _drawn_here(kind):
        noise = _device_slopes(input, lower, upper, generator)
        return record(wrap(a * noise._a, kind), label, (input,), lambda g, x, noise: depending(g * noise, x, name="RreluWithNoiseBackwardBackward0"),
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


def _drawn_here(kind: Any) -> bool:
    from .sampling import drawn_here
    return drawn_here(kind)


def _device_slopes(input: Tensor, lower: float, upper: float, generator: Any) -> Tensor:
    """The GPU draws for every element, and 1 takes the place of what is not needed."""
    from ..generator import generator_for, generator_of
    from .random import fresh, uniform_writer
    kind = input._kind
    gen = generator_of(generator, kind.device, "rrelu") if generator is not None else generator_for(kind.device)
    drawn = fresh(kind, input._a.shape, uniform_writer(gen, kind, lower, upper))
    return wrap(np.where(input._a <= 0, drawn._a, kind.np.type(1)), kind)


def _slopes(count: int, lower: float, upper: float, kind: Any, generator: Any) -> Any:
    """A uniform number per element that needs one, in PyTorch's order."""
    from ..generator import generator_for, generator_of
    gen = generator_of(generator, kind.device, "rrelu") if generator is not None else generator_for(kind.device)
    with gen.lock:
        return gen.doubles(count) * (upper - lower) + lower


@functional
def rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False) -> Tensor:
    """x for x > 0, else a * x: a uniform on [lower, upper] in training, else their mean."""
    check_tensor("rrelu", input=input)
    return rrelu_(input, lower, upper, training) if inplace else _rrelu(input, lower, upper, training)


@functional
def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, generator: Any = None) -> Tensor:
    """`rrelu` in place."""
    return _inplace(_rrelu, input, lower, upper, training, generator, "RreluWithNoiseBackward1")


_gated = fuse(lambda first, second: first / (1 + np.exp(-second)))


@fuse
def _gated_array(g: Any, first: Any, second: Any) -> Any:
    s = 1 / (1 + np.exp(-second))
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
        from .joining import cat
        first, second = x.narrow(d, 0, half), x.narrow(d, half, half)
        s = second.sigmoid()
        return cat([g * s, g * first * (s * (1 - s))], d)

    def array_grad(g: Any, a: Any) -> Any:
        first, second = np.split(a, [half], axis=d)
        return np.concatenate(_gated_array(g, first, second), axis=d)
    return record(r, "GluBackward0", (input,), grad, (input,), _widened(array_grad) if kind.reduced else array_grad)


@functional
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return input.sigmoid()


@functional
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return input.tanh()


# --- what torch shows -----------------------------------------------------------------------------------------------------------------

def _torch_rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, generator: Any = None) -> Tensor:
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
    export(_function, _name)
method(prelu)
method(hardshrink)
