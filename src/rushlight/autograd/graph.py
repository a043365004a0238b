"""The recorded graph: nodes, leaves, versions.

A tensor that requires grad has a `_node`: its `AccumulateGrad` if it is a leaf, else the `Node` that made it, or a `Port` of a node
with several outputs. Edges (`Node.next`) are such values of the inputs. Node classes are made once per op; the instances are small.

Every node can run at two levels, on tensors (`tensors`, differentiable again: create_graph=True) and on plain arrays (`arrays`, the
usual backward, without a Tensor object per intermediate gradient).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from sys import getrefcount
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from ..devices import device
from ..dtypes import from_numpy_dtype
from ..hooks import RemovableHandle
from ..kind import Kind, cpu_kind, kind_of
from ..layout import SparseRefusal
from ..vocabulary import Array, Function

if TYPE_CHECKING:
    from ..ops.record import SavedOutput
    from ..tensor import Tensor

__all__ = ["Node", "Port", "AccumulateGrad", "BatchedFix", "Version", "Hooks", "fix_of", "node_class", "new_seq"]

new_seq = count().__next__
ndarray = np.ndarray


class Version:
    """A version counter that several tensors share (views and their base, detached aliases, a saved result).

    A tensor that shares its memory with nobody keeps a plain int instead; both support ``+`` and ``+=``. `views` are weak
    references to the views of the base that in-place changes with history have to update.
    """

    __slots__ = ("n", "views")

    def __init__(self, n: int = 0) -> None:
        self.n = n
        self.views: list[ref[Any]] | None = None

    def __add__(self, other: int) -> int:
        return self.n + (other.n if isinstance(other, Version) else other)

    def __radd__(self, other: int) -> int:
        return self.n + other

    def __iadd__(self, other: int) -> Version:
        self.n += other
        return self


class Hooks:
    """What a user attached to a node."""

    __slots__ = ("tensor_pre", "node_pre", "post", "retain", "post_accumulate", "metadata", "trace")

    def __init__(self) -> None:
        self.tensor_pre: dict[int, tuple[int, Any]] = {}     # handle id -> (output index, hook(grad))
        self.node_pre: dict[int, Any] = {}                    # hook(grad_outputs)
        self.post: dict[int, Any] = {}                        # hook(grad_inputs, grad_outputs)
        self.retain: dict[int, ref[Any]] = {}                 # output index -> tensor whose .grad is kept
        self.post_accumulate: dict[int, Any] = {}             # hook(tensor), leaves only
        self.metadata: dict[str, Any] = {}
        self.trace: str | None = None                         # where the forward ran (anomaly detection)


class Node:
    """One recorded operation.

    next     edges to the inputs' nodes (None where an input needs no gradient)
    saved    what the gradient needs: None once freed
    version  sum of the versions of the saved tensors when they were saved
    seq      creation order; backward runs from high to low
    fix      None, or per input (shape, Kind) that its gradient is brought to; a BatchedFix where results carry batches of vmap
    hooks    None or Hooks
    """

    __slots__ = ("next", "saved", "version", "seq", "fix", "hooks", "__weakref__")

    next: tuple[Any, ...]
    saved: Any
    version: Any     # an int, or the Version of a saved result
    seq: int
    fix: Any
    hooks: Hooks | None
    outputs = 1
    label = "Node"

    def name(self) -> str:
        """The name that PyTorch prints, e.g. AddBackward0."""
        return self.label

    def __repr__(self) -> str:
        return f"<{self.label} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """((node, output index), ...) of the inputs."""
        return tuple((edge.node, edge.index) if edge.__class__ is Port else (edge, 0) for edge in self.next)

    @property
    def metadata(self) -> dict[str, Any]:
        """A dict for the user's notes."""
        return self.own_hooks().metadata

    def own_hooks(self) -> Hooks:
        if self.hooks is None:
            self.hooks = Hooks()
        return self.hooks

    def register_hook(self, fn: Function) -> RemovableHandle:
        """Call ``fn(grad_inputs, grad_outputs)`` after this node ran; a returned tuple replaces grad_inputs. Returns a removable handle."""
        return RemovableHandle.into(self.own_hooks().post, fn)

    def register_prehook(self, fn: Function) -> RemovableHandle:
        """Call ``fn(grad_outputs)`` before this node runs; a returned tuple replaces them. Returns a removable handle."""
        return RemovableHandle.into(self.own_hooks().node_pre, fn)

    def _register_hook_dict(self, tensor: Any) -> None:
        raise NotImplementedError("Node._register_hook_dict: use Tensor.register_hook")

    def __getattr__(self, name: str) -> Any:
        """``_saved_self``, ``_saved_result`` and their like: what the node saved, under the names that PyTorch gives it."""
        if name.startswith("_saved_"):
            if self.saved is None:
                raise self._freed()
            found = self.saved_by_name().get(name[7:])
            if found is not None:
                return found
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def saved_by_name(self) -> dict[str, Any]:
        """The saved tensors by PyTorch's names."""
        return {}

    def arrays(self, g: Any) -> Sequence[Any]:
        """Gradients of the inputs as arrays, from the output's gradient (a list of them where the node has several outputs)."""
        if self.outputs == 1:
            g = wrap_array(g)
        else:
            g = [None if each is None else wrap_array(each) for each in g]
        grads = self.tensors(g, detach=True)
        try:
            return [None if each is None else each._a for each in grads]
        except SparseRefusal:
            return [None if each is None else array_of(each) for each in grads]

    def tensors(self, g: Any, detach: bool = False) -> Any:
        """Gradients of the inputs as tensors; `detach` keeps the saved tensors' own history out of it."""
        raise NotImplementedError

    def free(self) -> None:
        """Let go of what was saved."""
        if self.saved.__class__ is not tuple or self.saved:
            self.saved = None

    def _freed(self) -> RuntimeError:
        return RuntimeError(
            "Trying to backward through the graph a second time (or directly access saved tensors after they have already been freed). "
            "Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify retain_graph=True if "
            "you need to backward through the graph a second time or if you need to access saved tensors after calling backward.")

    def _modified(self, array: Array, maker: Any, now: int, then: int) -> RuntimeError:
        """The error for a saved tensor that was changed since; `maker` is the edge to the node that made it, None for leaves."""
        what = ""
        if maker is not None and maker.__class__ is not AccumulateGrad:
            node, index = (maker.node, maker.index) if maker.__class__ is Port else (maker, 0)
            what = f", which is output {index} of {node.label.partition('Backward')[0]},"
        shape = ", ".join(map(str, array.shape))
        return RuntimeError(
            f"one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[{_type_name(array)} [{shape}]]{what} is at version {now}; expected version {then} instead. Hint: enable anomaly detection "
            "to find the operation that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True).")


def _type_name(array: Array) -> str:
    names = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i4": "Int", "i2": "Short", "i1": "Char", "u1": "Byte",
             "b1": "Bool", "c8": "ComplexFloat", "c16": "ComplexDouble"}
    return "torch." + names.get(array.dtype.str[1:], "BFloat16") + "Tensor"


class BatchedFix(tuple[Any, ...]):
    """`Node.fix` of an op whose result carries levels of vmaps (see func/batched.py) that some input lacks: that input's gradient is summed
    over them once their vmap has ended. `levels` are each input's own."""

    levels: tuple[Any, ...]


def fix_of(inputs: Sequence[Any], outs: Sequence[Any]) -> BatchedFix | tuple[Any, ...]:
    """`Node.fix` for all inputs of a node with these results."""
    fix = tuple([None if t is None or t._node is None else (t._a.shape, t._kind) for t in inputs])
    return fix if not outs or outs[0]._kind.sparse or outs[0]._a.__class__ is ndarray else batched_fix(fix, inputs, outs)


def batched_fix(fix: tuple[Any, ...] | None, inputs: Sequence[Any], outs: Sequence[Tensor]) -> Any:
    """A node's `fix` where its results may be batched arrays."""
    levels = getattr(outs[0]._a, "levels", ())
    if len(outs) == 1:
        for t in inputs:
            if t is not None and t._node is not None and getattr(t._a, "levels", ()) != levels:
                break
        else:
            return fix
    whole = {level for t in outs for level in getattr(t._a, "levels", ())}
    own = [None if t is None or t._node is None else frozenset(getattr(t._a, "levels", ())) for t in inputs]
    if all(each is None or each >= whole for each in own):
        return fix
    batched = BatchedFix((None,) * len(own) if fix is None else fix)
    batched.levels = tuple(own)
    return batched


# What tensors held before their memory was exchanged: id(tensor) -> [(the sequence number then, a tensor with the old memory)].
PAST: dict[int, list[tuple[int, Any]]] = {}
OWN_VIEWS: set[Any] = set()      # gradient functions of ops that save, in PyTorch, a view of their second tensor: linear, of the weight


def remember(tensor: Tensor) -> None:
    """To be called before ``t.data = ...`` and its like. Nodes that saved a tensor that is no leaf, or a view of a leaf, compute their
    gradients from the values that they saw; those that saved a leaf itself from the new ones, as in PyTorch."""
    old = wrap(tensor._a, tensor._kind)
    old._node, old._ver = tensor._node, tensor._ver
    tensor._ver = tensor._ver + 0
    entries = PAST.setdefault(id(tensor), [])
    entries.append((new_seq(), old))
    del entries[:-2]


def saved_then(nodes: list[Node]) -> None:
    """Give nodes that saved a tensor, whose memory was exchanged since, the tensor as it was."""
    for node in nodes:
        saved = node.saved
        if saved.__class__ is tuple:
            views = getattr(node, "grad", None) in OWN_VIEWS
            node.saved = tuple([_then(node, each, views and i == 1) for i, each in enumerate(saved)])
        elif saved is not None:
            node.saved = _then(node, saved, False)


def _then(node: Node, saved: Array | SavedOutput | Tensor | None, view: bool) -> Any:
    for seq, old in PAST.get(id(saved), ()):
        if node.seq < seq and (view or not old.is_leaf):
            return old
    return saved


class Port:
    """Output `index` of a node with several outputs."""

    __slots__ = ("node", "index")

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index


class AccumulateGrad(Node):
    """The node of a leaf: adds what arrives to the leaf's ``.grad``. It refers to its tensor weakly."""

    __slots__ = ("tensor",)
    label = "AccumulateGrad"

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = ref(tensor)
        self.next, self.saved, self.version, self.fix, self.hooks = (), (), 0, None, None
        self.seq = -1

    @property
    def variable(self) -> Any:
        """The leaf tensor."""
        return self.tensor()

    def accumulate_array(self, g: Any) -> None:
        """Add an array (taken over if nobody else holds it) to the leaf's gradient, in place."""
        tensor = self.tensor()
        if tensor is None:
            return
        old = tensor._grad
        if old is not None:
            try:
                array = old._a
                if array.flags.writeable:
                    np.add(array, g, out=array, casting="unsafe")
                    old._ver += 1
                    return
                g = array + g
            except SparseRefusal:
                if old._kind.sparse or not array.flags.c_contiguous:
                    tensor._grad = wrap_array(array_of(old) + g)
                else:
                    g.add_to(array)
                    old._ver += 1
                return
        # More references than a fresh array has here, or a view: the memory may be somebody else's.
        elif g.__class__ is not ndarray:
            if hasattr(g, "as_tensor"):
                tensor._grad = g.as_tensor()
                return
            if isinstance(g, np.generic):
                g = np.array(g)
            elif not (hasattr(g, "owned") and getrefcount(g) <= _FRESH and g.owned() and not tensor._kind.sparse
                      and g.strides == tensor._a.strides):
                g = g.copy()
        elif getrefcount(g) > _FRESH or g.base is not None:
            g = g.copy()
        tensor._grad = wrap(g, tensor._kind)

    def accumulate_tensor(self, g: Any) -> None:
        """The differentiable form: the new gradient has a history."""
        tensor = self.tensor()
        if tensor is not None:
            old = tensor._grad
            tensor._grad = g.clone() if old is None else old + g


class _Probe:
    """Counts the references of a fresh array in the very situation in which `accumulate_array` looks at its argument."""

    def accumulate_array(self, g: Array) -> int:
        return getrefcount(g)


_FRESH = _Probe().accumulate_array({0: np.empty(0)}.pop(0))


def wrap_array(array: Any) -> Tensor:
    """A tensor without history around a gradient array; its kind follows from the array."""
    if array.__class__ is not ndarray:
        if isinstance(array, np.generic):
            array = np.asarray(array)
        elif hasattr(array, "as_tensor"):        # a sparse gradient
            return array.as_tensor()
        else:
            return wrap(array, kind_of_array(array))
    kind = _KINDS.get(array.dtype)
    if kind is None:
        kind = _KINDS[array.dtype] = cpu_kind(array)
    return wrap(array, kind)


_KINDS: dict[Any, Kind] = {}


def array_of(t: Any) -> Any:
    """What stands for a gradient tensor in the backward pass: its array, or the SparseArray of a sparse one."""
    return t.sparse_array() if t._kind.sparse else t._a


def kind_of_array(array: Array) -> Kind:
    """The kind of an array of any device's module."""
    if array.device == "cpu":
        return cpu_kind(array)
    where = array.device
    return kind_of(from_numpy_dtype(array.dtype), where if where.__class__ is device else device("cuda", where.id))


def wrap(array: Any, kind: Kind) -> Any:
    """Replaced by tensor.py, which knows the Tensor class (this module comes before it)."""
    raise NotImplementedError("tensor.py is not imported yet")


_classes: dict[tuple[str, type], type] = {}


def node_class(label: str, base: type, **attributes: Any) -> type:
    """The class of nodes called `label`, made once."""
    key = (label, base)
    found = _classes.get(key)
    if found is None:
        found = _classes[key] = type(label, (base,), {"__slots__": (), "label": label, **attributes})
    return found


_PUBLIC = ("saved_tensors_hooks", "save_on_cpu", "disable_saved_tensors_hooks", "register_multi_grad_hook",
           "allow_mutation_on_saved_tensors", "GradientEdge", "get_gradient_edge", "increment_version", "region_activation_memory_budget",
           "set_override_stale_capture_stream", "set_warn_on_accumulate_grad_stream_mismatch")


def __getattr__(name: str) -> Function | type[Any]:
    """``torch.autograd.graph.saved_tensors_hooks`` and its like live in `saved_hooks`."""
    if name in _PUBLIC:
        from . import saved_hooks
        return getattr(saved_hooks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
