"""``rushlight compare SCRIPT``: the same program on PyTorch and on rushlight, in turn: do the printed numbers agree, and what does each
cost?"""

from __future__ import annotations

import inspect
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..version import rushlight_version
from .progress import track

__all__ = ["Agreement", "Comparison", "NoPyTorch", "Row", "Run", "agreement", "compare", "page", "table"]

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|(?<!\w)[-+]?(?:nan|inf)(?!\w)")
# What a machine measured differs from run to run: a number with such a unit is not compared.
_MEASURED = re.compile(r"\s*(?:[num]?s|µs|sec(?:onds?)?|min(?:utes?)?|ms/\w+|[kKMG]i?B|it/s|\w+/s(?:ec)?)(?!\w)")


class NoPyTorch(Exception):
    """There is no PyTorch to compare with."""


@dataclass(frozen=True)
class Run:
    """What one process did: exit status, what it printed, seconds of wall and CPU time (its children's too), bytes of memory at its
    peak."""
    status: int
    out: str
    err: str
    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Agreement:
    """Whether two outputs say the same. numbers: how many were compared; largest: relative difference; first: the first difference, or
    ""."""
    numbers: int
    largest: float
    first: str


@dataclass(frozen=True)
class Row:
    """One line of the table, smaller being better. unit: "s" or "B"."""
    what: str
    torch: float
    ours: float
    unit: str

    @property
    def ratio(self) -> float:
        return self.ours / self.torch if self.torch else float("nan")


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""
    script: str
    torch: str
    statuses: tuple[int, int]
    errors: tuple[str, str]
    agreement: Agreement
    rows: list[Row]


def compare(script: str, args: Sequence[str] = (), *, python: str = sys.executable, runs: int = 1, rtol: float = 1e-4,
            atol: float = 1e-6) -> Comparison:
    """Run a script with both, `runs` times in turn (figures are medians). python: the interpreter that has PyTorch. NoPyTorch where it has
    none, FileNotFoundError where there is no such script."""
    if not os.path.isfile(script):
        raise FileNotFoundError(f"can't open {script!r}: there is no such file")
    version = _version_of(python)
    commands = ([python, script, *args], [sys.executable, "-m", "rushlight", "run", script, *args])
    sides: tuple[list[Run], list[Run]] = ([], [])
    turns = [(at, side) for at in range(1, runs + 1) for side in (0, 1)]
    for _, side in track(turns, lambda turn: f"run {turn[0]} of {runs} on {('PyTorch', 'rushlight')[turn[1]]}"):
        sides[side].append(run(commands[side]))
    first = sides[0][0], sides[1][0]
    found = agreement(first[0].out, first[1].out, rtol, atol)
    figures = {"time": "wall", "CPU time": "cpu"} if hasattr(os, "wait4") else {"time": "wall"}
    theirs, ours = sides
    rows = [Row(what, statistics.median(getattr(each, name) for each in theirs), statistics.median(getattr(each, name) for each in ours),
                "s")
            for what, name in figures.items()]
    if hasattr(os, "wait4"):
        rows.append(Row("peak memory", max(each.peak for each in theirs), max(each.peak for each in ours), "B"))
    if first[0].status or first[1].status:
        rows.clear()                    # what a program that failed costs says nothing
    else:
        rows += _standing(python)
    return Comparison(script, version, (first[0].status, first[1].status), (first[0].err, first[1].err), found, rows)


def _standing(python: str) -> list[Row]:
    """What each costs whatever the program."""
    return [Row("import", _import_time(python, "torch"), _import_time(sys.executable, "rushlight"), "s"),
            Row("installed size", _size(python, "torch"), _size(sys.executable, "rushlight"), "B")]


# A small process starts the command and measures it: a child's peak memory begins with what its parent has at the fork.
_STARTER = """
import json, os, subprocess, sys, time
start, cpu, peak = time.perf_counter(), 0.0, 0
process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
if hasattr(os, "wait4"):
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
process.wait()
with open(sys.argv[1], "w") as file:
    json.dump([process.returncode, time.perf_counter() - start, cpu, peak], file)
"""


def run(command: Sequence[str]) -> Run:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        out, err, figures = (os.path.join(folder, name) for name in ("out", "err", "figures"))
        with open(out, "wb") as to_out, open(err, "wb") as to_err:
            subprocess.run([sys.executable, "-I", "-S", "-c", _STARTER, figures, *command], stdout=to_out, stderr=to_err, check=True)
        with open(figures, encoding="ascii") as file:
            status, wall, cpu, peak = json.load(file)
        texts = [_read(path) for path in (out, err)]
    return Run(status, texts[0], texts[1], wall, cpu, peak)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


# --- do they say the same? --------------------------------------------------------------------------------------------------------------

def agreement(a: str, b: str, rtol: float = 1e-4, atol: float = 1e-6) -> Agreement:
    """Compare two printed texts: words exactly, numbers within ``atol + rtol * |a|``, spaces and what was measured (3.2 s, 40 MB) not at
    all."""
    count, largest = 0, 0.0
    lines = [text.rstrip().splitlines() for text in (a, b)]
    for at, (left, right) in enumerate(zip(*lines, strict=False), 1):
        first, second = list(_parts(left)), list(_parts(right))
        same = len(first) == len(second)
        for x, y in zip(first, second, strict=False):
            if isinstance(x, float) and isinstance(y, float):
                count += 1
                if x == y or x != x and y != y:
                    continue                                        # two nans say the same
                gap = abs(x - y)
                largest = max(largest, gap / abs(x) if x else gap)
                same = same and gap <= atol + rtol * abs(x)         # False for nan
            else:
                same = same and x == y
        if not same:
            return Agreement(count, largest, f"line {at}:\n  PyTorch    {left}\n  rushlight  {right}")
    if len(lines[0]) != len(lines[1]):
        return Agreement(count, largest, f"PyTorch prints {len(lines[0])} lines, rushlight {len(lines[1])}")
    return Agreement(count, largest, "")


def _parts(line: str) -> Iterator[str | float]:
    end = 0
    for found in _NUMBER.finditer(line):
        yield " ".join(line[end:found.start()].split())
        end = found.end()
        if found[0].startswith("0x"):
            yield "an address"
        elif unit := _MEASURED.match(line, end):
            yield "measured"
            end = unit.end()
        else:
            yield float(found[0])
    yield " ".join(line[end:].split())


# --- what do they cost? -----------------------------------------------------------------------------------------------------------------

def _version_of(python: str) -> str:
    ask = "import torch, json; print(json.dumps([str(torch.__version__), hasattr(torch, 'rushlight_version')]))"
    try:
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    except OSError as error:
        raise NoPyTorch(f"can't run {python!r}: {error.strerror}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it prints nothing"])[-1]
        raise NoPyTorch(f"{python} has no PyTorch to compare with ({last}): install it there, or name another interpreter with --python")
    version, linked = json.loads(done.stdout.splitlines()[-1])
    if linked:
        raise NoPyTorch(f"`import torch` means rushlight in {python}: name an interpreter that has PyTorch with --python")
    return str(version)


def _import_time(python: str, name: str) -> float:
    which = "cpu" if hasattr(os, "wait4") else "wall"           # a busy machine makes the wall clock a poor judge of so short a time
    started, bare = (min(getattr(run([python, "-c", code]), which) for _ in range(2)) for code in (f"import {name}", ""))
    return started - bare


def _installed(name: str) -> int:
    """Bytes of a distribution and of all it needs. (It runs in the other interpreter as well, by its source: nothing but the library.)"""
    import importlib.metadata as metadata
    import importlib.util
    import os
    import re
    total, queue, seen = 0, [name], set()
    while queue:
        each = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if each in seen:
            continue
        seen.add(each)
        try:
            found = metadata.distribution(each)
        except metadata.PackageNotFoundError:
            continue                    # wanted on another system, or by an extra
        queue += [re.match(r"[\w.-]+", text)[0] for text in found.requires or [] if "extra ==" not in text]  # type: ignore[index]
        files = [str(found.locate_file(file)) for file in found.files or []]
        spec = importlib.util.find_spec(name) if each == name else None
        if spec is not None and spec.origin and not any(file.endswith(f"{name}/__init__.py") for file in files):       # an editable install
            files += [os.path.join(folder, file) for folder, _, inside in os.walk(os.path.dirname(spec.origin)) for file in inside]
        total += sum(os.path.getsize(file) for file in files if os.path.isfile(file))
    return total


def _size(python: str, name: str) -> int:
    done = run([python, "-c", f"{inspect.getsource(_installed)}\nprint(_installed({name!r}))"])
    return int(done.out.split()[-1]) if not done.status else 0


# --- what is shown ----------------------------------------------------------------------------------------------------------------------

def _shown(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value / 1e6:,.0f} MB"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


def _verdict(found: Comparison) -> str:
    for name, status, text in zip(("PyTorch", "rushlight"), found.statuses, found.errors, strict=True):
        if status:
            last = "\n".join("  " + line for line in text.strip().splitlines()[-6:])
            return f"on {name} the script fails (exit status {status}):\n{last}"
    if found.agreement.first:
        return f"the outputs differ, first in {found.agreement.first}" if found.agreement.first.startswith("line") else found.agreement.first
    if not found.agreement.numbers:
        return "the outputs are the same; no number was printed"
    return f"{found.agreement.numbers} printed numbers agree (largest relative difference {found.agreement.largest:.1e})"


def table(found: Comparison) -> str:
    """Plain text: the verdict, and a line per figure."""
    head = f"{'':16}{'PyTorch ' + found.torch:>22}{'rushlight ' + rushlight_version:>20}{'ratio':>8}"
    lines = [f"{row.what:16}{_shown(row.torch, row.unit):>22}{_shown(row.ours, row.unit):>20}{row.ratio:>8.2f}" for row in found.rows]
    return "\n".join([_verdict(found), "", head, *lines])


def page(found: Comparison) -> str:
    """The same as one HTML page with bars; it asks for nothing from elsewhere."""
    from html import escape
    bars = "".join(
        f"<tr><th>{row.what}</th><td>" + "".join(
            f'<div class="{side}" style="width:{100 * value / (max(row.torch, row.ours) or 1):.1f}%"></div><span>{label} '
            f'{_shown(value, row.unit)}</span>'
            for side, label, value in (("t", "PyTorch", row.torch), ("r", "rushlight", row.ours))) + f"</td><td>{row.ratio:.2f}</td></tr>"
        for row in found.rows)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(found.script)}: PyTorch and rushlight</title>
<style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}}
table{{width:100%;border-collapse:collapse}}th{{text-align:left;font-weight:600;padding:.6rem 1rem .6rem 0;white-space:nowrap;vertical-align:top}}
td:last-child{{text-align:right;vertical-align:top;padding:.6rem 0}}td div{{height:.7rem;border-radius:.2rem;margin-top:.4rem}}
.t{{background:#888}}.r{{background:#d9480f}}span{{font-size:.85rem}}pre{{white-space:pre-wrap}}</style>
<h1>{escape(os.path.basename(found.script))}</h1><pre>{escape(_verdict(found))}</pre>
<table><tr><th></th><th>PyTorch {escape(found.torch)}, rushlight {rushlight_version}</th><td>ratio</td></tr>{bars}</table></html>
"""
