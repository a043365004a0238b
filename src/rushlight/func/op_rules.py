"""Ops on all samples at once where their arrays can't be batched: the op is called on the physical tensors, with its arguments adjusted.

`fold` makes the batch part of the dimension that an op treats as its own batch. The rules by name serve `fallback.per_sample`, which asks
here before it runs an op sample by sample.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from ..ops.interception import original_of
from ..ops.registry import OPS
from ..tensor import Tensor
from ..vocabulary import Function
from .batched import levels_of
from .vmap import batch_tensor, share_tensor, unbatch_tensor

__all__ = ["at_once", "fold"]


def physical(t: Tensor, level: int, size: int, always: bool = False) -> Tensor:
    """The tensor with the batch in front. What is not batched stays as it is, unless it needs gradients (which have to stay apart by
    sample)."""
    if level in levels_of(t._a):
        return unbatch_tensor(t, level, size, 0)
    if t._node is not None:
        return unbatch_tensor(share_tensor(t, level, size), level, size, 0)
    return t.unsqueeze(0).expand(size, *t._a.shape) if always else t


def _batched_again(result: Any, level: int) -> Any:
    if isinstance(result, Tensor):
        return batch_tensor(result, 0, level)
    if isinstance(result, (tuple, list)):
        return getattr(type(result), "_make", type(result))([_batched_again(each, level) for each in result])
    return result


def _top(*tensors: Any) -> tuple[int, int]:
    """(highest level, its batch size) of tensors."""
    a = max((t._a for t in tensors if isinstance(t, Tensor) and levels_of(t._a)), key=lambda a: a.level)
    return a.level, a.batch


def _unflat(result: Any, size: int) -> Any:
    """The batch taken out of the first dimension again."""
    if isinstance(result, Tensor):
        return result.reshape(size, result._a.shape[0] // size, *result._a.shape[1:])
    return getattr(type(result), "_make", type(result))([_unflat(each, size) for each in result])


def fold(function: Function, ndim: int, *tensors: Tensor) -> Any:
    """``function(*tensors)`` of tensors (N, ...) of `ndim` dimensions, or without N: the batch becomes part of N."""
    level, size = _top(*tensors)
    whole = [physical(t, level, size, True) for t in tensors]
    if tensors[0]._a.ndim == ndim:
        return _batched_again(_unflat(function(*[t.flatten(0, 1) for t in whole]), size), level)
    return _batched_again(function(*whole), level)


# --- rules by name --------------------------------------------------------------------------------------------------------------------

Rule = Callable[[Any, Any, Any, int, int], Any]


def at_once(function: Function, args: tuple[Any, ...], kwargs: dict[Any, Any], level: int, size: int) -> Any:
    """The function on all samples at once; NotImplemented where there is no rule, or it does not fit these arguments."""
    name = function.__name__
    rule = _RULES.get(name)
    if rule is None and name in OPS and OPS[name].elementwise:
        rule = _elementwise
    return NotImplemented if rule is None else rule(function, args, kwargs, level, size)


def _tensors(values: Any) -> list[Tensor]:
    return [t for t in values if isinstance(t, Tensor)]


def _replaced(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return tuple([change(v) if isinstance(v, Tensor) else v for v in values])


def _elementwise(function: Function, args: Any, kwargs: dict[str, Any], level: int, size: int) -> Any:
    """Samples are lined up by new dimensions of size 1 behind the batch."""
    if _tensors(kwargs.values()):
        return NotImplemented
    tensors = _tensors(args)
    n = max([t._a.ndim for t in tensors])
    # 0-dim samples would take part in type promotion as if they had dimensions.
    if len({t._kind for t in tensors}) > 1 and any(t._a.ndim == 0 for t in tensors):
        return NotImplemented

    def line_up(t: Tensor) -> Tensor:
        p = physical(t, level, size)
        missing = n - t._a.ndim
        return p.reshape(size, *(1,) * missing, *t._a.shape) if p is not t and missing else p
    if len(tensors) < len(args) and n == 0 and any(isinstance(a, (int, float, complex))
                                                   for a in args) and not tensors[0]._kind.differentiable:
        return NotImplemented
    return _batched_again(function(*_replaced(args, line_up), **kwargs), level)


def _last_dims(count: int) -> Rule:
    """Ops on the last dimensions alone, of tensors that have at least so many."""
    def rule(function: Function, args: Any, kwargs: dict[str, Any], level: int, size: int) -> Any:
        tensors = _tensors(args)
        if len(tensors) != 1 or tensors[0]._a.ndim < count or _tensors(kwargs.values()):
            return NotImplemented
        return _batched_again(function(*_replaced(args, lambda t: physical(t, level, size)), **kwargs), level)
    return rule


@cache
def _parameters(function: Function) -> tuple[str, ...]:
    return tuple(inspect.signature(inspect.unwrap(original_of(inspect.unwrap(function)))).parameters)


def _one_dim(default: int | None) -> Rule:
    """Ops along the dimension that their argument `dim` names; other tensors (an index, a source) have the input's dimensions."""
    def rule(function: Function, args: tuple[Any, ...], kwargs: dict[Any, Any], level: int, size: int) -> Any:
        x = args[0]
        n = x._a.ndim
        names = _parameters(function)
        kwargs = dict(kwargs)
        if "axis" in kwargs:
            kwargs["dim"] = kwargs.pop("axis")
        at = names.index("dim") if "dim" in names else -1
        dim = args[at] if 0 <= at < len(args) else kwargs.get("dim", default)
        tensors = [*_tensors(args), *_tensors(kwargs.values())]
        if n == 0 or dim is None or at < 0 or isinstance(dim, Tensor) or any(t._a.ndim != n for t in tensors):
            return NotImplemented
        dims = dim if isinstance(dim, (tuple, list)) else (dim,)
        if not dims or not all(isinstance(d, int) and -n <= d < n for d in dims):
            return NotImplemented
        shifted: Any = tuple([d % n + 1 for d in dims])
        shifted = shifted if isinstance(dim, (tuple, list)) else shifted[0]
        given = list(_replaced(args, lambda t: physical(t, level, size, True)))
        named = {key: physical(v, level, size, True) if isinstance(v, Tensor) else v for key, v in kwargs.items()}
        if 0 <= at < len(args):
            given[at] = shifted
        else:
            named["dim"] = shifted
        return _batched_again(function(*given, **named), level)
    return rule


def _padding(function: Function, args: Any, kwargs: dict[str, Any], level: int, size: int) -> Any:
    """Constant padding, which begins at the last dimension."""
    mode = args[2] if len(args) > 2 and function.__name__ == "pad" else kwargs.get("mode", "constant")
    return _last_dims(1)(function, args, kwargs, level, size) if mode == "constant" else NotImplemented


def _one_transform(function: Function, args: Any, kwargs: dict[str, Any], level: int, size: int) -> Any:
    """Fourier transforms along one dimension."""
    return _one_dim(-1)(function, args, kwargs, level, size)


def _images(function: Function, args: Any, kwargs: dict[str, Any], level: int, size: int) -> Any:
    """Ops on (N, ...) tensors, each image by itself."""
    tensors = _tensors(args)
    if _tensors(kwargs.values()) or len(tensors) != sum(isinstance(a, Tensor) for a in args[:len(tensors)]):
        return NotImplemented
    rest = args[len(tensors):]
    if any(t._a.ndim != tensors[0]._a.ndim for t in tensors) or tensors[0]._a.ndim < 4:
        return NotImplemented
    return fold(lambda *whole: function(*whole, *rest, **kwargs), tensors[0]._a.ndim, *tensors)


def _rows(function: Function, args: tuple[Any, ...], kwargs: dict[Any, Any], level: int, size: int) -> Any:
    """``index_select(input, dim, index)`` with one index for all samples."""
    if len(args) != 3 or kwargs or not isinstance(args[1], int) or level in levels_of(args[2]._a) or args[0]._a.ndim == 0:
        return NotImplemented
    return _batched_again(function(physical(args[0], level, size), args[1] % args[0]._a.ndim + 1, args[2]), level)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("pow", "round", "nan_to_num", "gelu", "isreal", "polar", "complex", "isclose"), _elementwise),
    **dict.fromkeys(("sort", "argsort", "topk", "kthvalue", "median", "nanmedian", "mode"), _one_dim(-1)),
    **dict.fromkeys(("cummax", "cummin", "logcumsumexp", "logsumexp", "gather", "scatter_add", "scatter", "scatter_reduce",
                     "take_along_dim", "argmax", "argmin", "std", "var", "std_mean", "var_mean"), _one_dim(None)),
    **dict.fromkeys(("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"), _one_transform),
    **dict.fromkeys(("tril", "triu"), _last_dims(2)),
    **dict.fromkeys(("constant_pad_nd", "pad"), _padding),
    **dict.fromkeys(("grid_sample", "max_unpool2d", "max_unpool3d"), _images),
    "index_select": _rows,
}
