"""`PassManager`: passes in an order, one after the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from ...graph_module import GraphModule
from .pass_base import PassResult

__all__ = ["pass_result_wrapper", "this_before_that_pass_constraint", "PassManager"]


def _name(fn: Any) -> str:
    return fn.__name__ if inspect.isfunction(fn) else type(fn).__name__


def pass_result_wrapper(fn: Any) -> Any:
    """A function that changes a module, or gives one, as a pass: it gives a `PassResult`."""
    if fn is None:
        return None

    @wraps(fn)
    def wrapped_fn(gm: Any) -> PassResult:
        result = fn(gm)
        return result if isinstance(result, PassResult) else PassResult(gm if result is None else result, True)
    wrapped_fn.__name__ = _name(fn)
    return wrapped_fn


def _validate_pass_schedule_constraint(constraint: Callable[[Any, Any], bool], passes: list[Any]) -> None:
    for i, a in enumerate(passes):
        for j, b in enumerate(passes[i + 1:]):
            if not constraint(a, b):
                raise RuntimeError(f"pass schedule constraint violated. Expected {a} before {b} but found {a} at index {i} and {b} at "
                                   f"index {j} in pass list.")


def _topological_sort_passes(passes: list[Any], constraints: list[Callable[[Any, Any], bool]]) -> list[Any]:
    """The passes in an order that all constraints allow; RuntimeError where there is none."""
    # a -> what has to come after
    after = {a: [b for b in passes if b != a and any(not allowed(b, a) for allowed in constraints)] for a in passes}
    before = {b: sum(b in after[a] for a in passes) for b in passes}
    ready = [each for each in passes if not before[each]]
    done: list[Any] = []
    while ready:
        done.append(ready.pop(0))
        for each in after[done[-1]]:
            before[each] -= 1
            if not before[each]:
                ready.append(each)
    if len(done) != len(before):
        raise RuntimeError(f"Circular dependency detected within the following passes: {[each for each in passes if before[each]]}")
    return done


def this_before_that_pass_constraint(this: Any, that: Any) -> Callable[[Any, Any], bool]:
    """A constraint: one pass comes before another one."""
    return lambda a, b: a != that or b != this


class PassManager:
    """Runs passes on a module, in an order that the constraints allow, up to `steps` times or until nothing changes.

    constraints  functions of two passes, false where the first may not come before the second
    run_checks_after_each_pass  call ``check`` (see `add_checks`) after every pass, not only at the beginning
    """

    def __init__(self, passes: list[Any] | None = None, constraints: list[Callable[[Any, Any], bool]] | None = None,
                 steps: int | None = None, run_checks_after_each_pass: bool = False, suppress_check_failures: bool = False) -> None:
        self.passes, self.constraints, self.steps = passes or [], constraints or [], steps or 1
        self.run_checks_after_each_pass, self.suppress_check_failures = run_checks_after_each_pass, suppress_check_failures
        self._validated = False

    def add_pass(self, _pass: Any) -> None:
        """One more pass."""
        self.passes.append(_pass)
        self._validated = False

    def add_constraint(self, constraint: Callable[[Any, Any], bool]) -> None:
        """One more constraint."""
        self.constraints.append(constraint)
        self._validated = False

    def validate_constraints(self) -> None:
        """RuntimeError where the passes are not in an order that the constraints allow."""
        if not self._validated:
            for each in self.constraints:
                _validate_pass_schedule_constraint(each, self.passes)
            self._validated = True

    def solve_constraints(self) -> None:
        """Put the passes in such an order."""
        if self.constraints:
            self.passes = _topological_sort_passes(self.passes, self.constraints)
        self._validated = True

    def add_checks(self, check: Callable[[Any], None]) -> None:
        """Have a function of one argument, the module, called as a check: it raises. TypeError where it takes more."""
        if len(inspect.signature(check).parameters) != 1:
            raise TypeError("PassManager check function should only take in one variable, a module")
        self._check: Callable[[Any], None] | None = check

    def check(self, module: Any) -> None:
        """Call the check."""
        check = getattr(self, "_check", None)
        if check is not None:
            check(module)

    def __call__(self, module: Any) -> PassResult:
        if not self._validated:
            self.solve_constraints()
        self.check(module)
        changed = False
        for _ in range(self.steps):
            module, modified = self._once(module)
            changed = changed or modified
            if not modified:
                break
        return PassResult(module, changed)

    def _once(self, module: Any) -> tuple[Any, bool]:
        modified = False
        for i, fn in enumerate(self.passes):
            try:
                result = fn(module)
                if not hasattr(result, "graph_module"):
                    raise TypeError(f"The result of the pass {_name(fn)} should be type PassResult.Please wrap it with "
                                    "pass_result_wrapper()")
                module, modified = result.graph_module, modified or result.modified
                if isinstance(module, GraphModule):
                    module.recompile()
                if self.run_checks_after_each_pass:
                    self.check(module)
            except Exception as error:
                before = [_name(each) for each in self.passes[:i]]
                raise Exception(f"An error occurred when running the '{_name(fn)}' pass after the following passes: {before}") from error  # noqa: TRY002
        return module, modified
