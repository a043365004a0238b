"""Optimiser steps over all tensors in one launch.

What the rule of an optimiser does (kernels/step.py has it written down) becomes a kernel. A table on the device
says where the tensors are: one row of pointers (parameter, gradient, state ...) and a size per tensor; a second table says which piece of
which tensor each block works on. Both are kept as long as the memory stays where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..step import Recording
from . import driver
from .elementwise import FUNCTIONS, digest, printed
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


def step(recording: Recording, h: Sequence[Any], keep: float, arrays: list[tuple[Any, ...]], name: str) -> bool:
    """Step all parameters of one dtype: `arrays` has (parameter, gradient, state ...) per parameter, cupy arrays of one layout each.

    h       the numbers of the step; `recording` is what the optimizer called `name` does with them
    Returns False, with nothing changed, where the rule or the arrays do not fit: memory with gaps, mixed dtypes, an op that has no text.
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
    kernel, places = _kernel(recording, dtype, state, name)
    kind = np.float64 if ACCUMULATE[dtype] == "double" else np.float32
    numbers = recording.numbers(h)
    table, pieces, count = table_of(arrays)
    kernel(dtype)((count,), (THREADS,), (table, pieces, np.int32(len(first) + 1), *[kind(numbers[i]) for i in places], kind(keep)))
    return True


def _kernel(recording: Recording, dtype: str, state: str, name: str) -> tuple[Kernel, list[int]]:
    """The kernel of a recording, and which of the step's numbers it takes."""
    found = recording.kernels.get((dtype, state))
    if found is None:
        tape, outputs = recording.tape, recording.outputs
        names = [f"s{i}" for i in range(tape.inputs - 2)]
        lines, (change, *new) = printed(tape, outputs, ["x", "d", *names])
        last = tape.wanted(outputs)
        places = [value[1] for at, value in enumerate(tape.values) if value[0] == "number" and at in last]
        body = "\n        ".join([*lines, *[f"store(q{i} + i, {value});" for i, value in enumerate(new)],
                                  f"store(p + i, x * keep - {change});"])
        text = FUNCTIONS + _TEXT % {
            "state": C_TYPES[state], "numbers": "".join(f", {ACCUMULATE[dtype]} h{i}" for i in places) + f", {ACCUMULATE[dtype]} keep",
            "piece": PIECE, "pointers": "".join(f"S* q{i} = (S*)row[{i + 2}]; " for i in range(len(names))),
            "loads": "".join(f"A s{i} = load(q{i}[i]); " for i in range(len(names))), "body": body}
        key = (dtype, text)
        if key not in _kernels:
            _kernels[key] = Kernel(f"optimizer_{name}_{digest(text)}", text, (dtype,))
        found = recording.kernels[dtype, state] = _kernels[key], places
    return found


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
