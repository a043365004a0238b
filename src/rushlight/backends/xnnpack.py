"""``torch.backends.xnnpack``: XNNPACK."""

from __future__ import annotations

__all__ = ["enabled"]

enabled = False         # whether it is used: no
