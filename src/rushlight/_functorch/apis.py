"""``torch._functorch.apis``: `vmap` and `grad`, and vmap in a given number of pieces."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..func.transforms import grad, grad_and_value
from ..func.vmap import batch_size, vmap

__all__ = ["chunk_vmap", "grad", "grad_and_value", "vmap"]


def chunk_vmap(func: Callable[..., Any], in_dims: int | tuple[Any, ...] = 0, out_dims: int | tuple[Any, ...] = 0, randomness: str = "error",
               chunks: int = 2) -> Callable[..., Any]:
    """`vmap` that computes the batch in so many pieces, one after the other. ValueError unless there is a piece."""
    if chunks < 1:
        raise ValueError(f"chunk_vmap: chunks should be greater than 0. (got {chunks})")

    @wraps(func)
    def batched(*args: Any, **kwargs: Any) -> Any:
        size = batch_size(func, in_dims, args)
        return vmap(func, in_dims, out_dims, randomness, chunk_size=max(-(-size // chunks), 1))(*args, **kwargs)
    return batched
