"""How far several processes scale: what an allreduce costs here, and what a step of training then costs on 2 to 4,096 workers.

``python -m bench.scaling`` measures allreduce on two processes (over sockets, over MPI and by mpi4py itself where it is installed), the overhead of
DistributedDataParallel, and prints the table of the model. The model is alpha-beta: a message of n bytes takes alpha + beta * n.

    ring   2 (p - 1) messages of n / p bytes behind each other: the least bytes
    tree   2 log2(p) messages of n bytes: the fewest messages
    step   buckets leave while backward runs, one after the other; what is not done by its end is waited for
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

SIZES = [1 << k for k in range(0, 27, 2)]        # bytes


def ring(size: float, workers: int, alpha: float, beta: float) -> float:
    """Seconds of an allreduce in a ring."""
    return 2 * (workers - 1) * (alpha + beta * size / workers)


def tree(size: float, workers: int, alpha: float, beta: float) -> float:
    """Seconds of an allreduce up and down a tree."""
    return 2 * math.ceil(math.log2(workers)) * (alpha + beta * size)


def allreduce(size: float, workers: int, alpha: float, beta: float) -> float:
    """The better of both."""
    return 0.0 if workers == 1 else min(ring(size, workers, alpha, beta), tree(size, workers, alpha, beta))


def step(forward: float, backward: float, buckets: Sequence[float], workers: int, alpha: float, beta: float, overlap: bool = True) -> float:
    """Seconds of a step. The buckets (bytes, in the order of sending) become ready at even distances while backward runs."""
    free = 0.0
    for i, size in enumerate(buckets, 1):
        ready = backward * i / len(buckets) if overlap else backward
        free = max(free, ready) + allreduce(size, workers, alpha, beta)
    return forward + max(backward, free)


def efficiency(forward: float, backward: float, buckets: Sequence[float], workers: int, alpha: float, beta: float) -> float:
    """The share of the time in which a worker computes (each has a batch of the same size)."""
    return (forward + backward) / step(forward, backward, buckets, workers, alpha, beta)


def calibrated(points: Sequence[tuple[int, float]], workers: int = 2) -> tuple[float, float]:
    """(alpha, beta) of measured (bytes, seconds): the fit in which every point's relative error counts the same."""
    rows = np.array([[2 * (workers - 1), 2 * (workers - 1) * size / workers] for size, _ in points])
    times = np.array([seconds for _, seconds in points])
    found = np.linalg.lstsq(rows / times[:, None], np.ones(len(points)), rcond=None)[0]
    return max(float(found[0]), 1e-9), max(float(found[1]), 1e-13)


# --- measuring ----------------------------------------------------------------------------------------------------------------------------


def _best(act, turns: int) -> float:
    found = []
    for _ in range(turns):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return min(found)


def _worker(kind: str) -> None:
    """One of two processes: prints bytes and seconds of each size (rank 0)."""
    import rushlight as torch
    import rushlight.distributed as dist
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    raw = None
    if kind == "raw":
        from mpi4py import MPI
        raw = MPI.COMM_WORLD
    for size in SIZES:
        x = torch.zeros(size, dtype=torch.uint8) if size < 4 else torch.zeros(size // 4)
        act = (lambda a=x.numpy(): raw.Allreduce(MPI.IN_PLACE, a)) if raw is not None else (lambda t=x: dist.all_reduce(t))
        act()
        seconds = _best(act, 200 if size < 1 << 16 else 30 if size < 1 << 22 else 8)
        if rank == 0:
            print(size, seconds, flush=True)
    if kind == "sockets":
        _overhead(rank)
    dist.destroy_process_group()


def _overhead(rank: int) -> None:
    """What DDP adds to a step of a tiny model, beyond the allreduce itself."""
    import rushlight as torch
    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    ddp, x = torch.nn.parallel.DistributedDataParallel(net), torch.ones(4, 8)
    flat = torch.zeros(sum(p.numel() for p in net.parameters()))
    times = [_best(act, 500) for act in (lambda: net(x).sum().backward(), lambda: ddp(x).sum().backward(),
                                         lambda: torch.distributed.all_reduce(flat))]
    if rank == 0:
        print("ddp", *times, flush=True)


def measured(kind: str) -> tuple[list[tuple[int, float]], list[float]]:
    """(bytes, seconds) of an allreduce on two processes, and (step, step of DDP, allreduce) where it is measured."""
    import socket
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
           "RUSHLIGHT_DISTRIBUTED": "sockets" if kind == "sockets" else "mpi"}
    begun = [subprocess.Popen([sys.executable, "-m", "bench.scaling", "--worker", kind], env={**env, "RANK": str(rank)}, stdout=subprocess.PIPE,
                              text=True) for rank in range(2)]
    lines = begun[0].communicate(timeout=300)[0].split("\n")
    begun[1].communicate(timeout=60)
    points = [(int(a), float(b)) for a, b in (line.split() for line in lines if line and line[0].isdigit())]
    return points, next(([float(each) for each in line.split()[1:]] for line in lines if line.startswith("ddp")), [])


def main() -> None:
    """Measure and print."""
    from importlib.util import find_spec
    kinds = ["sockets"] + (["mpi", "raw"] if find_spec("mpi4py") else [])
    results = {kind: measured(kind) for kind in kinds}
    print("bytes      " + "".join(f"{kind:>14}" for kind in kinds) + "   (microseconds, two processes)")
    for i, size in enumerate(SIZES):
        print(f"{size:<11}" + "".join(f"{results[kind][0][i][1] * 1e6:14.1f}" for kind in kinds))
    alone, ddp, own = results["sockets"][1]
    print(f"DDP on a tiny model: {alone * 1e6:.0f} us by itself, {ddp * 1e6:.0f} us with DDP, of which the allreduce is {own * 1e6:.0f} us")
    alpha, beta = calibrated(results["sockets"][0])
    print(f"alpha {alpha * 1e6:.1f} us, beta {beta * 1e9:.3f} ns a byte ({1e-9 / beta:.2f} GB/s)")
    buckets = [1 << 20, *[25 << 20] * 4]
    for name, a, b in (("these sockets", alpha, beta), ("10 Gbit/s", 30e-6, 0.8e-9), ("100 Gbit/s", 5e-6, 0.08e-9)):
        row = [f"{n}: {efficiency(0.1, 0.2, buckets, n, a, b):.2f}" for n in (2, 8, 64, 512, 4096)]
        print(f"efficiency of a step of 0.3 s with 101 MB of gradients, {name}: {'  '.join(row)}")


if __name__ == "__main__":
    if "--worker" in sys.argv:
        _worker(sys.argv[2])
    else:
        main()
