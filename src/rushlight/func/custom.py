"""Custom autograd Functions and operators under vmap: their `vmap` staticmethod, `generate_vmap_rule`, or what `register_vmap` was
given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import services
from ..autograd.function import Function
from ..autograd.grad_mode import LOCAL
from ..tensor import Tensor
from ..utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten
from .batched import levels_of
from .vmap import batch_tensor, unbatch_tensor

if TYPE_CHECKING:
    from ..utils._pytree import TreeSpec

__all__ = ["VmapInfo", "vmapped"]


class VmapInfo(NamedTuple):
    """What a `vmap` staticmethod is told about the vmap that runs."""

    batch_size: int
    randomness: str


@services.vmapped_function.given
def vmapped(cls: type[Any], args: tuple[Any, ...]) -> Callable[[], Any] | None:
    """What to do instead of running the Function as it is; None where its arguments are not batched, or it wants to be run on batches."""
    leaves, spec = tree_flatten(args)
    entry = _innermost(leaves)
    if entry is None:
        return None
    overridden = cls.vmap is not Function.vmap
    if cls.setup_context is Function.setup_context:
        raise RuntimeError("In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must "
                           "override the setup_context staticmethod.")
    if cls.generate_vmap_rule:
        if overridden:
            raise RuntimeError(f"You tried to vmap over {cls.__name__}, but it has both generate_vmap_rule=True and an overridden vmap "
                               "staticmethod. Please set generate_vmap_rule=False or delete the overridden vmap staticmethod to avoid "
                               "ambiguity.")
        return None
    if not overridden:
        raise RuntimeError(f"You tried to vmap over {cls.__name__}, but it does not have vmap support. Please override and implement the "
                           "vmap staticmethod or set generate_vmap_rule=True.")
    return lambda: _run(cls.vmap, cls.__name__, leaves, spec, *entry)


@services.vmapped_operator.given
def vmapped_operator(rule: Callable[..., Any], name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Callable[[], Any] | None:
    """What to do instead of running an operator's kernel as it is; None where its arguments are not batched."""
    leaves, spec = tree_flatten(args)
    entry = _innermost([*leaves, *tree_flatten(keywords)[0]])
    if entry is None:
        return None
    if any(isinstance(leaf, Tensor) and entry[0] in levels_of(leaf._a) for leaf in tree_flatten(keywords)[0]):
        raise NotImplementedError(f"{name}: a vmap rule is told about the batches of positional arguments only, and a keyword argument "
                                  "has one")
    return lambda: _run(partial(rule, **keywords) if keywords else rule, name, leaves, spec, *entry)


def _innermost(leaves: list[Any]) -> tuple[int, int, str] | None:
    """The innermost vmap that runs and has batched one of these."""
    present = {level for leaf in leaves if isinstance(leaf, Tensor) for level in levels_of(leaf._a)}
    return next((entry for entry in reversed(LOCAL.vmaps) if entry[0] in present), None)


def _run(rule: Callable[..., Any], name: str, leaves: list[Any], spec: TreeSpec, level: int, size: int, randomness: str) -> Tensor:
    """Call a rule with whole batches (in dimension 0)."""
    batched = [isinstance(leaf, Tensor) and level in levels_of(leaf._a) for leaf in leaves]
    whole = [unbatch_tensor(leaf, level, size, 0) if is_batched else leaf for leaf, is_batched in zip(leaves, batched, strict=True)]
    in_dims = tree_unflatten([0 if is_batched else None for is_batched in batched], spec)
    previous = LOCAL.vmaps
    LOCAL.vmaps = tuple([entry for entry in previous if entry[0] != level])
    try:
        result = rule(VmapInfo(size, randomness), in_dims, *tree_unflatten(whole, spec))
    finally:
        LOCAL.vmaps = previous
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError("Expected the vmap staticmethod to have two returns, an output and out_dims with pytree structure compatible "
                           f"with the output. Got a {type(result)} instead")
    output, out_dims = result
    flat, out_spec = tree_flatten(output)
    dims = _broadcast_to_and_flatten(out_dims, out_spec)
    if dims is None:
        raise RuntimeError(f"The vmap staticmethod of {name} returned out_dims={out_dims}, which do not have the structure of its output")
    return tree_unflatten([leaf if dim is None else batch_tensor(leaf, dim % leaf.dim(), level)
                           for leaf, dim in zip(flat, dims, strict=True)], out_spec)
