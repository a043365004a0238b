"""What the device type "cuda" means: the array module of a GPU, set up before the first array is made there."""

from __future__ import annotations

from typing import Any

from ..devices import device, register_device
from ..kernels.cuda import driver
from . import host_ops, memory, random
from .namespace import Namespace

__all__ = ["find"]


def find(wanted: device) -> tuple[Namespace, device]:
    """The array module of a cuda device, and the device with its index; for `devices.register_device`."""
    module = driver.needed()
    runtime = module.cuda.runtime
    index = runtime.getDevice() if wanted.index is None else wanted.index
    count = runtime.getDeviceCount()
    if index >= count:
        there = "there is one GPU, cuda:0" if count == 1 else f"there are {count} GPUs, cuda:0 to cuda:{count - 1}"
        raise driver.AcceleratorError(f"CUDA error: invalid device ordinal: {wanted} ({there})")
    _ready(module)
    return Namespace(index), device("cuda", index)


def _ready(module: Any) -> None:
    """What has to be set up once, before the first array is made on a GPU."""
    if not getattr(module, "rushlight_ready", False):
        module.rushlight_ready = True
        driver.several = module.cuda.runtime.getDeviceCount() > 1
        memory.watch(module)
        host_ops.install()


Namespace.random = random
register_device("cuda", find)
