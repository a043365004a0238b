"""The door to CuPy: found once, asked for by everything that touches a GPU. Without CuPy, a driver or a GPU there is one clear error."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...homes import settle

if TYPE_CHECKING:
    import numpy as np

    class _Memory:
        ptr: int                    # the address on the GPU

    class CupyArray(np.ndarray[Any, np.dtype[Any]]):
        """cupy.ndarray as checkers see it: ndarray's interface, and memory that has an address on the GPU."""

        data: _Memory                   # type: ignore[assignment]  # (NumPy's is a memoryview)

        def __getitem__(self, index: Any) -> CupyArray: ...
        def astype(self, *args: Any, **options: Any) -> CupyArray: ...
        def reshape(self, *shape: Any, **options: Any) -> CupyArray: ...
        def swapaxes(self, first: Any, second: Any) -> CupyArray: ...

__all__ = ["cupy", "needed", "replace", "why_not", "INSTALL", "AcceleratorError"]


class AcceleratorError(RuntimeError):
    """An error that the device reported (``torch.AcceleratorError``)."""


INSTALL = "pip install 'rushlight[cuda]'"
OLDEST = 14                     # the oldest CuPy
_UNKNOWN = object()
_found: Any = _UNKNOWN          # the module, None where there is none, _UNKNOWN before the first look
_reason = ""                    # why there is none
array_class: Any = None         # cupy.ndarray, once CuPy was found
several = False                 # whether there is more than one GPU, so that the current one has to be looked after


def _look() -> tuple[ModuleType | None, str]:
    try:
        import cupy
    except ImportError as error:
        return None, f"CuPy can't be imported ({error}): {INSTALL}"
    except Exception as error:  # noqa: BLE001  a broken installation shows in many ways
        return None, f"CuPy does not load ({error}): {INSTALL}"
    if why := _unfit(cupy):
        return None, why
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        why = _unfit_gpu(cupy) if count else "the NVIDIA driver shows no GPU"
    except Exception as error:  # noqa: BLE001  likewise a missing or old driver
        return None, f"CuPy is installed but finds no usable NVIDIA driver ({error})"
    return (None, why) if why else (cupy, "")


def _unfit(module: ModuleType) -> str:
    """Why this CuPy can't serve here, in one line that says what can; "" where it can."""
    version = str(module.__version__)
    if int(version.partition(".")[0]) < OLDEST:
        return f"CuPy {version} is installed, and {OLDEST} is the oldest that serves: {INSTALL}"
    try:
        built, driver = module.cuda.runtime.runtimeGetVersion(), module.cuda.runtime.driverGetVersion()
    except Exception:  # noqa: BLE001  no driver at all: what counts the GPUs says it
        return ""
    if driver and built // 1000 > driver // 1000:
        return (f"CuPy {version} is built for CUDA {_dotted(built)}, and the NVIDIA driver goes up to CUDA {_dotted(driver)}: a newer "
                f"driver, or in place of this CuPy pip install 'rushlight[cuda{driver // 1000}]'")
    return ""


def _unfit_gpu(module: ModuleType) -> str:
    """The same for the first GPU: CUDA 13 compiles for compute capability 7.5 and up."""
    capability = int(module.cuda.Device(0).compute_capability)
    if capability < 75 and module.cuda.runtime.runtimeGetVersion() >= 13000:
        return f"the GPU has compute capability {capability / 10}, and CUDA 13 starts at 7.5: in place of this CuPy pip install 'rushlight[cuda12]'"
    return ""


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def cupy() -> ModuleType | None:
    """CuPy where it is installed and finds a GPU, else None."""
    global _found, _reason, array_class
    if _found is _UNKNOWN:
        _found, _reason = _look()
        array_class = None if _found is None else _found.ndarray
    return _found


def why_not() -> str:
    """Why `cupy` is None, in a few words; "" where it is not."""
    return "" if cupy() is not None else _reason or f"CuPy is not installed: {INSTALL}"


def needed() -> ModuleType:
    """CuPy, or PyTorch's error for a build without CUDA, which says what to install."""
    found = cupy()
    if found is None:
        raise AssertionError(f"Torch not compiled with CUDA enabled: {why_not()}")
    return found


def replace(module: ModuleType | None) -> ModuleType | None:
    """Use another module in CuPy's place (the tests' stand-in), or None for "no GPU"; returns what was used before."""
    global _found, _reason, array_class
    previous, _found, _reason = _found, module, ""
    array_class = None if module in (None, _UNKNOWN) else module.ndarray
    return previous

settle("", globals(), ("AcceleratorError",))
