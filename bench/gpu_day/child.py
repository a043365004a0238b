"""The cases of one stage, in this process: ``python -m bench.gpu_day.child STAGE --out DIR``. Those that have a result already are left out,
so a stage whose process died goes on behind the case that killed it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .plan import REHEARSAL, STAGES, Case, Context, Failed, Skipped, finished, write

_kept: list[Any] = []
BROKEN = 3          # the exit code of a process whose GPU takes no more work


class Progress:
    """What the parent looks at: the names of all cases, and since when which of them run."""

    def __init__(self, path: str | None, names: list[str]) -> None:
        self.path, self.names, self.running, self.lock = path, names, dict[str, float](), threading.Lock()
        self.save()

    def note(self, name: str, start: bool) -> None:
        """A case begins, or is over."""
        with self.lock:
            if start:
                self.running[name] = time.time()
            else:
                self.running.pop(name, None)
            self.save()

    def save(self) -> None:
        """Replace the file as a whole, so that half of it is never read."""
        if self.path:
            Path(f"{self.path}.new").write_text(json.dumps({"cases": self.names, "running": self.running}), encoding="utf-8")
            os.replace(f"{self.path}.new", self.path)


def main() -> int:
    """Exit code 0 when all cases have been looked at, 3 when the GPU stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_day.child")
    parser.add_argument("stage", choices=[stage.name for stage in (*STAGES, REHEARSAL)])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--standin", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--until", type=float, default=float("inf"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--progress")
    parser.add_argument("--only", help="names of cases with commas between")
    arguments = parser.parse_args()
    if arguments.standin:
        use_standin()
    context = Context(arguments.out.resolve(), arguments.standin, arguments.quick, arguments.until, arguments.jobs)
    module = importlib.import_module(f"{__package__}.{arguments.stage}")
    cases: list[Case] = [case for case in module.cases(context) if case.quick or not arguments.quick]
    if arguments.only:
        cases = [case for case in cases if case.name in arguments.only.split(",")]
    done = finished(context.out, arguments.stage)
    progress = Progress(arguments.progress, [case.name for case in cases])
    waiting = [case for case in cases if case.name not in done]
    if next(stage for stage in (*STAGES, REHEARSAL) if stage.name == arguments.stage).parallel:
        with ThreadPoolExecutor(max(1, context.jobs)) as pool:
            list(pool.map(lambda case: _run(arguments.stage, case, context, progress), waiting))
        return 0
    for case in waiting:
        if not _run(arguments.stage, case, context, progress) and not _alive():
            return BROKEN
    return 0


def use_standin() -> None:
    """The tests' stand-in for CuPy in the GPU's place, for the rest of this process. Formulas go to NumPy: compiling each by g++ takes long."""
    from tests.support import cuda_standin
    _kept.append(cuda_standin.cuda())        # a context manager that nobody holds ends at once
    _kept[-1].__enter__()
    cuda_standin.without_formulas()


def _run(stage: str, case: Case, context: Context, progress: Progress) -> bool:
    """Run and write; whether it went well."""
    if context.left() < 1:
        return True                    # the parent says which cases were not reached
    progress.note(case.name, True)
    start = time.time()
    status, figures, message = "passed", dict[str, Any](), ""
    try:
        figures = case.run(context)
    except Skipped as reason:
        status, message = "skipped", str(reason)
    except Failed as failure:
        status, figures, message = "failed", failure.figures, str(failure)
    except Exception as error:  # noqa: BLE001  a case may end in anything; the next one has its turn
        status, message = "error", "".join(traceback.format_exception(error, limit=-4))
    write(context.out, stage, case.name, status, time.time() - start, figures, message)
    progress.note(case.name, False)
    return status in ("passed", "skipped")


def _alive() -> bool:
    """Whether the GPU still takes work in this process: after an illegal address it never does again."""
    from rushlight.kernels.cuda import driver
    module = driver.cupy()
    if module is None:
        return True
    try:
        module.cuda.runtime.deviceSynchronize()
        int(module.zeros(1, "int32").sum())
    except Exception:  # noqa: BLE001  whatever it is, a new process is the cure
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
