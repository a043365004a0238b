"""Switches that PyTorch programs set: determinism, matmul precision. rushlight's CPU arithmetic is deterministic and full precision."""

from __future__ import annotations

import warnings
from typing import Any

from .devices import set_default_device
from .dtypes import DTYPES, set_default_dtype
from .kernels import precision as kernel_precision
from .tensor import Tensor

__all__ = ["use_deterministic_algorithms", "are_deterministic_algorithms_enabled", "is_deterministic_algorithms_warn_only_enabled",
           "set_float32_matmul_precision", "get_float32_matmul_precision", "set_flush_denormal", "set_warn_always",
           "is_warn_always_enabled", "get_deterministic_debug_mode", "set_deterministic_debug_mode", "typename", "set_default_tensor_type"]

_state = {"deterministic": False, "warn_only": False, "warn_always": False}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for deterministic algorithms. rushlight's are; `empty` and its like fill their memory then (see
    ``torch.utils.deterministic``)."""
    if mode.__class__ is not bool:
        raise TypeError(f"_set_deterministic_algorithms(): argument 'mode' (position 1) must be bool, not {type(mode).__name__}")
    if warn_only.__class__ is not bool:
        raise TypeError(f"_set_deterministic_algorithms(): argument 'warn_only' must be bool, not {type(warn_only).__name__}")
    _state["deterministic"], _state["warn_only"] = mode, warn_only


def alert_not_deterministic(name: str) -> None:
    """An error (or a warning) where deterministic algorithms are asked for and an operation's result hangs on the order of its writes."""
    if not _state["deterministic"]:
        return
    text = (f"{name} does not have a deterministic implementation, but you set 'torch.use_deterministic_algorithms(True)'. You can turn "
            "off determinism just for this operation, or you can use the 'warn_only=True' option, if that's acceptable for your "
            "application.")
    if not _state["warn_only"]:
        raise RuntimeError(text)
    warnings.warn(text, UserWarning, stacklevel=3)


def fills_memory() -> bool:
    """Whether uninitialised memory has to be filled, so that a program that reads it always finds the same."""
    if not _state["deterministic"]:
        return False
    from .utils import deterministic
    return deterministic.fill_uninitialized_memory


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return bool(_state["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` was told about warnings."""
    return bool(_state["warn_only"])


def get_deterministic_debug_mode() -> int:
    """0: default, 1: warn, 2: error."""
    return 0 if not _state["deterministic"] else 1 if _state["warn_only"] else 2


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """"default" (0), "warn" (1) or "error" (2)."""
    number = {"default": 0, "warn": 1, "error": 2}.get(debug_mode, debug_mode) if isinstance(debug_mode, str) else debug_mode
    if number not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


def set_float32_matmul_precision(precision: str) -> None:
    """"highest", "high" or "medium". The CPU always computes float32 products in float32; CUDA follows the setting."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"float32_matmul_precision must be one of highest, high, medium, but got {precision}")
    kernel_precision.matmul = precision


def get_float32_matmul_precision() -> str:
    """The precision that `set_float32_matmul_precision` set."""
    return kernel_precision.matmul


def set_flush_denormal(mode: bool) -> bool:
    """NumPy offers no control over denormal numbers: returns False, which means that it is not supported."""
    return False


def set_warn_always(b: bool, /) -> None:
    """Whether warnings that appear once should appear always."""
    _state["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was told."""
    return bool(_state["warn_always"])


def typename(obj: object, /) -> str:
    """The full name of an object's type; of a tensor, its old name such as "torch.FloatTensor"."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    name, module = "", getattr(obj, "__module__", "") or ""
    if hasattr(obj, "__qualname__"):
        name = obj.__qualname__
    elif hasattr(obj, "__name__"):
        name = obj.__name__
    else:
        module, name = type(obj).__module__ or "", type(obj).__qualname__
    return name if module in ("", "builtins") else f"{module}.{name}"


def _assert(condition: Any, message: str) -> Any:
    """``assert`` as a function, for code that is traced: what overrides torch functions (a proxy) is asked instead."""
    if type(condition) is not Tensor and hasattr(type(condition), "__torch_function__"):
        return type(condition).__torch_function__(_assert, (type(condition),), (condition, message), {})
    assert condition, message
    return None


def set_default_tensor_type(t: object, /) -> None:
    """The old way to choose the default dtype (and device), by a type such as ``torch.DoubleTensor`` or its name. TypeError for others."""
    name = t if isinstance(t, str) else typename(t)
    parts = name.removeprefix("rushlight.").removeprefix("torch.").split(".")
    dtype = {"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16"}.get(parts[-1].removesuffix("Tensor"))
    if dtype is None or len(parts) > 2 or parts[0] not in ("cuda", parts[-1]):
        raise TypeError(f"invalid type object: only floating-point types are supported as the default type, got {name}")
    set_default_dtype(DTYPES[dtype])
    set_default_device("cuda" if len(parts) == 2 else "cpu")
