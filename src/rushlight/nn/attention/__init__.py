"""``torch.nn.attention``: which kernel scaled_dot_product_attention may use, and kinds of attention beside it.

rushlight has one implementation per device. The choice is remembered (``torch.backends.cuda.flash_sdp_enabled`` and its like tell it) and
changes neither numbers nor speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

__all__ = ["SDPBackend", "sdpa_kernel", "WARN_FOR_UNFUSED_KERNELS", "register_flash_attention_impl", "activate_flash_attention_impl",
           "list_flash_attention_impls", "current_flash_attention_impl", "restore_flash_attention_impl"]

WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(IntEnum):
    """PyTorch's kernels for scaled_dot_product_attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


_enabled: list[SDPBackend] = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH,
                              SDPBackend.OVERRIDEABLE]


def enabled(backend: SDPBackend) -> bool:
    """Whether a kernel is among those that may be used."""
    return backend in _enabled


def enable(backend: SDPBackend, on: bool) -> None:
    """Put a kernel among those that may be used, or take it out."""
    if on and backend not in _enabled:
        _enabled.append(backend)
    elif not on and backend in _enabled:
        _enabled.remove(backend)


def _cur_sdpa_kernel_backends(with_priority: bool = False) -> list[SDPBackend]:
    return list(_enabled)


@contextmanager
def sdpa_kernel(backends: SDPBackend | list[SDPBackend], set_priority: bool = False) -> Iterator[dict[Any, Any]]:
    """Inside, only these kernels may be used (set_priority: in this order)."""
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
                             f"{type(backends).__name__}")
    chosen = [backends] if isinstance(backends, SDPBackend) else list(dict.fromkeys(backends))
    previous = list(_enabled)
    _enabled[:] = chosen
    try:
        yield {}
    finally:
        _enabled[:] = previous


_implementations: dict[str, Any] = {}
_active: list[str | None] = [None]


def register_flash_attention_impl(impl: str, *, register_fn: Any) -> None:
    """Make another implementation of flash attention known: ``register_fn()`` is called when it is activated."""
    _implementations[impl] = register_fn


def activate_flash_attention_impl(impl: str) -> None:
    """Use a registered implementation. ValueError for an unknown one."""
    if impl not in _implementations:
        raise ValueError(f"Unknown flash attention impl '{impl}'. Available implementations: {list_flash_attention_impls()}")
    if _active[0] != impl:
        _implementations[impl]()
        _active[0] = impl


def list_flash_attention_impls() -> list[str]:
    """The registered implementations."""
    return sorted(_implementations)


def current_flash_attention_impl() -> str | None:
    """The activated implementation, None for rushlight's own."""
    return _active[0]


def restore_flash_attention_impl() -> None:
    """Use rushlight's own implementation again."""
    _active[0] = None
