"""`torch.sym_*` and `torch.cond`: what traced programs use for sizes and branches. Nothing is traced here, so they act at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from .tensor import Tensor

__all__ = ["sym_int", "sym_float", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sum", "cond", "is_inference"]


def sym_int(a: Any) -> int:
    """A number cut to an int, towards zero."""
    return math.ceil(a) if a < 0 else math.floor(a)


def sym_float(a: Any) -> float:
    """A number as a float."""
    return float(a)


def sym_max(a: Any, b: Any) -> Any:
    """The larger of two numbers; a float where one of them is."""
    return max(float(a), float(b)) if isinstance(a, float) or isinstance(b, float) else max(a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The smaller of two numbers; a float where one of them is."""
    return min(float(a), float(b)) if isinstance(a, float) or isinstance(b, float) else min(a, b)


def sym_not(a: bool) -> bool:
    """not a."""
    return not a


def sym_ite(b: bool, t: Any, f: Any) -> Any:
    """t if b else f, for two values of one type. TypeError for other conditions than bool."""
    if not isinstance(b, bool) or type(t) is not type(f):
        raise AssertionError(f"sym_ite(): expected a bool and two values of one type, got {type(b).__name__}, {type(t).__name__}, "
                             f"{type(f).__name__}")
    return t if b else f


def sym_sum(args: Iterable[Any]) -> Any:
    """The sum of numbers."""
    return sum(args)


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: tuple[Any, ...] | list[Any] = ()) -> Any:
    """true_fn(*operands) if pred else false_fn(*operands). `pred`: a bool or a one-element bool tensor. Gradients flow through what ran."""
    if not isinstance(pred, (bool, Tensor)):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    if isinstance(pred, Tensor) and pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(f"Expect operands to be a tuple of possibly nested dict/list/tuple that only consists of tensor leaves, but "
                           f"got {operands}.")
    return (true_fn if bool(pred) else false_fn)(*operands)


def is_inference(input: Tensor) -> bool:
    """Always False: tensors made in inference mode are ordinary ones here."""
    return input.is_inference()
