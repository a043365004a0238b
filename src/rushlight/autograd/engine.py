"""The backward pass: runs the nodes that the roots reach, in the order newest first, which is PyTorch's.

Without create_graph the gradients are plain arrays from node to node; tensors appear only for hooks and in leaves' ``.grad``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .. import services
from ..kernels import native
from ..kernels import reduce as R
from ..kind import Kind, NotBatched
from ..vocabulary import Array, Function
from .grad_mode import LOCAL, _set_grad
from .graph import PAST, AccumulateGrad, BatchedFix, Node, Port, array_of, saved_then, wrap_array

if TYPE_CHECKING:
    from ..autograd.graph import Hooks
    from ..tensor import Tensor

__all__ = ["Task", "queue_callback", "run", "task"]

_by_seq = attrgetter("seq")
observer: Any = None      # while operators are looked at (dispatching/passes.py): from the roots, the class of the pass, a `_Pass`, or None


class Task:
    """A backward pass that runs: its number, whether what it uses is kept, and what is to be called when it is through."""

    __slots__ = ("number", "retain", "callbacks")

    def __init__(self, retain: bool) -> None:
        self.number, self.retain = next(_numbers), retain
        self.callbacks: list[Function] = []


_numbers = count()


def task() -> Task | None:
    """The backward pass that runs in this thread, or None. It is made when it is asked for: few passes are."""
    found = LOCAL.task
    if found is True or found is False:
        found = LOCAL.task = Task(found)
    return found


def queue_callback(callback: Function) -> None:
    """Have a function called when the backward pass that runs in this thread is through; RuntimeError where none does."""
    running = task()
    if running is None:
        raise RuntimeError("Final callbacks can only be installed during backward pass.")
    running.callbacks.append(callback)


def run(roots: list[tuple[Any, Any]], graph: bool, retain: bool, inputs: list[Any] | None = None, accumulate: bool = True) -> list[Any]:
    """A backward pass (see `_run`), and then the functions that were queued during it."""
    outer = LOCAL.task
    LOCAL.task = bool(retain)
    try:
        found = _run(roots, graph, retain, inputs, accumulate)
        if LOCAL.task.__class__ is Task:
            for callback in LOCAL.task.callbacks:         # which may queue others
                callback()
    finally:
        LOCAL.task = outer
    return found


def _run(roots: list[tuple[Any, Any]], graph: bool, retain: bool, inputs: list[Any] | None, accumulate: bool) -> list[Any]:
    """Send gradients from the root edges down the graph.

    roots       (edge, gradient) pairs; gradients are tensors if `graph`, else arrays
    graph       record the backward pass itself (create_graph)
    retain      keep what nodes saved, so that they can run again
    inputs      edges of interest: only nodes on the way to them run, and the gradients that arrive there are returned
                (None where nothing arrived). None means all leaves.
    accumulate  with `inputs`: also add to the leaves' ``.grad`` (Tensor.backward(inputs=...))
    """
    made = None if observer is None else observer(roots)
    if made is None:
        made = _Pass
        if inputs is None and not graph and not LOCAL.anomaly and not PAST and _native_backward(roots, retain):
            return []
    order, waiting = _reachable(roots)
    if PAST:
        saved_then(order)
    captured: dict[Any, Any] = {}
    if inputs is not None:
        wanted = {_key(edge) for edge in inputs}
        order, waiting = _restrict(order, roots, {_owner(edge) for edge in inputs})
    else:
        wanted = set()
    previous, partial, outer = LOCAL.grad, LOCAL.partial_backward, LOCAL.backward
    _set_grad(graph)
    LOCAL.backward = (order, waiting)
    if inputs is not None:
        LOCAL.partial_backward = True
    try:
        made(graph, retain, wanted, captured, waiting, inputs is None or accumulate).run(roots, order)
    finally:
        _set_grad(previous)
        LOCAL.partial_backward = partial
        LOCAL.backward = outer
        if not retain:
            PAST.clear()
    return [captured.get(_key(edge)) for edge in inputs] if inputs is not None else []


def will_run(edges: list[Any]) -> int:
    """How many of these edges get a gradient in the backward pass that runs (found out once per pass and asker)."""
    order, waiting = LOCAL.backward
    running = set(order)
    return sum(edge in waiting if edge.__class__ is AccumulateGrad else _owner(edge) in running for edge in edges)


def _native_backward(roots: list[tuple[Any, Any]], retain: bool) -> bool:
    """Let the native pass (native/backward.cpp) do it: False, and nothing has changed, where there is none or something is unusual."""
    if native.library is None:
        return False
    previous = LOCAL.grad
    _set_grad(False)
    try:
        return native.library.backward(roots, retain)
    finally:
        _set_grad(previous)


def _owner(edge: Any) -> Node:
    return edge.node if edge.__class__ is Port else edge


def _key(edge: Any) -> tuple[Any, ...]:
    return (edge.node, edge.index) if edge.__class__ is Port else (edge, 0)


def _reachable(roots: list[tuple[Any, Any]]) -> tuple[list[Node], dict[Node, int]]:
    """All nodes but leaves, newest first; and for each leaf how many edges lead to it."""
    waiting: dict[Node, int] = {}
    seen: set[Node] = set()
    stack: list[Node] = []
    for edge, _ in roots:
        node = edge.node if edge.__class__ is Port else edge
        if node.__class__ is AccumulateGrad:
            waiting[node] = waiting.get(node, 0) + 1
        elif node not in seen:
            seen.add(node)
            stack.append(node)
    nodes = list(stack)
    while stack:
        for edge in stack.pop().next:
            if edge is None:
                continue
            if edge.__class__ is AccumulateGrad:
                waiting[edge] = waiting.get(edge, 0) + 1
                continue
            if edge.__class__ is Port:
                edge = edge.node
            if edge not in seen:
                seen.add(edge)
                stack.append(edge)
                nodes.append(edge)
    nodes.sort(key=_by_seq, reverse=True)
    return nodes, waiting


def _restrict(order: list[Node], roots: list[tuple[Any, Any]], targets: set[Node]) -> tuple[list[Node], dict[Node, int]]:
    """Keep the nodes from which a target can be reached, and recount the leaves' edges."""
    needed = set(targets)
    for node in reversed(order):
        if any(edge is not None and _owner(edge) in needed for edge in node.next):
            needed.add(node)
    kept = [node for node in order if node in needed]
    waiting: dict[Node, int] = {}
    edges = [edge for edge, _ in roots] + [edge for node in kept for edge in node.next if edge is not None]
    for edge in edges:
        if edge.__class__ is AccumulateGrad and edge in needed:
            waiting[edge] = waiting.get(edge, 0) + 1
    return kept, waiting


class _Pass:
    """One backward pass."""

    __slots__ = ("graph", "retain", "wanted", "captured", "waiting", "accumulate", "pending")

    def __init__(self, graph: bool, retain: bool, wanted: Any, captured: dict[Any, Any], waiting: dict[Node, int],
                 accumulate: bool) -> None:
        self.graph, self.retain, self.wanted, self.captured = graph, retain, wanted, captured
        self.waiting, self.accumulate = waiting, accumulate
        self.pending: dict[Node, Any] = {}

    def run(self, roots: list[tuple[Any, Any]], order: list[Node]) -> None:
        pending, graph, retain, waiting, wanted = self.pending, self.graph, self.retain, self.waiting, self.wanted
        live = set(order) if wanted else None
        checked = self.checked() if LOCAL.anomaly or self.__class__ is not _Pass else None
        ready: Any = self.send([edge for edge, _ in roots], [g for _, g in roots], live)
        roots.clear()
        if ready:
            self.leaves(ready)
        for node in order:
            g = pending.pop(node, None)
            if g is None:
                continue
            hooks = node.hooks
            if hooks is not None or wanted:
                runs = live is None or any(edge is not None and (_owner(edge) in live or edge in waiting) for edge in node.next)
                g = self.before(node, g, runs)
                if not runs:
                    continue
            if checked is not None:
                grads = checked(node, g, graph)
            else:
                try:
                    grads = node.tensors(g) if graph else node.arrays(g)
                except NotBatched as error:
                    grads = _by_sample(node, g, graph, error)
            if node.fix is not None:
                grads = _apply_fix(node, grads, graph)
            if hooks is not None and hooks.post:
                grads = self.after(node, grads, g)
            if not retain:
                node.free()
            # What follows is `send`, inlined: it runs once per node of every backward pass.
            ready = None
            i = 0
            for edge in node.next:
                if edge is not None:
                    grad = grads[i]
                    if edge.__class__ is AccumulateGrad:
                        left = waiting.get(edge)
                        if left is not None:
                            if grad is not None:
                                old = pending.get(edge)
                                pending[edge] = grad if old is None else old + grad
                            if left == 1:
                                ready = [edge] if ready is None else [*ready, edge]
                            else:
                                waiting[edge] = left - 1
                    elif grad is not None:
                        if edge.__class__ is Port:
                            _add_to_port(pending, edge, grad)
                        else:
                            old = pending.get(edge)
                            pending[edge] = grad if old is None else old + grad
                i += 1
            grad = grads = g = old = None
            if ready is not None:
                self.leaves(ready)

    def checked(self) -> Function:
        """What runs a node in the place of its own formula."""
        from .anomaly_mode import run_checked
        return run_checked

    def send(self, edges: list[Any], grads: list[Any], live: set[Any] | None) -> list[Node]:
        """Add gradients to what is pending at their edges; returns the leaves that wait for nothing more."""
        pending, waiting = self.pending, self.waiting
        ready: list[Node] = []
        for edge, grad in zip(edges, grads, strict=True):
            if edge.__class__ is Port:
                _add_to_port(pending, edge, grad)
                continue
            if grad is not None:
                old = pending.get(edge)
                pending[edge] = grad if old is None else old + grad
            if edge.__class__ is AccumulateGrad and edge in waiting:
                waiting[edge] -= 1
                if waiting[edge] == 0:
                    ready.append(edge)
        return ready

    def leaves(self, ready: list[Any]) -> None:
        """Put finished gradients into their leaves."""
        pending, wanted = self.pending, self.wanted
        for leaf in ready:
            if leaf not in pending:
                continue
            if wanted or leaf.hooks is not None:
                self.leaf_with_hooks(leaf, pending.pop(leaf))
            elif self.graph:
                leaf.accumulate_tensor(pending.pop(leaf))
            else:
                leaf.accumulate_array(pending.pop(leaf))

    def leaf_with_hooks(self, leaf: AccumulateGrad, g: Array | Tensor) -> None:
        hooks = leaf.hooks
        if hooks is not None:
            g = self.tensor_hooks(hooks, g, 0)
        if (leaf, 0) in self.wanted:
            self.captured[(leaf, 0)] = g
        if not self.accumulate:
            return
        if hooks is not None:
            for hook in list(hooks.node_pre.values()):
                g = self.replaced(hook((self.as_tensor(g),)), g)
        if self.graph:
            leaf.accumulate_tensor(g)
        else:
            leaf.accumulate_array(g)
        if hooks is not None:
            for hook in list(hooks.post_accumulate.values()):
                hook(leaf.variable)
            for hook in list(hooks.post.values()):
                hook((), (self.as_tensor(g),))

    def as_tensor(self, g: Any) -> Any:
        return g if self.graph else wrap_array(g)

    def from_tensor(self, t: Tensor) -> Any:
        return t if self.graph else array_of(t)

    def replaced(self, result: Any, g: Any) -> Any:
        """What a hook on a single gradient returned: None keeps the gradient."""
        if result is None:
            return g
        if isinstance(result, tuple):
            result = result[0]
        return self.from_tensor(result)

    def tensor_hooks(self, hooks: Hooks, g: Any, index: int) -> Any:
        """Hooks on a tensor (output `index` of the node) see, and may replace, its finished gradient."""
        seen = None      # one tensor for all hooks
        for at, hook in list(hooks.tensor_pre.values()):
            if at == index and g is not None:
                if seen is None:
                    seen = self.as_tensor(g)
                result = hook(seen)
                if result is not None:
                    if not hasattr(result, "_kind"):
                        raise TypeError(f"expected Variable, but hook returned '{type(result).__name__}'")
                    shape = g.shape
                    if tuple(result.shape) != tuple(shape):
                        raise RuntimeError(f"hook '{getattr(hook, '__name__', hook)}' has changed the size of value")
                    g, seen = self.from_tensor(result), result
        tensor = hooks.retain.get(index)
        tensor = None if tensor is None else tensor()
        if tensor is not None and g is not None:
            kept = g.clone() if self.graph else wrap_array(g.copy())
            tensor._grad = kept if tensor._grad is None else tensor._grad + kept
        return g

    def before(self, node: Node, g: Any, runs: bool) -> Any:
        """Everything that looks at a node's incoming gradients before it runs: hooks (the node's own only if it `runs`), retained and
        captured gradients."""
        hooks = node.hooks
        outputs = [g] if node.outputs == 1 else list(g)
        if hooks is not None:
            outputs = [self.tensor_hooks(hooks, each, index) for index, each in enumerate(outputs)]
        for index, each in enumerate(outputs):
            if (node, index) in self.wanted:
                self.captured[(node, index)] = each
        if hooks is not None and runs:
            for hook in list(hooks.node_pre.values()):
                result = hook(tuple(None if each is None else self.as_tensor(each) for each in outputs))
                if result is not None:
                    result = _as_many(hook, result, len(outputs))
                    outputs = [None if each is None else self.from_tensor(each) for each in result]
        return outputs[0] if node.outputs == 1 else outputs

    def after(self, node: Node, grads: Sequence[Any], g: Array | list[Array | None]) -> Sequence[Any]:
        """Post hooks of a node see both sides and may replace the inputs' gradients."""
        outputs = [g] if node.outputs == 1 else g
        for hook in list(node.own_hooks().post.values()):
            result = hook(tuple(None if each is None else self.as_tensor(each) for each in grads),
                          tuple(None if each is None else self.as_tensor(each) for each in outputs))
            if result is not None:
                result = _as_many(hook, result, len(grads))
                grads = [None if each is None else self.from_tensor(each) for each in result]
        return grads


def _as_many(hook: Function, result: Any, count: int) -> Any:
    """What a hook returned, as a sequence of the length that it was given (RuntimeError for another)."""
    result = result if isinstance(result, (tuple, list)) else (result,)
    if len(result) != count:
        name = getattr(hook, "__name__", type(hook).__name__)
        raise RuntimeError(f"hook '{name}' has returned an incorrect number of values (got {len(result)}, but expected {count})")
    return result


def _by_sample(node: Node, g: Any, graph: bool, error: NotBatched) -> Any:
    """The gradients of a node whose formula has no batched form (see func/fallback.py): through its ops, which run sample by sample."""
    return services.node_by_sample(node, g, graph)


def _add_to_port(pending: dict[Node, Any], port: Port, grad: Array | Tensor) -> None:
    node = port.node
    slots = pending.get(node)
    if slots is None:
        slots = pending[node] = [None] * node.outputs
    if grad is not None:
        old = slots[port.index]
        slots[port.index] = grad if old is None else old + grad


def _apply_fix(node: Node, grads: Sequence[Any], graph: bool) -> list[Any]:
    """Bring gradients to their inputs' levels of vmap (sum over samples), shapes (sum over broadcast dimensions) and dtypes (real part,
    cast)."""
    fixed = list(grads) if node.fix.__class__ is tuple else _settled(node.fix, grads, graph)
    for i, want in enumerate(node.fix):
        g = fixed[i]
        if g is None or want is None:
            continue
        shape, kind = want
        if graph:
            fixed[i] = _fix_tensor(g, shape, kind, node)
        else:
            if g.shape != shape:
                g = sum_array_to(g, shape, node)
            if g.dtype != kind.np:
                g = cast_array(g, kind)
            fixed[i] = g
    return fixed


def _settled(fix: BatchedFix, grads: Sequence[Any], graph: bool) -> list[Any]:
    """The gradients summed over the samples of vmaps that have ended and that the inputs are no part of: so what reaches a place in the
    graph has that place's levels before it is added to anything."""
    running = {level for level, _, _ in LOCAL.vmaps}
    return [g if g is None or own is None else _without(g, graph, own | running) for g, own in zip(grads, fix.levels, strict=False)]


def _without(g: Any, graph: bool, kept: Any) -> Array | Tensor:
    """The gradient (a tensor if `graph`, else an array) summed over the samples of all levels but those kept."""
    for level in getattr(array_of(g) if graph else g, "levels", ()):
        if level not in kept:
            g = services.sum_level(g, level) if graph else g.summed(level)
    return g


def cast_array(g: Array, kind: Kind) -> Array:
    """An array in the dtype of `kind`; complex to real takes the real part."""
    if g.dtype.kind == "c" and not kind.is_complex:
        g = g.real
    return g.astype(kind.np)


def sum_array_to(g: Array, shape: tuple[int, ...], node: Any = None) -> Array:
    """Sum an array over the dimensions that were broadcast from `shape`."""
    extra = g.ndim - len(shape)
    if extra < 0 or any(want != have and want != 1 for want, have in zip(shape, g.shape[extra:], strict=True)):
        raise RuntimeError(f"Function {node.label if node else 'backward'} returned an invalid gradient at index 0 - got {list(g.shape)} "
                           f"but expected shape compatible with {list(shape)}")
    if extra:
        g = R.sum(g, tuple(range(extra)) if extra > 1 else 0, False)
    axes = tuple([i for i, want in enumerate(shape) if want == 1 and g.shape[i] != 1])
    if axes:
        g = R.sum(g, axes, True)
    return g


def _fix_tensor(g: Tensor, shape: tuple[int, ...], kind: Kind, node: Node) -> Tensor:
    if g.shape != shape:
        if len(shape) > g._a.ndim:
            sum_array_to(g._a, shape, node)
        g = g.sum_to_size(shape)
    if g._kind is not kind:
        if g._kind.is_complex and not kind.is_complex:
            g = g.real
        g = g.to(kind.dtype)
    return g
