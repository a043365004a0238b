"""Fused formulas: one pass over memory for what NumPy computes call by call.

    gradient = fuse(lambda g, y: g * (1 - y * y))

is called as the function is, and gives what the function gives. At its first call the function is traced (formula.py); the native block
evaluator then runs the program of it. Functions that look at values, shapes or dtypes can't be traced: they just run, as they do for
operands other than float arrays, and as they do without the native library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..vocabulary import Function
from . import formula
from .formula import Symbol, Tape
from .native import anywhere, library

__all__ = ["fuse", "trace", "program", "FUSED"]

FUSED: list[Any] = []       # all fused functions, for the tests: each should have a program

if library is not None:
    library.set_symbol(Symbol)


def trace(function: Callable[..., Any], inputs: int) -> tuple[Any, ...] | None:
    """The program of a function, as the library wants it; None where there is none."""
    traced = formula.trace(function, inputs, library.has_op)
    return None if traced is None else program(*traced)


def program(tape: Tape, outputs: list[int]) -> tuple[list[Any], list[tuple[Any, ...]], int, list[tuple[int, bool]], bool]:
    """(constants, code, number of registers, [(output register, is bool)], whether shapes have to be equal).

    Registers are the inputs, then the constants, then the rest. Among the constants one of the tape's numbers is its index, an int.
    """
    values, inputs = tape.values, tape.inputs
    last = tape.wanted(outputs)
    needs: dict[int, set[int]] = {}
    register = {i: i for i in range(inputs)}
    constants: list[int | float] = []
    for at, value in enumerate(values):
        if at in last and value[0] in ("constant", "number"):
            register[at] = inputs + len(constants)
            constants.append(float.fromhex(value[1]) if value[0] == "constant" else value[1])
    size = first = inputs + len(constants)
    free: list[int] = []
    kept = set(outputs)
    code: list[tuple[Any, ...]] = []
    for at, value in enumerate(values):
        if value[0] == "input":
            needs[at] = {at}
        elif at not in last or value[0] in ("constant", "number"):
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


def fuse(function: Function, names: str = "") -> Function:
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
        return function if given == mine else _PICKING["".join(mine)](function)
    fused = library.fuse(function, trace, len(given), tuple([given.index(name) for name in mine]))
    FUSED.append(fused)
    return fused


# A function of some of (g, a, b) as a function of all of them.
_PICKING: dict[str, Callable[[Any], Any]] = {
    "g": lambda function: lambda g, a, b: function(g),
    "ga": lambda function: lambda g, a, b: function(g, a),
    "gb": lambda function: lambda g, a, b: function(g, b),
}
