"""``torch.distributed.nn``: collectives that gradients go through."""

from __future__ import annotations

from ...unsupported import attribute_of
from .functional import (all_gather, all_reduce, all_to_all, all_to_all_single, broadcast, gather, reduce, reduce_scatter,
                         scatter)

__all__ = ["all_gather", "all_reduce", "all_to_all", "all_to_all_single", "broadcast", "gather", "reduce", "reduce_scatter", "scatter"]

__getattr__ = attribute_of("distributed.nn", "docs/distributed.md lists what is there")
