"""``python -m rushlight.utils.collect_env``: what a report of a problem should say about the machine."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any, NamedTuple

import numpy as np

from ..version import __version__, rushlight_version

__all__ = ["SystemEnv", "get_env_info", "get_pretty_env_info", "main"]


class SystemEnv(NamedTuple):
    """Versions and devices, as far as they are known."""

    torch_version: str
    rushlight_version: str
    python_version: str
    python_platform: str
    os: str
    cpu_count: int | None
    numpy_version: str
    blas: str
    is_cuda_available: bool
    nvidia_gpu_models: str | None


def _blas() -> str:
    config: Any = np.show_config(mode="dicts")
    found = config.get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def get_env_info() -> SystemEnv:
    """What is known about this process's surroundings."""
    from .. import cuda
    available = cuda.is_available()
    models = "\n".join(f"GPU {i}: {cuda.get_device_name(i)}" for i in range(cuda.device_count())) if available else None
    return SystemEnv(str(__version__), rushlight_version, f"{sys.version} ({platform.architecture()[0]} runtime)", platform.platform(),
                     f"{platform.system()} {platform.release()}", os.cpu_count(), np.__version__, _blas(), available, models)


def get_pretty_env_info() -> str:
    """The same as text."""
    return "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in get_env_info()._asdict().items())


def main() -> None:
    """Print it."""
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
