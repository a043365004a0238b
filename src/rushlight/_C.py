"""``torch._C``: the few names of PyTorch's compiled module that programs use."""

from __future__ import annotations

from .autograd.grad_mode import is_grad_enabled as is_grad_enabled
from .overrides import DisableTorchFunction as DisableTorchFunction
from .overrides import DisableTorchFunctionSubclass as DisableTorchFunctionSubclass
from .overrides import _disabled_torch_function_impl as _disabled_torch_function_impl
