"""``torch.distributed._functional_collectives``: collectives that give new tensors, with gradients.

PyTorch's begin at once and wait where the result is used. Here they are done when they return, so `wait_tensor` has nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import rushlight as torch

from ..autograd.function import Function
from ..homes import settle
from ..tensor import Tensor
from ..unsupported import attribute_of
from . import collectives, groups
from .device_mesh import DeviceMesh
from .groups import ProcessGroup
from .reduce_op import ReduceOp

__all__ = ["all_gather_into_tensor_coalesced", "all_gather_single", "all_gather_tensor", "all_gather_tensor_autograd", "all_reduce",
           "all_reduce_coalesced", "all_to_all_single", "all_to_all_single_autograd", "broadcast", "permute_tensor",
           "reduce_scatter_single", "reduce_scatter_tensor", "reduce_scatter_tensor_autograd", "reduce_scatter_tensor_coalesced",
           "wait_tensor"]

GroupLike: TypeAlias = ProcessGroup | str | DeviceMesh | tuple[DeviceMesh, int | str] | list[Any] | None      # see `group_of`
_made: dict[tuple[int, tuple[int, ...]], Any] = {}


def group_of(group: GroupLike) -> ProcessGroup:
    """The group that is meant by a group, its name, a mesh of one dimension, (mesh, dimension), or lists of ranks."""
    if isinstance(group, str):
        found = next((each for each in groups._state.groups if each.group_name == group), None)
        if found is None:
            raise ValueError(f"there is no group of the name {group!r}")
        return found
    if isinstance(group, DeviceMesh):
        if group.ndim != 1:
            raise AssertionError(f"a mesh of {group.ndim} dimensions is several groups: give (mesh, dimension)")
        return group.get_group()
    if isinstance(group, tuple) and len(group) == 2 and isinstance(group[0], DeviceMesh):
        return group[0].get_group(group[1])
    if isinstance(group, list):
        return _listed(group)
    found = groups.the_group(group)
    if found is None:
        raise ValueError("this process is no member of the group")
    return found


def _listed(ranks: list[Any]) -> ProcessGroup:
    own = groups.get_rank()
    line = next((each for each in ranks if own in each), None) if ranks and isinstance(ranks[0], list) else ranks
    if line is None or own not in line:
        raise ValueError(f"rank {own} is in none of the groups {ranks}")
    if sorted(line) == list(range(groups.get_world_size())):
        return groups.default_group()
    key = groups._state.begun, tuple(sorted(line))
    if key not in _made:
        _made[key] = groups.new_group(line, use_local_synchronization=True)
    return _made[key]


def _op(name: Any) -> Any:
    if isinstance(name, ReduceOp):
        return name
    known = {"sum": "SUM", "avg": "AVG", "product": "PRODUCT", "min": "MIN", "max": "MAX", "band": "BAND", "bor": "BOR", "bxor": "BXOR"}
    if str(name).lower() not in known:
        raise ValueError(f"Unknown reduce_op: {name!r}")
    return getattr(ReduceOp, known[name.lower()])


def _back(ctx: Any, what: str) -> None:
    if ctx.op not in (ReduceOp.SUM, ReduceOp.AVG):
        raise RuntimeError(f"{what}: only 'sum' (and 'avg') have a gradient, not {ctx.op!r}")


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, op: Any, group: Any, tensor: Tensor) -> Tensor:
        ctx.op, ctx.group = op, group
        out = tensor.clone(memory_format=torch.contiguous_format)
        collectives.all_reduce(out, op, group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        _back(ctx, "all_reduce")
        return None, None, _AllReduce.apply(ctx.op, ctx.group, grad)


class _AllGather(Function):
    """Along the first dimension."""

    @staticmethod
    def forward(ctx: Any, group: Any, tensor: Tensor) -> Tensor:
        ctx.group = group
        tensor = tensor.contiguous()
        out = tensor.new_empty((group.size() * tensor.shape[0], *tensor.shape[1:]))
        collectives.all_gather_into_tensor(out, tensor, group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, _ReduceScatter.apply(ReduceOp.SUM, ctx.group, grad)


class _ReduceScatter(Function):
    """Along the first dimension."""

    @staticmethod
    def forward(ctx: Any, op: Any, group: Any, tensor: Tensor) -> Tensor:
        ctx.op, ctx.group = op, group
        tensor = tensor.contiguous()
        out = tensor.new_empty((tensor.shape[0] // group.size(), *tensor.shape[1:]))
        collectives.reduce_scatter_tensor(out, tensor, op, group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        _back(ctx, "reduce_scatter_tensor")
        grad = _AllGather.apply(ctx.group, grad)
        return None, None, grad / ctx.group.size() if ctx.op is ReduceOp.AVG else grad


class _AllToAll(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, outs: Any, ins: Any, tensor: Tensor) -> Tensor:
        ctx.group, ctx.outs, ctx.ins = group, outs, ins
        rows = tensor.shape[0] if outs is None else sum(outs)
        out = tensor.new_empty((rows, *tensor.shape[1:]))
        collectives.all_to_all_single(out, tensor.contiguous(), outs, ins, group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, None, None, _AllToAll.apply(ctx.group, ctx.ins, ctx.outs, grad)


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, root: int, group: Any, tensor: Tensor) -> Tensor:
        ctx.root, ctx.group = root, group
        out = tensor.clone(memory_format=torch.contiguous_format)
        collectives.broadcast(out, group=group, group_src=root)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        total = _AllReduce.apply(ReduceOp.SUM, ctx.group, grad)
        return None, None, total if ctx.group.rank() == ctx.root else torch.zeros_like(total)


def wait_tensor(tensor: Tensor) -> Tensor:
    """The tensor: it is there already."""
    return tensor


def all_reduce(self: Tensor, reduceOp: str, group: GroupLike, tag: str = "") -> Tensor:
    """The tensors of all ranks put together, as a new tensor."""
    return _AllReduce.apply(_op(reduceOp), group_of(group), self)


def all_reduce_coalesced(self: Sequence[Tensor], reduceOp: str, group: GroupLike, tag: str = "") -> list[Tensor]:
    """`all_reduce` of several tensors."""
    return [all_reduce(each, reduceOp, group) for each in self]


def broadcast(self: Tensor, src: int, group: GroupLike, tag: str = "") -> Tensor:
    """The tensor of rank `src` (in the world), as a new tensor."""
    pg = group_of(group)
    return _Broadcast.apply(groups.get_group_rank(pg, src), pg, self)


def all_gather_tensor(self: Tensor, gather_dim: int, group: GroupLike, tag: str = "") -> Tensor:
    """The tensors of all ranks, concatenated along a dimension."""
    pg = group_of(group)
    gather_dim = range(self.dim())[gather_dim]
    out = _AllGather.apply(pg, self)
    return out if gather_dim == 0 else torch.cat(list(out.chunk(pg.size(), 0)), gather_dim)


all_gather_single = all_gather_tensor_autograd = all_gather_tensor


def all_gather_into_tensor_coalesced(self: Sequence[Tensor], group: GroupLike, tag: str = "") -> list[Tensor]:
    """`all_gather_tensor` of several tensors, along the first dimension."""
    return [all_gather_tensor(each, 0, group) for each in self]


def reduce_scatter_tensor(self: Tensor, reduceOp: str, scatter_dim: int, group: GroupLike, tag: str = "") -> Tensor:
    """The tensors of all ranks put together, and of that this rank's part along a dimension."""
    pg = group_of(group)
    scatter_dim = range(self.dim())[scatter_dim]
    if self.shape[scatter_dim] % pg.size():
        raise AssertionError(f"input dimension {scatter_dim} ({self.shape[scatter_dim]}) must be a multiple of group_size {pg.size()}")
    if scatter_dim:
        self = torch.cat(list(self.chunk(pg.size(), scatter_dim)))
    return _ReduceScatter.apply(_op(reduceOp), pg, self)


reduce_scatter_single = reduce_scatter_tensor_autograd = reduce_scatter_tensor


def reduce_scatter_tensor_coalesced(inputs: Sequence[Tensor], reduceOp: str, scatter_dim: Sequence[int], group: GroupLike,
                                    tag: str = "") -> list[Tensor]:
    """`reduce_scatter_tensor` of several tensors, each along a dimension of its own."""
    return [reduce_scatter_tensor(each, reduceOp, dim, group) for each, dim in zip(inputs, scatter_dim, strict=True)]


def all_to_all_single(self: Tensor, output_split_sizes: Sequence[int] | None, input_split_sizes: Sequence[int] | None, group: GroupLike,
                      tag: str = "") -> Tensor:
    """Rank i's part j becomes rank j's part i, along the first dimension."""
    pg = group_of(group)
    outs, ins = (None if sizes is None else list(sizes) for sizes in (output_split_sizes, input_split_sizes))
    if outs is None and ins is None and self.shape[0] % pg.size():
        raise RuntimeError(f"Split sizes doesn't match total dim 0 size: {self.shape[0]} rows for {pg.size()} ranks")
    return _AllToAll.apply(pg, outs, ins, self)


all_to_all_single_autograd = all_to_all_single


def permute_tensor(self: Tensor, src_dst: Sequence[int], group: GroupLike, tag: str = "") -> Tensor:
    """Rank i's tensor goes to rank src_dst[i]."""
    pg = group_of(group)
    if sorted(src_dst) != list(range(pg.size())):
        raise ValueError(f"permute_tensor: {list(src_dst)} is no permutation of the group's ranks")
    rows, own = self.shape[0], pg.rank()
    ins = [rows if to == src_dst[own] else 0 for to in range(pg.size())]
    outs = [rows if src_dst[source] == own else 0 for source in range(pg.size())]
    return _AllToAll.apply(pg, outs, ins, self)


__getattr__ = attribute_of("distributed._functional_collectives", "docs/distributed.md lists what is there")

settle("distributed._functional_collectives", globals())
