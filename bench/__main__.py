"""``python -m bench``: measure, print the table, and with ``--update-docs`` write it into docs/speed.md, and its numbers into docs/bench.json."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from datetime import date
from importlib import metadata

from . import measure
from .gpu import GPU_ROWS
from .measure import ROOT, Options, Result
from .workloads import ROWS

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
EXTRAS = ("import", "size")


def main() -> int:
    """Exit code 0; 1 when a row could not be measured or docs/speed.md has no place for the table; 2 for wrong arguments."""
    arguments = _arguments()
    every = ROWS if arguments.device == "cpu" else GPU_ROWS
    names = [row.name for row in every] + (list(EXTRAS) if arguments.device == "cpu" else [])
    wanted = arguments.rows.split(",") if arguments.rows else names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        print(f"bench: there is no row {', '.join(unknown)}; the rows are {', '.join(names)}", file=sys.stderr)
        return 2
    page = ROOT / "docs" / "speed.md"
    if arguments.update_docs and not _has_place(page):
        print(f"bench: {page} has no lines {START} and {END} to write between", file=sys.stderr)
        return 1
    options = Options(1, 0.15, arguments.threads, arguments.device, 60.0) if arguments.quick else Options(
        arguments.rounds, arguments.seconds, arguments.threads, arguments.device)
    print(machine(options), flush=True)
    rows = [row for row in every if row.name in wanted]
    results = measure.run(rows, options, lambda result: print(_line(result), flush=True), set(wanted))
    if arguments.each:
        _print_each(results)
    if arguments.update_docs:
        _update(page, results, options)
        path = ROOT / "docs" / "bench.json"
        path.write_text(numbers(results, options, json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    return 1 if any(result.problem for result in results) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Rushlight against PyTorch on this machine: ratios below 1 are faster.")
    parser.add_argument("--rows", help="names with commas between: " + ", ".join([row.name for row in ROWS] + list(EXTRAS))
                        + "; on cuda: " + ", ".join(row.name for row in GPU_ROWS))
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, not how fast")
    parser.add_argument("--rounds", type=int, default=5, help="fresh processes of each framework per row (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time per process and row (default 2)")
    parser.add_argument("--threads", type=int, default=2, help="threads of both frameworks (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda where both frameworks have it")
    parser.add_argument("--each", action="store_true", help="print the ratio of each small op as well")
    parser.add_argument("--update-docs", action="store_true", help=f"rewrite docs/bench.json, and the table in docs/speed.md between {START} and {END}")
    return parser.parse_args()


def machine(options: Options) -> str:
    """What was measured on: processor, CPUs, threads, versions."""
    return (f"{_cpu_model()}, {os.cpu_count()} CPUs, {options.threads} threads, {options.device}; Python {platform.python_version()}, "
            f"NumPy {metadata.version('numpy')}, PyTorch {metadata.version('torch')}; {date.today()}")


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _amount(value: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    if unit == "MB":
        return f"{value:.0f} MB"
    for scale, name in ((1.0, "s"), (1e-3, "ms")):
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value / 1e-6:.3g} us"


def _cells(result: Result) -> list[str]:
    verdict = {None: "", True: "yes", False: "no"}[result.kept]
    memory = f"{result.memory[0]:.0f} / {result.memory[1]:.0f} MB" if result.memory else ""
    shares = f"{result.shares[0]:.1%} / {result.shares[1]:.1%} of {result.limit}" if result.shares else ""
    if result.problem and math.isnan(result.ratio):
        return [result.title, "-", "-", "not measured", f"{result.budget or ''}", verdict, memory, shares]
    return [result.title, _amount(result.figures[0], result.unit), _amount(result.figures[1], result.unit), f"{result.ratio:.2f}",
            "" if result.budget is None else f"{result.budget}", verdict, memory, shares]


def _line(result: Result) -> str:
    title, ours, theirs, ratio, budget, verdict, memory, shares = _cells(result)
    mark = {"yes": "kept", "no": "MISSED", "": ""}[verdict]
    line = f"{title[:76]:76} {ours:>9} {theirs:>9} {ratio:>7}  budget {budget or '-':>4} {mark:7} {memory:16} {shares}"
    return f"{line}\n    {result.problem}" if result.problem else line


def _print_each(results: list[Result]) -> None:
    for result in results:
        for name, ratio in sorted((result.each or {}).items(), key=lambda one: -one[1]):
            print(f"    {name:16} {ratio:.2f}")


def table(results: list[Result], options: Options) -> str:
    """The Markdown table, with the machine's name."""
    head = ["what", "rushlight", "PyTorch", "ratio", "budget", "kept", "peak memory", "roofline"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head)), *[" | ".join(_cells(result)) for result in results]]
    text = "\n".join(f"| {line} |" for line in lines)
    return (f"{text}\n\nMeasured on {machine(options)}; median over {options.rounds} rounds of fresh processes in turn. Ratios below 1: "
            "rushlight is faster, smaller. Peak memory is that of the whole process, rushlight / PyTorch. Roofline: the share that both reach of the "
            "rate of products (1024 x 1024, float32) or the memory bandwidth (a copy of 256 MB) that was measured here, in the same processes; "
            "what fits a cache can exceed the latter.")


def numbers(results: list[Result], options: Options, before: dict[str, object]) -> str:
    """The same as JSON, in seconds and MB: what the charts are drawn from. Rows that could not be measured are left out; `bench.sizes` stay."""
    rows = [{"what": each.title, "rushlight": each.figures[0], "torch": each.figures[1], "unit": each.unit, "ratio": round(each.ratio, 3),
             "memory": list(each.memory) if each.memory else None} for each in results if not math.isnan(each.ratio)]
    return json.dumps({**before, "machine": machine(options), "rows": rows}, indent=1) + "\n"


def _has_place(page: os.PathLike[str]) -> bool:
    try:
        with open(page, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return False
    return START in text and END in text.partition(START)[2]


def _update(page: os.PathLike[str], results: list[Result], options: Options) -> None:
    with open(page, encoding="utf-8") as file:
        before, _, rest = file.read().partition(START)
    after = rest.partition(END)[2]
    with open(page, "w", encoding="utf-8") as file:
        file.write(f"{before}{START}\n{table(results, options)}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
