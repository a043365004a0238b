"""``torch.cpu``: the CPU through the interface that accelerators have. There is one device, and its work is never asynchronous."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .memory import (
    empty_cache,
    max_memory_allocated,
    memory_allocated,
    memory_reserved,
    memory_stats,
    reset_peak_memory_stats,
    set_cache_limit,
)
from ..vocabulary import Device

__all__ = ["is_available", "is_initialized", "synchronize", "current_device", "current_stream", "stream", "set_device", "device_count",
           "Stream", "StreamContext", "Event", "amp"]

_initialized = True


class Stream:
    """A queue of work. The CPU's work is done when a call returns, so there is nothing to wait for."""

    def __init__(self, priority: int = -1) -> None:
        self.priority = priority

    def wait_stream(self, stream: Any) -> None:
        """Nothing is ever pending on a CPU stream."""

    def record_event(self) -> Event:
        """An event that has happened already."""
        return Event()

    def wait_event(self, event: Any) -> None:
        """A CPU event has happened already."""


class Event:
    """A mark in a stream; on the CPU it has happened when it is made."""

    def query(self) -> bool:
        """Whether it has happened: always."""
        return True

    def record(self, stream: Any = None) -> None:
        """Mark the current place."""

    def synchronize(self) -> None:
        """Wait for it: it has happened."""

    def wait(self, stream: Any = None) -> None:
        """Let a stream wait for it: it has happened."""


_default_stream = Stream()
_current = _default_stream


class StreamContext(AbstractContextManager[None]):
    """Makes a stream the current one inside."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        global _current
        self.previous = _current
        if self.stream is not None:
            _current = self.stream

    def __exit__(self, *exception: object) -> None:
        global _current
        _current = self.previous


def stream(stream: Stream | None) -> AbstractContextManager[None]:
    """A context in which the stream is the current one."""
    return StreamContext(stream)


def current_stream(device: Device = None) -> Stream:
    """The current stream."""
    return _current


def is_available() -> bool:
    """Always True."""
    return True


def is_initialized() -> bool:
    """Always True."""
    return True


def synchronize(device: Device = None) -> None:
    """Wait for pending work: there is none."""


def current_device() -> str:
    """The current device: "cpu"."""
    return "cpu"


def set_device(device: Device) -> None:
    """There is one CPU device: any choice is that one."""


def device_count() -> int:
    """The number of CPU devices: 1."""
    return 1


def get_capabilities() -> dict[str, Any]:
    """The machine's architecture, as far as Python knows it."""
    import platform
    return {"architecture": platform.machine()}


def __getattr__(name: str) -> Any:
    if name == "amp":
        from importlib import import_module
        return import_module(".amp", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")




def _has_instructions(*names: str) -> bool:
    from numpy._core._multiarray_umath import __cpu_features__      # type: ignore[attr-defined]
    return all(__cpu_features__.get(name, False) for name in names)


def _is_avx2_supported() -> bool:
    """Whether the CPU has AVX2."""
    return _has_instructions("AVX2")


def _is_avx512_supported() -> bool:
    """Whether the CPU has the parts of AVX-512 that PyTorch asks for."""
    return _has_instructions("AVX512F", "AVX512VL", "AVX512BW", "AVX512DQ")


def _is_avx512_bf16_supported() -> bool:
    """Whether the CPU multiplies bfloat16: not known here, and nothing uses it."""
    return False


def _is_vnni_supported() -> bool:
    """Whether the CPU has AVX-512's dot products of bytes."""
    return _has_instructions("AVX512VNNI")


def _is_amx_tile_supported() -> bool:
    """Whether the CPU has matrix tiles: not known here, and nothing uses them."""
    return False
