"""What arrays that wrap another array have in common: the device's (cuda/array.py) and those without memory (meta/array.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["Flags", "WrappedArray"]


class Flags:
    """``array.flags``: contiguity is that of the array inside, `writeable` is kept by the one around it."""

    __slots__ = ("_array", "_inside")

    def __init__(self, array: Any, inside: Any) -> None:
        self._array, self._inside = array, inside

    c_contiguous = property(lambda self: self._inside.c_contiguous)
    f_contiguous = property(lambda self: self._inside.f_contiguous)
    contiguous = c_contiguous
    forc = property(lambda self: self._inside.forc)
    owndata = property(lambda self: self._array.base is None)
    aligned = property(lambda self: True)

    @property
    def writeable(self) -> bool:
        """Whether in-place ops may write: False for expanded tensors."""
        return bool(self._array.writeable)

    @writeable.setter
    def writeable(self, value: bool) -> None:
        self._array.writeable = value


class WrappedArray:
    """Length and items follow from shape and indexing. NumPy's arrays step back, and elements compare: no hash."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]
    shape: tuple[int, ...]
    ndim: int
    dtype: Any

    itemsize = property(lambda self: self.dtype.itemsize)

    def __getitem__(self, item: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has to say how it is indexed")

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))
