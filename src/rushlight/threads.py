"""How many threads work on one operation: those of the BLAS library that NumPy has loaded and of the native kernels."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from .kernels import native

__all__ = ["set_num_threads", "get_num_threads", "set_num_interop_threads", "get_num_interop_threads", "blas_library"]

_PREFIXES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads64_", "openblas_{}_num_threads")


@cache
def blas_library() -> tuple[str, Any, Any]:
    """(path, setter, getter) of the OpenBLAS that NumPy uses; ("", None, None) where it is another library."""
    import ctypes
    from glob import glob

    import numpy as np
    root = os.path.dirname(os.path.dirname(np.__file__))
    for path in sorted(glob(os.path.join(root, "numpy.libs", "*openblas*")) + glob(os.path.join(root, "numpy", ".dylibs", "*openblas*"))):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for pattern in _PREFIXES:
            setter, getter = getattr(library, pattern.format("set"), None), getattr(library, pattern.format("get"), None)
            if setter is not None and getter is not None:
                return path, setter, getter
    return "", None, None


_state = {"interop": os.cpu_count() or 1}


def set_num_threads(int: int) -> None:  # noqa: A002  (PyTorch's name)
    """Let one operation use at most this many threads (those of NumPy's BLAS and of the native kernels)."""
    if not isinstance(int, _int) or isinstance(int, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(int).__name__}")
    if int < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    setter = blas_library()[1]
    if setter is not None:
        setter(int)
    if native.library is not None:
        native.library.set_threads(int)
    _state["threads"] = int


_int = int


def get_num_threads() -> int:
    """The number of threads that one operation may use."""
    getter = blas_library()[2]
    if "threads" in _state or getter is None:
        return _state.get("threads", os.cpu_count() or 1)
    return _int(getter())


def set_num_interop_threads(int: int) -> None:  # noqa: A002
    """Kept for PyTorch's sake: rushlight runs operations one after another, so the number has no effect beyond being remembered."""
    if int < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _state["interop"] = int


def get_num_interop_threads() -> int:
    """The number given to `set_num_interop_threads` (at first the number of CPUs)."""
    return _state["interop"]
