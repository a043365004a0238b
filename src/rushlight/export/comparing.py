"""Runs of one program at several sizes, side by side: what is the same, and what follows from the sizes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from .._dynamo.exc import UserError, UserErrorType
from ..tensor import Tensor
from ..utils import _pytree as pytree
from .dynamic_shapes import Symbol, int_oo
from .sizes import Expr, fit
from .tracing import Call, Meta, Question, Ref, Run

__all__ = ["Comparison", "Different", "violated"]


class Different(Exception):  # noqa: N818
    """The program took another course at other sizes: where, and how, and in which run."""

    run = 0


class Comparison:
    """Runs at assignments of numbers to symbols. `args` and `sizes` are the first run's, with expressions where the runs differ."""

    def __init__(self, runs: list[Run], envs: list[dict[str, int]], shapes: list[Any], symbols: list[Symbol]) -> None:
        self.runs, self.envs, self.shapes, self.symbols = runs, envs, shapes, symbols
        self.args: list[tuple[Any, Any]] = []          # of each call
        self.sizes: list[list[Any]] = []               # of each result of each call
        self.result: list[Any] = []

    def check(self) -> None:
        """Compare everything, after `align`. UserError where the program's course depends on a size."""
        for i, call in enumerate(self.runs[0].calls):
            calls = [each.calls[i] for each in self.runs]
            self.args.append((self.common([each.args for each in calls], call), self.common([each.kwargs for each in calls], call)))
            operands = self.operands(call)
            self.sizes.append([self.shape([each.results[k] for each in calls], operands, call) for k in range(len(call.results))])
        leaves = [[run.reference(each) for each in pytree.tree_leaves(run.result)] for run in self.runs]
        self.result = [self.leaf(list(each), None) for each in zip(*leaves, strict=True)]
        for questions in zip(*[each.questions for each in self.runs], strict=True):
            self.answered(list(questions))

    def align(self) -> None:
        """Raise `Different` where the runs are not the same operators on the same tensors."""
        for i, other in enumerate(self.runs[1:]):
            try:
                self.same(self.runs[0], other)
            except Different as error:
                error.run = i + 1
                raise

    def same(self, first: Run, other: Run) -> None:
        """The same for two runs."""
        for x, y in zip(first.questions, other.questions, strict=False):
            if x.answer != y.answer:
                raise Different(f"{y.left} {y.op} {y.right} is {y.answer}, {x.left} {x.op} {x.right} is {x.answer}\n  {x.line}")
        for i, (a, b) in enumerate(zip(first.calls, other.calls, strict=False)):
            if a.op is not b.op or _frame(a) != _frame(b) or len(a.results) != len(b.results):
                raise Different(f"{a.op} became {b.op} (operator {i})\n  {a.stack}")
        if len(first.calls) != len(other.calls):
            longer = max((first, other), key=lambda each: len(each.calls))
            call = longer.calls[min(len(first.calls), len(other.calls))]
            raise Different(f"{len(first.calls)} operators became {len(other.calls)}\n  {call.stack}")
        if pytree.tree_structure(first.result) != pytree.tree_structure(other.result):
            raise Different("the structure of the result changed")
        if len(first.questions) != len(other.questions):
            raise Different("sizes are compared more often")
        for name, value in first.constants.items():
            again = other.constants.get(name)
            if again is None or value.shape != again.shape or bool((value != again).any()):
                raise Different("a tensor made of Python's numbers has other values")

    # --- numbers ------------------------------------------------------------------------------------------------------------------------

    def common(self, values: list[Any], call: Call) -> Any:
        """One argument of all: the first run's, with expressions for the numbers that differ."""
        leaves = [pytree.tree_leaves(each, is_leaf=lambda value: isinstance(value, Ref)) for each in values]
        spec = pytree.tree_flatten(values[0], is_leaf=lambda value: isinstance(value, Ref))[1]
        return pytree.tree_unflatten([self.leaf(list(each), call) for each in zip(*leaves, strict=True)], spec)

    def leaf(self, values: list[Any], call: Call | None) -> Any:
        """A number, or the expression that it is."""
        first = values[0]
        if isinstance(first, (Ref, Tensor)) or all(type(each) is type(first) and (each == first or each != each) for each in values[1:]):
            return int(first) if isinstance(first, int) and not isinstance(first, bool) else first
        if all(isinstance(each, int) and not isinstance(each, bool) for each in values):
            found = fit([int(each) for each in values], self.envs, self.operands(call) if call is not None else [])
            if found is not None:
                return found
        where = "the result" if call is None else f"{call.op}\n  {call.stack}"
        raise UserError(UserErrorType.CONSTRAINT_VIOLATION, f"torch.export: a number that is {values[0]} at the sizes {self.envs[0]} and "
                        f"{next(each for each in values if each != first)} at others can't be written with the sizes; compute it from "
                        f"x.shape with +, -, * and // only, or as a tensor. It is an argument of {where}")

    def operands(self, call: Call) -> list[Expr]:
        """The sizes of the tensors that an operator is given."""
        found: list[Expr] = []
        for ref in pytree.tree_leaves((call.args, call.kwargs), is_leaf=lambda value: isinstance(value, Ref)):
            if isinstance(ref, Ref):
                found += [each for each in self.sizes_of(ref) if each.number is None and each not in found]
        return found

    def sizes_of(self, ref: Ref) -> list[Expr]:
        """The sizes of a tensor."""
        if ref.kind == "in":
            return list(self.shapes[ref.key])
        if ref.kind == "call":
            return list(self.sizes[ref.key][ref.part or 0] or [])
        return []

    def shape(self, results: list[Any], operands: list[Expr], call: Call) -> list[Expr] | None:
        """The sizes of a result."""
        if not isinstance(results[0], Meta):
            return None
        strides = _windows(call)
        found = []
        for values in zip(*[each.shape for each in results], strict=True):
            expr = fit(list(values), self.envs, operands, strides)
            if expr is None:
                raise UserError(UserErrorType.CONSTRAINT_VIOLATION, f"torch.export: how a size of the result of {call.op} follows from "
                                                                    "the sizes that may change is not "
                                f"known ({list(values)} at {self.envs}); it may depend on values: fix it, or mark fewer sizes as "
                                f"dynamic\n  {call.stack}")
            found.append(expr)
        return found

    def answered(self, questions: list[Question]) -> None:
        """UserError where a comparison has another answer somewhere in the range."""
        left, right = [fit([getattr(each, side) for each in questions], self.envs) for side in ("left", "right")]
        if left is None or right is None:
            return
        first = questions[0]
        for env in self.corners():
            if _COMPARE[first.op](left.at(env), right.at(env)) != first.answer:
                kept = first.op if first.answer else _OPPOSITE[first.op]
                raise violated(self.symbols, env, self.envs[0], Different(f"{left} {kept} {right}\n  {first.line}"),
                               f"{left} {kept} {right}")

    def corners(self) -> list[dict[str, int]]:
        """Assignments all over the range: small and large sizes of each symbol."""
        found = []
        for each in self.symbols:
            lower, upper = max(each.lower, 2), 1 << 31 if each.upper is int_oo else each.upper
            sizes = {n for n in (*range(lower, lower + 130), each.example - 1, each.example + 1, *[1 << k for k in range(2, 31)], upper - 1,
                                 upper) if lower <= n <= upper}
            found += [{**self.envs[0], each.name: n} for n in sorted(sizes)]
        return found


_COMPARE = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def _frame(call: Call) -> Any:
    """An operator's arguments without their numbers."""
    leaves, spec = pytree.tree_flatten((call.args, call.kwargs), is_leaf=lambda value: isinstance(value, Ref))
    return spec, [each if isinstance(each, (Ref, str, bool)) else type(each) for each in leaves]


def _windows(call: Call) -> list[tuple[int, int]]:
    """For windows that move over a dimension, (stride, c): a size n becomes (n + c) // stride. Taken from the numbers of the call, where
    they are."""
    name = call.op._opname
    lists = [each for each in call.args if isinstance(each, list) and all(isinstance(n, int) for n in each)]
    if name.startswith("conv") and not name.startswith("conv_transpose"):
        strides, paddings, dilations = [*lists, [1], [0], [1]][:1], [*lists[1:2], [0]][:1], [*lists[2:3], [1]][:1]
        kernels = list(range(1, 32))
        return [(s, 2 * p - d * (k - 1) - 1 + s) for s in strides[0] for p in paddings[0] for d in dilations[0] for k in kernels if s > 1]
    if "pool" in name and lists:
        strides, paddings = (lists[1:2] or lists[:1])[0], (lists[2:3] or [[0]])[0]
        return [(s, 2 * p - k + s) for k in lists[0] for s in strides for p in paddings if s > 1]
    return []


def violated(symbols: Sequence[Symbol], env: dict[str, int], example: dict[str, int], why: Exception | None,
             guard: str | None = None) -> UserError:
    """The error of a size that should change and can't."""
    changed = [each for each in symbols if env.get(each.name) != example.get(each.name)] or list(symbols)
    labels = ", ".join(each.label for each in changed)
    lines = []
    for each in changed:
        if guard is not None:
            text = guard.replace(each.name, each.source)
            lines.append(f"  - Not all values of {each.label} = {each.source} in the specified range satisfy the generated guard {text}")
        else:
            lines.append(f"  - You marked {each.label} as dynamic but your code specialized it to be a constant ({example[each.name]}). "
                         "If you're using mark_dynamic, either "
                         "remove it or use maybe_mark_dynamic. If you're using Dim.DYNAMIC, replace it with either Dim.STATIC or Dim.AUTO.")
    reason = "" if why is None else f"\nWith {', '.join(f'{each.label} = {env[each.name]}' for each in changed)}: {why}"
    return UserError(UserErrorType.CONSTRAINT_VIOLATION, f"Constraints violated ({labels})! For more information, run with "
                                                         "TORCH_LOGS=\"+dynamic\".\n"
                     + "\n".join(lines) + reason)
