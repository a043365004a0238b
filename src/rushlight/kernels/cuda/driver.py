"""The door to CuPy: found once, asked for by everything that touches a GPU. Without CuPy, a driver or a GPU there is one clear error."""

from __future__ import annotations

from typing import Any

from ...homes import settle

__all__ = ["cupy", "needed", "replace", "why_not", "INSTALL", "AcceleratorError"]


class AcceleratorError(RuntimeError):
    """An error that the device reported (``torch.AcceleratorError``)."""


INSTALL = "pip install 'rushlight[cuda]'"
_UNKNOWN = object()
_found: Any = _UNKNOWN          # the module, None where there is none, _UNKNOWN before the first look
_reason = ""                    # why there is none
array_class: Any = None         # cupy.ndarray, once CuPy was found
several = False                 # whether there is more than one GPU, so that the current one has to be looked after


def _look() -> tuple[Any, str]:
    try:
        import cupy
    except ImportError as error:
        return None, f"CuPy can't be imported ({error}): {INSTALL}"
    except Exception as error:  # noqa: BLE001  a broken installation shows in many ways
        return None, f"CuPy does not load ({error}): {INSTALL}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # noqa: BLE001  likewise a missing or old driver
        return None, f"CuPy is installed but finds no usable NVIDIA driver ({error})"
    return (cupy, "") if count else (None, "the NVIDIA driver shows no GPU")


def cupy() -> Any:
    """CuPy where it is installed and finds a GPU, else None."""
    global _found, _reason, array_class
    if _found is _UNKNOWN:
        _found, _reason = _look()
        array_class = None if _found is None else _found.ndarray
    return _found


def why_not() -> str:
    """Why `cupy` is None, in a few words; "" where it is not."""
    return "" if cupy() is not None else _reason or f"CuPy is not installed: {INSTALL}"


def needed() -> Any:
    """CuPy, or PyTorch's error for a build without CUDA, which says what to install."""
    found = cupy()
    if found is None:
        raise AssertionError(f"Torch not compiled with CUDA enabled: {why_not()}")
    return found


def replace(module: Any) -> Any:
    """Use another module in CuPy's place (the tests' stand-in), or None for "no GPU"; returns what was used before."""
    global _found, _reason, array_class
    previous, _found, _reason = _found, module, ""
    array_class = None if module in (None, _UNKNOWN) else module.ndarray
    return previous

settle("", globals(), ("AcceleratorError",))
