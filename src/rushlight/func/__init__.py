"""``torch.func``: transformations of functions. They compose with each other and with ordinary autograd."""

from __future__ import annotations

from .modules import functional_call, replace_all_batch_norm_modules_, stack_module_state
from .rearrange import rearrange
from .transforms import functionalize, grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp
from .vmap import debug_unwrap, vmap

__all__ = ["vmap", "grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "linearize", "functionalize", "functional_call",
           "stack_module_state", "replace_all_batch_norm_modules_", "rearrange", "debug_unwrap"]
