"""`torch.ops.aten`: the operators by their names in PyTorch's registry, served from `OPS`.

``torch.ops.aten.add`` is an `OpOverloadPacket`, ``torch.ops.aten.add.Tensor`` an `OpOverload`. The overloads of an operator are one
function here, which looks at what it gets; `overloads.py` says which there are. An operator takes its arguments in PyTorch's order: mostly
that of the public function, with the numbers that stand for `reduction` and without what only Python's form has; where it is another, the
operator has a form of its own in `aten_forms.py` or `lowlevel.py`. PyTorch's overloads for TorchScript (``add.int``) are not here.
"""

from __future__ import annotations

import inspect as _inspect
from collections.abc import Callable as _Callable
from types import FunctionType as _FunctionType
from typing import Any as _Any

from ..size import Size as _Size
from ..tensor import Tensor as _Tensor
from . import aten_backward as _aten_backward  # noqa: F401
from . import deferred as _deferred
from .aten_forms import FORMS as _FORMS
from .interception import python_function as _python_function
from .lowlevel import ATEN as _ATEN
from .overloads import LISTS as _LISTS
from .overloads import is_out as _is_out
from .overloads import only_in_python as _only_in_python
from .overloads import overloads_of as _overloads_of
from .registry import PLACES as _PLACES
from .registry import Op as _Op

__all__ = ["OpOverload", "OpOverloadPacket"]

_Function = _Callable[..., _Any]
_REDUCTIONS = ("none", "mean", "sum")
_NOT_IN_ATEN = frozenset(("size_average", "inplace", "_stacklevel", "return_indices"))    # parameters of nn.functional only
_NAMESPACES = ("linalg", "special", "fft")

observer: _Any = None     # while operators are looked at (dispatching/modes.py): gets the calls of overloads, and may `run` them


class Argument:
    """An argument of an operator: its name, whether it is given by name only, and its default (None: none, or None)."""

    __slots__ = ("name", "kwarg_only", "default_value")

    def __init__(self, name: str, kwarg_only: bool, default_value: _Any) -> None:
        self.name, self.kwarg_only, self.default_value = name, kwarg_only, default_value

    def __repr__(self) -> str:
        return self.name if self.default_value is None else f"{self.name}={self.default_value}"


class FunctionSchema:
    """What an overload is called and takes. PyTorch's has the arguments' types, too; functions here look at what they get."""

    __slots__ = ("name", "overload_name", "arguments")

    def __init__(self, name: str, overload_name: str, arguments: list[Argument]) -> None:
        self.name, self.overload_name, self.arguments = name, overload_name, arguments

    def __str__(self) -> str:
        overload = f".{self.overload_name}" if self.overload_name else ""
        names = [repr(each) for each in self.arguments if not each.kwarg_only]
        by_name = [repr(each) for each in self.arguments if each.kwarg_only]
        return f"{self.name}{overload}({', '.join([*names, *(['*', *by_name] if by_name else [])])})"

    __repr__ = __str__


class OpOverload:
    """One overload of an operator; called as it. RuntimeError for arguments that it does not take, as in PyTorch."""

    namespace = "aten"
    __module__ = "torch._ops.aten"

    def __init__(self, packet: OpOverloadPacket, overload: str) -> None:
        self.overloadpacket = packet
        self._overloadname, self._opname = overload, packet.__name__
        self.__name__ = f"{packet.__name__}.{overload}"
        self.__doc__ = packet.__doc__
        self._takes_out = _is_out(overload)

    def __call__(self, /, *args: _Any, **kwargs: _Any) -> _Any:
        if observer is not None:
            return observer(self, args, kwargs)
        return self.run(args, kwargs)

    def run(self, args: tuple[_Any, ...], kwargs: dict[str, _Any]) -> _Any:
        """Compute it, whoever looks at operators."""
        if self._takes_out:
            kwargs = self._with_out(kwargs)
        elif kwargs.get("out") is not None:
            raise RuntimeError(f"{self.name()}() has no argument 'out': take one of the overloads {', '.join(self._out_overloads())}")
        return self.overloadpacket(*args, **kwargs)

    def _with_out(self, kwargs: dict[str, _Any]) -> dict[str, _Any]:
        """The results to write into, which are `out`, or one keyword per result ("values" and "indices"), as the one argument `out`."""
        if "out" in kwargs:
            return kwargs
        known = self.overloadpacket.parameters
        given = {name: value for name, value in kwargs.items() if name not in known and isinstance(value, _Tensor)}
        if not given:
            raise RuntimeError(f"{self.name()}() is missing value for argument 'out'.")
        out = next(iter(given.values())) if len(given) == 1 else tuple(given.values())
        return {**{name: value for name, value in kwargs.items() if name not in given}, "out": out}

    def _out_overloads(self) -> list[str]:
        return [each for each in self.overloadpacket.overloads() if _is_out(each)]

    @property
    def _schema(self) -> FunctionSchema:
        parameters = _inspect.signature(self.overloadpacket._function).parameters.values()
        arguments = [Argument("self" if i == 0 and each.name == "input" else each.name, each.kind is each.KEYWORD_ONLY,
                              None if each.default is each.empty else each.default)
                     for i, each in enumerate(parameters) if each.name in self.overloadpacket._order and each.name != "out"]
        if self._takes_out:
            arguments.append(Argument("out", True, None))
        return FunctionSchema("aten::" + self._opname, "" if self._overloadname == "default" else self._overloadname, arguments)

    def name(self) -> str:
        """The registered name: "aten::add.Tensor"."""
        return f"aten::{self._opname}" + ("" if self._overloadname == "default" else "." + self._overloadname)

    def __str__(self) -> str:
        return f"aten.{self.__name__}"

    def __repr__(self) -> str:
        return f"<OpOverload(op='aten.{self._opname}', overload='{self._overloadname}')>"


class OpOverloadPacket:
    """An operator: called itself, or by one of its overloads (``.default``, ``.Tensor``, ...)."""

    def __init__(self, name: str, function: _Function, op: _Op | None, place: str = "") -> None:
        self.__name__, self._fixed, self._op, self._place = name, function, op, place
        self._qualified_op_name = "aten::" + name
        self.__doc__ = function.__doc__
        self.parameters = _parameters(function)
        left_out = {*_NOT_IN_ATEN, "reduce"} if "size_average" in self.parameters else _NOT_IN_ATEN
        self._order = [each for each in self.parameters if each not in left_out]
        self._by_name = op is not None and (len(self._order) < len(self.parameters) or "reduction" in self.parameters)

    @property
    def _function(self) -> _Function:
        """What is public now: a device may have put another function in its place."""
        return self._fixed if self._op is None else self._op.places[self._place]

    def __call__(self, /, *args: _Any, **kwargs: _Any) -> _Any:
        if "self" in kwargs and "self" not in self.parameters:
            args = (kwargs.pop("self"), *args)
        if len(args) == 3 and self.parameters[2:3] == ("alpha",):
            args, kwargs["alpha"] = args[:2], args[2]
        if self._by_name:
            args, kwargs = self._named(args, kwargs)
        try:
            result = self._function(*args, **kwargs)
        except TypeError as error:
            raise RuntimeError(f"aten::{self.__name__}() {error}") from error
        if not isinstance(result, tuple) or isinstance(result, _Size):
            return result
        return list(result) if self.__name__ in _LISTS else tuple(result)

    def _named(self, args: tuple[_Any, ...], kwargs: dict[str, _Any]) -> tuple[tuple[_Any, ...], dict[str, _Any]]:
        """nn.functional's form of a call: what stands behind a parameter that only it has goes by name, and reductions are words."""
        if len(args) > len(self._order):
            raise RuntimeError(f"aten::{self.__name__}() expected at most {len(self._order)} argument(s) but received {len(args)}.")
        given = {**dict(zip(self._order, args, strict=False)), **kwargs}
        if isinstance(given.get("reduction"), int):
            given["reduction"] = _REDUCTIONS[given["reduction"]]
        return (), given

    def __deepcopy__(self, memo: dict[int, _Any]) -> OpOverloadPacket:
        return self

    def __getattr__(self, overload: str) -> OpOverload:
        if overload.startswith("__") or overload not in self.overloads():
            raise AttributeError(f"The underlying op of 'aten.{self.__name__}' has no overload name '{overload}'")
        found = self.__dict__[overload] = OpOverload(self, overload)
        return found

    def overloads(self) -> list[str]:
        """The names of the overloads."""
        keyword = "out" in self.parameters and not self.__name__.endswith("_backward")      # there it is the result that the gradient is of
        return _overloads_of(self.__name__, self._op, keyword or bool(self._op and self._op.out))

    def __str__(self) -> str:
        return f"aten.{self.__name__}"

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='aten.{self.__name__}')>"


def _parameters(function: _Function) -> tuple[str, ...]:
    """The names of a function's parameters, looking through wrappers, without those of PyTorch's old forms (``add(x, alpha, y)``)."""
    inner: _Any = _python_function(function) or function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    if not isinstance(inner, _FunctionType):
        return ()
    found = _inspect.signature(inner).parameters.values()
    return tuple([each.name for i, each in enumerate(found) if i == 0 or each.kind is not each.VAR_POSITIONAL])


def _places(name: str) -> list[str]:
    """Where an operator's function is, if it is public: torch's own, the method, a namespace's, nn.functional's."""
    spaces = [f"{space}.{name[len(space) + 1:]}" for space in _NAMESPACES if name.startswith(space + "_")]
    return [name, f"Tensor.{name}", *spaces, f"nn.functional.{name}"]


def _find(name: str) -> OpOverloadPacket | None:
    form = _FORMS.get(name) or _ATEN.get(name)
    if form is not None:
        return OpOverloadPacket(name, form, None)
    for place in _places(name):
        if place in _PLACES:
            return OpOverloadPacket(name, _PLACES[place].places[place], _PLACES[place], place)
    method = vars(_Tensor).get(name) if not name.startswith("_") or name in _OPERATORS else None
    return OpOverloadPacket(name, method, None) if isinstance(method, _FunctionType) else None


_OPERATORS = frozenset(f"__{i}{name}__" for name in ("and", "or", "xor", "lshift", "rshift") for i in ("", "i"))


# Kernels that PyTorch has on GPUs only.
_ON_GPUS = {"_flash_attention_forward", "_efficient_attention_forward", "_flash_attention_backward", "_efficient_attention_backward"}


def _load() -> None:
    """Import what registers ops at its first use."""
    from importlib import import_module
    _deferred.load_all()
    import_module("..nn.functional", __package__)


def __getattr__(name: str) -> OpOverloadPacket:
    _load()
    if name in _ON_GPUS:
        from ..unsupported import not_supported
        return globals().setdefault(name,
                                    not_supported(f"ops.aten.{name}", "torch.nn.functional.scaled_dot_product_attention chooses by itself"))
    packet = None if _only_in_python(name) else _find(name)
    if packet is None:
        from ..version import rushlight_version
        raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}': torch.ops.aten.{name} is not supported by "
                             f"rushlight {rushlight_version}")
    globals()[name] = packet
    return packet


def __dir__() -> list[str]:
    """The operators that there are."""
    _load()
    names = {place.removeprefix("Tensor.").removeprefix("nn.functional.").replace(".", "_") for place in _PLACES}
    names |= {name for name, value in vars(_Tensor).items() if isinstance(value, _FunctionType) and name[0] != "_"}
    return sorted(name for name in {*names, *_FORMS, *_ATEN, *_OPERATORS} if not _only_in_python(name))

