"""Random numbers on arrays: every function draws from a `Generator` and gives the numbers that PyTorch's CPU kernels give.

`draw(gen, a, sampler, *args)` fills an array of any strides. A sampler is a function (gen, n, numpy dtype, *args) -> 1-D array of n
numbers, in the order in which they are drawn. PyTorch goes through memory in order: along the smallest stride first.

All words come from mt19937. Earlier versions of PyTorch drew ``bernoulli_(p)`` (and with it dropout) on Intel processors from a generator
of Intel's MKL, MCG31m1, whose formula Intel publishes; 2.13 does not, and `bernoulli_stream("mcg31")` gives those masks still.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..vocabulary import Array, Function, NumpyDtype
from .door import kernel
from .libm import exp, fma, log, log1p, tan
from .random_normal import fill_normal_blocks, serial_normals

if TYPE_CHECKING:
    from ..generator import Generator

__all__ = ["draw", "uniform", "normal", "exponential", "cauchy", "log_normal", "geometric", "bernoulli", "bernoulli_each", "integers",
           "full_range", "permutation", "bernoulli_stream", "fill_normal", "few_normals", "memory_axes", "CHUNK"]

CHUNK = 1 << 15
# 0-dim arrays: ufuncs take them faster than numbers.
_LOW21 = np.uint32(0x1FFFFF)
_HIGH_SCALE, _LOW_SCALE = 2.0 ** -21, 2.0 ** -53
_LOW24 = np.array(0xFFFFFF, np.uint32)
_SCALE24 = np.array(2.0 ** -24, np.float32)
_DIGITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def memory_axes(a: Array) -> list[int]:
    """The dimensions from the largest stride to the smallest: transposed by these, C order is the order of memory."""
    return sorted(range(a.ndim), key=lambda i: (-abs(a.strides[i]), i))


def draw(gen: Generator, a: Array, sampler: Function, *args: Any) -> None:
    """Fill the array `a` with numbers from a sampler."""
    n = a.size
    if not n:
        return
    with gen.lock:
        if a.flags.c_contiguous:
            flat = a.reshape(-1)
            if n <= CHUNK or sampler in _WHOLE:
                flat[:] = sampler(gen, n, a.dtype, *args)
            else:
                for start in range(0, n, CHUNK):
                    part = flat[start:start + CHUNK]
                    part[:] = sampler(gen, part.size, a.dtype, *args)
        else:
            view = a.transpose(memory_axes(a))
            view[...] = sampler(gen, n, a.dtype, *args).reshape(view.shape)


def through_float32(values: Array, dtype: NumpyDtype) -> Array:
    """Round float64 numbers to a dtype; to the reduced types by way of float32, as C++ conversions go."""
    if dtype.itemsize == 2 and dtype.kind not in "iu":
        values = values.astype(np.float32)
    return values.astype(dtype, copy=False)


# --- continuous -----------------------------------------------------------------------------------------------------------------------

def uniform(gen: Generator, n: int, dtype: NumpyDtype, low: float = 0.0, high: float = 1.0) -> Array:
    """Uniform numbers in [low, high): 24 random bits, for float64 53. What rounds up to `high` becomes `low`."""
    if dtype == np.float64:
        u = gen.doubles(n)
        if low == 0.0 and high == 1.0:
            return u
        values = fma(u, high - low, low)
        return _replaced(values, high, low)
    u = uniform_numbers(gen.words(n), low, high)
    return u if dtype == np.float32 else _replaced(u.astype(dtype, copy=False), dtype.type(np.float32(high)), dtype.type(np.float32(low)))


@kernel
def doubles(words: Array) -> Array:
    """float64 numbers in [0, 1) of 53 bits, from two words each."""
    result = (words[0::2] & _LOW21) * _HIGH_SCALE
    result += words[1::2] * _LOW_SCALE
    return result


@kernel
def uniform_numbers(words: Array, low: float, high: float) -> Array:
    """float32 numbers in [low, high) from a word each."""
    u = np.bitwise_and(words, _LOW24).view(np.int32).astype(np.float32)
    np.multiply(u, _SCALE24, out=u)
    if low == 0.0 and high == 1.0:
        return u
    first, last = np.float32(low), np.float32(high)
    wide = u.astype(np.float64)
    wide *= last - first
    wide += first
    return _replaced(wide.astype(np.float32), last, first)


def _replaced(values: Array, old: Any, new: Any) -> Array:
    """The array with `new` in place of `old`."""
    hit = values == old
    if np.count_nonzero(hit):
        values[hit] = new
    return values


def fill_normal(gen: Generator, a: Array, mean: float, std: float) -> None:
    """Fill an array with normal numbers: contiguous arrays of 16 elements and more by blocks, others one by one."""
    if a.size >= 16 and a.flags.c_contiguous:
        with gen.lock:
            fill_normal_blocks(gen, a.reshape(-1), mean, std)
    else:
        draw(gen, a, normal, mean, std)


def few_normals(gen: Generator, n: int, dtype: NumpyDtype) -> Array:
    """n standard normal numbers, as a fresh contiguous array of n elements gets them."""
    if n < 16:
        return normal(gen, n, dtype, 0.0, 1.0)
    a = np.empty(n, dtype)
    fill_normal_blocks(gen, a, 0.0, 1.0)
    return a


def normal(gen: Generator, n: int, dtype: NumpyDtype, mean: float, std: float) -> Array:
    """Normal numbers one by one, in float64 pairs."""
    return through_float32(serial_normals(gen, n, mean, std), dtype)


def exponential(gen: Generator, n: int, dtype: NumpyDtype, rate: float) -> Array:
    """-log(1 - u) / rate."""
    return through_float32((-1.0 / rate) * log1p(-gen.doubles(n)), dtype)


def cauchy(gen: Generator, n: int, dtype: NumpyDtype, median: float, sigma: float) -> Array:
    """median + sigma * tan(pi (u - 1/2))."""
    return through_float32(fma(tan(math.pi * (gen.doubles(n) - 0.5)), sigma, median), dtype)


def log_normal(gen: Generator, n: int, dtype: NumpyDtype, mean: float, std: float) -> Any:
    """exp of normal numbers."""
    return through_float32(exp(serial_normals(gen, n, mean, std)), dtype)


# --- discrete -------------------------------------------------------------------------------------------------------------------------

def geometric(gen: Generator, n: int, dtype: NumpyDtype, p: float) -> Any:
    """How many trials of chance p the first success takes: ceil(log(u) / log(1 - p))."""
    values = np.ceil(log(gen.doubles(n)) / math.log1p(-p))
    return values.astype(np.int64).astype(dtype) if dtype.kind in "iu" else through_float32(values, dtype)


def integers(gen: Generator, n: int, dtype: NumpyDtype, low: int, span: int) -> Array:
    """Integers in [low, low + span): a word modulo the span, a 64-bit word from spans of 2**28 on."""
    if span >= 1 << 28:
        values = gen.longs(n)
        if span < 1 << 64:
            values -= values // np.uint64(span) * np.uint64(span)
        if low:
            values += np.uint64(low % 2 ** 64)
        values = values.view(np.int64)
        return values if dtype == np.int64 else _from_integers(values, dtype)
    values = remainders(gen.words(n), span, low)
    return values if dtype == np.int64 else _from_integers(values, dtype)


@kernel
def remainders(words: Array, span: int, low: int) -> Array:
    """low + word % span as int64, for spans below 2**28."""
    # Twice as fast as the remainder: NumPy divides by a constant without a division.
    divisor = np.array(span, np.uint32)
    values = words // divisor
    np.multiply(values, divisor, out=values)
    values = np.subtract(words, values, dtype=np.int64)
    if low:
        values += low
    return values


def _from_integers(values: Array, dtype: NumpyDtype) -> Any:
    if dtype.kind == "f" or dtype.kind == "V" or dtype.name == "bfloat16":
        return through_float32(values, dtype)
    return values.astype(dtype)


def full_range(gen: Generator, n: int, dtype: NumpyDtype) -> Array:
    """Integers over what the dtype can count: 0 ... max for integers, 0 ... 2**digits for floats."""
    if dtype == np.bool_:
        return (gen.words(n) & np.uint32(1)).astype(np.bool_)
    if dtype.kind in "iu":
        if dtype.itemsize == 8:
            return (gen.longs(n) & np.uint64(2 ** 63 - 1)).astype(dtype)
        return (gen.words(n) % np.uint32(int(np.iinfo(dtype).max) + 1)).astype(dtype)
    span = (1 << _DIGITS[dtype.name]) + 1
    values = gen.longs(n) % np.uint64(span) if dtype == np.float64 else gen.words(n) % np.uint32(span)
    return through_float32(values, dtype)


# --- yes or no ------------------------------------------------------------------------------------------------------------------------

_stream = "mt19937"
_MCG_MODULUS, _MCG_MULTIPLIER = (1 << 31) - 1, 1132489760
_mcg_powers: Any = None


def bernoulli_stream(name: str | None = None) -> str:
    """Which stream ``bernoulli_(p)`` draws from: "mt19937", or "mcg31" as earlier PyTorch did on Intel processors. With a name: choose
    it."""
    global _stream
    if name is not None:
        if name not in ("mt19937", "mcg31"):
            raise ValueError(f"bernoulli_stream() expects 'mt19937' or 'mcg31', got {name!r}")
        _stream = name
    return _stream


def bernoulli(gen: Generator, n: int, dtype: NumpyDtype, p: float) -> Array:
    """1 with probability p."""
    if _stream == "mcg31":
        return _mcg_uniform(int(gen.words(1)[0]), n) < p
    return below(gen.words(2 * n), float(p))


@kernel
def below(words: Array, p: float | Array) -> Array:
    """Whether float64 numbers (of two words each) are below p, or float32 numbers (of a word each) below the elements of an array."""
    if p.__class__ is float:
        return doubles(words) < p
    return (words & _LOW24).view(np.int32).astype(np.float32) * _SCALE24 < p


def _mcg_uniform(seed: int, n: int) -> Array:
    """n uniform numbers of MKL's MCG31m1: x[k + 1] = a x[k] mod (2**31 - 1), from x[0] = seed on (its notes for VSL describe it)."""
    global _mcg_powers
    if _mcg_powers is None:
        powers = [1]
        while len(powers) < 4096:
            powers.append(powers[-1] * _MCG_MULTIPLIER % _MCG_MODULUS)
        _mcg_powers = np.array(powers, np.uint64)
    x = seed % _MCG_MODULUS or 1
    result = np.empty(n)
    leap = pow(_MCG_MULTIPLIER, 4096, _MCG_MODULUS)
    for start in range(0, n, 4096):
        part = result[start:start + 4096]
        part[:] = _mcg_powers[:part.size] * np.uint64(x) % np.uint64(_MCG_MODULUS)
        x = x * leap % _MCG_MODULUS
    result /= _MCG_MODULUS
    return result


def bernoulli_each(gen: Generator, n: int, dtype: NumpyDtype, p: Array) -> Array:
    """1 with the probability of the element of `p` (1-D): 24 random bits each, 53 where p is float64."""
    if p.dtype == np.float64:
        return gen.doubles(n) < p
    return below(gen.words(n), np.ascontiguousarray(p, np.float32))


# --- permutations ---------------------------------------------------------------------------------------------------------------------

def permutation(gen: Generator, n: int) -> Array:
    """A random permutation of 0 ... n - 1 (int64): for each i, place i changes with place i + word % (n - i)."""
    with gen.lock:
        if n < 2:
            return np.arange(n)
        words = gen.words(n - 1) if n < (2 ** 32 - 1) // 20 else gen.longs(n - 1)
    return swapped(words)


@kernel
def swapped(words: Array) -> Array:
    """The numbers 0 ... n - 1, of which place i has changed with place i + words[i] % (n - i); n is one more than the words."""
    n = len(words) + 1
    targets = words % np.arange(n, 1, -1, dtype=words.dtype)
    if n <= 64:
        places = list(range(n))
        for i, t in enumerate(targets.tolist()):
            t += i
            places[i], places[t] = places[t], places[i]
        return np.array(places)
    return _follow_swaps(targets.astype(np.int64) + np.arange(n - 1), n)


def _follow_swaps(targets: Any, n: int) -> Any:
    """Where the swaps (0, t[0]), (1, t[1]), ... with t[i] >= i lead, without a loop over them.

    Place t[i] holds, at step i, what the last step j < i with the same target put there: what place j held at step j. Place i itself was
    last written by the last step j < i with t[j] = i. Following these links (each to a smaller step) to their ends gives the values.
    """
    steps = np.arange(n - 1)
    shift = n.bit_length()
    if 2 * shift < 63:
        keys = np.sort((targets << shift) | steps)         # by target, then by step
        order, sorted_targets = keys & ((1 << shift) - 1), keys >> shift
    else:
        order = np.argsort(targets, kind="stable")
        sorted_targets = targets[order]
    # Per step: the last earlier step with the same target, or n + target where there is none.
    earlier = sorted_targets + n
    same = sorted_targets[1:] == sorted_targets[:-1]
    earlier[1:] = np.where(same, order[:-1], earlier[1:])
    before = np.empty(n, np.int64)
    before[order] = earlier
    # Per place: the last step that wrote to it before its own step; itself where none did.
    links = np.arange(n)
    links[targets] = steps
    own = np.flatnonzero(targets == steps)
    links[own] = np.where(before[own] < n, before[own], own)
    while True:
        further = links[links]
        if np.array_equal(further, links):
            break
        links = further
    # The last place has no step: it keeps what was last written there.
    before[n - 1] = n - 1
    return np.concatenate((links, np.arange(n)))[before]


# Samplers that must see all of an array at once: their draws are not simply one after the other.
_WHOLE = {bernoulli, bernoulli_each, normal, log_normal}
