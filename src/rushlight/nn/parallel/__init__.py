"""``torch.nn.parallel``: modules over several devices."""

from __future__ import annotations

from typing import Any

from .data_parallel import DataParallel, data_parallel

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate", "scatter"]

_HOMES = {"DistributedDataParallel": "distributed", "gather": "scatter_gather", "scatter": "scatter_gather",
          "parallel_apply": "parallel_apply", "replicate": "replicate"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module
        return getattr(import_module("." + _HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
