"""Automatic differentiation: backward and grad, custom functions, grad modes, hooks, checks."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_LAZY = {
    "Function": "function", "FunctionCtx": "function",
    "backward": "api", "grad": "api",
    "no_grad": "grad_mode", "enable_grad": "grad_mode", "set_grad_enabled": "grad_mode", "inference_mode": "grad_mode",
    "set_multithreading_enabled": "grad_mode", "is_multithreading_enabled": "grad_mode", "_unsafe_preserve_version_counter": "grad_mode",
    "enforce_grad_layout_policy": "grad_mode", "NestedIOFunction": "function",
    "detect_anomaly": "anomaly_mode", "set_detect_anomaly": "anomaly_mode",
    "gradcheck": "gradcheck", "gradgradcheck": "gradcheck", "GradcheckError": "gradcheck",
}
_MODULES = ("function", "functional", "graph", "grad_mode", "anomaly_mode", "forward_ad", "profiler")


def __getattr__(name: str) -> Any:
    # Lazy, so that `import rushlight` does not pay for what few programs use.
    from importlib import import_module
    if name in _LAZY:
        module = import_module("." + _LAZY[name], __name__)
        value = getattr(module, name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module("." + name, __name__)
    if name == "Variable":
        from .variable import Variable
        return Variable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    """Keeps ``torch.autograd.gradcheck`` the function: the import system would put the module of that name there."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value.gradcheck if name == "gradcheck" and isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*_LAZY, *_MODULES, "Variable"})
