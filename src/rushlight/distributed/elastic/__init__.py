"""``torch.distributed.elastic``: torchrun's parts, as far as programs use them."""

from __future__ import annotations

from ...unsupported import attribute_of

__getattr__ = attribute_of("distributed.elastic", "docs/distributed.md lists what is there")
