"""Stage "device": what the machine is, so that every number has a place."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from typing import Any

from .plan import Case, Context, Failed, Skipped

PACKAGES = ("numpy", "torch", "cupy-cuda13x", "cupy-cuda12x", "ml_dtypes", "pytest", "nvidia-cuda-nvrtc", "nvidia-cublas")


def cases(context: Context) -> list[Case]:
    """The device's cases."""
    return [Case("versions", _versions, quick=True), Case("gpu", _gpu, quick=True), Case("nvidia-smi", _smi, quick=True), Case("pytorch", _pytorch, quick=True)]


def _versions(context: Context) -> dict[str, Any]:
    import rushlight
    from rushlight.kernels import native
    found: dict[str, Any] = {"python": platform.python_version(), "rushlight": rushlight.__version__, "native": native.level or native.why_not,
                             "cpus": os.cpu_count(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpu(context: Context) -> dict[str, Any]:
    import rushlight as torch
    from rushlight.kernels.cuda import driver
    if not torch.cuda.is_available():
        raise Failed(driver.why_not())
    properties, runtime = torch.cuda.get_device_properties(0), driver.needed().cuda.runtime
    value = float((torch.arange(10, device="cuda") * 2).sum())
    if value != 90:
        raise Failed(f"2 * arange(10) sums to {value}")
    return {"name": properties.name, "capability": f"{properties.major}.{properties.minor}", "memory": properties.total_memory,
            "multiprocessors": properties.multi_processor_count, "driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion(),
            "cupy": driver.needed().__version__}


def _smi(context: Context) -> dict[str, Any]:
    if shutil.which("nvidia-smi") is None:
        raise Skipped("there is no nvidia-smi")
    fields = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.draw,temperature.gpu,ecc.mode.current,mig.mode.current"
    done = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise Failed(done.stdout + done.stderr)
    return dict(zip(fields.split(","), [value.strip() for value in done.stdout.splitlines()[0].split(",")]))


def _pytorch(context: Context) -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise Skipped(f"no PyTorch: {error}") from None
    if not torch.cuda.is_available():
        raise Skipped(f"PyTorch {torch.__version__} has no GPU here")
    return {"version": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "gpu": torch.cuda.get_device_name()}
