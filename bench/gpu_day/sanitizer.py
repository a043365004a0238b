"""Stage "sanitizer": the smallest shapes of the stage "kernels" under NVIDIA's compute-sanitizer, tool by tool while there is time."""

from __future__ import annotations

import glob
import os
import shutil
import site
import subprocess
import sys
import tempfile
from typing import Any

from .plan import Case, Context, Failed, Skipped, results

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
SMALLEST = ("softmax float32", "layer_norm float32", "cross_entropy float32", "pool float32", "embedding float32", "depthwise float32", "conv bfloat16", "conv tf32",
            "attention 64 bfloat16", "batch_norm float32", "lstm float32", "multi_tensor float32")


def cases(context: Context) -> list[Case]:
    """One case per tool."""
    return [Case(tool, lambda context, tool=tool: _under(tool, context), quick=True) for tool in TOOLS]


def found() -> str | None:
    """The program, from the path, a CUDA toolkit, or NVIDIA's packages."""
    places = ["/usr/local/cuda*/bin/compute-sanitizer", "/usr/local/cuda*/compute-sanitizer/compute-sanitizer", "/opt/nvidia/*/compute-sanitizer/compute-sanitizer",
              *[os.path.join(folder, "nvidia", "*", "bin", "compute-sanitizer") for folder in site.getsitepackages()]]
    return shutil.which("compute-sanitizer") or next((path for place in places for path in sorted(glob.glob(place))), None)


def _under(tool: str, context: Context) -> dict[str, Any]:
    program = found()
    if program is None:
        raise Skipped("there is no compute-sanitizer on this machine")
    if context.standin:
        raise Skipped("the stand-in runs nothing on a GPU")
    if context.left() < 20:
        raise Skipped(f"{context.left():.0f} s are left")
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", f"{__package__}.child", "kernels", "--out", folder,
                   "--until", str(context.until - 5), "--only", ",".join(SMALLEST)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(5.0, context.left() - 3))
        except subprocess.TimeoutExpired:
            raise Failed("not through when the time was over") from None
        ran = [f"{record['case']}: {record['status']}" for record in results(context.out.__class__(folder))]
    errors = [line for line in done.stdout.splitlines() if line.startswith("=========")]
    if done.returncode:
        raise Failed("\n".join(errors[:40]) or (done.stdout + done.stderr)[-2000:], {"ran": ran})
    return {"ran": len(ran), "said": errors[-1] if errors else ""}
