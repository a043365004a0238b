"""What carries bytes between the processes of a group: an `Engine`. Here are the collectives, made of messages; `sockets.py` and `mpi.py`
are engines.

Arrays are NumPy's, contiguous, in the tensors' own memory. Everything blocks until its call's deadline. Values are put together in the
order of ranks,
so all ranks get the same bits, and the same ones every time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .reduce_op import COMBINE

__all__ = ["Call", "Engine", "Late", "Mismatch", "PeerGone", "Solo", "flat_bytes"]


class Late(Exception):
    """The deadline has passed: for which ranks of the group, as far as it is known."""

    def __init__(self, ranks: Sequence[int] = ()) -> None:
        super().__init__()
        self.ranks = list(ranks)


class PeerGone(Exception):
    """A rank of the group has ended, or its connection broke."""

    def __init__(self, rank: int, why: str) -> None:
        super().__init__(why)
        self.rank, self.why = rank, why


class Mismatch(Exception):
    """The ranks are not in the same call."""


class Call:
    """One call of a collective: what it is in words (all ranks must say the same), its number in the group, and when it has to be done."""

    __slots__ = ("text", "number", "deadline", "began", "name")

    def __init__(self, name: str, text: str, number: int, timeout: float) -> None:
        self.name, self.text, self.number = name, text, number
        self.began = time.monotonic()
        self.deadline = self.began + timeout


def flat_bytes(array: Any) -> Any:
    """A contiguous array's memory as bytes."""
    return array.reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)


class Engine:
    """The processes of one group. `rank` and `size` are the group's."""

    rank: int
    size: int
    name = "none"

    def exchange(self, call: Call, sends: Sequence[tuple[int, Any]], receives: Sequence[tuple[int, Any]]) -> None:
        """Send arrays to ranks and receive others into arrays, all at once."""
        raise NotImplementedError

    def subgroup(self, ranks: Sequence[int], number: int) -> Engine:
        """The engine of some of the ranks, of which this is one."""
        raise NotImplementedError

    def isend(self, array: Any, to: int, tag: int, timeout: float) -> Any:
        """Begin to send; an object with ``wait(deadline)`` and ``done()``."""
        raise NotImplementedError

    def irecv(self, array: Any, source: int | None, tag: int, timeout: float) -> Any:
        """Begin to receive (from any rank: None); an object with ``wait(deadline)``, which returns the sender, and ``done()``."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what the group holds."""

    # --- collectives, of messages ---------------------------------------------------------------------------------------------------------

    def others(self) -> list[int]:
        """The other ranks, beginning behind this one, so that not all send to the same."""
        return [(self.rank + step) % self.size for step in range(1, self.size)]

    def barrier(self, call: Call) -> None:
        nothing = np.empty(0, np.uint8)
        self.exchange(call, [(i, nothing) for i in self.others()], [(i, np.empty(0, np.uint8)) for i in self.others()])

    def broadcast(self, call: Call, array: Any, root: int) -> None:
        """A binomial tree."""
        place, step = (self.rank - root) % self.size, 1
        while step < self.size:
            if place < step and place + step < self.size:
                self.exchange(call, [((place + step + root) % self.size, array)], [])
            elif step <= place < 2 * step:
                self.exchange(call, [], [((place - step + root) % self.size, array)])
            step *= 2

    def allgather(self, call: Call, array: Any, outs: Sequence[Any]) -> None:
        np.copyto(outs[self.rank], array)
        self.exchange(call, [(i, array) for i in self.others()], [(i, outs[i]) for i in self.others()])

    def gather(self, call: Call, array: Any, outs: Sequence[Any] | None, root: int) -> None:
        if self.rank != root:
            self.exchange(call, [(root, array)], [])
            return
        assert outs is not None
        np.copyto(outs[root], array)
        self.exchange(call, [], [(i, outs[i]) for i in self.others()])

    def scatter(self, call: Call, out: Any, arrays: Sequence[Any] | None, root: int) -> None:
        if self.rank != root:
            self.exchange(call, [], [(root, out)])
            return
        assert arrays is not None
        self.exchange(call, [(i, arrays[i]) for i in self.others()], [])
        np.copyto(out, arrays[root])

    def alltoall(self, call: Call, arrays: Sequence[Any], outs: Sequence[Any]) -> None:
        self.exchange(call, [(i, arrays[i]) for i in self.others()], [(i, outs[i]) for i in self.others()])
        np.copyto(outs[self.rank], arrays[self.rank])

    def reduce_scatter(self, call: Call, arrays: Sequence[Any], out: Any, op: int) -> None:
        parts = [arrays[self.rank] if i == self.rank else np.empty_like(out) for i in range(self.size)]
        self.exchange(call, [(i, arrays[i]) for i in self.others()], [(i, parts[i]) for i in self.others()])
        _put_together(parts, out, op)

    def reduce(self, call: Call, array: Any, op: int, root: int) -> None:
        if self.rank != root:
            self.exchange(call, [(root, array)], [])
            return
        parts = [array if i == root else np.empty_like(array) for i in range(self.size)]
        self.exchange(call, [], [(i, parts[i]) for i in self.others()])
        _put_together(parts, array, op)

    def allreduce(self, call: Call, array: Any, op: int) -> None:
        """Small arrays go to everybody; of large ones every rank puts a share together, and all get all shares."""
        if array.size * array.itemsize <= 16384 or array.size < self.size:
            parts = [array if i == self.rank else np.empty_like(array) for i in range(self.size)]
            self.exchange(call, [(i, array) for i in self.others()], [(i, parts[i]) for i in self.others()])
            _put_together(parts, array, op)
            return
        flat, per = array.reshape(-1), -(-array.size // self.size)
        shares = [flat[i * per:(i + 1) * per] for i in range(self.size)]
        own = shares[self.rank]
        parts = [own if i == self.rank else np.empty_like(own) for i in range(self.size)]
        self.exchange(call, [(i, shares[i]) for i in self.others()], [(i, parts[i]) for i in self.others()])
        _put_together(parts, own, op)
        self.exchange(call, [(i, own) for i in self.others()], [(i, shares[i]) for i in self.others()])


def _put_together(parts: Sequence[Any], out: Any, op: int) -> None:
    """Reduce the parts in the order of ranks. `out` may be the memory of one of them."""
    combine = COMBINE[op]
    if len(parts) == 1:
        np.copyto(out, parts[0])
        return
    spare = parts[0] if parts[0] is not out else next(part for part in parts if part is not out)
    first = combine(parts[0], parts[1], out=spare if len(parts) > 2 else out)
    for i, part in enumerate(parts[2:], 3):
        first = combine(first, part, out=out if i == len(parts) else spare)


class Solo(Engine):
    """A world of one: nothing to send."""

    name = "solo"
    rank, size = 0, 1

    def exchange(self, call: Call, sends: Sequence[tuple[int, Any]], receives: Sequence[tuple[int, Any]]) -> None:
        """There is nobody."""

    def subgroup(self, ranks: Sequence[int], number: int) -> Engine:
        """The same."""
        return self
