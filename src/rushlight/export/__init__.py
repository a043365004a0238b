"""``torch.export``: not supported; using it says what to do instead."""

from __future__ import annotations

from ..unsupported import attribute_of

__all__: list[str] = []


__getattr__ = attribute_of("export", "save the state_dict and load it in PyTorch to export a model there")
