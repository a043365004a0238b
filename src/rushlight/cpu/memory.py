"""Statistics of the caching allocator for CPU memory (native/allocator.cpp): arrays of 64 KiB and more; all in bytes."""

from __future__ import annotations

from ..kernels import native

__all__ = ["memory_stats", "memory_allocated", "max_memory_allocated", "memory_reserved", "reset_peak_memory_stats", "empty_cache",
           "set_cache_limit"]


def memory_stats() -> dict[str, int]:
    """used_bytes, peak_bytes, cached_bytes (freed, kept for the next array), limit_bytes, hits and misses; all 0 without the native
    library."""
    if native.library is None:
        return dict.fromkeys(("cached_bytes", "used_bytes", "peak_bytes", "limit_bytes", "hits", "misses"), 0)
    return native.library.memory_stats()


def memory_allocated() -> int:
    """Bytes in use by arrays."""
    return memory_stats()["used_bytes"]


def max_memory_allocated() -> int:
    """The most bytes that were in use at once."""
    return memory_stats()["peak_bytes"]


def memory_reserved() -> int:
    """Bytes in use and cached."""
    stats = memory_stats()
    return stats["used_bytes"] + stats["cached_bytes"]


def reset_peak_memory_stats() -> None:
    """Let `max_memory_allocated` start anew."""
    if native.library is not None:
        native.library.reset_peak()


def empty_cache() -> None:
    """Give cached memory back to the system."""
    if native.library is not None:
        native.library.empty_cache()


def set_cache_limit(bytes: int) -> None:  # noqa: A002
    """How many bytes of freed arrays are kept at most (1 GiB at first)."""
    if bytes < 0:
        raise ValueError(f"set_cache_limit expects a number of bytes, but got {bytes}")
    if native.library is not None:
        native.library.set_cache_limit(bytes)
