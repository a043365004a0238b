"""``torch.distributed._tensor``: the old name of ``torch.distributed.tensor``."""

from __future__ import annotations

from ...unsupported import attribute_of
from ..tensor import (
    DeviceMesh,
    DTensor,
    Partial,
    Placement,
    Replicate,
    Shard,
    distribute_module,
    distribute_tensor,
    init_device_mesh,
)

__all__ = [
    "DTensor",
    "DeviceMesh",
    "Partial",
    "Placement",
    "Replicate",
    "Shard",
    "distribute_module",
    "distribute_tensor",
    "init_device_mesh",
]

__getattr__ = attribute_of("distributed._tensor", "docs/distributed.md lists what is there")
