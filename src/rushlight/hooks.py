"""`RemovableHandle`: what every register_*hook returns."""

from __future__ import annotations

from itertools import count
from typing import Any

from .homes import settle
from .vocabulary import Function

__all__ = ["RemovableHandle"]

_ids = count().__next__


class RemovableHandle:
    """Takes its hook out of the dict it was put in: by ``remove()``, or at the end of a ``with`` block."""

    __slots__ = ("id", "_dicts", "__weakref__")

    def __init__(self, hooks_dict: Any, *, extra_dict: list[Any] | None = None) -> None:
        self.id = _ids()
        extra = extra_dict if isinstance(extra_dict, list) else [] if extra_dict is None else [extra_dict]
        self._dicts = [hooks_dict, *extra]

    @classmethod
    def into(cls, hooks: dict[int, Any], hook: Function) -> RemovableHandle:
        """Put `hook` into the dict and return its handle."""
        if not callable(hook):
            raise TypeError(f"a hook must be callable, not {type(hook).__name__}")
        handle = cls(hooks)
        hooks[handle.id] = hook
        return handle

    @property
    def hooks_dict_ref(self) -> Any:
        """A function that gives the dict which the hook was put into."""
        return lambda: self._dicts[0]

    def remove(self) -> None:
        """Take the hook out; calling it again does nothing."""
        for hooks in self._dicts:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __getstate__(self) -> Any:
        return self._dicts[0], self.id

    def __setstate__(self, state: Any) -> None:
        self._dicts, self.id = [{} if state[0] is None else state[0]], state[1]

settle("utils.hooks", globals())
