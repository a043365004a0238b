"""Stage "timing": the rows of bench/gpu.py, both libraries in one process on the same GPU, by events; ratios below 1 are faster.

Both take turns; the best of each counts. Where a row says how many bytes it moves, or operations it computes, the share of what a copy, or a product
of large matrices, was measured to reach here (by whichever library is faster at it) stands beside the ratio.
"""

from __future__ import annotations

import gc
import math
from functools import cache
from statistics import geometric_mean
from typing import Any

from bench import gpu
from bench.child import _loop, _nothing, _time_events, _time_ops
from bench.workloads import Row, Step

from .draws import pytorch
from .plan import Case, Context, Failed

ORDER = ("add", "softmax", "matmul_bf16", "ops", "graph_or_eager", "layer_norm", "gpt2", "resnet50", "matmul_fp32", "resnet50_bf16", "chain", "conv_bf16",
         "conv", "gelu", "batch_norm", "adam", "graph", "resnet18")
QUICK = ("add", "matmul_bf16", "chain")
# Operations of the rows that are one product or convolution (forward, and both gradients), and the arithmetic that they do.
PRODUCTS = {"matmul_fp32": ("float32", 2.0 * 4096 ** 3), "matmul_bf16": ("bfloat16", 2.0 * 8192 ** 3),
            "conv": ("tf32", 6.0 * 64 * 28 * 28 * 128 * 128 * 9), "conv_bf16": ("bfloat16", 6.0 * 64 * 28 * 28 * 128 * 128 * 9)}
COPY_GOAL = 0.8      # of the copy bandwidth, for the rows that only move memory
ROUNDS, SECONDS = 3, 0.3


def cases(context: Context) -> list[Case]:
    """What the machine reaches, then the rows, those with a budget first."""
    rows = sorted(gpu.GPU_ROWS, key=lambda row: ORDER.index(row.name) if row.name in ORDER else len(ORDER))
    return [Case("limits", _limits, quick=True), *[Case(row.name, lambda context, row=row: measure(row, context), row.name in QUICK) for row in rows]]


def _limits(context: Context) -> dict[str, Any]:
    return {"copy": copy_bandwidth(context), **{kind: product_rate(context, kind) for kind in ("bfloat16", "tf32", "float32")}}


def sides(context: Context) -> list[tuple[Any, str]]:
    """Both libraries, and the device of each; on the stand-in PyTorch computes on the CPU, which says nothing about speed."""
    import rushlight
    return [(rushlight, "cuda"), (pytorch(context), "cpu" if context.standin else "cuda")]


def seconds_of(T: Any, device: str, step: Any, seconds: float) -> float:
    """The time of a step, by events on a GPU."""
    return _time_events(T, step, seconds)["seconds"] if device == "cuda" else min(_loop(step, 1, _nothing) for _ in range(3))


def _copy(T: Any, device: str, n: int) -> Step:
    x, y = T.zeros(n, device=device), T.zeros(n, device=device)
    return lambda: y.copy_(x)[:1]


def _product(T: Any, device: str, n: int, kind: str) -> Step:
    x = T.rand(n, n, device=device).to(T.bfloat16 if kind == "bfloat16" else T.float32)
    return lambda: (x @ x)[0, :1]


@cache
def copy_bandwidth(context: Context) -> float:
    """Bytes per second that a large copy reads and writes."""
    n, best = 1 << (12 if context.standin else 28), 0.0
    for T, device in sides(context):
        best = max(best, 8 * n / seconds_of(T, device, _copy(T, device, n), 0.2))
        free(T)
    return best


@cache
def product_rate(context: Context, kind: str) -> float:
    """Operations per second of a product of two large matrices of random numbers."""
    n, best = 16 if context.standin else 8192 if kind != "float32" else 4096, 0.0
    for T, device in sides(context):
        T.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
        best = max(best, 2.0 * n ** 3 / seconds_of(T, device, _product(T, device, n, kind), 0.2))
        T.set_float32_matmul_precision("highest")
        free(T)
    return best


def free(T: Any) -> None:
    """Give memory back, so that the other library finds it."""
    gc.collect()
    if T.cuda.is_available():
        T.cuda.empty_cache()


def measure(row: Row, context: Context) -> dict[str, Any]:
    """One row on both sides; Failed where the results differ."""
    pair = sides(context)
    sizes = gpu.SMALL.get(row.name, {}) if context.standin else {}
    works = [row.setup(T, device, **sizes) for T, device in pair]
    if row.unit == "ops":
        seconds, rounds = (0.02, 1) if context.standin else (1.5, 1)
        each = [_time_ops(work, seconds, T.cuda.synchronize if device == "cuda" else _nothing)["each"] for (T, device), work in zip(pair, works)]
        ratios = {name: each[0][name] / each[1][name] for name in each[0]}
        figures: dict[str, Any] = {"ours": geometric_mean(each[0].values()), "theirs": geometric_mean(each[1].values()), "ratio": geometric_mean(ratios.values()),
                                   "slowest": sorted(((round(v, 2), k) for k, v in ratios.items()), reverse=True)[:6]}
    else:
        values = [float(work().detach().double().sum()) for work in works]
        rounds, seconds = (1, 0.01) if context.standin else (ROUNDS, SECONDS)
        times = [[seconds_of(T, device, work, seconds) for (T, device), work in zip(pair, works)] for _ in range(rounds)]
        ours, theirs = (min(each) for each in zip(*times))
        figures = {"ours": ours, "theirs": theirs, "ratio": ours / theirs, "values": values}
        figures |= _shares(row, context, ours)
        if not math.isclose(*values, rel_tol=2e-2, abs_tol=2e-2):
            raise Failed(f"the results differ: {values[0]:.6g}, PyTorch's {values[1]:.6g}", figures)
    del works
    for T, _ in pair:
        free(T)
    return figures | {"budget": row.budget, "kept": None if row.budget is None else figures["ratio"] <= row.budget and figures.get("share", 1.0) >= figures.get("goal", 0.0)}


def _shares(row: Row, context: Context, seconds: float) -> dict[str, Any]:
    if row.moved:
        return {"share": row.moved / seconds / copy_bandwidth(context), "of": "copy", **({"goal": COPY_GOAL} if row.budget else {})} if not context.standin else {}
    if row.name in PRODUCTS and not context.standin:
        kind, operations = PRODUCTS[row.name]
        return {"share": operations / seconds / product_rate(context, kind), "of": f"{kind} products"}
    return {}
