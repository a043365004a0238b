"""``make libraries``: main jobs of libraries written for PyTorch, on rushlight and on PyTorch, in one pair of fresh environments.

    python tools/libraries make FOLDER             two environments: FOLDER/ours, linked, with every library; FOLDER/theirs, the same libraries on PyTorch
    python tools/libraries run OUT.json [PART]     import all that is installed together, run the jobs whose name has PART, write their numbers
    python tools/libraries table THEIRS.json OURS.json     docs/libraries.md's table from two runs

`run` goes through the interpreter of either environment. What a job needs and is not installed is left out, and the table says so.
"""

from __future__ import annotations

import json
import random
import re
import signal
import sys
import traceback
import warnings
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import environment
import jobs_language
import jobs_science
import jobs_training
import jobs_vision
from registry import JOBS

JOB_FILES = (jobs_language, jobs_vision, jobs_training, jobs_science)        # imported for the jobs that they register
LIMIT = 900             # seconds for one job
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "libraries.md"
START, END = "<!-- table:start -->", "<!-- table:end -->"


def run(path: str, only: str = "") -> None:
    """Import what is installed, run the jobs, and write what came out: numbers, or the error's last line."""
    import torch
    found: dict[str, Any] = {"torch": torch.__version__, "imports": {} if only else _imports(), "jobs": {}}
    signal.signal(signal.SIGALRM, _too_long)
    for name, (distribution, function) in JOBS.items():
        if only not in name:
            continue
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            print(name, "not installed", flush=True)
            continue
        found["jobs"][name] = {"version": version, **_outcome(function)}
        print(name, found["jobs"][name].get("error", "ok"), flush=True)
        Path(path).write_text(json.dumps(found, indent=1))         # after each: a job that ends the process loses nothing


def _imports() -> dict[str, str]:
    """Module -> the error of its import, or nothing: all of them in this process, one after another."""
    found = {}
    for distribution, module in environment.distributions():
        try:
            metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                import_module(module)
                found[module] = ""
            except Exception as error:
                found[module] = _said(error)
        print("import", module, found[module] or "ok", flush=True)
    return found


def _outcome(function: Any) -> dict[str, Any]:
    import numpy as np
    import torch
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    signal.alarm(LIMIT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"numbers": [float(each) for each in function()]}
    except Exception as error:
        traceback.print_exc()
        return {"error": _said(error)}
    finally:
        signal.alarm(0)


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"not done after {LIMIT} seconds")


def _said(error: Exception) -> str:
    lines = re.sub(r" \(/[^)]*\)", "", str(error)).strip().splitlines()         # an ImportError names the file, which is this machine's
    return f"{type(error).__name__}: {lines[-1][:160] if lines else ''}"


def table(theirs_path: str, ours_path: str) -> None:
    """Write docs/libraries.md's table."""
    theirs, ours = (json.loads(Path(path).read_text()) for path in (theirs_path, ours_path))
    rows = [f"| {name.partition(': ')[0]} {result['version']} | {name.partition(': ')[2]} | {_verdict(result, theirs['jobs'].get(name))} |"
            for name, result in ours["jobs"].items()]
    broken = [f"{module} ({error})" for module, error in ours["imports"].items() if error]
    lines = ["| library | what was run | on rushlight |", "| --- | --- | --- |", *rows, "",
             f"Imported together in one process: {sum(not error for error in ours['imports'].values())} of {len(ours['imports'])} libraries"
             + (", not " + "; ".join(broken) if broken else "") + f". Compared with PyTorch {theirs['torch']}."]
    missing = [name for name in JOBS if name not in ours["jobs"]]
    if missing:
        lines += ["", "Not run: " + "; ".join(missing) + "."]
    text = PAGE.read_text()
    PAGE.write_text(text[:text.index(START)] + START + "\n" + "\n".join(lines) + "\n" + text[text.index(END):])


def _verdict(ours: dict[str, Any], theirs: dict[str, Any] | None) -> str:
    if "error" in ours:
        both = " (and on PyTorch)" if theirs and theirs.get("error") == ours["error"] else ""
        return "stops" + both + ": " + ours["error"].replace("|", "/")
    if theirs is None or "error" in theirs:
        return "runs (not compared)"
    pairs = list(zip(ours["numbers"], theirs["numbers"], strict=False))
    worst = max((abs(x - y) / max(1.0, abs(y)) for x, y in pairs), default=0.0)
    return "runs, PyTorch's numbers" if worst < 1e-4 and len(ours["numbers"]) == len(theirs["numbers"]) else f"runs, numbers differ by {worst:.1e}"


if __name__ == "__main__":
    {"make": environment.make, "run": run, "table": table}[sys.argv[1]](*sys.argv[2:])
