"""GPU memory: CuPy's caching pool, watched by a hook that counts as PyTorch's allocator does."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from ..homes import settle
from ..kernels.cuda import driver
from ..vocabulary import Device
from .indices import checked, index_of

__all__ = ["OutOfMemoryError", "empty_cache", "memory_allocated", "memory_reserved", "memory_cached", "max_memory_allocated",
           "max_memory_reserved", "max_memory_cached", "reset_peak_memory_stats", "reset_accumulated_memory_stats",
           "reset_max_memory_allocated", "reset_max_memory_cached", "memory_stats", "memory_stats_as_nested_dict", "memory_summary",
           "memory_snapshot", "memory_usage", "mem_get_info", "set_per_process_memory_fraction", "get_per_process_memory_fraction",
           "caching_allocator_alloc", "caching_allocator_delete", "out_of_memory", "watch"]


class OutOfMemoryError(RuntimeError):
    """The GPU's memory is used up. Nothing was changed; free tensors or call `torch.cuda.empty_cache`."""


class Counter:
    """current, peak, allocated (all that ever came) and freed of one quantity."""

    __slots__ = ("current", "peak", "allocated", "freed")

    def __init__(self) -> None:
        self.current = self.peak = self.allocated = self.freed = 0

    def add(self, amount: int) -> None:
        self.current += amount
        self.allocated += amount
        if self.current > self.peak:
            self.peak = self.current

    def remove(self, amount: int) -> None:
        self.current -= amount
        self.freed += amount


class _Device:
    """The counters of one GPU."""

    def __init__(self) -> None:
        self.allocation, self.allocated_bytes, self.requested_bytes, self.segment, self.reserved_bytes = (Counter() for _ in range(5))
        self.requests: dict[int, int] = {}
        self.ooms = 0
        self.fraction = 1.0


_devices: dict[int, _Device] = {}


def _of(device: Device) -> _Device:
    return _devices.setdefault(index_of(device), _Device())


def watch(module: Any) -> None:
    """Register the hook that counts allocations, once per process."""
    _devices.clear()

    class Hook(module.cuda.MemoryHook):  # type: ignore[misc]
        """Counts what the pool hands out and takes back."""

        name = "rushlight"

        def malloc_postprocess(self, **what: Any) -> None:
            counters = _devices.get(what["device_id"]) or _devices.setdefault(what["device_id"], _Device())
            counters.allocation.add(1)
            counters.allocated_bytes.add(what["mem_size"])
            counters.requested_bytes.add(what["size"])

        def free_postprocess(self, **what: Any) -> None:
            counters = _devices.get(what["device_id"]) or _devices.setdefault(what["device_id"], _Device())
            counters.allocation.remove(1)
            counters.allocated_bytes.remove(what["mem_size"])

        def alloc_postprocess(self, **what: Any) -> None:
            counters = _devices.get(what["device_id"]) or _devices.setdefault(what["device_id"], _Device())
            counters.segment.add(1)
            counters.reserved_bytes.add(what["mem_size"])

    Hook().__enter__()


def _pool(device: Device) -> contextlib.AbstractContextManager[Any]:
    """The memory pool with a GPU made current."""
    @contextlib.contextmanager
    def inside() -> Iterator[Any]:
        module = driver.needed()
        with module.cuda.Device(checked(device)):
            yield module.get_default_memory_pool()
    return inside()


@contextlib.contextmanager
def out_of_memory() -> Iterator[None]:
    """Turn CuPy's out-of-memory error into PyTorch's."""
    module = driver.needed()
    try:
        yield
    except module.cuda.memory.OutOfMemoryError as error:
        raise explain(error) from None


def explain(error: Any) -> OutOfMemoryError:
    """PyTorch's error for CuPy's: says what was asked for, what is free and what is held."""
    module = driver.needed()
    index = module.cuda.runtime.getDevice()
    counters = _devices.setdefault(index, _Device())
    counters.ooms += 1
    free, total = module.cuda.Device(index).mem_info
    return OutOfMemoryError(f"CUDA out of memory. GPU {index} has a total capacity of {_size(total)} of which {_size(free)} is free; "
                            f"{_size(counters.allocated_bytes.current)} is allocated by tensors. {error}")


def empty_cache() -> None:
    """Give unused cached GPU memory back; nothing to do without a GPU."""
    module = driver.cupy()
    if module is not None:
        module.get_default_memory_pool().free_all_blocks()
        counters = _devices.get(module.cuda.runtime.getDevice())
        if counters is not None:
            counters.reserved_bytes.remove(counters.reserved_bytes.current - module.get_default_memory_pool().total_bytes())


def memory_allocated(device: Device = None) -> int:
    """Bytes of GPU memory in use by tensors (0 without a GPU)."""
    if driver.cupy() is None:
        return 0
    with _pool(device) as pool:
        return pool.used_bytes()


def memory_reserved(device: Device = None) -> int:
    """Bytes of GPU memory held, in use or cached (0 without a GPU)."""
    if driver.cupy() is None:
        return 0
    with _pool(device) as pool:
        return pool.total_bytes()


def max_memory_allocated(device: Device = None) -> int:
    """The most bytes that tensors used at once since the start or the last `reset_peak_memory_stats` (0 without a GPU)."""
    return 0 if driver.cupy() is None else _of(device).allocated_bytes.peak


def max_memory_reserved(device: Device = None) -> int:
    """The most bytes held since the start or the last `reset_peak_memory_stats` (0 without a GPU)."""
    return 0 if driver.cupy() is None else _of(device).reserved_bytes.peak


memory_cached, max_memory_cached = memory_reserved, max_memory_reserved


def _counters(device: Device) -> dict[str, Counter]:
    found = _of(device)
    return {"allocation": found.allocation, "allocated_bytes": found.allocated_bytes, "requested_bytes": found.requested_bytes,
            "segment": found.segment, "reserved_bytes": found.reserved_bytes}


def reset_peak_memory_stats(device: Device = None) -> None:
    """Let the peaks start again from what is in use now."""
    if driver.cupy() is not None:
        for counter in _counters(device).values():
            counter.peak = counter.current


reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats


def reset_accumulated_memory_stats(device: Device = None) -> None:
    """Let the sums of all allocations and frees start again from zero."""
    if driver.cupy() is not None:
        for counter in _counters(device).values():
            counter.allocated = counter.freed = 0


def memory_stats_as_nested_dict(device: Device = None) -> dict[str, Any]:
    """The statistics as nested dicts; empty without a GPU."""
    if driver.cupy() is None:
        return {}
    found: dict[str, Any] = {name: {"all": {each: getattr(counter, each) for each in ("current", "peak", "allocated", "freed")}}
                             for name, counter in _counters(device).items()}
    return found | {"num_ooms": _of(device).ooms, "num_alloc_retries": 0}


def memory_stats(device: Device = None) -> dict[str, Any]:
    """The statistics under names such as "allocated_bytes.all.peak"; empty without a GPU. Pools are not told apart: there is only "all"."""
    flat: list[tuple[str, Any]] = []

    def visit(prefix: str, value: dict[Any, Any] | int) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                visit(f"{prefix}.{key}" if prefix else key, each)
        else:
            flat.append((prefix, value))
    visit("", memory_stats_as_nested_dict(device))
    return OrderedDict(sorted(flat))


def _size(n: int) -> str:
    for unit, scale in (("GiB", 2 ** 30), ("MiB", 2 ** 20), ("KiB", 2 ** 10)):
        if abs(n) >= scale:
            return f"{n / scale:.2f} {unit}"
    return f"{n} bytes"


def memory_summary(device: Device = None, abbreviated: bool = False) -> str:
    """The statistics as a table."""
    rows = [f"CUDA memory of device {index_of(device)}, out of memory {_of(device).ooms} times",
            f"{'':<20}{'now':>14}{'peak':>14}{'ever':>14}{'freed':>14}"]
    for name, counter in _counters(device).items():
        if abbreviated and name not in ("allocated_bytes", "reserved_bytes"):
            continue
        show = _size if name.endswith("bytes") else str
        rows.append(f"{name.replace('_', ' '):<20}{show(counter.current):>14}{show(counter.peak):>14}{show(counter.allocated):>14}"
                    f"{show(counter.freed):>14}")
    return "\n".join(rows) + "\n"


def memory_snapshot(mempool_id: Any = None) -> Any:
    """CuPy's pool does not show its blocks (NotImplementedError): use memory_stats."""
    raise NotImplementedError("torch.cuda.memory_snapshot: the pool does not show its blocks; use memory_stats() or memory_summary()")


def memory_usage(device: Device = None) -> int:
    """Needs NVIDIA's management library (NotImplementedError): see nvidia-smi."""
    raise NotImplementedError("torch.cuda.memory_usage needs NVIDIA's management library, which rushlight does not use: see nvidia-smi")


def mem_get_info(device: Device = None) -> tuple[int, int]:
    """(free, total) bytes of a GPU."""
    free, total = driver.needed().cuda.Device(checked(device)).mem_info
    return free, total


def set_per_process_memory_fraction(fraction: float, device: Device = None) -> None:
    """Let this process use at most this part of a GPU's memory (0 to 1)."""
    if not isinstance(fraction, float):
        raise TypeError("Invalid type for fraction argument, must be `float`")
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    with _pool(device) as pool:
        if fraction == 1.0:
            pool.set_limit(size=0)
        else:
            pool.set_limit(fraction=fraction)
    _of(device).fraction = fraction


def get_per_process_memory_fraction(device: Device = None) -> float:
    """What `set_per_process_memory_fraction` set, 1.0 at first."""
    driver.needed()
    return _of(device).fraction


_blocks: dict[int, Any] = {}


def caching_allocator_alloc(size: int, device: Device = None, stream: Any = None) -> int:
    """The address of a new block of GPU memory, for other libraries; free it with `caching_allocator_delete`."""
    with _pool(device) as pool, out_of_memory():
        block = pool.malloc(size)
    _blocks[block.ptr] = block
    return block.ptr


def caching_allocator_delete(mem_ptr: int) -> None:
    """Free a block of `caching_allocator_alloc`."""
    if _blocks.pop(mem_ptr, None) is None:
        raise RuntimeError(f"caching_allocator_delete: {mem_ptr:#x} is no block of caching_allocator_alloc")

settle("", globals(), ("OutOfMemoryError",))
