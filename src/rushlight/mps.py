"""``torch.mps``: not supported; using it says what to do instead."""

from __future__ import annotations

from .unsupported import attribute_of, device_count, is_available, is_initialized

__all__ = ["is_available", "device_count", "is_initialized"]

__getattr__ = attribute_of("mps", "there is the CPU, and cuda")
