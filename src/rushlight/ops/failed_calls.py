"""A call that failed, or has to be read anew: PyTorch's error for arguments of wrong types, its and NumPy's other names of arguments, its
old call forms, and operands that bring a ``__torch_function__``.

Nothing here costs a call that is right: the public forms (`public.py`) and the elementwise ops (`define.py`) come here after an exception.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import services
from ..kernels import native
from ..tensor import NotBatched, Tensor
from ..vocabulary import Function
from .errors import not_a_tensor
from .interception import code_of
from .schemas import misfit, renamed

__all__ = ["BETWEEN", "better", "check_tensor", "diagnose", "numpy_names", "old_form", "overridden", "reject", "under_own_names"]


# NumPy's names of arguments, which PyTorch accepts as well.
_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "axes": "dims", "a": "input"}


def numpy_names(function: Function, kwargs: dict[str, Any]) -> dict[str, Any]:
    code = code_of(function)
    known = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
    return {_ALIASES[key] if key not in known and _ALIASES.get(key) in known else key: value for key, value in kwargs.items()}


def under_own_names(function: Function, name: str, args: tuple[Any, ...], kwargs: dict[str, Any],
                    error: Exception) -> dict[str, Any] | None:
    """The keywords of a call that failed for PyTorch's names of arguments, under the function's own; None where that is not the reason."""
    if not kwargs or not isinstance(error, TypeError) or "keyword argument" not in str(error):
        return None
    function = native.written(function)
    code = code_of(function) if hasattr(function, "__code__") else None
    return None if code is None else renamed(name, args, kwargs, code.co_varnames[:code.co_argcount])


def better(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception, method: bool = False) -> Exception:
    """PyTorch's TypeError for a failed call, if there is an argument of a wrong type; else the error itself."""
    own = isinstance(error, NotBatched) or isinstance(error, TypeError) and str(error).startswith(name + "(")
    better = None if own else misfit(name, args, kwargs, method)
    if better is None:
        return error
    better.__cause__ = error
    return better


def reject(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception, method: bool = False) -> NoReturn:
    """Raise it."""
    raise better(name, args, kwargs, error, method)


# Numbers that PyTorch's old call forms have between the tensors, as in ``addcmul(input, value, tensor1, tensor2)``, by the name of the op.
BETWEEN = {"addcmul": ("value",), "addcdiv": ("value",), "add": ("alpha",), "sub": ("alpha",)} | dict.fromkeys(
    ("addmm", "addmv", "addr", "addbmm", "baddbmm"), ("beta", "alpha"))


def old_form(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """(tensors, keywords) of a call in the old form; None where it is none."""
    names = BETWEEN.get(name)
    if names is None:
        return None
    tensors = tuple([each for each in args if isinstance(each, Tensor)])
    numbers = [each for each in args if isinstance(each, (bool, int, float, complex))]
    if not 0 < len(numbers) <= len(names) or len(tensors) + len(numbers) != len(args) or len(tensors) != (2 if names == ("alpha",) else 3):
        return None
    warnings.warn(f"This overload of {name} is deprecated: give {' and '.join(names)} by keyword, after the tensors.", UserWarning,
                  stacklevel=3)
    return tensors, {**dict(zip(names, numbers, strict=False)), **kwargs}


def overridden(function: Function, args: Sequence[Any], kwargs: dict[Any, Any], error: Exception) -> Any:
    """An argument is no tensor: what its ``__torch_function__`` makes of the call, if it has one; else the error is raised."""
    if not isinstance(error, NotBatched):
        for each in (*args, *kwargs.values()):
            if hasattr(each, "__torch_function__") or each.__class__ is list or each.__class__ is tuple:
                return services.rescue(function, args, kwargs, error)
    raise error from None


def diagnose(function: Function, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> Exception:
    """PyTorch's TypeError for an argument that should have been a tensor; the error itself where that is not the reason."""
    annotations = function.__annotations__
    code = code_of(function)
    names = code.co_varnames[:code.co_argcount]
    given = dict(zip(names, args, strict=False)) | kwargs
    for position, parameter in enumerate(names, 1):
        wanted = annotations.get(parameter)
        if parameter in given and not isinstance(given[parameter], Tensor) and (
                wanted == "Tensor" or wanted == "Tensor | None" and given[parameter] is not None):
            return not_a_tensor(name, parameter, position, given[parameter])
    if isinstance(error, AttributeError) and not isinstance(error.obj, Tensor) and error.name in _ASKED:
        what = "an int" if error.name == "__index__" else "a Tensor"
        got = ", ".join(type(value).__name__ for value in (*args, *kwargs.values()))
        return TypeError(f"{name}() received an invalid combination of arguments - got ({got}): {what} was expected where there is a "
                         f"{type(error.obj).__name__}")
    return error


_ASKED = ("_a", "_kind", "_node", "__index__")     # what ops read of tensors and sizes first


def check_tensor(name: str, **values: Any) -> None:
    """Raise PyTorch's TypeError unless all values are tensors."""
    for position, (parameter, value) in enumerate(values.items(), 1):
        if not isinstance(value, Tensor):
            raise not_a_tensor(name, parameter, position, value)
