"""``torch.utils.weak``: dictionaries whose keys are held weakly and told apart by identity."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any
from weakref import ref

from ..vocabulary import Function

__all__ = ["TensorWeakRef", "WeakIdKeyDictionary", "WeakIdRef", "WeakTensorKeyDictionary"]


class WeakIdRef(ref):  # type: ignore[type-arg]
    """A weak reference that is equal to another of the same object, and hashes by the object's identity."""

    __slots__ = ("_id",)

    def __init__(self, key: Any, callback: Function | None = None) -> None:
        super().__init__(key, callback)  # type: ignore[call-arg]
        self._id = id(key)

    def __hash__(self) -> int:
        return self._id

    def __eq__(self, other: object) -> bool:
        mine, theirs = self(), other() if isinstance(other, ref) else None
        return mine is theirs if mine is not None and theirs is not None else self is other


class WeakIdKeyDictionary(MutableMapping[Any, Any]):
    """A dictionary of which an entry goes when nothing else holds its key any more."""

    def __init__(self, dict: Any = None, ref_type: Any = WeakIdRef) -> None:  # noqa: A002
        self.data: Any = {}
        self.ref_type = ref_type
        data = ref(self)

        def remove(key: Any) -> None:
            there = data()
            if there is not None:
                there.data.pop(key, None)
        self._remove = remove
        if dict is not None:
            self.update(dict)

    def __getitem__(self, key: Any) -> Any:
        return self.data[self.ref_type(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.data[self.ref_type(key, self._remove)] = value

    def __delitem__(self, key: Any) -> None:
        del self.data[self.ref_type(key)]

    def __contains__(self, key: object) -> bool:
        try:
            return self.ref_type(key) in self.data
        except TypeError:
            return False

    def __iter__(self) -> Iterator[Any]:
        for each in list(self.data):
            key = each()
            if key is not None:
                yield key

    def __len__(self) -> int:
        return len(self.data)


class WeakTensorKeyDictionary(WeakIdKeyDictionary):
    """The same for tensors."""


class TensorWeakRef:
    """A weak reference to a tensor; calling it gives the tensor, or None."""

    def __init__(self, tensor: Any) -> None:
        self.ref = ref(tensor)

    def __call__(self) -> Any:
        return self.ref()
