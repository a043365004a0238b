"""``torch.distributed.elastic.multiprocessing``."""

from __future__ import annotations

from ....unsupported import attribute_of

__getattr__ = attribute_of("distributed.elastic.multiprocessing", "docs/distributed.md lists what is there")
