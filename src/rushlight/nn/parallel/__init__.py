"""``torch.nn.parallel``: modules over several devices."""

from __future__ import annotations

from .data_parallel import DataParallel

__all__ = ["DataParallel"]
