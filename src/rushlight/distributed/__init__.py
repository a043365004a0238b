"""``torch.distributed``: absent, as in a PyTorch that was built without it. `is_available` and its like say so, everything else raises."""

from __future__ import annotations

from ..unsupported import attribute_of

__all__ = ["is_available", "is_initialized", "is_mpi_available", "is_nccl_available", "is_gloo_available", "is_ucc_available", "is_xccl_available",
           "is_torchelastic_launched"]


def is_available() -> bool:
    """Whether processes can work together: no."""
    return False


def is_initialized() -> bool:
    """Whether a process group has been made: never."""
    return False


def is_mpi_available() -> bool:
    """Whether there is an MPI backend: no."""
    return False


def is_nccl_available() -> bool:
    """Whether there is an NCCL backend: no."""
    return False


def is_gloo_available() -> bool:
    """Whether there is a Gloo backend: no."""
    return False


def is_ucc_available() -> bool:
    """Whether there is a UCC backend: no."""
    return False


def is_xccl_available() -> bool:
    """Whether there is an XCCL backend: no."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether this process was started by torchrun: rushlight has none."""
    return False


__getattr__ = attribute_of("distributed", "it trains in one process; torch.multiprocessing shares tensors between processes, and "
                           "torch.distributed.is_available() is False, so that code can ask first")
