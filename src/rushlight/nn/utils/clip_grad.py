"""Gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...autograd.grad_mode import no_grad
from ...kernels.arrays import as_array
from ...tensor import Tensor, wrap
from .._torch import torch

__all__ = ["get_total_norm", "clip_grads_with_norm_", "clip_grad_norm_", "clip_grad_norm", "clip_grad_value_"]


def _list(tensors: Iterator[Any] | Tensor | list[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _norm2(tensors: list[Tensor]) -> Tensor | None:
    """The 2-norm by one dot product per tensor, where all are contiguous float32 or float64 arrays in memory; else None."""
    kind = tensors[0]._kind
    if kind.device.type == "cuda":
        from ...cuda.formulas import over_tensors
        r = over_tensors("norm", tensors)
        return None if r is NotImplemented else wrap(r, kind)
    if not kind.fast or kind.xp is not np or any(t.__class__ is not Tensor for t in tensors):       # a DTensor's array is a part of it
        return None
    total = kind.np.type(0)
    for t in tensors:
        a = t._a
        if t._kind is not kind or not a.flags.c_contiguous:
            return None
        flat = a.reshape(-1)
        total += flat.dot(flat)
    return wrap(as_array(np.sqrt(total), kind.np), kind)


def get_total_norm(tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Tensor:
    """The norm of all tensors taken together as one vector (0-dim).

    norm_type           p of the p-norm; inf is the largest absolute value
    error_if_nonfinite  RuntimeError when the norm is nan or infinite
    foreach             PyTorch's choice of implementation; both give the same here
    """
    with no_grad():
        tensors = _list(tensors)
        norm_type = float(norm_type)
        if not tensors:
            return torch.tensor(0.0)
        total = _norm2(tensors) if norm_type == 2.0 else None
        if total is None:
            first = tensors[0].device
            total = torch.norm(torch.stack([torch.norm(t, norm_type).to(first) for t in tensors]), norm_type)
        if error_if_nonfinite and not bool(torch.isfinite(total)):
            raise RuntimeError(f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
                               "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
                               "`error_if_nonfinite=False`")
        return total


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Scale the gradients, in place, by max_norm / total_norm where that is below 1."""
    with no_grad():
        grads = [p.grad for p in _list(parameters) if p.grad is not None]
        factor = torch.clamp(float(max_norm) / (total_norm + 1e-6), max=1.0)
        if grads and factor._kind.device.type == "cuda":
            from ...cuda.formulas import over_tensors
            wide = factor._a.astype(np.float64 if grads[0]._kind.np == np.float64 else np.float32)
            if all(g._kind.device is factor._kind.device for g in grads) and over_tensors("scale", grads, wide) is not NotImplemented:
                return
        # Multiplied also by 1: there is no look at the value, which on a GPU would wait for it.
        for grad in grads:
            grad.mul_(factor if grad._kind is factor._kind else factor.to(grad.device))


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                    foreach: bool | None = None) -> Tensor:
    """Scale the gradients, in place, so that their total norm is at most max_norm; returns the norm that they had."""
    if not isinstance(parameters, Tensor):
        is_generator = not isinstance(parameters, (list, tuple)) and iter(parameters) is parameters  # type: ignore[arg-type]
        parameters = list(parameters)
        if is_generator and not parameters:
            import warnings
            warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    grads = [p.grad for p in _list(parameters) if p.grad is not None]
    total_norm = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(parameters, max_norm, total_norm, foreach)
    return total_norm


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Tensor:
    """The old name of `clip_grad_norm_`."""
    import warnings
    warnings.warn("`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.", FutureWarning,
                  stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Limit every element of the gradients to [-clip_value, clip_value], in place."""
    clip_value = float(clip_value)
    with no_grad():
        for p in _list(parameters):
            if p.grad is not None:
                p.grad.clamp_(min=-clip_value, max=clip_value)
