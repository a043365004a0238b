"""``torch.distributed.algorithms.join``: processes with different numbers of batches. Who is done answers the collectives of the others."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any

import rushlight as torch

from ...homes import settle
from ...unsupported import attribute_of
from .. import collectives

__all__ = ["Join", "JoinHook", "Joinable"]

_MANY = 1000        # iterations after which a rank that waits says so


class JoinHook:
    """What a process does for one Joinable when it is done and others are not."""

    def main_hook(self) -> None:
        """The collectives of one iteration of the others, with nothing to add to them."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """When all are done. `is_last_joiner`: whether this process was (one of) the last."""


class Joinable(ABC):
    """What can take part in `Join`: it calls `Join.notify_join_context` at the start of each iteration, before its collectives."""

    _join_config: Any = None

    @abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook for one context, from its keyword arguments."""

    @property
    @abstractmethod
    def join_device(self) -> Any:
        """Where its collectives' tensors are."""

    @property
    @abstractmethod
    def join_process_group(self) -> Any:
        """The group of its collectives."""


class _Config:
    """What a Joinable knows of the context it is in."""

    def __init__(self, throws: bool, first: bool) -> None:
        self.throws, self.first = throws, first


class Join:
    """Context around the loop over batches: a process that leaves it early goes on to answer the others until all are done.

    joinables                   those that communicate in the loop, in the order in which they do
    enable                      False where all processes have the same number of batches
    throw_on_early_termination  RuntimeError on all processes when the first one is done
    """

    def __init__(self, joinables: list[Joinable], enable: bool = True, throw_on_early_termination: bool = False, **kwargs: Any) -> None:
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        if len({id(each.join_process_group) for each in joinables}) > 1:
            raise ValueError("Using join context manager with multiple process groups")
        self._joinables, self._enable, self._throws = joinables, enable, throw_on_early_termination
        self._hooks = [each.join_hook(**kwargs) for each in joinables]
        self._group, self._device = joinables[0].join_process_group, joinables[0].join_device

    def __enter__(self) -> None:
        if self._enable:
            for i, each in enumerate(self._joinables):
                each._join_config = _Config(self._throws, i == 0)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: Any) -> None:
        if not self._enable:
            return
        for each in self._joinables:
            each._join_config = None
        if kind is not None:
            return              # the others see it as this process's end
        last, turns = True, 0
        while self._still_going():
            if self._throws:
                self._raise_everywhere()
            last = False
            for hook in self._hooks:
                hook.main_hook()
            turns += 1
            if turns == _MANY:
                warnings.warn(f"rank {self._group.rank()} has answered {turns} iterations of others since it was done: the inputs are "
                              "very uneven",
                              stacklevel=2)
        for hook in self._hooks:
            hook.post_hook(last)

    def _still_going(self) -> int:
        """How many processes are in an iteration; this one is not."""
        count = torch.zeros(1, device=self._device)
        collectives.all_reduce(count, group=self._group)
        return int(count.item())

    def _raise_everywhere(self) -> None:
        collectives.all_reduce(torch.ones(1, device=self._device), group=self._group)
        raise RuntimeError(f"Rank {self._group.rank()} has exhausted its inputs, and Join(throw_on_early_termination=True) ends the loop "
                           "there")

    @staticmethod
    def notify_join_context(joinable: Joinable) -> Any:
        """Say that this process begins an iteration. A Work whose result is how many processes do; None outside of a context, and for
        all but the first joinable."""
        config = joinable._join_config
        if config is None or not config.first:
            return None
        group, device = joinable.join_process_group, joinable.join_device
        work = collectives.all_reduce(torch.ones(1, device=device), group=group, async_op=True)
        if config.throws and work is not None:
            work.wait()
            if int(work.result()[0].item()) < group.size():
                done = torch.zeros(1, device=device)
                collectives.all_reduce(done, group=group)
                raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")
        return work


__getattr__ = attribute_of("distributed.algorithms.join", "docs/distributed.md lists what is there")

settle("distributed.algorithms.join", globals())
