"""``torch.multiprocessing``: Python's multiprocessing, with tensors that are passed between processes by shared memory.

A tensor in shared memory (``share_memory_``) is the same memory in every process that gets it. One that is not is moved there when it is
sent, if nothing else uses its memory; else (it is a view, or has views) the receiver gets a copy. See docs/interop.md.
"""

from __future__ import annotations

import multiprocessing as _multiprocessing
from multiprocessing import *  # noqa: F403
from typing import Any

from .reductions import init_reductions
from .spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

__all__ = ["set_sharing_strategy", "get_sharing_strategy", "get_all_sharing_strategies", "spawn", "start_processes", "ProcessContext",
           "SpawnContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException",
           *_multiprocessing.__all__]  # type: ignore[attr-defined]

_STRATEGIES = {"file_descriptor"}


def set_sharing_strategy(new_strategy: str) -> None:
    """Choose how memory is shared. There is one way here, "file_descriptor" (NotImplementedError for PyTorch's "file_system")."""
    if new_strategy not in _STRATEGIES:
        raise NotImplementedError(f"sharing strategy {new_strategy!r}: rushlight shares memory by file descriptors only "
                                  "('file_descriptor'). Where they run out, raise the limit with `ulimit -n`")


def get_sharing_strategy() -> str:
    """How memory is shared."""
    return "file_descriptor"


def get_all_sharing_strategies() -> set[str]:
    """The ways in which memory can be shared."""
    return set(_STRATEGIES)


def __getattr__(name: str) -> Any:
    return getattr(_multiprocessing, name)


init_reductions()
