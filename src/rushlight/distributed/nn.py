"""``torch.distributed.nn``: not supported; using it says what to do instead."""

from __future__ import annotations

from ..unsupported import attribute_of

__all__: list[str] = []

__getattr__ = attribute_of("distributed.nn", "rushlight trains in one process")
