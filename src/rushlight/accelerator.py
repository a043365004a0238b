"""``torch.accelerator``: the device beside the CPU, whichever it is: cuda where there is a GPU, none otherwise."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import cuda
from .devices import device as device_type
from .vocabulary import Device

__all__ = ["is_available", "current_accelerator", "device_count", "current_device_index", "current_device_idx", "set_device_index",
           "set_device_idx", "synchronize", "empty_cache", "memory_allocated", "max_memory_allocated", "memory_reserved",
           "reset_peak_memory_stats", "current_stream"]


def _module() -> Any:
    if not cuda.is_available():
        raise RuntimeError("Cannot access accelerator device when none is available.")
    return cuda


def is_available() -> bool:
    """Whether there is one."""
    return cuda.is_available()


def current_accelerator(check_available: bool = False) -> device_type | None:
    """The accelerator's device, without an index; None where there is none."""
    return device_type("cuda") if is_available() else None


def device_count() -> int:
    """How many there are."""
    return cuda.device_count() if cuda.is_available() else 0


def current_device_index() -> int:
    """The index of the current one."""
    return _module().current_device()


def set_device_index(device: Device) -> None:
    """Choose the current one."""
    _module().set_device(device)


current_device_idx, set_device_idx = current_device_index, set_device_index


def current_stream(device: Device = None) -> Any:
    """The current stream."""
    return _module().current_stream(device)


def synchronize(device: Device = None) -> None:
    """Wait for all work of the current device (or of another)."""
    _module().synchronize(device)


def empty_cache() -> None:
    """Give cached memory back."""
    _module().empty_cache()


def memory_allocated(device: Device = None) -> int:
    """Bytes in use."""
    return _module().memory_allocated(device)


def max_memory_allocated(device: Device = None) -> int:
    """The most bytes that were in use."""
    return _module().max_memory_allocated(device)


def memory_reserved(device: Device = None) -> int:
    """Bytes in use or cached."""
    return _module().memory_reserved(device)


def reset_peak_memory_stats(device: Device = None) -> None:
    """Begin to count `max_memory_allocated` anew."""
    _module().reset_peak_memory_stats(device)


def get_device_module(device: object = None) -> object:
    """The namespace of a device's type: ``torch.cpu`` or ``torch.cuda``. None means the accelerator, or the CPU where there is none."""
    if device is None:
        accelerator = current_accelerator()
        kind = "cpu" if accelerator is None else accelerator.type
    else:
        kind = device_type(device).type  # type: ignore[arg-type]
    if kind not in ("cpu", "cuda"):
        raise RuntimeError(f"Device '{kind}' does not have a corresponding module registered as 'torch.{kind}'.")
    return import_module(f".{kind}", __package__)
