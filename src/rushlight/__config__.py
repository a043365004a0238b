"""``torch.__config__``: how this library was built."""

from __future__ import annotations

from .threads import get_num_interop_threads, get_num_threads
from .utils.collect_env import _blas
from .version import rushlight_version

__all__ = ["show", "parallel_info"]


def show() -> str:
    """What this rushlight stands on, as text."""
    import platform

    import numpy

    return "\n".join([f"rushlight {rushlight_version} built with:", f"  - Python {platform.python_version()}",
                      f"  - NumPy {numpy.__version__}", f"  - BLAS: {_blas()}", ""])


def parallel_info() -> str:
    """How many threads there are, as text."""
    import os

    return "\n".join(["ATen/Parallel:", f"\tat::get_num_threads() : {get_num_threads()}",
                      f"\tat::get_num_interop_threads() : {get_num_interop_threads()}",
                      f"OMP_NUM_THREADS : {os.environ.get('OMP_NUM_THREADS', '[not set]')}",
                      f"std::thread::hardware_concurrency() : {os.cpu_count()}", ""])
