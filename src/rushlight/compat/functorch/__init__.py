"""What the package ``functorch``, which PyTorch brings along, holds: the transformations of `torch.func` by their old names."""

from __future__ import annotations

from types import SimpleNamespace

from ..func import functionalize, grad, grad_and_value, hessian, jacfwd, jacrev, jvp, vjp, vmap
from ..unsupported import absent_class, not_supported
from ..version import __version__

_STATE = "torch.func.functional_call calls a module with given parameters, torch.func.stack_module_state stacks those of several"
_DIMS = "name the dimensions by their positions (einsum, vmap, movedim)"
FunctionalModule = absent_class("func.FunctionalModule", _STATE)
FunctionalModuleWithBuffers = absent_class("func.FunctionalModuleWithBuffers", _STATE)
combine_state_for_ensemble = not_supported("func.combine_state_for_ensemble", _STATE)
make_functional = not_supported("func.make_functional", _STATE)
make_functional_with_buffers = not_supported("func.make_functional_with_buffers", _STATE)
dim = SimpleNamespace(Dim=absent_class("functorch.dim.Dim", _DIMS), DimList=absent_class("functorch.dim.DimList", _DIMS),
                      Tensor=absent_class("functorch.dim.Tensor", _DIMS), dims=not_supported("functorch.dim.dims", _DIMS),
                      dimlists=not_supported("functorch.dim.dimlists", _DIMS))

__all__ = ["FunctionalModule", "FunctionalModuleWithBuffers", "__version__", "combine_state_for_ensemble", "dim", "functionalize", "grad", "grad_and_value",
           "hessian", "jacfwd", "jacrev", "jvp", "make_functional", "make_functional_with_buffers", "vjp", "vmap"]
