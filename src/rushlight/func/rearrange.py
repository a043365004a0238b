"""`rearrange`: a tensor's dimensions in another order, split and merged, as a pattern says."""

from __future__ import annotations

import re
from math import prod
from typing import Any

from ..ops.joining import stack
from ..tensor import Tensor

__all__ = ["rearrange"]

_ELLIPSIS = "..."


def _side(text: str, pattern: str) -> list[Any]:
    """The dimensions of one side, each the list of the axes that it is made of (a 1 is made of none), or "..." for dimensions of their
    own."""
    dims: list[Any] = []
    group: list[str] | None = None
    seen: set[str] = set()
    tokens = re.findall(r"\.\.\.|[A-Za-z_][A-Za-z0-9_]*|[()1]|\S", text)
    for token in tokens:
        if token == "(":
            if group is not None:
                raise ValueError(f"nested parentheses are not supported in the pattern {pattern!r}")
            group = []
        elif token == ")":
            if group is None:
                raise ValueError(f"unbalanced parentheses in the pattern {pattern!r}")
            dims.append(group)
            group = None
        elif token == "1":
            if group is None:
                dims.append([])
        elif token == _ELLIPSIS or token.isidentifier():
            if token in seen:
                raise ValueError(f"the axis {token!r} appears twice on one side of the pattern {pattern!r}")
            seen.add(token)
            if group is None:
                dims.append(_ELLIPSIS if token == _ELLIPSIS else [token])
            else:
                group.append(token)
        else:
            raise ValueError(f"invalid character {token!r} in the pattern {pattern!r}")
    if group is not None:
        raise ValueError(f"unbalanced parentheses in the pattern {pattern!r}")
    return dims


def rearrange(tensor: Tensor | list[Tensor], pattern: str, **axes_lengths: int) -> Tensor:
    """The tensor (or a list of tensors, stacked as a first dimension) rearranged: ``rearrange(x, "b (h w) c -> b c h w", h=4)``.

    Names are axes; parentheses make several axes one dimension; ``...`` is any number of dimensions; 1 a dimension of size one. Lengths
    that don't follow from the shape are given by name. ValueError for patterns and lengths that don't fit. (The notation is that of einops,
    Rogozhnikov 2022.)
    """
    if not isinstance(tensor, Tensor):
        tensor = stack(list(tensor))
    if pattern.count("->") != 1:
        raise ValueError(f"the pattern {pattern!r} needs one '->'")
    left, right = (_side(side, pattern) for side in pattern.split("->"))
    left_axes, right_axes = ([axis for dim in side for axis in ([dim] if dim == _ELLIPSIS else dim)] for side in (left, right))
    if set(left_axes) != set(right_axes):
        raise ValueError(f"axes appear on one side only of the pattern {pattern!r}: {sorted(set(left_axes) ^ set(right_axes))}")
    shape = tuple(tensor.shape)
    if _ELLIPSIS in left:
        at = left.index(_ELLIPSIS)
        extra = [f"...{i}" for i in range(len(shape) - len(left) + 1)]
        left = [*left[:at], *[[axis] for axis in extra], *left[at + 1:]]
        spread: list[list[str]] = []
        for dim in right:
            if dim == _ELLIPSIS:
                spread += [[axis] for axis in extra]
            else:
                spread.append([each for axis in dim for each in (extra if axis == _ELLIPSIS else [axis])])
        right = spread
    elif _ELLIPSIS in left_axes:
        raise ValueError(f"an ellipsis in parentheses on the left of the pattern {pattern!r} is ambiguous")
    if len(left) != len(shape):
        raise ValueError(f"the pattern {pattern!r} has {len(left)} dimensions on the left, the tensor has {len(shape)}")
    sizes = _sizes(left, shape, axes_lengths, pattern)
    order = [axis for dim in left for axis in dim]
    result = tensor.reshape([sizes[axis]
                             for axis in order]).permute([order.index(axis) for dim in right for axis in dim]) if order else tensor
    return result.reshape([prod([sizes[axis] for axis in dim]) for dim in right])


def _sizes(dims: list[list[str]], shape: tuple[int, ...], given: dict[str, int], pattern: str) -> dict[str, int]:
    """The size of every axis."""
    sizes: dict[str, int] = {}
    axes = {axis for dim in dims for axis in dim}
    if not given.keys() <= axes:
        raise ValueError(f"lengths are given for axes that the pattern {pattern!r} does not have: {sorted(given.keys() - axes)}")
    for dim, n in zip(dims, shape, strict=True):
        known = prod([given[axis] for axis in dim if axis in given])
        open_axes = [axis for axis in dim if axis not in given]
        if len(open_axes) > 1:
            raise ValueError(f"the lengths of {open_axes} don't follow from the shape: give all but one of them")
        if (n % known if known else n) or (not open_axes and n != known):
            raise ValueError(f"a dimension of size {n} can't be split into {' '.join(dim)} with the lengths {given}")
        sizes.update({axis: given[axis] for axis in dim if axis in given})
        sizes.update(dict.fromkeys(open_axes, n // known if known else 0))
    return sizes
