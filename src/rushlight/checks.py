"""``torch._check`` and its siblings: conditions that raise. PyTorch's compiler learns from them; here they are tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .tensor import Tensor

__all__: list[str] = []

Message = Callable[[], Any] | None


def _check_with(error_type: type[Exception], cond: bool, message: Message) -> None:
    """Raise `error_type` where a condition is False, with what `message()` says. TypeError where it is no bool or the message can't be
    called."""
    if not isinstance(cond, bool):
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if message is not None and not callable(message):
        raise TypeError("message must be a callable")
    raise error_type("Expected cond to be True, but got False." if message is None else str(message()))


def _check(cond: bool, message: Message = None) -> None:
    """RuntimeError where a condition is False."""
    _check_with(RuntimeError, cond, message)


def _check_index(cond: bool, message: Message = None) -> None:
    """IndexError where a condition is False."""
    _check_with(IndexError, cond, message)


def _check_value(cond: bool, message: Message = None) -> None:
    """ValueError where a condition is False."""
    _check_with(ValueError, cond, message)


def _check_type(cond: bool, message: Message = None) -> None:
    """TypeError where a condition is False."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: bool, message: Message = None) -> None:
    """NotImplementedError where a condition is False."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i: Any, message: Message = None, *, max: int | None = None) -> None:
    """RuntimeError where a number is no size: negative, or above `max`."""
    _check(bool(i >= 0), message)
    if max is not None:
        _check(bool(i <= max), message)


def _check_tensor_all_with(error_type: type[Exception], cond: Tensor, message: Message = None) -> None:
    """Raise `error_type` where an element of a bool tensor is False. TypeError for anything else than a bool tensor."""
    if not isinstance(cond, Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if cond.dtype.name != "bool":
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _check_with(error_type, bool(cond.all().item()), message)


def _check_tensor_all(cond: Tensor, message: Message = None) -> None:
    """RuntimeError where an element of a bool tensor is False."""
    _check_tensor_all_with(RuntimeError, cond, message)


def _assert_async(input: Tensor, assert_msg: str | None = None) -> None:
    """RuntimeError where a tensor of one element is zero; at once, on every device."""
    if input.numel() != 1:
        raise RuntimeError(f"Boolean value of Tensor with {'more than one' if input.numel() else 'no'} "
                           f"value{'' if input.numel() else 's'} is ambiguous")
    if not bool(input.item()):
        raise RuntimeError(assert_msg if assert_msg is not None else "Expected Tensor with single nonzero value, but got zero")
