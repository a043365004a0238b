"""`GradScaler`: multiply the loss so that float16 gradients do not vanish, and divide the gradients before the optimiser's step.

The scale grows while all gradients are finite and shrinks when one is not; such a step is skipped.
(Micikevicius et al., Mixed Precision Training, 2018.)
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

from .. import dtypes
from ..autograd.grad_mode import no_grad
from ..ops.mixed_precision import amp_foreach_non_finite_check_and_unscale_, amp_update_scale_
from ..ops.registry import FUNCTIONS as torch
from ..tensor import Tensor
from ..vocabulary import Device

if TYPE_CHECKING:
    from ..optim.optimizer import Optimizer

__all__ = ["OptState", "GradScaler"]


class OptState(Enum):
    """What has happened to an optimiser's gradients in this iteration."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _fresh_state() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


def _coalesced(parameter: Tensor) -> Tensor:
    """The gradient's numbers: all of a dense one, the values of a sparse one (float16 duplicates summed first, for they may overflow)."""
    grad: Any = parameter.grad
    if not grad.is_sparse:
        return grad
    if grad.dtype is dtypes.float16:
        grad = parameter.grad = grad.coalesce()
    return grad._values()


class GradScaler:
    """Scales losses and unscales gradients::

        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    init_scale       the first scale
    growth_factor    by which the scale grows after `growth_interval` steps without inf or nan; > 1
    backoff_factor   by which it shrinks after a step with them; < 1
    enabled          False: everything passes through
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0 ** 16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True) -> None:
        self._device, self._enabled = device, enabled
        if device == "cuda" and enabled:
            from .. import cuda
            if not cuda.is_available():
                warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2)
                self._enabled = False
        if not self._enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale, self._init_growth_tracker = init_scale, 0
        self._growth_factor, self._backoff_factor, self._growth_interval = growth_factor, backoff_factor, growth_interval
        self._scale: Any = None               # 0-dim float32 tensor, made at the first scale()
        self._growth_tracker: Any = None      # 0-dim int32 tensor: steps without inf since the scale changed
        self._per_optimizer_states: dict[int, dict[str, Any]] = defaultdict(_fresh_state)

    def _tensors(self, caller: str) -> tuple[Tensor, Tensor]:
        """(scale, growth tracker); AssertionError before the first scale()."""
        for name in ("_scale", "_growth_tracker"):
            if getattr(self, name) is None:
                raise AssertionError(f"Attempted {caller} but {name} is None.  This may indicate your script did not use "
                                     "scaler.scale(loss or outputs) earlier in the iteration.")
        return self._scale, self._growth_tracker

    def _lazy_init_scale_growth_tracker(self, device: Device) -> None:
        self._scale = torch["full"]((), self._init_scale, dtype=dtypes.float32, device=device)
        self._growth_tracker = torch["full"]((), self._init_growth_tracker, dtype=dtypes.int32, device=device)

    def scale(self, outputs: Any) -> Any:
        """A tensor, or nested iterables of tensors, multiplied by the scale. ValueError for anything else."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._lazy_init_scale_growth_tracker(outputs.device)
            return outputs * self._scale.to(device=outputs.device, non_blocking=True)
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled  # type: ignore[call-arg]
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def _unscale_grads_(self, optimizer: Optimizer, inv_scale: Tensor, allow_fp16: bool) -> dict[Any, Tensor]:
        """Multiply all gradients by inv_scale; per device, a tensor that is 1 if one of them was not finite."""
        groups: dict[tuple[Any, Any], list[Tensor]] = defaultdict(list)
        with no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        continue
                    if not allow_fp16 and parameter.grad.dtype is dtypes.float16:
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    values = _coalesced(parameter)
                    groups[values.device, values.dtype].append(values)
            found: dict[Any, Tensor] = {}
            for (device, _), grads in groups.items():
                if device not in found:
                    found[device] = torch["full"]((), 0.0, dtype=dtypes.float32, device=device)
                amp_foreach_non_finite_check_and_unscale_(grads, found[device], inv_scale.to(device=device, non_blocking=True))
        return found

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the optimiser's gradients by the scale, e.g. to clip them before `step`. Once per step (RuntimeError)."""
        if not self._enabled:
            return
        scale, _ = self._tensors("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        state["found_inf_per_device"] = self._unscale_grads_(optimizer, scale.double().reciprocal().float(), False)
        state["stage"] = OptState.UNSCALED

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(*args, **kwargs)`` with unscaled gradients; skipped (None) where one of them is inf or nan."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._tensors("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        found = state["found_inf_per_device"]
        if not found:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None if any(each.item() for each in found.values()) else optimizer.step(*args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """End the iteration: let the scale grow or shrink, or set it to `new_scale`."""
        if not self._enabled:
            return
        scale, tracker = self._tensors("update")
        if new_scale is None:
            found = [each.to(device=scale.device, non_blocking=True) for state in self._per_optimizer_states.values()
                     for each in state["found_inf_per_device"].values()]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            total = found[0]
            for each in found[1:]:
                total = total + each
            amp_update_scale_(scale, tracker, total, self._growth_factor, self._backoff_factor, self._growth_interval)
        elif isinstance(new_scale, float):
            scale.fill_(new_scale)
        else:
            if new_scale.device.type != self._device or new_scale.numel() != 1 or new_scale.requires_grad:
                raise AssertionError("new_scale should be a float or a 1-element torch.cuda.FloatTensor or torch.FloatTensor with "
                                     "requires_grad=False.")
            scale.copy_(new_scale)
        self._per_optimizer_states = defaultdict(_fresh_state)

    def get_scale(self) -> float:
        """The current scale, 1.0 where scaling is disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        """By what the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Choose by what the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """By what the scale shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Choose by what the scale shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many good steps the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Choose after how many good steps the scale grows."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        return self._init_growth_tracker if self._growth_tracker is None else self._growth_tracker.item()

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The state as a dict; empty where scaling is disabled."""
        if not self._enabled:
            return {}
        return {"scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
                "growth_interval": self._growth_interval, "_growth_tracker": self._get_growth_tracker()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state of `state_dict`. RuntimeError for an empty one."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler.")
        self._init_scale, self._init_growth_tracker = state_dict["scale"], state_dict["_growth_tracker"]
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._scale is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._per_optimizer_states:
                raise AssertionError("A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                                     "scaler.update().")
            state.update(_init_scale=self.get_scale(), _init_growth_tracker=self._get_growth_tracker(), _scale=None, _growth_tracker=None)
        return state

    def _check_inf_per_device(self, optimizer: Optimizer) -> dict[Any, Tensor]:
        scale, _ = self._tensors("_check_inf_per_device")
        found = self._unscale_grads_(optimizer, torch["full"]((), 1.0, dtype=dtypes.float32, device=scale.device), True)
        self._per_optimizer_states[id(optimizer)]["found_inf_per_device"] = found
        return found

    def _found_inf_per_device(self, optimizer: Optimizer) -> dict[Any, Tensor]:
        return self._per_optimizer_states[id(optimizer)]["found_inf_per_device"]
