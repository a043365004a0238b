"""Local tensors from one placement to another, along each dimension of a mesh, with gradients.

The gradient of a shard is a shard, that of a replicated or partial tensor is replicated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rushlight as torch

from ...autograd.function import Function
from .. import collectives
from ..device_mesh import DeviceMesh
from .placement_types import Partial, Placement, Replicate, Shard

__all__ = ["Enter", "Move", "gradient_placements", "local_shape", "moved", "offset"]

Placements = tuple[Placement, ...]


def local_shape(shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Placement]) -> tuple[int, ...]:
    """The shape of this process's part."""
    return _extent(shape, mesh, placements)[0]


def offset(shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Placement]) -> tuple[int, ...]:
    """Where this process's part begins."""
    return _extent(shape, mesh, placements)[1]


def _extent(shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Placement]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    place = mesh.get_coordinate()
    sizes, begins = list(shape), [0] * len(shape)
    if place is None:
        return tuple(0 for _ in shape), tuple(begins)
    for i, p in enumerate(placements):
        if isinstance(p, Shard):
            begin, sizes[p.dim] = p.part(sizes[p.dim], mesh.size(i), place[i])
            begins[p.dim] += begin
    return tuple(sizes), tuple(begins)


def gradient_placements(placements: Sequence[Placement]) -> Placements:
    """Where the gradient of a tensor lies."""
    return tuple(Replicate() if isinstance(p, Partial) else p for p in placements)


def _gathered(local: Any, dim: int, size: int, mesh: DeviceMesh, i: int) -> Any:
    """All parts along a dimension. Shorter ones are padded on the way."""
    count, step = mesh.size(i), -(-size // mesh.size(i))
    rows = local.movedim(dim, 0)
    if rows.shape[0] < step:
        rows = torch.cat([rows, rows.new_zeros((step - rows.shape[0], *rows.shape[1:]))])
    out = rows.new_empty((count * step, *rows.shape[1:]))
    collectives.all_gather_into_tensor(out, rows.contiguous(), mesh.get_group(i))
    return out[:size].movedim(0, dim).contiguous()


def _part(local: Any, dim: int, mesh: DeviceMesh, i: int) -> Any:
    begin, length = Shard(dim).part(local.shape[dim], mesh.size(i), mesh.get_local_rank(i))
    return local.narrow(dim, begin, length).clone(memory_format=torch.contiguous_format)


def _scattered(local: Any, dim: int, op: str, mesh: DeviceMesh, i: int) -> Any:
    """Sums, of which each process gets its part."""
    count, size = mesh.size(i), local.shape[dim]
    step = -(-size // count)
    rows = local.movedim(dim, 0)
    if count * step > size:
        rows = torch.cat([rows, rows.new_zeros((count * step - size, *rows.shape[1:]))])
    out = rows.new_empty((step, *rows.shape[1:]))
    collectives.reduce_scatter_tensor(out, rows.contiguous(), _reduction(op), mesh.get_group(i))
    length = Shard(dim).part(size, count, mesh.get_local_rank(i))[1]
    return out[:length].movedim(0, dim).contiguous()


def _reduction(op: str) -> Any:
    return getattr(torch.distributed.ReduceOp, {"sum": "SUM", "avg": "AVG", "max": "MAX", "min": "MIN", "product": "PRODUCT"}[op])


def _summed(local: Any, op: str, mesh: DeviceMesh, i: int) -> Any:
    out = local.clone(memory_format=torch.contiguous_format)
    collectives.all_reduce(out, _reduction(op), mesh.get_group(i))
    return out


def moved(local: Any, shape: Sequence[int], mesh: DeviceMesh, source: Sequence[Placement], to: Sequence[Placement]) -> Any:
    """This process's part under other placements, outside of the graph. Two shards of one dimension are undone from the last."""
    now = list(source)
    for i in reversed(range(mesh.ndim)):
        before = now[i]
        if before == to[i] or not isinstance(before, Shard):
            continue
        # What is cut after a dimension of the mesh has to be put together before it.
        size = local_shape(shape, mesh, [p if j < i else Replicate() for j, p in enumerate(now)])
        local = _gathered(local, before.dim, size[before.dim], mesh, i)
        now[i] = Replicate()
    for i in range(mesh.ndim):
        a, b = now[i], to[i]
        if a == b:
            continue
        if any(isinstance(p, Shard) and isinstance(b, Shard) and p.dim == b.dim for p in now[i + 1 :]):
            raise NotImplementedError(
                f"redistribute {tuple(source)} to {tuple(to)}: a cut in front of another one along the same dimension; "
                "go over Replicate()"
            )
        if isinstance(a, Partial):
            if isinstance(b, Shard):
                local, a = _scattered(local, b.dim, a.reduce_op, mesh, i), b
            else:
                local, a = _summed(local, a.reduce_op, mesh, i), Replicate()
        if isinstance(b, Shard) and a != b:
            local = _part(local, b.dim, mesh, i)
        elif isinstance(b, Partial):
            if b.reduce_op not in ("sum", "avg"):
                raise RuntimeError(f"a replicated tensor cannot become {b!r}")
            local = local / mesh.size(i) if b.reduce_op == "sum" else local
        now[i] = b
    return local


def _safe_order(mesh: DeviceMesh, source: Sequence[Placement], to: Sequence[Placement]) -> Placements:
    """The source with all shards in front of which something changes undone: what `moved` can begin with."""
    changed = [i for i in range(mesh.ndim) if source[i] != to[i]]
    first = changed[0] if changed else mesh.ndim
    return tuple(Replicate() if i > first and isinstance(p, Shard) else p for i, p in enumerate(source))


def move(local: Any, shape: Sequence[int], mesh: DeviceMesh, source: Sequence[Placement], to: Sequence[Placement]) -> Any:
    """`moved`, by way of replicated tensors where several dimensions of a mesh cut the same dimension."""
    cut = [p.dim for p in (*source, *to) if isinstance(p, Shard)]
    if mesh.ndim > 1 and len(cut) != len(set(cut)):
        between = _safe_order(mesh, source, to)
        if between != tuple(source):
            local = moved(local, shape, mesh, source, between)
            source = between
    return moved(local, shape, mesh, source, to)


class Move(Function):
    """From one placement to another; the gradient goes the other way."""

    @staticmethod
    def forward(ctx: Any, local: Any, shape: Any, mesh: Any, source: Any, to: Any) -> Any:
        ctx.how = shape, mesh, source, to
        out = move(local, shape, mesh, source, to)
        return out.view_as(out) if out is local else out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        shape, mesh, source, to = ctx.how
        for a, b in zip(source, to, strict=True):
            if a != b and isinstance(a, Partial) and a.reduce_op not in ("sum", "avg"):
                raise NotImplementedError(f"there is no gradient through {a!r}")
        return move(grad, shape, mesh, gradient_placements(to), gradient_placements(source)), None, None, None, None


class Enter(Function):
    """A replicated tensor is used for parts of a result: its gradients, a part of the whole in each process, are summed."""

    @staticmethod
    def forward(ctx: Any, local: Any, mesh: Any, dims: Any) -> Any:
        ctx.mesh, ctx.dims = mesh, dims
        return local.view_as(local)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        for i in ctx.dims:
            grad = _summed(grad, "sum", ctx.mesh, i)
        return grad, None, None


class Leave(Function):
    """Local tensors leave or enter the world of DTensors: their gradients come under placements of the user's."""

    @staticmethod
    def forward(ctx: Any, local: Any, shape: Any, mesh: Any, given: Any, wanted: Any) -> Any:
        ctx.how = shape, mesh, given, wanted
        return local.view_as(local)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        shape, mesh, given, wanted = ctx.how
        return move(grad, shape, mesh, given, wanted), None, None, None, None
