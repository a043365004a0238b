"""``torch.cuda.amp``: the old names of mixed precision on CUDA; new programs say ``torch.amp.autocast("cuda")``."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ... import amp as _amp
from . import common
from ...vocabulary import Dtype

__all__ = ["autocast", "GradScaler", "custom_fwd", "custom_bwd"]


def _old(name: str, new: str) -> None:
    warnings.warn(f"`torch.cuda.amp.{name}(args...)` is deprecated. Please use `torch.amp.{new}` instead.", FutureWarning, stacklevel=3)


class autocast(_amp.autocast):
    """``torch.amp.autocast("cuda", ...)``."""

    def __init__(self, enabled: bool = True, dtype: Dtype = None, cache_enabled: bool = True) -> None:
        _old("autocast", "autocast('cuda', args...)")
        super().__init__("cuda", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(_amp.GradScaler):
    """``torch.amp.GradScaler("cuda", ...)``."""

    def __init__(self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5, growth_interval: int = 2000,
                 enabled: bool = True) -> None:
        _old("GradScaler", "GradScaler('cuda', args...)")
        super().__init__("cuda", init_scale=init_scale, growth_factor=growth_factor, backoff_factor=backoff_factor,
                         growth_interval=growth_interval, enabled=enabled)


custom_fwd: Callable[..., Any] = functools.partial(_amp.custom_fwd, device_type="cuda")
custom_bwd: Callable[..., Any] = functools.partial(_amp.custom_bwd, device_type="cuda")
