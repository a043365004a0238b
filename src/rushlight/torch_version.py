"""``torch.torch_version``: a version as an object that compares as the Python packaging rules (PEP 440) say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["TorchVersion"]

_STAGES = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "pre": 2, "preview": 2, "rc": 2}
_FORM = (r"\s*v?(?:(\d+)!)?(\d+(?:\.\d+)*)(?:[-_.]?(alpha|beta|preview|pre|rc|a|b|c)[-_.]?(\d*))?"
         r"(?:(?:-|[-_.]?(?:post|rev|r)[-_.]?)(\d+)|([-_.]?(?:post|rev|r)))?"
         r"(?:[-_.]?dev[-_.]?(\d*)())?(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*")
Key = tuple[Any, ...]


def _key(version: str) -> Key:
    """What versions are ordered by: epoch, release without trailing zeros, pre, post, dev, local. ValueError for what is no version."""
    import re
    found = re.fullmatch(_FORM, version.lower())
    if found is None:
        raise ValueError(f"{version!r} is no version")
    epoch, release, stage, stage_number, post, bare_post, dev, is_dev, local = found.groups()
    numbers = [int(each) for each in release.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    after = -1 if post is None and bare_post is None else int(post or 0)
    if stage is not None:
        before: Key = (_STAGES[stage], int(stage_number or 0))
    else:
        before = (-1,) if is_dev is not None and after < 0 else (9,)
    parts = [(1, int(each), "") if each.isdigit() else (0, 0, each) for each in re.split(r"[-_.]", local)] if local else []
    return int(epoch or 0), numbers, before, after, int(dev or 0) if is_dev is not None else float("inf"), parts


def _comparison(name: str) -> Callable[[str, object], bool]:
    """An order of versions: with a string, a Version of ``packaging`` or a sequence of numbers; as strings where one is no version."""
    compare = getattr(str, name)

    def method(self: str, other: Any) -> bool:
        text = other if isinstance(other, str) else ".".join(map(str, other)) if hasattr(other, "__iter__") else str(other)
        try:
            return bool(getattr(tuple, name)(_key(self), _key(text)))
        except ValueError:
            return bool(compare(self, text))
    method.__name__ = name
    return method


class TorchVersion(str):
    """A version string that compares by its numbers, with strings, Versions and tuples."""

    __slots__ = ()

    __lt__ = _comparison("__lt__")
    __le__ = _comparison("__le__")
    __gt__ = _comparison("__gt__")
    __ge__ = _comparison("__ge__")
    __eq__ = _comparison("__eq__")
    __hash__ = str.__hash__


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from .version import __version__
        return __version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
