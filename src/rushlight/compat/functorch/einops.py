"""``functorch.einops``: dimensions rearranged as a text says."""

from __future__ import annotations

from ...func.rearrange import rearrange

__all__ = ["rearrange"]
