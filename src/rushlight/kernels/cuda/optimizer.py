"""Optimiser steps over all tensors in one launch.

The rule of an optimiser (optim/pointwise.py) is run once per step on symbols; what it writes down becomes a kernel. A table on the device
says where the tensors are: one row of pointers (parameter, gradient, state ...) and a size per tensor; a second table says which piece of
which tensor each block works on. Both are kept as long as the memory stays where it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import driver
from .elementwise import FUNCTIONS, Symbol
from .source import ACCUMULATE, C_TYPES, THREADS, Kernel

__all__ = ["PIECE", "step", "table_of"]

PIECE = 8192
_kernels: dict[tuple[str, str], Kernel] = {}
_tables: dict[Any, Any] = {}

_TEXT = r"""
typedef %(state)s S;
extern "C" __global__ void kernel(const long long* table, const int* pieces, int columns%(numbers)s) {
    const long long* row = table + (long long)pieces[2 * blockIdx.x] * columns;
    long long n = row[columns - 1], first = (long long)pieces[2 * blockIdx.x + 1] * %(piece)d;
    T* p = (T*)row[0];
    const T* g = (const T*)row[1];
    %(pointers)s
    long long last = first + %(piece)d < n ? first + %(piece)d : n;
    for (long long i = first + threadIdx.x; i < last; i += blockDim.x) {
        A x = load(p[i]), d = load(g[i]); %(loads)s
        %(body)s
    }
}
"""


class Number(float):
    """A number of the step: a parameter of the kernel in arithmetic, its value in tests."""

    name: str

    def __new__(cls, value: float, name: str) -> Number:
        self = float.__new__(cls, value)
        self.name = name
        return self


class SymbolMath:
    """The functions that rules call, on symbols. Each result gets a variable of its own, so nothing is computed twice."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _let(self, text: str) -> Symbol:
        name = f"t{len(self.lines)}"
        self.lines.append(f"A {name} = {text};")
        return Symbol(name)

    def multiply(self, a: Any, b: Any, out: Any = None) -> Symbol:
        return self._let(f"{_text(a)} * {_text(b)}")

    def add(self, a: Any, b: Any, out: Any = None) -> Symbol:
        return self._let(f"{_text(a)} + {_text(b)}")

    def subtract(self, a: Any, b: Any, out: Any = None) -> Symbol:
        return self._let(f"{_text(a)} - {_text(b)}")

    def divide(self, a: Any, b: Any, out: Any = None) -> Symbol:
        return self._let(f"{_text(a)} / {_text(b)}")

    def negative(self, a: Any, out: Any = None) -> Symbol:
        return self._let(f"-{_text(a)}")

    def sqrt(self, a: Any, out: Any = None) -> Symbol:
        return self._let(f"sqrt_({_text(a)})")

    def absolute(self, a: Any, out: Any = None) -> Symbol:
        return self._let(f"fabs_({_text(a)})")

    def sign(self, a: Any, out: Any = None) -> Symbol:
        return self._let(f"sign_({_text(a)})")

    def maximum(self, a: Any, b: Any, out: Any = None) -> Symbol:
        return self._let(f"max_({_text(a)}, {_text(b)})")

    def minimum(self, a: Any, b: Any, out: Any = None) -> Symbol:
        return self._let(f"min_({_text(a)}, {_text(b)})")

    def choose(self, condition: Any, a: Any, b: Any) -> Symbol:
        return self._let(f"{_text(condition)} ? {_text(a)} : {_text(b)}")


def _text(value: Any) -> str:
    if value.__class__ is Symbol:
        return value.text
    if value.__class__ is Number:
        return value.name
    return f"((A){float(value)!r})"


def _symbolic(h: Any, numbers: list[float]) -> Any:
    """The rule's numbers, each float of them a parameter of the kernel."""
    if h.__class__ is float:
        numbers.append(h)
        return Number(h, f"h{len(numbers) - 1}")
    if isinstance(h, tuple):
        return tuple(_symbolic(each, numbers) for each in h)
    return h


def step(rule: Any, h: Any, keep: float, scratch: int, arrays: list[tuple[Any, ...]]) -> bool:
    """Step all parameters of one dtype: `arrays` has (parameter, gradient, state ...) per parameter, cupy arrays of one layout each.

    Returns False, with nothing changed, where the rule or the arrays do not fit: memory with gaps, mixed dtypes, tests on symbols.
    """
    first = arrays[0]
    dtype, state = first[0].dtype.name, first[2].dtype.name if len(first) > 2 else first[0].dtype.name
    if dtype not in ACCUMULATE or state not in ACCUMULATE:
        return False
    for row in arrays:
        p = row[0]
        if row[1].dtype.name != dtype or p.dtype.name != dtype or any(a.dtype.name != state for a in row[2:]):
            return False
        if not all(a.flags.c_contiguous for a in row) and not all(a.flags.f_contiguous for a in row):
            return False
    math, numbers = SymbolMath(), []
    names = [f"s{i}" for i in range(len(first) - 2)]
    try:
        change, *new = rule(math, _symbolic(h, numbers), (None,) * scratch, Symbol("x"), Symbol("d"), *[Symbol(name) for name in names])
    except (TypeError, AttributeError):
        return False
    body = "\n        ".join([*math.lines, *[f"store(q{i} + i, {_text(value)});" for i, value in enumerate(new)],
                             f"store(p + i, x * keep - {_text(change)});"])
    parameters = "".join(f", A h{i}" for i in range(len(numbers))) + ", A keep"
    kind = np.float64 if ACCUMULATE[dtype] == "double" else np.float32
    text = FUNCTIONS + _TEXT % {
        "state": C_TYPES[state], "numbers": parameters.replace("A ", f"{ACCUMULATE[dtype]} "), "piece": PIECE,
        "pointers": "".join(f"S* q{i} = (S*)row[{i + 2}]; " for i in range(len(names))),
        "loads": "".join(f"A s{i} = load(q{i}[i]); " for i in range(len(names))), "body": body}
    kernel = _kernels.get((dtype, text))
    if kernel is None:
        kernel = _kernels[dtype, text] = Kernel(f"optimizer_{getattr(rule, '__qualname__', 'rule').split('.')[0]}_{len(_kernels)}", text, (dtype,))
    table, pieces, count = table_of(arrays)
    kernel(dtype)((count,), (THREADS,), (table, pieces, np.int32(len(first) + 1), *[kind(value) for value in numbers], kind(keep)))
    return True


def table_of(arrays: list[tuple[Any, ...]]) -> tuple[Any, Any, int]:
    """(table of pointers and sizes, table of pieces, number of pieces) on the device; kept while the pointers stay the same."""
    module = driver.needed()
    rows = tuple([(*[a.data.ptr for a in row], row[0].size) for row in arrays if row[0].size])
    key = (module, module.cuda.runtime.getDevice(), rows)
    found = _tables.get(key)
    if found is None:
        pieces = [(number, piece) for number, row in enumerate(rows) for piece in range(-(-row[-1] // PIECE))]
        if len(_tables) >= 64:
            _tables.clear()
        found = _tables[key] = (module.asarray(np.array(rows, np.int64)), module.asarray(np.array(pieces, np.int32)), len(pieces))
    return found
