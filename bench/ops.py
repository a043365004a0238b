"""``python -m bench.ops``: every op against PyTorch in process CPU time on one thread, both in turn in one process, the minimum of the rounds.

Elementwise ops come from the registry, all others from the expressions of ops.txt. ``--update-docs`` writes docs/ops-speed.md and docs/ops-speed.json.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import math
import os
import random
import re
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from itertools import groupby, product
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

import numpy as np

from .__main__ import machine
from .measure import ROOT, Options, environment

TABLE = Path(__file__).with_suffix(".txt")
PAGE, NUMBERS = ROOT / "docs" / "ops-speed.md", ROOT / "docs" / "ops-speed.json"
START, END = "<!-- ops:start -->", "<!-- ops:end -->"
SIZES, DTYPES, LAYOUTS, WAYS = ("small", "medium", "large"), ("float32", "bfloat16", "float64"), ("contiguous", "strided"), ("forward", "both ways")
ROUNDS = 5

# What expressions may name, by size. A number is the end of a range of integers, True a mask; else values are drawn from the case's domain.
_ROWS, _FEW = (8, 100, 1000), (4, 32, 256)
INPUTS: dict[str, tuple[Any, ...]] = {
    **{name: ([(n, n) for n in _ROWS], None) for name in "uwxyz"},
    "v": ([(n,) for n in _ROWS], None),
    "row": ([(1, n) for n in _ROWS], None), "column": ([(n, 1) for n in _ROWS], None),
    "few": ([(n, 3) for n in _ROWS], None),
    "m": ([(n, n) for n in _FEW], None), "n": ([(n, n) for n in _FEW], None), "b": ([(n, 2) for n in _FEW], None),
    "spd": ([(n, n) for n in _FEW], None), "tri": ([(n, n) for n in _FEW], None),
    "c": ([(n, n, 2) for n in _ROWS], None), "ordered": ([(n,) for n in _ROWS], None),
    "many": ([(k, 3, 3) for k in (2, 100, 5000)], None),
    "batch": ([(k, k * 2, k * 2) for k in (2, 8, 32)], None),
    "signal": ([(2, k) for k in (64, 2000, 100_000)], None),
    "image": ([(1, 4, 8, 8), (2, 16, 28, 28), (8, 64, 56, 56)], None),
    "planes": ([(1, 2, 8, 8), (2, 4, 28, 28), (4, 16, 64, 64)], None),
    "up": ([(2, 4, 3, 3), (8, 16, 3, 3), (32, 64, 3, 3)], None),
    "full": ([(4, 4, 3, 3), (16, 16, 3, 3), (64, 64, 3, 3)], None), "pairs": ([(4, 2, 3, 3), (16, 2, 3, 3), (64, 2, 3, 3)], None),
    "each": ([(4, 1, 3, 3), (16, 1, 3, 3), (64, 1, 3, 3)], None),
    "point": ([(4, 4, 1, 1), (16, 16, 1, 1), (64, 64, 1, 1)], None),
    "line": ([(1, 4, 16), (4, 16, 100), (8, 64, 500)], None), "w1": ([(4, 4, 3), (16, 16, 3), (64, 64, 3)], None),
    "volume": ([(1, 2, 4, 4, 4), (1, 4, 8, 12, 12), (2, 8, 16, 32, 32)], None), "w3": ([(4, 2, 3, 3, 3), (8, 4, 3, 3, 3), (16, 8, 3, 3, 3)], None),
    "channels": ([(4,), (16,), (64,)], None),
    "grid": ([(1, 8, 8, 2), (2, 28, 28, 2), (4, 64, 64, 2)], None),
    "q": ([(1, 2, 4, 16), (2, 4, 16, 32), (4, 8, 256, 64)], None), "kv": ([(1, 2, 4, 16), (2, 4, 16, 32), (4, 8, 256, 64)], None),
    "one": ([(1, 2, 1, 16), (2, 4, 1, 32), (4, 8, 1, 64)], None),
    "steps": ([(4, 2, 8), (30, 8, 20), (150, 16, 40)], None),
    "i": ([(n, n) for n in _ROWS], _ROWS), "j": ([(n, n) for n in _ROWS], _ROWS), "k": ([(n,) for n in _ROWS], _ROWS),
    "places": ([(n,) for n in _ROWS], _ROWS),
    "gates3": ([(3 * n, n) for n in _FEW], None), "recurrent3": ([(3 * n, n) for n in _FEW], None),
    "gates4": ([(4 * n, n) for n in _FEW], None), "recurrent4": ([(4 * n, n) for n in _FEW], None),
    "mixed": ([(24, 8), (60, 20), (120, 40)], None), "mix": ([(8, 8), (20, 20), (40, 40)], None),
    "labels": ([(2, 3), (8, 8), (16, 20)], (7, 19, 39)),
    "pixels": ([(1, 8, 8), (2, 28, 28), (8, 56, 56)], (4, 16, 64)),
    "mask": ([(n, n) for n in _ROWS], True), "mask2": ([(n, n) for n in _ROWS], True),
}

# What is made of the numbers drawn.
MADE: dict[str, Callable[[Any], Any]] = {
    "spd": lambda a: a @ a.T + len(a) * np.eye(len(a)), "tri": lambda a: np.tril(a) + len(a) * np.eye(len(a)), "ordered": np.sort,
    "c": lambda a: a[..., 0] + 1j * a[..., 1], "grid": np.tanh}


class Case(NamedTuple):
    """An expression, the group it is counted in, and from where its inputs are drawn."""

    group: str
    expression: str
    domain: tuple[float, float] = (-3.0, 3.0)


class Setting(NamedTuple):
    """One way to measure a case."""

    size: str
    dtype: str
    layout: str
    way: str


Found = tuple[Case, Setting, float, float]          # seconds of ours and of PyTorch


def table() -> list[Case]:
    """The expressions of ops.txt; a section's name may be followed by its domain."""
    cases, group, domain = [], "", (-3.0, 3.0)
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            group, *numbers = line.strip("[]").split()
            domain = (float(numbers[0]), float(numbers[1])) if numbers else (-3.0, 3.0)
        elif line and not line.startswith("#") and group != "left_out":
            cases.append(Case(group, line, domain))
    return cases


def left_out() -> list[str]:
    """The registry's names, as patterns, of which there is no case on purpose: they end ops.txt."""
    return TABLE.read_text(encoding="utf-8").partition("[left_out]")[2].split()


def elementwise() -> Iterator[Case]:
    """A case for every unary and binary op of the registry, and one for its form in place."""
    registry, _ = importlib.import_module("rushlight.ops.registry"), importlib.import_module("rushlight.ops.deferred").load_all()
    for op in list(registry.OPS.values()):
        if op.elementwise:
            place = min((each for each in op.places if not each.endswith("_")), key=lambda each: (each.startswith("Tensor"), each.count("."), each), default="")
            whole = "int" in (op.only, op.result)
            operands = ("i" if whole else "u") if op.form == "unary" else "i, j" if whole else "u, w"
            if place and not place.startswith("Tensor."):
                yield Case(op.form, f"torch.{place}({operands})", op.domain)
            if op.inplace and not whole:
                yield Case("inplace", f"z.{op.name}_({operands[3:]})", op.domain)


def named(expression: str) -> set[str]:
    """The names of functions and methods in an expression."""
    return set(re.findall(r"\b([A-Za-z_]\w*)\(", expression)) | set(re.findall(r"\.([A-Za-z_]\w*)", expression))


# --- inputs ---------------------------------------------------------------------------------------------------------------------------

def _array(name: str, case: Case, size: str) -> np.ndarray[Any, Any]:
    shapes, end = INPUTS[name]
    at = SIZES.index(size)
    rng = np.random.default_rng(zlib.crc32(f"{name} {size}".encode()))
    if end is True:
        return rng.random(shapes[at]) < 0.5
    if end is not None:
        return rng.integers(0, end[at], shapes[at])
    low, high = case.domain
    return MADE.get(name, np.asarray)(rng.uniform(low, high, shapes[at]))


def _tensor(torch: Any, array: np.ndarray[Any, Any], setting: Setting) -> Any:
    t = torch.from_numpy(array)
    if array.dtype.kind == "f":
        t = t.to(getattr(torch, setting.dtype))
    elif array.dtype.kind == "c":
        t = t.to({"float32": torch.complex64, "float64": torch.complex128}[setting.dtype])
    if setting.layout == "strided" and t.ndim > 1:
        t = t.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) if t.ndim == 4 else t.transpose(-1, -2).contiguous().transpose(-1, -2)
    return t


def prepare(torch: Any, case: Case, setting: Setting) -> tuple[Callable[[], Any], Callable[[], Any]] | None:
    """(what is measured, what comes before each loop); None where it has no gradient."""
    code = compile(case.expression, case.expression, "eval")
    used = [name for name in code.co_names if name in INPUTS]
    scope = {"torch": torch, "F": torch.nn.functional, "math": math, **{name: _tensor(torch, _array(name, case, setting.size), setting) for name in used}}
    reset = _nothing
    if "z" in scope:
        scope["z"], reset = (z := scope["z"].clone()), lambda z=z, before=scope["z"]: z.copy_(before)
    function = eval("lambda: " + case.expression, scope)
    if setting.way == "forward":
        return function, reset
    leaves = [scope[name].requires_grad_() for name in used if (scope[name].is_floating_point() or scope[name].is_complex()) and name != "z"]
    outputs = [t for t in _flat(function()) if t.requires_grad]
    if not leaves or not outputs:
        return None
    gradients = [torch.ones_like(t) for t in outputs]

    def both_ways() -> Any:
        return torch.autograd.grad([t for t in _flat(function()) if t.requires_grad], leaves, gradients, allow_unused=True)
    return both_ways, reset


def _flat(result: Any) -> list[Any]:
    return [t for each in result for t in _flat(each)] if isinstance(result, (tuple, list)) else [result] if hasattr(result, "requires_grad") else []


def _nothing() -> None:
    """Nothing changes from loop to loop."""


# --- measuring ------------------------------------------------------------------------------------------------------------------------

def _loop(op: Callable[[], Any], count: int, reset: Callable[[], Any]) -> float:
    reset()
    again = range(count)
    start = time.process_time()
    for _ in again:
        op()
    return time.process_time() - start


def in_turn(pair: list[tuple[Callable[[], Any], Callable[[], Any]]], seconds: float) -> list[float]:
    """The best CPU time of one call of each, measured in turn."""
    counts = []
    for op, reset in pair:
        op()
        first = _loop(op, 1, reset)
        took = first if first > seconds / ROUNDS else _loop(op, 5, reset) / 5
        counts.append(max(1, int(seconds / ROUNDS / max(took, 1e-7))))
    best = [math.inf] * len(pair)
    for number in range(ROUNDS):
        for side in (range(len(pair)) if number % 2 == 0 else reversed(range(len(pair)))):
            best[side] = min(best[side], _loop(pair[side][0], counts[side], pair[side][1]) / counts[side])
    return best


def settings(arguments: argparse.Namespace) -> list[Setting]:
    """All that was asked for; the smallest size only as contiguous float32, since what it shows depends on neither."""
    chosen = [getattr(arguments, name).split(",") for name in ("sizes", "dtypes", "layouts", "ways")]
    return [each for each in map(Setting._make, product(*chosen)) if each.size != "small" or (each.dtype, each.layout) == ("float32", "contiguous")]


def measure(cases: list[Case], where: list[Setting], seconds: float, say: Callable[[str], None]) -> tuple[list[Found], list[str]]:
    """What was found, and what only PyTorch computes."""
    frameworks = [importlib.import_module(name) for name in ("rushlight", "torch")]
    for torch in frameworks:
        torch.set_num_threads(1)
        torch.manual_seed(0)
    found: list[Found] = []
    problems = []
    for case in cases:
        for setting in where:
            try:
                theirs = prepare(frameworks[1], case, setting)
                if theirs is None or theirs[0]() is None:
                    continue
            except Exception:       # PyTorch has no such op for this dtype
                continue
            try:
                ours = prepare(frameworks[0], case, setting)
                if ours is None:
                    raise TypeError("no gradient")
                times = in_turn([ours, theirs], seconds)
            except Exception as error:
                problems.append(f"{case.expression} ({', '.join(setting)}): {type(error).__name__}: {error}"[:200])
                continue
            found.append((case, setting, *times))
            say(f"{times[0] / times[1]:6.2f} {times[0] * 1e6:10.1f} us  {case.group}: {case.expression}  {', '.join(setting)}")
    return found, problems


# --- what is written ------------------------------------------------------------------------------------------------------------------

def summary(found: list[Found]) -> list[str]:
    """Markdown lines: each group's cases, geometric mean and worst."""
    lines = ["| group | cases | geometric mean | slower than PyTorch | worst | which |", "| --- | --- | --- | --- | --- | --- |"]
    for group, members in groupby(sorted(found, key=lambda one: one[0].group), key=lambda one: one[0].group):
        ratios = {(case.expression, setting): ours / theirs for case, setting, ours, theirs in members}
        worst = max(ratios, key=lambda one: ratios[one])
        lines.append(f"| {group} | {len(ratios)} | {geometric_mean(ratios.values()):.2f} | {sum(r > 1 for r in ratios.values())} | {ratios[worst]:.2f} | "
                     f"`{worst[0].replace('|', chr(92) + '|')}`, {', '.join(worst[1])} |")
    return lines


def slower(found: list[Found]) -> list[str]:
    """Markdown lines: the ops of which a case is slower than PyTorch, worst first, with their worst case."""
    rows = []
    for _, each in groupby(found, key=lambda one: one[0]):
        members = list(each)
        case, setting, ours, theirs = max(members, key=lambda one: one[2] / one[3])
        above = sum(one[2] > one[3] for one in members)
        if above:
            expression = case.expression.replace("|", "\\|")
            rows.append((ours / theirs, f"| {ours / theirs:.2f} | `{expression}` | {', '.join(setting)} | {ours * 1e6:.4g} us | {theirs * 1e6:.4g} us | {above} of {len(members)} |"))
    head = ["| ratio | what | its worst case | rushlight | PyTorch | slower |", "| --- | --- | --- | --- | --- | --- |"]
    return head + [line for _, line in sorted(rows, key=lambda one: -one[0])]


def numbers(found: list[Found]) -> dict[str, float]:
    """Every ratio by its case."""
    return {f"{case.group} | {case.expression} | {' '.join(setting)}": round(ours / theirs, 2) for case, setting, ours, theirs in found}


def grown(before: dict[str, float], now: dict[str, float], factor: float) -> list[str]:
    """The cases that are above 1 and more than `factor` times what they were."""
    return [f"{name}: {before[name]:.2f} -> {ratio:.2f}" for name, ratio in now.items() if ratio > 1 and name in before and ratio > before[name] * factor]


def write(found: list[Found], page: Path, file: Path, what: str) -> None:
    """The tables into the page, the ratios into the JSON, one a line."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    lines = [what, "", "## By group", "", *summary(found), "", "## Slower than PyTorch", "", *slower(found)]
    page.write_text(f"{before}{START}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    file.write_text(json.dumps(numbers(found), indent=0) + "\n", encoding="utf-8")


def chosen(groups: str, names: str) -> list[Case]:
    """The cases of the groups whose expression contains one of the names (with * and ?: of which a function's name is such)."""
    cases = [each for each in (*elementwise(), *table()) if not groups or each.group in groups.split(",")]
    patterns = names.split(",") if names else ["*"]
    return [each for each in cases if any(fnmatch.fnmatchcase(name, pattern) for name in named(each.expression) for pattern in patterns)]


def main() -> int:
    """Exit code 1 where an op failed, or where a ratio grew from those of --compare."""
    parser = argparse.ArgumentParser(prog="python -m bench.ops", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--groups", default="", help="with commas between: " + ", ".join(dict.fromkeys(["unary", "binary", "inplace", *(each.group for each in table())])))
    parser.add_argument("--names", default="", help="functions or methods, with commas between; * and ? stand for others")
    for name, values in (("sizes", SIZES), ("dtypes", DTYPES), ("layouts", LAYOUTS), ("ways", WAYS)):
        parser.add_argument("--" + name, default=",".join(values))
    parser.add_argument("--seconds", type=float, default=0.02, help="time per case and framework")
    parser.add_argument("--every", type=int, default=1, help="measure one case in so many, drawn by chance")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--compare", type=Path, help="a JSON file of a former run: say which ratios have grown by a third")
    parser.add_argument("--update-docs", action="store_true", help="rewrite docs/ops-speed.md and docs/ops-speed.json")
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":        # libraries read it once, when they load
        os.execve(sys.executable, [sys.executable, "-m", "bench.ops", *sys.argv[1:]], environment(1))
    warnings.simplefilter("ignore")
    cases = chosen(arguments.groups, arguments.names)
    if arguments.every > 1:
        cases = random.Random(0).sample(cases, len(cases) // arguments.every)
    found, problems = measure(cases, settings(arguments), arguments.seconds, _nothing_said if arguments.quiet else _say)
    print("\n".join([*summary(found), "", *slower(found), *(f"failed: {each}" for each in problems)]))
    if arguments.update_docs:
        part = "" if arguments.every == 1 and not arguments.groups and not arguments.names else ", of which this run measured a part"
        write(found, PAGE, NUMBERS, f"{len(found)} cases of the {len(chosen('', ''))} expressions{part}, on {machine(Options(threads=1))}.")
    worse = grown(json.loads(arguments.compare.read_text(encoding="utf-8")), numbers(found), 4 / 3) if arguments.compare else []
    print("\n".join(f"grown: {each}" for each in worse))
    return 1 if problems or worse else 0


def _say(line: str) -> None:
    print(line, flush=True)


def _nothing_said(line: str) -> None:
    """With --quiet."""


if __name__ == "__main__":
    sys.exit(main())
