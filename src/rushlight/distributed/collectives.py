"""The collectives: every rank of a group calls the same one, with tensors of one dtype and shape."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from ..homes import settle
from ..tensor import Tensor
from .engine import Call, Engine, Late, PeerGone
from .errors import DistBackendError
from .groups import ProcessGroup, get_group_rank, the_group
from .memory import Outputs, check_list, check_same, check_tensor, described, values
from .reduce_op import PremulSum, ReduceOp, checked
from .stores import seconds
from .work import Work

__all__ = ["all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_single", "all_reduce", "all_reduce_coalesced",
           "all_to_all",
           "all_to_all_single", "barrier", "broadcast", "gather", "monitored_barrier", "reduce", "reduce_scatter", "reduce_scatter_single",
           "reduce_scatter_tensor", "scatter"]


def member(which: Any, name: str) -> ProcessGroup | None:
    """The group of a call; None, with a warning, where this process is no member."""
    found = the_group(which)
    if found is None:
        # type: ignore
        warnings.warn(f"Running {name} on global rank {the_group(None).rank()} which does not belong to the given group.", stacklevel=3)
    return found


def root_of(pg: ProcessGroup, what: str, world_rank: int | None, group_rank: int | None, default: int | None = None) -> int:
    """The root's rank in the group, of the rank in the world or the one in the group."""
    if world_rank is not None and group_rank is not None:
        raise ValueError(f"Can't specify both group_{what} and {what}")
    if world_rank is None and group_rank is None:
        if default is None:
            raise ValueError(f"Must specify either group_{what} or {what}")
        return default
    if group_rank is not None:
        if not 0 <= group_rank < pg.size():
            raise RuntimeError(f"invalid root rank: {group_rank} is not in a group of {pg.size()}")
        return group_rank
    if not isinstance(world_rank, int):
        raise TypeError(f"{what} has to be int, not {type(world_rank).__name__}")
    if pg is the_group(None) and not 0 <= world_rank < pg.size():
        raise RuntimeError(f"invalid root rank: {world_rank} is not in a world of {pg.size()}")
    return get_group_rank(pg, world_rank)


def shared(array: Any, op: ReduceOp, size: int) -> None:
    """Make the mean of a sum, in place."""
    if op is ReduceOp.AVG:
        if array.dtype.kind in "iub":
            np.copyto(array, np.trunc(array / size).astype(array.dtype))
        else:
            np.divide(array, array.dtype.type(size), out=array)


def scaled(array: Any, factor: Any, own: bool) -> Any:
    """The array times PREMUL_SUM's factor; in place where it is our own."""
    if factor is None:
        return array
    factor = values(factor) if isinstance(factor, Tensor) else factor
    if own:
        np.multiply(array, factor, out=array, casting="unsafe")
        return array
    return np.multiply(array, factor).astype(array.dtype)


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """Put the tensors of all ranks together, in place, on all ranks."""
    check_tensor(tensor, "tensor")
    pg = member(group, "all_reduce")
    if pg is None:
        return None
    op, factor = checked(op, tensor._kind, "all_reduce")
    outputs = Outputs()
    array = outputs.of(tensor, read=True)

    def act(engine: Engine, call: Call) -> None:
        scaled(array, factor, True)
        if engine.size > 1:
            engine.allreduce(call, array, op)
            shared(array, op, engine.size)
        outputs.done()
    return pg._run("all_reduce", f"{op.name} {described(tensor)}", act, async_op, [tensor])


def all_reduce_coalesced(tensors: Sequence[Tensor], op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """`all_reduce` of several tensors of one dtype, as one call."""
    if isinstance(tensors, Tensor):
        tensors = [tensors]
    check_list(tensors, "tensors")
    pg = member(group, "all_reduce_coalesced")
    if pg is None:
        return None
    if not tensors:
        raise ValueError("all_reduce_coalesced: there are no tensors")
    check_same(tensors, tensors[0]._kind.dtype)
    op, factor = checked(op, tensors[0]._kind, "all_reduce_coalesced")
    outputs = Outputs()
    arrays = [outputs.of(tensor, read=True) for tensor in tensors]

    def act(engine: Engine, call: Call) -> None:
        whole = np.concatenate([array.reshape(-1) for array in arrays])
        scaled(whole, factor, True)
        if engine.size > 1:
            engine.allreduce(call, whole, op)
            shared(whole, op, engine.size)
        for array, part in zip(arrays, np.split(whole, np.cumsum([a.size for a in arrays])[:-1])):
            np.copyto(array, part.reshape(array.shape))
        outputs.done()
    return pg._run("all_reduce_coalesced", f"{op.name} {', '.join(map(described, tensors))[:200]}", act, async_op, list(tensors))


def reduce(tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:
    """Put the tensors of all ranks together, in place, on rank dst. On the others the tensor's values are kept."""
    check_tensor(tensor, "tensor")
    pg = member(group, "reduce")
    if pg is None:
        return None
    root = root_of(pg, "dst", dst, group_dst)
    op, factor = checked(op, tensor._kind, "reduce")
    outputs = Outputs()
    array = outputs.of(tensor, read=True) if pg.rank() == root else np.array(values(tensor)) if factor is not None else values(tensor)

    def act(engine: Engine, call: Call) -> None:
        scaled(array, factor, True)
        if engine.size > 1:
            engine.reduce(call, array, op, root)
            if engine.rank == root:
                shared(array, op, engine.size)
        outputs.done()
    return pg._run("reduce", f"{op.name} to {root} {described(tensor)}", act, async_op, [tensor])


def broadcast(tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False,
              group_src: int | None = None) -> Work | None:
    """Copy rank src's tensor into those of all ranks."""
    check_tensor(tensor, "tensor")
    pg = member(group, "broadcast")
    if pg is None:
        return None
    root = root_of(pg, "src", src, group_src)
    outputs = Outputs()
    array = values(tensor) if pg.rank() == root else outputs.of(tensor)

    def act(engine: Engine, call: Call) -> None:
        engine.broadcast(call, array, root)
        outputs.done()
    return pg._run("broadcast", f"from {root} {described(tensor)}", act, async_op, [tensor])


def _expect(count: int, size: int, what: str) -> None:
    if count != size:
        raise RuntimeError(f"{what}: expected {size} tensors, one per rank of the group, but got {count}")


def _like(tensors: Sequence[Tensor], tensor: Tensor, what: str) -> None:
    check_same(tensors, tensor._kind.dtype)
    for i, each in enumerate(tensors):
        if each._a.shape != tensor._a.shape:
            raise RuntimeError(f"{what}: invalid tensor size at index {i} (expected {tuple(tensor._a.shape)}, got {tuple(each._a.shape)})")


def all_gather(tensor_list: Sequence[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """Get the tensors of all ranks into a list of tensors, on all ranks. Shapes may differ where the lists' tensors are as the ranks'
    tensors are."""
    check_list(tensor_list, "tensor_list")
    check_tensor(tensor, "tensor")
    check_same(tensor_list, tensor._kind.dtype)
    pg = member(group, "all_gather")
    if pg is None:
        return None
    _expect(len(tensor_list), pg.size(), "all_gather")
    _like([tensor_list[pg.rank()]], tensor, "all_gather")
    outputs = Outputs()
    array, outs = values(tensor), [outputs.of(each) for each in tensor_list]

    def act(engine: Engine, call: Call) -> None:
        engine.allgather(call, array, outs)
        outputs.done()
    shapes = described(tensor) if len({each._a.shape for each in tensor_list}) == 1 else ", ".join(map(described, tensor_list))
    return pg._run("all_gather", shapes[:200], act, async_op, list(tensor_list))


def all_gather_coalesced(output_tensor_lists: Sequence[Sequence[Tensor]], input_tensor_list: Sequence[Tensor], group: Any = None,
                         async_op: bool = False) -> Work | None:
    """`all_gather` of several tensors."""
    pg = member(group, "all_gather_coalesced")
    if pg is None:
        return None
    check_list(input_tensor_list, "tensor_list")
    works: list[Any] = []
    for outputs, tensor in zip(output_tensor_lists, input_tensor_list, strict=True):
        works.append(all_gather(outputs, tensor, pg, async_op))
    return works[-1] if async_op and works else None


def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """Get the tensors of all ranks into one: concatenated along the first dimension, or stacked."""
    check_tensor(input_tensor, "input_tensor")
    check_tensor(output_tensor, "output_tensor")
    check_same([output_tensor], input_tensor._kind.dtype)
    pg = member(group, "all_gather_into_tensor")
    if pg is None:
        return None
    if output_tensor._a.size != input_tensor._a.size * pg.size():
        raise RuntimeError(f"all_gather_into_tensor: output tensor size must be equal to world_size times input tensor size, but it has "
                           f"{output_tensor._a.size} elements, not {pg.size()} * {input_tensor._a.size}")
    outputs = Outputs()
    array, out = values(input_tensor), outputs.of(output_tensor)

    def act(engine: Engine, call: Call) -> None:
        engine.allgather(call, array.reshape(-1), list(out.reshape(engine.size, -1)) if array.size else [array.reshape(-1)] * engine.size)
        outputs.done()
    return pg._run("all_gather_into_tensor", described(input_tensor), act, async_op, [output_tensor])


all_gather_single = all_gather_into_tensor


def gather(tensor: Tensor, gather_list: Sequence[Tensor] | None = None, dst: int | None = None, group: Any = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:
    """Get the tensors of all ranks into a list of tensors on rank dst (0); the others give no list."""
    check_tensor(tensor, "tensor")
    pg = member(group, "gather")
    if pg is None:
        return None
    root = root_of(pg, "dst", dst, group_dst, 0)
    outputs, outs = Outputs(), None
    if pg.rank() == root:
        if not gather_list:
            raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
        check_list(gather_list, "gather_list")
        _expect(len(gather_list), pg.size(), "gather")
        _like(gather_list, tensor, "gather")
        outs = [outputs.of(each) for each in gather_list]
    elif gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    array = values(tensor)

    def act(engine: Engine, call: Call) -> None:
        engine.gather(call, array, outs, root)
        outputs.done()
    return pg._run("gather", f"to {root} {described(tensor)}", act, async_op, list(gather_list or ()))


def scatter(tensor: Tensor, scatter_list: Sequence[Tensor] | None = None, src: int | None = None, group: Any = None, async_op: bool = False,
            group_src: int | None = None) -> Work | None:
    """Give every rank its tensor of a list on rank src (0)."""
    check_tensor(tensor, "tensor")
    pg = member(group, "scatter")
    if pg is None:
        return None
    root = root_of(pg, "src", src, group_src, 0)
    arrays = None
    if pg.rank() == root:
        if not scatter_list:
            raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
        check_list(scatter_list, "scatter_list")
        _expect(len(scatter_list), pg.size(), "scatter")
        _like(scatter_list, tensor, "scatter")
        arrays = [values(each) for each in scatter_list]
    elif scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    outputs = Outputs()
    out = outputs.of(tensor)

    def act(engine: Engine, call: Call) -> None:
        engine.scatter(call, out, arrays, root)
        outputs.done()
    return pg._run("scatter", f"from {root} {described(tensor)}", act, async_op, [tensor])


def _reduce_scatter(name: str, output: Tensor, arrays: Sequence[Any], op: Any, pg: ProcessGroup, async_op: bool) -> Work | None:
    op, factor = checked(op, output._kind, name)
    outputs = Outputs()
    out = outputs.of(output)
    flat = out.reshape(-1)

    def act(engine: Engine, call: Call) -> None:
        engine.reduce_scatter(call, [scaled(array, factor, False) for array in arrays], flat, op)
        shared(flat, op, engine.size)
        outputs.done()
    return pg._run(name, f"{op.name} {described(output)}", act, async_op, [output])


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: Any = None,
                   async_op: bool = False) -> Work | None:
    """Put the lists of all ranks together; every rank gets its tensor of the result."""
    check_tensor(output, "output")
    check_list(input_list, "input_list")
    pg = member(group, "reduce_scatter")
    if pg is None:
        return None
    if len(input_list) != pg.size():
        raise RuntimeError("invalid input tensor list size, must be world size")
    _like([input_list[pg.rank()]], output, "reduce_scatter")
    check_same(input_list, output._kind.dtype)
    return _reduce_scatter("reduce_scatter", output, [values(each).reshape(-1) for each in input_list], op, pg, async_op)


def reduce_scatter_tensor(output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """Put the tensors of all ranks together; every rank gets its part of the result, along the first dimension."""
    check_tensor(output, "output")
    check_tensor(input, "input")
    check_same([input], output._kind.dtype)
    pg = member(group, "reduce_scatter_tensor")
    if pg is None:
        return None
    if input._a.size != output._a.size * pg.size():
        raise RuntimeError("input tensor must be the same size as output size times world size: it has "
                           f"{input._a.size} elements, not {pg.size()} * {output._a.size}")
    array = values(input).reshape(pg.size(), -1) if input._a.size else [values(input).reshape(-1)] * pg.size()
    return _reduce_scatter("reduce_scatter_tensor", output, list(array), op, pg, async_op)


reduce_scatter_single = reduce_scatter_tensor


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Any = None,
               async_op: bool = False) -> Work | None:
    """Rank i's input j goes into rank j's output i."""
    check_list(output_tensor_list, "output_tensor_list")
    check_list(input_tensor_list, "input_tensor_list")
    pg = member(group, "all_to_all")
    if pg is None:
        return None
    _expect(len(output_tensor_list), pg.size(), "all_to_all")
    _expect(len(input_tensor_list), pg.size(), "all_to_all")
    dtype = input_tensor_list[0]._kind.dtype
    check_same(list(output_tensor_list) + list(input_tensor_list), dtype)
    _like([output_tensor_list[pg.rank()]], input_tensor_list[pg.rank()], "all_to_all")
    outputs = Outputs()
    arrays, outs = [values(each) for each in input_tensor_list], [outputs.of(each) for each in output_tensor_list]

    def act(engine: Engine, call: Call) -> None:
        engine.alltoall(call, arrays, outs)
        outputs.done()
    return pg._run("all_to_all", str(dtype).rpartition(".")[2], act, async_op, list(output_tensor_list))


def _split(tensor: Tensor, array: Any, sizes: Sequence[int] | None, count: int, what: str) -> list[Any]:
    rows = tensor._a.shape[0] if tensor._a.ndim else 1
    if not sizes:
        if rows % count:
            raise RuntimeError(f"Tensor's dim 0 does not divide equally across group size: all_to_all_single's {what} has {rows} rows for "
                               f"{count} ranks")
        sizes = [rows // count] * count
    if len(sizes) != count:
        raise RuntimeError(f"Number of tensor splits not equal to group size: {what}_split_sizes has {len(sizes)} for {count} ranks")
    if sum(sizes) != rows:
        raise RuntimeError(f"Split sizes doesn't match total dim 0 size: {what}_split_sizes sum to "
                           f"{sum(sizes)}, the tensor has {rows} rows")
    ends = np.cumsum(sizes)
    return [array[end - size:end] for end, size in zip(ends, sizes)]


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: Sequence[int] | None = None,
                      input_split_sizes: Sequence[int] | None = None,
                      group: Any = None, async_op: bool = False) -> Work | None:
    """Rank i's part j goes into rank j's part i. Parts are along the first dimension, equal, or of the sizes given."""
    check_tensor(output, "output")
    check_tensor(input, "input")
    check_same([output], input._kind.dtype)
    pg = member(group, "all_to_all_single")
    if pg is None:
        return None
    outputs = Outputs()
    arrays = _split(input, values(input), input_split_sizes, pg.size(), "input")
    outs = _split(output, outputs.of(output), output_split_sizes, pg.size(), "output")
    if arrays[pg.rank()].shape != outs[pg.rank()].shape:
        raise RuntimeError(f"all_to_all_single: this rank's part for itself is {arrays[pg.rank()].shape} in the input and "
                           f"{outs[pg.rank()].shape} in "
                           "the output")

    def act(engine: Engine, call: Call) -> None:
        engine.alltoall(call, arrays, outs)
        outputs.done()
    return pg._run("all_to_all_single", str(input._kind.dtype).rpartition(".")[2], act, async_op, [output])


def barrier(group: Any = None, async_op: bool = False, device_ids: Sequence[int] | None = None) -> Work | None:
    """Wait until all ranks are here."""
    pg = member(group, "barrier")
    if pg is None:
        return None
    if device_ids is not None and not isinstance(device_ids, list):
        raise TypeError("Invalid function argument: device_ids type should be List[int]")
    return pg._run("barrier", "", lambda engine, call: engine.barrier(call), async_op)


def monitored_barrier(group: Any = None, timeout: timedelta | None = None, wait_all_ranks: bool = False) -> None:
    """Wait until all ranks are here; where they are not in time, rank 0's error names those that are missing.

    wait_all_ranks  all of them, instead of the first one
    """
    pg = member(group, "monitored_barrier")
    if pg is None:
        return
    limit = pg._timeout.total_seconds() if timeout is None else seconds(timeout)
    pg._run("monitored_barrier", "", lambda engine, call: _monitored(pg, engine, call, wait_all_ranks), False, timeout=limit)


def _monitored(pg: ProcessGroup, engine: Engine, call: Call, wait_all_ranks: bool) -> None:
    """Everybody tells rank 0, and rank 0 answers. The others wait a little longer, so that rank 0's error is the first."""
    nothing, tag = np.empty(0, np.uint8), -call.number if engine.name == "sockets" else 30000 + call.number % 2000
    if engine.rank:
        engine.isend(nothing, 0, tag, 1.0)
        engine.irecv(nothing, 0, tag, 1.0).wait(call.deadline + 5.0)
        return
    missing, handles = [], [(i, engine.irecv(np.empty(0, np.uint8), i, tag, 1.0)) for i in range(1, engine.size)]
    for i, handle in handles:
        try:
            handle.wait(max(call.deadline, time.monotonic() + 0.001))
        except (Late, PeerGone):
            missing.append(pg._ranks[i])
            if not wait_all_ranks:
                break
    if missing:
        raise DistBackendError(f"Rank(s) {', '.join(map(str, missing))} failed to pass monitoredBarrier in "
                               f"{(call.deadline - call.began) * 1000:.0f} ms: "
                               f"{pg._who_waits(call.text, [pg._places[r] for r in missing])}")
    for i, _ in handles:
        engine.isend(nothing, i, tag, 1.0)


def make_premul_sum(factor: Any) -> PremulSum:
    """PREMUL_SUM with its factor, a number or a tensor."""
    return PremulSum(factor)


settle("distributed.distributed_c10d", globals())
