"""``torch.distributed.optim``: optimizers whose state is shared out among the processes."""

from __future__ import annotations

from ...unsupported import attribute_of
from .zero_redundancy_optimizer import ZeroRedundancyOptimizer

__all__ = ["ZeroRedundancyOptimizer"]

__getattr__ = attribute_of("distributed.optim", "ZeroRedundancyOptimizer is what there is")
