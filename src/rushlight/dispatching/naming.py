"""Which operator of aten a call of a public function is, and the arguments in the operator's order."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from ..ops import aten, schemas
from ..ops.interception import original_of
from ..tensor import Tensor

__all__ = ["canonical", "operator_of", "order_of", "plain_name"]

_OPERATORS = {"_operator": "matmul", "_power_operator": "pow", "true_divide": "div"}
_INNER = {**_OPERATORS, "_one_by_one": "einsum", "_invert": "bitwise_not", "_public_fill": "fill_", "_public_zero": "zero_",
          "_where_method": "where"}

# Other names of operators, which PyTorch shows by their own.
_SAME = {"absolute": "abs", "multiply": "mul", "subtract": "sub", "divide": "div", "negative": "neg", "concat": "cat", "concatenate": "cat",
         "clip": "clamp", "greater": "gt", "less": "lt", "greater_equal": "ge", "less_equal": "le", "not_equal": "ne", "fix": "trunc",
         "swapaxes": "transpose", "swapdims": "transpose", "arccos": "acos", "arcsin": "asin", "arctan": "atan", "arccosh": "acosh",
         "arcsinh": "asinh", "arctanh": "atanh", "arctan2": "atan2", "logsigmoid": "log_sigmoid"}
_WRAPPED = frozenset(("add", "sub", "mul", "div", "true_divide"))       # PyTorch makes tensors of Python's numbers for these

# Functions that take a list of numbers also one by one: how many arguments stand before it.
_PACKED = dict.fromkeys(("view", "permute", "expand", "repeat", "new_zeros", "new_ones", "new_empty", "tile", "flip"), 1) | dict.fromkeys(
    ("zeros", "ones", "empty", "rand", "randn"), 0)
_LISTS = frozenset(("dim", "dims", "size", "shape", "normalized_shape", "split_sizes", "output_size", "kernel_size", "stride", "padding",
                    "dilation"))
_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def operator_of(func: Any, args: Any, kwargs: Any, tensor: type = Tensor) -> Any:
    """The overload of an operator of aten that is this function and takes these arguments; None where there is none. `tensor`: the class
    that stands for tensors in the arguments."""
    name = getattr(func, "__name__", "")
    known = name in _OPERATORS
    if "out" in kwargs or (name.startswith("__") and not known):
        return None
    packet = getattr(aten, _OPERATORS.get(name, name), None)
    if packet is None or len(args) > len(packet._order) or not set(kwargs) <= set(packet._order):
        return None
    if packet._function is not func and not known and aten._parameters(func) != packet.parameters:
        return None
    return _overload(packet, args, kwargs, tensor)


def _overload(packet: Any, args: Any, kwargs: Any, tensor: type) -> Any:
    plain = [each for each in packet.overloads() if not aten._is_out(each)]
    wanted = [*_fitting(packet.__name__.rstrip("_"), args, kwargs, tensor),
              *(["dim", "dim_IntList", "int"] if "dim" in kwargs or _is_dim(args) else []),
              "default", "Tensor"]
    chosen = next((each for each in wanted if each in plain), plain[0] if plain else None)
    return None if chosen is None else getattr(packet, chosen)


def _fitting(name: str, args: Any, kwargs: Any, tensor: type) -> list[str]:
    """The overloads that fit the operands: numbers, tensors, or both."""
    kinds = ["Tensor" if isinstance(each, tensor) else "Scalar" for each in args[:2] if isinstance(each, (tensor, int, float, complex))]
    if name in ("var", "std", "var_mean", "std_mean") and kwargs.get("correction") is not None:
        return ["correction"]
    if name == "split" and len(args) > 1 and isinstance(args[1], (list, tuple)):
        return ["sizes"]
    if name == "arange":
        return [("", "start", "start_step")[min(len(args), 3) - 1]] if len(args) > 1 else []
    if name == "masked_fill" and len(args) > 2:
        return ["Tensor" if isinstance(args[2], tensor) else "Scalar"]
    if name == "scatter":
        return ["src" if any(isinstance(each, tensor) for each in (*args[3:4], kwargs.get("src"))) else "value"]
    if name == "bernoulli":
        return ["float"] if len(args) > 1 and isinstance(args[1], (int, float)) else []
    if len(kinds) < 2:
        return []
    if name == "where" and len(args) == 3:
        return [{(True, True): "self", (True, False): "ScalarOther", (False, True): "ScalarSelf"}.get(
            (isinstance(args[1], tensor), isinstance(args[2], tensor)), "Scalar")]
    if kwargs.get("rounding_mode") is not None:
        return ["Tensor_mode"]
    plain = "Tensor" if name in _WRAPPED or kinds == ["Tensor", "Tensor"] else "Scalar"
    return ["Scalar" if kinds[0] == "Scalar" and name in ("pow", "float_power") else "_".join(kinds), plain]


def _is_dim(args: Any) -> bool:
    return len(args) > 1 and (type(args[1]) is int
                              or (isinstance(args[1], (list, tuple)) and all(isinstance(each, int) for each in args[1])))


def plain_name(name: str) -> str:
    """The name of the operator that a function which goes by another name is."""
    return _INNER.get(name, name)


def same_name(name: str) -> str:
    """The name of which another one is an alias."""
    return _SAME.get(name, name)


def canonical(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
    """(packet, args, kwargs) with the arguments in the operator's order, lists where it takes lists, without trailing defaults; None where
    no operator of this name takes them."""
    name = plain_name(name)
    name = _SAME.get(name, _SAME.get(name[:-1], name[:-1]) + "_" if name[-1:] == "_" and name[:-1] in _SAME else name)
    packet = getattr(aten, name, None)
    if packet is None:
        return None
    before = _PACKED.get(name)
    if before is not None and len(args) > before and isinstance(args[before], int):
        args = (*args[:before], list(args[before:]))
    order, named, defaults = order_of(packet, args, kwargs)
    lists = _lists(packet, args, kwargs)
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    given = {_ALIASES.get(each, each) if each not in order and each not in named else each: value for each, value in kwargs.items()}
    if order and order[0] in ("self", "input"):
        given = {order[0] if each in ("self", "input") else each: value for each, value in given.items()}
    if len(args) > len(order) or not set(given) <= {*order, *named, "reduction"}:
        return None
    given.update(zip(order, args, strict=False))
    if isinstance(given.get("reduction"), str):
        given["reduction"] = _REDUCTIONS[given["reduction"]]
    values = [(_plain(each, given[each], lists), each in defaults and _equal(given[each], defaults[each])) if each in given
              else (defaults.get(each), True)
              for each in order]
    while values and values[-1][1]:
        values.pop()
    keywords = {each: value for each, value in given.items() if each in named and not (each in defaults and _equal(value, defaults[each]))}
    return packet, tuple([value for value, _ in values]), keywords


def _equal(a: Any, b: Any) -> bool:
    return a is b or (type(a) in (int, float, bool, str) and type(a) is type(b) and a == b)


def _plain(name: str, value: Any, lists: frozenset[str]) -> Any:
    if type(value) is int and name in lists:
        return [value]
    return [*value] if isinstance(value, tuple) and (name in _LISTS or name in lists) else value


_ALIASES = {"axis": "dim", "keepdims": "keepdim", "axes": "dims"}
_USUAL = {"keepdim": False, "alpha": 1, "beta": 1, "min": None, "max": None, "unbiased": True, "implicit": False}


def order_of(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[str, ...], frozenset[str], dict[str, Any]]:
    """(the arguments by position, those by name only, the defaults) of the form of an operator that takes these arguments."""
    own = _order(packet)
    each = _form(packet, args, kwargs)
    if each is None:
        return own
    positional = tuple([_RENAMED.get((packet.__name__, p.name), p.name) for p in each.positional])
    named = frozenset(p.name for p in each.named) | schemas._ALWAYS - {"out", "names"} - set(positional)
    optional = {p.name for p in (*each.positional, *each.named) if p.default}
    return positional, named, {**own[2], **{key: value for key, value in _USUAL.items() if key in optional}}


def _form(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for each in sorted(schemas._overloads(packet.__name__), key=lambda each: _as_numbers(each, args)):
        if schemas._problem(each, args, kwargs, False) is None:
            return each
    return None


def _lists(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> frozenset[str]:
    """The arguments that are lists of numbers, though one number may be given."""
    each = _form(packet, args, kwargs)
    return frozenset() if each is None else frozenset(p.name for p in each.positional if p.many and p.word == "i")


def _as_numbers(overload: Any, args: tuple[Any, ...]) -> int:
    """How many tensors a form would take for numbers, and numbers for what stands behind them in old forms."""
    return sum(isinstance(value, Tensor) and p.word[0] != "T" for p, value in zip(overload.positional, args, strict=False)) + (
        2 * any(p.name == "alpha" for p in overload.positional))


_RENAMED = {("split", "split_size_or_sections"): "split_size"}


@functools.lru_cache(None)
def _order(packet: Any) -> tuple[tuple[str, ...], frozenset[str], dict[str, Any]]:
    """(the arguments by position, those by name only, the defaults) of an operator."""
    positional = tuple(packet._order)
    inner: Any = aten._python_function(packet._function) or packet._function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    named: frozenset[str] = frozenset()
    defaults: dict[str, Any] = {}
    try:
        parameters = inspect.signature(original_of(inner)).parameters.values()
    except (TypeError, ValueError):
        return positional, named, defaults
    named = frozenset(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    if isinstance(defaults.get("reduction"), str):
        defaults["reduction"] = _REDUCTIONS.get(defaults["reduction"], 1)
    return tuple([each for each in positional if each not in named]), named, defaults
