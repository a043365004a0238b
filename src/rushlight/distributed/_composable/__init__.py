"""``torch.distributed._composable``: where `fully_shard` was first."""

from __future__ import annotations

from ...unsupported import attribute_of

__getattr__ = attribute_of("distributed._composable", "torch.distributed.fsdp.fully_shard is what there is")
