"""``rushlight info``: versions, native kernels, BLAS, threads, devices."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..version import __version__, rushlight_version

__all__ = ["facts"]

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def facts() -> list[tuple[str, str]]:
    """(name, what it is), a line each."""
    import platform
    from importlib.metadata import version

    import numpy

    from .. import threads
    return [
        ("rushlight", f"{rushlight_version} ({_HERE})"),
        ("as torch", str(__version__)),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("numpy", numpy.__version__),
        ("ml_dtypes", version("ml_dtypes")),
        ("platform", platform.platform()),
        ("native kernels", _native()),
        ("BLAS", _blas()),
        ("threads", f"{threads.get_num_threads()} of {os.cpu_count()} CPUs"),
        ("devices", ", ".join(_devices())),
    ]


def _native() -> str:
    from ..kernels.native import describe
    return describe()


def _blas() -> str:
    import numpy

    from ..threads import blas_library
    built: Any = numpy.show_config(mode="dicts") or {}
    blas = built.get("Build Dependencies", {}).get("blas", {})
    path = blas_library()[0]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip() + (f" ({path})" if path else " (its threads can't be set)")


def _devices() -> list[str]:
    found = [f"cpu ({_cpu_model()})"]
    from .. import cuda
    if cuda.is_available():
        found += [f"cuda:{i} ({cuda.get_device_name(i)})" for i in range(cuda.device_count())]
    else:
        found.append("no cuda")
    return found


def _cpu_model() -> str:
    import platform
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
