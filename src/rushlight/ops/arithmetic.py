"""Arithmetic: + - * / // % ** and their functions, operators and in-place forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes as d
from .. import services
from ..dtypes import bool_, promote_types
from ..kernels import native
from ..kernels.arrays import as_array
from ..kernels.fuse import fuse
from ..kernels.memory import fill
from ..kernels.native import elementwise
from ..kind import kind_of
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, Number, Operand, Scalar
from .define import OPERATORS, _binary_inplace, binary, either_way, unary
from .elementwise import square
from .errors import not_a_tensor, title
from .failed_calls import old_form, overridden
from .promotion import NUMBERS, in_64_bits, number_dtype, number_tensor, promote, result_type
from .public import export, method
from .record import record
from .registry import OPS
from .selection import where
from .write import inplace_from, write_out

if TYPE_CHECKING:
    from ..dtypes import dtype

__all__: list[str] = []


def _no_bool_minus(a: dtype, b: dtype) -> str | None:
    if a is bool_ and b is bool_:
        return ("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead.")
    if a is bool_ or b is bool_:
        return ("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
                "`logical_not()` operator instead.")
    return None


_add = binary("add", np.add, (lambda g: g, lambda g: g), function=False, inplace=False)
_sub = binary("sub", np.subtract, (lambda g: g, lambda g: -g), function=False, inplace=False, refuse=_no_bool_minus)
mul = binary("mul", np.multiply, (lambda g, b: g * b, lambda g, a: g * a), alias=("multiply",))
true_divide = binary("true_divide", np.true_divide, (lambda g, b: g / b, lambda g, a, b: -g * ((a / b) / b)), result="float",
                     label="DivBackward0", inplace=False, methods=False)


def _scaled(name: str, other: Any, alpha: Number, beside: Tensor | None = None) -> Tensor:
    """alpha * other, with PyTorch's checks of alpha's type, which has to fit the result of an operation with `beside`."""
    d = other._kind.dtype if isinstance(other, Tensor) else number_dtype(other)
    if name == "sub" and d is bool_ and isinstance(beside, Tensor):
        raise RuntimeError(_no_bool_minus(beside._kind.dtype, d))
    if isinstance(beside, Tensor) and beside._kind.dtype is not d:
        d = result_type(beside, other)
    if isinstance(alpha, bool) and d is not bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and not d.is_floating_point and not d.is_complex:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, complex) and not d.is_complex:
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    if d is bool_:
        return other if alpha else False
    if isinstance(other, Tensor) and other._kind.dtype is not d:
        other = other.to(d)             # first: a multiple of uint8 that wraps around is none of the result's
    return other * alpha


def _old(name: str, *args: Any) -> tuple[Any, Any]:
    """The operands and alpha of ``add(input, alpha, other)``; of two numbers the first is alpha, too."""
    if len(args) == 3 and not isinstance(args[1], Tensor) and isinstance(args[1], NUMBERS) and isinstance(args[2], NUMBERS):
        return (args[0], args[2]), args[1]
    again = old_form(name, args, {})
    if again is None:
        raise TypeError(f"{name}() takes 2 positional arguments but {len(args)} were given")
    return again[0], again[1]["alpha"]


def _with_alpha(name: str, fast: Function, doc: str) -> tuple[Any, ...]:
    """add and sub: the binary op, with the factor `alpha` for the second operand and out=."""
    def fn(input: Tensor, other: Operand, *more: Any, alpha: Scalar = 1, out: Tensor | None = None) -> Tensor:
        if more:
            (input, other), alpha = _old(name, input, other, *more)
        if alpha.__class__ is not int or alpha != 1:
            other = _scaled(name, other, alpha, input)
        return fast(input, other) if out is None else fast(input, other, out=out)

    def fn_(self: Tensor, other: Operand, *more: Any, alpha: Number = 1) -> Tensor:
        if more:
            (self, other), alpha = _old(name, self, other, *more)
        if alpha.__class__ is not int or alpha != 1:
            other = _scaled(name, other, alpha, self)
        return inplace_fast(self, other)

    def fn_of_numbers(input: Tensor, other: Operand, *more: Any, alpha: Scalar = 1, out: Tensor | None = None) -> Tensor:
        if more:                                        # the other name takes alpha behind the number
            if len(more) > 1 or not isinstance(other, NUMBERS):
                raise TypeError(f"{name}tract() takes 2 positional arguments but {2 + len(more)} were given")
            alpha, = more
        return fn(input, other, alpha=alpha, out=out)

    kernel = native.elementwise(np.add if name == "add" else np.subtract)
    inplace_fast = _binary_inplace(name, fast, kernel)
    fn.__name__ = fn.__qualname__ = name
    fn_.__name__ = fn_.__qualname__ = name + "_"
    fn.__doc__ = doc
    fn_.__doc__ = f"In-place form of `{name}`."
    export(fn)
    method(fn)
    method(fn_)
    if name == "sub":
        fn_of_numbers.__name__, fn_of_numbers.__qualname__, fn_of_numbers.__doc__ = "subtract", "subtract", doc
        export(fn_of_numbers, "subtract")
        method(fn_of_numbers, "subtract")
        method(fn_, "subtract_")
    return fn, fn_, _binary_inplace(name, fast, kernel, operator=True)


add, add_, _iadd = _with_alpha("add", _add, "add(input, other, *, alpha=1, out=None) -> Tensor\n\ninput + alpha * other, with "
                                            "broadcasting.")
sub, sub_, _isub = _with_alpha("sub", _sub, "sub(input, other, *, alpha=1, out=None) -> Tensor\n\ninput - alpha * other, with "
                                            "broadcasting.")


def rsub(input: Tensor, other: Operand, *numbers: Any, alpha: Scalar = 1) -> Tensor:
    """other - alpha * input; a number is also taken as ``rsub(input, other, alpha)``."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("rsub", "input", 1, input)
    if numbers:
        if len(numbers) > 1 or isinstance(other, Tensor):
            raise TypeError(f"rsub() takes 2 positional arguments but {2 + len(numbers)} were given")
        alpha, = numbers
    if alpha != 1:
        input = _scaled("rsub", input, alpha, other if isinstance(other, Tensor) else None)
    return _sub(other, input) if isinstance(other, Tensor) else _rsub(input, other)


export(rsub)


def _no_zero(a: Any, b: Any) -> None:
    """PyTorch's error where an integer would be divided by zero."""
    if a.size and not np.all(b):
        raise RuntimeError("ZeroDivisionError")


def _int_floor(a: Any, b: Any) -> Any:
    _no_zero(a, b)
    return np.floor_divide(a, b)


def _int_trunc(a: Any, b: Any) -> Any:
    _no_zero(a, b)
    q = np.floor_divide(a, b)
    return q + ((a % b != 0) & ((a < 0) != (b < 0))).astype(q.dtype)


def _float_floor(a: Array, b: Array) -> Array:
    """floor(a / b) as PyTorch rounds it: from the exact remainder, with a / 0 as true division gives it."""
    return np.where(b == 0, a / b, np.floor_divide(a, b))


_float_floor = native.kernel("floor_divide", _float_floor)

floor_divide = binary("floor_divide", _float_floor, None, only="number", complex=False, int_forward=_int_floor, domain=(0.5, 4.0))
_trunc_divide = binary("_trunc_divide", lambda a, b: np.trunc(a / b), (lambda g: g * 0, lambda g: g * 0), complex=False,
                       int_forward=_int_trunc, function=False, methods=False, label="DivBackward1")
_floor_divide = binary("_floor_divide", _float_floor, (lambda g: g * 0, lambda g: g * 0), complex=False, int_forward=_int_floor,
                       function=False, methods=False, label="DivBackward1")


def div(input: Tensor, other: Operand, *, rounding_mode: str | None = None, out: Tensor | None = None) -> Tensor:
    """input / other. rounding_mode: None (true division), "trunc" (towards zero) or "floor"."""
    if rounding_mode is None:
        return true_divide(input, other) if out is None else true_divide(input, other, out=out)
    rounded = _floor_divide if rounding_mode == "floor" else _trunc_divide if rounding_mode == "trunc" else None
    if rounded is None:
        if not isinstance(rounding_mode, str) or not isinstance(other, (Tensor, *NUMBERS)):
            raise TypeError(f"div() received an invalid combination of arguments - got ({type(other).__name__}, "
                            f"rounding_mode={type(rounding_mode).__name__})")
        raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")
    for value in (input, other):            # who takes the call over has to see it whole, with its mode
        if not isinstance(value, (Tensor, *NUMBERS)):
            kwargs = {"rounding_mode": rounding_mode} if out is None else {"rounding_mode": rounding_mode, "out": out}
            which = ("input", 1) if value is input else ("other", 2)
            return overridden(div, (input, other), kwargs, not_a_tensor("div", *which, value))
        if isinstance(value, Tensor) and value._kind.sparse:
            return services.sparse_form("div", input, other, rounding_mode=rounding_mode)
    return rounded(input, other, out=out)


def div_(self: Tensor, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """In-place form of `div`."""
    if rounding_mode is None:
        return _itruediv(self, other)
    return inplace_from(self, div, (self, other), {"rounding_mode": rounding_mode})


def _make_itruediv() -> Function:
    return _binary_inplace("div", true_divide, native.elementwise(np.true_divide))


_itruediv = _make_itruediv()
for _name in ("div", "divide"):
    export(div, _name)
    method(div, _name)
    method(div_, _name + "_", guard=_name != "div")
for _name in ("true_divide",):
    method(true_divide, _name)
    method(_itruediv, _name + "_")


def _int_remainder(a: Array, b: Array) -> Array:
    _no_zero(a, b)
    return np.remainder(a, b)


def _int_fmod(a: Any, b: Any) -> Any:
    _no_zero(a, b)
    return np.fmod(a, b)


def _remainder(a: Array, b: Array) -> Array:
    """a - floor(a / b) b, as PyTorch has it: a zero keeps the sign of a."""
    r = np.fmod(a, b)
    return np.where((r != 0) & ((b < 0) != (r < 0)), r + b, r)


remainder = binary("remainder", native.kernel("remainder", _remainder), (lambda g: g, lambda g, a, b: -g * floor_divide(a, b)),
                   arrays=False, complex=False, int_forward=_int_remainder, only="number", domain=(0.5, 4.0))
fmod = binary("fmod", np.fmod, (lambda g: g, lambda g, a, b: -g * _trunc_divide(a, b)), arrays=False, complex=False, int_forward=_int_fmod,
              only="number", numbers="second", domain=(0.5, 4.0))


# --- powers ---------------------------------------------------------------------------------------------------------------------------

def _pow_first(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return where(b == 0, 0.0, g * (b * _pow(a, b - 1)))


def _pow_second(g: Tensor, a: Tensor, b: Tensor, y: Tensor) -> Tensor:
    zero = (a == 0) & (b.real >= 0 if b.is_complex() else b >= 0)
    return g * where(zero, 0.0, y * a.log())


def _int_power(a: Array, b: Array) -> Array:
    """Integer powers; negative ones are 0, except of 1 and -1."""
    if not b.size or b.min() >= 0:
        return np.power(a, b)
    whole = np.power(a, np.maximum(b, 0))
    return np.where(b >= 0, whole, np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b % 2), 0)))


def _spread_power(a: Any, b: Any) -> Any:
    """np.power, whose loops over two arrays are vector code (where there is AVX-512) and its loops over an array and a number are not."""
    if a.__class__ is b.__class__ is np.ndarray and a.dtype == b.dtype and a.dtype.kind == "f":
        if not b.ndim and a.size >= 512:
            b, value = np.empty(a.shape, a.dtype), b
            fill(b, value)
        elif not a.ndim and b.size >= 512:
            a, value = np.empty(b.shape, b.dtype), a
            fill(a, value)
    return np.power(a, b)


_power = _spread_power if native.level == "v4" else native.elementwise(np.power)      # else the native kernel is the faster one
_pow = binary("_pow", _power, (_pow_first, _pow_second), arrays=False, label="PowBackward1", function=False, methods=False, only="number",
              int_forward=_int_power)

_EASY = {0.5: elementwise(np.sqrt), 2: elementwise(np.square), 1: np.positive, -1: elementwise(np.reciprocal), 3: fuse(lambda a: a * a * a),
         -0.5: fuse(lambda a: 1 / np.sqrt(a)), -2: fuse(lambda a: 1 / (a * a))}


def _pow_tensor(input: Any, exponent: Tensor) -> Tensor:
    """Tensor or number ** tensor. A real base of a complex power is complex from here on: the gradients' logarithm is the conjugate's."""
    if exponent._kind.is_complex and isinstance(input, Tensor) and not input._kind.is_complex:
        input = input.to(promote_types(input._kind.dtype, exponent._kind.dtype))
    return _pow(input, exponent)


def _pow_number(input: Tensor, exponent: Any) -> Tensor:
    """Tensor ** number."""
    kind = input._kind
    if not kind.differentiable:
        if isinstance(exponent, int) and not isinstance(exponent, bool):
            if exponent < 0:
                raise RuntimeError("Integers to negative integer powers are not allowed.")
            if kind.dtype is not bool_:
                if exponent > np.iinfo(kind.np).max:
                    raise RuntimeError(f"value cannot be converted to type {kind.dtype.name}_t without overflow")
                return wrap(as_array(np.power(input._a, kind.np.type(exponent))), kind)
        a, _, kind = promote("pow", input, exponent)
        if kind.dtype is bool_:
            return wrap(as_array(np.logical_or(a._a, not exponent)), kind)
        input = wrap(a._a.astype(kind.np), kind)
    elif isinstance(exponent, complex):
        return _pow(input, exponent)
    easy = _EASY.get(exponent)
    a = input._a.astype(np.float32) if kind.reduced else input._a
    r = easy(a) if easy is not None and (exponent != -1 or kind.differentiable) else _power(a, np.asarray(exponent, a.dtype, like=a))
    out = wrap(as_array(r, kind.np) if r.__class__ is not np.ndarray or kind.reduced else r, kind)
    if input._node is None:
        return out
    if exponent == 0:
        return record(out, "PowBackward0", (input,), lambda g: g * 0)
    return record(out, "PowBackward0", (input,), lambda g, x: g * (_pow_number(x, exponent - 1) * exponent), (input,),
                  array_grad=_POWER_GRADS.get(exponent) if kind.fast else None)


# Gradients of the common powers in one pass.
_POWER_GRADS = {2: fuse(lambda g, x: g * (x + x)), 3: fuse(lambda g, x: g * (x * x * 3)), 0.5: fuse(lambda g, x: g * 0.5 / np.sqrt(x)),
                -1: fuse(lambda g, x: -g / (x * x))}


def pow(input: Tensor, exponent: Operand, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent: tensor and tensor, tensor and number, or number and tensor."""
    if out is not None:
        return write_out(out, pow(input, exponent), "pow")
    if isinstance(exponent, Tensor):
        if isinstance(input, Tensor) or isinstance(input, (bool, int, float, complex)):
            return _pow_tensor(input, exponent)
        raise not_a_tensor("pow", "input", 1, input)
    if not isinstance(input, Tensor):
        raise not_a_tensor("pow", "input", 1, input)
    if not isinstance(exponent, (bool, int, float, complex, np.number)):
        raise not_a_tensor("pow", "exponent", 2, exponent)
    in_64_bits(exponent)
    return _pow_number(input, exponent)


def pow_(self: Tensor, exponent: Operand) -> Tensor:
    """In-place form of `pow`."""
    return inplace_from(self, pow, (self, exponent), {})


def float_power(input: Any, exponent: Any, *, out: Tensor | None = None) -> Any:
    """input ** exponent, computed in float64 (complex128)."""
    if not isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        raise not_a_tensor("float_power", "input", 1, input)

    def double(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(d.complex128 if value.is_complex() else d.float64)
        return wrap(as_array(value, np.complex128 if isinstance(value, complex) else np.float64),
                    kind_of(d.complex128 if isinstance(value, complex) else d.float64))
    r = pow(double(input), double(exponent) if isinstance(exponent, Tensor) or not isinstance(input, Tensor) else exponent)
    if out is not None:
        return write_out(out, r, "float_power")
    return r


def float_power_(self: Tensor, exponent: Any) -> Tensor:
    """In-place form of `float_power`: only for float64 and complex128, which its results have."""
    both_real = not self.is_complex() and not (exponent.is_complex() if isinstance(exponent, Tensor) else isinstance(exponent, complex))
    wide = "Double" if both_real else "ComplexDouble"
    if title(self.dtype) != wide:
        raise RuntimeError(f"the base given to float_power_ has dtype {title(self.dtype)} but the operation's result requires dtype {wide}")
    return inplace_from(self, float_power, (self, exponent), {})


export(pow)
export(float_power, guard=True)
for _fn in (pow, float_power):
    method(_fn)
method(float_power_, guard=True)
method(pow_)


# --- operators ------------------------------------------------------------------------------------------------------------------------

def _reflected(operator: str, name: str) -> Function:
    """number <op> tensor."""
    fast, op = OPERATORS[operator], OPS[operator]

    def reflected(self: Tensor, other: Number) -> Tensor:
        cls = other.__class__
        if cls is float or cls is int:
            kind = self._kind
            if kind.fast:
                number = kind.scalars.get(other)
                if number is None:
                    number = number_tensor(kind, other)
                return fast(number, self)
        return either_way(op, other, self)
    reflected.__name__ = reflected.__qualname__ = name
    return reflected


_rsub = _reflected("sub", "__rsub__")


def _power_operator(self: Tensor, exponent: Operand) -> Any:
    """tensor ** tensor or number."""
    if exponent.__class__ is int and exponent == 2 and self._kind.fast:
        return square(self)
    if isinstance(exponent, Tensor):
        return _pow_tensor(self, exponent)
    return _pow_number(self, exponent) if isinstance(exponent, _NUMBERS) else NotImplemented


def _reflected_power(self: Any, other: Operand) -> Any:
    """number ** tensor; called by name, tensor ** tensor too."""
    return _pow_tensor(other, self) if isinstance(other, (*_NUMBERS, Tensor)) else NotImplemented


_NUMBERS = (bool, int, float, complex, np.number)
Tensor.__add__ = Tensor.__radd__ = OPERATORS["add"]
Tensor.__sub__ = OPERATORS["sub"]
Tensor.__rsub__ = _rsub
Tensor.__mul__ = Tensor.__rmul__ = OPERATORS["mul"]
Tensor.__truediv__ = Tensor.__div__ = OPERATORS["true_divide"]
Tensor.__rtruediv__ = Tensor.__rdiv__ = _reflected("true_divide", "__rtruediv__")
Tensor.__floordiv__ = OPERATORS["floor_divide"]
Tensor.__rfloordiv__ = _reflected("floor_divide", "__rfloordiv__")
Tensor.__mod__ = OPERATORS["remainder"]
Tensor.__rmod__ = _reflected("remainder", "__rmod__")
Tensor.__pow__ = _power_operator
Tensor.__rpow__ = _reflected_power
Tensor.__iadd__ = _iadd
Tensor.__isub__ = _isub
Tensor.__imul__ = _binary_inplace("mul", mul, native.elementwise(np.multiply), operator=True)
Tensor.__itruediv__ = Tensor.__idiv__ = div_
Tensor.__ifloordiv__ = Tensor.floor_divide_
Tensor.__imod__ = Tensor.remainder_
Tensor.__ipow__ = pow_

_NEGATIVE_BOOL = ("Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
                  "`logical_not()` operator instead.")
neg = unary("neg", np.negative, lambda g: -g, ints="same", alias=("negative",), refuse_bool=_NEGATIVE_BOOL)
Tensor.__neg__ = neg
Tensor.__pos__ = lambda self: self.positive()
