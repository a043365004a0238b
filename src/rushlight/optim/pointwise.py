"""`PointwiseOptimizer`: the machinery of all optimisers whose update works element by element.

A subclass describes its state (`_layout`), its numbers for a step (`_advance`), and its arithmetic (`_rule`), once: a formula
(kernels/formula.py), which runs in four ways:

* in one native call for all parameters, where there is the library and arrays are contiguous float32 or float64 (`kernels.step`);
* as NumPy calls in place and over scratch memory (`Plan`): small parameters that are at the same step are gathered into one
  block of memory, so that a step of a small model costs a dozen NumPy calls instead of a dozen per parameter; large
  parameters are worked through in pieces that stay in the cache. State that is made here lies in one block from the start;
* in one kernel for all parameters on a GPU (`kernels.cuda.optimizer`);
* on tensors, where recording is asked for (``differentiable=True``) or the arrays fit none of these.

A plan is made once and checked at each step: the same parameters, arrays, gradients present and state, else it is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.grad_mode import set_grad_enabled
from ..dtypes import float32, float64, get_default_dtype
from ..kernels.native import library
from ..kernels.step import Calls, Stepper
from ..kind import kind_of
from ..layout import SparseRefusal
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Number, NumpyDtype
from .optimizer import Optimizer

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["PointwiseOptimizer", "effective_grad"]

_NATIVE = (np.dtype(np.float32), np.dtype(np.float64))
PIECE = 16384          # elements per rule call: six float32 arrays of this size fit a core's cache
SMALL = 8192           # parameters up to this size are gathered


def effective_grad(p: Any, g: Any, maximize: bool, weight_decay: Number | float) -> Any:
    """The gradient to descend: negated to maximise, plus the L2 penalty's."""
    if maximize:
        g = -g
    return p * weight_decay + g if weight_decay.__class__ is not float or weight_decay else g


def _number(tensor: Tensor) -> float:
    return float(tensor._a.item())


class PointwiseOptimizer(Optimizer):
    """Base of the element-by-element optimisers; see the module's text."""

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(names of the scalars, names of the parameter-sized state), in PyTorch's order; the same object as long as it is the same."""
        raise NotImplementedError(f"{type(self).__name__} does not define its state")

    def _initial(self, group: dict[str, Any], name: str) -> float:
        """What a piece of state starts with."""
        return 0.0

    def _reads_param(self, group: dict[str, Any]) -> bool:
        """Whether the rule looks at the parameter itself."""
        return bool(group.get("weight_decay", 0)) and not group.get("decoupled_weight_decay", False)

    @staticmethod
    def _keep(group: dict[str, Any], lr: float) -> float:
        """What the parameter is multiplied by before the change: less than one for decoupled weight decay."""
        decay = group["weight_decay"] if group.get("decoupled_weight_decay", False) else 0.0
        return 1.0 - lr * float(decay) if decay else 1.0

    def _advance(self, group: dict[str, Any], lr: Any, scalars: list[float], fresh: bool) -> tuple[list[float], Any]:
        """New values of the scalars, and whatever the rule wants to know as `h`. `fresh`: parameter-sized state was just made."""
        raise NotImplementedError(f"{type(self).__name__} does not define its numbers")

    @staticmethod
    def _rule(h: Any, p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """(what to subtract from the parameter, the new state ...)."""
        raise NotImplementedError("this optimizer does not define its rule")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters; returns what the closure, if given, returns."""
        loss = None if closure is None else self._loss(closure)
        if len(self.state) != self._state_count:
            self._plans.clear()
        for index, group in enumerate(self.param_groups):
            plan = self._plans.get(index)
            try:
                grads = None if plan is None else plan.ready(self, group)
            except SparseRefusal:
                grads = None
            if grads is None:
                sparse = [p for p in group["params"] if p._grad is not None and p._grad._kind.sparse]
                if sparse:
                    self._step_beside_sparse(index, group, sparse)
                else:
                    self._step_planned(index, group)
            elif grads:
                lr = group["lr"]
                plan.run(self, group, lr if lr.__class__ is float else float(lr), grads)
        self._state_count = len(self.state)
        return loss

    def _step_planned(self, index: int, group: dict[str, Any]) -> None:
        """Step a group for which there is no plan yet."""
        if self._through_tensors(group):
            self._step_tensors(group)
            return
        plan = self._plans[index] = Plan(self, group)
        grads = plan.ready(self, group)
        if grads:
            plan.run(self, group, float(group["lr"]), grads)

    # -- sparse gradients

    _sparse_name = _sparse_hint = ""          # what the error says

    def _step_beside_sparse(self, index: int, group: dict[str, Any], sparse: list[Tensor]) -> None:
        """Step a group in which some gradients are sparse: those on their own, the others as always."""
        self._check_sparse(group)
        grads = [p._grad for p in sparse]
        try:
            for p in sparse:
                p._grad = None
            self._step_planned(index, group)
        finally:
            for p, grad in zip(sparse, grads, strict=True):
                p._grad = grad
        with set_grad_enabled(False):
            for p, grad in zip(sparse, grads, strict=True):
                self._step_sparse(group, p, grad)

    def _check_sparse(self, group: dict[str, Any]) -> None:
        """RuntimeError where the algorithm (or the group's options) can't work with sparse gradients."""
        raise RuntimeError(f"{self._sparse_name or type(self).__name__} does not support sparse gradients{self._sparse_hint}")

    def _step_sparse(self, group: dict[str, Any], p: Tensor, grad: Any) -> None:
        """The update of one parameter whose gradient is sparse."""
        raise NotImplementedError(f"{type(self).__name__} does not define its step for sparse gradients")

    def _through_tensors(self, group: dict[str, Any]) -> bool:
        """Whether the group takes the tensor way; also refuses what cannot be done."""
        if group.get("capturable"):
            raise AssertionError("If capturable=True, params and state_steps must be on a device that can capture graphs (cuda); "
                                 "leave capturable=False on the cpu")
        if group.get("differentiable"):
            for beta in group.get("betas", ()):
                if isinstance(beta, Tensor) and beta.requires_grad:
                    raise NotImplementedError("gradients with respect to betas are not computed: give betas as plain numbers")
            return True
        params = group["params"]
        return any(p._kind.xp is not np or not p._kind.differentiable for p in params) or len({id(p) for p in params}) != len(params)

    # -- on a GPU

    def _step_together(self, group: dict[str, Any]) -> list[Tensor]:
        """Step the parameters on a GPU by one kernel for all that have come equally far; returns those that it can't step."""
        scalars, buffers = self._layout(group)
        left: list[Tensor] = []
        alike: dict[Any, list[Tensor]] = {}
        for p in group["params"]:
            if p._grad is None:
                continue
            if group.get("differentiable") or p._grad._kind is not p._kind or not p._kind.is_floating or p._kind.xp is np:
                left.append(p)
                continue
            fresh = self._make_state(group, p)
            values = tuple([_number(self.state[p][name]) for name in scalars])
            alike.setdefault((p._kind, fresh, values), []).append(p)
        keep = self._keep(group, group["lr"])
        for (kind, fresh, values), params in alike.items():
            new, h = self._advance(group, group["lr"], list(values), fresh)
            rows = [(p._a, p._grad._a, *[self.state[p][name]._a for name in buffers]) for p in params]     # type: ignore[union-attr]
            if any(each.__class__ is Tensor for each in (keep, *h)) or not kind.xp.step(
                    self._stepper.recording(self._rule, h, len(rows[0])), h, keep, rows, type(self).__name__):
                left += params
                continue
            for p in params:
                p._ver += 1
                for name, value in zip(scalars, new, strict=True):
                    self.state[p][name]._a.fill(value)
        return left

    # -- on tensors

    def _step_tensors(self, group: dict[str, Any]) -> None:
        params = group["params"]
        if params and params[0]._kind.device.type == "cuda":
            params = self._step_together(group)
        scalars, buffers = self._layout(group)
        recorded = bool(group.get("differentiable"))
        with set_grad_enabled(recorded):
            for p in params:
                if p.grad is None:
                    continue
                fresh = self._make_state(group, p)
                state = self.state[p] if scalars or buffers else {}
                new, h = self._advance(group, group["lr"], [
                    state[name].clone() if recorded and state[name].requires_grad else _number(state[name]) for name in scalars], fresh)
                for name, value in zip(scalars, new, strict=True):
                    if isinstance(value, Tensor):
                        state[name].copy_(value)
                    else:
                        state[name]._a.fill(value)
                target, g = _as_real(p), _as_real(p.grad)
                old = [_as_real(state[name]) for name in buffers]
                # Copies, because what the rule saves for backward must not change with the state.
                change, *values = self._rule(h, target, g, *[buffer.clone() for buffer in old])
                for buffer, value in zip(old, values, strict=True):
                    buffer.copy_(value)
                keep = self._keep(group, group["lr"])
                if keep.__class__ is not float or keep != 1.0:
                    target.mul_(keep)
                target.sub_(change)

    def _make_state(self, group: dict[str, Any], p: Tensor) -> bool:
        """Make what is missing of one parameter's state; says whether a buffer was made."""
        scalars, buffers = self._layout(group)
        if not scalars and not buffers:
            return False
        state = self.state[p]
        for name in scalars:
            if not isinstance(state.get(name), Tensor):
                state[name] = _new_scalar(state.get(name, self._initial(group, name)))
        missing = [name for name in buffers if state.get(name) is None]
        for name in missing:
            state[name] = _filled_like(p, self._initial(group, name))
        return bool(missing)

    def _scratch_arrays(self, n: int, dtype: NumpyDtype, count: int) -> list[Any]:
        """Arrays of n elements for the rule, shared by all blocks of this optimizer."""
        pool = self._pool.setdefault(dtype, [])
        if pool and pool[0].size < n:
            pool.clear()
        while len(pool) < count:
            pool.append(np.empty(pool[0].size if pool else max(n, PIECE) if n > SMALL else n, dtype))
        return [array[:n] for array in pool[:count]]

    def _forget_plans(self) -> None:
        super()._forget_plans()
        self._pool: dict[Any, list[Any]] = {}
        self._stepper = Stepper()


def _as_real(t: Tensor) -> Tensor:
    if not t.is_complex():
        return t
    return FUNCTIONS["view_as_real"](t)


def _scalar_kind() -> Kind:
    return kind_of(float64 if get_default_dtype() is float64 else float32)


def _new_scalar(value: float) -> Tensor:
    kind = _scalar_kind()
    return wrap(np.full((), value, kind.np), kind)


def _filled_like(p: Tensor, value: float) -> Tensor:
    array = p._kind.xp.empty_like(p._a)
    array.fill(complex(value, value) if p._kind.is_complex else value)
    return wrap(array, p._kind)


def _flat(array: Array) -> Array:
    """A contiguous array as one real dimension, sharing memory."""
    array = array.reshape(-1)
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array


def _in_a_row(arrays: list[Any]) -> Array | None:
    """One flat array over arrays that lie behind one another in one block of memory; None where they do not."""
    first = arrays[0]
    if len(arrays) == 1:
        return first.reshape(-1) if first.flags.c_contiguous else None
    base = first.base
    if base.__class__ is not np.ndarray or base.ndim != 1 or not base.flags.c_contiguous or base.dtype != first.dtype:
        return None
    start = at = first.__array_interface__["data"][0]
    for array in arrays:
        if array.base is not base or not array.flags.c_contiguous or array.__array_interface__["data"][0] != at:
            return None
        at += array.nbytes
    lo = (start - base.__array_interface__["data"][0]) // base.itemsize
    return base[lo:lo + (at - start) // base.itemsize]


def _pairs(arrays: list[Any], flat: Array) -> tuple[tuple[Any, Any], ...]:
    """(array, its part of a flat array in the same shape) for each of the arrays."""
    pairs, at = [], 0
    for array in arrays:
        pairs.append((array, flat[at:at + array.size].reshape(array.shape)))
        at += array.size
    return tuple(pairs)


class Column:
    """One quantity (parameter, gradient, or a state buffer) of the parameters of a block, seen as one flat real array.

    `flat` is that array: a view where memory allows, else a buffer that `load` fills and `store` writes back.
    """

    __slots__ = ("flat", "buffer", "pairs")

    def __init__(self, arrays: list[Any], work: NumpyDtype) -> None:
        row = _in_a_row(arrays) if arrays[0].dtype.kind in "fc" and arrays[0].itemsize >= 4 else None
        if row is not None:
            self.flat, self.buffer, self.pairs = _flat(row), None, ()
            return
        size = sum(array.size for array in arrays)
        self.buffer = np.empty(size, arrays[0].dtype if arrays[0].dtype.kind == "c" else work)
        self.flat = _flat(self.buffer)
        self.pairs = _pairs(arrays, self.buffer)

    def load(self) -> None:
        for array, values in self.pairs:
            values[...] = array

    def store(self) -> None:
        for array, values in self.pairs:
            array[...] = values


class Block:
    """Parameters (or a piece of one) that go through the rule as one flat array."""

    __slots__ = ("member", "param", "reads", "changes", "casts", "state", "grads", "grad_flat", "piece", "scratch", "copies", "optimizer",
                 "calls", "bound")

    def __init__(self, members: list[int], arrays: list[Any], state: list[list[Any]], piece: slice | None, reads: bool,
                 optimizer: Any) -> None:
        first = arrays[0]
        work = np.dtype(np.float32) if first.dtype.itemsize < 4 else first.real.dtype
        self.member, self.piece, self.reads = members[0], piece, reads
        self.param = Column(arrays, work)
        self.state = [Column(column, work) for column in state]
        self.copies = tuple(column for column in self.state if column.pairs)
        self.optimizer = optimizer
        self.calls: Calls | None = None
        self.bound: Any = None
        self.scratch = optimizer._scratch_arrays(self.param.flat.size, work, 1)         # the change; more are made when the rule is known
        self.changes: Any = ()
        self.grads: Any = None
        self.casts = first.dtype.itemsize < 4
        if self.param.buffer is not None:
            # The gradients are gathered, and the change is taken from each parameter by itself.
            change = self.scratch[0] if first.dtype.kind != "c" else self.scratch[0].view(first.dtype)
            self.changes = _pairs(arrays, change)
            gathered = np.empty_like(self.param.buffer)
            self.grads = [(i, values) for i, (_, values) in zip(members, _pairs(arrays, gathered), strict=True)]
            self.grad_flat = _flat(gathered)

    def _grad(self, grads: list[Any]) -> Array:
        """The gradient as one flat real array."""
        if self.piece is not None:
            g = grads[self.member].reshape(-1)[self.piece]
            if self.grads is None:
                return _flat(g)
            self.grads[0][1][...] = g
            return self.grad_flat
        if self.grads is None:
            g = grads[self.member].reshape(-1)
            return _flat(np.ascontiguousarray(g)) if g.dtype.kind == "c" else g
        for i, values in self.grads:
            values[...] = grads[i]
        return self.grad_flat

    def bind(self, calls: Calls) -> None:
        """Get ready to run these calls."""
        if len(self.scratch) < calls.scratch:
            self.scratch += self.optimizer._scratch_arrays(self.scratch[0].size, self.scratch[0].dtype, calls.scratch)[len(self.scratch):]
        self.calls, self.bound = calls, calls.bind([self.param.flat, None, *[column.flat for column in self.state]], self.scratch)

    def run(self, grads: list[Any], keep: float) -> None:
        g = self._grad(grads)
        p = self.param
        if self.reads:
            p.load()
        for column in self.copies:
            column.load()
        self.bound.run(g)
        for column in self.copies:
            column.store()
        for array, values in self.changes or ((p.flat, self.scratch[0]),):
            if keep != 1.0:
                np.multiply(array, keep, array)
            if self.casts:
                np.subtract(array, values, array, casting="unsafe")
            else:
                np.subtract(array, values, array)


class Cohort:
    """Parameters at the same step: they share the scalars and the rule's numbers."""

    __slots__ = ("blocks", "scalars", "fresh", "members", "columns")

    def __init__(self, members: list[int], scalars: list[Any], fresh: bool) -> None:
        self.members = members
        self.columns: Any = ()                  # for the native step: parameters, then each kind of state, as lists of arrays
        # Per scalar either one flat array over all members, or a list of 0-dim arrays.
        self.scalars = [_in_a_row([each.reshape(1) for each in column]) if len(column) == 1 else _scalar_row(column) for column in scalars]
        self.fresh = fresh
        self.blocks: list[Block] = []

    def values(self) -> list[float] | None:
        """The scalars' values; None where the members no longer agree."""
        values = []
        for column in self.scalars:
            if column.__class__ is list:
                value = column[0].item()
                if any(each.item() != value for each in column):
                    return None
            else:
                raw = column.tobytes()
                size = column.itemsize
                if raw != raw[:size] * column.size:
                    return None
                value = column.item(0)
            values.append(value)
        return values

    def write(self, values: list[float]) -> None:
        for column, value in zip(self.scalars, values, strict=True):
            if column.__class__ is list:
                for each in column:
                    each[...] = value
            else:
                column.fill(value)


def _scalar_row(arrays: list[Any]) -> Array | list[Array]:
    row = _in_a_row(arrays)
    return arrays if row is None else row


class Plan:
    """How to step one parameter group: see the module's text."""

    def __init__(self, optimizer: PointwiseOptimizer, group: dict[str, Any]) -> None:
        self.layout = optimizer._layout(group)
        self.group = group
        self.reads = optimizer._reads_param(group)
        self.params: list[tuple[Tensor, Any]] = []
        self.active: list[Tensor] = []
        for p in group["params"]:
            if p._grad is None:
                self.params.append((p, None))
            else:
                self.params.append((p, p._a))
                self.active.append(p)
        self.cohorts: list[Cohort] = []
        self.pending: list[list[float]] = []
        for (key, fresh), members in self._grouped(optimizer).items():
            self._add_cohort(optimizer, members, key, fresh)
        scalars, buffers = self.layout
        names = (*scalars, *buffers)
        # Large parameters are cut into pieces, for which their gradients have to be contiguous.
        self.large = [i for i, p in enumerate(self.active) if p._a.size > PIECE]
        states = [optimizer.state[p] for p in self.active] if names else []
        self.checks = [(state, name, state[name], state[name]._a) for state in states for name in names]

    def _grouped(self, optimizer: PointwiseOptimizer) -> dict[Any, list[int]]:
        """Indices of active parameters by (values of their scalars and whether a buffer is missing)."""
        scalars, buffers = self.layout
        groups: dict[Any, list[int]] = {}
        if not scalars and not buffers:
            return {((), False): list(range(len(self.active)))} if self.active else {}
        for index, p in enumerate(self.active):
            state = optimizer.state[p]
            values = []
            for name in scalars:
                value = state.get(name)
                if value is not None and not isinstance(value, Tensor):
                    value = state[name] = _new_scalar(value)
                values.append(optimizer._initial(self.group, name) if value is None else _number(value))
            fresh = any(state.get(name) is None for name in buffers)
            groups.setdefault((tuple(values), fresh), []).append(index)
        return groups

    def _add_cohort(self, optimizer: PointwiseOptimizer, members: list[int], values: tuple[float, ...], fresh: bool) -> None:
        scalars, _ = self.layout
        for name, value in zip(scalars, values, strict=True):
            self._make_scalars(optimizer, members, name, value)
        blocks = self._blocks(members)
        for chosen in (*blocks, [i for i in members if self.active[i]._a.size == 0]):
            self._make_buffers(optimizer, chosen)
        columns = [[optimizer.state[self.active[i]][name]._a for i in members] for name in scalars]
        cohort = Cohort(members, columns, fresh)
        arrays = [[self.active[i]._a for i in members],
                  *[[optimizer.state[self.active[i]][name]._a for i in members] for name in self.layout[1]]]
        if library is not None and all(a.dtype in _NATIVE and a.flags.c_contiguous for column in arrays for a in column):
            cohort.columns = arrays
        else:
            self._make_blocks(optimizer, cohort)
        self.cohorts.append(cohort)

    def _make_blocks(self, optimizer: PointwiseOptimizer, cohort: Cohort) -> None:
        """For the steps in NumPy."""
        cohort.columns = ()
        for chosen in self._blocks(cohort.members):
            cohort.blocks.extend(self._pieces(optimizer, chosen))

    def _blocks(self, members: list[int]) -> list[list[int]]:
        """Small parameters of one dtype together, up to PIECE elements; large ones alone."""
        blocks: list[list[int]] = []
        open_blocks: dict[Any, tuple[list[int], int]] = {}
        for i in members:
            array = self.active[i]._a
            size = array.size
            if size == 0:
                continue
            if size > SMALL:
                blocks.append([i])
                continue
            block, filled = open_blocks.get(array.dtype, ([], 0))
            if not block or filled + size > PIECE:
                block, filled = [], 0
                blocks.append(block)
            block.append(i)
            open_blocks[array.dtype] = (block, filled + size)
        return blocks

    def _make_scalars(self, optimizer: PointwiseOptimizer, members: list[int], name: str, value: float) -> None:
        missing = [state for state in (optimizer.state[self.active[i]] for i in members) if state.get(name) is None]
        if missing:
            kind = _scalar_kind()
            row = np.full(len(missing), value, kind.np)
            for i, state in enumerate(missing):
                state[name] = wrap(row[i:i + 1].reshape(()), kind)

    def _make_buffers(self, optimizer: PointwiseOptimizer, members: list[int]) -> None:
        """State for the parameters of a block, in one piece of memory."""
        for name in self.layout[1]:
            value = optimizer._initial(self.group, name)
            missing = [p for p in (self.active[i] for i in members) if optimizer.state[p].get(name) is None]
            if len(missing) == 1:
                optimizer.state[missing[0]][name] = _filled_like(missing[0], value)
            elif missing:
                kind = missing[0]._kind
                row = np.empty(sum(p._a.size for p in missing), kind.np)
                row.fill(complex(value, value) if kind.is_complex else value)
                at = 0
                for p in missing:
                    size = p._a.size
                    optimizer.state[p][name] = wrap(row[at:at + size].reshape(p._a.shape), kind)
                    at += size

    def _pieces(self, optimizer: PointwiseOptimizer, members: list[int]) -> list[Block]:
        params = [self.active[i] for i in members]
        arrays = [p._a for p in params]
        state = [[optimizer.state[p][name]._a for p in params] for name in self.layout[1]]
        size = arrays[0].size
        if len(members) == 1 and size > PIECE and all(a.flags.c_contiguous for a in (arrays[0], *(column[0] for column in state))):
            cuts = [slice(at, min(at + PIECE, size)) for at in range(0, size, PIECE)]
            flat, flat_state = arrays[0].reshape(-1), [column[0].reshape(-1) for column in state]
            return [Block(members, [flat[cut]], [[column[cut]] for column in flat_state], cut, self.reads, optimizer) for cut in cuts]
        return [Block(members, arrays, state, None, self.reads, optimizer)]

    def ready(self, optimizer: PointwiseOptimizer, group: dict[str, Any]) -> list[Any] | None:
        """The gradients' arrays if the plan still fits, else None. Changes nothing."""
        params = group["params"]
        if (group is not self.group or len(params) != len(self.params) or optimizer._layout(group) is not self.layout
                or optimizer._reads_param(group) is not self.reads or group.get("differentiable") or group.get("capturable")):
            return None
        grads = []
        for q, (p, a) in zip(params, self.params, strict=True):
            if q is not p:
                return None
            g = p._grad
            if g is None:
                if a is not None:
                    return None
            elif p._a is not a:
                return None
            else:
                grads.append(g._a)
        for state, name, tensor, array in self.checks:
            if state.get(name) is not tensor or tensor._a is not array:
                return None
        pending = self.pending = []
        for cohort in self.cohorts:
            values = cohort.values()
            if values is None:
                return None
            pending.append(values)
        return grads

    def run(self, optimizer: PointwiseOptimizer, group: dict[str, Any], lr: float, grads: list[Any]) -> None:
        rule = optimizer._rule
        for i in self.large:
            if not grads[i].flags.c_contiguous:
                grads[i] = np.ascontiguousarray(grads[i])
        keep = optimizer._keep(group, lr)
        for cohort, values in zip(self.cohorts, self.pending, strict=True):
            new, h = optimizer._advance(group, lr, values, cohort.fresh)
            if new:
                cohort.write(new)
            cohort.fresh = False
            if cohort.columns:
                p, *state = cohort.columns
                if optimizer._stepper.run(rule, h, keep, (p, [grads[i] for i in cohort.members], *state)):
                    continue
                self._make_blocks(optimizer, cohort)
            recording = optimizer._stepper.recording(rule, h, 2 + len(self.layout[1]))
            calls = recording.calls()
            for block in cohort.blocks:
                if block.calls is not calls:
                    block.bind(calls)
            calls.set(recording.numbers(h))
            for block in cohort.blocks:
                block.run(grads, keep)
        for p in self.active:
            p._ver += 1
