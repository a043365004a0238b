"""Communication hooks of DistributedDataParallel."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ....unsupported import attribute_of
from . import default_hooks

__all__ = ["default_hooks"]

_others = attribute_of("distributed.algorithms.ddp_comm_hooks", "docs/distributed.md lists what is there")


def __getattr__(name: str) -> Any:
    if name in ("powerSGD_hook",):
        return import_module("." + name, __name__)
    return _others(name)
