"""The CPU's native kernels for this interpreter, built in place in the background: comparisons with the CPU are quicker with them, and go without."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from .plan import LOG, ROOT


class Build:
    """CMake and ninja (or make) at low priority. `done` says whether the kernels are there."""

    def __init__(self, out: Path) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        if self.done() or not shutil.which("cmake"):
            return
        folder = f"build/native-{sys.implementation.cache_tag}"
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        command = " && ".join(" ".join(map(_quoted, part)) for part in (
            ["cmake", "-S", ".", "-B", folder, *generator, "-DRUSHLIGHT_IN_PLACE=ON", f"-DRUSHLIGHT_LEVELS={_level()}", f"-DPython_EXECUTABLE={sys.executable}"],
            ["nice", "cmake", "--build", folder, "--parallel", str(max(1, (os.cpu_count() or 2) // 2))]))
        with open(out / LOG, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(["sh", "-c", command], cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def done(self) -> bool:
        """Whether a library for this interpreter stands in the source tree, and no build is writing one."""
        if self.process is not None and self.process.poll() is None:
            return False
        suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
        return any((ROOT / "src" / "rushlight").glob(f"_native_*{suffix}"))

    def stop(self) -> None:
        """End a build that is not through yet."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


def _level() -> str:
    """The instructions that the processor has, as CMakeLists.txt names them."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "generic"
    return "v4" if "avx512vl" in flags else "v3" if "avx2" in flags and " fma" in flags else "generic"


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def environment(build: Build | None, out: Path) -> dict[str, str]:
    """The environment of a stage: the source tree to import from, NumPy's kernels where no others are there."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    threads = {name: os.environ.get(name, "4") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    found = {**os.environ, **threads, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    if build is not None and not build.done():
        found["RUSHLIGHT_NATIVE"] = "0"
    return found
