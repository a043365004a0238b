"""The native library: C++ kernels that stand in for NumPy's where they are built. Never required: `library` is None without them.

RUSHLIGHT_NATIVE=0 leaves them out; RUSHLIGHT_NATIVE=v2 (v3, v4, generic) picks the build for an instruction-set level.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from ..homes import place
from ..vocabulary import Array, Function

__all__ = ["library", "elementwise", "kernel", "written", "fast_path", "matmul", "level", "levels", "describe"]

# What a CPU has to have for a level, by NumPy's names of features.
_NEEDS = {"v4": "AVX512_SKX", "v3": "AVX2", "v2": "SSE42"}
why_not = ""      # why there is no library, for `rushlight info`


def levels() -> list[str]:
    """The levels that this CPU runs, best first."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:
        features = {}
    return [name for name, need in _NEEDS.items() if features.get(need)] + ["generic"]


def _load() -> Any:
    global why_not
    wanted = os.environ.get("RUSHLIGHT_NATIVE", "")
    if wanted == "0":
        why_not = "switched off by RUSHLIGHT_NATIVE=0"
        return None
    names = levels() if wanted in ("", "1") else [wanted]
    for name in names:
        try:
            return import_module(place(f"_native_{name}"))
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            why_not = str(error)
    if wanted not in ("", "1"):
        raise ImportError(f"RUSHLIGHT_NATIVE={wanted}: this installation has no native kernels for that level; use 0, or leave it unset")
    why_not = why_not or "not built: no C++ compiler was found when rushlight was installed"
    return None


library = _load()
level: str = "" if library is None else library.level

if library is not None and os.environ.get("RUSHLIGHT_ALLOCATOR", "1") != "0":
    library.install_allocator()


def elementwise(ufunc: Function) -> Function:
    """A faster stand-in for a NumPy ufunc, called as the ufunc is; the ufunc itself where there is none."""
    if library is None or ufunc.__class__ is not np.ufunc:
        return ufunc
    return library.elementwise(ufunc.__name__, ufunc) or ufunc


# Classes of arrays that compute a formula in a way of their own: class -> (function, operands) -> result. A GPU's arrays run it as one
# kernel.
RUNNERS: dict[type, Any] = {}


class Elementwise(Protocol):
    """What a class of arrays has for elementwise ops of floating dtypes in the place of NumPy's functions."""

    def forward(self, name: str, function: Function) -> Function:
        """How the op `name`, or "" for a formula, is computed."""

    def gradient(self, name: str, function: Function) -> Function:
        """How the gradient of the op `name`, a formula, is computed."""

    def rounds_once(self, ufunc: Function, a: Array, b: Array) -> bool:
        """Whether a ufunc takes these operands, with 16 bits among them, as they are: neither has to become float32 first."""


ELEMENTWISE: dict[type, Elementwise] = {}       # such classes


def anywhere(function: Function) -> Function:
    """The function, with what a class of arrays has in its place. (The native evaluator comes before both.)"""
    def anywhere(*operands: Any) -> Any:
        if RUNNERS:
            for each in operands:
                if each.__class__ in RUNNERS:
                    return RUNNERS[each.__class__](function, operands)
        return function(*operands)
    anywhere.__name__ = anywhere.__qualname__ = function.__name__
    anywhere.__doc__, anywhere.__wrapped__ = function.__doc__, function  # type: ignore[attr-defined]
    return anywhere


def _with_algorithm(algorithm: Function, formula: Function) -> Function:
    """The formula, with an algorithm of its own for NumPy's arrays."""
    elsewhere = anywhere(formula)

    def computed(*operands: Any) -> Array:
        return algorithm(*operands) if operands[0].__class__ is np.ndarray else elsewhere(*operands)
    computed.__name__ = computed.__qualname__ = algorithm.__name__
    computed.__doc__, computed.__wrapped__ = algorithm.__doc__, formula  # type: ignore[attr-defined]
    return computed


def written(function: Function) -> Function:
    """The Python function that a kernel, a fused formula or a fast path computes."""
    while True:
        inner = getattr(function, "__wrapped__", None) or getattr(function, "fallback", None)
        if inner is None:
            return function
        function = inner


def kernel(name: str, twin: Function, formula: Function | None = None) -> Any:
    """The native op `name`, with its NumPy twin for what it does not cover; the twin itself without the library.

    formula     what the twin computes, as a formula, where the twin is none: for tensors, symbols, a GPU's arrays
    """
    other = anywhere(twin) if formula is None else _with_algorithm(twin, formula)
    if library is None:
        return other
    return library.elementwise(name, other) or other


_KERNEL = None if library is None else type(library.elementwise("add", np.add))
_TARGETED = () if library is None else (_KERNEL, type(library.fuse(abs, abs, 1, (0,))))      # kernels and fused formulas


def takes_target(forward: Any) -> bool:
    """Whether `forward` takes the array to write to as one more operand, which may be one of the others."""
    return forward.__class__ in _TARGETED


def takes_halves(forward: Function, array: Array) -> bool:
    """Whether `forward` computes float16 and bfloat16 arrays (and numbers beside them) through float32 by itself, in one pass."""
    return forward.__class__ is _KERNEL and array.__class__ is np.ndarray and (array.ndim == 0 or (array.itemsize == 2 and array.dtype.kind not in "iu"))


# What the gradient of an op with a native fast path saves: the input and the result of a unary op; for a binary op the operands that the
# first and the second gradient use, and whether the second operand may be a number.
SAVES_INPUT, SAVES_RESULT, FIRST_USES_A, FIRST_USES_B, SECOND_USES_A, SECOND_USES_B, TAKES_NUMBERS = 1, 2, 4, 8, 16, 32, 64


def fast_path(closure: Function, kernel: Function, node_type: type[Any] | None, operands: int, uses: int, to_bool: bool) -> Function:
    """The closure of an elementwise op with its fast path in C++ before it; the closure itself without the library."""
    return closure if library is None else library.op(closure, kernel, node_type, operands, uses, to_bool)


def _numpy_matmul(a: Array, b: Array) -> Array:
    """The product of arrays of at most two dimensions goes through `dot`, which costs half of matmul's overhead."""
    return a.dot(b) if a.ndim <= 2 and b.ndim <= 2 else np.matmul(a, b)


matmul = _numpy_matmul if library is None else library.matmul


def describe() -> str:
    """One line for `rushlight info`."""
    if library is None:
        return f"none ({why_not}): NumPy computes everything"
    return f"{os.path.basename(library.__file__)}, {library.get_threads()} threads"
