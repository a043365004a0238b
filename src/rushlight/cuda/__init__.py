"""``torch.cuda``: what programs ask before they choose a device. The CUDA device itself comes with CuPy (``rushlight[cuda]``)."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..devices import device as device_type
from ..kind import register_device

__all__ = ["is_available", "device_count", "current_device", "set_device", "synchronize", "empty_cache", "manual_seed", "manual_seed_all",
           "is_initialized", "init", "get_device_name", "memory_allocated", "max_memory_allocated", "memory_reserved", "seed", "seed_all",
           "is_bf16_supported", "reset_peak_memory_stats", "device"]

_INSTALL = "Torch not compiled with CUDA enabled: rushlight needs CuPy and an NVIDIA GPU for 'cuda' (pip install 'rushlight[cuda]')"


@cache
def _cupy() -> Any:
    """CuPy where it is installed and finds a GPU, else None."""
    try:
        import cupy
        return cupy if cupy.cuda.runtime.getDeviceCount() > 0 else None
    except Exception:  # noqa: BLE001  an unusable driver shows in many ways
        return None


def _find(wanted: device_type) -> tuple[Any, device_type]:
    """The array module of a cuda device, and the device with its index; for `kind.register_device`."""
    cupy = _cupy()
    if cupy is None:
        raise AssertionError(_INSTALL)
    index = cupy.cuda.runtime.getDevice() if wanted.index is None else wanted.index
    if index >= cupy.cuda.runtime.getDeviceCount():
        raise RuntimeError(f"CUDA error: invalid device ordinal: {wanted} of {cupy.cuda.runtime.getDeviceCount()} devices")
    return cupy, device_type("cuda", index)


def is_available() -> bool:
    """Whether tensors can live on a GPU."""
    return _cupy() is not None


def device_count() -> int:
    """The number of usable GPUs."""
    cupy = _cupy()
    return 0 if cupy is None else cupy.cuda.runtime.getDeviceCount()


def _needed() -> Any:
    cupy = _cupy()
    if cupy is None:
        raise AssertionError(_INSTALL)
    return cupy


def current_device() -> int:
    """The index of the current GPU."""
    return _needed().cuda.runtime.getDevice()


def _index(device: Any) -> int:
    if device is None:
        return current_device()
    if isinstance(device, int):
        return device
    index = device_type(device).index
    return current_device() if index is None else index


def set_device(device: Any) -> None:
    """Make a GPU the current one."""
    _needed().cuda.Device(_index(device)).use()


class device:
    """``with torch.cuda.device(1):`` makes a GPU the current one inside."""

    def __init__(self, device: Any) -> None:
        self.idx = _index(device)

    def __enter__(self) -> None:
        self._previous = current_device()
        set_device(self.idx)

    def __exit__(self, *exception: object) -> None:
        set_device(self._previous)


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done all that it was given."""
    cupy = _needed()
    with cupy.cuda.Device(_index(device)):
        cupy.cuda.runtime.deviceSynchronize()


def get_device_name(device: Any = None) -> str:
    """The name of a GPU."""
    return _needed().cuda.runtime.getDeviceProperties(_index(device))["name"].decode()


def empty_cache() -> None:
    """Give unused cached GPU memory back; nothing to do without a GPU."""
    cupy = _cupy()
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()


def memory_allocated(device: Any = None) -> int:
    """Bytes of GPU memory in use by tensors (0 without a GPU)."""
    cupy = _cupy()
    return 0 if cupy is None else cupy.get_default_memory_pool().used_bytes()


def memory_reserved(device: Any = None) -> int:
    """Bytes of GPU memory held, in use or cached (0 without a GPU)."""
    cupy = _cupy()
    return 0 if cupy is None else cupy.get_default_memory_pool().total_bytes()


def max_memory_allocated(device: Any = None) -> int:
    """Peaks are not tracked yet."""
    if _cupy() is None:
        return 0
    raise NotImplementedError("torch.cuda.max_memory_allocated: peaks are not tracked; use memory_reserved()")


def reset_peak_memory_stats(device: Any = None) -> None:
    """Peaks are not tracked yet."""
    if _cupy() is not None:
        raise NotImplementedError("torch.cuda.reset_peak_memory_stats: peaks are not tracked; use memory_reserved()")


def is_initialized() -> bool:
    """Whether a GPU is in use."""
    return _cupy() is not None


def init() -> None:
    """Raise the error that says what is missing where there is no GPU."""
    _needed()


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU computes in bfloat16."""
    return _cupy() is not None


def _generators(every: bool) -> list[Any]:
    """The default generators of the current GPU, or of all; none without a GPU."""
    from ..generator import generator_for
    if _cupy() is None:
        return []
    return [generator_for(device_type("cuda", i)) for i in (range(device_count()) if every else (current_device(),))]


def manual_seed(seed: int) -> None:
    """Seed the current GPU's generator; without a GPU there is nothing to seed."""
    for generator in _generators(False):
        generator.manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs."""
    for generator in _generators(True):
        generator.manual_seed(int(seed))


def seed() -> None:
    """Seed the current GPU's generator with a random number."""
    for generator in _generators(False):
        generator.seed()


def seed_all() -> None:
    """Seed the generators of all GPUs with one random number."""
    import os
    manual_seed_all(int.from_bytes(os.urandom(8), "little"))

register_device("cuda", _find)
