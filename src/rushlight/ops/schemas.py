"""Whether a call's arguments are of the types that PyTorch's function takes; asked where a call has failed.

PyTorch looks at the types of all arguments before it computes anything, and raises TypeError. Ops here look at what they need, in their
order, so that a call with a wrong type may fail with any error. Where ops catch errors they ask `misfit`, whose TypeError then takes the
place of theirs. What the arguments may be is in ``schemas.txt`` (written by ``tools/make_schemas.py``), which is read at the first
question.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..tensor import Tensor

__all__ = ["at_first", "misfit", "renamed", "shared", "unfit"]

# NumPy's names of arguments, which PyTorch takes as well, and what every function may take beside its own.
_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x": "self", "a": "self", "input": "self", "axes": "dims", "x1": "self", "x2": "other"}
_ALWAYS = frozenset(("out", "names", "requires_grad", "dtype", "layout", "device", "pin_memory", "generator", "memory_format",
                     "non_blocking", "copy"))
_WORDS = {"T": "Tensor", "i": "int", "b": "bool", "f": "float", "n": "Number", "s": "str", "T[]": "tuple of Tensors",
          "T?[]": "tuple of Tensors", "i[]": "tuple of ints", "f[]": "tuple of floats", "b[]": "tuple of bools", "n[]": "tuple of Scalars"}


class _Parameter(NamedTuple):
    """An argument that a function takes: `word` is its type, `many` that it is a list, `size` the length to which one number may be
    repeated."""

    name: str
    word: str
    many: bool
    size: int
    none: bool
    default: bool


class _Overload(NamedTuple):
    """One form of a function: what may be given by position, and what by name only."""

    positional: tuple[_Parameter, ...]
    named: tuple[_Parameter, ...]


# Functions whose types are looked at before they compute, which they would do with wrong ones, too; none of them is quick or called in
# inner loops.
_FIRST = frozenset((
    "addbmm", "addr", "argsort", "bincount", "bucketize", "corrcoef", "cov", "cross", "cummax", "cummin", "cumulative_trapezoid",
    "diag_embed", "diagflat", "diff", "dist", "dsplit", "flip", "histc", "hsplit", "isclose", "isin", "kron", "kthvalue", "logcumsumexp",
    "logspace", "masked_scatter", "masked_select", "matrix_power", "median",
    "mode", "movedim", "multinomial", "nan_to_num", "nanmedian", "nanquantile", "nansum", "pinverse", "put", "qr", "quantile", "renorm",
    "rot90", "searchsorted", "svd", "take_along_dim", "tile", "topk", "trapezoid", "trapz", "triangular_solve", "tril_indices",
    "triu_indices", "vander", "vsplit"))


# Their operators have more in one call than the public forms: rcond (tol) beside atol and rtol.
_MIXED = frozenset(("linalg_pinv", "linalg_matrix_rank"))


def at_first(name: str) -> bool:
    """Whether the types of a function's arguments are looked at before it computes."""
    return name in _FIRST or name.startswith(("linalg_", "fft_")) and name not in _MIXED


def _parameter(text: str) -> _Parameter:
    name, _, word = text.partition(":")
    default = word.endswith("=")
    word = word.removesuffix("=")
    none = word.endswith("?")
    word, many, size = word.removesuffix("?").partition("[")
    return _Parameter(name, word, bool(many), int(size.rstrip("]") or 0), none, default)


@functools.cache
def _table() -> dict[str, str]:
    lines = Path(__file__).with_name("schemas.txt").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines)


@functools.cache
def _overloads(name: str) -> tuple[_Overload, ...]:
    found = []
    for text in _table().get(name, "").split():
        positional, _, named = text.partition("*")
        found.append(_Overload(*(tuple([_parameter(each) for each in part.strip(",").split(",") if each]) for part in (positional, named))))
    return tuple(found)


def _zero_dim(value: Any, floats: bool) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and (floats or not value._kind.differentiable)


def _one(word: str, value: Any) -> bool:
    """Whether a value is of a type, as PyTorch's reader of arguments sees it: 0-dimensional tensors stand for numbers, bool is no int."""
    if word == "T":
        return isinstance(value, Tensor)
    if word == "i":
        return (isinstance(value, (int, np.integer)) and not isinstance(value, bool)) or _zero_dim(value, False) or (
            hasattr(value, "__index__") and not isinstance(value, (bool, np.bool_, Tensor)))
    if word == "f":
        return isinstance(value, (int, float, np.floating, np.integer)) or _zero_dim(value, True)
    if word == "n":
        return isinstance(value, (int, float, complex, np.number, np.bool_)) or _zero_dim(value, True)
    if word == "b":
        return isinstance(value, (bool, np.bool_))
    return isinstance(value, str) if word == "s" else True


def _is(parameter: _Parameter, value: Any) -> bool:
    if value is None:
        return parameter.none or parameter.word == "any" or parameter.name == "stride" and parameter.default
    if not parameter.many:
        return _one(parameter.word.removesuffix("?"), value)
    if isinstance(value, (list, tuple)):
        optional = parameter.word.endswith("?")
        return all(_one(parameter.word.removesuffix("?"), each) or optional and each is None for each in value)
    return bool(parameter.size) and _one(parameter.word, value)


def _problem(overload: _Overload, args: tuple[Any, ...], kwargs: dict[str, Any], method: bool) -> tuple[_Parameter | None, int, Any] | None:
    """(the argument that does not fit, its position from 1 or 0, what was given), or None; (None, 0, None): there are too many, or one is
    missing."""
    first = 1 if method else 0
    positional = overload.positional
    if len(args) > first and len(positional) == first + 1 and positional[first].many and not isinstance(args[first], (list, tuple)):
        args = (*args[:first], args[first:])                          # view(2, 3)
    if len(args) > len(positional):
        return None, 0, None
    own = {each.name for each in (*positional, *overload.named)}
    given = {key if key in own else _ALIASES.get(key, key): value for key, value in kwargs.items()}
    if positional and positional[0].name == "self" and positional[0].word != "T" and "input" in kwargs or (
            "self" in kwargs and any(each.name == "self" and each.word == "T" for each in positional)):
        return None, 0, None                                          # a tensor is called input, a number in its place self
    for i, (parameter, value) in enumerate(zip(positional, args, strict=False), 1):
        if not _is(parameter, value):
            return parameter, i - first, value
    for i, parameter in enumerate((*positional[len(args):], *overload.named), len(args) + 1):
        key = parameter.name if parameter.name in given or parameter.name not in ("input", "self") else "self"
        if key in given:
            if not _is(parameter, given.pop(key)):
                return parameter, i - first if i <= len(positional) else 0, kwargs.get(parameter.name, kwargs.get("input"))
        elif not parameter.default:
            return None, 0, None
    return None if all(key in _ALWAYS for key in given) else (None, 0, None)


def _overflow(name: str, overload: _Overload, args: tuple[Any, ...], kwargs: dict[str, Any], method: bool) -> Exception | None:
    """PyTorch's error for an integer of more than 64 bits where all types fit."""
    given = {parameter.name: (parameter, value) for parameter, value in zip(overload.positional, args, strict=False)}
    given |= {each.name: (each, kwargs[each.name]) for each in (*overload.positional, *overload.named) if each.name in kwargs}
    for parameter, value in given.values():
        for at, each in enumerate(value if parameter.many and isinstance(value, (list, tuple)) else (value,), 1):
            if parameter.word == "i" and isinstance(each, int) and not -2**63 <= each < 2**63:
                if not parameter.many:
                    return ValueError("Overflow when unpacking long long")
                return TypeError(f"{name}(): argument '{parameter.name}' failed to unpack the object at pos {at + method} with error "
                                 '"Overflow when unpacking long long"')
    return None


def renamed(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    """The keywords of a call that fits an operator, where a function has other `names` for its positions than PyTorch; None where nothing
    changes."""
    for overload in _overloads(name):
        if _problem(overload, args, kwargs, False) is None:
            theirs = ["input" if each.name == "self" else each.name for each in overload.positional]
            own = {key: mine for key, mine in zip(theirs, names, strict=False) if key in kwargs and key not in names}
            if own:
                return {own.get(key, key): value for key, value in kwargs.items()}
    return None


def shared(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The part of a call that goes to an operator from a function that takes more arguments behind the operator's."""
    overloads = _overloads(name)
    names = {each.name for overload in overloads for each in (*overload.positional, *overload.named)} | {"input"}
    return args[:max((len(each.positional)
                      for each in overloads), default=0)], {key: value for key, value in kwargs.items() if key in names}


_fitted: set[Any] = set()          # calls that fitted, by the classes of their arguments


def unfit(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], fitted: set[Any], method: bool = False) -> Exception | None:
    """`misfit` for calls that have not failed. `fitted` gets the classes of calls without keywords that fitted (behind the tensor of a
    method), so that the next one is not looked at; not where a class does not tell: of lists, and of 0-dimensional tensors, which may stand
    for numbers."""
    given = (*args, *kwargs.values()) if kwargs else args
    lists = [each for each in given if each.__class__ is list or each.__class__ is tuple]
    if any(element.__class__ is not int for each in lists for element in each):
        return misfit(name, args, kwargs, method)
    key = (name, method, *kwargs, *[each.__class__ for each in given])
    if key in _fitted:
        return None
    problem = misfit(name, args, kwargs, method)
    if problem is None and len(_fitted) < 10_000 and not any(each.__class__ is Tensor and not each._a.ndim for each in given):
        _fitted.add(key)
        if not kwargs and not lists:
            fitted.add(tuple(map(type, args[method:])))
    return problem


def misfit(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], method: bool = False) -> Exception | None:
    """PyTorch's error for a call of an operator (`method`: the first argument is the tensor) whose arguments fit none of its forms; None if
    one fits."""
    overloads = _overloads(name)
    if not overloads or any(hasattr(each, "__torch_function__") and not isinstance(each, Tensor) for each in (*args, *kwargs.values())):
        return None
    problems = [_problem(each, args, kwargs, method) for each in overloads]
    if not all(problems):
        return _overflow(name, overloads[problems.index(None)], args, kwargs, method)
    found = problems[0]
    if len(problems) == 1 and found is not None and found[0] is not None:
        position, value = found[1:]
        parameter: _Parameter = found[0]
        wanted = _WORDS.get(parameter.word + "[]" * parameter.many, parameter.word)
        where = f" (position {position})" if position > 0 else ""
        return TypeError(f"{name}(): argument '{parameter.name}'{where} must be {wanted}, not {type(value).__name__}")
    got = ", ".join([*(type(each).__name__ for each in args[method:]), *(f"{key}={type(each).__name__}" for key, each in kwargs.items())])
    return TypeError(f"{name}() received an invalid combination of arguments - got ({got})")
