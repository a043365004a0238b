"""``torch.distributed.rpc``: calls between processes are absent, as in a PyTorch that was built without them."""

from __future__ import annotations

from ...unsupported import attribute_of

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether processes can call each other: no."""
    return False


__getattr__ = attribute_of("distributed.rpc", "it trains in one process; torch.multiprocessing starts others")
