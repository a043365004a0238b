"""How a function becomes public: as torch.<name>, torch.<namespace>.<name>, torch.nn.functional.<name>, a method, an in-place form, with
`out=`.

    @op(method=True, inplace=True, out=True)
    def addcmul(input, tensor1, tensor2, *, value=1): ...

`op`, `export`, `functional` and `method` are the only ways; each tells `registry.py`. Elementwise ops (`define.py`) come through here, too.
"""

from __future__ import annotations

from typing import Any

from .. import services
from ..layout import SparseRefusal
from ..tensor import Tensor
from ..vocabulary import Function
from .errors import not_a_tensor
from .failed_calls import BETWEEN, better, diagnose, numpy_names, old_form, overridden, reject, under_own_names
from .interception import code_of
from .registry import FUNCTIONS, Op, show
from .schemas import at_first, misfit, shared, unfit
from .signatures import SignatureOf
from .write import check_apart, check_dtype, check_fresh, inplace_from, write_out

__all__ = ["checked_inplace", "export", "functional", "guarded", "method", "op"]

on_export: Any = None        # what overrides.py does with functions that are defined after it has begun to watch


def export(function: Function | type[Any] | None = None, name: str | None = None, op: Op | None = None, *, namespace: str = "",
           guard: bool | str = False, first: bool = False, out: bool = False) -> Function | type[Any]:
    """Make a function visible as torch.<name>, or torch.<namespace>.<name>.

    guard  with PyTorch's TypeError for arguments of wrong types (the function itself, which is returned, stays as it is); a string: by the
           schema of the operator of that name, which gets the first of the function's arguments
    first  the types are looked at before anything is computed, and not only where a call fails
    out    with an argument `out=`
    """
    if function is None:
        return lambda f: export(f, name, op, namespace=namespace, guard=guard, first=first, out=out)
    if out:
        function = _with_out(function, "" if namespace == "nn.functional" else function.__name__)
    name = name or function.__name__
    operator = guard if isinstance(guard, str) else "" if namespace == "nn.functional" else name
    shown = _guarded_once(function, name, operator, first, isinstance(guard, str)) if guard else function
    op = show(f"{namespace}.{name}" if namespace else name, shown, op)
    op.out = op.out or out
    if on_export is not None and not namespace:
        on_export(shown)
    return function


def functional(function: Function | None = None, name: str | None = None, *, guard: bool | str = False, out: bool = False) -> Function:
    """Make a function visible as torch.nn.functional.<name>; the options are those of `export`."""
    return export(function, name, namespace="nn.functional", guard=guard, out=out)


def method(function: Function, name: str | None = None, op: Op | None = None, *, guard: bool = False) -> Any:
    """Make a function a Tensor method, with PyTorch's errors for arguments of wrong types where `guard` asks for them."""
    if guard:
        function = _method(function, name or function.__name__)
    setattr(Tensor, name or function.__name__, function)
    show("Tensor." + (name or function.__name__), function, op)
    return function

as_method = method       # (`op` has an argument of that name)


def op(function: Function | None = None, /, *, name: str = "", method: bool | str = False, inplace: bool | str = False,
       out: bool | str = False,
       torch: bool = True, namespace: str = "", functional: bool = False, alias: tuple[str, ...] = ()) -> Function:
    """Register a function as an op.

    method   True: also ``Tensor.<name>``; a string: under that name
    inplace  also ``Tensor.<name>_``: computes, then writes into self with version and history; "function": ``torch.<name>_``, too;
             "apart": no argument may share self's memory
    out      ``torch.<name>(..., out=tensor)``; "fresh": only memory that no operand uses, and of the result's dtype
    torch    False: not in the torch namespace
    namespace  "linalg" for torch.linalg.<name> (instead of torch.<name>)
    functional  also torch.nn.functional.<name>
    """
    if function is None:
        return lambda f: op(f, name=name, method=method, inplace=inplace, out=out, torch=torch, namespace=namespace,
                            functional=functional, alias=alias)
    label = name or function.__name__.rstrip("_")
    entry = Op(f"{namespace}_{label}" if namespace else label, "op", function, out=out)
    if namespace:
        shown = _public(function, f"{namespace}_{label}", out)
        shown.__name__ = shown.__qualname__ = label
        for each in (label, *alias):
            show(f"{namespace}.{each}", shown, entry)
    for each in (label, *alias):
        if torch and not namespace:
            export(_public(function, each, out), each, entry)
        if functional:
            export(FUNCTIONS[each], each, entry, namespace="nn.functional")
        if method:
            as_method(_method(function, each), method if isinstance(method, str) and each == label else each, entry)
        if inplace:
            fn_ = as_method(_inplace_variant(function, each, inplace == "apart"), each + "_", entry)
            if inplace == "function":
                export(checked_inplace(fn_, each), each + "_", entry)
    return function


def _public(function: Function, name: str, out: bool | str) -> Function:
    """The torch.<name> form: out=, NumPy's argument names, and PyTorch's errors for arguments of wrong types."""
    first, fitted = at_first(name), set[Any]()

    def call(*args: Any, **kwargs: Any) -> Any:
        target = None
        if first and (kwargs or tuple(map(type, args)) not in fitted) and (problem := unfit(name, args, kwargs, fitted)) is not None:
            if name in BETWEEN and (again := old_form(name, args, kwargs)) is not None:
                return call(*again[0], **again[1])
            return overridden(call, args, kwargs, problem)
        if kwargs:
            if out and "out" in kwargs:
                target = kwargs.pop("out")
                if out == "fresh" and target is not None:
                    check_fresh(target, (*args, *kwargs.values()), name)
            kwargs = numpy_names(function, kwargs)
        try:
            result = function(*args, **kwargs)
        except SparseRefusal:
            result = services.sparse_function(name, args, kwargs)
        except (AttributeError, TypeError) as error:
            if name in BETWEEN and (again := old_form(name, args, kwargs)) is not None:
                return call(*again[0], **again[1], **({} if target is None else {"out": target}))
            if (own := under_own_names(function, name, args, kwargs, error)) is not None:
                result = function(*args, **own)
                return result if target is None else write_out(target, result, name)
            found = better(name, args, kwargs, diagnose(function, name, args, kwargs, error))
            return overridden(call, args, kwargs if target is None else {**kwargs, "out": target}, found)
        except Exception as error:
            reject(name, args, kwargs, error)
        if target is None:
            return result
        if out == "fresh":
            check_dtype(target, result, name)
        return write_out(target, result, name)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    if out:
        call.__signature__ = SignatureOf(function, out=True)  # type: ignore[attr-defined]
    return call


def _method(function: Function, name: str) -> Function:
    """The method form: the function itself; with PyTorch's errors for arguments of wrong types, and NumPy's names, where a call more is not
    felt."""
    code = code_of(function)
    names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
    if name in BETWEEN:
        def numbers_between(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if len(args) > 2 and (again := old_form(name, (self, *args), kwargs)) is not None:
                return function(*again[0], **again[1])
            try:
                return function(self, *args, **kwargs)
            except SparseRefusal:
                raise
            except Exception as error:
                reject(name, (self, *args), kwargs, error, True)

        numbers_between.__name__ = numbers_between.__qualname__ = name
        numbers_between.__doc__ = function.__doc__
        numbers_between.__wrapped__ = function  # type: ignore[attr-defined]
        return numbers_between
    if name not in _GUARDED and "dim" not in names or "axis" in names:
        return function

    first, fitted = at_first(name), set[Any]()

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if first and (kwargs or tuple(map(type, args)) not in fitted) and (
                problem := unfit(name, (self, *args), kwargs, fitted, True)) is not None:
            raise problem
        if kwargs:
            kwargs = numpy_names(function, kwargs)
        try:
            return function(self, *args, **kwargs)
        except SparseRefusal:
            raise
        except Exception as error:
            if (own := under_own_names(function, name, (self, *args), kwargs, error)) is not None:
                return function(self, *args, **own)
            reject(name, (self, *args), kwargs, error, True)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    return call


# Methods that take so much time that a call more is not felt; those with a `dim` have the call anyway.
_GUARDED = frozenset((
    "allclose", "argwhere", "as_strided_scatter", "bernoulli", "bernoulli_", "bincount", "bucketize", "cholesky", "cholesky_inverse",
    "cholesky_solve", "corrcoef", "cov", "diag_embed", "diagflat", "diagonal_scatter", "dist", "divide_", "dsplit", "equal", "float_power_",
    "frexp", "geqrf", "histc", "histogram", "hsplit", "index_put", "index_put_", "inner", "isclose", "kron", "ldexp", "lerp", "lu_solve",
    "masked_scatter", "masked_select", "matrix_exp", "matrix_power",
    "moveaxis", "movedim", "multinomial", "mvlgamma", "nan_to_num", "new_full", "nonzero_static", "orgqr", "ormqr", "pinverse", "prelu",
    "put", "rot90", "slogdet", "svd", "take", "tile", "triangular_solve", "unfold", "vsplit"))


def _inplace_variant(function: Function, name: str, apart: bool = False) -> Function:
    def fn_(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if len(args) > 2 and (again := old_form(name, (self, *args), kwargs)) is not None:
            (self, *args), kwargs = again
        if apart and isinstance(self, Tensor):
            check_apart(self, (*args, *kwargs.values()))
        try:
            return inplace_from(self, function, (self, *args), kwargs)
        except SparseRefusal:
            raise
        except Exception as error:
            reject(name + "_", (self, *args), kwargs, error, True)
    fn_.__signature__ = SignatureOf(function, method=True)  # type: ignore[attr-defined]
    fn_.__name__ = fn_.__qualname__ = name + "_"
    fn_.__doc__ = f"In-place form of `{name}`."
    return fn_


def checked_inplace(fn_: Function, name: str) -> Function:
    def function(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(input, Tensor):
            raise not_a_tensor(name + "_", "input", 1, input)
        return fn_(input, *args, **kwargs)
    function.__name__ = function.__qualname__ = name + "_"
    function.__doc__ = fn_.__doc__
    function.__signature__ = SignatureOf(fn_)  # type: ignore[attr-defined]
    return function


def _with_out(function: Function, operator: str) -> Function:
    """The function with an `out=` argument, for what is not made by `op`."""
    def call(*args: Any, out: Tensor | None = None, **kwargs: Any) -> Tensor:
        try:
            result = function(*args, **kwargs)
        except SparseRefusal:
            raise
        except Exception as error:
            reject(operator, args, kwargs, error)
        return result if out is None else write_out(out, result, function.__name__)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    call.__signature__ = SignatureOf(function, out=True)  # type: ignore[attr-defined]
    return call


_guards: dict[tuple[Any, str, str], Any] = {}


def _guarded_once(function: Function, name: str, operator: str, first: bool, part: bool) -> Function:
    """The function with PyTorch's TypeError for arguments of wrong types, by the operator's schema where it is one. Not for hot ones: it
    costs a call."""
    if (function, name, operator) not in _guards:
        _guards[function, name, operator] = guarded(function, name, operator, first, part)
    return _guards[function, name, operator]


def guarded(function: Function, name: str, operator: str, first: bool = False, part: bool = False) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if first and (problem := misfit(operator, args, kwargs)) is not None:
            raise problem
        try:
            return function(*args, **kwargs)
        except SparseRefusal:
            raise
        except (AttributeError, TypeError) as error:
            if (own := under_own_names(function, operator, args, kwargs, error)) is not None:
                return function(*args, **own)
            given = shared(operator, args, kwargs) if part else (args, kwargs)
            return overridden(call, args, kwargs, better(operator, *given, diagnose(function, name, args, kwargs, error)))
        except Exception as error:
            reject(operator, *(shared(operator, args, kwargs) if part else (args, kwargs)), error)
    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    return call
