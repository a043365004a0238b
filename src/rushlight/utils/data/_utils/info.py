"""What a worker process knows about itself, and the words of its answers. (Light to import: the processes' machinery comes later.)"""

from __future__ import annotations

from typing import Any

__all__ = ["DATA", "END", "FAILURE", "WorkerInfo", "get_worker_info", "set_worker_info"]

DATA, FAILURE, END = "data", "failure", "end"  # a worker's answer is (ticket, one of these, value)


class WorkerInfo:
    """The worker's `id`, how many there are (`num_workers`), its `seed`, and its copy of the `dataset`."""

    __slots__ = ("id", "num_workers", "seed", "dataset", "rng", "worker_method")

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        self.id = id
        self.num_workers = num_workers
        self.seed = seed
        self.dataset = dataset
        self.rng = None
        self.worker_method = "multiprocessing"

    def __repr__(self) -> str:
        return f"WorkerInfo({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a DataLoader: which one it is. None in the main process."""
    return _info


def set_worker_info(info: WorkerInfo) -> None:
    """Called once, by the worker when it starts."""
    global _info
    _info = info
