"""Stage "compile": every raw kernel through NVRTC, in several processes; CuPy keeps them on disk, so the later stages find them compiled.

``python -m bench.gpu_day.compile PART PARTS`` compiles every PARTS-th kernel and prints one line of JSON. The longest texts come first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from .plan import Case, Context, Failed, Skipped
from .sweep import candidates

QUICK = 2            # kernels of a quick run: the shortest texts


def cases(context: Context) -> list[Case]:
    """One case per process."""
    parts = 1 if context.quick else max(1, context.jobs)
    return [Case(f"part {i + 1} of {parts}", lambda context, i=i: _part(context, i, parts), quick=True) for i in range(parts)]


def _part(context: Context, number: int, parts: int) -> dict[str, Any]:
    command = [sys.executable, "-m", f"{__package__}.compile", str(number), str(parts), f"{context.until}",
               "standin" if context.standin else "gpu", "quick" if context.quick else "all"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, context.left() - 1))
    except subprocess.TimeoutExpired:
        raise Failed("one kernel was still being compiled when the time was over") from None
    if done.returncode:
        raise Failed(done.stderr[-2000:] or f"exit code {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["left"]:
        found["message"] = f"{found['left']} kernels were not reached"
    if found["problems"]:
        raise Failed("\n".join(found.pop("problems")), found)
    if not found["compiled"]:
        raise Skipped("nothing was compiled")
    return found


def main() -> None:
    """Compile and print."""
    number, parts, until = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    if sys.argv[4] == "standin":
        from .child import use_standin
        use_standin()
    from rushlight.kernels.cuda import source
    list(source.all_sources())                                     # registers every kernel
    every = [(kernel, dtype) for kernel in source._registered for dtype in kernel.dtypes]
    every.sort(key=lambda one: -len(one[0].text))
    if sys.argv[5] == "quick":
        every = every[-QUICK:]
    else:
        every += [one for one in candidates() if one not in every]
    mine, problems, slowest, compiled = every[number::parts], [], (0.0, ""), 0
    for kernel, dtype in mine:
        if time.time() > until - 2:
            break
        start = time.time()
        try:
            kernel(dtype)
        except Exception as error:  # noqa: BLE001  the others are compiled all the same
            problems.append(f"{kernel.entry(dtype)}: {error}"[:400])
        compiled += 1
        slowest = max(slowest, (round(time.time() - start, 2), kernel.entry(dtype)))
    print(json.dumps({"compiled": compiled - len(problems), "left": len(mine) - compiled, "slowest": slowest, "problems": problems}))


if __name__ == "__main__":
    main()
