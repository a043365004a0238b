"""DataParallel: in rushlight a wrapper that runs the module on its one device."""

from __future__ import annotations

from typing import Any

from .._torch import torch
from ..modules.module import Module

__all__ = ["DataParallel", "data_parallel"]


class DataParallel(Module):
    """Wraps a module as ``.module`` (its state_dict keys begin with 'module.'). With no GPU, or one, it just calls the module."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        if device_ids is None:
            device_ids = list(range(torch.cuda.device_count())) if hasattr(torch, "cuda") and torch.cuda.is_available() else []
        if len(device_ids) > 1:
            raise NotImplementedError(f"DataParallel over {len(device_ids)} devices is missing: pass device_ids=[0], or use one process "
                                      "per device")
        self.module = module
        self.device_ids = list(device_ids)
        self.output_device = output_device if output_device is not None else (device_ids[0] if device_ids else None)
        self.dim = dim
        if self.device_ids:
            self.module.to(torch.device("cuda", self.device_ids[0]))

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        if self.device_ids:
            device = torch.device("cuda", self.device_ids[0])
            inputs = tuple(x.to(device) if isinstance(x, torch.Tensor) else x for x in inputs)
        return self.module(*inputs, **kwargs)


def data_parallel(module: Module, inputs: Any, device_ids: Any = None, output_device: Any = None, dim: int = 0,
                  module_kwargs: Any = None) -> Any:
    """Call a module on its one device (NotImplementedError for several)."""
    inputs = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*inputs, **(module_kwargs or {}))
