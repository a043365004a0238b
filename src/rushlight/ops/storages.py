"""Tensors and the flat memory under them: the storage's methods, and `set_`, which shows other memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import storage as S
from ..autograd.grad_mode import LOCAL
from ..devices import CPU
from ..tensor import Tensor, wrap
from ..vocabulary import PerDim
from .public import method
from .record import record
from .shape import sizes
from .write import check_inplace

__all__: list[str] = []


@method
def storage_offset(self: Tensor) -> int:
    """The index of the first element in its storage."""
    return S.storage_offset(self._a)


@method
def untyped_storage(self: Tensor) -> S.UntypedStorage:
    """The memory that this tensor and its views share."""
    return S.untyped_storage(self)


@method
def storage(self: Tensor) -> S.TypedStorage:
    """The memory as a typed storage (old interface)."""
    return S.TypedStorage(wrap_storage=self.untyped_storage(), dtype=self._kind.dtype, _internal=True)


@method
def is_shared(self: Tensor) -> bool:
    """Whether the memory is shared between processes."""
    return S.storage_of(self._a).is_shared()


@method
def share_memory_(self: Tensor) -> Tensor:
    """Move the memory, in place, to where other processes see it and its changes: those forked from this one, and those that get the tensor
    by torch.multiprocessing. Views taken before keep the old memory; a view itself is refused."""
    if self._kind.device.type == "meta":
        raise RuntimeError("_share_fd_: only available on CPU")
    if self._kind.device != CPU or self.is_shared():
        return self
    if self._view is not None:
        raise NotImplementedError("share_memory_ of a view is missing: share the tensor it was taken from, or a clone()")
    from ..shared_memory import shared_copy
    self._a = shared_copy(self._a)
    return self


_NOTHING = object()


@method
def set_(self: Tensor, source: Any = _NOTHING, storage_offset: int | None = None, size: Any = None, stride: PerDim | None = None) -> Tensor:
    """Make self show other memory: that of a tensor or a storage, all of it or the elements at (storage_offset, size, stride); or nothing.

    A tensor's offset counts from its first element. RuntimeError for another dtype or device, and where the memory is too small."""
    array, history = _shown_memory(self, source, storage_offset, size, stride)
    check_inplace(self, history is not None)
    result = wrap(array, self._kind)
    if LOCAL.grad:
        record(result, "NotImplemented", (self, history), _no_gradient)
    # A view that shows other memory is no view of its old base any more.
    self._a, self._node, self._view = array, result._node if LOCAL.grad else self._node, None
    self._ver += 1
    return self


def _no_gradient(g: Tensor) -> Any:
    raise RuntimeError("derivative for aten::set_ is not implemented")


def _shown_memory(self: Tensor, source: Any, offset: int | None, size: Any, stride: PerDim) -> tuple[Any, Tensor | None]:
    """The array that `set_` shows, and the tensor whose history comes with it."""
    if source is _NOTHING and offset is size is stride is None:
        return self._kind.xp.empty(0, self._kind.np), None
    is_tensor = isinstance(source, Tensor)
    if not (is_tensor or S.is_storage(source)) or (offset is None) != (size is None) or (size is None and stride is not None) \
            or not (size is None or isinstance(size, (tuple, list))):
        got = ", ".join(type(each).__name__ for each in (source, offset, size, stride) if each is not None and each is not _NOTHING)
        raise TypeError(f"set_() received an invalid combination of arguments - got ({got}), but expected one of: (), (torch.Storage "
                        "source), (torch.Storage source, int storage_offset, tuple of ints size, tuple of ints stride = None), (Tensor "
                        "source), (Tensor source, int storage_offset, tuple of ints size, tuple of ints stride = None)")
    if source.dtype is not self._kind.dtype if is_tensor else getattr(source, "dtype", self._kind.dtype) is not self._kind.dtype:
        raise RuntimeError(f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}" if is_tensor else
                           f"Expected a Storage of type {self.dtype} or an UntypedStorage, but got type {source.dtype} for argument 1 "
                           "'storage'")
    if source.device != self._kind.device:
        raise RuntimeError(f"Attempted to set the storage of a tensor on device \"{self._kind.device}\" to a storage on different device "
                           f"\"{source.device}\".  This is no longer allowed; the devices must match.")
    if is_tensor and size is None:
        return source._a, source
    if is_tensor:
        return _placed(self, S.untyped_storage(source), offset + source.storage_offset(), size, stride), source
    untyped = source.untyped()
    if size is None:
        return _placed(self, untyped, 0, (untyped.nbytes() // self._kind.np.itemsize,), (1,)), None
    return _placed(self, untyped, offset, size, stride), None


def _placed(self: Tensor, storage: S.UntypedStorage, offset: int, size: Any, stride: PerDim) -> Any:
    """The elements of self's dtype at (offset, size, stride) in a storage, which grows for them where nobody else uses it."""
    size = sizes((size,), "set_")
    stride = _packed(size) if stride is None else sizes((stride,), "set_", "stride")
    need = (offset + sum((n - 1) * step for n, step in zip(size, stride, strict=False)) + 1) * self._kind.np.itemsize
    if 0 not in size and need > storage.nbytes() and storage.resizable():
        storage.resize_(need)
    array = S.array_over(storage, self._kind.dtype, offset, size, stride)
    if any(step == 0 and n > 1 for step, n in zip(stride, size, strict=True)):
        array.flags.writeable = False
    return array


def _packed(size: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of elements in order without gaps."""
    return tuple(int(np.prod(size[i + 1:])) for i in range(len(size)))
