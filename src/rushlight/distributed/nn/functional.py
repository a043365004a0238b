"""``torch.distributed.nn``: collectives that gradients go through. All ranks run the same ones in the same order, in backward as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rushlight as torch

from ...autograd.function import Function
from ...homes import settle
from ...tensor import Tensor
from .. import collectives
from ..groups import ProcessGroup, the_group
from ..reduce_op import ReduceOp

__all__ = ["all_gather", "all_reduce", "all_to_all", "all_to_all_single", "broadcast", "gather", "reduce", "reduce_scatter", "scatter"]


def _group(group: ProcessGroup | None) -> ProcessGroup:
    found = the_group(group)
    if found is None:
        raise ValueError("this process is no member of the group")
    return found


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, op: Any, group: ProcessGroup, tensor: Tensor) -> Any:
        ctx.group, ctx.op = group, op
        out = tensor.clone().contiguous()
        collectives.all_reduce(out, op, group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, None, _AllReduce.apply(ctx.op, ctx.group, grad)


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, root: int, group: ProcessGroup, tensor: Tensor) -> Any:
        ctx.group, ctx.root = group, root
        out = tensor.clone().contiguous()
        collectives.broadcast(out, group=group, group_src=root)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        total = _Reduce.apply(ctx.root, ReduceOp.SUM, ctx.group, grad)
        return None, None, total if ctx.group.rank() == ctx.root else torch.zeros_like(total)


class _Reduce(Function):
    @staticmethod
    def forward(ctx: Any, root: int, op: Any, group: ProcessGroup, tensor: Tensor) -> Any:
        ctx.group, ctx.root = group, root
        out = tensor.clone().contiguous()
        collectives.reduce(out, op=op, group=group, group_dst=root)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, None, None, _Broadcast.apply(ctx.root, ctx.group, grad)


class _AllToAll(Function):
    """Rank i's tensor j becomes rank j's tensor i."""

    @staticmethod
    def forward(ctx: Any, group: ProcessGroup, outs: Any, *tensors: Any) -> Any:
        ctx.group, ctx.likes = group, [torch.empty_like(t) for t in tensors]
        outs = tuple(torch.empty_like(out) for out in outs)
        collectives.all_to_all(list(outs), [t.contiguous() for t in tensors], group)
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None, *_AllToAll.apply(ctx.group, ctx.likes, *grads)


def _only_sum(op: Any, what: str) -> None:
    if op != ReduceOp.SUM:
        raise NotImplementedError(f"torch.distributed.nn.{what}: gradients are there for ReduceOp.SUM only, not {op!r}")


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: ProcessGroup | None = None) -> Tensor:
    """The sum over all ranks. The gradient is the sum of the ranks' gradients."""
    _only_sum(op, "all_reduce")
    return _AllReduce.apply(op, _group(group), tensor)


def broadcast(tensor: Tensor, src: int, group: ProcessGroup | None = None) -> Tensor:
    """Rank src's tensor, on all ranks; its gradient is the sum of theirs."""
    pg = _group(group)
    return _Broadcast.apply(collectives.root_of(pg, "src", src, None), pg, tensor)


def reduce(tensor: Tensor, dst: int, op: Any = ReduceOp.SUM, group: ProcessGroup | None = None) -> Tensor:
    """The sum over all ranks, on rank dst (elsewhere the tensor); the gradient is rank dst's."""
    _only_sum(op, "reduce")
    pg = _group(group)
    return _Reduce.apply(collectives.root_of(pg, "dst", dst, None), op, pg, tensor)


def all_gather(tensor: Tensor, group: ProcessGroup | None = None) -> tuple[Tensor, ...]:
    """The tensors of all ranks."""
    pg = _group(group)
    return tuple(_AllToAll.apply(pg, [torch.empty_like(tensor)] * pg.size(), *[tensor] * pg.size()))


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: ProcessGroup | None = None) -> Tensor:
    """The sum over all ranks of the tensor that each has for this one."""
    _only_sum(op, "reduce_scatter")
    pg = _group(group)
    parts = _AllToAll.apply(pg, [torch.empty_like(output)] * pg.size(), *input_list)
    return torch.stack(list(parts)).sum(0)


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor],
               group: ProcessGroup | None = None) -> tuple[Tensor, ...]:
    """Rank i's tensor j becomes rank j's tensor i. The outputs given say the shapes."""
    return tuple(_AllToAll.apply(_group(group), list(output_tensor_list), *input_tensor_list))


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: Sequence[int] | None = None,
                      input_split_sizes: Sequence[int] | None = None,
                      group: ProcessGroup | None = None) -> Tensor:
    """Rank i's part j becomes rank j's part i, along the first dimension."""
    pg = _group(group)
    ins = input.split(list(input_split_sizes) if input_split_sizes else input.shape[0] // pg.size())
    outs = output.split(list(output_split_sizes) if output_split_sizes else output.shape[0] // pg.size())
    return torch.cat(list(_AllToAll.apply(pg, list(outs), *ins)))


def gather(tensor: Tensor, dst: int = 0, group: ProcessGroup | None = None) -> tuple[Tensor, ...]:
    """The tensors of all ranks on rank dst, zeros elsewhere."""
    pg = _group(group)
    root = collectives.root_of(pg, "dst", dst, None)
    parts = _AllToAll.apply(pg, [torch.empty_like(tensor)] * pg.size(),
                            *[tensor if r == root else torch.zeros_like(tensor) for r in range(pg.size())])
    return tuple(parts)


def scatter(tensors: Sequence[Tensor], src: int = 0, group: ProcessGroup | None = None) -> Tensor:
    """This rank's tensor of rank src's list; the others' lists say the shapes."""
    pg = _group(group)
    root = collectives.root_of(pg, "src", src, None)
    mine = [t if pg.rank() == root else t * 0 for t in tensors]         # in the graph everywhere: backward is collective, too
    return _AllToAll.apply(pg, [torch.empty_like(tensors[pg.rank()])] * pg.size(), *mine)[root]


settle("distributed.nn.functional", globals())
