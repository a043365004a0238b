"""Elementwise kernels made from formulas: one pass over memory, 16 bytes per thread at a time where the operands are dense.

    gelu = Formula("gelu", "x * (A)0.5 * ((A)1 + erf_(x * (A)0.70710678118654752))")
    gelu(array) -> array

A formula is C++ text over x, y, z, w of the arithmetic type A (float, double for float64), or is printed from what a function of arrays
does to symbols (`formula_of`). Operands are arrays of one floating dtype that broadcast, or numbers, which are passed to the kernel by
value; float16 or bfloat16 arrays may stand beside float32 ones, and the result is float32 then.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from ...vocabulary import Array, Function
from ..formula import Tape, trace
from ..shapes import broadcast_shapes
from . import driver
from .source import ACCUMULATE, C_TYPES, THREADS, Kernel, blocks

__all__ = ["Formula", "formula_of", "printed", "digest", "FORMULAS", "UFUNCS"]

NAMES = "xyzwuv"
FLOATS = ("float16", "bfloat16", "float32", "float64")
FORMULAS: dict[str, Formula] = {}
# operands of a kernel: the dtype's own arrays (a), numbers (n), 16-bit arrays
_LETTERS = {"float32": "a", "float16": "h", "bfloat16": "b"}
_ELEMENTS = {"a": "T", "h": C_TYPES["float16"], "b": C_TYPES["bfloat16"]}

# Functions that differ by precision, and PyTorch's rules for nan, spelled out once.
FUNCTIONS = "".join(f"__device__ __forceinline__ float {name}_(float x) {{ return {name}f(x); }}\n"
                    f"__device__ __forceinline__ double {name}_(double x) {{ return {name}(x); }}\n"
                    for name in ("exp2", "expm1", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
                                 "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "floor", "ceil", "trunc", "rint", "fabs", "cbrt", "lgamma")) + r"""
__device__ __forceinline__ float fmod_(float x, float y) { return fmodf(x, y); }
__device__ __forceinline__ double fmod_(double x, double y) { return fmod(x, y); }
__device__ __forceinline__ float atan2_(float x, float y) { return atan2f(x, y); }
__device__ __forceinline__ double atan2_(double x, double y) { return atan2(x, y); }
__device__ __forceinline__ float hypot_(float x, float y) { return hypotf(x, y); }
__device__ __forceinline__ double hypot_(double x, double y) { return hypot(x, y); }
__device__ __forceinline__ float min_(float a, float b) { return -max_(-a, -b); }
__device__ __forceinline__ double min_(double a, double b) { return -max_(-a, -b); }
__device__ __forceinline__ float copysign_(float x, float y) { return copysignf(x, y); }
__device__ __forceinline__ double copysign_(double x, double y) { return copysign(x, y); }
template <class A> __device__ __forceinline__ A sign_(A x) { return x != x ? x : (A)((x > (A)0) - (x < (A)0)); }
template <class A> __device__ __forceinline__ A remainder_(A x, A y) {       // the sign of the divisor, as Python has it
    A r = fmod_(x, y);
    return r != (A)0 && ((r < (A)0) != (y < (A)0)) ? r + y : r;
}
template <class A> __device__ __forceinline__ A logaddexp_(A a, A b) {
    A top = max_(a, b), low = min_(a, b);
    return top == low && (top - top != (A)0) ? top : top + log1p_(exp_(low - top));
}
"""

_DENSE = r"""
struct __align__(%(align)d) Pack { T v[%(width)d]; };
struct __align__(%(out_align)d) OutPack { O v[%(width)d]; };
extern "C" __global__ void kernel(%(parameters)s, O* out, long long n) {
    long long i = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * %(width)d;
    if (i >= n) return;
    bool aligned = %(aligned)s;
    if (aligned && i + %(width)d <= n) {
        %(packs)s
        OutPack r;
        for (int k = 0; k < %(width)d; k++) { %(loads)s %(before)s store(&r.v[k], (%(formula)s)); }
        *(OutPack*)(out + i) = r;
    } else {
        for (long long j = i; j < n && j < i + %(width)d; j++) { %(scalar_loads)s %(before)s store(out + j, (%(formula)s)); }
    }
}
"""

_STRIDED = r"""
extern "C" __global__ void kernel(%(parameters)s, O* out, long long n, %(geometry)s) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long rest = i, at;
    %(offsets)s
    %(walk)s
    %(loads)s %(before)s
    store(out + i, (%(formula)s));
}
"""
_STORE_BOOL = "__device__ __forceinline__ void store(bool* p, bool v) { *p = v; }\n"


class Formula:
    """A formula and the kernels that were made of it, by dtype and by the kinds of its operands."""

    def __init__(self, name: str, text: str, inputs: int | None = None, result: str = "", before: str = "") -> None:
        self.name, self.text, self.result, self.before = name, text, result, before     # result: "bool", or "" for the operands' dtype
        self.inputs = inputs if inputs is not None else sum(f"{each}" in _variables(text) for each in NAMES)
        self._kernels: dict[tuple[Any, ...], Kernel] = {}
        FORMULAS[name] = self

    def __call__(self, *operands: Any, out: Array | None = None) -> Array:
        """The result (a cupy array) for cupy arrays and numbers; NotImplemented for what has no kernel."""
        first = None
        numbers = ""
        for each in operands:
            if each.__class__ is driver.array_class:
                if first is None:
                    first = each
                elif each.dtype != first.dtype:
                    return self._mixed(operands, out)
                numbers += "a"
            else:
                numbers += "n"
        if first is None or first.dtype.name not in FLOATS:
            return NotImplemented
        arrays = [each for each in operands if each.__class__ is driver.array_class]
        shape = first.shape
        if any(each.shape != shape for each in arrays):
            shape = broadcast_shapes(*[each.shape for each in arrays])
        module = driver.needed()
        dtype = np.dtype(bool) if self.result else first.dtype
        if out is not None and (out.dtype != dtype or out.shape != shape):
            return NotImplemented
        same = all(each.shape == shape and each.strides == first.strides for each in arrays)
        dense = same and (first.flags.c_contiguous or first.flags.f_contiguous
                          or _is_dense(first)) and (out is None or out.strides == first.strides
                                                                                                  or dtype != first.dtype and _same_order(out, first))
        if dense:
            r = module.empty_like(first, dtype) if out is None else out
            if r.size:
                self._dense(first.dtype.name, numbers, operands, r)
            return r
        r = module.empty(shape, dtype) if out is None or not out.flags.c_contiguous else out
        if r.size and not self._strided(first.dtype.name, numbers, operands, shape, r):
            return NotImplemented
        if out is not None and r is not out:
            out[...] = r
            return out
        return r

    def _mixed(self, operands: tuple[Any, ...], out: Array | None) -> Array:
        """float32 arrays beside 16-bit ones: each is read as it is."""
        module, letters = driver.needed(), ""
        arrays = [each for each in operands if each.__class__ is driver.array_class]
        for each in operands:
            letter = _LETTERS.get(each.dtype.name) if each.__class__ is driver.array_class else "n"
            if letter is None:
                return NotImplemented
            letters += letter
        if "a" not in letters or out is not None:
            return NotImplemented
        shape = broadcast_shapes(*[each.shape for each in arrays])
        steps = [each.strides if each.dtype.itemsize == 4 else tuple([2 * step for step in each.strides]) for each in arrays]
        first = next(each for each in arrays if each.dtype.itemsize == 4)
        dtype = np.dtype(bool) if self.result else first.dtype
        if all(each.shape == shape for each in arrays) and len(set(steps)) == 1 and (first.flags.c_contiguous or _is_dense(first)):
            r = module.empty_like(first, dtype)
            if r.size:
                self._dense("float32", letters, operands, r)
            return r
        r = module.empty(shape, dtype)
        if r.size and not self._strided("float32", letters, operands, shape, r):
            return self(*[each.astype(np.float32) if each.__class__ is driver.array_class else each for each in operands])
        return r

    # --- launching ------------------------------------------------------------------------------------------------------------------

    def _values(self, dtype: str, operands: tuple[Any, ...]) -> list[Array | np.floating[Any]]:
        number = np.float64 if dtype == "float64" else np.float32
        return [each if each.__class__ is driver.array_class else number(each) for each in operands]

    def _dense(self, dtype: str, numbers: str, operands: tuple[Any, ...], r: Array) -> None:
        kernel = self._kernel(dtype, numbers, -1)
        width = _width(dtype)
        kernel(dtype)((blocks(-(-r.size // width)),), (THREADS,), (*self._values(dtype, operands), r, np.int64(r.size)))

    def _strided(self, dtype: str, numbers: str, operands: tuple[Any, ...], shape: tuple[int, ...], r: Array) -> bool:
        sizes, steps = _collapsed(shape, [each for each in operands if each.__class__ is driver.array_class])
        if len(sizes) > 6:
            return False
        kernel = self._kernel(dtype, numbers, len(sizes))
        geometry = [np.int64(n) for n in sizes[1:]] + [np.int64(step) for each in steps for step in each]
        kernel(dtype)((blocks(r.size),), (THREADS,), (*self._values(dtype, operands), r, np.int64(r.size), *geometry))
        return True

    def _kernel(self, dtype: str, numbers: str, ndim: int) -> Kernel:
        key = (dtype, numbers, ndim)
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = Kernel(f"{self.name}_{numbers}_{'dense' if ndim < 0 else ndim}", self.source(dtype, numbers, ndim),
                                                (dtype,))
        return found

    # --- source ---------------------------------------------------------------------------------------------------------------------

    def source(self, dtype: str, numbers: str, ndim: int) -> str:
        """The kernel's text; ndim -1: the dense form."""
        arrays = [i for i, each in enumerate(numbers) if each != "n"]
        parameters = ", ".join(f"const {_ELEMENTS[each]}* __restrict__ p{i}" if each != "n" else f"{ACCUMULATE[dtype]} {NAMES[i]}"
                               for i, each in enumerate(numbers))
        result = f"typedef {'bool' if self.result else C_TYPES[dtype]} O;\n"
        head = FUNCTIONS + (_STORE_BOOL if self.result else "") + result
        if ndim < 0:
            width = _width(dtype)
            size = np.dtype(bool).itemsize if self.result else {"float64": 8, "float32": 4}.get(dtype, 2)
            item = {"float64": 8, "float32": 4}.get(dtype, 2)
            packs = "".join(f"struct __align__({width * 2}) Pack_{_ELEMENTS[each]} {{ {_ELEMENTS[each]} v[{width}]; }};\n"
                            for each in sorted(set(numbers) - {"a", "n"}))
            return head + packs + _DENSE % {
                "align": width * item, "out_align": width * size, "width": width, "parameters": parameters, "formula": self.text,
                "before": self.before, "aligned": " && ".join([f"!((unsigned long long)p{i} & "
                                                               f"{width * (item if numbers[i] == 'a' else 2) - 1})" for i in arrays]
                                       + [f"!((unsigned long long)out & {width * size - 1})"]),
                "packs": " ".join(f"{pack} q{i} = *(const {pack}*)(p{i} + i);" for i in arrays
                                  for pack in ["Pack" if numbers[i] == "a" else f"Pack_{_ELEMENTS[numbers[i]]}"]),
                "loads": " ".join(f"A {NAMES[i]} = load(q{i}.v[k]);" for i in arrays),
                "scalar_loads": " ".join(f"A {NAMES[i]} = load(p{i}[j]);" for i in arrays)}
        geometry = ", ".join([f"long long n{d}" for d in range(1, ndim)] + [f"long long s{i}_{d}" for i in arrays for d in range(ndim)])
        walk = "\n    ".join(f"at = rest % n{d}; rest /= n{d}; " + " ".join(f"o{i} += at * s{i}_{d};" for i in arrays)
                             for d in range(ndim - 1, 0, -1))
        walk += "\n    " + " ".join(f"o{i} += rest * s{i}_0;" for i in arrays)
        return head + _STRIDED % {
            "parameters": parameters, "geometry": geometry, "walk": walk, "formula": self.text, "before": self.before,
            "offsets": "long long " + ", ".join(f"o{i} = 0" for i in arrays) + ";",
            "loads": " ".join(f"A {NAMES[i]} = load(p{i}[o{i}]);" for i in arrays)}


def _variables(text: str) -> set[str]:
    return set(re.findall(r"\b[a-z]\b", text))


def _width(dtype: str) -> int:
    """Elements per thread: 16 bytes."""
    return {"float64": 2, "float32": 4}.get(dtype, 8)


def _is_dense(a: Array) -> bool:
    """Whether the elements fill their memory without gaps, in some order of dimensions."""
    reached = a.itemsize
    for step, n in sorted((s, n) for s, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if step != reached:
            return False
        reached *= n
    return True


def _same_order(a: Array, b: Array) -> bool:
    return tuple(s // a.itemsize for s in a.strides) == tuple(s // b.itemsize for s in b.strides)


def _collapsed(shape: tuple[int, ...], arrays: Sequence[Array]) -> tuple[list[int], list[list[int]]]:
    """Sizes and strides (in elements) with neighbouring dimensions merged where all arrays allow it."""
    extra = [[0] * (len(shape) - a.ndim) + [0 if n == 1 else s // a.itemsize for s, n in zip(a.strides, a.shape, strict=True)]
             for a in arrays]
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in arrays]
    for d, n in enumerate(shape):
        if n == 1:
            continue
        if sizes and all(s[-1] == e[d] * n for s, e in zip(steps, extra, strict=True)):
            sizes[-1] *= n
            for s, e in zip(steps, extra, strict=True):
                s[-1] = e[d]
        else:
            sizes.append(n)
            for s, e in zip(steps, extra, strict=True):
                s.append(e[d])
    return (sizes, steps) if sizes else ([1], [[0] for _ in arrays])


# --- formulas from functions of arrays ----------------------------------------------------------------------------------------------------

def _substitute(text: str, values: dict[str, str]) -> str:
    """The text with its variables replaced, all at once."""
    return re.sub(r"\b[a-z]\b", lambda found: values.get(found.group(), found.group()), text)


def spelled(number: float) -> str:
    """A number as C++ text."""
    if number != number:
        return "(A)(0.0/0.0)"
    if number in (np.inf, -np.inf):
        return f"({'-' if number < 0 else ''}infinity_<A>())"
    return f"((A){number!r})"


def takes(name: str) -> bool:
    """Whether there is a text for an op."""
    return name in FORMS


def printed(tape: Tape, outputs: list[int], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """(statements, an expression per output) of what is on a tape: values that are used more than once are variables; numbers are h0, h1,
    ...

    names    the variables that hold the inputs
    """
    last = tape.wanted(outputs)
    uses = Counter(each for at in last for each in tape.values[at][1:] if tape.values[at][0] not in ("input", "constant", "number"))
    uses.update(outputs)
    text: dict[int, str] = {}
    lines = []
    for at, (name, *operands) in enumerate(tape.values):
        if at not in last:
            continue
        if name == "input":
            text[at] = names[operands[0]]
        elif name == "constant":
            text[at] = spelled(float.fromhex(operands[0]))
        elif name == "number":
            text[at] = f"h{operands[0]}"
        else:
            text[at] = f"({_substitute(FORMS[name], dict(zip(NAMES, [text[each] for each in operands], strict=False)))})"
            if uses[at] > 1:
                lines.append(f"{'bool' if tape.flags[at] else 'A'} t{at} = {text[at]};")
                text[at] = f"t{at}"
    return lines, [text[at] for at in outputs]


# ufunc -> formula. x and y are the operands; what compares gives bool.
UFUNCS = {
    "add": "x + y", "subtract": "x - y", "multiply": "x * y", "divide": "x / y", "true_divide": "x / y", "power": "pow_(x, y)",
    "negative": "-x", "absolute": "fabs_(x)", "fabs": "fabs_(x)", "sqrt": "sqrt_(x)", "square": "x * x", "reciprocal": "(A)1 / x",
    "maximum": "max_(x, y)", "minimum": "min_(x, y)", "sign": "sign_(x)", "remainder": "remainder_(x, y)", "fmod": "fmod_(x, y)",
    "arctan2": "atan2_(x, y)", "hypot": "hypot_(x, y)", "copysign": "copysign_(x, y)", "logaddexp": "logaddexp_(x, y)",
    "arcsin": "asin_(x)", "arccos": "acos_(x)", "arctan": "atan_(x)", "arcsinh": "asinh_(x)", "arccosh": "acosh_(x)",
    "arctanh": "atanh_(x)", **{name: f"{name}_(x)" for name in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos",
                                                                "tan", "sinh", "cosh", "tanh", "floor",
                                        "ceil", "trunc", "rint", "cbrt")},
}
COMPARISONS = {"less": "x < y", "less_equal": "x <= y", "greater": "x > y", "greater_equal": "x >= y", "equal": "x == y",
               "not_equal": "x != y", "isnan": "x != x", "isinf": "x == infinity_<A>() || x == -infinity_<A>()",
               "isfinite": "x - x == (A)0"}

for _name, _text in UFUNCS.items():
    Formula(_name, _text)
for _name, _text in COMPARISONS.items():
    Formula(_name, _text, result="bool")
UFUNCS |= COMPARISONS

# What formulas call beside ufuncs. Truth values are combined by NumPy's stand-in where they are arrays; sign is PyTorch's: 0 for nan.
FORMS = UFUNCS | {"logical_and": "x && y", "logical_or": "x || y", "logical_not": "!x", "bitwise_and": "x && y", "bitwise_or": "x || y",
                  "logical_xor": "x != y", "bitwise_xor": "x != y", "invert": "!x", "where": "x ? y : z", "copy": "x",
                  "sign": "(A)(x > (A)0) - (A)(x < (A)0)", "sgn": "(A)(x > (A)0) - (A)(x < (A)0)", "erf": "erf_(x)", "erfc": "erfc_(x)",
                  "lgamma": "lgamma_(x)", "rsqrt": "rsqrt_(x)"}

# Ops that NumPy has no ufunc for, and that are no formula.
for _name, _text in {"rsqrt": "rsqrt_(x)", "erf": "erf_(x)", "erfc": "erfc_(x)", "lgamma": "lgamma_(x)"}.items():
    Formula(_name, _text)


def formula_of(function: Function, inputs: int, name: str = "formula") -> Formula | None:
    """The formula of a function of arrays, with a name that ends in a digest of its text; None for what asks for more than arithmetic."""
    found = trace(function, inputs, takes) if hasattr(function, "__code__") else None
    if found is None:
        return None
    tape, outputs = found
    lines, results = printed(tape, outputs, NAMES)
    if len(results) > 1:
        return None
    name = f"{name}_{digest(*lines, *results, str(inputs))}"
    return FORMULAS.get(name) or Formula(name, results[0], inputs, "bool" if tape.flags[outputs[0]] else "", " ".join(lines))


def digest(*texts: str) -> str:
    """Eight letters and digits that stand for texts: what is on disk under a kernel's name stays valid as long as its text does."""
    return sha256("\0".join(texts).encode()).hexdigest()[:8]
