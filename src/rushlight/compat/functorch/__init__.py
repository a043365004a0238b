"""What the package ``functorch``, which PyTorch brings along, holds: the transformations of `torch.func` by their old names."""

from __future__ import annotations

from types import SimpleNamespace

from ..._functorch.deprecated import (
    combine_state_for_ensemble,
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    make_functional,
    make_functional_with_buffers,
    vjp,
    vmap,
)
from ..._functorch.make_functional import FunctionalModule, FunctionalModuleWithBuffers
from ...fx.experimental.proxy_tensor import make_fx
from ...unsupported import absent_class, not_supported
from ...version import __version__

_DIMS = "name the dimensions by their positions (einsum, vmap, movedim)"
dim = SimpleNamespace(Dim=absent_class("functorch.dim.Dim", _DIMS), DimList=absent_class("functorch.dim.DimList", _DIMS),
                      Tensor=absent_class("functorch.dim.Tensor", _DIMS), dims=not_supported("functorch.dim.dims", _DIMS),
                      dimlists=not_supported("functorch.dim.dimlists", _DIMS))

__all__ = ["FunctionalModule", "FunctionalModuleWithBuffers", "__version__", "combine_state_for_ensemble", "dim", "functionalize", "grad",
           "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "make_functional", "make_functional_with_buffers", "make_fx", "vjp",
           "vmap"]
