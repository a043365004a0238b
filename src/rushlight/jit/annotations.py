"""``torch.jit.annotations``: names for annotations of scripted functions."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple  # noqa: UP035  (the names are what is asked for)

from ..futures import Future

__all__ = ["Any", "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Dict", "Future", "List", "Optional", "Tuple"]


class _Broadcasting:
    """``BroadcastingList2[int]``: a list of two, or one number that stands for both."""

    def __getitem__(self, types: Any) -> None:
        return None


BroadcastingList1, BroadcastingList2, BroadcastingList3 = _Broadcasting(), _Broadcasting(), _Broadcasting()
