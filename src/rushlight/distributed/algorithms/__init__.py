"""``torch.distributed.algorithms``: what stands on collectives."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...unsupported import attribute_of

_others = attribute_of("distributed.algorithms", "docs/distributed.md lists what is there")


def __getattr__(name: str) -> Any:
    if name in ("ddp_comm_hooks", "join"):
        return import_module("." + name, __name__)
    return _others(name)
