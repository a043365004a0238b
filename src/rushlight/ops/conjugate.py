"""`Conjugate`: the tensors that conj() and mH return, views of a complex tensor that show, and take, conjugated values.

A conjugated view shares memory with its source, but has no array of its own: reading `_a` conjugates the source's array (once per version),
and after every change in place, which ends by counting up `_ver`, the values are conjugated back into the source. So ops need not know of
it. Views of a conjugated view are conjugated views of the source's views.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.graph import Version
from ..kernels.arrays import as_array
from ..tensor import Tensor, wrap
from ..vocabulary import Function, MemoryFormat
from .record import record, view
from .write import writable

__all__ = ["Conjugate", "conjugated"]

_a_slot, _ver_slot = Tensor.__dict__["_a"], Tensor.__dict__["_ver"]


class Conjugate(Tensor):
    """A view of `source` with conjugated values; `shown` is (version, the source's array, its conjugate) of the last look."""

    __slots__ = ()
    source: Tensor
    shown: tuple[int, Any, Any] | None
    __torch_function__ = Tensor._disabled_torch_function      # a class of ours, not a user's that overrides functions

    @property
    def _a(self) -> Any:                                                     # type: ignore[override]
        array, version, shown = self.source._a, self.source._ver + 0, self.shown
        if shown is None or shown[0] != version or shown[1] is not array:
            shown = self.shown = (version, array, as_array(np.conjugate(array)))
        return shown[2]

    @_a.setter
    def _a(self, array: Any) -> None:
        raise NotImplementedError("a conjugated view can't change its shape or memory in place: use resolve_conj() first")

    @property
    def _ver(self) -> Version:                                               # type: ignore[override]
        return _ver_slot.__get__(self)

    @_ver.setter
    def _ver(self, version: Version) -> None:
        """A change in place ends here: what was written goes back into the source."""
        array = self.source._a
        if self.shown is not None and self.shown[1] is array:
            if not array.flags.writeable:
                writable(self.source)
            np.conjugate(self.shown[2], out=array)
            self.shown = (self.source._ver + 0, array, self.shown[2])

    # --- what it is -----------------------------------------------------------------------------------------------------------------

    def is_conj(self) -> bool:
        """True."""
        return True

    def conj(self) -> Tensor:
        """The values of the source again, in its memory."""
        return _alias(self.source)

    def resolve_conj(self) -> Tensor:
        """A copy with memory of its own."""
        return record(wrap(self._a.copy(), self._kind), "ResolveConjBackward0", (self,), lambda g: g)

    def detach(self) -> Tensor:
        """The same view without history."""
        return conjugated(self.source.detach())

    @property
    def data(self) -> Tensor:                                                # type: ignore[override]
        """The same view without history and with a version of its own."""
        return conjugated(self.source.data)

    def stride(self, dim: int | None = None) -> Any:
        """The source's strides."""
        return self.source.stride(dim)

    def data_ptr(self) -> int:
        """The address of the source's first element."""
        return self.source.data_ptr()

    def storage_offset(self) -> int:
        """The source's offset in its storage."""
        return self.source.storage_offset()

    def untyped_storage(self) -> Any:
        """The source's storage."""
        return self.source.untyped_storage()

    def is_contiguous(self, *, memory_format: MemoryFormat = None) -> bool:
        """Whether the source is contiguous."""
        return self.source.is_contiguous(memory_format=memory_format)

    def contiguous(self, memory_format: MemoryFormat = None) -> Tensor:
        """Itself if the source is contiguous, else a copy."""
        return self if self.is_contiguous(memory_format=memory_format) else self.clone(memory_format=memory_format)

    def numpy(self, *, force: bool = False) -> Any:
        """An error, since NumPy has no conjugated views; with `force` a copy."""
        if not force:
            raise RuntimeError("Can't call numpy() on Tensor that has conjugate bit set. Use tensor.resolve_conj().numpy() instead.")
        return self._a.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.resolve_conj().__deepcopy__(memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.resolve_conj().__reduce_ex__(protocol)

    def same_view(self, replay: Function, args: tuple[Any, ...]) -> Tensor:
        """What a view op, given as ``replay(base, *args)``, makes of this view."""
        r = replay(self.source, *args)
        return conjugated(r) if r._kind.is_complex else r


Conjugate.__name__ = Conjugate.__qualname__ = "Tensor"      # a layout, not a class that users should see


def conjugated(source: Tensor) -> Tensor:
    """The conjugate of a complex tensor, as a view."""
    r: Any = view(source, source._a, "ConjBackward0", lambda g: g.conj(), conjugated)
    _a_slot.__delete__(r)
    r.__class__ = Conjugate
    r.source, r.shown = source, None
    return r


def _alias(source: Tensor) -> Tensor:
    """The tensor itself as a view of it."""
    return view(source, source._a, "AliasBackward0", lambda g: g, _alias)
