"""``torch._refs._conversions``: the conversions to dtypes, as functions of a tensor (``float(x)``), and ``complex`` and ``polar``."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import of

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name in ("complex", "polar"):
        return of("")(name)
    found = getattr(Tensor, name, None)
    if name.startswith("__") or found is None:
        raise AttributeError(f"there is no conversion {name!r}")
    return found
