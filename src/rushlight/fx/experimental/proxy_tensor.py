"""Whether operations are being traced: they never are."""

from __future__ import annotations

from ...unsupported import attribute_of

__all__ = ["get_proxy_mode"]


def get_proxy_mode() -> None:
    """The mode that traces operations: none is active."""
    return


__getattr__ = attribute_of("fx.experimental.proxy_tensor", "nothing is traced; TorchFunctionMode sees what a program calls")
