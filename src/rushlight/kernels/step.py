"""Optimizer steps in one native call (native/step.cpp): the rule of an optimizer runs once on a recorder, which writes down its
arithmetic, which of the step's numbers it uses where, and what it asks about them; the program of that is compiled once. Later steps
whose numbers give the same answers only hand their numbers to it.
"""

from __future__ import annotations

import operator
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


class _Number(float):
    """One of the step's numbers while the rule is recorded: a float that notes what is asked about it."""

    __slots__ = ("recorder", "index")
    recorder: Recorder
    index: int
    __class__ = property(lambda self: float)          # type: ignore[assignment]  # rules may ask for plain floats
    __hash__ = float.__hash__

    def __bool__(self) -> bool:
        return self != 0.0


def _asks(name: str) -> Any:
    compare = getattr(operator, name)

    def method(self: _Number, other: Any) -> bool:
        answer: bool = compare(float(self), other)
        self.recorder.guards.append((self.index, compare, float(other), answer))
        return answer
    return method


def _computes(name: str) -> Any:
    """Arithmetic outside the recorder: its result is another in each step, so the recording serves for this one only."""
    compute = getattr(float, name)

    def method(self: _Number, *others: Any) -> Any:
        self.recorder.reusable = False
        return compute(float(self), *others)
    return method


for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
    setattr(_Number, _name, _asks(_name))
for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow", "neg", "abs", "int"):
    setattr(_Number, f"__{_name}__", _computes(f"__{_name}__"))


class Recorder:
    """What rules call as `xp`: writes down (op, operands...), operands being values by index, or constants as -1, -2, ..."""

    __slots__ = ("code", "constants", "places", "count", "guards", "reusable")

    def __init__(self, inputs: int) -> None:
        self.code: list[tuple[Any, ...]] = []
        self.constants: list[float] = []
        self.places: list[int | None] = []       # per constant: which of the step's numbers it is, None for one of the rule's own
        self.count = inputs
        self.guards: list[tuple[int, Any, float, bool]] = []
        self.reusable = True

    def number(self, index: int, value: Any) -> Any:
        """A number of the step as rules get it; what is no float stays as it is."""
        if value.__class__ is not float:
            return value
        number = _Number(value)
        number.recorder, number.index = self, index
        return number

    def record(self, name: str, *operands: Any) -> _Value:
        at = []
        for each in operands:
            if each.__class__ is _Value:
                at.append(each.index)
            else:
                self.constants.append(float(each))
                self.places.append(each.index if type(each) is _Number else None)
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
    """The native form of one optimizer's rule: ``run(rule, scratch, h, keep, columns)`` steps all tensors in place."""

    __slots__ = ("programs", "known")

    def __init__(self) -> None:
        self.programs: dict[Any, Any] = {}      # what was recorded -> its program
        self.known: dict[Any, list[Any]] = {}   # what is no float among the numbers -> (guards, program, where its constants come from)

    def run(self, rule: Any, scratch: int, h: Any, keep: float, columns: tuple[list[Any], ...]) -> bool:
        """One step of parameters, gradients and state (a list of arrays each). False, with nothing changed, where it can't be done here."""
        numbers = (*h, keep)
        flags = (len(columns), *[each for each in numbers if each.__class__ is not float])
        for guards, program, own, places in self.known.get(flags, ()):
            for index, compare, other, answer in guards:
                if compare(numbers[index], other) is not answer:
                    break
            else:
                numbers += own
                return library.step(program, [numbers[i] for i in places], columns)
        return self._record(rule, scratch, numbers, flags, columns)

    def _record(self, rule: Any, scratch: int, numbers: tuple[Any, ...], flags: Any, columns: tuple[list[Any], ...]) -> bool:
        """The same for numbers that ask for a recording."""
        inputs = len(columns)
        recorder = Recorder(inputs)
        p, g, *state = [_Value(recorder, i) for i in range(inputs)]
        *h, keep = [recorder.number(i, each) for i, each in enumerate(numbers)]
        change, *new = rule(recorder, h, (None,) * scratch, p, g, *state)
        if keep != 1.0:
            p = recorder.multiply(p, keep)
        outputs = [value.index for value in (recorder.subtract(p, change), *new)]
        key = (inputs, *recorder.code, *outputs)
        program = self.programs.get(key)
        if program is None:
            program = self.programs[key] = _program(recorder, inputs, outputs) or _FAILED
        if program is _FAILED:
            return False
        if recorder.reusable:
            own = [c for c, place in zip(recorder.constants, recorder.places, strict=True) if place is None]
            at = iter(range(len(numbers), len(numbers) + len(own)))
            if len(self.known) > 64:
                self.known.clear()
            self.known.setdefault(flags, []).append(
                (recorder.guards, program, tuple(own), [next(at) if place is None else place for place in recorder.places]))
        return library.step(program, recorder.constants, columns)


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
