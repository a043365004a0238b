"""Optimizer steps in one native call (native/step.cpp): the rule of an optimizer runs once on a recorder, which writes down its
arithmetic; the program of that is compiled once, and each step gives it that step's numbers.
"""

from __future__ import annotations

from typing import Any

from .fuse import Tape, _compiled
from .native import library

__all__ = ["Stepper"]

_FAILED = object()


class _Value:
    """A value of the rule while it is recorded."""

    __slots__ = ("recorder", "index")

    def __init__(self, recorder: Recorder, index: int) -> None:
        self.recorder, self.index = recorder, index

    def __lt__(self, other: Any) -> _Value:
        return self.recorder.record("less", self, other)

    def __gt__(self, other: Any) -> _Value:
        return self.recorder.record("greater", self, other)

    def __bool__(self) -> bool:
        raise TypeError("a rule can't look at values")


class Recorder:
    """What rules call as `xp`: writes down (op, operands...), operands being values by index, or constants as -1, -2, ..."""

    __slots__ = ("code", "constants", "count")

    def __init__(self, inputs: int) -> None:
        self.code: list[tuple[Any, ...]] = []
        self.constants: list[float] = []
        self.count = inputs

    def record(self, name: str, *operands: Any) -> _Value:
        at = []
        for each in operands:
            if each.__class__ is _Value:
                at.append(each.index)
            else:
                self.constants.append(float(each))
                at.append(-len(self.constants))
        self.code.append((name, *at))
        value = _Value(self, self.count)
        self.count += 1
        return value

    def multiply(self, a: Any, b: Any, out: Any = None) -> _Value:
        return self.record("multiply", a, b)

    def add(self, a: Any, b: Any, out: Any = None) -> _Value:
        return self.record("add", a, b)

    def subtract(self, a: Any, b: Any, out: Any = None) -> _Value:
        return self.record("subtract", a, b)

    def divide(self, a: Any, b: Any, out: Any = None) -> _Value:
        return self.record("divide", a, b)

    def maximum(self, a: Any, b: Any, out: Any = None) -> _Value:
        return self.record("maximum", a, b)

    def minimum(self, a: Any, b: Any, out: Any = None) -> _Value:
        return self.record("minimum", a, b)

    def negative(self, a: Any, out: Any = None) -> _Value:
        return self.record("negative", a)

    def sqrt(self, a: Any, out: Any = None) -> _Value:
        return self.record("sqrt", a)

    def absolute(self, a: Any, out: Any = None) -> _Value:
        return self.record("absolute", a)

    def sign(self, a: Any, out: Any = None) -> _Value:
        return self.record("sign", a)

    def choose(self, condition: Any, a: Any, b: Any) -> _Value:
        return self.record("where", condition, a, b)


class Stepper:
    """The native form of an optimizer's rule: ``run(rule, scratch, numbers, keep, columns)`` steps all tensors in place."""

    __slots__ = ("programs",)

    def __init__(self) -> None:
        self.programs: dict[Any, Any] = {}      # what was recorded -> its program

    def run(self, rule: Any, scratch: int, h: Any, keep: float, columns: tuple[list[Any], ...]) -> bool:
        """One step of parameters, gradients and state (a list of arrays each). False, with nothing changed, where it can't be done here."""
        inputs = len(columns)
        recorder = Recorder(inputs)
        p, g, *state = [_Value(recorder, i) for i in range(inputs)]
        change, *new = rule(recorder, h, (None,) * scratch, p, g, *state)
        if keep != 1.0:
            p = recorder.multiply(p, keep)
        outputs = [recorder.subtract(p, change), *new]
        key = (*recorder.code, *[value.index for value in outputs])
        program = self.programs.get(key)
        if program is None:
            program = self.programs[key] = _program(recorder, inputs, [value.index for value in outputs]) or _FAILED
        return program is not _FAILED and library.step(program, recorder.constants, columns)


def _program(recorder: Recorder, inputs: int, outputs: list[int]) -> Any:
    if min(outputs) < inputs or len(set(outputs)) < len(outputs):
        return None
    tape = Tape(inputs)
    constants = len(recorder.constants)
    tape.values += [("constant", "0x1p+0")] * constants

    def moved(index: int) -> int:
        return inputs - 1 - index if index < 0 else index if index < inputs else index + constants
    tape.values += [(name, *[moved(each) for each in at]) for name, *at in recorder.code]
    tape.flags = [False] * len(tape.values)
    description = _compiled(tape, inputs, [moved(each) for each in outputs])
    if len(description[0]) < constants:     # something is computed in vain
        return None
    *most, _ = description
    return library.step_program((*most, False), inputs)
