"""``torch.distributed.fsdp``: parameters, gradients and the optimizer's state shared out among the processes."""

from __future__ import annotations

from ...unsupported import attribute_of
from .full import fully_shard as fully_shard
from .full import FSDPModule, UnshardHandle, register_fsdp_forward_method
from .group import MixedPrecisionPolicy
from .wrapper import (
    FullStateDictConfig,
    FullyShardedDataParallel,
    MixedPrecision,
    ShardedStateDictConfig,
    ShardingStrategy,
    StateDictType,
)

__all__ = [
    "FSDPModule",
    "FullStateDictConfig",
    "FullyShardedDataParallel",
    "MixedPrecision",
    "MixedPrecisionPolicy",
    "ShardedStateDictConfig",
    "ShardingStrategy",
    "StateDictType",
    "UnshardHandle",
    "fully_shard",
    "register_fsdp_forward_method",
]

__getattr__ = attribute_of("distributed.fsdp", "docs/distributed.md lists what is there")
