"""How the ratio to PyTorch changes with size: ``python -m bench.sizes`` measures, ``--update-docs`` keeps it in docs/bench.json for the speed page's chart.

CPU time of one thread, the least of several repetitions, both frameworks in turn in processes of their own: the overhead of a call is most of the
time at the left of the chart and nothing of it at the right.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from .__main__ import machine
from .measure import FRAMEWORKS, ROOT, Options, environment

SIZES = [4 ** k for k in range(2, 12)]            # numbers in an operand: 16 to 4 million
SERIES = {"add": "a + b, recorded for gradients", "product": "product of square matrices", "layer": "linear layer and relu, forward and backward"}
Step = Callable[[], Any]


def steps(torch: Any, size: int) -> dict[str, Step]:
    """One step of each series, with `size` numbers in the operands (in the layer's weight)."""
    torch.manual_seed(0)
    side = int(size ** 0.5)
    a, b = torch.rand(size).requires_grad_(), torch.rand(size)
    m, n = torch.rand(side, side), torch.rand(side, side)
    layer, x = torch.nn.Linear(side, side), torch.rand(32, side)

    def train() -> Any:
        layer.zero_grad()
        loss = torch.nn.functional.relu(layer(x)).sum()
        loss.backward()
        return loss
    return {"add": lambda: a + b, "product": lambda: m @ n, "layer": train}


def seconds(step: Step, least: float = 0.01, repetitions: int = 5) -> float:
    """CPU seconds of one step: as many in a row as take `least` seconds, the least of the repetitions."""
    count = 1
    while (found := _cpu(step, count)) < least:
        count = max(2 * count, int(1.2 * count * least / max(found, 1e-6)))
    return min([found, *(_cpu(step, count) for _ in range(repetitions - 1))]) / count


def _cpu(step: Step, count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        step()
    return time.process_time() - start


def child(framework: str, sizes: list[int]) -> dict[str, list[float]]:
    """Seconds of every series at every size, in this process."""
    torch = importlib.import_module(framework)
    importlib.import_module(f"{framework}.nn")
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in SERIES}
    for size in sizes:
        for name, step in steps(torch, size).items():
            step()
            found[name].append(seconds(step))
    return found


def measure(sizes: list[int] = SIZES, rounds: int = 3) -> dict[str, Any]:
    """What docs/bench.json keeps: the sizes, and the ratio of each series at each of them (of the least times over the rounds)."""
    best: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for framework in FRAMEWORKS if number % 2 == 0 else FRAMEWORKS[::-1]:
            command = [sys.executable, "-m", "bench.sizes", "--child", framework, *map(str, sizes)]
            done = subprocess.run(command, env=environment(1), cwd=ROOT, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            before = best.setdefault(framework, found)
            best[framework] = {name: list(map(min, before[name], found[name])) for name in SERIES}
    ours, theirs = (best[framework] for framework in FRAMEWORKS)
    ratios = {title: [float(f"{x / y:.3g}") for x, y in zip(ours[name], theirs[name], strict=True)] for name, title in SERIES.items()}
    return {"machine": machine(Options(rounds, threads=1)), "numbers": sizes, "ratios": ratios}


def main() -> None:
    """Measure and print; or, for `measure`, one side of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizes", description="The ratio to PyTorch's CPU time by size; below 1 is faster.")
    parser.add_argument("--child", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each framework (default 3)")
    parser.add_argument("--update-docs", action="store_true", help="write the ratios into docs/bench.json")
    parser.add_argument("sizes", nargs="*", type=int, help="numbers in an operand; squares (default: 16 to 4 million)")
    arguments = parser.parse_args()
    sizes = arguments.sizes or SIZES
    if arguments.child:
        print(json.dumps(child(arguments.child, sizes)))
        return
    found = measure(sizes, arguments.rounds)
    print(f"{'numbers':>44}" + "".join(f"{size:>9}" for size in sizes))
    for title, ratios in found["ratios"].items():
        print(f"{title:>44}" + "".join(f"{ratio:>9.2f}" for ratio in ratios))
    if arguments.update_docs:
        path = ROOT / "docs" / "bench.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "sizes": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
