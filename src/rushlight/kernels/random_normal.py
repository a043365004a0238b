"""Normal numbers on arrays, bit for bit those of PyTorch's CPU kernels.

PyTorch has two ways. Contiguous tensors of 16 elements and more go by blocks of 16: eight uniform numbers give the radii and eight the
angles of the Box-Muller transform. In float32 it computes with AVX2 instructions: Moshier's polynomials (Cephes ``logf``, ``sinf``,
``cosf``) with fused multiply-adds. Everything else goes element by element, in float64 pairs, of which the second is kept for later.

A fused multiply-add of float32 numbers is float64 arithmetic that is rounded to float32 once: the product of two float32 is exact in
float64. (The sum is rounded to 53 bits first; that this changes the result has a chance of about 2**-29 per operation.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..vocabulary import Array
from . import native
from .libm import cos_sin, fma, fma32, log, log1p

if TYPE_CHECKING:
    from ..generator import Generator

__all__ = ["fill_normal_blocks", "serial_normals"]

_CHUNK = 16384         # pairs per pass: the work arrays stay in the second-level cache
# 0-dim arrays: ufuncs take them faster than numbers.
_LOW24 = np.array(0xFFFFFF, np.uint32)
_ONE24 = np.array(1 << 24, np.int32)
_SCALE24 = np.array(2.0 ** -24, np.float32)
_TWO_PI = np.array(2 * math.pi, np.float32)
_ONE, _MINUS_TWO = np.array(1, np.float32), np.array(-2, np.float32)
_I1, _I2, _I4, _I23, _I29, _I30, _I31, _BIAS, _MANTISSA, _EVEN = (
    np.array(i, np.int32) for i in (1, 2, 4, 23, 29, 30, 31, 127, 0x7FFFFF, -2))
_native_blocks = getattr(native.library, "normal_blocks", None)       # native/random.cpp: the same roundings
_DIRECT = 312          # words from which on numbers are computed for the request alone, not for the whole block
_BLOCK = 624


def _f64(value: float) -> Array:
    """A float32 constant in float64."""
    return np.array(np.float32(value), np.float64)


def _magic(ulp_exponent: int) -> float:
    """Adding and subtracting this rounds a (small) float64 to a multiple of 2**ulp_exponent."""
    return 1.5 * 2.0 ** (52 + ulp_exponent)


# Cephes logf: log(1 + x) = x - x*x/2 + x*x*x * P(x) on [sqrt(1/2) - 1, sqrt(2) - 1].
_LOG_FIRST, *_LOG = [_f64(c) for c in (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1,
    -2.4999993993e-1, 3.3333331174e-1)]
_LN2_LOW, _LN2_HIGH = np.array(-2.12194440e-4, np.float32), _f64(0.693359375)
_HALF = np.array(0.5)
_SQRT_HALF_BITS = np.array(math.sqrt(0.5), np.float32).view(np.int32)
_ONE_MINUS_SQRT_HALF_BITS = np.array(_ONE.view(np.int32) - _SQRT_HALF_BITS)
# Cephes sinf/cosf: pi/4 in parts (three there, two here), and polynomials on [-pi/4, pi/4]. The sums of the polynomials' first steps stay
# within one power of two, so that `c + magic`, then `- magic` is the multiply-add's one rounding to float32.
_FOUR_OVER_PI = np.array(4 / math.pi, np.float32)
_PI4_HIGH, _PI4_LOW = np.array(0.78515625 + 2.4187564849853515625e-4), _f64(3.77489497744594108e-8)


def _step(c: float, ulp_exponent: int) -> tuple[Any, Any]:
    magic = _magic(ulp_exponent)
    return np.array(float(np.float32(c)) + magic), np.array(magic)


_COS_FIRST, _COS_1, _COS_2 = _f64(2.443315711809948e-5), _step(-1.388731625493765e-3, -33), _step(4.166664568298827e-2, -28)
_SIN_FIRST, _SIN_1, _SIN_2 = _f64(-1.9515295891e-4), _step(8.3321608736e-3, -30), _step(-1.6666654611e-1, -26)


class _Work:
    """Work arrays for one chunk of pairs."""

    def __init__(self, n: int) -> None:
        self.i, self.j, self.k = (np.empty(n, np.int32) for _ in range(3))
        self.f, self.g, self.h = (np.empty(n, np.float32) for _ in range(3))
        self.x, self.y, self.z, self.t = (np.empty(n, np.float64) for _ in range(4))


def _log(u: Array, w: _Work) -> Array:
    """log of float32 numbers in (0, 1], as the AVX2 kernel rounds it. Overwrites u's bits; the result is w.g."""
    bits, e, x, y, z, t, f, g = u.view(np.int32), w.i, w.x, w.y, w.z, w.t, w.f, w.g
    np.add(bits, _ONE_MINUS_SQRT_HALF_BITS, out=bits)
    np.right_shift(bits, _I23, out=e)
    np.subtract(e, _BIAS, out=e)                                    # u = m * 2**e with m in [sqrt(1/2), sqrt(2))
    np.bitwise_and(bits, _MANTISSA, out=bits)
    np.add(bits, _SQRT_HALF_BITS, out=bits)                       # m
    np.subtract(u, _ONE, out=f)                          # x, exact
    np.copyto(x, f)
    np.multiply(f, f, out=g)
    np.copyto(z, g)
    np.multiply(x, _LOG_FIRST, out=y)
    for c in _LOG[:-1]:
        np.add(y, c, out=y)
        np.copyto(g, y, casting="same_kind")
        np.multiply(g, x, out=y)
    np.add(y, _LOG[-1], out=y)
    np.copyto(g, y, casting="same_kind")
    np.multiply(g, f, out=g)
    np.copyto(y, g)
    np.copyto(g, e, casting="unsafe")                             # the exponent as a float
    np.copyto(t, g)
    np.multiply(g, _LN2_LOW, out=g)
    np.multiply(y, z, out=y)
    np.add(y, g, out=y)
    np.copyto(g, y, casting="same_kind")
    np.multiply(z, _HALF, out=z)
    np.subtract(g, z, out=z)
    np.copyto(g, z, casting="same_kind")
    np.add(f, g, out=g)
    np.multiply(t, _LN2_HIGH, out=t)
    np.add(t, g, out=t)
    np.copyto(g, t, casting="same_kind")
    return g


def _sin_cos(theta: Array, w: _Work) -> tuple[Any, Any]:
    """(sin, cos) of float32 angles in [0, 2 pi], as the AVX2 kernel rounds them; the results are w.h and w.f (theta is overwritten)."""
    j, mask, x, y, z, t, f, h = w.i, w.k, w.x, w.y, w.z, w.t, w.f, w.h
    np.multiply(theta, _FOUR_OVER_PI, out=f)
    np.copyto(j, f, casting="unsafe")
    np.add(j, _I1, out=j)
    np.bitwise_and(j, _EVEN, out=j)                                  # the octant, made even
    np.copyto(x, theta)
    np.copyto(y, j)
    # The subtraction of the first part is exact in float32, so that its rounding comes with the second part's.
    for part in (_PI4_HIGH, _PI4_LOW):
        np.multiply(y, part, out=t)
        np.subtract(x, t, out=x)
        np.copyto(h, x, casting="same_kind")
        np.copyto(x, h)
    np.multiply(h, h, out=f)
    np.copyto(z, f)
    _polynomial(_COS_FIRST, _COS_1, _COS_2, z, t, f)
    np.multiply(f, z, out=t)
    np.multiply(z, _HALF, out=y)
    np.subtract(t, y, out=t)
    np.copyto(f, t, casting="same_kind")
    np.add(f, _ONE, out=f)                               # cos(x)
    _polynomial(_SIN_FIRST, _SIN_1, _SIN_2, z, t, theta)
    np.multiply(theta, x, out=t)
    np.add(t, x, out=t)
    np.copyto(h, t, casting="same_kind")                          # sin(x)
    _swap_and_sign(h.view(np.int32), f.view(np.int32), j, mask, w.j)
    return h, f


def _polynomial(first: Array, step1: tuple[Array, ...], step2: tuple[Array, ...], z: Array, t: Array, out: Array) -> None:
    """((first*z + c1)*z + c2)*z, each step rounded to float32, into a float32 array."""
    np.multiply(z, first, out=t)
    for shifted, magic in (step1, step2):
        np.add(t, shifted, out=t)
        np.subtract(t, magic, out=t)
        np.multiply(t, z, out=t)
    np.copyto(out, t, casting="same_kind")


def _swap_and_sign(s: Array, c: Array, j: Array, mask: Array, other: Array) -> None:
    """Exchange sine and cosine in every other octant, and give them their signs (on the bits of the floats)."""
    np.left_shift(j, _I30, out=mask)
    np.right_shift(mask, _I31, out=mask)                            # -1 where octant & 2
    np.bitwise_xor(s, c, out=other)
    np.bitwise_and(other, mask, out=other)
    np.bitwise_xor(s, other, out=s)
    np.bitwise_xor(c, other, out=c)
    np.bitwise_and(j, _I4, out=mask)
    np.left_shift(mask, _I29, out=mask)
    np.bitwise_xor(s, mask, out=s)
    np.add(j, _I2, out=j)
    np.bitwise_and(j, _I4, out=j)
    np.left_shift(j, _I29, out=j)
    np.bitwise_xor(c, j, out=c)


def _radius(words: Array, w: _Work) -> Array:
    """sqrt(-2 log(1 - u)) for the uniform number u of each word."""
    np.bitwise_and(words, _LOW24, out=w.k.reshape(words.shape), casting="unsafe")
    np.subtract(_ONE24, w.k, out=w.k)
    np.copyto(w.h, w.k, casting="unsafe")
    np.multiply(w.h, _SCALE24, out=w.h)
    radius = _log(w.h, w)
    np.multiply(radius, _MINUS_TWO, out=radius)
    return np.sqrt(radius, out=radius)


def _angle(words: Array, w: _Work) -> tuple[Any, Any]:
    """(sin, cos) of 2 pi u for the uniform number u of each word."""
    np.bitwise_and(words, _LOW24, out=w.k.reshape(words.shape), casting="unsafe")
    theta = w.k.astype(np.float32)
    np.multiply(theta, _SCALE24, out=theta)
    np.multiply(theta, _TWO_PI, out=theta)
    return _sin_cos(theta, w)


def _transform(words: Array, out: Array) -> None:
    """Unit normal float32 numbers from 16 words per block; both arrays hold whole blocks."""
    if _native_blocks is not None:
        _native_blocks(words, out)
        return
    words, out = words.reshape(-1, 2, 8), out.reshape(-1, 2, 8)
    blocks = _CHUNK // 8
    w = _Work(min(len(words), blocks) * 8)
    for start in range(0, len(words), blocks):
        part = words[start:start + blocks]
        n = len(part) * 8
        if n != w.i.size:
            w = _Work(n)
        radius = _radius(part[:, 0], w).reshape(-1, 8)
        sin, cos = _angle(part[:, 1], w)
        np.multiply(radius, cos.reshape(-1, 8), out=out[start:start + blocks, 0])
        np.multiply(radius, sin.reshape(-1, 8), out=out[start:start + blocks, 1])


def _polar_table(gen: Generator) -> Array:
    """Radius, cosine and sine that each word of the generator's current block would give, as a (3, 624) array."""
    table = gen.polar = np.empty((3, _BLOCK), np.float32)
    w = _Work(_BLOCK)
    table[0] = _radius(gen.block, w)
    table[2], table[1] = _angle(gen.block, w)
    return table


def _polar(gen: Generator, n: int) -> Array:
    """The (3, n) array of radius, cosine and sine of the next n words.

    One small draw costs as much to compute as a whole block of words: so all of the block is computed, and small draws share it.
    """
    start = gen.position
    end = start + n
    if end <= _BLOCK:
        gen.position = end
        table = gen.polar
        return (_polar_table(gen) if table is None else table)[:, start:end]
    if start == _BLOCK:
        gen.next_block()
        gen.position = n
        return _polar_table(gen)[:, :n]
    rest = (_polar_table(gen) if gen.polar is None else gen.polar)[:, start:]
    gen.next_block()
    gen.position = n - rest.shape[1]
    return np.concatenate((rest, _polar_table(gen)[:, :gen.position]), axis=1)


def _few_blocks(polar: Array, out: Array) -> None:
    """Unit normal numbers from the polar numbers of whole blocks."""
    blocks = polar.reshape(3, -1, 2, 8)
    np.multiply(blocks[0, :, :1], blocks[1:, :, 1].swapaxes(0, 1), out=out.reshape(-1, 2, 8))


def _many_blocks(gen: Generator, out: Array) -> None:
    step = 4 * _CHUNK
    for start in range(0, out.size, step):
        part = out[start:start + step]
        _transform(gen.words(part.size), part)


def _blocks_float32(gen: Generator, out: Array, anew: int) -> None:
    """Unit normal float32 numbers; where the size is no multiple of 16, `anew` words are passed over before the last 16 are drawn."""
    n = out.size
    whole = n & -16
    if n < _DIRECT and _native_blocks is None:
        _few_blocks(_polar(gen, whole), out[:whole])
        if whole != n:
            _few_blocks(_polar(gen, anew + 16)[:, anew:], out[-16:])
    elif whole == n or n > 4 * _CHUNK:
        _many_blocks(gen, out[:whole])
        if whole != n:
            gen.words(anew)
            _many_blocks(gen, out[-16:])
    else:
        words = gen.words(whole + anew + 16)
        if anew:
            words = np.concatenate((words[:whole], words[-16:]))
        values = np.empty(whole + 16, np.float32)
        _transform(words, values)
        out[:whole] = values[:whole]
        out[-16:] = values[-16:]


def _blocks_float64(gen: Generator, n: int) -> Array:
    u = gen.doubles(n).reshape(-1, 2, 8)
    radius = np.sqrt(-2 * log(1 - u[:, 0]))
    cos, sin = cos_sin(2 * math.pi * u[:, 1])
    u[:, 0], u[:, 1] = radius * cos, radius * sin
    return u.reshape(-1)


def fill_normal_blocks(gen: Generator, out: Array, mean: float, std: float) -> None:
    """Fill a contiguous 1-D array of 16 elements or more. Where its length is no multiple of 16, the last 16 are drawn anew at the end.

    float16 and bfloat16 are float32 numbers, rounded.
    """
    n = out.size
    standard = std == 1.0 and mean == 0.0
    if out.dtype == np.float64:
        whole = n & -16
        out[:whole] = _blocks_float64(gen, whole)
        if whole != n:
            gen.words(2 * (n - whole))
            out[-16:] = _blocks_float64(gen, 16)
        if not standard:
            out[:] = fma(out, std, mean)
        return
    exact = out.dtype == np.float32
    values = out if exact else np.empty(n, np.float32)
    # The reduced types draw no numbers for an incomplete block before it is drawn anew.
    _blocks_float32(gen, values, n % 16 if exact else 0)
    if not standard:
        values = fma32(values, np.float32(std), np.float32(mean))
    if values is not out:
        out[:] = values


def _pair(gen: Generator) -> tuple[float, float]:
    u1, u2 = gen.double(), gen.double()
    radius = math.sqrt(-2.0 * math.log1p(-u2))
    angle = 2.0 * math.pi * u1
    return radius * math.cos(angle), radius * math.sin(angle)


def serial_normals(gen: Generator, n: int, mean: float = 0.0, std: float = 1.0) -> Array:
    """n float64 normal numbers, in pairs; a number left over is kept in the generator."""
    if native.library is not None:
        values: Any = _from_pairs(gen, n)
    elif n < 16:
        values = _few(gen, n)
    else:
        values = np.empty(n)
        start = 0
        if gen.next_normal is not None:
            values[0], gen.next_normal, start = gen.next_normal, None, 1
        pairs = (n - start + 1) // 2
        u = gen.doubles(2 * pairs)
        radius = np.sqrt(-2.0 * log1p(-u[1::2]))
        cos, sin = cos_sin(2.0 * math.pi * u[0::2])
        values[start::2] = radius * cos
        values[start + 1::2] = (radius * sin)[:(n - start) // 2]
        if (n - start) % 2:
            gen.next_normal = float(radius[-1] * sin[-1])
    if std == 1.0 and mean == 0.0:
        return np.asarray(values)
    return fma(np.asarray(values, np.float64), std, mean)


def _from_pairs(gen: Generator, n: int) -> Any:
    """The same by the native library."""
    start = 0 if gen.next_normal is None or not n else 1
    pairs = native.library.normal_pairs(gen.words((n - start + 1) // 2 * 4))
    if not start and not n % 2:
        return pairs
    values = np.empty(n)
    if start:
        values[0], gen.next_normal = gen.next_normal, None
    values[start:] = pairs[:n - start]
    if (n - start) % 2:
        gen.next_normal = float(pairs[-1])
    return values


def _few(gen: Generator, n: int) -> list[float]:
    values = []
    if n and gen.next_normal is not None:
        values.append(gen.next_normal)
        gen.next_normal = None
    while len(values) < n:
        first, second = _pair(gen)
        values.append(first)
        if len(values) < n:
            values.append(second)
        else:
            gen.next_normal = second
    return values
