"""``torch.Stream`` and ``torch.Event``: streams and events of whichever device there is."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

from .devices import device as device_type
from .homes import settle
from .vocabulary import Device

__all__ = ["Stream", "Event"]


def _namespace(device: Device) -> Any:
    """``torch.cpu`` or ``torch.cuda``; RuntimeError where no device is named and there is no accelerator."""
    from .accelerator import get_device_module
    if device is None:
        from .accelerator import _module
        return _module()
    return get_device_module(device_type(device))


class _OfDevice(ABCMeta):
    """Calling the class makes a stream or event of the device's own class, which counts as an instance of this one."""

    def __call__(cls, device: Device = None, **options: Any) -> Any:
        namespace = _namespace(device)
        own = getattr(namespace, cls.__name__)
        cls.register(own)
        if namespace.__name__.endswith(".cpu"):
            return own()
        return own(device, **options) if cls.__name__ == "Stream" else own(**options)


class Stream(metaclass=_OfDevice):
    """``Stream(device, priority=0)``: a queue of work on a device, the accelerator's by default."""


class Event(metaclass=_OfDevice):
    """``Event(device, enable_timing=False)``: a mark in a stream of a device, the accelerator's by default."""

settle("", globals())
