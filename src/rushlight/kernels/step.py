"""The steps of optimizers: the rule of one runs once on symbols (formula.py), which write down its arithmetic, which of the step's numbers
it uses where, and what it asks about them. Later steps whose numbers give the same answers use what was recorded: as a native program over
all tensors in one call (native/step.cpp), or as NumPy calls over scratch memory (`Calls`); cuda/optimizer.py prints a kernel from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..vocabulary import Array, NumpyDtype
from .formula import Number, Symbol, Tape
from .fuse import program
from .native import library

__all__ = ["Recording", "Stepper"]

Rule = Callable[..., tuple[Any, ...]]


class Recording:
    """What a rule computes for numbers that give the same answers: its tape, and its results (the change of the parameter, the new
    state)."""

    __slots__ = ("tape", "outputs", "_native", "_calls", "kernels")

    def __init__(self, rule: Rule, h: Sequence[Any], inputs: int) -> None:
        self.tape = tape = Tape(inputs, _takes)
        self.outputs = tape.outputs(rule(tape.given(h), *[Symbol(tape, i) for i in range(inputs)]))
        self._native: dict[bool, Any] = {}
        self._calls: Calls | None = None
        self.kernels: dict[Any, Any] = {}       # for cuda/optimizer.py

    def numbers(self, h: Sequence[Any]) -> Sequence[Any]:
        """All numbers of the tape: those of the step, and those that the rule computes from them."""
        if not self.tape.derived:
            return h
        numbers = list(h)
        for compute, operands in self.tape.derived:
            numbers.append(compute(*[numbers[each] if each.__class__ is int else each for each in operands]))
        return numbers

    def native(self, shrinks: bool) -> Any:
        """(program, what its constants are) of the step in place, `shrinks` where the parameter is multiplied first; None where there is
        none."""
        try:
            return self._native[shrinks]
        except KeyError:
            found = self._native[shrinks] = self._compile(shrinks)
            return found

    def _compile(self, shrinks: bool) -> Any:
        tape, keep = self.tape, Number.of(self.tape, -1, 0.5)
        p, change = Symbol(tape, 0), Symbol(tape, self.outputs[0])
        result = Symbol.apply("subtract", (Symbol.apply("multiply", (p, keep)) if shrinks else p, change))
        constants, *rest, _ = program(tape, tape.outputs([result, *[Symbol(tape, at) for at in self.outputs[1:]]]))
        compiled = library.step_program(([1.0] * len(constants), *rest, False), tape.inputs)
        return None if compiled is None else (compiled, constants)

    def calls(self) -> Calls:
        """The NumPy calls that make the change, in scratch memory, and the new state in place of the old."""
        if self._calls is None:
            self._calls = Calls(self.tape, self.outputs, [-1, *range(2, self.tape.inputs)])
        return self._calls


def _select(condition: Array, a: Array, b: Array, out: Array) -> None:
    out[...] = np.where(condition, a, b)


_CALLS: dict[str, Callable[..., Any]] = {"where": _select, "copy": np.positive, "maximum": lambda a, b, out: np.maximum(a, b, out=out),
                                         "minimum": lambda a, b, out: np.minimum(a, b, out=out)}


def _takes(name: str) -> bool:
    return name in _CALLS or isinstance(getattr(np, name, None), np.ufunc)


class Calls:
    """What is on a tape as NumPy calls that write into given memory: ``(call, registers)``, the last register being where the result goes.

    places    per output the input whose memory it goes to, -1 for scratch memory (there is one such output: the first scratch array)
    Registers are the inputs, scratch arrays, arrays of bool, and numbers: those of the tape that are used, then its constants.
    """

    __slots__ = ("code", "scratch", "bools", "numbers", "constants", "_vectors", "_set")

    def __init__(self, tape: Tape, outputs: list[int], places: list[int]) -> None:
        values, last, inputs = tape.values, tape.wanted(outputs), tape.inputs
        place_of = dict(zip(outputs, places, strict=True))
        where: dict[int, tuple[str, int]] = {}
        self.numbers: list[int] = []
        self.constants: list[float] = []
        self._vectors: dict[Any, Any] = {}
        self._set: Any = None
        self.scratch = self.bools = 0
        free: list[int] = []
        late: list[tuple[int, int]] = []
        steps: list[tuple[Callable[..., Any], list[tuple[str, int]]]] = []
        for at, value in enumerate(values):
            if at not in last:
                continue
            if value[0] == "input":
                where[at] = ("input", at)
            elif value[0] == "constant":
                where[at] = ("constant", len(self.constants))
                self.constants.append(float.fromhex(value[1]))
            elif value[0] == "number":
                where[at] = ("number", len(self.numbers))
                self.numbers.append(value[1])
            else:
                done = [each for each in dict.fromkeys(value[1:]) if last[each] == at and each not in place_of]
                ended = [where[each][1] for each in done if where[each][0] == "scratch"]
                place = place_of.get(at, -1)
                if place >= 0 and last.get(place, at) <= at:
                    where[at] = ("input", place)                    # in place of the old value, which nobody needs any more
                elif tape.flags[at]:
                    where[at], self.bools = ("bool", self.bools), self.bools + 1
                elif (chain := _between(done, at, last, place_of, where)) is not None:
                    where[at] = chain
                elif ended or free:
                    where[at] = ("scratch", (ended or free).pop())
                else:
                    where[at], self.scratch = ("scratch", self.scratch), self.scratch + 1
                free.extend(ended)
                if place >= 0 and where[at][0] != "input":
                    late.append((at, place))
                steps.append((_CALLS.get(value[0]) or getattr(np, value[0]), [*[where[each] for each in value[1:]], where[at]]))
        steps += [(np.positive, [where[output], ("input", place)]) for output, place in late]
        change = next((where[output][1] for output, place in place_of.items() if place < 0), 0)
        starts = {"input": 0, "scratch": inputs, "bool": inputs + self.scratch, "number": inputs + self.scratch + self.bools}
        starts["constant"] = starts["number"] + len(self.numbers)
        swapped = {0: change, change: 0}                            # the change lies in the first scratch array
        self.code = [(call, [starts[kind] + (swapped.get(i, i) if kind == "scratch" else i) for kind, i in registers])
                     for call, registers in steps]

    def vector(self, dtype: NumpyDtype) -> Array:
        """The numbers and constants as one array, which `set` fills: 0-dim arrays are the cheapest numbers to NumPy."""
        found = self._vectors.get(dtype)
        if found is None:
            found = self._vectors[dtype] = np.array([0.0] * len(self.numbers) + self.constants, dtype)
            self._set = None
        return found

    def set(self, numbers: Sequence[float]) -> None:
        """The numbers of this step, for all that is bound."""
        if numbers != self._set:
            values = [numbers[i] for i in self.numbers]
            for vector in self._vectors.values():
                vector[:len(values)] = values
            self._set = numbers

    def bind(self, inputs: Sequence[Any], scratch: Sequence[Any]) -> Bound:
        """The calls on memory that stays: flat arrays of one size and dtype, and at least `scratch` arrays like them. `set` has to
        follow."""
        size, dtype = scratch[0].size, scratch[0].dtype
        vector = self.vector(dtype)
        return Bound(self.code, [*inputs, *scratch[:self.scratch], *[np.empty(size, bool) for _ in range(self.bools)],
                                 *[vector[i:i + 1].reshape(()) for i in range(vector.size)]])


def _between(done: list[int], at: int, last: dict[int, int], place_of: dict[int, int], where: dict[int, tuple[str, int]]) -> tuple[str,
             int] | None:
    """The memory of an input that ends here, for a value that ends where the input's new value is made."""
    for each in done:
        if where[each][0] == "input" and place_of.get(last[at], -1) == where[each][1] and at not in place_of:
            return where[each]
    return None


class Bound:
    """Calls on the memory that they work on; the gradient's may be another in each run."""

    __slots__ = ("code", "_values", "_moving")

    def __init__(self, code: list[tuple[Callable[..., Any], list[int]]], values: list[Any]) -> None:
        self._values = values
        self._moving = [(k, call, registers) for k, (call, registers) in enumerate(code) if 1 in registers]
        self.code = [(call, tuple([values[i] for i in registers])) for call, registers in code]

    def run(self, gradient: Array) -> None:
        """Compute with this gradient."""
        values = self._values
        if gradient is not values[1]:
            values[1] = gradient
            for k, call, registers in self._moving:
                self.code[k] = (call, tuple([values[i] for i in registers]))
        for call, arguments in self.code:
            call(*arguments)


class Stepper:
    """The recordings of one optimizer's rule."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[Any, list[Recording]] = {}   # the number of arrays and what is no float among the numbers -> recordings

    def recording(self, rule: Rule, h: Sequence[Any], inputs: int) -> Recording:
        """What the rule does with these numbers and so many arrays (parameter, gradient, state ...)."""
        key = (inputs, *[each for each in h if each.__class__ is not float])
        for each in self.known.get(key, ()):
            tape = each.tape
            numbers = each.numbers(h) if tape.derived else h
            for index, question, operand, answer in tape.guards:        # without a function of its own, which costs each step more
                if question(numbers[index], operand) != answer:
                    break
            else:
                return each
        if len(self.known) > 64 or len(self.known.get(key, ())) > 64:
            self.known.clear()
        found = Recording(rule, h, inputs)
        self.known.setdefault(key, []).append(found)
        return found

    def run(self, rule: Rule, h: Sequence[Any], keep: float, columns: tuple[list[Any], ...]) -> bool:
        """One native step of parameters, gradients and state (a list of arrays each). False, with nothing changed, where it can't be done
        so."""
        recording = self.recording(rule, h, len(columns))
        native = recording.native(keep != 1.0)
        if native is None:
            return False
        compiled, constants = native
        numbers = (*(recording.numbers(h) if recording.tape.derived else h), keep)          # -1: the last one
        return bool(library.step(compiled, [numbers[each] if each.__class__ is int else each for each in constants], columns))
