"""How tensors are pickled for another process: as a place in shared memory whose descriptor is passed along."""

from __future__ import annotations

import sys
from multiprocessing import context, reduction
from typing import Any

from ..devices import CPU
from ..kind import kind_of
from ..nn.parameter import Parameter
from ..references import VARIABLE
from ..shared_memory import attach, block_of, move_storage, shared_copy
from ..tensor import Tensor, wrap
from ..vocabulary import Dtype

__all__ = ["init_reductions", "reduce_tensor", "rebuild_tensor"]


def _alone(t: Tensor) -> bool:
    """Whether nothing but this tensor holds its memory: then it can be moved without anybody noticing."""
    array = t._a
    return t._view is None and array.base is None and sys.getrefcount(array) == VARIABLE


def _refuse_history(t: Tensor) -> None:
    if t.requires_grad and not t.is_leaf:
        raise RuntimeError("Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support crossing "
                           "process boundaries.  If you just want to transfer the data, call detach() on the tensor before serializing "
                           "(e.g., putting it on the queue).")


def reduce_tensor(t: Tensor) -> Any:
    """A tensor for another process. Tensors of other devices go by value."""
    _refuse_history(t)
    if t._kind.device is not CPU or not hasattr(reduction, "DupFd"):
        return t.__reduce_ex__(5)
    found = block_of(t._a)
    if found is None and t._view is not None:
        move_storage(t)
        found = block_of(t._a)
    array = t._a
    if found is None:
        shared = shared_copy(array)
        del array
        if _alone(t):
            t._a = shared
        array = shared
        found = block_of(array)
    assert found is not None
    block, place = found
    item = array.dtype.itemsize
    stride = tuple(step // item for step in array.strides)
    return rebuild_tensor, (_passed(block.descriptor), t._kind.dtype, place // item, tuple(array.shape), stride, t.requires_grad)


def _passed(descriptor: int) -> Any:
    """What stands for a descriptor in the pickle: a process that is being spawned gets each of them once."""
    popen = context.get_spawning_popen()
    if descriptor in getattr(popen, "_fds", ()):
        return popen.DupFd(descriptor)
    return reduction.DupFd(descriptor)


def rebuild_tensor(descriptor: Any, dtype: Dtype, offset: int, size: Any, stride: Any, requires_grad: bool) -> Tensor:
    """The tensor in the receiving process."""
    t = wrap(attach(descriptor.detach(), dtype, offset, size, stride), kind_of(dtype))
    return t.requires_grad_() if requires_grad else t


def reduce_parameter(p: Any) -> Any:
    """A Parameter for another process."""
    _refuse_history(p)
    return _rebuild_parameter, (type(p), p.detach() if block_of(p._a) is not None else _moved(p), p.requires_grad)


def _moved(p: Any) -> Tensor:
    """The parameter's data in shared memory; the parameter uses it from now on where nothing else has its memory."""
    shared = shared_copy(p._a)
    if _alone(p):
        p._a = shared
    return wrap(shared, p._kind)


def _rebuild_parameter(cls: Any, data: Tensor, requires_grad: bool) -> Any:
    return cls(data, requires_grad)


def init_reductions() -> None:
    """Have multiprocessing pickle tensors and parameters so."""
    reduction.ForkingPickler.register(Tensor, reduce_tensor)
    reduction.ForkingPickler.register(Parameter, reduce_parameter)
