"""What goes wrong between processes: PyTorch's classes."""

from __future__ import annotations

from ..homes import settle

__all__ = ["DistError", "DistBackendError", "DistNetworkError", "DistStoreError", "QueueEmptyError"]


class DistError(RuntimeError):
    """An error of torch.distributed."""


class DistBackendError(DistError):
    """A collective failed, or ran out of time."""


class DistNetworkError(DistError):
    """A connection could not be made, or broke."""


class DistStoreError(DistError):
    """A store did not have a key in time."""


class QueueEmptyError(DistStoreError):
    """A store's queue has nothing to pop."""


settle("distributed", globals())
