"""Weight averaging: running averages of a model's parameters, the learning rate that goes with them, and batch norm afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from math import cos, pi
from typing import Any, Literal

from ..autograd.grad_mode import no_grad
from ..nn.modules.batchnorm import _BatchNorm
from ..nn.modules.module import Module
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor
from ..vocabulary import Device
from .lr_scheduler.base import LRScheduler, per_group
from .optimizer import Optimizer

__all__ = ["AveragedModel", "update_bn", "SWALR", "get_ema_multi_avg_fn", "get_swa_multi_avg_fn", "get_ema_avg_fn", "get_swa_avg_fn"]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., None]:
    """``multi_avg_fn`` of exponential moving averages: avg = decay * avg + (1 - decay) * p, in place on lists of tensors."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param_list: list[Tensor], current_param_list: list[Tensor], _: Tensor) -> None:
        for average, p in zip(ema_param_list, current_param_list, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(p.to(dtype=average.dtype), 1 - decay)
            else:
                average.copy_(average * decay + p * (1 - decay))
    return ema_update


def get_swa_multi_avg_fn() -> Callable[..., None]:
    """``multi_avg_fn`` of equally weighted averages: avg += (p - avg) / (n + 1), in place on lists of tensors."""
    @no_grad()
    def swa_update(averaged_param_list: list[Tensor], current_param_list: list[Tensor], num_averaged: Tensor) -> None:
        share = 1 / (float(num_averaged) + 1)
        for average, p in zip(averaged_param_list, current_param_list, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(p.to(dtype=average.dtype), share)
            else:
                average.copy_(average + (p - average) * share)
    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Callable[..., Tensor]:
    """``avg_fn`` of exponential moving averages: decay * avg + (1 - decay) * p."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Tensor) -> Tensor:
        return decay * ema_param + (1 - decay) * current_param
    return ema_update


def get_swa_avg_fn() -> Callable[..., Tensor]:
    """``avg_fn`` of equally weighted averages: avg + (p - avg) / (n + 1)."""
    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Tensor) -> Tensor:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)
    return swa_update


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's, taken at each ``update_parameters(model)``.

    avg_fn(average, p, n) returns the new average of one tensor; multi_avg_fn(averages, ps, n) changes lists in place. Without either,
    the averages are equally weighted. use_buffers averages the buffers (batch norm's statistics), too, instead of copying them.
    """

    n_averaged: Tensor

    def __init__(self, model: Module, device: Device = None, avg_fn: Callable[..., Tensor] | None = None,
                 multi_avg_fn: Callable[..., None] | None = None, use_buffers: bool = False) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", FUNCTIONS["tensor"](0, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The averaged model's."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the model's current parameters into the averages."""
        own: Any = self.module.parameters()
        theirs: Any = model.parameters()
        if self.use_buffers:
            own, theirs = chain(own, self.module.buffers()), chain(theirs, model.buffers())
        averages = [p.detach() for p in own]
        current = [p.detach().to(average.device) for p, average in zip(theirs, averages, strict=False)]
        count = int(self.n_averaged)
        if count == 0:
            for average, p in zip(averages, current, strict=True):
                average.copy_(p)
        elif self.avg_fn is not None:
            for average, p in zip(averages, current, strict=True):
                average.copy_(self.avg_fn(average, p, self.n_averaged.to(average.device)))
        else:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averages, current, self.n_averaged)
        if not self.use_buffers:
            for average, b in zip(self.module.buffers(), model.buffers(), strict=False):
                average.detach().copy_(b.detach().to(average.device))
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Device = None) -> None:
    """Compute the running statistics of the model's batch norms anew, as plain averages over the loader's batches.

    A batch may be a tensor, or a list or tuple whose first item is the input.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    momenta = {layer: layer.momentum for layer in layers}
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    for batch in loader:
        if isinstance(batch, (list, tuple)):
            batch = batch[0]
        model(batch if device is None else batch.to(device))
    for layer, momentum in momenta.items():
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the current rates to swa_lr in anneal_epochs epochs, along a cosine or a line, and then constant."""

    def __init__(self, optimizer: Optimizer, swa_lr: float, anneal_epochs: int = 10, anneal_strategy: Literal["cos", "linear"] = "cos",
                 last_epoch: int = -1) -> None:
        for group, lr in zip(optimizer.param_groups, per_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = lr.clone() if isinstance(lr, Tensor) else lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of the way to swa_lr is done at a step."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return (1 - cos(pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[Any]:
        """The rates for this step: from the current ones, back to where they came from, and on to the new share of the way."""
        self._warn_unless_stepping()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        lrs = []
        for group in self.optimizer.param_groups:
            goal = group["swa_lr"]
            origin = group["lr"] if before == 1 else (group["lr"] - before * goal) / (1 - before)
            lrs.append(goal * now + origin * (1 - now))
        return lrs
