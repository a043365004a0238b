"""Pinned memory, for faster copies to a GPU. Without a GPU nothing is pinned, with a warning, as PyTorch does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import rushlight as torch

from ....vocabulary import Device
from .collate import map_containers

__all__ = ["pin_memory", "pinner"]


def pinner(wanted: bool, device: str = "") -> Callable[[Any], Any] | None:
    """The function that pins a batch: None where that is not wanted or, with a warning, not possible."""
    if not wanted:
        return None
    if not torch.cuda.is_available():
        warnings.warn("pin_memory=True has no effect: no accelerator is found, so there is no device that pinned memory would be for.",
                      stacklevel=4)
        return None
    return lambda data: pin_memory(data, device or None)


def pin_memory(data: Any, device: Device = None) -> Any:
    """Tensors in nested containers are pinned, and so is what has a ``pin_memory`` method of its own; everything else stays."""
    def pin(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.pin_memory(device) if device else value.pin_memory()
        return value.pin_memory() if hasattr(value, "pin_memory") else value

    return pin(data) if hasattr(data, "pin_memory") else map_containers(pin, data)
