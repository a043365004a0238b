"""Stage "draws": random numbers of both libraries from the same seeds on the same GPU, number by number, and how far both generators went.

On the stand-in the CPU's streams take the place of both, so that the comparison itself is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .plan import Case, Context, Failed, Skipped

SEEDS = (0, 7, (1 << 40) + 3)
SIZES = (1, 5, 1000, 4097, 300_001, 3_000_000)
SMALL = (1, 5, 257)
EXACT = 0.999                 # the share of numbers that has to be equal bit for bit, and
CLOSE = 2e-5                  # how far the others may be, relative to the largest

Draw = Callable[[Any, str, int], Any]

DRAWS: dict[str, Draw] = {
    "rand": lambda T, d, n: T.rand(n, device=d),
    "rand double": lambda T, d, n: T.rand(n, device=d, dtype=T.float64),
    "rand half": lambda T, d, n: T.rand(n, device=d, dtype=T.float16),
    "rand bfloat16": lambda T, d, n: T.rand(n, device=d, dtype=T.bfloat16),
    "uniform_": lambda T, d, n: T.empty(n, device=d).uniform_(-3, 5),
    "randn": lambda T, d, n: T.randn(n, device=d),
    "randn double": lambda T, d, n: T.randn(n, device=d, dtype=T.float64),
    "randn half": lambda T, d, n: T.randn(n, device=d, dtype=T.float16),
    "randint": lambda T, d, n: T.randint(1000, (n,), device=d),
    "randint wide": lambda T, d, n: T.randint(1 << 40, (n,), device=d),
    "random_ uint8": lambda T, d, n: T.empty(n, device=d, dtype=T.uint8).random_(),
    "randperm": lambda T, d, n: T.randperm(min(n, 300_001), device=d),
    "bernoulli_": lambda T, d, n: T.empty(n, device=d).bernoulli_(0.3),
    "bernoulli": lambda T, d, n: T.bernoulli(T.linspace(0, 1, n, device=d)),
    "exponential_": lambda T, d, n: T.empty(n, device=d).exponential_(2.0),
    "log_normal_": lambda T, d, n: T.empty(n, device=d).log_normal_(0.5, 0.25),
    "cauchy_": lambda T, d, n: T.empty(n, device=d).cauchy_(),
    "geometric_": lambda T, d, n: T.empty(n, device=d).geometric_(0.3),
    "dropout": lambda T, d, n: T.nn.functional.dropout(T.ones(n, device=d), 0.4),
    "dropout bfloat16": lambda T, d, n: T.nn.functional.dropout(T.ones(n, device=d, dtype=T.bfloat16), 0.4),
    "multinomial": lambda T, d, n: T.multinomial(T.linspace(1, 2, min(n, 4097), device=d), 1 + min(n, 4097) // 2),
    "multinomial again": lambda T, d, n: T.multinomial(T.linspace(1, 2, 9, device=d), min(n, 4097), replacement=True),
    "poisson": lambda T, d, n: T.poisson(T.full((n,), 5.0, device=d)),
    "gamma": lambda T, d, n: T._standard_gamma(T.full((n,), 2.5, device=d)),
    "not contiguous": lambda T, d, n: T.empty(max(1, n // 5), 7, device=d).t().uniform_(),
    "init": lambda T, d, n: T.nn.init.kaiming_normal_(T.empty(max(1, n // 64), 64, device=d)),
}
QUICK = ("rand", "randint", "randn")


def cases(context: Context) -> list[Case]:
    """One case per function that draws."""
    return [Case(name, lambda context, draw=draw: compare(draw, context), name in QUICK) for name, draw in DRAWS.items()]


def compare(draw: Draw, context: Context) -> dict[str, Any]:
    """Every seed and size; the share of equal numbers, the largest difference, and whether the offsets agree."""
    import numpy as np

    import rushlight
    torch = pytorch(context)
    theirs_at = "cpu" if context.standin else "cuda"
    if context.standin:
        rushlight.cuda.random.use_cpu_streams()
    equal = total = 0
    worst, problems = 0.0, []
    for seed in SEEDS:
        for n in SMALL if context.standin else SIZES:
            rushlight.manual_seed(seed)
            torch.manual_seed(seed)
            ours, theirs = (draw(T, at, n).detach().cpu().double().numpy() for T, at in ((rushlight, "cuda"), (torch, theirs_at)))
            if ours.shape != theirs.shape:
                problems.append(f"seed {seed}, {n}: shapes {ours.shape} and {theirs.shape}")
                continue
            same = ours == theirs
            equal, total = equal + int(same.sum()), total + same.size
            largest = float(np.abs(theirs).max(initial=1e-30))
            difference = float(np.abs(ours - theirs).max(initial=0.0)) / largest
            worst = max(worst, difference)
            if same.mean() < EXACT and difference > CLOSE:
                at = int(np.argmin(same.ravel()))
                problems.append(f"seed {seed}, {n} numbers: {same.mean():.1%} equal; first at {at}: {ours.ravel()[at]!r}, PyTorch {theirs.ravel()[at]!r}")
            if not context.standin:
                offsets = [T.cuda.default_generators[0].get_offset() for T in (rushlight, torch)]
                if offsets[0] != offsets[1]:
                    problems.append(f"seed {seed}, {n} numbers: offset {offsets[0]}, PyTorch's {offsets[1]}")
    figures = {"equal": equal / max(total, 1), "difference": worst, "numbers": total}
    if problems:
        raise Failed("\n".join(problems[:6]), figures)
    return figures


def pytorch(context: Context) -> Any:
    """PyTorch, with a GPU unless the stand-in plays ours; Skipped without."""
    try:
        import torch
    except ImportError as error:
        raise Skipped(f"no PyTorch: {error}") from None
    if not context.standin and not torch.cuda.is_available():
        raise Skipped(f"PyTorch {torch.__version__} has no GPU here")
    return torch
