"""``python -m bench.gpu_day --minutes 9 --out DIR``: the stages in order, each in a process of its own and within its part of the time."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from . import native
from .plan import LOG, REHEARSAL, REPORT, ROOT, STAGES, SUMMARY, Stage, finished, results, write

_told = [0]
PATIENCE = 10        # on the stand-in, where g++ compiles what a case launches, a case may take so many times its limit
RESERVE = 5.0        # seconds kept for the summary


def main() -> int:
    """Exit code 0 when every stage ran, whatever its cases gave: the report is the result. 1 when a case failed and --strict was given."""
    arguments = _arguments()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if results(out) and not arguments.resume:
        print(f"gpu_day: {out} holds results already: give --resume to go on there, or another folder", file=sys.stderr)
        return 2
    wanted = [stage for stage in STAGES if not arguments.stages or stage.name in arguments.stages.split(",")]
    if arguments.stages == REHEARSAL.name:
        wanted = [REHEARSAL]
    if not wanted:
        print(f"gpu_day: no stage is called {arguments.stages}", file=sys.stderr)
        return 2
    end = time.time() + arguments.minutes * 60 - RESERVE
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))      # so that what was started is ended, and the GPU is free
    build = native.Build(out) if arguments.build and not arguments.standin else None
    try:
        for number, stage in enumerate(wanted):
            left = end - time.time()
            limit = min(left, max(stage.least, left * stage.share / sum(each.share for each in wanted[number:])))
            _say(out, f"\n== {stage.name}: {stage.title} (at most {max(limit, 0):.0f} s)")
            _run_stage(stage, arguments, out, time.time() + limit, native.environment(build, out))
    finally:
        if build is not None:
            build.stop()
    return _summary(out, arguments.strict)


def _arguments() -> argparse.Namespace:
    names = ", ".join(stage.name for stage in STAGES)
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_day", description="Everything that only a GPU can tell, within minutes.")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all stages together (default 9)")
    parser.add_argument("--out", type=Path, default=Path("gpu-day"), help="the folder of the results (default gpu-day)")
    parser.add_argument("--stages", help=f"names with commas between: {names}")
    parser.add_argument("--resume", action="store_true", help="go on in a folder that holds results: cases that have one are left out")
    parser.add_argument("--no-build", dest="build", action="store_false", help="do not build the CPU's native kernels in the background")
    parser.add_argument("--jobs", type=int, default=max(1, min(12, (os.cpu_count() or 2) - 2)), help="processes at once, where a stage allows several")
    parser.add_argument("--standin", action="store_true", help="the tests' stand-in for CuPy in the GPU's place: tries the command, measures nothing")
    parser.add_argument("--quick", action="store_true", help="a few small cases of each stage")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a case failed")
    return parser.parse_args()


def _say(out: Path, text: str) -> None:
    print(text, flush=True)
    with open(out / REPORT, "a", encoding="utf-8") as file:
        file.write(text + "\n")


def _run_stage(stage: Stage, arguments: argparse.Namespace, out: Path, until: float, environment: dict[str, str]) -> None:
    """Processes of a stage, one after the other while they die of a case; each goes on behind it."""
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress"
        command = [sys.executable, "-m", "bench.gpu_day.child", stage.name, "--out", str(out), "--until", str(until), "--jobs", str(arguments.jobs),
                   "--progress", str(progress), *["--standin"] * arguments.standin, *["--quick"] * arguments.quick]
        while time.time() < until:
            before = len(finished(out, stage.name))
            if progress.exists():                              # of the process before, whose case is over
                progress.write_text(json.dumps({**_read(progress), "running": {}}), encoding="utf-8")
            code = _watch(stage, command, out, until, environment, progress)
            if code == 0 or len(finished(out, stage.name)) == before:
                break
        _account(stage, out, progress)


def _watch(stage: Stage, command: list[str], out: Path, until: float, environment: dict[str, str], progress: Path) -> int:
    """Run one process; end it when the stage's time is over or a case hangs, and write what became of the cases that ran then."""
    with open(out / LOG, "a", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    reason, case_limit = "", stage.case_limit * (PATIENCE if "--standin" in command else 1)
    try:
        while process.poll() is None and not reason:
            time.sleep(0.1)
            _tell(out)
            now, running = time.time(), _read(progress).get("running", {})
            if now > until:
                reason = "the stage's time is over"
            elif not stage.parallel and any(now - start > case_limit for start in running.values()):
                reason = f"no result within {case_limit:.0f} s"
    finally:
        _end(process)
    code = process.wait()
    for name, start in _read(progress).get("running", {}).items():
        if name not in finished(out, stage.name):
            write(out, stage.name, name, "late" if reason else "crashed", time.time() - start, None, reason or f"the process ended with code {code}")
    if code and not reason and not _read(progress):
        write(out, stage.name, "start", "crashed", 0.0, None, f"the process ended with code {code} before its first case: {LOG}")
    return code


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group of a process that was started for itself, if it is not through."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _read(progress: Path) -> dict[str, Any]:
    try:
        return json.loads(progress.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _account(stage: Stage, out: Path, progress: Path) -> None:
    """Cases that nothing was written about were not reached."""
    if not progress.exists() and not finished(out, stage.name):
        write(out, stage.name, "start", "not reached", 0.0, None, "no time was left")
    for name in [name for name in _read(progress).get("cases", ()) if name not in finished(out, stage.name)]:
        write(out, stage.name, name, "not reached")


def _tell(out: Path) -> None:
    """Print the results that have come in since the last time."""
    found = results(out)
    for record in found[_told[0]:]:
        print(f"{record['status']:11} {record['stage']}: {record['case']} ({record['seconds']:.1f} s)", flush=True)
    _told[0] = len(found)


def _summary(out: Path, strict: bool) -> int:
    """Counts per stage, and the names of what did not pass, last in the report."""
    _tell(out)
    found = results(out)
    counts = {stage.name: dict(Counter(record["status"] for record in found if record["stage"] == stage.name)) for stage in (*STAGES, REHEARSAL)}
    bad = [f"{record['stage']}: {record['case']}: {record['status']}" for record in found if record["status"] in ("failed", "error", "crashed", "late")]
    rows = [record for record in found if record["stage"] == "timing" and "ratio" in record["figures"]]
    (out / SUMMARY).write_text(json.dumps({"counts": counts, "bad": bad, "timing": [{"case": row["case"], **row["figures"]} for row in rows]}, indent=1), encoding="utf-8")
    _say(out, "\n== summary")
    for name, each in counts.items():
        if each:
            _say(out, f"{name:10} " + ", ".join(f"{count} {status}" for status, count in sorted(each.items())))
    for row in rows:
        figures = row["figures"]
        _say(out, f"{row['case']:24} ratio {figures['ratio']:.2f}" + (f" budget {figures['budget']}" if figures.get("budget") else "")
             + (f" share {figures['share']:.0%}" if "share" in figures else ""))
    for line in bad:
        _say(out, line)
    return 1 if bad and strict else 0


if __name__ == "__main__":
    sys.exit(main())
