"""``torch.distributed.algorithms``: what stands on collectives."""

from __future__ import annotations

from ...unsupported import attribute_of

__getattr__ = attribute_of("distributed.algorithms", "docs/distributed.md lists what is there")
