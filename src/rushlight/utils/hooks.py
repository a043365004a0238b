"""``torch.utils.hooks``: the class of the handles that hooks are removed by."""

from __future__ import annotations

from ..hooks import RemovableHandle

__all__ = ["RemovableHandle"]
