"""``rushlight doctor``: what is slow or wrong about this installation, each with what mends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from ..kernels import native

__all__ = ["Finding", "examine", "report"]

_PACKAGE = Path(__file__).resolve().parent.parent
_OPTIONAL = {"safetensors": "reads and writes .safetensors files", "PIL": "reads images", "tqdm": "shows progress",
             "tensorboard": "torch.utils.tensorboard writes its logs"}
_PROJECTS = {"PIL": "pillow"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. state: "good", "note" (nothing is wrong), "slow" or "wrong"; mend: a command or a setting."""
    what: str
    state: str
    text: str
    mend: str = ""


def examine() -> list[Finding]:
    """Look at this installation, this machine and this environment's settings; changes nothing."""
    return [finding for look in (_native, _level, _blas, _threads, _compiled, _python, _torch, _packages, _gpu) for finding in look()]


def _native() -> Iterator[Finding]:
    if native.library is not None:
        yield Finding("native kernels", "good", native.describe())
    elif os.environ.get("RUSHLIGHT_NATIVE") == "0":
        yield Finding("native kernels", "slow", "switched off by RUSHLIGHT_NATIVE=0", "unset RUSHLIGHT_NATIVE")
    else:
        built = sorted(path.name for path in _PACKAGE.glob("_native_*"))
        why = f"there are {', '.join(built)}, and none loads: {native.why_not}" if built else "none was built (no C++ compiler at installation)"
        yield Finding("native kernels", "slow", why,
                      f"install a C++ compiler (apt install g++), then {sys.executable} -m pip install --force-reinstall --no-deps "
                      "rushlight")


def _level() -> Iterator[Finding]:
    if native.library is None:
        return
    best, used = next(iter(native.levels())), native.level
    if best != used:
        yield Finding("instruction set", "slow", f"this CPU can do {best}, and the kernels loaded are for {used}",
                      "unset RUSHLIGHT_NATIVE" if os.environ.get("RUSHLIGHT_NATIVE") else f"reinstall from source, so that {best} is built")


def _blas() -> Iterator[Finding]:
    from ..threads import blas_library
    path = blas_library()[0]
    if path:
        yield Finding("BLAS", "good", os.path.basename(path))
    else:
        yield Finding("BLAS", "note", "NumPy has another BLAS than its wheel's OpenBLAS: torch.set_num_threads does not reach it",
                      f"{sys.executable} -m pip install --force-reinstall numpy, or set its own variable (MKL_NUM_THREADS, ...)")


def _threads() -> Iterator[Finding]:
    from ..threads import get_num_threads
    threads, cpus = get_num_threads(), _cpus()
    if threads > cpus:
        yield Finding("threads", "slow", f"{threads} threads for {cpus:g} CPUs that this process may use: they wait for one another",
                      f"export OMP_NUM_THREADS={max(1, int(cpus))}")
    else:
        yield Finding("threads", "good", f"{threads} of {cpus:g} CPUs")


def _cpus() -> float:
    """The CPUs that this process may use: of the machine, its affinity and its container's quota the least."""
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return count if quota == "max" else min(count, int(quota) / int(period))
    except (OSError, ValueError):
        return count


def _compiled() -> Iterator[Finding]:
    """Without .pyc files every start compiles every module that it imports."""
    sources = list(_PACKAGE.glob("*.py"))
    missing = sum(not os.path.exists(cache_from_source(str(path))) for path in sources)
    if missing <= len(sources) // 2:
        yield Finding("compiled files", "good", "imports find their .pyc files")
    elif sys.dont_write_bytecode:
        yield Finding("compiled files", "slow", f"{missing} of {len(sources)} modules have no .pyc file, and Python is told to write none",
                      f"unset PYTHONDONTWRITEBYTECODE, or once {sys.executable} -m compileall -q {_PACKAGE}")
    elif not os.access(_PACKAGE, os.W_OK):
        yield Finding("compiled files", "slow", f"{missing} of {len(sources)} modules have no .pyc file, and their folder is read-only",
                      f"once, as who may write there: {sys.executable} -m compileall -q {_PACKAGE}")
    else:
        yield Finding("compiled files", "note", "not there yet; the next import writes them")


def _python() -> Iterator[Finding]:
    if sys.flags.dev_mode or os.environ.get("PYTHONMALLOC") == "debug":
        yield Finding("Python", "slow", "development mode checks every allocation", "run without -X dev and PYTHONMALLOC=debug")
    elif sys.gettrace() is not None:
        yield Finding("Python", "slow", "a debugger or a coverage tool follows every line", "run without it when time counts")
    else:
        yield Finding("Python", "good", sys.version.split()[0])


def _torch() -> Iterator[Finding]:
    """What `import torch` means here."""
    from ..compat import linking
    try:
        found = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        yield Finding("import torch", "note", "finds nothing here; `rushlight run` works", "rushlight link")
        return
    if find_spec("torch") is None:
        yield Finding("import torch", "wrong", f"the distribution torch {found.version} is registered, and its package is gone",
                      "pip uninstall torch")
    elif (found.read_text("INSTALLER") or "").strip() == "rushlight":
        wrong = linking.check()
        yield Finding("import torch", "wrong" if wrong else "good", "; ".join(wrong) or "means rushlight (linked)",
                      "rushlight link" if wrong else "")
    else:
        yield Finding("import torch", "note", f"means PyTorch {found.version}, which is installed too; `rushlight run` still means "
                                              "rushlight")


def _packages() -> Iterator[Finding]:
    for name, use in _OPTIONAL.items():
        if find_spec(name) is None:
            yield Finding(name, "note", f"not installed ({use})", f"pip install {_PROJECTS.get(name, name)}")


def _gpu() -> Iterator[Finding]:
    from .. import cuda
    card = any(Path("/dev").glob("nvidia[0-9]*"))
    if cuda.is_available():
        yield Finding("GPU", "good", ", ".join(cuda.get_device_name(i) for i in range(cuda.device_count())))
    elif card and find_spec("cupy") is None:
        yield Finding("GPU", "slow", "there is an NVIDIA GPU, and no CuPy: everything computes on the CPU", "pip install 'rushlight[cuda]'")
    elif card:
        yield Finding("GPU", "wrong", "there is an NVIDIA GPU, and CuPy finds none", "python -c 'import cupy; cupy.show_config()' says why")
    else:
        yield Finding("GPU", "note", "none: the CPU computes")


def report(findings: list[Finding]) -> tuple[str, int]:
    """The text, and the exit status: 1 where something is slow or wrong."""
    lines = []
    for each in findings:
        lines.append(f"{each.state:6} {each.what:16} {each.text}")
        if each.mend:
            lines.append(f"{'':23} -> {each.mend}")
    bad = sum(each.state in ("slow", "wrong") for each in findings)
    lines.append("nothing is wrong" if not bad else f"{bad} thing{'s' * (bad != 1)} to mend")
    return "\n".join(lines), int(bad > 0)
