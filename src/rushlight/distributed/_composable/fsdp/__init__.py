"""``torch.distributed._composable.fsdp``: the old place of `fully_shard`."""

from __future__ import annotations

from ....unsupported import attribute_of
from ...fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

__all__ = ["FSDPModule", "MixedPrecisionPolicy", "fully_shard"]

__getattr__ = attribute_of("distributed._composable.fsdp", "torch.distributed.fsdp has what there is")
