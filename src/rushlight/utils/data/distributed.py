"""`DistributedSampler`: each process of a distributed program gets its own share of the indices."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import rushlight as torch

from ...homes import place
from .sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Indices rank, rank + num_replicas, rank + 2 * num_replicas, ... of one order that all processes share.

    With `shuffle` that order is the permutation seeded by `seed` + the epoch of `set_epoch`. So that all shares have one length, indices
    from the start are used twice, or with `drop_last` the tail is left out. Without `num_replicas` or `rank` the process group is asked.
    """

    def __init__(self, dataset: range, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True, seed: int = 0,
                 drop_last: bool = False) -> None:
        if num_replicas is None:
            num_replicas = _process_group().get_world_size()
        if rank is None:
            rank = _process_group().get_rank()
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}: it should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        count = len(dataset)
        self.num_samples = count // num_replicas if drop_last else -(-count // num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            generator = torch.Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(self.dataset), generator=generator).tolist()
        else:
            order = list(range(len(self.dataset)))
        while order and len(order) < self.total_size:
            order += order[:self.total_size - len(order)]
        return iter(order[self.rank:self.total_size:self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of this epoch. Without it every epoch has the same order."""
        self.epoch = epoch


def _process_group() -> Any:
    """``torch.distributed`` with an initialised process group, else ValueError as PyTorch raises."""
    try:
        distributed = import_module(place("distributed"))
    except ModuleNotFoundError:
        distributed = None
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        raise ValueError("there is no process group to ask: call init_process_group, or give DistributedSampler num_replicas and rank")
    return distributed
