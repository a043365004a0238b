"""Stage "kernels": every raw kernel launched under error checks, its results against the CPU's; what was launched is counted, by kernel and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .kernel_cases import CASES, DRAWS, Work
from .plan import Case, Context, Failed, results

# Norm of the difference over the norm of the CPU's result, by dtype ("tf32": float32 through TF32).
TOLERANCE = {**dict.fromkeys(("int64", "int32", "int16", "int8", "uint8", "bool"), 0.0), "float64": 1e-11, "float32": 2e-5, "tf32": 4e-3, "float16": 8e-3, "bfloat16": 6e-2}
QUICK = ("softmax float32", "layer_norm float32", "cross_entropy float32")
LAUNCHED: set[str] = set()


def cases(context: Context) -> list[Case]:
    """All families in all dtypes, the drawn numbers, and what was left out."""
    _count()
    found = [Case(f"{name} {dtype}", lambda context, work=work, dtype=dtype: compare(work, dtype), f"{name} {dtype}" in QUICK)
             for name, (work, dtypes) in CASES.items() for dtype in dtypes]
    found += [Case(f"draw {name}", lambda context, work=work: drawn(work)) for name, work in DRAWS.items()]
    return [*found, Case("coverage", coverage, quick=True)]


def _count() -> None:
    """Note the name of every kernel that is asked for in this process."""
    from rushlight.kernels.cuda.source import Kernel
    original = Kernel.__call__

    def counted(self: Kernel, dtype: str) -> Any:
        LAUNCHED.add(self.entry(dtype))
        return original(self, dtype)
    Kernel.__call__ = counted  # type: ignore[method-assign]


def compare(work: Work, dtype: str) -> dict[str, Any]:
    """Both devices' results, and the worst difference; Failed where it is above the dtype's."""
    import numpy as np

    import rushlight as torch
    LAUNCHED.clear()
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    kind = "float32" if dtype == "tf32" else dtype
    ours = [each.detach() for each in work(torch, "cuda", kind)]
    torch.cuda.synchronize()
    wanted = [each.detach() for each in work(torch, "cpu", kind)]
    worst, problems = 0.0, []
    for number, (a, b) in enumerate(zip(ours, wanted, strict=True)):
        if not a.is_cuda or a.dtype != b.dtype or a.shape != b.shape:
            problems.append(f"result {number}: {a.device} {a.dtype} {tuple(a.shape)}, not {b.dtype} {tuple(b.shape)}")
            continue
        x, y = (each.cpu().double().numpy().astype(np.float64) for each in (a, b))
        error = float(np.linalg.norm((x - y).ravel()) / max(float(np.linalg.norm(y.ravel())), 1e-3))
        worst = max(worst, error) if error == error else error
        if not error <= TOLERANCE[dtype]:
            at = np.unravel_index(np.nanargmax(np.abs(x - y)) if np.isfinite(x - y).any() else 0, x.shape)
            problems.append(f"result {number}: relative difference {error:.2e}; the largest at {tuple(map(int, at))}: {x[at]!r}, not {y[at]!r}")
    figures = {"difference": worst, "launched": sorted(LAUNCHED)}
    if problems:
        raise Failed("\n".join(problems), figures)
    return figures


def drawn(work: Callable[[Any], list[str]]) -> dict[str, Any]:
    """Random numbers, of which only their distribution is looked at here; the stage "draws" compares them with PyTorch's."""
    import rushlight as torch
    LAUNCHED.clear()
    torch.cuda.manual_seed(1)
    problems = work(torch)
    torch.cuda.synchronize()
    if problems:
        raise Failed("\n".join(problems), {"launched": sorted(LAUNCHED)})
    return {"launched": sorted(LAUNCHED)}


def coverage(context: Context) -> dict[str, Any]:
    """Which kernels of those that exist by themselves (formulas and optimizers make others) no case has launched. Failed where that holds in every dtype;
    in single dtypes some are made for completeness only: no op of PyTorch's reaches them."""
    from rushlight.kernels.cuda import source
    every = {name for name, _ in source.all_sources() if not name.startswith("formula_")}
    launched = {name for record in results(context.out) if record["stage"] == "kernels" for name in record["figures"].get("launched", ())}
    families = {_family(name) for name in launched}
    missing = sorted(every - launched)
    figures = {"kernels": len(every), "launched alone": len(every & launched), "formulas and optimizers": len(launched - every), "not in this dtype": missing}
    never = [name for name in missing if _family(name) not in families]
    if never and not context.quick:
        raise Failed("not launched in any dtype: " + ", ".join(never), figures)
    return figures


def _family(name: str) -> str:
    """A kernel's name without its dtype."""
    stem, _, kind = name.rpartition("_")
    return stem if kind.startswith(("int", "uint", "float", "bfloat", "bool", "complex")) else name
