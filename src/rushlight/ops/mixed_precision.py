"""The two ops of gradient scaling (see amp/grad_scaler.py). They change their arguments in place."""

from __future__ import annotations

from ..autograd.grad_mode import no_grad
from ..tensor import Tensor
from .public import op


@op(name="_amp_foreach_non_finite_check_and_unscale_")
def amp_foreach_non_finite_check_and_unscale_(grads: list[Tensor], found_inf: Tensor, inv_scale: Tensor) -> None:
    """Multiply all tensors by the 0-dim inv_scale; set found_inf to 1 where one of their elements is not finite."""
    if inv_scale.numel() != 1 or found_inf.numel() != 1:
        raise RuntimeError("inv_scale and found_inf must be 1-element tensors.")
    if grads and grads[0]._kind.device.type == "cuda":
        if found_inf._kind.dtype.name == inv_scale._kind.dtype.name == "float32" and grads[0]._kind.xp.over_tensors(
                "unscale", grads, found_inf._a, inv_scale._a) is not NotImplemented:
            found_inf._ver += 1
            return
    with no_grad():
        factor = float(inv_scale.item())
        for grad in grads:
            if not bool(grad.isfinite().all()):
                found_inf.fill_(1.0)
            if factor != 1.0:
                grad.mul_(factor)


@op(name="_amp_update_scale_")
def amp_update_scale_(self: Tensor, growth_tracker: Tensor, found_inf: Tensor, scale_growth_factor: float, scale_backoff_factor: float,
                      growth_interval: int) -> Tensor:
    """Shrink the scale if found_inf is not 0; let it grow (while it stays finite) at every growth_interval-th call without inf."""
    with no_grad():
        if found_inf.item():
            self.mul_(scale_backoff_factor)
            growth_tracker.fill_(0)
            return self
        successful = growth_tracker.item() + 1
        if successful == growth_interval:
            grown = self * scale_growth_factor
            if bool(grown.isfinite().all()):
                self.copy_(grown)
            growth_tracker.fill_(0)
        else:
            growth_tracker.fill_(successful)
    return self
