"""``torch._C._functorch``: what a tensor inside vmap stands for, and dimensions folded into others. Names that are not here are listed in
`absent`."""

from __future__ import annotations

from math import prod

from ..func.batched import BatchedArray, levels_of
from ..func.vmap import debug_unwrap
from ..kind import VMAP_FALLBACK
from ..tensor import Tensor
from ..unsupported import attribute_of

__all__ = ["get_unwrapped", "is_batchedtensor", "maybe_get_bdim", "maybe_get_level", "reshape_dim_into", "reshape_dim_outof"]

__getattr__ = attribute_of("_C._functorch", "torch.func has vmap, grad and their like")


def is_batchedtensor(tensor: Tensor) -> bool:
    """Whether a tensor stands for one sample of a vmap."""
    return isinstance(tensor._a, BatchedArray)


def maybe_get_bdim(tensor: Tensor) -> int:
    """Which dimension of the whole batch is the samples': always the first; -1 outside of vmap."""
    return 0 if is_batchedtensor(tensor) else -1


def maybe_get_level(tensor: Tensor) -> int:
    """The number of the innermost vmap that a tensor is a sample of, -1 for none."""
    return max(levels_of(tensor._a), default=-1)


def get_unwrapped(tensor: Tensor) -> Tensor:
    """The whole batch that a sample of the innermost vmap is from, without history."""
    if not is_batchedtensor(tensor):
        raise RuntimeError("get_unwrapped: the tensor is no sample of a vmap")
    return debug_unwrap(tensor, recurse=False)


def reshape_dim_into(src: int, dst: int, x: Tensor) -> Tensor:
    """Dimension `src` moved before dimension `dst` of what remains, and joined with it."""
    ndim = x.dim()
    at = dst % max(ndim - 1, 1)
    moved = x.movedim(src % ndim, at)
    shape = moved.shape
    return moved.reshape(*shape[:at], shape[at] * shape[at + 1], *shape[at + 2:])


def reshape_dim_outof(src: int, size1: int, x: Tensor) -> Tensor:
    """Dimension `src` split into `size1` parts: their dimension stands before the rest's."""
    at = src % x.dim()
    shape = x.shape
    if size1 == 0 or shape[at] % size1:
        if not (size1 == 0 and prod(shape) == 0):
            raise RuntimeError(f"reshape_dim_outof: {shape[at]} elements can't be split into {size1} equal parts")
    return x.reshape(*shape[:at], size1, shape[at] // size1 if size1 else shape[at], *shape[at + 1:])


def _is_vmap_fallback_enabled() -> bool:
    """Whether ops without a batched form run sample by sample under vmap, rather than fail."""
    return VMAP_FALLBACK["enabled"]


def _set_vmap_fallback_enabled(enabled: bool) -> None:
    """Say whether they do."""
    VMAP_FALLBACK["enabled"] = bool(enabled)
