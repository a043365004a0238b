"""`LRScheduler`: counts steps, asks the subclass for the learning rates and puts them into the optimizer's groups."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from types import FunctionType
from typing import Any

from ...tensor import Tensor
from ...vocabulary import Number
from ..optimizer import Optimizer

__all__ = ["LRScheduler", "group_values", "per_group", "put", "check_optimizer", "warn_epoch", "pack_callables", "unpack_callables"]

_ORDER = "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"


def group_values(optimizer: Optimizer, key: str) -> list[Any]:
    """The value of `key` in each group; tensors are copied."""
    values = [group[key] for group in optimizer.param_groups]
    return [value.clone() if isinstance(value, Tensor) else value for value in values]


def put(group: dict[str, Any], key: str, value: float) -> None:
    """Set an option of a group; an option that is a tensor keeps its identity and gets the value."""
    if isinstance(group[key], Tensor):
        group[key].fill_(float(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Number | list[Number]) -> list[Any]:
    """One value for each group from a single one, or from a sequence of the right length."""
    if not isinstance(value, (list, tuple)):
        return [value] * len(optimizer.param_groups)
    if len(value) != len(optimizer.param_groups):
        raise ValueError(f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
                         f"param_groups has {len(optimizer.param_groups)}.")
    return list(value)


def check_optimizer(optimizer: Optimizer) -> None:
    """TypeError unless it is an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


# Programs filter for this text.
EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use `scheduler.step()` to "
    "step the scheduler. During the deprecation, if epoch is different from None, the closed form is used instead of the new chainable "
    "form, where available. Please open an issue if you are unable to replicate your use case: "
    "https://github.com/pytorch/pytorch/issues/new/choose.")


def warn_epoch() -> None:
    """Warn that ``step(epoch)`` is on its way out."""
    warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=3)


def pack_callables(functions: Sequence[Any]) -> list[Any]:
    """What a state_dict keeps of functions: the attributes of callable objects; nothing of plain functions."""
    return [None if isinstance(function, FunctionType) else function.__dict__.copy() for function in functions]


def unpack_callables(functions: Sequence[Any], packed: Sequence[Any]) -> None:
    """Put attributes from `pack_callables` back."""
    for function, attributes in zip(functions, packed, strict=True):
        if attributes is not None:
            function.__dict__.update(attributes)


class LRScheduler:
    """Base class of the schedulers.

    A subclass defines ``get_lr()``, the rates for ``last_epoch`` from the current ones, and may define ``_get_closed_form_lr()``, the
    same from ``base_lrs`` alone, which ``step(epoch)`` uses.
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False
    optimizer: Optimizer

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                lr = group["lr"]
                group.setdefault("initial_lr", lr.clone() if isinstance(lr, Tensor) else lr)
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{index}] when resuming scheduler with last_epoch >= "
                               "0: load the optimizer's state first, or leave last_epoch out to start afresh")
        self.base_lrs: list[Any] = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._watch_steps()
        self._initial_step()

    def _watch_steps(self) -> None:
        """From now on the optimizer's steps count as made after the scheduler was."""
        optimizer = self.optimizer
        if not optimizer.__dict__.get("_watched_by_scheduler", False):
            optimizer._watched_by_scheduler = True     # type: ignore[attr-defined]
            optimizer._opt_called = False              # type: ignore[attr-defined]
        step = optimizer.__dict__.get("step")
        if step is not None and not hasattr(step, "_wrapped_by_lr_sched"):
            # Somebody has put a step function of their own on the instance: take note when it runs.
            @wraps(step)
            def noted(*args: Any, **kwargs: Any) -> Any:
                optimizer._opt_called = True           # type: ignore[attr-defined]
                return step(*args, **kwargs)
            noted._wrapped_by_lr_sched = True          # type: ignore[attr-defined]
            optimizer.step = noted                     # type: ignore[method-assign]

    def _initial_step(self) -> None:
        self._step_count = 0
        with self._flag("_is_initial"):
            self.step()

    @contextmanager
    def _flag(self, name: str) -> Iterator[None]:
        setattr(self, name, True)
        try:
            yield
        finally:
            setattr(self, name, False)

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict()`` returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates for ``last_epoch``."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr()")

    def _warn_unless_stepping(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn("To get the last learning rate computed by the scheduler, please use `get_last_lr()`.", UserWarning, stacklevel=3)

    def step(self, epoch: int | None = None) -> None:
        """Count one more step and set the rates; call it after ``optimizer.step()``."""
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warn_epoch()
        self._update_lr(epoch)

    def _check_order(self) -> None:
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn("Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. Please, make "
                          f"sure to call `optimizer.step()` before `lr_scheduler.step()`. See more details at {_ORDER}", UserWarning,
                          stacklevel=3)
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn("Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later, you should call "
                          "them in the opposite order: `optimizer.step()` before `lr_scheduler.step()`.  Failure to do this will result in "
                          f"PyTorch skipping the first value of the learning rate schedule. See more details at {_ORDER}",
                          UserWarning, stacklevel=3)

    def _update_lr(self, epoch: int | None = None) -> None:
        with self._flag("_get_lr_called_within_step"):
            if epoch is None:
                self.last_epoch += 1
                values = self.get_lr()
            else:
                self.last_epoch = epoch
                closed: Callable[[], list[Any]] | None = getattr(self, "_get_closed_form_lr", None)
                values = self.get_lr() if closed is None else closed()
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            put(group, "lr", lr)
        self._last_lr: list[Any] = group_values(self.optimizer, "lr")
