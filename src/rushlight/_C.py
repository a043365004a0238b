"""``torch._C``: the few names of PyTorch's compiled module that programs use."""

from __future__ import annotations

from .autograd.grad_mode import is_grad_enabled as is_grad_enabled
from .generator import Generator as Generator
from .overrides import DisableTorchFunction as DisableTorchFunction
from .overrides import DisableTorchFunctionSubclass as DisableTorchFunctionSubclass
from .overrides import _disabled_torch_function_impl as _disabled_torch_function_impl


def _get_tracing_state() -> None:
    """The trace that is being recorded: none ever is."""
    return


def _get_privateuse1_backend_name() -> str:
    """The name of a device that a plug-in brings."""
    return "privateuseone"


def _log_api_usage_once(event: str) -> None:
    """Where PyTorch counts which features are used; nothing is counted here."""
