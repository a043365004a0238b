"""``torch.torch_version``: the version as an object that compares."""

from __future__ import annotations

import re
from typing import Any

from .version import torch_version

__all__ = ["TorchVersion"]


def _key(version: Any) -> tuple[int, ...]:
    if isinstance(version, (tuple, list)):
        return tuple(int(each) for each in version)
    return tuple(int(each) for each in re.findall(r"\d+", str(version).partition("+")[0]))


class TorchVersion(str):
    """A version string that compares by its numbers, with strings and tuples."""

    __slots__ = ()

    def __lt__(self, other: Any) -> bool:
        return _key(self) < _key(other)

    def __le__(self, other: Any) -> bool:
        return _key(self)[:len(_key(other))] <= _key(other)

    def __gt__(self, other: Any) -> bool:
        return not self <= other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) if isinstance(other, str) else _key(self) == _key(other)

    __hash__ = str.__hash__


__version__ = TorchVersion(torch_version)
