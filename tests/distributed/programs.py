"""What the processes of the tests do. Each function runs in every rank; it checks itself against NumPy."""

import time
from datetime import timedelta

import numpy as np

import rushlight as torch
import rushlight.distributed as dist

COMBINE = {"SUM": np.add, "PRODUCT": np.multiply, "MIN": np.minimum, "MAX": np.maximum, "BAND": np.bitwise_and, "BOR": np.bitwise_or,
           "BXOR": np.bitwise_xor}
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool,
          torch.complex64,
          torch.complex128)


def begin(seconds=60):
    dist.init_process_group("gloo", timeout=timedelta(seconds=seconds))
    return dist.get_rank(), dist.get_world_size()


def values(rank, dtype, shape):
    """A rank's tensor: small integers, which every dtype adds and multiplies exactly."""
    numbers = np.random.default_rng(rank).integers(0, 3, shape)
    found = torch.tensor(numbers).to(dtype)
    return found + 1j * torch.tensor(numbers[::-1].copy()).to(dtype) if dtype.is_complex else found


def fold(op, parts):
    total = parts[0]
    for part in parts[1:]:
        total = COMBINE[op](total, part)
    return total


def reductions():
    """Every op and every dtype that has it, large and small, contiguous or not."""
    rank, size = begin()
    checks = 0
    for dtype in DTYPES:
        for op in ("SUM", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR"):
            if (dtype.is_complex and op != "SUM") or (dtype.is_floating_point and op[0] == "B"):
                continue
            for shape in ((3,), (2, 3), (), (0,), (5000,)):
                if shape == () and dtype.is_complex:
                    continue
                parts = [values(r, dtype, shape).numpy() if dtype is not torch.bfloat16 else values(r, dtype,
                                                                                                    shape)._a for r in range(size)]
                expected, x = fold(op, parts), values(rank, dtype, shape)
                y = x.clone()
                dist.all_reduce(x, getattr(dist.ReduceOp, op))
                assert np.array_equal(x._a, expected) and x.dtype is dtype, (dtype, op, shape)
                dist.reduce(y, 1, getattr(dist.ReduceOp, op))
                assert np.array_equal(y._a, expected if rank == 1 else parts[rank]), (dtype, op, shape)
                checks += 1
    x = torch.arange(6.).reshape(2, 3).t() * (rank + 1)
    dist.all_reduce(x)                                          # not contiguous
    assert torch.equal(x, torch.arange(6.).reshape(2, 3).t() * sum(range(1, size + 1)))
    x = torch.full((4,), float(rank))
    dist.all_reduce(x[::2], dist.ReduceOp.AVG)
    assert x.tolist() == [(size - 1) / 2, rank] * 2
    x = torch.full((2,), rank + 1.)
    dist.all_reduce(x, dist._make_nccl_premul_sum(0.5))
    assert x.tolist() == [sum(range(1, size + 1)) / 2] * 2
    dist.destroy_process_group()
    return checks


def movements():
    """All other collectives, their asynchronous forms, objects, messages."""
    rank, size = begin()
    x = torch.tensor([rank, rank * 10])
    outs = [torch.zeros(2, dtype=torch.int64) for _ in range(size)]
    dist.all_gather(outs, x)
    assert [o.tolist() for o in outs] == [[r, r * 10] for r in range(size)]
    whole = torch.zeros(2 * size, dtype=torch.int64)
    dist.all_gather_into_tensor(whole, x)
    assert whole.tolist() == [n for r in range(size) for n in (r, r * 10)]
    stacked = torch.zeros(size, 2, dtype=torch.int64)
    dist.all_gather_into_tensor(stacked, x, async_op=True).wait()
    assert stacked.reshape(-1).tolist() == whole.tolist()
    for root in range(size):
        y = x.clone()
        dist.broadcast(y, root)
        assert y.tolist() == [root, root * 10]
        into = [torch.zeros(2, dtype=torch.int64) for _ in range(size)] if rank == root else None
        dist.gather(x, into, root)
        assert into is None or [o.tolist() for o in into] == [[r, r * 10] for r in range(size)]
        y = torch.zeros(3, dtype=torch.bfloat16)
        dist.scatter(y, [torch.full((3,), r + root, dtype=torch.bfloat16) for r in range(size)] if rank == root else None, root)
        assert y.tolist() == [rank + root] * 3
    y = torch.zeros(3)
    dist.reduce_scatter(y, [torch.full((3,), r * 10. + rank) for r in range(size)])
    assert y.tolist() == [rank * 10. * size + sum(range(size))] * 3
    y = torch.zeros(2, 3)
    dist.reduce_scatter_tensor(y, torch.arange(6. * size).reshape(2 * size, 3) + rank, op=dist.ReduceOp.MAX)
    assert torch.equal(y, torch.arange(6. * size).reshape(2 * size, 3)[2 * rank:2 * rank + 2] + size - 1)
    outs = [torch.zeros(r + 1, rank + 1) for r in range(size)]
    dist.all_to_all(outs, [torch.full((rank + 1, r + 1), float(rank * 10 + r)) for r in range(size)])
    assert all(torch.equal(outs[r], torch.full((r + 1, rank + 1), float(r * 10 + rank))) for r in range(size))
    y = torch.zeros(size * (rank + 1), dtype=torch.int32)
    dist.all_to_all_single(y, torch.tensor([r for r in range(size) for _ in range(r + 1)], dtype=torch.int32), [rank + 1] * size,
                           list(range(1, size + 1)))
    assert y.tolist() == [rank] * len(y)
    works = [dist.all_reduce(torch.full((1000,), float(i)), async_op=True) for i in range(5)]
    last = torch.ones(2)
    dist.all_reduce(last)                                       # behind the others
    assert all(work.is_completed() and work.is_success() for work in works) and last.tolist() == [size] * 2
    assert works[3].result()[0][0] == 3 * size and works[3].get_future().wait()[0][0] == 3 * size
    two = [torch.ones(2), torch.full((3,), float(rank))]
    dist.all_reduce_coalesced(two)
    assert two[0].tolist() == [size] * 2 and two[1].tolist() == [sum(range(size))] * 3
    dist.barrier()
    dist.monitored_barrier(timeout=timedelta(seconds=30))
    objects(rank, size)
    messages(rank, size)
    groups(rank, size)
    dist.destroy_process_group()
    assert not dist.is_initialized()
    begin()                                                     # again, in the same processes
    x = torch.ones(1)
    dist.all_reduce(x)
    assert x.item() == size
    dist.destroy_process_group()


def objects(rank, size):
    found = [None] * size
    dist.all_gather_object(found, {"rank": rank, "text": "x" * rank * 1000})
    assert found == [{"rank": r, "text": "x" * r * 1000} for r in range(size)]
    found = [None] * size if rank == 1 else None
    dist.gather_object((rank, "y" * rank), found, dst=1)
    assert found is None or found == [(r, "y" * r) for r in range(size)]
    found = ["a", {1: 2}, torch.ones(2)] if rank == 0 else [None] * 3
    dist.broadcast_object_list(found)
    assert found[:2] == ["a", {1: 2}] and found[2].tolist() == [1, 1]
    found = [None]
    dist.scatter_object_list(found, [f"for {r}" for r in range(size)] if rank == 0 else None)
    assert found == [f"for {rank}"]
    if rank == 0:
        dist.send_object_list(["one", 2], 1)
    if rank == 1:
        found = [None, None]
        assert dist.recv_object_list(found, 0) == 0 and found == ["one", 2]


def messages(rank, size):
    right, left = (rank + 1) % size, (rank - 1) % size
    x, y = torch.full((100000,), float(rank)), torch.zeros(100000)
    works = dist.batch_isend_irecv([dist.P2POp(dist.isend, x, right), dist.P2POp(dist.irecv, y, left)])
    assert [work.wait() for work in works] == [True, True] and y[0] == left and y[-1] == left
    if rank == 0:
        dist.send(torch.tensor([1.]), 1, tag=7)
        dist.send(torch.tensor([2.]), 1, tag=8)
    if rank == 1:
        a, b = torch.zeros(1), torch.zeros(1)
        second = dist.irecv(b, 0, tag=8)
        dist.recv(a, 0, tag=7)
        second.wait()
        assert (a.item(), b.item()) == (1, 2)
    if rank:
        dist.send(torch.tensor([rank]), 0)
    else:
        seen = set()
        for _ in range(size - 1):
            x = torch.zeros(1, dtype=torch.int64)
            source = dist.recv(x)
            assert x.item() == source
            seen.add(source)
        assert seen == set(range(1, size))


def groups(rank, size):
    pairs = dist.new_group([0, 1])
    alone = dist.new_group([size - 1])
    assert (pairs == dist.GroupMember.NON_GROUP_MEMBER) == (rank > 1) and dist.get_rank(pairs) == (rank if rank < 2 else -1)
    if rank < 2:
        x = torch.tensor([rank + 1.])
        dist.all_reduce(x, group=pairs)
        assert x.item() == 3 and dist.get_world_size(pairs) == 2 and dist.get_process_group_ranks(pairs) == [0, 1]
        dist.destroy_process_group(pairs)
    if rank == size - 1:
        x = torch.tensor([5.])
        dist.all_reduce(x, group=alone)
        assert x.item() == 5 and dist.get_global_rank(alone, 0) == rank and dist.get_group_rank(alone, rank) == 0
    local, everybody = dist.new_subgroups(1)
    assert dist.get_world_size(local) == 1 and len(everybody) == size
    both = dist.new_group(list(reversed(range(size))))
    x = torch.tensor([float(rank)])
    dist.broadcast(x, size - 1, group=both)
    assert x.item() == size - 1


def random_programs(seed, count):
    """Random collectives, of which every rank computes the result by NumPy."""
    rank, size = begin()
    rng = np.random.default_rng(int(seed))
    for _ in range(int(count)):
        kind, op, root = rng.integers(6), ("SUM", "MIN", "MAX", "PRODUCT")[rng.integers(4)], int(rng.integers(size))
        shape = tuple(rng.integers(0, 40, rng.integers(1, 3)).tolist())
        dtype = (np.float32, np.float64, np.int64, np.int32, np.uint8)[rng.integers(5)]
        parts = [rng.integers(0, 3, shape).astype(dtype) for _ in range(size)]
        mine, wait = torch.tensor(parts[rank]), bool(rng.integers(2))
        if kind == 0:
            work, got, expected = dist.all_reduce(mine, getattr(dist.ReduceOp, op), async_op=wait), mine, fold(op, parts)
        elif kind == 1:
            work, got, expected = dist.broadcast(mine, root, async_op=wait), mine, parts[root]
        elif kind == 2:
            got = torch.empty(size, *shape, dtype=mine.dtype)
            work, expected = dist.all_gather_into_tensor(got, mine, async_op=wait), np.stack(parts)
        elif kind == 3:
            got = torch.empty(shape, dtype=mine.dtype)
            wholes = [np.stack([part + r for r in range(size)]) for part in parts]
            work = dist.reduce_scatter_tensor(got, torch.tensor(wholes[rank]), getattr(dist.ReduceOp, op), async_op=wait)
            expected = fold(op, wholes)[rank]
        elif kind == 4:
            got = torch.empty(size, *shape, dtype=mine.dtype)
            work = dist.all_to_all_single(got, torch.tensor(np.stack([parts[rank]] * size)), async_op=wait)
            expected = np.stack(parts)
        else:
            work, got = dist.reduce(mine, root, getattr(dist.ReduceOp, op), async_op=wait), mine
            expected = fold(op, parts) if rank == root else parts[rank]
        if work is not None:
            work.wait()
        assert np.array_equal(got.numpy(), expected), (kind, op, shape, dtype)
    dist.destroy_process_group()


# --- faults: what each rank's error says comes back ---------------------------------------------------------------------------------------

def said(act):
    began = time.monotonic()
    try:
        act()
    except Exception as error:
        return type(error).__name__, str(error), time.monotonic() - began
    return None


def missing_rank():
    """Rank 1 never comes."""
    rank, _ = begin(2)
    if rank == 1:
        time.sleep(6)
        return None
    return said(lambda: dist.all_reduce(torch.ones(3)))


def other_calls():
    rank, _ = begin(5)
    return said(lambda: dist.all_reduce(torch.ones(3)) if rank else dist.broadcast(torch.ones(3), 0))


def other_shapes():
    rank, _ = begin(5)
    return said(lambda: dist.all_reduce(torch.ones(3 + rank)))


def dies():
    """Rank 1 ends in the midst of it."""
    import os
    rank, _ = begin(20)
    dist.all_reduce(torch.ones(3))
    if rank == 1:
        os._exit(0)
    return said(lambda: [dist.all_reduce(torch.ones(3)) for _ in range(3)])


def late_for_barrier():
    rank, _ = begin(30)
    if rank == 1:
        time.sleep(4)
        return None
    return said(lambda: dist.monitored_barrier(timeout=timedelta(seconds=1)))


def summed():
    rank, size = begin()
    x = torch.full((1000,), rank + 1.)
    dist.all_reduce(x)
    assert x.min() == x.max()
    return x[0].item()
