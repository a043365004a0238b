"""The ``*_copy`` forms of view ops, which give fresh memory, and small questions about positions and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..tensor import Tensor, wrap
from ..vocabulary import Function, PerDim
from . import complex_parts, shape, slices
from .public import export, op
from .record import record
from .selection import nonzero

__all__: list[str] = []


def _copied(t: Tensor) -> Tensor:
    return t.clone() if t._a.flags.c_contiguous else t.contiguous()


def _copying(name: str, function: Function) -> None:
    def fn(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        r = function(input, *args, **kwargs)
        return _copied(r) if isinstance(r, Tensor) else tuple([_copied(each) for each in r])
    fn.__doc__ = f"A copy of what `{name}` shows."
    op(fn, name=f"{name}_copy", out=True)


for _name, _module in (("expand", shape), ("permute", shape), ("t", shape), ("transpose", shape), ("view", shape), ("unsqueeze", shape),
                       ("squeeze", shape), ("detach", shape), ("select", slices), ("diagonal", slices), ("as_strided", slices),
                       ("unbind", slices), ("split", slices), ("split_with_sizes", slices), ("unfold", slices),
                       ("view_as_real", complex_parts), ("view_as_complex", complex_parts)):
    _copying(_name, getattr(_module, _name))
_copying("alias", lambda input: input)
_copying("slice", lambda input, dim=0, start=None, end=None, step=1: slices.basic(
    input, slices._at(wrap_dim(dim, input._a.ndim), slice(start, end, step))))


@op(method=True, out=True)
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: PerDim, storage_offset: int | None = None) -> Tensor:
    """A copy of `input` with `src` written at the places that ``as_strided(size, stride, storage_offset)`` shows."""
    size, stride = tuple(size), tuple(stride)
    if tuple(src._a.shape) != size:
        raise RuntimeError(f"expected src to have a size equal to the slice of self. src size = {list(src._a.shape)}, slice size = "
                           f"{list(size)}")
    start = storage_offset or 0
    array = input._a.copy("C")
    copied = wrap(array, input._kind)
    slices.as_strided(copied, size, stride, start)._a[...] = src._a

    def input_grad(g: Tensor) -> Tensor:
        return as_strided_scatter(g.contiguous(), g.new_zeros(size), size, stride, start)
    return record(copied, "AsStridedScatterBackward0", (input, src),
                  (input_grad, lambda g: slices.as_strided(g.contiguous(), size, stride, start)))


@op(method=True)
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """`nonzero` with exactly `size` rows: cut off, or filled up with `fill_value`."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, but got {size}")
    found = nonzero(input)._a[:size]
    rows = np.full((size, input._a.ndim), fill_value, np.int64, like=input._a)
    rows[:found.shape[0]] = found
    return wrap(rows, input._kind.int64)


@export
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Positions in a flattened tensor of `shape` as one tensor of coordinates per dimension."""
    if not isinstance(indices, Tensor):
        raise TypeError(f"unravel_index(): argument 'indices' (position 1) must be Tensor, not {type(indices).__name__}")
    if indices._kind.differentiable or indices._kind.dtype.name == "bool":
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    rest, coordinates = indices._a.astype(np.int64, copy=False), []
    for n in reversed(sizes):
        coordinates.append(wrap(np.mod(rest, n), indices._kind.int64))
        rest = np.floor_divide(rest, n)
    return tuple(reversed(coordinates))


@op(method=True)
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero."""
    if input._a.size != 1:
        raise RuntimeError(f"Boolean value of Tensor with {'no values' if not input._a.size else 'more than one value'} is ambiguous")
    return bool(input._a.item())


@op(method=True)
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return bool(input._a.shape == other._a.shape)


def _function_of(name: str) -> None:
    """The function form of a method that has no options."""
    def function(input: Tensor) -> Any:
        return getattr(input, name)()
    function.__doc__ = getattr(Tensor, name).__doc__
    op(function, name=name)


for _name in ("resolve_conj", "resolve_neg", "is_conj", "is_neg"):
    _function_of(_name)
