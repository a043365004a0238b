"""The language of formulas: gradients, activations and the rules of optimizers are written once, as plain arithmetic.

    tanh_gradient = lambda g, y: g * (1 - y * y)
    elu = lambda x, scale, factor: where(x > 0, x * scale, expm1(minimum(x, 0)) * factor)

Such a function runs on arrays of any kind (NumPy's protocols), on tensors, with their gradients, and on `Symbol`s, which compute nothing
and write down on a `Tape` what is asked of them. What is on a tape is printed as a program of the native evaluator (fuse.py), as NumPy
calls over scratch memory (step.py) or as CUDA text (cuda/elementwise.py). The functions of this module are what formulas call beside
Python's operators.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..vocabulary import Function

__all__ = ["Tape", "Symbol", "Number", "Untraceable", "trace", "function", "exp", "exp2", "expm1", "log", "log1p", "sin", "cos", "sinh",
           "cosh", "tanh", "sqrt", "absolute", "sign", "isnan", "isfinite", "nonzero", "maximum", "minimum", "where"]

Value: TypeAlias = Any          # a tensor, an array of any kind, a symbol, or a number

_FLAGS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "logical_not",
          "bitwise_and", "bitwise_or", "bitwise_xor", "invert", "isnan", "isinf", "isfinite"}
_ON_FLAGS = {"logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "invert", "where",
             "multiply", "copy"}
_NUMBERS = (int, float, np.number)
ndarray = np.ndarray


# --- the functions that formulas call -----------------------------------------------------------------------------------------------------

def function(arrays: Callable[[Value], Value], tensors: str | Callable[[Value], Value]) -> Callable[[Value], Value]:
    """A function for formulas: `arrays` on arrays and numbers; on tensors, which have the method `tensors`, that one (or that function).

    On symbols it is the op of the method's name where there is one, else what `arrays` does.
    """
    name = tensors if isinstance(tensors, str) else "backward"
    otherwise = operator.methodcaller(tensors) if isinstance(tensors, str) else tensors
    if isinstance(arrays, np.ufunc):
        return lambda x: arrays(x) if x.__class__ is ndarray or not hasattr(x, name) else otherwise(x)

    def call(x: Value) -> Value:
        if x.__class__ is ndarray or not hasattr(x, name):
            value = Symbol.apply(name, (x,)) if x.__class__ is Symbol else NotImplemented
            return arrays(x) if value is NotImplemented else value
        return otherwise(x)
    return call


exp, exp2, expm1, log, log1p = (function(getattr(np, name), name) for name in ("exp", "exp2", "expm1", "log", "log1p"))
sin, cos, sinh, cosh, tanh, sqrt = (function(getattr(np, name), name) for name in ("sin", "cos", "sinh", "cosh", "tanh", "sqrt"))
absolute, sign = function(np.absolute, "abs"), function(np.sign, "sign")
isnan, isfinite = function(np.isnan, "isnan"), function(np.isfinite, "isfinite")


_ZERO = {np.dtype(name): np.zeros((), name) for name in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")}


def nonzero(x: Value) -> Value:
    """x != 0. (A zero is cheaper to NumPy as an array than as a number.)"""
    return np.not_equal(x, _ZERO.get(x.dtype, 0)) if x.__class__ is ndarray else x != 0


def maximum(x: Value, other: Value) -> Value:
    """The larger of both, nan where one is; `other` may be a number."""
    if x.__class__ is ndarray:
        return np.maximum(x, other if other.__class__ is not int or other else _ZERO.get(x.dtype, 0))
    if not hasattr(x, "clamp"):
        return np.maximum(x, other)
    return x.clamp(min=other) if isinstance(other, _NUMBERS) else x.maximum(other)


def minimum(x: Value, other: Value) -> Value:
    """The smaller of both, nan where one is; `other` may be a number."""
    if x.__class__ is ndarray or not hasattr(x, "clamp"):
        return np.minimum(x, other)
    return x.clamp(max=other) if isinstance(other, _NUMBERS) else x.minimum(other)


def where(condition: Value, a: Value, b: Value) -> Value:
    """a where the condition holds, else b; of tensors one of both may be a number."""
    if a.__class__ is ndarray and b.__class__ is float and not b:
        return np.where(condition, a, _ZERO.get(a.dtype, 0.0))
    if condition.__class__ is ndarray or not hasattr(condition, "logical_not"):
        return np.where(condition, a, b)
    return b.where(condition.logical_not(), a) if isinstance(a, _NUMBERS) else a.where(condition, b)


# --- symbols and what they write ----------------------------------------------------------------------------------------------------------

class Untraceable(Exception):
    """The function asks a symbol for what only an array has."""


class _FloatType:
    """What `a.dtype` is for a symbol: enough for ``a.dtype.type(0.5)``."""

    type = float
    kind = "f"


class Tape:
    """The instructions of one formula: each is (op, operands...) where operands are earlier values, by index.

    Beside ops there are ("input", i), ("constant", its hexadecimal text) and ("number", i), which stands for the i-th of the numbers that
    another run may have other values of. `takes` says whether there is an op of a name; kernels without one are written down by what they
    are made of.
    """

    def __init__(self, inputs: int, takes: Callable[[str], bool]) -> None:
        self.inputs, self.takes = inputs, takes
        self.values: list[tuple[Any, ...]] = [("input", i) for i in range(inputs)]
        self.known: dict[tuple[Any, ...], int] = {}
        self.flags = [False] * inputs                                           # which values are bool
        # what was asked about numbers: (number, question, operand, answer)
        self.guards: list[tuple[int, Callable[..., Any], float, Any]] = []
        self.derived: list[tuple[Callable[..., float], tuple[int | float, ...]]] = []       # numbers made of others (int: by index)
        self.numbers = 0

    def add(self, *value: Any) -> int:
        """The index of a value, which is written down if it is new."""
        at = self.known.get(value)
        if at is None:
            at = self.known[value] = len(self.values)
            self.values.append(value)
            self.flags.append(value[0] in _FLAGS)
        return at

    def place(self, operand: Any) -> int:
        """The index of an operand: a symbol, or a number."""
        if operand.__class__ is Symbol:
            return operand.index
        if type(operand) is Number:
            return self.add("number", operand.index)
        if isinstance(operand, _NUMBERS):
            return self.add("constant", float(operand).hex())
        raise Untraceable(f"an operand of class {type(operand).__name__}")

    def given(self, values: Sequence[Any]) -> list[Any]:
        """The numbers of a rule: each float as a `Number`; what is no float stays as it is, and is not one of the tape's numbers."""
        self.numbers = len(values)
        return [Number.of(self, i, each) if each.__class__ is float else each for i, each in enumerate(values)]

    def outputs(self, results: Sequence[Any]) -> list[int]:
        """The indices of results, each one a value of its own that an instruction makes."""
        found: list[int] = []
        for each in results:
            at = self.place(each)
            while at in found or self.values[at][0] in ("input", "constant", "number"):
                at = self.add("copy", at)
            found.append(at)
        return found

    def wanted(self, outputs: Sequence[int]) -> dict[int, int]:
        """value -> where it is used for the last time, of the values that outputs are made of (an output: at least at itself)."""
        last = {at: at for at in outputs}
        for at in range(len(self.values) - 1, -1, -1):
            if at in last and self.values[at][0] not in ("input", "constant", "number"):
                for each in self.values[at][1:]:
                    last[each] = max(last.get(each, 0), at)
        return last


class Symbol:
    """A value of the formula that is being traced."""

    __slots__ = ("tape", "index")
    dtype = _FloatType
    __array_priority__ = 1e6
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tape: Tape, index: int) -> None:
        self.tape, self.index = tape, index

    @staticmethod
    def apply(name: str, operands: tuple[Any, ...]) -> Any:
        """The value of an op on symbols and numbers; NotImplemented where the tape does not take it."""
        tape: Tape = next(each.tape for each in operands if each.__class__ is Symbol)
        if name == "power" and type(operands[1]) in (int, float) and operands[1] in (2, 0.5):
            name, operands = "square" if operands[1] == 2 else "sqrt", operands[:1]
        if name == "positive":
            return operands[0]
        if not tape.takes(name):
            return NotImplemented
        at = [tape.place(each) for each in operands]
        flags = [tape.flags[i] for i in at]
        if (any(flags) and name not in _ON_FLAGS) or (name == "multiply" and all(flags)):
            raise Untraceable(f"{name} of bool")
        return Symbol(tape, tape.add(name, *at))

    def __array_ufunc__(self, ufunc: Function, method: str, *operands: Any, **kwargs: Any) -> Any:
        value = NotImplemented if method != "__call__" or kwargs else Symbol.apply(_named(ufunc), operands)
        if value is NotImplemented:
            raise Untraceable(ufunc.__name__)
        return value

    def __array_function__(self, function: Function, types: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
        if function is np.where and len(args) == 3 and not kwargs:
            return Symbol.apply("where", args)
        raise Untraceable(function.__name__)

    def __bool__(self) -> bool:
        raise Untraceable("the truth of a value")


def _named(ufunc: Function) -> str:
    return "divide" if ufunc is np.true_divide else str(ufunc.__name__)


def _operator(ufunc: Function, swapped: bool = False) -> Callable[..., Any]:
    def operator(self: Symbol, *other: Any) -> Any:
        return self.__array_ufunc__(ufunc, "__call__", *((*other, self) if swapped else (self, *other)))
    return operator


_BINARY: tuple[tuple[str, Function], ...] = (
    ("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("truediv", np.divide), ("pow", np.power), ("and", np.bitwise_and),
    ("or", np.bitwise_or), ("xor", np.bitwise_xor))
_OTHERS: tuple[tuple[str, Function], ...] = (
    ("eq", np.equal), ("ne", np.not_equal), ("lt", np.less), ("le", np.less_equal), ("gt", np.greater), ("ge", np.greater_equal),
    ("neg", np.negative), ("invert", np.invert), ("abs", np.absolute))
for _name, _ufunc in _BINARY:
    setattr(Symbol, f"__{_name}__", _operator(_ufunc))
    setattr(Symbol, f"__r{_name}__", _operator(_ufunc, True))
for _name, _ufunc in _OTHERS:
    setattr(Symbol, f"__{_name}__", _operator(_ufunc))


class Number(float):
    """One of a rule's numbers while the rule is traced: a float that goes onto the tape by its place, and notes what is asked about it."""

    __slots__ = ("tape", "index")
    tape: Tape
    index: int
    __class__ = property(lambda self: float)  # rules may ask for plain floats
    __hash__ = float.__hash__

    @staticmethod
    def of(tape: Tape, index: int, value: float) -> Number:
        number = Number(value)
        number.tape, number.index = tape, index
        return number

    def asked(self, question: Callable[..., Any], operand: float) -> bool:
        """The answer, on which the tape depends."""
        answer = question(float(self), operand)
        self.tape.guards.append((self.index, question, operand, answer))
        return answer

    def __bool__(self) -> bool:
        return bool(self.asked(operator.ne, 0.0))

    def __int__(self) -> int:
        return int(self.asked(lambda value, _: int(value), 0.0))


def _asks(name: str) -> Callable[..., Any]:
    question = getattr(operator, name)

    def method(self: Number, other: Any) -> Any:
        if type(other) is Number:
            return question(self - other, 0.0)
        return self.asked(question, float(other)) if isinstance(other, _NUMBERS) else NotImplemented
    return method


def _computes(name: str) -> Callable[..., Any]:
    """Arithmetic of numbers: one more number, which each run computes from its own."""
    compute = getattr(float, name)

    def method(self: Number, *others: Any) -> Any:
        value = compute(float(self), *[float(each) if isinstance(each, _NUMBERS) else each for each in others])
        if value.__class__ is not float:
            return value
        tape = self.tape
        operands = [each.index if type(each) is Number else float(each) for each in (self, *others)]
        tape.derived.append((compute, tuple(operands)))
        return Number.of(tape, tape.numbers + len(tape.derived) - 1, value)
    return method


for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
    setattr(Number, _name, _asks(_name))
for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow", "neg", "abs"):
    setattr(Number, f"__{_name}__", _computes(f"__{_name}__"))


def trace(function: Callable[..., Any], inputs: int, takes: Callable[[str], bool]) -> tuple[Tape, list[int]] | None:
    """What a function of `inputs` arrays computes: the tape, and which of its values are the results.

    None where it asks for more than arithmetic, or has nothing to compute: the function itself is as good then.
    """
    tape = Tape(inputs, takes)
    try:
        result = function(*[Symbol(tape, i) for i in range(inputs)])
    except Exception:           # whatever a symbol can't do; a real error shows when the function itself runs
        return None
    results = result if result.__class__ is tuple else (result,)
    if any(each.__class__ is not Symbol or each.index < inputs for each in results):
        return None
    outputs = [each.index for each in results]
    return (tape, outputs) if len(set(outputs)) == len(outputs) else None
