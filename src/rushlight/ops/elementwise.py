"""Elementwise functions of one tensor, and comparisons, bitwise and logical ops of two."""

from __future__ import annotations

import builtins
import operator
from math import pi
from typing import Any

import numpy as np

from ..dtypes import bool_, promote_types
from ..kernels import formula as f
from ..kernels.arrays import as_array
from ..kernels.fuse import fuse
from ..kernels.native import kernel
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, Operand
from .creation import _fits
from .define import OPERATORS, binary, comparison, either_way, unary
from .errors import title
from .promotion import real, result_type
from .public import export, method, op
from .record import record
from .registry import OPS
from .selection import where
from .write import AT_ONCE, computed_at_once, inplace_from

__all__: list[str] = []

# --- exponentials and logarithms ------------------------------------------------------------------------------------------------------
exp = unary("exp", np.exp, lambda g, y: g * y)
exp2 = unary("exp2", np.exp2, lambda g, y: g * (y * 0.6931471805599453))
expm1 = unary("expm1", np.expm1, lambda g, y: g * (y + 1))
log = unary("log", np.log, lambda g, x: g / x, domain=(0.1, 4.0))
log2 = unary("log2", np.log2, lambda g, x: g / (x * 0.6931471805599453), domain=(0.1, 4.0))
log10 = unary("log10", np.log10, lambda g, x: g / (x * 2.302585092994046), domain=(0.1, 4.0))
log1p = unary("log1p", np.log1p, lambda g, x: g / (x + 1), domain=(-0.9, 4.0))

# --- roots and powers -----------------------------------------------------------------------------------------------------------------
sqrt = unary("sqrt", np.sqrt, lambda g, y: g / (y + y), domain=(0.1, 4.0))
rsqrt = unary("rsqrt", kernel("rsqrt", lambda a: 1 / np.sqrt(a)), lambda g, y: g * (y * y * y) * -0.5, domain=(0.1, 4.0))
reciprocal = unary("reciprocal", np.reciprocal, lambda g, y: -g * (y * y), domain=(0.2, 4.0))
_doubled = f.function(lambda x: x + x, lambda x: x.pow(1) * 2)       # of tensors so that the third derivative is a zero, not missing
square = unary("square", kernel("square", lambda a: np.square(a) if a.dtype != bool else a.astype(np.int64)), lambda g, x: g * _doubled(x),
               ints="same", label="PowBackward0")

# --- trigonometry ---------------------------------------------------------------------------------------------------------------------
sin = unary("sin", np.sin, lambda g, x: g * f.cos(x))
cos = unary("cos", np.cos, lambda g, x: g * -f.sin(x))
tan = unary("tan", np.tan, lambda g, y: g * (y * y + 1), domain=(-1.4, 1.4))
asin = unary("asin", np.arcsin, lambda g, x: g / f.sqrt(1 - x * x), alias=("arcsin",), domain=(-0.95, 0.95))
acos = unary("acos", np.arccos, lambda g, x: -g / f.sqrt(1 - x * x), alias=("arccos",), domain=(-0.95, 0.95))
atan = unary("atan", np.arctan, lambda g, x: g / (x * x + 1), alias=("arctan",))
sinh = unary("sinh", np.sinh, lambda g, x: g * f.cosh(x))
cosh = unary("cosh", np.cosh, lambda g, x: g * f.sinh(x))
tanh = unary("tanh", np.tanh, kernel("tanh_gradient", lambda g, y: g * (1 - y * y)))
asinh = unary("asinh", np.arcsinh, lambda g, x: g / f.sqrt(x * x + 1), alias=("arcsinh",))
acosh = unary("acosh", np.arccosh, lambda g, x: g / f.sqrt(x * x - 1), alias=("arccosh",), domain=(1.1, 4.0))
atanh = unary("atanh", np.arctanh, lambda g, x: g / (1 - x * x), alias=("arctanh",), domain=(-0.9, 0.9))


def _sinc(a: Array) -> Array:
    t = pi * a
    with np.errstate(all="ignore"):
        return np.where(a == 0, a.dtype.type(1), np.sin(t) / t).astype(a.dtype)


def _sinc_grad(g: f.Value, x: f.Value) -> f.Value:
    t = x * pi
    return g * f.where(x == 0, 0.0, (t * f.cos(t) - f.sin(t)) / (t * x))


sinc = unary("sinc", _sinc, _sinc_grad)
deg2rad = unary("deg2rad", fuse(lambda a: a * (pi / 180)), lambda g: g * (pi / 180), complex=False)
rad2deg = unary("rad2deg", fuse(lambda a: a * (180 / pi)), lambda g: g * (180 / pi), complex=False)


# --- sigmoid and its family -----------------------------------------------------------------------------------------------------------

sigmoid = unary("sigmoid", kernel("sigmoid", lambda x: 1 / (1 + f.exp(-x))), kernel("sigmoid_gradient", lambda g, y: g * (y * (1 - y))))


def _sign(a: Array) -> Array:
    """-1, 0 or 1; 0 for nan, as in PyTorch."""
    return (a > 0).astype(a.dtype) - (a < 0).astype(a.dtype) if a.dtype.kind not in "ub" else (a > 0).astype(a.dtype)


_sign_of = kernel("sign", _sign)


def _sgn(a: Array) -> Array:
    if a.dtype.kind != "c":
        return _sign(a)
    size = np.abs(a)
    return np.where(size == 0, 0, a / np.where(size == 0, 1, size)).astype(a.dtype)


def _zero_grad(g: f.Value) -> f.Value:
    """Zeros, also for gradients that are infinite or nan."""
    return f.where(f.isfinite(g), g, 0.0) * 0


# --- rounding, sign -------------------------------------------------------------------------------------------------------------------
def _rounding(name: str, ufunc: Function, **more: Any) -> Function:
    return unary(name, kernel(name, lambda a: ufunc(a) if a.dtype.kind in "fV" else a.copy()), _zero_grad, ints="same", complex=False,
                 refuse_bool=f"\"{name}_vml_cpu\" not implemented for 'Bool'", **more)


floor = _rounding("floor", np.floor)
ceil = _rounding("ceil", np.ceil)
trunc = _rounding("trunc", np.trunc, alias=("fix",))


_sign_or_direction = f.function(_sign_of, "sgn")
abs = unary("abs", np.abs, lambda g, x: g * _sign_or_direction(x), ints="same", alias=("absolute",), inplace=True,
            refuse_bool="\"abs_cpu\" not implemented for 'Bool'", holomorphic=False)
Tensor.__abs__ = abs
_abs_inplace = Tensor.abs_


def abs_(self: Tensor) -> Tensor:
    """In-place form of `abs`; the absolute values of complex numbers are real and don't fit."""
    if self._kind.is_complex:
        raise RuntimeError("In-place abs is not supported for complex tensors.")
    return _abs_inplace(self)


for _name in ("abs_", "absolute_"):
    method(abs_, _name)
export(abs_, guard=True)
sign = unary("sign", _sign_of, _zero_grad, ints="same", complex=False, inplace=True)


def _sgn_grad(g: Tensor, x: Tensor) -> Tensor:
    if not x.is_complex():
        return g * 0
    size = x.abs()
    s = x.sgn()
    r = (g - s * (g * s.conj()).real) / size
    return r.masked_fill(size == 0, 0)


_sgn_forward = unary("sgn", _sgn, None, ints="same", function=False)


@op(method=True, inplace=True, out=True)
def sgn(input: Tensor) -> Tensor:
    """The sign of real numbers; z / |z| of complex ones (0 for 0)."""
    r = _sgn_forward(input.detach() if input._node is not None else input)
    return record(r, "SgnBackward0", (input,), _sgn_grad, (input,), holomorphic=False)


def _half_even(a: Array, decimals: int) -> Array:
    if decimals == 0:
        return np.rint(a)
    scale = a.dtype.type(10.0 ** builtins.abs(decimals))
    return np.rint(a * scale) / scale if decimals > 0 else np.rint(a / scale) * scale




@op(method=True, inplace="function", out=True)
def round(input: Tensor, *, decimals: int | None = None) -> Tensor:
    """Round half to even, to `decimals` digits after the point."""
    kind = input._kind
    if kind.dtype is bool_ or kind.is_complex:
        raise NotImplementedError(f"\"round_vml_cpu\" not implemented for '{'Bool' if not kind.is_complex else 'ComplexFloat'}'")
    if not kind.is_floating:
        if decimals is not None:
            raise NotImplementedError(f"\"round_{'vml_' * (not decimals)}cpu\" not implemented for '{kind.dtype.alias.capitalize()}'")
        return wrap(input._a.copy(), kind)
    a = input._a.astype(np.float32) if kind.reduced else input._a
    r = wrap(as_array(_half_even(a, decimals or 0), kind.np), kind)
    return record(r, "RoundBackward0", (input,), _zero_grad, (), _zero_grad)


frac = unary("frac", kernel("frac", lambda a: a - np.trunc(a)), lambda g: g, complex=False, ints="refuse")


@op(method=True)
def positive(input: Tensor) -> Tensor:
    """The tensor itself; an error for bool."""
    if input._kind.dtype is bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


# --- questions ------------------------------------------------------------------------------------------------------------------------
isnan = unary("isnan", kernel("isnan", lambda a: np.isnan(a)), None, ints="bool", inplace=False)
isinf = unary("isinf", kernel("isinf", lambda a: np.isinf(a)), None, ints="bool", inplace=False)
isfinite = unary("isfinite", kernel("isfinite", lambda a: np.isfinite(a)), None, ints="bool", inplace=False)
isposinf = unary("isposinf", lambda a: a == np.inf, None, ints="bool", inplace=False, complex=False)
isneginf = unary("isneginf", lambda a: a == -np.inf, None, ints="bool", inplace=False, complex=False)
signbit = unary("signbit", lambda a: np.signbit(a) if a.dtype.kind != "b" else np.zeros_like(a), None, ints="bool", inplace=False,
                complex=False)
logical_not = unary("logical_not", np.logical_not, None, ints="bool", inplace=False)


@op(method=True)
def isreal(input: Tensor) -> Tensor:
    """Where the imaginary part is zero."""
    return wrap(as_array(np.isreal(input._a)), input._kind.bool_)


def logical_not_(self: Tensor) -> Tensor:
    """In-place form of `logical_not`."""
    return inplace_from(self, lambda t: logical_not(t).to(t.dtype), (self,), {})


method(logical_not_)

# --- comparisons ----------------------------------------------------------------------------------------------------------------------
eq = comparison("eq", np.equal, complex=True)
ne = comparison("ne", np.not_equal, alias=("not_equal",), complex=True)
lt = comparison("lt", np.less, alias=("less",))
le = comparison("le", np.less_equal, alias=("less_equal",))
gt = comparison("gt", np.greater, alias=("greater",))
ge = comparison("ge", np.greater_equal, alias=("greater_equal",))


def _as_numbers(compare: Function) -> Function:
    """The comparison in place, which writes 1 and 0."""
    formula = fuse(lambda a, b: f.where(compare(a, b), 1.0, 0.0))
    return lambda self, other: computed_at_once(self, formula, other)


for _op, _compare in ((eq, operator.eq), (ne, operator.ne), (lt, operator.lt), (le, operator.le), (gt, operator.gt), (ge, operator.ge)):
    AT_ONCE[_op] = _as_numbers(_compare)


# == and != answer for any object: something that is no tensor and no number is not equal.
Tensor.__eq__, Tensor.__ne__ = OPERATORS["eq"], OPERATORS["ne"]
Tensor.__lt__, Tensor.__le__, Tensor.__gt__, Tensor.__ge__ = OPERATORS["lt"], OPERATORS["le"], OPERATORS["gt"], OPERATORS["ge"]

# --- bits and logic -------------------------------------------------------------------------------------------------------------------
bitwise_and = binary("bitwise_and", np.bitwise_and, None, result="int")
bitwise_or = binary("bitwise_or", np.bitwise_or, None, result="int")
bitwise_xor = binary("bitwise_xor", np.bitwise_xor, None, result="int")


def _shift(ufunc: Function, left: bool) -> Function:
    """By none of the places that there are: no bit is left, or the sign in all of them."""
    def shift(a: Any, b: Any) -> Any:
        places = a.dtype.itemsize * 8 - 1
        outside = b.view(f"u{b.itemsize}") > places if b.dtype.kind == "i" else b > places      # negative numbers are large ones then
        return np.where(outside, a.dtype.type(0) if left else a >> places, ufunc(a, b & places))
    return shift


bitwise_left_shift = binary("bitwise_left_shift", _shift(np.left_shift, True), None, result="int", only="int")
bitwise_right_shift = binary("bitwise_right_shift", _shift(np.right_shift, False), None, result="int", only="int")
logical_and = binary("logical_and", np.logical_and, None, result="bool", numbers="none")
logical_or = binary("logical_or", np.logical_or, None, result="bool", numbers="none")
logical_xor = binary("logical_xor", np.logical_xor, None, result="bool", numbers="none")


@op(method=True, inplace=True, out=True)
def bitwise_not(input: Tensor) -> Tensor:
    """All bits inverted; logical not for bool."""
    kind = input._kind
    if kind.differentiable:
        raise NotImplementedError(f"\"bitwise_not_cpu\" not implemented for '{kind.dtype.alias.capitalize()}'")
    return wrap(as_array(np.invert(input._a)), kind)


Tensor.__and__ = Tensor.__rand__ = OPERATORS["bitwise_and"]
Tensor.__or__ = Tensor.__ror__ = OPERATORS["bitwise_or"]
Tensor.__xor__ = Tensor.__rxor__ = OPERATORS["bitwise_xor"]
Tensor.__lshift__, Tensor.__rshift__ = OPERATORS["bitwise_left_shift"], OPERATORS["bitwise_right_shift"]
Tensor.__rlshift__ = lambda self, other: either_way(OPS["bitwise_left_shift"], other, self)
Tensor.__rrshift__ = lambda self, other: either_way(OPS["bitwise_right_shift"], other, self)


def _invert(self: Tensor) -> Tensor:
    """``~tensor``: all bits inverted, logical not for bool."""
    if self._kind.differentiable:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return bitwise_not(self)


Tensor.__invert__ = _invert
Tensor.__iand__, Tensor.__ior__, Tensor.__ixor__ = Tensor.bitwise_and_, Tensor.bitwise_or_, Tensor.bitwise_xor_
Tensor.__ilshift__, Tensor.__irshift__ = Tensor.bitwise_left_shift_, Tensor.bitwise_right_shift_


# --- two tensors ----------------------------------------------------------------------------------------------------------------------

def _share(g: f.Value, mine: f.Value, other: f.Value, loses: f.Value) -> f.Value:
    """The gradient where `mine` does not lose; half of it where both are equal."""
    return f.where(mine == other, g * 0.5, f.where(loses, 0.0, g))


maximum = binary("maximum", np.maximum,
                 (lambda g, a, b: _share(g, a, b, a < b), lambda g, a, b: _share(g, b, a, b < a)),
                 complex=False, inplace=False, numbers="none")
minimum = binary("minimum", np.minimum,
                 (lambda g, a, b: _share(g, a, b, a > b), lambda g, a, b: _share(g, b, a, b > a)),
                 complex=False, inplace=False, numbers="none")
fmax = binary("fmax", np.fmax, (lambda g, a, b: f.where((a >= b) | f.isnan(b), g, 0.0),
                                lambda g, a, b: f.where((a >= b) | f.isnan(b), 0.0, g)), complex=False, inplace=False, numbers="none")
fmin = binary("fmin", np.fmin, (lambda g, a, b: f.where((a <= b) | f.isnan(b), g, 0.0),
                                lambda g, a, b: f.where((a <= b) | f.isnan(b), 0.0, g)), complex=False, inplace=False, numbers="none")


def _reciprocal_square(a: f.Value, b: f.Value) -> f.Value:
    """1 / (a^2 + b^2), and 0 where that is no number, as PyTorch has it at the origin."""
    total = a * a + b * b
    return f.where(total == 0, 0.0, 1 / total)


atan2 = binary("atan2", np.arctan2, (lambda g, a, b: g * (b * _reciprocal_square(a, b)), lambda g, a, b: g
                                     * (-a * _reciprocal_square(a, b))),
               result="float", complex=False, alias=("arctan2",), numbers="none")
hypot = binary("hypot", np.hypot, (lambda g, a, y: g * (a / y), lambda g, b, y: g * (b / y)), complex=False, only="float", numbers="none")
copysign = binary("copysign", np.copysign, (lambda g, a, y: g * (a.sgn() * y.sgn()), lambda g: g * 0), result="float", complex=False,
                  numbers="second")
nextafter = binary("nextafter", np.nextafter, (lambda g, a, b: f.where(a == b, 0.0, g), lambda g: g * 0), complex=False, only="float",
                   numbers="none")
heaviside = binary("heaviside", np.heaviside, None, complex=False, numbers="none", refuse=lambda a, b: None if a is b else
                   "heaviside is not yet implemented for tensors with different dtypes.")


def _no_integers(name: str) -> Function:
    def refuse(a: Any, b: Any) -> None:
        d = promote_types(a, b)
        if not (d.is_floating_point or d.is_complex):
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{title(d)}'")
    return refuse


def _logaddexp_share(g: f.Value, mine: f.Value, other: f.Value) -> f.Value:
    return g / (1 + f.exp(other - mine))


_real_logaddexp = kernel("logaddexp", np.logaddexp)


def _logaddexp(a: Any, b: Any) -> Any:
    if a.dtype.kind != "c":
        return _real_logaddexp(a, b)
    first = a.real >= b.real                    # exp of the other, relative to the larger, can't overflow
    high, low = np.where(first, a, b), np.where(first, b, a)
    return np.where(high == low, high + a.dtype.type(np.log(2)), high + np.log1p(np.exp(low - high))).astype(a.dtype)


logaddexp = binary("logaddexp", _logaddexp,
                   (lambda g, a, b: _logaddexp_share(g, a, b), lambda g, a, b: _logaddexp_share(g, b, a)), inplace=False, numbers="none",
                   refuse=_no_integers("logaddexp"))
logaddexp2 = binary("logaddexp2", np.logaddexp2,
                    (lambda g, a, b: g / (1 + f.exp2(b - a)), lambda g, a, b: g / (1 + f.exp2(a - b))), complex=False, inplace=False,
                    numbers="none", only="float")
gcd = binary("gcd", np.gcd, None, result="int", only="int", numbers="none", inplace="function")
lcm = binary("lcm", lambda a, b: np.abs(np.lcm(a, b)), None, result="int", only="int", numbers="none", inplace="function")


def _xlogy(a: Array, b: Array) -> Array:
    with np.errstate(all="ignore"):
        r = a * np.log(b)
    return np.where(np.isnan(b), b, np.where(a == 0, a.dtype.type(0), r)).astype(a.dtype)


def _xlogy_first(g: f.Value, a: f.Value, b: f.Value) -> f.Value:
    return g * f.where((a == 0) & (b <= 0), 0.0, f.log(b))


xlogy = binary("xlogy", _xlogy, (_xlogy_first, lambda g, a, b: g * a / b), result="float", complex=False, domain=(0.1, 3.0),
               inplace="function")


_addcmul = fuse(lambda x, a, b, value: x + a * b * value)
_addcdiv = fuse(lambda x, a, b, value: x + a / b * value)
_lerp_near = fuse(lambda x, end, weight: x + (end - x) * weight)
_lerp_far = fuse(lambda x, end, weight: end - (end - x) * (1 - weight))
_lerp_each = fuse(lambda x, end, weight: f.where(f.absolute(weight) < 0.5, x + weight * (end - x), end - (end - x) * (1 - weight)))


def _lerp(weight: Operand) -> Function:
    """The formula of `lerp` for a number, or for a tensor."""
    return _lerp_each if isinstance(weight, Tensor) else _lerp_near if builtins.abs(weight) < 0.5 else _lerp_far


def _fused(formula: Function, *operands: Any) -> Tensor | None:
    """The formula of plain tensors of one kind that need no gradient, the last may be a number; None for others."""
    kind = operands[0]._kind
    if not kind.fast:
        return None
    arrays: list[Any] = []
    for each in operands:
        if each.__class__ is Tensor:
            if each._kind is not kind or each._node is not None:
                return None
            arrays.append(each._a)
        elif len(arrays) == len(operands) - 1 and (each.__class__ is float or each.__class__ is int):
            arrays.append(each)
        else:
            return None
    try:
        return wrap(as_array(formula(*arrays)), kind)
    except ValueError:          # shapes that do not go together
        return None


def _tensors(name: str, tensor1: Tensor, tensor2: Tensor) -> None:
    """PyTorch's error where an operand is a number."""
    for position, each in ((1, tensor1), (2, tensor2)):
        if not isinstance(each, Tensor):
            raise TypeError(f"{name}(): argument 'tensor{position}' (position {position + 1}) must be Tensor, not {type(each).__name__}")


@op(method=True, inplace=True, out=True)
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2, with broadcasting."""
    if input.__class__ is Tensor and (r := _fused(_addcmul, input, tensor1, tensor2, value)) is not None:
        return r
    _tensors("addcmul", tensor1, tensor2)
    product = tensor1 * tensor2
    if input._kind is not product._kind and (d := result_type(input, product)) is not product._kind.dtype:
        product = tensor1.to(d) * tensor2           # in the result's dtype from the start
    if product._kind is product._kind.bool_ and input._kind is product._kind:
        raise NotImplementedError("\"addcmul_cpu_out\" not implemented for 'Bool'")
    if value.__class__ is float and not (product._kind.differentiable or input._kind.differentiable):
        value = int(value)
    if value.__class__ is complex and not (product._kind.is_complex or input._kind.is_complex):
        value = real(value, "float")
    return input + (product if value == 1 else product * value)


@op(method=True, inplace=True, out=True)
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2, with broadcasting."""
    if input.__class__ is Tensor and (r := _fused(_addcdiv, input, tensor1, tensor2, value)) is not None:
        return r
    _tensors("addcdiv", tensor1, tensor2)
    if not (tensor1._kind.differentiable or tensor2._kind.differentiable):
        raise RuntimeError("Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a true "
                           "division of tensor1 and tensor2. Use input + value * torch.trunc(tensor1 / tensor2) or "
                           "torch.div(rounding_mode='trunc')")
    quotient = tensor1 / tensor2
    if input._kind is not quotient._kind and (d := result_type(input, quotient)) is not quotient._kind.dtype:
        quotient = tensor1.to(d) / tensor2
    if value.__class__ is complex and not (quotient._kind.is_complex or input._kind.is_complex):
        value = real(value, "float")
    return input + (quotient if value == 1 else quotient * value)


@op(method=True, inplace=True, out=True)
def lerp(input: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """input + weight * (end - input), from the nearer end, so that weight 1 gives `end` exactly."""
    if input.__class__ is Tensor and (r := _fused(_lerp(weight), input, end, weight)) is not None:
        return r
    if end._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"expected dtype {input._kind.dtype.alias} for `end` but got dtype {end._kind.dtype.alias}")
    if not input._kind.differentiable:
        raise NotImplementedError(f"\"lerp_kernel_{'tensor' if isinstance(weight, Tensor) else 'scalar'}\" not implemented for "
                                  f"'{title(input._kind.dtype)}'")
    if not isinstance(weight, Tensor):
        if builtins.abs(weight) < 0.5:
            return input + (end - input) * weight
        return end - (end - input) * (1 - weight)
    if weight._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"expected dtype {input._kind.dtype.alias} for `weight` but got dtype {weight._kind.dtype.alias}")
    difference = end - input
    return where(weight.abs() < 0.5, input + weight * difference, end - difference * (1 - weight))


def _products_at_once(formula: Function) -> Function:
    def at_once(self: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> bool:
        return isinstance(tensor1, Tensor) and isinstance(tensor2, Tensor) and computed_at_once(self, formula, tensor1, tensor2, value)
    return at_once


AT_ONCE[addcmul], AT_ONCE[addcdiv] = _products_at_once(_addcmul), _products_at_once(_addcdiv)
AT_ONCE[lerp] = lambda self, end, weight: isinstance(end, Tensor) and computed_at_once(self, _lerp(weight), end, weight)


@op(method=True, inplace="function", out=True)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), with x clamped to [eps, 1 - eps] if eps is given."""
    if input._kind.is_complex:
        raise NotImplementedError(f"\"logit_cpu\" not implemented for '{title(input._kind.dtype)}'")
    x = input if input._kind.is_floating else input.to(input._kind.float_.dtype)
    if eps is not None:
        if isinstance(eps, complex):
            raise TypeError("logit(): argument 'eps' (position 1) must be float, not complex")
        _fits(eps, x._kind)
    if eps is not None and eps <= 0.5:
        x = x.clamp(eps, 1 - eps)
    elif eps is not None:                                # the lower bound is looked at first
        low = x.clamp_min(eps)
        x = where(x < eps, low, low.clamp_max(1 - eps))
    return (x / (1 - x)).log()


_without_nan = fuse(lambda x, nan, high, low: f.where(x != x, nan, f.where(x == np.inf, high, f.where(x == -np.inf, low, x))))
_where_finite = fuse(lambda g, x: f.where(f.isfinite(x), g, 0.0))


def _replacements(a: Array, nan: float | None, posinf: float | None, neginf: float | None) -> tuple[float, float, float]:
    """What stands for nan, inf and -inf."""
    limits = np.finfo(a.dtype if a.dtype.kind in "fc" else np.float32)
    return 0.0 if nan is None else nan, float(limits.max) if posinf is None else posinf, float(limits.min) if neginf is None else neginf


@op(method=True, inplace="function", out=True)
def nan_to_num(input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """nan, inf and -inf replaced (by 0 and the largest and smallest finite numbers unless said otherwise)."""
    for position, (which, value) in enumerate((("nan", nan), ("posinf", posinf), ("neginf", neginf)), 2):
        if value is not None and not isinstance(value, (int, float)):
            raise TypeError(f"nan_to_num(): argument '{which}' (position {position}) must be float, not {type(value).__name__}")
    kind = input._kind
    if not kind.differentiable:
        return wrap(input._a.copy(), kind)
    a = input._a
    values = _replacements(a, nan, posinf, neginf)
    if kind.fast:
        r = _without_nan(a, *values)
    else:
        r = np.nan_to_num(a, nan=values[0], posinf=values[1], neginf=values[2])
    return record(wrap(as_array(r, a.dtype), kind), "NanToNumBackward0", (input,),
                  _where_finite, (input,), _where_finite if kind.fast else None)


def _nan_to_num_at_once(self: Tensor, nan: Any = None, posinf: Any = None, neginf: Any = None) -> bool:
    return computed_at_once(self, _without_nan, *_replacements(self._a, nan, posinf, neginf)) if self._kind.fast else False


AT_ONCE[nan_to_num] = _nan_to_num_at_once


