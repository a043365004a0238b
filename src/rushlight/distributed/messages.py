"""Messages between two ranks, alone and in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..homes import settle
from ..tensor import Tensor
from .collectives import member
from .groups import ProcessGroup, get_global_rank, get_group_rank, the_group
from .memory import Outputs, check_tensor, described, values
from .work import Work

__all__ = ["P2POp", "batch_isend_irecv", "irecv", "isend", "recv", "send"]


def _other(pg: ProcessGroup, world_rank: int | None, group_rank: int | None, what: str) -> int:
    """The other's rank in the group."""
    if world_rank is not None and group_rank is not None:
        raise ValueError(f"Can't specify both group_{what} and {what}")
    if group_rank is not None:
        get_global_rank(pg, group_rank)
    else:
        if world_rank is None:
            raise ValueError(f"Must specify either group_{what} or {what}")
        group_rank = get_group_rank(pg, world_rank)
    if group_rank == pg.rank():
        name = "destination" if what == "dst" else "source"
        raise ValueError(f"Invalid {name} rank: {name} rank should not be the same as the rank of the current process.")
    return group_rank


def isend(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> Work | None:
    """Begin to send a tensor to a rank. It must not change until the Work is done."""
    check_tensor(tensor, "tensor")
    pg = member(group, "isend")
    if pg is None:
        return None
    to = _other(pg, dst, group_dst, "dst")
    what = f"send to rank {pg._ranks[to]} (tag {tag}, {described(tensor)})"
    handle = _tried(pg, what, lambda: pg._engine.isend(values(tensor), to, tag, pg._timeout.total_seconds()))
    return pg._message(handle, what, lambda: None, [tensor])


def _tried(pg: ProcessGroup, what: str, act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Exception as error:
        raise pg._explained(error, what, 0.0) from None


def irecv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> Work | None:
    """Begin to receive a tensor from a rank; without one, from whichever sends first."""
    check_tensor(tensor, "tensor")
    pg = member(group, "irecv")
    if pg is None:
        return None
    source = None if src is None and group_src is None else _other(pg, src, group_src, "src")
    outputs = Outputs()
    array = outputs.of(tensor)
    what = f"recv from {'any rank' if source is None else f'rank {pg._ranks[source]}'} (tag {tag}, {described(tensor)})"
    handle = _tried(pg, what, lambda: pg._engine.irecv(array, source, tag, pg._timeout.total_seconds()))
    return pg._message(handle, what, outputs.done, [tensor])


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """Send a tensor to a rank."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """Receive a tensor from a rank (default: from any); the rank that sent it, -1 where this process is no member of the group."""
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return work.source_rank()


class P2POp:
    """A message of a batch: ``P2POp(dist.isend, tensor, peer)`` or ``P2POp(dist.irecv, tensor, peer)``."""

    def __init__(self, op: Callable[..., Any], tensor: Tensor, peer: int | None = None, group: Any = None, tag: int = 0,
                 group_peer: int | None = None) -> None:
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or ``torch.distributed.irecv``.")
        check_tensor(tensor, "tensor")
        pg = the_group(group)
        self.op, self.tensor, self.group, self.tag = op, tensor, group, tag
        if pg is not None:
            self.group_peer = _other(pg, peer, group_peer, "dst" if op is isend else "src")
            self.peer = pg._ranks[self.group_peer]

    def __repr__(self) -> str:
        return f"P2POp({self.op.__name__}, {tuple(self.tensor.shape)}, peer={self.peer}, tag={self.tag})"


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Work]:
    """Begin several messages at once; their Works, in the same order."""
    if not isinstance(p2p_op_list, (list, tuple)) or not p2p_op_list or not all(isinstance(each, P2POp) for each in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to to be of type ``torch.distributed.P2POp``.")
    begun: dict[int, Any] = {}
    for wanted in (irecv, isend):           # receives first: what is sent finds its place
        for i, each in enumerate(p2p_op_list):
            if each.op is wanted:
                begun[i] = each.op(each.tensor, each.peer, each.group, each.tag)
    return [begun[i] for i in range(len(p2p_op_list)) if begun[i] is not None]


settle("distributed.distributed_c10d", globals(), [name for name in __all__ if name != "P2POp"])
settle("distributed", globals(), ["P2POp"])
