"""``torch.cuda``: GPUs through CuPy (``pip install 'rushlight[cuda]'``). Without one, programs learn it from `is_available`.

Devices are here; memory, streams, CUDA graphs and random numbers in the modules beside.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..devices import device as device_type
from ..kernels.cuda import driver
from .indices import checked, current_device, device_count, index_of
from ..kernels.cuda.driver import AcceleratorError, needed
from .graphs import CUDAGraph, graph, graph_pool_handle, is_current_stream_capturing
from .memory import (OutOfMemoryError, caching_allocator_alloc, caching_allocator_delete, empty_cache, get_per_process_memory_fraction,
                     max_memory_allocated, max_memory_cached, max_memory_reserved, mem_get_info, memory_allocated, memory_cached,
                     memory_reserved, memory_snapshot, memory_stats, memory_stats_as_nested_dict, memory_summary, memory_usage,
                     reset_accumulated_memory_stats, reset_max_memory_allocated, reset_max_memory_cached, reset_peak_memory_stats,
                     set_per_process_memory_fraction)
from .random import (default_generators, get_rng_state, get_rng_state_all, initial_seed, manual_seed, manual_seed_all, seed, seed_all,
                     set_rng_state, set_rng_state_all)
from .streams import Event, ExternalStream, Stream, StreamContext, current_stream, default_stream, set_stream, stream
from ..vocabulary import Device, Function

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["is_available", "device_count", "current_device", "set_device", "device", "device_of", "synchronize", "is_initialized", "init",
           "get_device_name", "get_device_properties", "get_device_capability", "get_arch_list", "get_gencode_flags",
           "can_device_access_peer", "is_bf16_supported", "is_tf32_supported", "ipc_collect", "utilization", "temperature", "power_draw",
           "clock_rate", "current_blas_handle", "cudart", "get_sync_debug_mode", "set_sync_debug_mode", "has_half", "has_magma", "amp",
           "AcceleratorError", "CudaError", "OutOfMemoryError",
           "CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing", "make_graphed_callables",
           "caching_allocator_alloc", "caching_allocator_delete", "empty_cache", "get_per_process_memory_fraction", "max_memory_allocated",
           "max_memory_cached", "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_cached", "memory_reserved",
           "memory_snapshot", "memory_stats", "memory_stats_as_nested_dict", "memory_summary", "memory_usage",
           "reset_accumulated_memory_stats", "reset_max_memory_allocated", "reset_max_memory_cached", "reset_peak_memory_stats",
           "set_per_process_memory_fraction", "default_generators", "get_rng_state", "get_rng_state_all", "initial_seed", "manual_seed",
           "manual_seed_all", "seed", "seed_all", "set_rng_state", "set_rng_state_all",
           "Event", "ExternalStream", "Stream", "StreamContext", "current_stream", "default_stream", "set_stream", "stream"]

has_half = True
has_magma = False
CudaError = RuntimeError


def is_available() -> bool:
    """Whether tensors can live on a GPU."""
    return driver.cupy() is not None


def is_initialized() -> bool:
    """Whether a GPU is in use."""
    return driver.cupy() is not None


def init() -> None:
    """Raise the error that says what is missing where there is no GPU."""
    needed()


def set_device(device: Device) -> None:
    """Make a GPU the current one."""
    module = needed()
    index = index_of(device)
    if isinstance(device, int) and device < 0:
        return
    if index >= device_count():
        raise AcceleratorError(f"CUDA error: invalid device ordinal: {device} of {device_count()} devices")
    module.cuda.runtime.setDevice(index)


class device:
    """``with torch.cuda.device(1):`` makes a GPU the current one inside. None and negative indices change nothing."""

    def __init__(self, device: Device) -> None:
        self.idx = -1 if device is None else index_of(device) if not isinstance(device, int) else device
        self.prev_idx = -1

    def __enter__(self) -> None:
        if self.idx >= 0:
            self.prev_idx = current_device()
            set_device(self.idx)

    def __exit__(self, *exception: object) -> None:
        if self.idx >= 0:
            set_device(self.prev_idx)


class device_of(device):
    """``with torch.cuda.device_of(tensor):`` makes the GPU of a tensor the current one; CPU tensors change nothing."""

    def __init__(self, obj: Tensor) -> None:
        super().__init__(obj.get_device() if getattr(obj, "is_cuda", False) else -1)


def synchronize(device: Device = None) -> None:
    """Wait until a GPU has done all that it was given."""
    module = needed()
    with module.cuda.Device(checked(device)):
        try:
            module.cuda.runtime.deviceSynchronize()
        except module.cuda.runtime.CUDARuntimeError as error:
            raise AcceleratorError(f"CUDA error: {error}") from None


def _properties(device: Device) -> dict[str, Any]:
    return needed().cuda.runtime.getDeviceProperties(checked(device))


class _CudaDeviceProperties(SimpleNamespace):
    """What `get_device_properties` returns: name, major, minor, total_memory, multi_processor_count and more."""

    def __repr__(self) -> str:
        return (f"_CudaDeviceProperties(name='{self.name}', major={self.major}, minor={self.minor}, "
                f"total_memory={self.total_memory // 2**20}MB, multi_processor_count={self.multi_processor_count})")


def get_device_properties(device: Device = None) -> _CudaDeviceProperties:
    """Name, compute capability, memory and multiprocessors of a GPU."""
    p = _properties(device)
    name = p["name"]
    return _CudaDeviceProperties(
        name=name.decode() if isinstance(name, bytes) else name, major=p["major"], minor=p["minor"], total_memory=p["totalGlobalMem"],
        multi_processor_count=p["multiProcessorCount"], is_integrated=p["integrated"], is_multi_gpu_board=p["isMultiGpuBoard"],
        max_threads_per_multi_processor=p["maxThreadsPerMultiProcessor"], warp_size=p["warpSize"],
        regs_per_multiprocessor=p["regsPerMultiprocessor"], shared_memory_per_block=p["sharedMemPerBlock"], L2_cache_size=p["l2CacheSize"])


def get_device_name(device: Device = None) -> str:
    """The name of a GPU."""
    return get_device_properties(device).name


def get_device_capability(device: Device = None) -> tuple[int, int]:
    """The compute capability of a GPU, e.g. (9, 0)."""
    p = _properties(device)
    return p["major"], p["minor"]


def can_device_access_peer(device: Device, peer_device: Any) -> bool:
    """Whether one GPU can read the memory of another directly."""
    first, second = checked(device), checked(peer_device)
    return bool(needed().cuda.runtime.deviceCanAccessPeer(first, second)) and first != second


def get_arch_list() -> list[str]:
    """The architectures that kernels are compiled for: kernels are compiled when first used, for the GPU that is there."""
    return [f"sm_{major}{minor}" for major, minor in sorted({get_device_capability(i) for i in range(device_count())})]


def get_gencode_flags() -> str:
    """NVCC's flags for `get_arch_list`."""
    return " ".join(f"-gencode compute={arch.replace('sm', 'compute')},code={arch}" for arch in get_arch_list())


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU computes in bfloat16: natively from compute capability 8.0 on, through float32 before."""
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


def is_tf32_supported() -> bool:
    """Whether the GPU has TF32 tensor cores."""
    return is_available() and get_device_capability()[0] >= 8


def ipc_collect() -> None:
    """Nothing to collect: tensors on the GPU are not shared between processes."""
    if is_available():
        init()


def _monitor(name: str) -> Function:
    def missing(device: Device = None) -> int:
        raise NotImplementedError(f"torch.cuda.{name} needs NVIDIA's management library, which rushlight does not use: see nvidia-smi")
    missing.__name__ = missing.__qualname__ = name
    missing.__doc__ = "Needs NVIDIA's management library (NotImplementedError): see nvidia-smi."
    return missing


utilization, temperature, power_draw, clock_rate = (_monitor(name) for name in ("utilization", "temperature", "power_draw", "clock_rate"))


def current_blas_handle() -> int:
    """cuBLAS's handle for the current GPU."""
    return needed().cuda.Device().cublas_handle


def cudart() -> Any:
    """CUDA's runtime functions, as CuPy names them."""
    return needed().cuda.runtime


_sync_debug = [0]


def get_sync_debug_mode() -> int:
    """0: copies to the host are not reported."""
    return _sync_debug[0]


def set_sync_debug_mode(debug_mode: int | str) -> None:
    """Only "default" (0) is supported (NotImplementedError for the others)."""
    if debug_mode not in (0, "default"):
        if debug_mode not in (1, 2, "warn", "error"):
            raise RuntimeError(f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got {debug_mode}")
        raise NotImplementedError("torch.cuda.set_sync_debug_mode: synchronising calls are not reported; profile with Nsight Systems "
                                  "instead")


def __getattr__(name: str) -> Any:
    if name in ("amp", "jiterator", "make_graphed_callables"):
        from importlib import import_module
        return import_module(".graphed",
                             __name__).make_graphed_callables if name == "make_graphed_callables" else import_module("." + name, __name__)
    if name == "nvtx":
        from ..unsupported import NotSupported
        raise NotSupported("torch.cuda.nvtx: use cupy.cuda.nvtx")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
