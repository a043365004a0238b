"""``torch._functorch.deprecated``: what ``functorch`` shows, each with a word on where it is now."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

from .. import func
from . import make_functional as models

__all__ = ["combine_state_for_ensemble", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "make_functional",
           "make_functional_with_buffers", "vjp", "vmap"]


def _moved(function: Callable[..., Any], now: str) -> Callable[..., Any]:
    """The function with a FutureWarning that says where it is now."""
    name = function.__name__

    @wraps(function)
    def old(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(f"We've integrated functorch into PyTorch. As the final step of the integration, `functorch.{name}` is deprecated "
                      f"as of PyTorch 2.0 and will be deleted in a future version of PyTorch >= 2.3. Please use `{now}` "
                      "instead", FutureWarning,
                      stacklevel=2)
        return function(*args, **kwargs)
    return old


vmap = _moved(func.vmap, "torch.vmap")
functionalize = _moved(func.functionalize, "torch.func.functionalize")
grad = _moved(func.grad, "torch.func.grad")
grad_and_value = _moved(func.grad_and_value, "torch.func.grad_and_value")
hessian = _moved(func.hessian, "torch.func.hessian")
jacfwd = _moved(func.jacfwd, "torch.func.jacfwd")
jacrev = _moved(func.jacrev, "torch.func.jacrev")
jvp = _moved(func.jvp, "torch.func.jvp")
vjp = _moved(func.vjp, "torch.func.vjp")
make_functional = _moved(models.make_functional, "torch.func.functional_call")
make_functional_with_buffers = _moved(models.make_functional_with_buffers, "torch.func.functional_call")
combine_state_for_ensemble = _moved(models.combine_state_for_ensemble, "torch.func.stack_module_state")
