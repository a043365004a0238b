"""Stage "files": the tests of tests/cuda, then the Makefile's ON_DEVICE files, the most valuable first, several processes at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

from .plan import ROOT, Case, Context, Failed, Skipped

CUDA = ("test_kernels", "test_conv", "test_attention", "test_linear", "test_random", "test_layers", "test_rnn", "test_tensor_core", "test_api", "test_standin")
FIRST = ("ops/test_matmul", "nn/test_functional", "nn/modules/test_modules", "ops/test_elementwise", "ops/test_reduction", "ops/test_indexing",
         "autograd/test_autograd", "optim/test_optim", "ops/test_shape", "ops/test_conv", "nn/attention/test_attention", "nn/modules/test_rnn")
QUICK = "tests/nn/test_init.py"
MOST = 40            # a file with more failures than this has said enough
STARTING = 8.0       # seconds that are left for a process to write what it has


def on_device() -> list[str]:
    """The Makefile's ON_DEVICE, in an order of value."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.startswith("ON_DEVICE"))
    inner = re.search(r"addprefix ops/test_,([\w\s]+)\)(.*)$", line)
    if inner is None:
        raise Failed("ON_DEVICE of the Makefile is written in a way that bench/gpu_day/files.py does not read")
    names = [f"ops/test_{name}" for name in inner[1].split()] + re.findall(r"[\w/]+", inner[2])
    return sorted((f"tests/{name}.py" for name in names), key=lambda path: next((i for i, name in enumerate(FIRST) if name in path), len(FIRST)))


def cases(context: Context) -> list[Case]:
    """One case per file."""
    found = [Case(f"tests/cuda/{name}.py", lambda context, name=name: run_pytest(context, [f"tests/cuda/{name}.py"], device=False)) for name in CUDA]
    return found + [Case(path, lambda context, path=path: run_pytest(context, [path]), path == QUICK) for path in on_device()]


def run_pytest(context: Context, arguments: list[str], device: bool = True) -> dict[str, Any]:
    """The counts of a run of pytest; Failed with the names of what failed and the first errors."""
    try:
        import pytest  # noqa: F401
    except ImportError as error:
        raise Skipped(f"no pytest: {error}") from None
    limit = max(5.0, context.left() - STARTING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:warnings", "--tb=line", f"--maxfail={MOST}", "-rfE", *arguments,
               *(["--device", "cuda"] if device else [])]
    environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        output, late = process.communicate(timeout=limit)[0], False
    except subprocess.TimeoutExpired:
        process.kill()
        output, late = process.communicate()[0], True
    figures: dict[str, Any] = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|errors?|skipped)", (output.strip().splitlines() or [""])[-1])}
    if late:
        raise Failed(f"still running after {limit:.0f} s\n{_end(output)}", {**figures, "late": True})
    if process.returncode:
        raise Failed("\n".join(line for line in output.splitlines() if line.startswith(("FAILED", "ERROR")))[:4000] or _end(output), figures)
    return figures


def _end(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-5:])
