"""One measurement in a process of its own: ``python -m bench.child FRAMEWORK ROW SECONDS THREADS DEVICE`` prints one line of JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from .gpu import GPU_ROWS
from .workloads import ROWS

MIN_STEPS = 3


def main() -> None:
    """Measure and print."""
    framework, name, seconds, threads, device = sys.argv[1:]
    row = next(row for row in (ROWS if device == "cpu" else GPU_ROWS) if row.name == name)
    torch = importlib.import_module(framework)
    for part in ("nn", "optim", "utils.data"):
        importlib.import_module(f"{framework}.{part}")
    torch.set_num_threads(int(threads))
    work = row.setup(torch, device)
    wait = torch.cuda.synchronize if device != "cpu" else _nothing
    if row.unit == "ops":
        result = _time_ops(work, float(seconds), wait)
    else:
        result = _time_steps(work, float(seconds), wait) if device == "cpu" else _time_events(torch, work, float(seconds))
    peak = peak_megabytes() if device == "cpu" else torch.cuda.max_memory_allocated() / 2 ** 20
    if row.moved:
        result |= {"rate": row.moved / result["seconds"], "limit": _copy_bandwidth(torch, device)}
    elif row.flops:
        result |= {"rate": row.flops / result["seconds"], "limit": _product_rate(torch, device)}
    print(json.dumps({**result, "peak_mb": peak, "version": str(torch.__version__)}))


def _nothing() -> None:
    """The CPU has finished when the call returns."""


def _time_steps(step: Callable[[], Any], seconds: float, wait: Callable[[], None]) -> dict[str, Any]:
    value = float(step().detach().double().sum())
    step()
    wait()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < MIN_STEPS or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - start)
    return {"seconds": median(times), "value": value}


def _time_events(torch: Any, step: Callable[[], Any], seconds: float) -> dict[str, Any]:
    """The time of a step on the GPU, by events: the best of several rows of steps, so that waiting for the host counts where it happens."""
    value = float(step().detach().double().sum())
    step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    count = max(1, int(seconds / 7 / max(time.perf_counter() - start, 1e-6)))
    best = float("inf")
    for _ in range(7):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        for _ in range(count):
            step()
        last.record()
        last.synchronize()
        best = min(best, first.elapsed_time(last) / 1e3 / count)
    return {"seconds": best, "value": value}


def _best_seconds(torch: Any, step: Callable[[], Any], device: str) -> float:
    if device != "cpu":
        return _time_events(torch, step, 0.2)["seconds"]
    return min(_loop(step, 1, _nothing) for _ in range(12))


def _copy_bandwidth(torch: Any, device: str) -> float:
    """What a copy of much more than the caches hold reads and writes, in bytes per second."""
    n = 1 << 28 if device != "cpu" else 1 << 26
    x, y = torch.zeros(n, device=device), torch.zeros(n, device=device)
    return 2 * 4 * n / _best_seconds(torch, lambda: y.copy_(x)[:1], device)


def _product_rate(torch: Any, device: str) -> float:
    """Floating-point operations per second of the product of two float32 matrices of 1024 (on a GPU 8192) rows and columns."""
    n = 8192 if device != "cpu" else 1024
    x = torch.rand(n, n, device=device)
    with torch.no_grad():
        return 2 * n ** 3 / _best_seconds(torch, lambda: x @ x, device)


def _time_ops(ops: dict[str, Callable[[], Any]], seconds: float, wait: Callable[[], None]) -> dict[str, Any]:
    """The time of each operation: the best of several loops, since what disturbs a microsecond only ever adds to it."""
    each = {name: _best_loop(op, seconds / len(ops), wait) for name, op in ops.items()}
    return {"each": each, "value": 0.0}


def _best_loop(op: Callable[[], Any], seconds: float, wait: Callable[[], None], count: int = 50) -> float:
    rounds = 7
    took = _loop(op, count, wait)
    count = max(1 if count == 1 else 10, int(count * seconds / rounds / max(took, 1e-9)))
    return min(_loop(op, count, wait) for _ in range(rounds)) / count


def _loop(op: Callable[[], Any], count: int, wait: Callable[[], None]) -> float:
    again = range(count)
    start = time.perf_counter()
    for _ in again:
        op()
    wait()
    return time.perf_counter() - start


def peak_megabytes() -> float:
    """The most memory this process has held, in MiB (its workers' not counted)."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 ** 2 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
