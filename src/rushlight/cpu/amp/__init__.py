"""``torch.cpu.amp``: the old names of ``torch.amp`` for the CPU."""

from __future__ import annotations

import warnings
from typing import Any

from ... import dtypes
from ...amp import GradScaler as _GradScaler
from ...amp import autocast as _autocast
from ...vocabulary import Dtype

__all__ = ["autocast", "GradScaler"]


class autocast(_autocast):
    """Deprecated: use ``torch.amp.autocast("cpu", ...)``."""

    def __init__(self, enabled: bool = True, dtype: Dtype = dtypes.bfloat16, cache_enabled: bool = True) -> None:
        warnings.warn("`torch.cpu.amp.autocast(args...)` is deprecated. Please use `torch.amp.autocast('cpu', args...)` instead.",
                      FutureWarning, stacklevel=2)
        super().__init__("cpu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(_GradScaler):
    """Deprecated: use ``torch.amp.GradScaler("cpu", ...)``."""

    def __init__(self, init_scale: float = 2.0 ** 16, growth_factor: float = 2.0, backoff_factor: float = 0.5, growth_interval: int = 2000,
                 enabled: bool = True) -> None:
        warnings.warn("`torch.cpu.amp.GradScaler(args...)` is deprecated. Please use `torch.amp.GradScaler(\"cpu\", args...)` instead.",
                      FutureWarning, stacklevel=2)
        super().__init__("cpu", init_scale=init_scale, growth_factor=growth_factor, backoff_factor=backoff_factor,
                         growth_interval=growth_interval, enabled=enabled)
