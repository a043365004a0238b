"""What the stages, the processes that run them and the one that starts those have in common: cases, results, the plan."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RESULTS, REPORT, SUMMARY, TILES, LOG = "results.jsonl", "report.txt", "summary.json", "tiles.json", "output.log"


class Skipped(Exception):
    """Raised by a case that can't run here; the message says why."""


class Failed(Exception):
    """Raised by a case whose result is wrong: `figures` are kept beside the message."""

    def __init__(self, message: str, figures: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.figures = figures or {}


class Context(NamedTuple):
    """What a case knows: where results go, whether the stand-in plays the GPU, when its stage ends (seconds since 1970), how many at once."""

    out: Path
    standin: bool = False
    quick: bool = False
    until: float = float("inf")
    jobs: int = 1

    def left(self) -> float:
        """Seconds until the stage ends; a day where nobody said."""
        return min(self.until - time.time(), 86400.0)


class Case(NamedTuple):
    """One line of the report. `run` returns figures, or raises Failed or Skipped; `quick` cases are those of a quick run."""

    name: str
    run: Callable[[Context], dict[str, Any]]
    quick: bool = False


class Stage(NamedTuple):
    """A module of this package with ``cases(context)``, its part of the time, and the seconds after which one case counts as hung; `least`
    seconds it gets even where its part is smaller."""

    name: str
    title: str
    share: float
    case_limit: float
    parallel: bool = False
    least: float = 0.0


STAGES = (
    Stage("device", "device, driver, versions", 1, 40, least=30),
    Stage("compile", "every raw kernel compiled, several at once", 14, 120, parallel=True),
    Stage("kernels", "every raw kernel launched, against the CPU", 13, 25),
    Stage("draws", "Philox streams against PyTorch's on the same GPU", 6, 30),
    Stage("guide", "the guide's rows for cuda", 2, 60, least=30),
    Stage("files", "the test files that run on a device", 22, 150, parallel=True),
    Stage("checks", "gradients, autocast, graphs, streams, copies, memory", 9, 30),
    Stage("timing", "against PyTorch eager on the same GPU, by events", 18, 60),
    Stage("sweep", "tiles of convolution and attention", 12, 60),
    Stage("sanitizer", "compute-sanitizer over the smallest shapes", 3, 300),
)
REHEARSAL = Stage("rehearsal", "made-up cases that fail in every way", 1, 2)


def write(out: Path, stage: str, case: str, status: str, seconds: float = 0.0, figures: dict[str, Any] | None = None, message: str = "") -> None:
    """Put a result on disk, for programs and for people, before anything else happens."""
    record = {"stage": stage, "case": case, "status": status, "seconds": round(seconds, 3), "figures": figures or {}, "message": message}
    text = f"{status:11} {stage}: {case} ({seconds:.1f} s)" + "".join(f"\n            {line}" for line in _lines(record))
    for name, line in ((RESULTS, json.dumps(record, default=str)), (REPORT, text)):
        with open(out / name, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def _lines(record: dict[str, Any]) -> Iterator[str]:
    shown = {key: value for key, value in record["figures"].items() if key != "launched"}
    if shown:
        yield "; ".join(f"{key} {_short(value)}" for key, value in shown.items())[:600]
    yield from record["message"].strip().splitlines()[-6:]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def results(out: Path) -> list[dict[str, Any]]:
    """All results so far; a line that a killed process left unfinished is no result."""
    found = []
    try:
        with open(out / RESULTS, encoding="utf-8") as file:
            for line in file:
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
    except FileNotFoundError:
        pass
    return found


def finished(out: Path, stage: str) -> set[str]:
    """The cases of a stage that have a result."""
    return {record["case"] for record in results(out) if record["stage"] == stage}
