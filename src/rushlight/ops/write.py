"""Writing into tensors that exist: in-place ops, their effect on history, and out= arguments.

An in-place op on a tensor with history computes its functional form and copies the result in. The tensor then has the functional
result's history. Where the tensor is a view, its base gets a `CopySlices` node (old base outside of the view, new values inside) and
all living views of the base get new histories from it, as PyTorch documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import services
from ..autograd.grad_mode import LOCAL, STATE
from ..autograd.graph import AccumulateGrad, Version, fix_of, new_seq, node_class
from ..autograd.tensor_hooks import move_history
from ..dtypes import can_cast
from ..kernels import memory as M
from ..kernels.native import takes_target
from ..layout import SparseRefusal
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function
from .errors import title
from .record import RecordNode, SavedOutput, UnaryNode, share_version

__all__ = ["write_in_place", "inplace_from", "write_out", "check_inplace", "assign"]

new = object.__new__


def write_in_place(self: Tensor, direct: Function) -> Tensor:
    """Run `direct(array)`, which changes the array in place. Only for tensors without history."""
    if not self._a.flags.writeable:
        writable(self)
    direct(self._a)
    self._ver += 1
    return self


def _overlap() -> RuntimeError:
    return RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
                        "Please clone() the tensor before performing the operation.")


def writable(t: Tensor, by_index: bool = False, values: bool = False) -> None:
    """Make the array of a tensor writable. PyTorch's error where it shows some element twice; where `values` are written and not computed
    from the old ones, only expanded dimensions are refused, and nothing where single elements are written `by_index`."""
    a = t._a
    reached = 1
    for step, n in sorted(zip(a.strides, a.shape, strict=True)):
        if n > 1 and not by_index:
            if step < reached * a.itemsize and (step == 0 or not values):
                raise _overlap()
            reached = (step * (n - 1)) // a.itemsize + reached
    try:
        a.flags.writeable = True
    except ValueError:
        raise RuntimeError("the memory of this tensor is read-only. Please clone() the tensor before performing the operation.") from None


def root_of(t: Tensor) -> Tensor:
    """The base of a view; the tensor itself where it is none."""
    while t._view is not None:
        t = t._view[0]
    return t


def check_inplace(self: Tensor, history: bool) -> None:
    """Raise PyTorch's error where an in-place change is not allowed. `history`: the new values depend on something that requires grad."""
    if STATE.unusual and not LOCAL.grad:
        return
    node = self._node
    if self._view is None:
        if node is not None and node.__class__ is AccumulateGrad:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        return
    root = root_of(self)
    if node is None and not history and root._node is None:
        return
    t = self
    while t._view is not None:
        parent, replay, why = t._view
        if replay is None:
            if why == "no_grad":
                what = "A view was" if t is self else "Output 0 of a view is a view of a view which was"
                raise RuntimeError(what + " created in no_grad mode and is being modified inplace with grad mode enabled. Given that this "
                                   "use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the "
                                   "view and the inplace either both inside the no_grad block (if you don't want the inplace to be "
                                   "tracked) or both outside (if you want the inplace to be tracked).")
            if " of " in why:
                raise RuntimeError(f"Output {why} is a view and is being modified inplace. This view was created inside a custom Function "
                                   "(or because an input was returned as-is) and the autograd logic to handle view+inplace would override "
                                   "the custom backward associated with the custom Function, leading to incorrect gradients. This behavior "
                                   "is forbidden. You can fix this by cloning the output of the custom Function.")
            raise RuntimeError(f"Output 0 of {why} is a view and is being modified inplace. This view is the output of a function that "
                               "returns multiple views. Such functions do not allow the output views to be modified inplace. You should "
                               "replace the inplace operation by an out-of-place one.")
        t = parent
    if node is not None and (root._node is None or root._node.__class__ is AccumulateGrad):      # also a leaf that is a view itself
        raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")


def inplace_from(self: Tensor, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The in-place form of a functional op: ``function(*args, **kwargs)`` (args[0] is self) is computed and written into self."""
    if not isinstance(self, Tensor):
        raise TypeError(f"{function.__name__}_(): argument 'input' (position 1) must be Tensor, not {type(self).__name__}")
    for value in args[1:]:
        if isinstance(value, Tensor) and value._ver is self._ver:
            check_overlap(self, value)
    if STATE.unusual and not LOCAL.grad and not LOCAL.dual:
        return self if _at_once(function, args, kwargs) else assign(self, function(*args, **kwargs))
    history = self._node is not None
    if not history:
        for value in (*args, *kwargs.values()):
            for each in value if value.__class__ in (list, tuple) else (value,):
                history = history or isinstance(each, Tensor) and each._node is not None
    if not history and self._view is None:
        return self if _at_once(function, args, kwargs) else assign(self, function(*args, **kwargs))
    check_inplace(self, history)
    if history:
        # What the gradient saves of self has to be the values before the change.
        before = wrap(self._a.copy(), self._kind)
        before._node = self._node
        # Forward mode, which has the tangents of now, also takes self as another operand (v.mul_(v)); a backward pass refuses that.
        args = (before, *[before if each is self and LOCAL.dual else each for each in args[1:]])
    return assign(self, function(*args, **kwargs))


# Functional ops that can write into their first operand without a result in between: op -> function(*args, **kwargs) -> whether that was
# done.
AT_ONCE: dict[Function, Function] = {}


def _at_once(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    direct = AT_ONCE.get(function)
    return direct is not None and direct(*args, **kwargs)


def computed_at_once(self: Tensor, formula: Function, *operands: Any) -> bool:
    """Whether ``formula(self, *operands)`` was written into self: of plain tensors of its kind and shape, and numbers."""
    kind, a = self._kind, self._a
    if not (kind.fast and takes_target(formula) and a.__class__ is np.ndarray and a.flags.writeable):
        return False
    arrays: list[Any] = []
    for each in operands:
        if isinstance(each, Tensor):
            if each._kind is not kind or each._a.__class__ is not np.ndarray or each._a.shape != a.shape:
                return False
            arrays.append(each._a)
        elif each.__class__ is float or each.__class__ is int:
            arrays.append(each)
        else:
            return False
    formula(a, *arrays, a)
    self._ver += 1
    return True


def check_overlap(self: Tensor, other: Tensor) -> None:
    """Refuse to write into memory that the other operand shares in part: the result would depend on the order of the writes."""
    if other is self or other._ver is not self._ver or other._ver.__class__ is not Version:
        return
    a, b = self._a, other._a
    if not (_dense(a) and _dense(b)) or a.size == 0 or b.size == 0:
        return
    if M.overlap(a, b):
        raise _shared()


def check_apart(self: Tensor, others: Sequence[Any]) -> None:
    """Refuse to write by an index into memory that the index or the source shares: the result would depend on the order of the writes."""
    for other in others:
        if not isinstance(other, Tensor) or other is not self and (other._ver.__class__ is not Version or other._ver is not self._ver):
            continue
        a, b = self._a, other._a
        if a.__class__ is np.ndarray and b.__class__ is np.ndarray and _dense(a) and _dense(b) and a.size and b.size and np.may_share_memory(a, b):
            raise _shared()


def _shared() -> RuntimeError:
    return RuntimeError("unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
                        "location. Please clone() the tensor before performing the operation.")


def _dense(a: Array) -> bool:
    """Whether the elements fill their memory without gaps, in some order of dimensions."""
    if a.flags.c_contiguous or a.flags.f_contiguous:
        return True
    return a.transpose(sorted(range(a.ndim), key=lambda i: -a.strides[i])).flags.c_contiguous


def assign(self: Tensor, r: Tensor) -> Tensor:
    """Write the values of `r` into self, cast to its dtype, and take over its history."""
    try:
        a, kind = self._a, self._kind
    except SparseRefusal:
        return services.sparse_assign(self, r)
    if r._kind is not kind:
        if r._kind.sparse:
            r = r.to_dense()
        if not can_cast(r._kind.dtype, kind.dtype):
            raise RuntimeError(f"result type {title(r._kind.dtype)} can't be cast to the desired output type {title(kind.dtype)}")
        r = r.to(device=kind.device, dtype=kind.dtype)
    if r._a.shape != a.shape:
        raise RuntimeError(f"output with shape {list(a.shape)} doesn't match the broadcast shape {list(r._a.shape)}")
    if not a.flags.writeable:
        writable(self)
    if r._a is not a:
        M.assign(a, r._a)
    self._ver += 1
    if STATE.unusual and not LOCAL.grad and not LOCAL.dual:
        return self
    rebase(self, r)
    return self


def rebase(self: Tensor, r: Tensor) -> None:
    """Give self, which now holds r's values, r's history."""
    node = r._node
    if self._view is None:
        if node is None and self._node is None:
            return
        _point_saved_output_at(self, r)
        move_history(self, node)
        _regenerate(self)
        return
    root = root_of(self)
    if node is None and root._node is None:
        return
    _point_saved_output_at(self, r)
    chain = []
    t = self
    while t._view is not None:
        chain.append(t._view[1:])
        t = t._view[0]
    chain.reverse()
    move_history(root, _copy_slices(root, r, chain))
    _regenerate(root)
    if self._node is None or not any(each() is self for each in root._ver.views or ()):
        move_history(self, _replay(root, chain)._node)


def _replay(base: Tensor, chain: list[Any]) -> Tensor:
    for replay, args in chain:
        base = replay(base, *args)
    return base


def _copy_slices(root: Tensor, written: Tensor, chain: list[Any]) -> Any:
    """A node for the base of a view that `written` went into: inputs are the base's old history and the history of the new values."""
    values = written._node
    node: Any = new(node_class("CopySlices", RecordNode))
    node.next = (root._node, values)
    node.saved, node.version, node.seq, node.hooks, node.fix = (), 0, new_seq(), None, None
    node.agrad, node.conj = None, False
    strides = root._a.strides
    order = sorted(range(len(strides)), key=lambda i: -strides[i])

    def grad(g: Tensor) -> tuple[Any, Any]:
        if g._a.strides != strides:      # the views were made of memory that lies as the base's does
            g = g.permute(order).contiguous().permute([order.index(i) for i in range(len(order))])
        kept = None
        if root_edge is not None:
            kept = g.clone()
            _replay(kept, chain).zero_()
        return kept, (None if values is None else _replay(g, chain).clone())

    root_edge = root._node
    node.grad = grad
    node.fix = fix_of((root, written), (root,))
    return node


def _regenerate(root: Tensor) -> None:
    """New histories for the living views of a base whose own history changed."""
    version = root._ver
    if version.__class__ is not Version or version.views is None:
        return
    alive = []
    for each in version.views:
        v = each()
        if v is None:
            continue
        alive.append(each)
        if v._view is not None and v._view[1] is None:
            move_history(v, _stale(v))
            continue
        chain = []
        t = v
        while t is not root and t._view is not None and t._view[1] is not None:
            chain.append(t._view[1:])
            t = t._view[0]
        if t is root and v is not root:
            chain.reverse()
            version.views = None
            move_history(v, _replay(root, chain)._node)
    version.views = alive


def _stale(v: Tensor) -> Any:
    """The history of an output of split or unbind whose base was changed in place: backward through it is an error."""
    assert v._view is not None
    name = v._view[2].rpartition(" of ")[2]
    node: Any = new(node_class("Stale" + name, RecordNode))
    node.next, node.saved, node.version, node.seq, node.hooks, node.fix = (None,), (), 0, new_seq(), None, None
    node.agrad, node.conj = None, False

    def refuse(g: Tensor) -> Any:
        raise RuntimeError(f"Output 0 of {name} is a view and its base or another view of its base has been modified inplace. This view "
                           "is the output of a function that returns multiple views. Such functions do not allow the output views to be "
                           "modified inplace. You should replace the inplace operation by an out-of-place one.")
    node.grad = refuse
    return node


def _point_saved_output_at(self: Tensor, r: Tensor) -> None:
    """If r's node saved its own result, let it hold self's memory and version: a later change of self is then noticed."""
    node = r._node
    if isinstance(node, UnaryNode) and node.saves == "y" and node.saved is r._a:
        node.saved, node.version = self._a, _fresh_share(self)
    elif isinstance(node, RecordNode):
        for entry in node.saved or ():
            if entry.__class__ is SavedOutput and entry.array is r._a:
                node.version += share_version(self).n - entry._ver.n
                entry.array, entry._ver = self._a, share_version(self)


def _fresh_share(self: Tensor) -> _Offset:
    """A version that counts from zero, shared by self and all that shares with it from now on."""
    if self._ver.__class__ is Version:
        return _Offset(self._ver)
    self._ver = Version(self._ver)
    return _Offset(self._ver)


class _Offset:
    """A Version seen from now on: `n` is the number of changes since."""

    __slots__ = ("version", "start")

    def __init__(self, version: Version) -> None:
        self.version, self.start = version, version.n

    @property
    def n(self) -> int:
        return self.version.n - self.start

    def __add__(self, other: int | Version | _Offset) -> int:
        return self.n + (other if isinstance(other, int) else other.n)

    __radd__ = __add__


def check_fresh(out: Tensor | None, inputs: Any, name: str) -> None:
    """PyTorch's error where a tensor given as out= shares memory with an operand, for ops that do not work element by element."""
    for each in out if isinstance(out, (tuple, list)) else (out,):
        if not isinstance(each, Tensor):
            continue
        for t in inputs:
            if isinstance(t, Tensor) and each._a.size and np.may_share_memory(each._a, t._a):
                raise RuntimeError("unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
                                   f"memory location. Please clone() the tensor before performing the operation. ({name})")


def check_dtype(out: Any, r: Any, name: str) -> None:
    """PyTorch's error where out= has another dtype than the result, for ops that do not convert."""
    if name == "nonzero":
        if isinstance(r, tuple):
            raise RuntimeError("nonzero does not support the out kwarg when as_tuple is True")
        if isinstance(out, Tensor) and out._kind.dtype.name != "int64":
            raise RuntimeError(f"nonzero: Expected out tensor to have scalar type Long but got scalar type {title(out._kind.dtype)}")
    if name in ("complex", "polar") and isinstance(out, Tensor) and out._kind.dtype is not r._kind.dtype:
        raise RuntimeError(f"Expected object of scalar type {title(r._kind.dtype)} but got scalar type {title(out._kind.dtype)} for "
                           "argument 'out'")
    for a, b in zip(out, r, strict=False) if isinstance(r, tuple) else ((out, r),):
        if isinstance(a, Tensor) and a._kind.dtype is not b._kind.dtype:
            raise RuntimeError(f"Expected out tensor to have dtype {b._kind.dtype.alias or b._kind.dtype.name}, but got "
                               f"{a._kind.dtype.alias or a._kind.dtype.name} instead")


def computed_into(out: Tensor | None, kernel: Any, *operands: Any) -> bool:
    """``out._a = kernel(arrays)`` without a result of its own in between, where everything is plain, of one kind and shape, and unrecorded.
    False, with nothing changed, where it is not: then `write_out` has to look."""
    if out.__class__ is not Tensor or not out._kind.fast or out._node is not None or not out._a.flags.writeable:
        return False
    kind, shape = out._kind, out._a.shape
    for each in operands:
        if each.__class__ is not Tensor or each._kind is not kind or each._node is not None or each._a.shape != shape:
            return False
        if each is not out and np.may_share_memory(each._a, out._a):
            return False
    kernel(*[each._a for each in operands], out._a)
    out._ver += 1
    return True


def write_out(out: Tensor | None, r: Any, name: str) -> Any:
    """Put a result (or a tuple of results) into the tensors given as out=, and return them."""
    if isinstance(r, tuple):
        if not isinstance(out, (tuple, list)) or len(out) != len(r):
            raise TypeError(f"{name}(): argument 'out' must be tuple of {len(r)} Tensors, not {type(out).__name__}")
        written = [write_out(o, each, name) for o, each in zip(out, r, strict=True)]
        return tuple.__new__(type(r), written)
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if LOCAL.grad and (r._node is not None or out._node is not None):
        raise RuntimeError(f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments "
                           "requires grad.")
    kind = out._kind
    if kind.sparse or r._kind.sparse:
        return services.sparse_assign(out, r)
    if r._kind.device is not kind.device:
        raise RuntimeError(f"Expected out tensor to have device {r._kind.device}, but got {kind.device} instead")
    if not can_cast(r._kind.dtype, kind.dtype):
        raise RuntimeError(f"result type {title(r._kind.dtype)} can't be cast to the desired output type {title(kind.dtype)}")
    if not out._a.flags.writeable:
        writable(out)
    if out._a.shape != r._a.shape:
        if out._a.size:
            import warnings
            warnings.warn(f"An output with one or more elements was resized since it had shape {list(out._a.shape)}, which does not match "
                          f"the required output shape {list(r._a.shape)}. This behavior is deprecated, and in a future PyTorch release "
                          "outputs will not be resized unless they have zero elements. You can explicitly reuse an out tensor t by "
                          "resizing it, inplace, to zero elements with t.resize_(0).", UserWarning, stacklevel=4)
        if out._view is None or r._a.size > out._a.size:
            out._a = np.empty_like(r._a, kind.np)
        else:
            out.resize_(r._a.shape)
    out._a[...] = r._a
    out._ver += 1
    return out
