"""Checks of options that several optimisers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..tensor import Tensor

if TYPE_CHECKING:
    from ..optim.optimizer import Optimizer

__all__ = ["check_lr", "check_not_negative", "check_betas", "check_fused"]


def check_lr(lr: float | Tensor) -> None:
    """ValueError unless the learning rate is a number >= 0, or a one-element tensor with such a number."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_not_negative("learning rate", lr)


def check_not_negative(what: str, value: Any) -> None:
    """ValueError unless value >= 0 (nan is refused too)."""
    if not value >= 0.0:
        raise ValueError(f"Invalid {what}: {value}")


def check_betas(betas: Any) -> None:
    """ValueError unless both lie in [0, 1)."""
    for index in (0, 1):
        if not 0.0 <= betas[index] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {index}: {betas[index]}")


def check_fused(optimizer: Optimizer, fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """RuntimeError where ``fused=True`` contradicts other options, or the parameters are not floating-point."""
    if not fused:
        return
    if differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    for group in optimizer.param_groups:
        for p in group["params"]:
            if not p.is_floating_point():
                raise RuntimeError(f"`fused=True` requires all the params to be floating point Tensors, but one has dtype {p.dtype}")
