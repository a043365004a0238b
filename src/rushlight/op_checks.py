"""`torch.library.opcheck`: whether an operator of one's own does what its schema, its form without data and its gradient promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .autograd.api import grad
from .autograd.grad_mode import no_grad
from .tensor import Tensor
from .testing import assert_close
from .utils import _pytree as pytree

__all__ = ["OpCheckError", "opcheck"]


class OpCheckError(Exception):
    """What a check of an operator found."""


def opcheck(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *, test_utils: str | Sequence[str] = (
        "test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"), raise_exception: bool = True,
            atol: float | None = None, rtol: float | None = None) -> dict[str, Any]:
    """Check an operator of `torch.library` on arguments; returns test -> "SUCCESS" or the error, which is raised unless `raise_exception`
    is False.

    test_schema                 it writes into the arguments that its schema says and no others, and its results share no memory with the
                                arguments
    test_autograd_registration  where an argument requires grad, it has a gradient
    test_faketensor             its form without data gives the results' shapes and dtypes
    test_aot_dispatch_dynamic   run again on copies it gives the same values, and gradients of the arguments' shapes
    """
    found = getattr(op, "_opoverload", op)
    if not hasattr(found, "kernels"):
        raise ValueError("opcheck(op, ...): Expected op to be one of: CustomOpDef, OpOverload, OpOverloadPacket (e.g. "
                         f"torch.ops.mylib.foo), but got {type(op)}")
    names = [test_utils] if isinstance(test_utils, str) else list(test_utils)
    unknown = sorted(set(names) - set(_CHECKS))
    if unknown:
        raise ValueError(f"opcheck(op, ..., test_utils={unknown}): Expected test_utils to be a subset of {tuple(_CHECKS)}")
    results: dict[str, Any] = {}
    for name in names:
        try:
            _CHECKS[name](found, args, dict(kwargs or {}), {} if atol is None and rtol is None
                          else {"atol": atol or 0.0, "rtol": rtol or 0.0})
            results[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise OpCheckError(f"opcheck(op, ...): {name} failed for {found._name}: {error}") from error
            results[name] = error
    return results


def _copied(args: Any, kwargs: Any) -> Any:
    """The arguments with copies of the tensors, which require grad as they do."""
    return pytree.tree_map(lambda each: each.detach().clone().requires_grad_(each.requires_grad) if isinstance(each, Tensor) else each,
                           (args, kwargs))


def _results(value: Any) -> list[Tensor]:
    return [each for each in pytree.tree_leaves(value) if isinstance(each, Tensor)]


def _schema(op: Any, args: Any, kwargs: Any, near: dict[str, float]) -> None:
    given, named = _copied(args, kwargs)
    before = _copied(given, named)
    with no_grad():
        result = op(*given, **named)
    order = list(op.signature.parameters) if op.signature is not None else [f"argument {i}" for i in range(len(given))]
    for name, now, then in [*zip(order, given, before[0], strict=False), *[(key, named[key], before[1][key]) for key in named]]:
        for a, b in zip(_results(now), _results(then), strict=True):
            if name not in op.mutates and not _same(a, b):
                raise OpCheckError(f"Argument {name} is not defined as mutable but was mutated")
    inputs = [each.untyped_storage().data_ptr() for each in _results((given, named)) if each.numel()]
    for each in _results(result):
        if each.numel() and each.untyped_storage().data_ptr() in inputs:
            raise OpCheckError("a result shares memory with an argument, which a custom operator's may not: return a copy (clone())")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def _autograd(op: Any, args: Any, kwargs: Any, near: dict[str, float]) -> None:
    if not any(each.requires_grad for each in _results((args, kwargs))):
        return
    if op.backward is None and not op.custom and not op.composite:
        raise OpCheckError("an argument requires grad, but no gradient is registered: use torch.library.register_autograd")


def _fake(op: Any, args: Any, kwargs: Any, near: dict[str, float]) -> None:
    given, named = _copied(args, kwargs)
    with no_grad():
        real = op(*given, **named)
        given, named = pytree.tree_map(lambda each: each.detach().to("meta") if isinstance(each, Tensor) else each, (args, kwargs))
        fake = op(*given, **named)
    if pytree.tree_structure(real) != pytree.tree_structure(fake):
        raise OpCheckError("the form without data gives another number of results than the operator")
    for a, b in zip(_results(real), _results(fake), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise OpCheckError(f"the form without data gives {tuple(b.shape)}, {b.dtype} where the operator gives {tuple(a.shape)}, "
                               f"{a.dtype}")


def _again(op: Any, args: Any, kwargs: Any, near: dict[str, float]) -> None:
    (first, named), (second, others) = _copied(args, kwargs), _copied(args, kwargs)
    one, two = op(*first, **named), op(*second, **others)
    for a, b in zip(_results(one), _results(two), strict=True):
        assert_close(a, b, equal_nan=True, **near)
    roots = [[each.sum() for each in _results(value) if each.requires_grad and each.is_floating_point()] for value in (one, two)]
    wanted = [[each for each in _results(value) if each.requires_grad] for value in ((first, named), (second, others))]
    if not roots[0]:
        return
    gradients = [grad(root, inputs, allow_unused=True) for root, inputs in zip(roots, wanted, strict=True)]
    for a, b, x in zip(*gradients, wanted[0], strict=True):
        if a is None:
            continue
        if a.shape != x.shape:
            raise OpCheckError(f"the gradient of an argument of shape {tuple(x.shape)} has the shape {tuple(a.shape)}")
        assert_close(a, b, equal_nan=True, **near)


_CHECKS: dict[str, Callable[..., None]] = {"test_schema": _schema, "test_autograd_registration": _autograd, "test_faketensor": _fake,
                                           "test_aot_dispatch_dynamic": _again}
