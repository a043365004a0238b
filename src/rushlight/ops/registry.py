"""`OPS`: one record per op, however it is defined, and every public name under which a program finds it.

`public.py` (and `define.py` for a namespace) writes here and nobody else does. Whoever needs to know what there is reads here: the
namespaces, vmap, `torch.ops.aten`, the stubs, ``rushlight where`` and the tests. Op modules that load at first use are missing until
`deferred.load_all()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import homes
from ..vocabulary import Function

__all__ = ["OPS", "PLACES", "FUNCTIONS", "NAMESPACES", "Op", "show", "op_at"]


class Op:
    """One op. Its public names are `places`: "exp" for ``torch.exp``, "Tensor.exp", "Tensor.exp_", "linalg.det", "nn.functional.silu".

    name        PyTorch's name of the operator: "exp", "linalg_det"; "nn.functional.silu" where it is another function than ``torch.silu``
    form        how it is defined: "unary", "binary", "op" or "function"
    function    the definition: what the public forms call
    forward     arrays -> array (unary and binary)
    gradient    the gradient of each operand, as written at the op: one function, or a pair; None where there is none or `function` records
                it
    saved       the parameters that these gradients name: "x" or "y" of a unary op, "a", "b" and "y" of a binary one
    node        the class of the graph's nodes (unary and binary ops with a gradient)
    title       the name in errors, and of the sparse form: "div" for true_divide
    integers    arrays -> array for operands of integers and bool, where `forward` is not for them
    refuse      (dtype, dtype) -> PyTorch's error for them, or None
    only        the promoted dtypes that the op has: "float", "wide" (no halves), "number" (not bool), "int", or "" for all
    holomorphic whether what is saved arrives conjugated in the gradient of complex tensors
    result      what becomes of the dtype: "same", "float", "bool", "int" or "refuse" (see `unary` and `binary`); "" where `function`
                decides
    complex     whether complex tensors are allowed
    refuse_bool PyTorch's error for bool tensors; "" where there is none
    domain      between which numbers the tests sample
    numbers     which operands of a binary op may be numbers: "both", "second" or "none"
    line        (file, line) of the statement that defines a unary or binary op
    out         whether public forms take `out=`; "fresh": only memory that no operand uses, of the result's dtype
    """

    __slots__ = ("name", "form", "function", "places", "forward", "gradient", "saved", "node", "title", "integers", "refuse", "only",
                 "holomorphic", "result", "complex", "refuse_bool", "domain", "numbers", "out", "line")

    def __init__(self, name: str, form: str, function: Any, *, forward: Any = None, gradient: Function | None = None,
                 saved: tuple[str, ...] = (),
                 node: type[Any] | None = None, title: str = "", integers: Any = None, refuse: Any = None, only: str = "",
                 holomorphic: bool = True,
                 result: str = "", complex: bool = True, refuse_bool: str = "", domain: tuple[float, float] = (-3.0, 3.0),
                 numbers: str = "none", out: bool | str = False, line: tuple[str, int] | None = None) -> None:
        self.name, self.form, self.function, self.places = name, form, function, {}
        self.forward, self.gradient, self.saved, self.node, self.title = forward, gradient, saved, node, title or name
        self.integers, self.refuse, self.only, self.holomorphic = integers, refuse, only, holomorphic
        self.result, self.complex, self.refuse_bool, self.domain, self.numbers, self.out = result, complex, refuse_bool, domain, numbers, out
        self.line = line

    places: dict[str, Any]

    def __repr__(self) -> str:
        return f"<op {self.name}: {', '.join(self.places)}>"

    @property
    def differentiable(self) -> bool:
        """Whether the op was given a gradient (unary and binary ops)."""
        return self.gradient is not None

    @property
    def elementwise(self) -> bool:
        """Whether each element of the result depends on one of each operand only."""
        return self.form in ("unary", "binary")

    @property
    def inplace(self) -> bool:
        """Whether there is a method that writes into its tensor."""
        return f"Tensor.{self.name}_" in self.places


OPS: dict[str, Op] = {}
PLACES: dict[str, Op] = {}                             # public name -> op
FUNCTIONS: dict[str, Any] = {}                         # what torch.<name> is
NAMESPACES: dict[str, dict[str, Any]] = {"": FUNCTIONS}  # what torch.<namespace>.<name> is; methods stand on the Tensor class

_by_function: dict[int, Op] = {}                       # what is public is never freed, so that its id stays its own


changes = 0         # how often something public was added or exchanged: what is derived from it is as old as this number


def changed() -> None:
    """Say that something public is new: a device that starts puts functions of its own in some ops' places."""
    global changes
    changes += 1


def show(place: str, value: Any, op: Op | None = None) -> Op:
    """Make something public as torch.<place>. It belongs to the op given, to that of the same function, or to that whose name it has."""
    changed()
    op = op or _by_function.get(id(value)) or OPS.get(_stem(place)) or Op(_name(place), "function", value)
    if op.name == "nn.functional." + place:     # it is torch's function, too
        del OPS[op.name]
        op.name = place
    if OPS.setdefault(op.name, op) is not op:
        raise ValueError(f"{op.name} is defined twice")
    PLACES[place] = op
    op.places[place] = value
    _by_function[id(value)] = op
    namespace, _, name = place.rpartition(".")
    if namespace != "Tensor":
        NAMESPACES.setdefault(namespace, {})[name] = value
        _settle(namespace, value)
    return op


def _settle(namespace: str, function: Function | type[Any]) -> None:
    """Have a function, and what it guards, say that they are from the first namespace that shows it; an op of the native library says what
    its Python form says."""
    for each in (function, getattr(function, "__wrapped__", None)):
        if ".ops." in (getattr(each, "__module__", None) or ""):
            try:
                each.__module__ = homes.place(namespace)
            except AttributeError:          # the native library's: the Python form comes next
                continue


def _name(place: str) -> str:
    """PyTorch's name of the operator behind a public name: "special_ndtr" for "special.ndtr"."""
    return place if place.startswith("nn.") else place.removeprefix("Tensor.").replace(".", "_")


def _stem(place: str) -> str:
    """The name of the op that a form with this name belongs to: "exp" for "Tensor.exp_"."""
    name = _name(place)
    return name if name in OPS or not name.endswith("_") else name.rstrip("_")


def op_at(place: str) -> Op | None:
    """The op that torch.<place> is a form of; None where there is none (see `deferred.load_all`)."""
    return PLACES.get(place)


def functions(namespace: str) -> dict[str, Callable[..., Any]]:
    """The public functions of torch.<namespace> by name."""
    return NAMESPACES.get(namespace, {})
