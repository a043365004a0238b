"""How many references an object has that one holder alone knows: counted once, because interpreters count them differently (some lend a
function its arguments, and a variable its value)."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

__all__ = ["ATTRIBUTE", "VARIABLE"]


class _Holder:
    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: Any = [None]

    def attribute(self) -> int:
        return getrefcount(self.held)

    def variable(self) -> int:
        held = self.held
        return getrefcount(held)


ATTRIBUTE = _Holder().attribute()       # what ``getrefcount(holder.held)`` says where nothing else refers to it
VARIABLE = _Holder().variable()         # what ``getrefcount(held)`` says after ``held = holder.held``
