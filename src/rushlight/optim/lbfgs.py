"""L-BFGS, with a line search for the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..tensor import Tensor, wrap
from ..vocabulary import Array
from .checks import check_lr
from .optimizer import Optimizer, ParamsT

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["LBFGS"]


class Point(NamedTuple):
    """A place on the search line: step length, loss, gradient, and the slope along the line."""

    t: float
    loss: float
    grad: Any
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """The minimum, within bounds, of the cubic through two points with their slopes; the middle where it has none."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    if a.t > b.t:
        a, b = b, a
    if a.t == b.t:
        return (low + high) / 2.0
    middle = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.t - b.t)
    square = middle * middle - a.slope * b.slope
    if square >= 0.0:
        root = sqrt(square)
        divisor = b.slope - a.slope + 2.0 * root
        if divisor != 0.0:
            return min(max(b.t - (b.t - a.t) * ((b.slope + root - middle) / divisor), low), high)
        return high
    return (low + high) / 2.0


def strong_wolfe(at: Callable[[float], Point], start: Point, t: float, width: float, decrease: float = 1e-4, curvature: float = 0.9,
                 tolerance: float = 1e-9, most: int = 25) -> tuple[Point, int]:
    """A step that lowers the loss enough and flattens the slope enough (Nocedal & Wright, 3.5 and 3.6; cubic interpolation).

    at     evaluates the loss at a step length
    width  the largest element of the direction, by which step lengths are judged
    Returns the point and how many evaluations it took.
    """
    def too_high(point: Point) -> bool:
        return point.loss > start.loss + decrease * point.t * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -curvature * start.slope

    previous, point = start, at(t)
    evaluations, round_ = 1, 0
    while round_ < most:                                   # find an interval that contains a good step
        if too_high(point) or (round_ > 1 and point.loss >= previous.loss):
            break
        if flat(point):
            return point, evaluations
        if point.slope >= 0:
            break
        t = cubic_minimum(previous, point, (point.t + 0.01 * (point.t - previous.t), point.t * 10))
        previous, point = point, at(t)
        evaluations += 1
        round_ += 1
    else:
        previous = start
    ends = [previous, point]
    low, high = (0, 1) if ends[0].loss <= ends[1].loss else (1, 0)
    stuck = False
    while round_ < most:                                   # shrink it
        left, right = min(ends[0].t, ends[1].t), max(ends[0].t, ends[1].t)
        if (right - left) * width < tolerance:
            break
        t = cubic_minimum(ends[0], ends[1])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:              # too near to an end: tolerate it once
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = at(t)
        evaluations += 1
        round_ += 1
        if too_high(point) or point.loss >= ends[low].loss:
            ends[high] = point
            low, high = (0, 1) if ends[0].loss <= ends[1].loss else (1, 0)
        else:
            done = flat(point)
            if not done and point.slope * (ends[high].t - ends[low].t) >= 0:
                ends[high] = ends[low]
            ends[low] = point
            if done:
                break
    return ends[low], evaluations


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal & Wright, algorithm 7.4): a quasi-Newton method over the last history_size steps.

    ``step(closure)`` needs a closure that clears the gradients, computes the loss, calls backward and returns the loss; it is evaluated
    several times. line_search_fn is None (steps of lr) or "strong_wolfe". There is one parameter group only.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7,
                 tolerance_change: float = 1e-9, history_size: int = 100, line_search_fn: str | None = None) -> None:
        check_lr(lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(params, {"lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad,
                                  "tolerance_change": tolerance_change, "history_size": history_size, "line_search_fn": line_search_fn})
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    # -- parameters and gradients as one vector

    def _gather_grad(self) -> Array:
        parts = []
        for p in self._params:
            part = p._kind.xp.zeros(p._a.size, p._kind.np) if p._grad is None else p._grad.to_dense()._a.reshape(-1)
            parts.append(part.view(part.real.dtype) if part.dtype.kind == "c" else part)
        return np.concatenate(parts)

    def _move(self, t: float, direction: Array) -> None:
        at = 0
        for p in self._params:
            a = p._a
            size = a.size * (2 if a.dtype.kind == "c" else 1)
            part = direction[at:at + size]
            at += size
            a += ((part.view(a.dtype) if a.dtype.kind == "c" else part) * t).reshape(a.shape)
            p._ver += 1

    def _restore(self, arrays: list[Any]) -> None:
        for p, array in zip(self._params, arrays, strict=True):
            np.copyto(p._a, array)
            p._ver += 1

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to max_iter iterations; returns the loss of the first evaluation."""
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        group = self.param_groups[0]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = self._loss(closure)
        state["func_evals"] += 1
        grad = self._gather_grad()
        if np.abs(grad).max() <= group["tolerance_grad"]:
            return first
        self._iterate(closure, group, state, float(first), grad)
        return first

    def _iterate(self, closure: Callable[[], Any], group: dict[str, Any], state: dict[str, Any], loss: float, grad: Array) -> None:
        lr, tolerance = group["lr"] if isinstance(group["lr"], int) else float(group["lr"]), group["tolerance_change"]
        evaluations, iteration = 1, 0
        memory = Memory(state, group["history_size"], self._params[0]._kind)
        previous_loss = state.get("prev_loss")
        while iteration < group["max_iter"]:
            iteration += 1
            state["n_iter"] += 1
            first = state["n_iter"] == 1
            memory.update(grad, first)
            direction = memory.direction
            previous_loss = loss
            scale = min(1.0, 1.0 / float(np.abs(grad).sum())) if first else 1
            t, memory.t = scale * lr, group["lr"] * scale      # what is remembered has the type of lr, a tensor perhaps
            slope = float(np.dot(grad, direction))
            if slope > -tolerance:
                break
            used = 0
            last = iteration == group["max_iter"]
            done = False
            if group["line_search_fn"] is not None:
                loss, grad, memory.t, used = self._search(closure, loss, grad, t, direction, slope)
                done = np.abs(grad).max() <= group["tolerance_grad"]
            else:
                self._move(t, direction)
                if not last:
                    loss = float(self._loss(closure))
                    grad = self._gather_grad()
                    done = np.abs(grad).max() <= group["tolerance_grad"]
                    used = 1
            evaluations += used
            state["func_evals"] += used
            if (last or evaluations >= group["max_eval"] or done or np.abs(direction * float(memory.t)).max() <= tolerance
                    or abs(loss - previous_loss) < tolerance):
                break
        memory.save(state)
        state["prev_loss"] = previous_loss

    def _search(self, closure: Callable[[], Any], loss: float, grad: Array, t: float, direction: Array, slope: float) -> tuple[Any, ...]:
        start = [p._a.copy() for p in self._params]

        def at(t: float) -> Point:
            self._move(t, direction)
            value = float(self._loss(closure))
            gradient = self._gather_grad()
            self._restore(start)
            return Point(t, value, gradient, float(np.dot(gradient, direction)))
        point, used = strong_wolfe(at, Point(0.0, loss, grad, slope), t, float(np.abs(direction).max()))
        self._move(point.t, direction)
        return point.loss, point.grad, point.t, used


class Memory:
    """The last gradient differences (`ys`) and steps (`steps`) and what follows from them, kept in the state as tensors."""

    def __init__(self, state: dict[str, Any], size: int, kind: Kind) -> None:
        self.size = size
        self.kind = kind.with_dtype(kind.dtype.to_real())
        self.ys = [tensor._a for tensor in state.get("old_dirs") or []]
        self.steps = [tensor._a for tensor in state.get("old_stps") or []]
        self.ro = [float(value) for value in state.get("ro") or []]
        self.scale = float(state.get("H_diag", 1))
        self.direction = state["d"]._a if state.get("d") is not None else None
        self.t = state.get("t")
        self.grad = state["prev_flat_grad"]._a if state.get("prev_flat_grad") is not None else None
        self.weights: list[Any] = [each if each is None else float(each) for each in state.get("al") or []]

    def update(self, grad: Array, first: bool) -> None:
        """A new gradient: remember the step that led to it, and find the next direction."""
        if first:
            self.direction, self.ys, self.steps, self.ro, self.scale = -grad, [], [], [], 1.0
        else:
            y, step = grad - self.grad, self.direction * float(self.t)
            product = float(np.dot(y, step))
            if product > 1e-10:
                if len(self.ys) == self.size:
                    self.ys.pop(0)
                    self.steps.pop(0)
                    self.ro.pop(0)
                self.ys.append(y)
                self.steps.append(step)
                self.ro.append(1.0 / product)
                self.scale = product / float(np.dot(y, y))
            self.direction = self._two_loops(-grad)
        self.grad = grad.copy()

    def _two_loops(self, q: Array) -> Array:
        """The inverse Hessian's approximation times q."""
        weights = []
        for y, step, ro in zip(reversed(self.ys), reversed(self.steps), reversed(self.ro), strict=True):
            weight = float(np.dot(step, q)) * ro
            weights.insert(0, weight)
            q -= y * weight
        q *= self.scale
        self.weights = [*weights, *[None] * (self.size - len(weights))]
        for y, step, ro, weight in zip(self.ys, self.steps, self.ro, weights, strict=True):
            q += step * (weight - float(np.dot(y, q)) * ro)
        return q

    def save(self, state: dict[str, Any]) -> None:
        """Put everything back under PyTorch's names."""
        def tensor(value: Array | float) -> Tensor:
            return wrap(self.kind.xp.asarray(value, self.kind.np), self.kind)
        if self.weights:
            state["al"] = [each if each is None else tensor(each) for each in self.weights]
        state["d"], state["t"] = tensor(self.direction), self.t
        state["old_dirs"], state["old_stps"] = [tensor(y) for y in self.ys], [tensor(step) for step in self.steps]
        state["ro"] = [tensor(value) for value in self.ro]
        state["H_diag"] = tensor(self.scale) if self.ys else 1
        state["prev_flat_grad"] = tensor(self.grad)
