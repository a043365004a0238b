"""Which GPU an argument means: how many there are, the current one, and indices."""

from __future__ import annotations

from ..devices import device as device_type
from ..kernels.cuda import driver
from ..kernels.cuda.driver import needed
from ..vocabulary import Device

__all__ = ["checked", "current_device", "device_count", "index_of"]


def device_count() -> int:
    """The number of usable GPUs."""
    found = driver.cupy()
    return 0 if found is None else found.cuda.runtime.getDeviceCount()


def index_of(device: Device = None, optional: bool = True) -> int:
    """The index of a GPU that an argument means (None, an int, "cuda:1", torch.device); ValueError and RuntimeError as PyTorch has them."""
    if device is None:
        if not optional:
            raise ValueError("Expected a torch.device with a specified index or an integer, but got:None")
        return current_device()
    if isinstance(device, int) and not isinstance(device, bool):
        return device if device >= 0 else current_device()
    found = device_type(device)
    if found.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {found}")
    if found.index is None:
        if not optional:
            raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
        return current_device()
    return found.index


def checked(device: Device = None) -> int:
    """`index_of`, refused where there is no such GPU."""
    needed()
    index = index_of(device)
    if index >= device_count():
        raise AssertionError(f"Invalid device id: {index} of {device_count()}")
    return index


def current_device() -> int:
    """The index of the current GPU."""
    return needed().cuda.runtime.getDevice()
