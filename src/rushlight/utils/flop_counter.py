"""``torch.utils.flop_counter``: how many floating-point operations the products and convolutions of a program take, forward and
backward."""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any

from ..nn.modules.module import Module
from ..ops import aten
from ..tensor import Tensor
from . import _pytree as pytree
from ._python_dispatch import TorchDispatchMode
from .module_tracker import ModuleTracker

__all__ = ["FlopCounterMode", "register_flop_formula"]

Shape = tuple[int, ...]
flop_registry: dict[Any, Callable[..., int]] = {}


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Decorator: how to count an operator (or several): ``formula(*shapes, out_shape=shape, **kwargs)``.

    get_raw  the formula gets the arguments themselves, and ``out_val``
    """
    def register(formula: Callable[..., int]) -> Callable[..., int]:
        counted = formula if get_raw else _by_shapes(formula)
        for target in targets if isinstance(targets, (list, tuple)) else [targets]:
            if not isinstance(target, aten.OpOverloadPacket) and not hasattr(target, "overloads"):
                raise ValueError("register_flop_formula(targets): expected each target to be OpOverloadPacket (i.e. "
                                 f"torch.ops.mylib.foo), got {target} which is of type {type(target)}")
            if target in flop_registry:
                raise RuntimeError(f"duplicate registrations for {target}")
            flop_registry[target] = counted
        return formula
    return register


def _by_shapes(formula: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(formula)
    def counted(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        shapes, named, out = pytree.tree_map(_shape, (args, kwargs, out_val))
        return formula(*shapes, out_shape=out, **named)
    return counted


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else value


# --- formulas -------------------------------------------------------------------------------------------------------------------------

@register_flop_formula(aten.mm)
def mm_flop(a_shape: Shape, b_shape: Shape, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """A product of two matrices: two for each product of two elements."""
    if a_shape[1] != b_shape[0]:
        raise AssertionError(f"matmul: inner dimensions must match, got {a_shape[1]} and {b_shape[0]}")
    return a_shape[0] * b_shape[1] * 2 * a_shape[1]


@register_flop_formula(aten.addmm)
def addmm_flop(self_shape: Shape, a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """The product; the sum is not counted."""
    return mm_flop(a_shape, b_shape)


@register_flop_formula(aten.bmm)
def bmm_flop(a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """The products of two batches of matrices."""
    return a_shape[0] * a_shape[1] * b_shape[2] * 2 * a_shape[2]


@register_flop_formula(aten.baddbmm)
def baddbmm_flop(self_shape: Shape, a_shape: Shape, b_shape: Shape, out_shape: Any = None, **kwargs: Any) -> int:
    """The products; the sum is not counted."""
    return bmm_flop(a_shape, b_shape)


def conv_flop_count(x_shape: Shape, w_shape: Shape, out_shape: Shape, transposed: bool = False) -> int:
    """A convolution: two for each element of a filter at each place."""
    return prod(x_shape[2:] if transposed else out_shape[2:]) * prod(w_shape) * x_shape[0] * 2


@register_flop_formula(aten.convolution)
def conv_flop(x_shape: Shape, w_shape: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any, transposed: bool, *args: Any,
              out_shape: Any = None, **kwargs: Any) -> int:
    """A convolution."""
    return conv_flop_count(x_shape, w_shape, out_shape, transposed=transposed)


@register_flop_formula(aten.convolution_backward)
def conv_backward_flop(grad_out_shape: Shape, x_shape: Shape, w_shape: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any,
                       transposed: bool, _output_padding: Any, _groups: int, output_mask: Any, out_shape: Any) -> int:
    """The gradients of input and weight, a convolution each."""
    count = 0
    if output_mask[0]:
        count += conv_flop_count(grad_out_shape, w_shape, tuple(out_shape[0]), not transposed)
    if output_mask[1]:
        one, two = (grad_out_shape, x_shape) if transposed else (x_shape, grad_out_shape)
        count += conv_flop_count(_swapped(one), _swapped(two), _swapped(out_shape[1]))
    return count


def _swapped(shape: Shape) -> Shape:
    return (shape[1], shape[0], *shape[2:])


def sdpa_flop_count(query_shape: Shape, key_shape: Shape, value_shape: Shape) -> int:
    """Attention: two products."""
    b, h, rows, d = query_shape
    keys, d_value = key_shape[2], value_shape[3]
    return bmm_flop((b * h, rows, d), (b * h, d, keys)) + bmm_flop((b * h, rows, keys), (b * h, keys, d_value))


def sdpa_flop(query_shape: Shape, key_shape: Shape, value_shape: Shape, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Attention."""
    return sdpa_flop_count(query_shape, key_shape, value_shape)


def sdpa_backward_flop(grad_out_shape: Shape, query_shape: Shape, key_shape: Shape, value_shape: Shape, *args: Any, out_shape: Any = None,
                       **kwargs: Any) -> int:
    """The gradients of attention: five products, the scores again among them."""
    b, h, rows, d = query_shape
    keys, d_value, n = key_shape[2], value_shape[3], b * h
    return (bmm_flop((n, rows, d), (n, d, keys)) + bmm_flop((n, rows, d_value),
                                                            (n, d_value, keys)) + bmm_flop((n, keys, rows), (n, rows, d_value))
            + bmm_flop((n, rows, keys), (n, keys, d)) + bmm_flop((n, d, rows), (n, rows, keys)))


# --- the mode -------------------------------------------------------------------------------------------------------------------------

_SUFFIXES = ("", "K", "M", "B", "T")


def _suffix(number: int) -> int:
    return max(0, min(len(_SUFFIXES) - 1, (len(str(number)) - 2) // 3))


def _with_suffix(number: int, index: int) -> str:
    return f"{number:g}" if index == 0 else f"{number / 1000 ** index:.3f}{_SUFFIXES[index]}"


def _percent(number: int, whole: int) -> str:
    return "0%" if whole == 0 else f"{number / whole:.2%}"


class FlopCounterMode:
    """A context that counts the floating-point operations of products and convolutions, by module and operator.

    mods            not needed any more
    depth           how many levels of modules the table shows (None: all)
    display         print the table at the end
    custom_mapping  more operators: packet -> formula, as for `register_flop_formula`
    """

    def __init__(self, mods: Module | list[Module] | None = None, depth: int = 2, display: bool = True,
                 custom_mapping: dict[Any, Any] | None = None) -> None:
        if mods is not None:
            warnings.warn("mods argument is not needed anymore, you can stop passing it", stacklevel=2)
        self.flop_counts: dict[str, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
        self.depth, self.display = depth, display
        self.flop_registry = {**flop_registry, **{key: value if getattr(value, "_get_raw", False) else _by_shapes(value)
                                                  for key, value in (custom_mapping or {}).items()}}
        self.mod_tracker = ModuleTracker()
        self.mode: _Mode | None = None

    def get_total_flops(self) -> int:
        """The count of everything."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """Module -> operator -> count; "Global" is everything."""
        return {name: dict(counts) for name, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """The counts as a table, down to a depth."""
        depth = self.depth if depth is None else depth
        total = self.get_total_flops()
        names = [name for name in sorted(self.flop_counts) if name != "Global" and (depth is None or name.count(".") + 1 <= depth)]
        rows = [row for name in names for row in self._rows(name, name.count("."), total)]
        if "Global" in self.flop_counts and not any(sum(self.flop_counts[name].values()) >= total for name in names):
            rows = self._rows("Global", 0, total) + [(" " + name, *rest) for name, *rest in rows]
        return _table(rows or [("Global", "0", "0%")])

    def _rows(self, name: str, depth: int, total: int) -> list[tuple[str, ...]]:
        counts, pad, index = self.flop_counts[name], " " * depth, _suffix(total)
        whole = sum(counts.values())
        return [(pad + name, _with_suffix(whole, index), _percent(whole, total)),
                *[(f"{pad} - {op}", _with_suffix(count, index), _percent(count, total)) for op, count in counts.items()]]

    def __enter__(self) -> FlopCounterMode:
        self.flop_counts.clear()
        self.mod_tracker.__enter__()
        self.mode = _Mode(self)
        self.mode.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.mode is None:
            raise AssertionError("FlopCounterMode: left without having been entered")
        self.mode.__exit__(*exception)
        self.mode = None
        self.mod_tracker.__exit__()
        if self.display:
            print(self.get_table(self.depth))


class _Mode(TorchDispatchMode):
    """What counts."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = getattr(func, "overloadpacket", func)
        formula = self.counter.flop_registry.get(packet)
        if formula is not None:
            count = formula(*args, **kwargs, out_val=out)
            for name in set(self.counter.mod_tracker.parents):
                self.counter.flop_counts[name][packet] += count
        return out


def _table(rows: list[tuple[str, ...]]) -> str:
    header = ("Module", "FLOP", "% Total")
    widths = [max(len(title) + 2, *(len(row[i]) for row in rows)) for i, title in enumerate(header)]
    lines = [header, tuple("-" * width for width in widths), *rows]
    return "\n".join(f"{one:<{widths[0]}}  {two:>{widths[1]}}  {three:>{widths[2]}}" for one, two, three in lines)
