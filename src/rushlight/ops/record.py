"""Recording: the node classes, `record` for ops that are not unary or binary, and `view` for ops that share memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from weakref import ref

import numpy as np

from ..autograd.grad_mode import LOCAL, STATE
from ..autograd.graph import AccumulateGrad, Node, Port, Version, batched_fix, fix_of, new_seq, node_class, wrap_array
from ..kernels import native
from ..kind import Kind, cpu_kind
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function

__all__ = ["UnaryNode", "BinaryNode", "RecordNode", "SavedOutput", "record", "rename", "view", "multi_view", "finish_special", "node_class"]

new = object.__new__
Made = TypeVar("Made")           # a tensor, or a tuple of tensors
ndarray = np.ndarray


def detached(t: Tensor) -> Tensor:
    """The tensor without its history."""
    return t if t is None or t._node is None else wrap(t._a, t._kind)


class UnaryNode(Node):
    """Elementwise op of one tensor. `saved` is the input tensor (saves == "x"), the result's array ("y", with the result's shared
    Version as `version`) or () ("")."""

    __slots__ = ()
    grad: Any
    agrad: Any
    saves = ""

    def saved_by_name(self) -> dict[str, Any]:
        """`self` or `result`."""
        if self.saves != "y":
            return {"self": self.saved} if self.saves else {}
        result = wrap(self.saved, cpu_kind(self.saved))
        result._node, result._ver = self, self.version
        return {"result": result}

    def arrays(self, g: Array) -> Sequence[Any]:
        agrad = self.agrad
        if agrad is None:
            return Node.arrays(self, g)
        saves = self.saves
        if not saves:
            return (agrad(g),)
        saved = self.saved
        if saved is None:
            raise self._freed()
        if saves == "x":
            if saved._ver + 0 != self.version:
                raise self._modified(saved._a, saved._node, saved._ver + 0, self.version)
            return (agrad(g, saved._a),)
        if self.version.n:
            raise self._modified(saved, self, self.version.n, 0)
        return (agrad(g, saved),)

    def tensors(self, g: Tensor, detach: bool = False) -> tuple[Tensor, ...]:
        if not self.saves:
            return (self.grad(g),)
        saved = self.saved
        if saved is None:
            raise self._freed()
        if self.saves == "x":
            if saved._ver + 0 != self.version:
                raise self._modified(saved._a, saved._node, saved._ver + 0, self.version)
            return (self.grad(g, detached(saved) if detach else saved),)
        if self.version.n:
            raise self._modified(saved, self, self.version.n, 0)
        y = wrap(saved, g._kind)
        if not detach:
            y._node, y._ver = self, self.version
        return (self.grad(g, y),)


class BinaryNode(Node):
    """Elementwise op of two tensors. `saved` is () or (a or None, b or None)."""

    __slots__ = ()
    da: Any
    db: Any
    ada: Any
    adb: Any
    uses: Any

    def saved_by_name(self) -> dict[str, Any]:
        """`self` and `other`."""
        return {name: t for name, t in zip(("self", "other"), self.saved, strict=False) if t is not None}

    def arrays(self, g: Array) -> Sequence[Any]:
        na, nb = self.next
        saved = self.saved
        if not saved:
            if saved is None:
                raise self._freed()
            return (None if na is None else self.ada(g, None, None) if self.ada is not None else self._slow(0, g, None, None),
                    None if nb is None else self.adb(g, None, None) if self.adb is not None else self._slow(1, g, None, None))
        a, b = saved
        version = 0
        if a is not None:
            version = a._ver + 0
            a = a._a
        if b is not None:
            version += b._ver
            b = b._a
        if version != self.version:
            raise self._modified_one()
        return (None if na is None else self.ada(g, a, b) if self.ada is not None else self._slow(0, g, *saved),
                None if nb is None else self.adb(g, a, b) if self.adb is not None else self._slow(1, g, *saved))

    def _slow(self, which: int, g: Any, a: Any, b: Any) -> Any:
        """One gradient array through the tensor-level formula."""
        formula = self.db if which else self.da
        return formula(wrap_array(g), detached(a), detached(b), None)._a

    def tensors(self, g: Tensor, detach: bool = False) -> tuple[Any, ...]:
        na, nb = self.next
        saved = self.saved
        if saved is None:
            raise self._freed()
        a: Any
        b: Any
        a, b = saved if saved else (None, None)
        if (0 if a is None else a._ver + 0) + (0 if b is None else b._ver) != self.version:
            raise self._modified_one()
        if detach:
            a, b = detached(a), detached(b)
        return (None if na is None else self.da(g, a, b, None), None if nb is None else self.db(g, a, b, None))

    def _modified_one(self) -> RuntimeError:
        t = max((t for t in self.saved if t is not None), key=lambda t: t._ver + 0)
        others = sum(s._ver + 0 for s in self.saved if s is not None and s is not t)
        return self._modified(t._a, t._node, t._ver + 0, self.version - others)


class SavedOutput:
    """A result that its own node saved: the array and the shared version, but not the Tensor, which would make a cycle."""

    __slots__ = ("array", "kind", "_ver", "index")

    def __init__(self, t: Tensor, index: int) -> None:
        self.array, self.kind, self.index = t._a, t._kind, index
        self._ver = share_version(t)

    def tensor(self, node: Any, detach: bool) -> Tensor:
        t = wrap(self.array, self.kind)
        t._ver = self._ver
        if not detach:
            t._node = node if node.outputs == 1 else Port(node, self.index)
        return t

    @property
    def _a(self) -> Any:
        return self.array


class Packed:
    """A saved tensor in the form that the user's pack hook gave it, and its place in the graph (and levels of vmap), which it has again
    when unpacked."""

    __slots__ = ("value", "unpack", "_ver", "edge", "index", "levels")

    def __init__(self, value: Array | tuple[Any, ...], unpack: Function, saved: Any) -> None:
        self.value, self.unpack, self._ver = value, unpack, 0
        own = saved.__class__ is SavedOutput          # the node's own output: its edge would be a cycle
        self.edge: Any
        self.index: int
        self.edge, self.index = (None, saved.index) if own else (saved._node, -1)
        self.levels = getattr(saved._a, "levels", ())

    def tensor(self, node: Any, detach: bool) -> Tensor:
        t = self.unpack(self.value)
        if not isinstance(t, Tensor):
            raise TypeError(f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(t).__name__}")
        # computed anew (checkpoint), by another run of the vmap
        if self.levels and getattr(t._a, "levels", self.levels) != self.levels:
            t = wrap(t._a.at_levels(self.levels), t._kind)
        if detach:
            return detached(t)
        edge = self.edge if self.index < 0 else node if node.outputs == 1 else Port(node, self.index)
        if t._node is not edge:
            t = wrap(t._a, t._kind)
            t._node = edge
        return t


class RecordNode(Node):
    """The general node: `grad(g, *saved)` as described at `record`."""

    __slots__ = ("grad", "agrad", "conj", "kind")

    def values(self, detach: bool) -> list[Any]:
        """The saved tensors, checked to be unmodified."""
        if self.saved is None:
            raise self._freed()
        values, version = [], 0
        for s in self.saved:
            version += s._ver
            values.append(detached(s) if s.__class__ is Tensor and detach else s if isinstance(s, Tensor) else s.tensor(self, detach))
        if version != self.version:
            s = max(self.saved, key=lambda s: s._ver + 0)
            others = sum(t._ver + 0 for t in self.saved if t is not s)
            raise self._modified(s._a, self if s.__class__ is SavedOutput else getattr(s, "_node", None), s._ver + 0, self.version - others)
        if detach:
            values = [detached(v) for v in values]
        if self.conj:
            values = [v.conj_physical() if v._kind.is_complex else v for v in values]
        return values

    def saved_by_name(self) -> dict[str, Any]:
        """The result as `result`, the others as the op calls them (`_SAVED_NAMES`), or `self` and `other`."""
        inputs = iter(_SAVED_NAMES.get(self.label.partition("Backward")[0], ("self", "other")))
        return {"result" if entry.__class__ is SavedOutput else next(inputs, f"{i}"): entry if isinstance(entry, Tensor)
                else entry.tensor(self, False)
                for i, entry in enumerate(self.saved)}

    def tensors(self, g: Tensor | list[Any], detach: bool = False) -> Sequence[Any]:
        return self.formula(g, *(self.values(detach) if self.saved != () else ()))

    def formula(self, g: Tensor | list[Any], *saved: Any) -> Sequence[Any]:
        """The inputs' gradients from the output's and the saved tensors."""
        grad = self.grad
        if grad.__class__ is tuple:
            return [None if edge is None else f(g, *saved) for edge, f in zip(self.next, grad, strict=True)]
        grads = grad(g, *saved)
        return grads if grads.__class__ is tuple or grads.__class__ is list else (grads,)

    def arrays(self, g: Array) -> Sequence[Any]:
        agrad = self.agrad
        if agrad is None:
            return Node.arrays(self, g)
        grads = agrad(g, *[v._a for v in self.values(True)]) if self.saved != () else agrad(g)
        return grads if grads.__class__ is tuple else (grads,)


_SAVED_NAMES = {"Mm": ("self", "mat2"), "Addmm": ("mat1", "mat2"), "Bmm": ("self", "mat2"), "Convolution": ("input", "weight"),
                "Mv": ("self", "vec"), "Dot": ("self", "tensor"), "NativeLayerNorm": ("input", "weight"),
                "NativeBatchNorm": ("input", "weight"), "NllLoss": ("self", "target", "weight"),
                "Gather": ("index",), "IndexSelect": ("index",), "Embedding": ("indices",), "Where": ("condition",),
                "MaskedFill": ("mask",)}


class MultiNode(RecordNode):
    """A `RecordNode` with several outputs; its gradients get a list with None where nothing arrived."""

    __slots__ = ("outputs",)


def share_version(t: Tensor) -> Version:
    """Make the tensor's version a shared one, and return it."""
    version = t._ver
    if version.__class__ is not Version:
        version = t._ver = Version(version)
    return version


def record(out: Made, name: str, inputs: tuple[Any, ...], grad: Function | tuple[Any, ...], saved: tuple[Any, ...] = (),
           array_grad: Function | None = None,
           holomorphic: bool = True) -> Made:
    """Attach a node to `out` (a tensor, or a tuple of them) if recording is on and an input requires grad; returns `out`.

    inputs      tensors or None, in the order of the gradients
    grad        ``grad(g, *saved)``: a tuple with a gradient (or None) per input, or one tensor where there is one input; or a tuple of
                such functions, one per input, each called only where it is needed. With several outputs `g` is a list.
    saved       tensors: inputs, results, or others
    array_grad  optional: the same as one function on plain arrays
    holomorphic for complex tensors, the saved values arrive conjugated, so that formulas for real functions hold
    """
    for t in inputs:
        if t is not None and t._node is not None:
            break
    else:
        return out
    if STATE.unusual and not LOCAL.grad and not LOCAL.dual:
        return out
    made: Any = out
    multi = made.__class__ is tuple
    if multi and len(made) == 1:       # one output after all: an ordinary node, whose gradient function still expects a list
        def of_list(one: Function) -> Function:
            return lambda g, *s: one([g], *s)
        wrapped = tuple(map(of_list, grad)) if isinstance(grad, tuple) else of_list(grad)
        return (record(made[0], name, inputs, wrapped, saved, None, holomorphic),)  # type: ignore[return-value]
    node: Any = new(node_class(name, MultiNode if multi else RecordNode))
    node.next = tuple([None if t is None else t._node for t in inputs])
    node.seq = new_seq()
    node.hooks = None
    node.fix = fix_of(inputs, made if multi else (made,))
    node.grad = grad
    node.agrad = array_grad
    node.conj = False
    if saved:
        outs = made if multi else (made,)
        entries, version = [], 0
        for t in saved:
            entry: Any = t
            for index, each in enumerate(outs):
                if each is t:
                    entry = SavedOutput(t, index)
            version += entry._ver
            entries.append(entry)
            if holomorphic and t._kind.is_complex:
                node.conj = True
        node.saved = tuple(entries)
        node.version = version
    else:
        node.saved = ()
        node.version = 0
    if multi:
        node.outputs = len(made)
        for index, each in enumerate(made):
            if each._kind.differentiable:
                each._node = Port(node, index)
    else:
        made._node = node
    if STATE.unusual:
        _special(node)
    return out


if native.library is not None:
    native.library.bind_record(record, node_class, RecordNode, SavedOutput, Kind)
    record = native.library.record           # the same for the usual call (native/record.cpp)


class Outline:
    """What the graph has to know of a tensor: its edge, shape and kind, without its memory."""

    __slots__ = ("_node", "_kind", "shape")

    def __init__(self, t: Tensor) -> None:
        self._node, self._kind, self.shape = t._node, t._kind, t._a.shape

    @property
    def _a(self) -> Outline:
        return self


def depending(r: Tensor, *inputs: Any, name: str) -> Tensor:
    """`r`, a gradient of a piecewise linear function, as a function of `inputs` (tensors or outlines) too: its derivative by them is zero.

    PyTorch's gradients of such functions depend on the input, so that second derivatives are zeros, not an error.
    """
    shapes = [(each._a.shape, each._kind) for each in inputs]
    return record(wrap(r._a, r._kind), name, (r, *inputs),
                  lambda g: (g, *[wrap(kind.xp.zeros(shape, kind.np), kind) for shape, kind in shapes]))


def rename(r: Tensor, label: str) -> None:
    """Give the node that a composite op has just made the name that PyTorch shows."""
    if type(r._node).__mro__[1] is RecordNode:
        r._node.__class__ = node_class(label, RecordNode)


def finish_special(r: Tensor, node_type: type[Any], inputs: tuple[Any, ...]) -> None:
    """Record a fast-path op while something unusual is going on: grad may be off, or hooks want to see what is saved."""
    if not LOCAL.grad and not LOCAL.dual:
        return
    node = new(node_type)
    node.next = tuple([t._node for t in inputs])
    node.seq = new_seq()
    node.hooks = None
    node.fix = None
    version: Any = 0
    if len(inputs) == 1:
        if node_type.saves == "x":
            node.saved, version = inputs[0], inputs[0]._ver + 0
        elif node_type.saves == "y":
            node.saved, version = r._a, share_version(r)
        else:
            node.saved = ()
    else:
        used = {name for edge, names in zip(node.next, node_type.uses, strict=True) if edge is not None for name in names}
        kept = tuple(t if name in used else None for name, t in zip("ab", inputs, strict=True))
        node.saved = kept if any(t is not None for t in kept) else ()
        version = sum(t._ver + 0 for t in kept if t is not None)
        if inputs[0]._a.shape != inputs[1]._a.shape:
            node.fix = tuple(None if t._node is None else (t._a.shape, t._kind) for t in inputs)
        if r._a.__class__ is not ndarray:
            node.fix = batched_fix(node.fix, inputs, (r,))
    node.version = version
    r._node = node
    if LOCAL.pack_hooks or LOCAL.pack_disabled is not None:
        _general(r, node, inputs)
    _special(r._node)


def _general(r: Tensor, node: Any, inputs: tuple[Any, ...]) -> None:
    """Replace a unary or binary node that saves something by a RecordNode, whose saved values hooks can pack."""
    if len(inputs) == 1:
        if node.saves:
            record(r, node.label, inputs, node.grad, inputs if node.saves == "x" else (r,))
    elif node.saved:
        a, b = node.saved
        kept = tuple(t for t in node.saved if t is not None)
        da, db = type(node).da, type(node).db

        def grad(g: Tensor, *saved: Any) -> tuple[Any, ...]:
            left = list(saved)
            x = left.pop(0) if a is not None else None
            y = left.pop(0) if b is not None else None
            return (da(g, x, y, None) if node.next[0] is not None else None), (db(g, x, y, None) if node.next[1] is not None else None)
        record(r, node.label, inputs, grad, kept)


def _special(node: Any) -> None:
    """Saved-tensor hooks and anomaly detection, for a node just made."""
    if LOCAL.pack_disabled is not None and node.saved:
        raise RuntimeError(LOCAL.pack_disabled)
    if LOCAL.pack_hooks and node.saved and isinstance(node, RecordNode):
        pack, unpack = LOCAL.pack_hooks[-1]
        hooks, LOCAL.pack_hooks = LOCAL.pack_hooks, ()
        try:
            packed = []
            for s in node.saved:
                if s.__class__ is Packed:
                    return
                value = s if isinstance(s, Tensor) else s.tensor(node, True)
                entry = Packed(pack(value), unpack, s)
                packed.append(entry)
            node.saved, node.version = tuple(packed), 0
        finally:
            LOCAL.pack_hooks = hooks
    if LOCAL.anomaly:
        from ..autograd.anomaly_mode import trace
        node.own_hooks().trace = trace()


_view_nodes: dict[str, type] = {}      # the node classes of view ops by name


def view(input: Tensor, array: Array, name: str, grad: Function | None, replay: Function, args: tuple[Any, ...] = (),
         array_grad: Function | None = None) -> Tensor:
    """A result that shares the input's memory (`array` is a view of ``input._a``), its version, and its in-place history.

    grad        ``grad(g)``: gradient of the input; `array_grad` the same on arrays
    replay      ``replay(base, *args)`` makes the same view of another base (needed after in-place changes)
    """
    if array.__class__ is not ndarray:
        array = np.asarray(array) if isinstance(array, np.generic) else array
    if input.__class__ is not Tensor and input.is_conj():
        return input.same_view(replay, args)  # type: ignore[attr-defined]  # a Conjugate
    r = new(Tensor)
    r._a = array
    r._kind = input._kind
    r._grad = None
    version = input._ver
    if version.__class__ is not Version:
        version = input._ver = Version(version)
    r._ver = version
    edge = input._node
    if STATE.unusual and not LOCAL.grad and not LOCAL.dual:
        r._node = None
        r._view = (input, None, "no_grad")
        return r
    r._view = (input, replay, args)
    if edge is None:
        r._node = None
    else:
        cls = _view_nodes.get(name)
        if cls is None:
            cls = _view_nodes[name] = node_class(name, RecordNode)
        node: Any = new(cls)
        r._node = node
        node.next = (edge,)
        node.saved = ()
        node.version = 0
        node.seq = new_seq()
        node.fix = node.hooks = None
        node.grad = grad
        node.agrad = array_grad
        node.conj = False
        if edge.__class__ is AccumulateGrad:
            return r
        if STATE.unusual:
            _special(node)
    # A base that may still get a history through in-place changes has to know its views.
    views = version.views
    if views is None:
        version.views = [ref(r)]
    else:
        views.append(ref(r))
        if len(views) & (len(views) - 1) == 0 and len(views) >= 16:
            version.views = [each for each in views if each() is not None]
    return r


def multi_view(input: Tensor, arrays: list[Any], name: str, grad: Function) -> tuple[Tensor, ...]:
    """Several views made by one op (split, unbind): they share memory and version, but can't be changed in place with history."""
    version = share_version(input)
    if input.__class__ is not Tensor and input.is_conj():      # what is written into them could not reach the source: it is refused
        arrays = [np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape) for array in arrays]
    outs = []
    for array in arrays:
        r = wrap(array, input._kind)
        r._ver = version
        r._view = (input, None, name)
        outs.append(r)
    if not (STATE.unusual and not LOCAL.grad) and input._node.__class__ is not AccumulateGrad:
        if version.views is None:
            version.views = []
        version.views.extend([ref(r) for r in outs])
    return record(tuple(outs), name, (input,), grad)
