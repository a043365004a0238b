"""``torch.distributed.fsdp.fully_sharded_data_parallel``: where PyTorch defines the wrapper, and some import it from."""

from __future__ import annotations

from ...unsupported import attribute_of
from .wrapper import (
    FullStateDictConfig,
    FullyShardedDataParallel,
    MixedPrecision,
    ShardedStateDictConfig,
    ShardingStrategy,
    StateDictType,
)

__all__ = [
    "FullStateDictConfig",
    "FullyShardedDataParallel",
    "MixedPrecision",
    "ShardedStateDictConfig",
    "ShardingStrategy",
    "StateDictType",
]

__getattr__ = attribute_of("distributed.fsdp", "docs/distributed.md lists what is there")
