"""Fused formulas: one pass over memory for what NumPy computes call by call.

    gradient = fuse(lambda g, y: g * (1 - y * y))

is called as the function is, and gives what the function gives. At its first call the function runs once on symbols that write down what
is asked of them; the native block evaluator then runs the program of it. Functions that look at values, shapes or dtypes can't be
traced so: they just run, as they do for operands other than float arrays, and as they do without the native library.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .native import anywhere, library

__all__ = ["fuse", "FUSED"]

FUSED: list[Any] = []       # all fused functions, for the tests: each should have a program

_FLAGS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "logical_not",
          "bitwise_and", "bitwise_or", "bitwise_xor", "invert", "isnan", "isinf", "isfinite"}
_ON_FLAGS = {"logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "invert", "where", "multiply"}
_NUMBERS = (int, float, np.number)


class _FloatType:
    """What `a.dtype` is for a symbol: enough for ``a.dtype.type(0.5)``."""

    type = float


class Untraceable(Exception):
    """The function asks a symbol for what only an array has."""


class Tape:
    """The instructions of one formula: each is (op, operands...) where operands are earlier values, by index."""

    def __init__(self, inputs: int) -> None:
        self.values: list[tuple[Any, ...]] = [("input", i) for i in range(inputs)]
        self.known: dict[tuple[Any, ...], int] = {}
        self.flags = [False] * inputs

    def add(self, *value: Any) -> Symbol:
        at = self.known.get(value)
        if at is None:
            at = self.known[value] = len(self.values)
            self.values.append(value)
            self.flags.append(value[0] in _FLAGS)
        return Symbol(self, at)


class Symbol:
    """A value of the formula that is being traced."""

    __slots__ = ("tape", "index")
    dtype = _FloatType
    __array_priority__ = 1000

    def __init__(self, tape: Tape, index: int) -> None:
        self.tape, self.index = tape, index

    @staticmethod
    def apply(name: str, operands: tuple[Any, ...]) -> Symbol:
        """The value of an op on symbols and numbers."""
        tape = next(each.tape for each in operands if each.__class__ is Symbol)
        if name == "power":
            return _power(tape, *operands)
        if name == "positive":
            return operands[0]
        if not library.has_op(name):
            raise Untraceable(name)
        at = []
        for each in operands:
            if each.__class__ is Symbol:
                if tape.flags[each.index] and name not in _ON_FLAGS:
                    raise Untraceable(f"{name} of bool")
                at.append(each.index)
            elif isinstance(each, _NUMBERS):
                at.append(tape.add("constant", float(each).hex()).index)
            else:
                raise Untraceable(f"an operand of class {type(each).__name__}")
        if name == "multiply" and all(tape.flags[i] for i in at):
            raise Untraceable("multiply of bools")
        return tape.add(name, *at)

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **kwargs: Any) -> Symbol:
        if method != "__call__" or kwargs:
            raise Untraceable(ufunc.__name__)
        return Symbol.apply(ufunc.__name__, operands)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Symbol:
        if function is np.where and len(args) == 3 and not kwargs:
            return Symbol.apply("where", args)
        raise Untraceable(function.__name__)

    def __bool__(self) -> bool:
        raise Untraceable("the truth of a value")

    def __neg__(self) -> Symbol:
        return Symbol.apply("negative", (self,))

    def __invert__(self) -> Symbol:
        return Symbol.apply("invert", (self,))

    def __abs__(self) -> Symbol:
        return Symbol.apply("absolute", (self,))


def _power(tape: Tape, base: Any, exponent: Any) -> Symbol:
    if exponent.__class__ is not Symbol and isinstance(exponent, _NUMBERS):
        if exponent == 2:
            return Symbol.apply("square", (base,))
        if exponent == 0.5:
            return Symbol.apply("sqrt", (base,))
    raise Untraceable("power")


def _operator(name: str, swapped: bool = False) -> Any:
    def operator(self: Symbol, other: Any) -> Symbol:
        return Symbol.apply(name, (other, self) if swapped else (self, other))
    return operator


for _name, _op in (("add", "add"), ("sub", "subtract"), ("mul", "multiply"), ("truediv", "divide"), ("pow", "power"), ("and", "bitwise_and"),
                   ("or", "bitwise_or"), ("xor", "bitwise_xor")):
    setattr(Symbol, f"__{_name}__", _operator(_op))
    setattr(Symbol, f"__r{_name}__", _operator(_op, True))
for _name, _op in (("eq", "equal"), ("ne", "not_equal"), ("lt", "less"), ("le", "less_equal"), ("gt", "greater"), ("ge", "greater_equal")):
    setattr(Symbol, f"__{_name}__", _operator(_op))
Symbol.__hash__ = None  # type: ignore[assignment]

if library is not None:
    library.set_symbol(Symbol)


def trace(function: Any, inputs: int) -> Any:
    """The program of a function, as the library wants it; None where there is none."""
    tape = Tape(inputs)
    try:
        result = function(*[Symbol(tape, i) for i in range(inputs)])
    except Exception:           # whatever a symbol can't do; a real error shows when the function itself runs
        return None
    results = result if result.__class__ is tuple else (result,)
    if any(each.__class__ is not Symbol or each.index < inputs for each in results):
        return None            # a constant, or an operand as it is: the function itself is as good
    outputs = [each.index for each in results]
    return _compiled(tape, inputs, outputs) if len(set(outputs)) == len(outputs) else None


def _compiled(tape: Tape, inputs: int, outputs: list[int]) -> Any:
    """(constants, code, number of registers, [(output register, is bool)], whether shapes have to be equal)"""
    values = tape.values
    last = {at: at for at in outputs}
    needs: dict[int, set[int]] = {}
    wanted = set(outputs)
    for at in range(len(values) - 1, -1, -1):       # what is used, and where for the last time
        if at in wanted and values[at][0] not in ("input", "constant"):
            for each in values[at][1:]:
                wanted.add(each)
                last.setdefault(each, at)
    register = {i: i for i in range(inputs)}
    constants: list[float] = []
    for at, value in enumerate(values):
        if value[0] == "constant" and at in wanted:
            register[at] = inputs + len(constants)
            constants.append(float.fromhex(value[1]))
    size = first = inputs + len(constants)
    free: list[int] = []
    kept = set(outputs)
    code: list[tuple[Any, ...]] = []
    for at, value in enumerate(values):
        if value[0] == "input":
            needs[at] = {at}
        elif value[0] == "constant" or at not in wanted:
            needs[at] = set()
        else:
            needs[at] = set().union(*[needs[each] for each in value[1:]])
            operands = [register[each] for each in value[1:]]
            done = {register[each] for each in value[1:] if last[each] == at and each not in kept and register[each] >= first}
            if at in kept:                          # outputs lie in memory of their own, which nothing else may use
                register[at], size = size, size + 1
            elif done:
                register[at] = done.pop()
            elif free:
                register[at] = free.pop()
            else:
                register[at], size = size, size + 1
            free.extend(done)
            code.append((value[0], register[at], *operands))
    aligned = any(len(needs[at]) < inputs for at in outputs)
    return constants, code, size, [(register[at], tape.flags[at]) for at in outputs], aligned


_IDENTITY = (lambda g: g).__code__.co_code


def fuse(function: Any, names: str = "") -> Any:
    """`function` as one native kernel.

    names    what a call gives, a letter each, where that is more than the function takes: ``fuse(lambda g, b: g * b, "gab")`` is called
             with three arguments, and the function has the first and the third
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return function        # a kernel already
    original, function = function, anywhere(function)
    mine = code.co_varnames[:code.co_argcount]
    given = tuple(names) or mine
    if library is None or (code.co_code == _IDENTITY and len(mine) == 1):
        function = original if code.co_code == _IDENTITY else function
        return function if given == mine else _picking(function, given, mine)
    fused = library.fuse(function, trace, len(given), tuple([given.index(name) for name in mine]))
    FUSED.append(fused)
    return fused


def _picking(function: Any, given: tuple[str, ...], mine: tuple[str, ...]) -> Any:
    return eval(f"lambda {', '.join(given)}: function({', '.join(mine)})", {"function": function})
