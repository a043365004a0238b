"""``torch._functorch.eager_transforms``: the transformations, and how they take arguments by position."""

from __future__ import annotations

from typing import Any

from ..func.transforms import checked_argnums, functionalize, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp
from ..vocabulary import PerDim

__all__ = ["functionalize", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp"]


def _slice_argnums(args: tuple[Any, ...], argnums: PerDim, as_tuple: bool = True) -> Any:
    """The arguments at these positions: a tuple, for one position with as_tuple=False the argument itself."""
    numbers = checked_argnums(argnums, args)
    if isinstance(argnums, int) and not as_tuple:
        return args[numbers[0]]
    return tuple([args[n] for n in numbers])
