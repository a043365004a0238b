"""Communication hooks of DistributedDataParallel."""

from __future__ import annotations

from ....unsupported import attribute_of
from . import default_hooks

__all__ = ["default_hooks"]

__getattr__ = attribute_of("distributed.algorithms.ddp_comm_hooks", "docs/distributed.md lists what is there")
