"""``torch.autograd.forward_ad``: dual tensors, a value with a tangent.

A dual tensor is a place in the graph that remembers its tangent. Ops record as usual; `unpack_dual` works the tangent of a result out from
the graph (forward.py). So a tensor computed from dual tensors has ``requires_grad`` True, and `no_grad` inside a level does not lose
tangents.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import Any, NamedTuple

from ..ops.record import RecordNode, share_version
from ..tensor import Tensor, wrap
from .engine import _reachable
from .forward import pushforward, recording_forward
from .grad_mode import LOCAL, is_grad_enabled
from .graph import AccumulateGrad, new_seq, node_class

__all__ = ["UnpackedDualTensor", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual", "dual_level", "is_dual"]


class UnpackedDualTensor(NamedTuple):
    """The two parts of a dual tensor; the tangent is None where the tensor has none."""

    primal: Tensor
    tangent: Tensor | None


class _Level:
    """A dual level: the tangents by the nodes where dual tensors start."""

    def __init__(self) -> None:
        self.tangents: dict[Any, Tensor] = {}
        self.recording = recording_forward()


def _levels() -> list[_Level]:
    if LOCAL.dual_levels is None:
        LOCAL.dual_levels = []
    return LOCAL.dual_levels


def enter_dual_level() -> int:
    """Begin a level in which tensors can be dual; returns its number. Levels don't nest (RuntimeError), as in PyTorch."""
    levels = _levels()
    if levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment: use torch.func.jvp, which nests")
    level = _Level()
    levels.append(level)
    level.recording.__enter__()
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: dual tensors become ordinary ones."""
    levels = _levels()
    if not levels or (level is not None and level != len(levels) - 1):
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created. This is not supported.")
    levels.pop().recording.__exit__()


def __getattr__(name: str) -> int:
    if name == "_current_level":
        return len(_levels()) - 1
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class dual_level(ContextDecorator):
    """Context, or decorator, in which tensors can be dual."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exception: object) -> None:
        exit_dual_level()


def _level_of(level: int | None) -> _Level:
    levels = _levels()
    if not levels or (level is not None and level != 0):
        raise RuntimeError("Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first.")
    return levels[-1]


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A dual tensor: the tensor's memory (and history), with this tangent of the same shape and dtype."""
    at = _level_of(level)
    for name, value in (("primal", tensor), ("tangent", tangent)):
        if not isinstance(value, Tensor):
            raise TypeError(f"make_dual(): argument '{name}' must be Tensor, not {type(value).__name__}")
        if not value._kind.differentiable:
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {value.dtype}")
    if is_dual(tensor):
        raise RuntimeError("Making a dual Tensor based on a Tensor that already has a forward gradient at the same level 0 is not "
                           "supported.")
    if tensor._a.shape != tangent._a.shape:
        raise RuntimeError("Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
                           f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size "
                           f"{list(tangent.shape)}.")
    if tensor._kind is not tangent._kind:
        raise RuntimeError("Trying to set a forward gradient that has a different dtype or device than that of the original Tensor, this "
                           f"is not supported. Tensor is {tensor.dtype} while the given forward gradient is {tangent.dtype}.")
    r = wrap(tensor._a, tensor._kind)
    r._ver = share_version(tensor)
    node: Any = object.__new__(node_class("DualBackward0", RecordNode))
    node.next, node.saved, node.version, node.seq, node.fix, node.hooks = (tensor._node,), (), 0, new_seq(), None, None
    node.grad = node.agrad = lambda g: g
    node.conj = False
    r._node = node
    at.tangents[node] = tangent
    return r


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """(value, tangent) of a tensor: the tangent of what it was computed from, pushed forward. Outside of a level: no tangent."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"unpack_dual(): argument 'tensor' must be Tensor, not {type(tensor).__name__}")
    levels = _levels()
    if not levels:
        return UnpackedDualTensor(tensor, None)
    level_ = levels[-1]
    own = level_.tangents.get(tensor._node)
    if own is not None and own._node is None and not _reaches_leaves(tensor):
        return UnpackedDualTensor(wrap(tensor._a, tensor._kind), own)
    starts = [node for node in _nodes_below(tensor) if node in level_.tangents]
    if not starts:
        return UnpackedDualTensor(tensor, None)
    tangents = [level_.tangents[node] for node in starts]
    places = [_Place(node) for node in starts]
    outer = _reaches_leaves(tensor)
    graph = is_grad_enabled() and (outer or any(t._node is not None for t in tangents))
    found = pushforward([tensor], places)(tangents, graph)[0]
    primal = wrap(tensor._a, tensor._kind)
    if outer:
        primal = tensor.view_as(tensor)
    if found is not None and found._node is not None and not _reaches_leaves(found):
        found = found.detach()
    return UnpackedDualTensor(primal, found)


class _Place:
    """A node in the place of a tensor."""

    __slots__ = ("_node",)

    def __init__(self, node: Any) -> None:
        self._node = node


def _nodes_below(tensor: Tensor) -> list[Any]:
    if tensor._node is None or tensor._node.__class__ is AccumulateGrad:
        return []
    return _reachable([(tensor._node, None)])[0]


def _reaches_leaves(tensor: Tensor) -> bool:
    """Whether a tensor's history has leaves that require grad, apart from dual tensors."""
    return bool(tensor._node is not None and _reachable([(tensor._node, None)])[1])


def is_dual(tensor: Tensor) -> bool:
    """Whether a tensor depends on a dual tensor of the level that is open."""
    levels = _levels()
    return bool(levels) and any(node in levels[-1].tangents for node in _nodes_below(tensor))

