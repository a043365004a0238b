"""The gradients of operators as PyTorch computes them, operator by operator.

An operator that a mode or a class looks at is computed by the op as always, node and gradient included. Its backward formula is then known
in a second form, in terms of operators (`formulas.py`), which a pass takes while somebody looks (`passes.py`). Where nothing was computed,
because the arguments are of a class that computes by itself, that form is the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from ..autograd.graph import AccumulateGrad, Node, Port
from ..ops import aten as A
from ..ops.record import record
from ..tensor import Tensor, wrap
from ..unsupported import NotSupported
from . import naming

__all__ = ["Context", "OF_WRAPPERS", "RULES", "after", "before", "mark", "of", "rule"]

Formula = Callable[["Context", Any], "dict[str, Any]"]


class _Rule:
    """A formula, the arguments whose values it needs, and the results that it needs."""

    __slots__ = ("formula", "saved", "results", "quiet")

    def __init__(self, formula: Formula, saved: tuple[str, ...], results: tuple[int, ...], quiet: tuple[int, ...]) -> None:
        self.formula, self.saved, self.results, self.quiet = formula, saved, results, quiet


RULES: dict[str, _Rule] = {}


def rule(*names: str, saved: str = "", results: Sequence[int] = (), quiet: Sequence[int] = ()) -> Callable[[Formula], Formula]:
    """Decorator: the gradients of the operators of these names. ``formula(c, g)`` gives argument -> gradient, or a function that makes it.

    saved    the arguments whose values it needs
    results  the results that it needs, which PyTorch detaches when it saves and when it unpacks them (``c.result(i)``)
    quiet    those that have no gradient, and are kept as they are (``c._results`` behind the others)
    """
    def register(formula: Formula) -> Formula:
        for name in names:
            RULES[name] = _Rule(formula, tuple(saved.split()), tuple(results), tuple(quiet))
        return formula
    return register


class Context:
    """A call of an operator, for its gradient: arguments by name (tensors only those that were saved), shapes, and which gradients are
    wanted."""

    def __init__(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], known: _Rule | None) -> None:
        self._op, self._rule = op, known
        order, _, defaults = naming.order_of(op.overloadpacket, args, kwargs)
        given = {**defaults, **dict(zip(order, args, strict=False)), **kwargs}
        if order and order[0] in ("input", "tensor"):
            given["self"] = given.pop(order[0])
        self.edges: dict[str, Any] = {}
        self.shapes: dict[str, Any] = {}
        self._kept_from: list[tuple[Tensor, int]] = []
        self._results: list[Tensor] = []
        self.inputs: list[Tensor] = []
        in_place = op._opname[-1:] == "_"
        for name, value in given.items():
            keeps = known is not None and name in known.saved and not (in_place and value is args[0])
            if isinstance(value, Tensor):
                self.shapes[name] = [int(n) for n in value._a.shape]
                self.edges[name] = value._node
                self.inputs.append(value)
                given[name] = self._kept(value) if keeps else None
            elif isinstance(value, (list, tuple)) and any(isinstance(each, Tensor) for each in value):
                self.shapes[name] = [None if each is None else [int(n) for n in each._a.shape] for each in value]
                self.edges.update({f"{name}.{i}": each._node for i, each in enumerate(value) if isinstance(each, Tensor)})
                self.inputs += [each for each in value if isinstance(each, Tensor)]
                given[name] = [each if each is None else self._kept(each) for each in value] if keeps else None
        self.source = self.inputs[0].dtype
        for key, value in given.items():
            self.__dict__.setdefault(key, value)

    def __getattr__(self, name: str) -> Any:
        """An argument of the operator."""
        raise AttributeError(f"{self.__dict__.get('_op')} has no argument {name!r} here")

    def _kept(self, value: Tensor) -> Tensor:
        if value.__class__.__torch_dispatch__ is not Tensor._disabled_torch_dispatch:
            return value
        self._kept_from.append((value, 0))
        return wrap(value._a, value._kind)

    @property
    def shape(self) -> list[int]:
        """The shape of the first argument."""
        return self.shapes["self"]

    def want(self, name: str) -> bool:
        """Whether an argument's gradient is wanted."""
        return self.edges.get(name) is not None

    def result(self, i: int = 0) -> Tensor:
        """A saved result, as PyTorch unpacks it."""
        return A.detach.default(self._results[i])

    def save(self, results: list[Any], known: _Rule) -> None:
        """Keep what the formula needs of the results, a tensor without history each, and note the versions of what it keeps."""
        self._results = [A.detach.default(results[i]) for i in known.results] + [
            results[i] if results[i]._node is None else wrap(results[i]._a, results[i]._kind) for i in known.quiet]
        self._kept_from = [(value, value._ver + 0) for value, _ in self._kept_from]

    def gradients(self, node: Node, g: Any) -> list[Any]:
        """The gradients of a node's inputs."""
        if node.saved is None:
            raise node._freed()
        self.check(lambda: node)
        found = self.named(g)
        grads: list[Any] = [None] * len(node.next)
        for name, edge in self.edges.items():
            if edge is not None and found.get(name) is not None:
                at = next((i for i, each in enumerate(node.next) if each is edge and grads[i] is None), None)
                if at is not None:
                    grads[at] = found[name]
        return grads

    def check(self, node: Any) -> None:
        """RuntimeError where something that was kept has changed since. `node` gives the node."""
        for tensor, version in self._kept_from:
            if tensor._ver + 0 != version:
                raise node()._modified(tensor._a, tensor._node, tensor._ver + 0, version)

    def named(self, g: Any) -> dict[str, Any]:
        """Argument -> gradient, of those that are wanted."""
        assert self._rule is not None
        found: dict[str, Any] = {}
        for name, value in self._rule.formula(self, g).items():
            if isinstance(value, list):
                found.update({f"{name}.{i}": each for i, each in enumerate(value)})
            elif self.want(name):
                found[name] = value() if callable(value) and not isinstance(value, Tensor) else value
        return found


_known: WeakKeyDictionary[Node, Context] = WeakKeyDictionary()
OF_WRAPPERS: WeakSet[Node] = WeakSet()      # nodes of calls that a class with __torch_dispatch__ had a part in


def before(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context:
    """What a gradient will need to know of a call."""
    known = RULES.get(op._opname) or RULES.get(op.__name__)
    if known is None and op._opname[-1:] == "_":
        known = RULES.get(op._opname[:-1])
    return Context(op, args, kwargs, known)


def _first_node(result: Any) -> Node | None:
    for each in result if isinstance(result, (list, tuple)) else [result]:
        if isinstance(each, Tensor) and each._node is not None and each._node.__class__ is not AccumulateGrad:
            return each._node.node if each._node.__class__ is Port else each._node
    return None


def after(c: Context, result: Any, ran: bool) -> Any:
    """Connect a result with what is known of its call; gives the result."""
    known = c._rule
    results = list(result) if isinstance(result, (list, tuple)) else [result]
    if not ran:
        return _attached(c, result, results)
    node = _first_node(results)
    if node is None or known is None:
        return result
    if all(edge is None or any(each is edge for each in node.next) for edge in c.edges.values()):
        c.save(results, known)
        _known[node] = c
        return result
    made = [each for each in results if isinstance(each, Tensor) and each._node is not None]
    if len(made) == 1 and c._op._opname[-1:] != "_" and made[0]._view is None:     # several nodes here, one in PyTorch
        label, made[0]._node = node.label, None
        _attached(c, result, made, label)
    return result


def mark(result: Any) -> None:
    """Note that wrappers had a part in a result."""
    node = _first_node(result)
    if node is not None:
        OF_WRAPPERS.add(node)


def of(node: Node) -> Context | None:
    """What is known of the call that made a node."""
    return _known.get(node)


def _attached(c: Context, result: Any, results: list[Any], label: str = "") -> Any:
    """Give results that no op computed their gradient."""
    tensors = [each for each in results if isinstance(each, Tensor) and each._kind.differentiable]
    if not tensors or tensors[0]._node is not None or not _differentiable(c._op):
        return result
    if c._rule is not None:
        c.save(list(result) if isinstance(result, (list, tuple)) else [result], c._rule)
    inputs = [t for t in c.inputs if t._node is not None]
    names = [name for name, edge in c.edges.items() if edge is not None]

    node_of: list[Any] = []

    def grad(g: Any, *saved: Any) -> tuple[Any, ...]:
        if c._rule is None:
            raise NotSupported(f"the gradient of {c._op} through __torch_dispatch__ is not supported by rushlight: write a "
                               "torch.autograd.Function around it")
        c.check(node_of[0])
        found = c.named(g)
        return tuple([found.get(name) for name in names])
    label = label or "".join(part.capitalize() for part in c._op._opname.split("_")) + "Backward0"
    several = isinstance(result, (list, tuple)) and len(tensors) > 1 and c._op._opname in _SEVERAL
    record(tuple(tensors) if several else tensors[0], label, tuple(inputs), grad, ())
    node_of.append(ref(_first_node(tensors)))
    return result


_SEVERAL = frozenset(("split", "split_with_sizes", "unbind"))
_CONSTANT = frozenset(("detach", "gt", "lt", "ge", "le", "eq", "ne", "argmax", "argmin", "zeros_like", "ones_like", "empty_like",
                       "full_like", "rand_like", "randn_like", "new_zeros", "new_ones", "new_empty", "new_full", "sign", "floor", "ceil",
                       "round", "isnan", "isinf", "isfinite", "bernoulli_", "_local_scalar_dense"))


def _differentiable(op: Any) -> bool:
    return op._opname not in _CONSTANT


from . import formulas as _formulas  # noqa: E402, F401
from . import formulas_nn as _formulas_nn  # noqa: E402, F401
