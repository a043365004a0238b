"""``torch._C._autograd``: questions about saved-tensor hooks, versions and the backward pass that runs."""

from __future__ import annotations

from collections.abc import Sequence

from ..autograd.engine import task
from ..autograd.grad_mode import LOCAL
from ..autograd.graph import Version
from ..tensor import Tensor

__all__: list[str] = []


def _saved_tensors_hooks_is_enabled() -> bool:
    """Whether saved-tensor hooks may be used here."""
    return LOCAL.pack_disabled is None


def _get_current_graph_task_keep_graph() -> bool:
    """Whether the backward pass that runs keeps the graph; True where none does."""
    running = task()
    return True if running is None else running.retain


def _unsafe_set_version_counter(tensors: Sequence[Tensor], versions: Sequence[int]) -> None:
    """Say how often tensors, and what shares their memory, have been changed in place."""
    if isinstance(tensors, Tensor):
        raise TypeError("_unsafe_set_version_counter(): incompatible function arguments: it takes sequences of tensors and of versions")
    for t, version in zip(tensors, versions, strict=True):
        if version < 0:
            raise RuntimeError(f"Cannot set a version_counter to a value below 0: {version}")
        if isinstance(t._ver, Version):
            t._ver.n = version
        else:
            t._ver = version
