"""One door to every kernel: `@kernel` over a NumPy function makes of it the callable that finds the fastest form for the arrays it is
given.

    @kernel
    def softmax(a, axis): ...                   # kernels/softmax.py, in NumPy: the twin

A call goes to the first of these that takes it:

    the native library      ``softmax.softmax`` in a table of native/softmax.cpp, for plain arrays
    the arrays' class       what the class brought with it when it joined (`join`): for a GPU's arrays ``softmax`` in
    kernels/cuda/softmax.py, for vmap's
                            a rule that folds the batch into a dimension
    the twin                the NumPy function, which runs on every class that takes part in NumPy's protocols

All have one name and one signature. "Not mine" is said in one way, by stepping aside: a native function returns nothing, a class's form
NotImplemented, and the call goes on. So callers ask no questions. Arguments are given by position; arrays inside of lists are not looked
for.

Where what a kernel computes can be composed of ops (attention, a recurrent layer), ``@kernel(composed=True)`` makes a twin for NumPy's
arrays alone: for arrays of other classes, and whatever else nobody takes, the call gives NotImplemented, and the op composes.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import numpy as np

from ..homes import place
from ..vocabulary import Array, NumpyDtype
from .native import library

__all__ = ["kernel", "join", "Find", "is_half", "widened", "narrowed"]

ndarray = np.ndarray
Kernel = Callable[..., Any]
Given = ParamSpec("Given")
Result = TypeVar("Result")
Find = Callable[[str, str], "Kernel | None"]        # (family, name) -> a class's form of that kernel

CLASSES: dict[type, Find] = {}
converted: Kernel = ndarray.astype      # until kernels/memory.py has its kernel of that name, which stands behind a door itself


def join(cls: type, find: Find | str) -> None:
    """Arrays of `cls` take part from now on: ``find("softmax", "softmax")`` gives their form of a kernel, or None where the twin serves
    them.

    find    or the name of the module that has a function `find`, which is imported when the first kernel asks
    """
    CLASSES[cls] = _finder(find) if isinstance(find, str) else find


def _finder(module: str) -> Find:
    return lambda family, name: import_module(place(module)).find(family, name)


if TYPE_CHECKING:
    from typing import Protocol

    Results = TypeVar("Results", covariant=True)

    class Door(Protocol[Given, Results]):
        """A kernel: called as its twin is."""

        fallback: Kernel
        __wrapped__: Kernel

        def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Results:
            """The fastest form for these arrays."""


@overload
def kernel(twin: Callable[Given, Result]) -> Door[Given, Result]: ...


@overload
def kernel(*, halves: bool = False, composed: bool = False) -> Callable[[Callable[Given, Result]], Door[Given, Result]]: ...


def kernel(twin: Kernel | None = None, *, halves: bool = False, composed: bool = False) -> Any:
    """The door over a twin.

    halves      the twin gets float16 and bfloat16 arrays in float32, and what it returns is rounded once
    composed    the twin gets NumPy's arrays only; for others the call gives NotImplemented
    """
    if twin is None:
        return lambda twin: kernel(twin, halves=halves, composed=composed)  # type: ignore[call-overload]  # both ways at once is for here only
    family = twin.__module__.rpartition(".")[2]
    if composed:
        twin = _numpy_only(twin)
    if library is not None:
        last = [twin]
        door = library.function(family, twin.__name__, _in_float32(twin, last) if halves else twin, CLASSES)
        last[0] = door
        return door
    return _closed(family, twin, halves)


def _closed(family: str, twin: Kernel, halves: bool) -> Kernel:
    """The door where there is no library."""
    forms: dict[type, Kernel | None] = {}
    fallback: Kernel = twin

    def door(*args: Any) -> Any:
        if CLASSES:
            for each in args:
                cls = each.__class__
                if cls in CLASSES:
                    if cls not in forms:
                        forms[cls] = CLASSES[cls](family, twin.__name__)
                    form = forms[cls]
                    r = NotImplemented if form is None else form(*args)
                    if r is not NotImplemented:
                        return r
        if halves:
            for each in args:
                if is_half(each):
                    return fallback(*args)
        return twin(*args)
    if halves:
        fallback = _in_float32(twin, [door])
    door.__name__, door.__qualname__, door.__doc__ = twin.__name__, twin.__qualname__, twin.__doc__
    door.fallback = door.__wrapped__ = fallback  # type: ignore[attr-defined]
    return door


def is_half(a: Any) -> bool:
    """Whether this is an array of float16 or bfloat16."""
    return getattr(a, "itemsize", 0) == 2 and a.dtype.kind in "fV"


_FLOAT32 = np.dtype(np.float32)


def widened(a: Any) -> Any:
    """An array of float16 or bfloat16 in float32; all else as it is."""
    return converted(a, _FLOAT32) if is_half(a) else a


_NO_OTHERS = {ndarray, type(None), bool, int, float, str, tuple}        # NumPy's arrays, and what is no array


def _numpy_only(twin: Kernel) -> Kernel:
    """The twin, which says NotImplemented to arrays of other classes."""
    def stepping_aside(*args: Any) -> Any:
        for each in args:
            cls = each.__class__
            if cls not in _NO_OTHERS and hasattr(cls, "__array_ufunc__") and not issubclass(cls, np.generic):
                return NotImplemented
        return twin(*args)
    stepping_aside.__name__, stepping_aside.__qualname__, stepping_aside.__doc__ = twin.__name__, twin.__qualname__, twin.__doc__
    stepping_aside.__module__ = twin.__module__
    return stepping_aside


def _in_float32(twin: Kernel, door: list[Kernel]) -> Kernel:
    """The twin behind a step that hands arrays of 16 bits to the door again in float32."""
    def in_float32(*args: Any) -> Array | tuple[Any, ...]:
        for each in args:
            if is_half(each):
                return narrowed(door[0](*map(widened, args)), each.dtype)
        return twin(*args)
    in_float32.__name__, in_float32.__qualname__, in_float32.__doc__ = twin.__name__, twin.__qualname__, twin.__doc__
    return in_float32


def narrowed(result: Any, dtype: NumpyDtype) -> Any:
    """float32 results in the dtype that the operands had."""
    if result.__class__ is tuple:
        return tuple([narrowed(each, dtype) for each in result])
    return converted(result, dtype) if getattr(result, "dtype", None) == _FLOAT32 else result
