"""Measuring: fresh processes of both frameworks in turn, and the median over the rounds of the ratio within each round."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, NamedTuple

from . import workloads
from .workloads import Row

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("rushlight", "torch")


class Options(NamedTuple):
    """How long and how often. `seconds` is the time per row and process."""

    rounds: int = 5
    seconds: float = 2.0
    threads: int = 2
    device: str = "cpu"
    timeout: float = 300.0


class Result(NamedTuple):
    """A finished row: for both frameworks the figure and the peak memory in MiB; `problem` is what went wrong, if anything did;
    `shares` of the measured `limit` (memory bandwidth, or the rate of products) that both reach."""

    title: str
    unit: str
    budget: float | None
    figures: tuple[float, float] = (math.nan, math.nan)
    ratio: float = math.nan
    memory: tuple[float, float] | None = None
    problem: str = ""
    each: dict[str, float] | None = None
    shares: tuple[float, float] | None = None
    limit: str = ""

    @property
    def kept(self) -> bool | None:
        """Whether the budget is kept; None without one."""
        if self.budget is None:
            return None
        return self.ratio <= self.budget and not self.problem


def environment(threads: int) -> dict[str, str]:
    """The environment of every measured process: the same number of threads for every library, and compiled modules kept, as in what pip
    installs (torch's were compiled when it was installed; an editable rushlight's are by the first import)."""
    source = str(ROOT / "src")
    path = os.pathsep.join([str(ROOT), *([source] if util.find_spec("rushlight") is None else []), os.environ.get("PYTHONPATH", "")])
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **dict.fromkeys(names, str(threads)), "PYTHONPATH": path.strip(os.pathsep), "PYTHONWARNINGS": "ignore"}


def _child(framework: str, row: Row, options: Options) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.child", framework, row.name, str(options.seconds), str(options.threads), options.device]
    try:
        done = subprocess.run(command, env=environment(options.threads), cwd=ROOT, capture_output=True, text=True, timeout=options.timeout)
    except subprocess.TimeoutExpired:
        return {"problem": f"{framework}: no result within {options.timeout:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"problem": f"{framework}: {lines[-1]}"}
    return json.loads(done.stdout.splitlines()[-1])


def measure_row(row: Row, options: Options) -> Result:
    """All rounds of one row."""
    rounds: list[list[dict[str, Any]]] = []
    for number in range(options.rounds):
        order = FRAMEWORKS if number % 2 == 0 else FRAMEWORKS[::-1]
        answers = {}
        for framework in order:
            answers[framework] = _child(framework, row, options)
            if "problem" in answers[framework]:
                return Result(row.title, row.unit, row.budget, problem=answers[framework]["problem"])
        pair = [answers[framework] for framework in FRAMEWORKS]
        rounds.append(pair)
    ours, theirs = rounds[0][0]["value"], rounds[0][1]["value"]
    problem = "" if math.isclose(ours, theirs, rel_tol=1e-3, abs_tol=1e-3) else f"results differ: {ours:.6g} and {theirs:.6g}"
    memory = tuple(median(pair[i]["peak_mb"] for pair in rounds) for i in (0, 1))
    figures = tuple(median(_figure(pair[i]) for pair in rounds) for i in (0, 1))
    ratio = median(_ratio(pair) for pair in rounds)
    return Result(row.title, row.unit, row.budget, figures, ratio, memory, problem, _each(rounds), _roofline(rounds), "memory" if row.moved else "products")  # type: ignore[arg-type]


def _roofline(rounds: list[list[dict[str, Any]]]) -> tuple[float, float] | None:
    """The shares of what this machine was measured to reach (the better framework's copy or product) that both frameworks get."""
    if "rate" not in rounds[0][0]:
        return None
    shares = [[answer["rate"] / max(each["limit"] for each in pair) for answer in pair] for pair in rounds]
    return median(pair[0] for pair in shares), median(pair[1] for pair in shares)


def _figure(answer: dict[str, Any]) -> float:
    return geometric_mean(answer["each"].values()) if "each" in answer else answer["seconds"]


def _ratio(pair: list[dict[str, Any]]) -> float:
    return _figure(pair[0]) / _figure(pair[1])


def _each(rounds: list[list[dict[str, Any]]]) -> dict[str, float] | None:
    if "each" not in rounds[0][0]:
        return None
    return {name: median(ours["each"][name] / theirs["each"][name] for ours, theirs in rounds) for name in rounds[0][0]["each"]}


def memory_of(rows: list[Row], results: dict[str, Result]) -> Result | None:
    """The memory row: the largest ratio of the trainings that were measured."""
    found = [(results[row.name].memory, row) for row in rows if row.training and results[row.name].memory]
    if not found:
        return None
    worst, row = max(found, key=lambda one: one[0][0] / one[0][1])  # type: ignore[index]
    assert worst is not None
    return Result(f"{workloads.MEMORY_TITLE} (largest: {row.name})", "MB", workloads.MEMORY_BUDGET, worst, worst[0] / worst[1])


# --- import -----------------------------------------------------------------------------------------------------------------------------


def measure_import(title: str, budget: float | None, modules: str, options: Options) -> Result:
    """The wall time of a process that imports, less that of one that does not. In `modules`, {} stands for the framework."""
    ratios, figures = [], []
    for number in range(options.rounds + 1):
        try:
            bare = _wall("pass", options)
            pair = [_wall("import " + modules.format(name), options) - bare for name in FRAMEWORKS]
        except subprocess.CalledProcessError as error:
            return Result(title, "s", budget, problem=error.stderr.strip().splitlines()[-1])
        if number:                       # the first import reads the disk, and compiles
            figures.append(pair)
            ratios.append(pair[0] / pair[1])
    middle = (median(pair[0] for pair in figures), median(pair[1] for pair in figures))
    return Result(title, "s", budget, middle, median(ratios))


def _wall(code: str, options: Options) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment(options.threads), cwd=ROOT, check=True, capture_output=True, text=True)
    return time.perf_counter() - start


# --- size -------------------------------------------------------------------------------------------------------------------------------


def measure_size() -> Result:
    """Bytes on disk of the packages and everything they require."""
    ours = _folder(_package_folder("rushlight")) + _distribution("numpy")
    theirs = sum(map(_distribution, _with_requirements("torch")))
    pair = (ours / 2**20, theirs / 2**20)
    return Result(workloads.SIZE_TITLE, "MB", workloads.SIZE_BUDGET, pair, pair[0] / pair[1])


def _package_folder(name: str) -> Path:
    spec = util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else ROOT / "src" / name


def _folder(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _distribution(name: str) -> int:
    files = metadata.distribution(name).files or []
    paths = {Path(str(file.locate())).resolve() for file in files}
    return sum(path.stat().st_size for path in paths if path.is_file())


def _with_requirements(name: str) -> set[str]:
    """The names of a distribution and of what it requires, as far as that is installed here; extras are left out."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        try:
            requires = metadata.distribution(current).requires or []
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python version
        found.add(current)
        waiting += _names(requires)
    return found


def _names(requires: list[str]) -> Iterator[str]:
    import re
    for requirement in requires:
        spec, _, marker = requirement.partition(";")
        found = re.match(r"[\w.-]+", spec.strip())
        if found and "extra" not in marker:
            yield found[0].lower()


def run(rows: list[Row], options: Options, say: Callable[[Result], None], extras: set[str]) -> list[Result]:
    """Measure the rows and, where `extras` has them, 'import' and 'size'. Each result is told to `say` when it is there."""
    results: dict[str, Result] = {}

    def add(name: str, result: Result | None) -> None:
        if result is not None:
            results[name] = result
            say(result)

    for row in rows:
        add(row.name, measure_row(row, options))
    if "import" in extras:
        add("import", measure_import(workloads.IMPORT_TITLE, workloads.IMPORT_BUDGET, "{}", options))
        add("imports", measure_import(workloads.IMPORTS_TITLE, None, "{0}.nn.functional, {0}.optim, {0}.utils.data", options))
    if "size" in extras:
        add("size", measure_size())
    add("memory", memory_of(rows, results))
    return list(results.values())
