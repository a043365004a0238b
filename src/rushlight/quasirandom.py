"""``torch.quasirandom``: Sobol sequences, whose points fill the unit cube more evenly than random ones.

The direction numbers are those of S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better two-dimensional projections", 2008 (their
file new-joe-kuo-6.21201), as in PyTorch; scrambling is Matousek's: a random lower triangular matrix over the bits, and a random shift.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .dtypes import dtype as Dtype
from .dtypes import get_default_dtype
from .generator import Generator
from .homes import settle
from .kernels.arrays import as_array
from .kind import kind_of
from .ops.random import randint
from .tensor import Tensor, from_array, wrap

__all__ = ["SobolEngine"]

_BITS = 30


@lru_cache(1)
def _numbers() -> tuple[Any, Any]:
    """(polynomials, first direction numbers (dimensions, 18)) from the packed file: number i of a row has i bits, then a one."""
    with np.load(Path(__file__).with_name("sobol_directions.npz")) as file:
        polynomials = np.cumsum(file["polynomials"].astype(np.int64))
        bits = np.unpackbits(file["numbers"])
    degree = np.floor(np.log2(polynomials)).astype(np.int64)
    used = np.arange(18) < degree[:, None]
    width = np.broadcast_to(np.arange(18), used.shape)[used]
    starts = np.cumsum(width) - width
    flat = np.ones(width.size, np.int64)
    for bit in range(17):
        wide = width > bit
        flat[wide] += bits[starts[wide] + bit].astype(np.int64) << (bit + 1)
    first = np.zeros(used.shape, np.int64)
    first[used] = flat
    return polynomials, first


def _directions(dimension: int) -> Any:
    """The direction numbers (dimension, 30), as binary fractions: each row continued by its polynomial's recurrence."""
    polynomials, first = (each[:dimension] for each in _numbers())
    v = np.zeros((dimension, _BITS), np.int64)
    v[0] = 1
    degree = np.floor(np.log2(polynomials)).astype(np.int64)
    for m in np.unique(degree[1:]) if dimension > 1 else ():
        rows = np.flatnonzero(degree == m)
        rows = rows[rows > 0]
        v[rows, :m] = first[rows, :m]
        for j in range(m, _BITS):
            new = v[rows, j - m].copy()
            for k in range(m):
                has = (polynomials[rows] >> (m - 1 - k)) & 1
                new ^= has * (v[rows, j - k - 1] << (k + 1))
            v[rows, j] = new
    return v << np.arange(_BITS - 1, -1, -1)


class SobolEngine:
    """Draws points of a (scrambled) Sobol sequence in `dimension` dimensions, one after the other.

    scramble  make the points random, and still even
    seed      of the scrambling; without it the default generator decides
    """

    MAXBIT = _BITS
    MAXDIM = 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None) -> None:
        if dimension > self.MAXDIM or dimension < 1:
            raise ValueError(f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}]")
        self.dimension, self.scramble, self.seed = dimension, scramble, seed
        state = _directions(dimension)
        if scramble:
            state, shift = self._scramble(state)
        else:
            shift = np.zeros(dimension, np.int64)
        self.sobolstate, self.shift = from_array(state), from_array(shift)
        self.quasi = from_array(shift.copy())
        self._first_point = (self.quasi / 2 ** _BITS).reshape(1, -1)
        self.num_generated = 0

    def _scramble(self, state: Any) -> tuple[Any, Any]:
        """The direction numbers, their bits multiplied by random triangular matrices, and a random first point."""
        generator: Any = None
        if self.seed is not None:
            generator = Generator()
            generator.manual_seed(self.seed)
        shift = randint(2, (self.dimension, _BITS), generator=generator)._a @ (1 << np.arange(_BITS))
        matrices = np.tril(randint(2, (self.dimension, _BITS, _BITS), generator=generator)._a)
        matrices[:, np.arange(_BITS), np.arange(_BITS)] = 1
        places = np.arange(_BITS - 1, -1, -1)
        bits = (state[:, :, None] >> places) & 1                       # (dimension, number, bit), the highest first
        mixed = np.matmul(bits, matrices.transpose(0, 2, 1)) & 1
        return (mixed << places).sum(-1), shift

    def draw(self, n: int = 1, out: Tensor | None = None, dtype: Dtype | None = None) -> Tensor:
        """The next `n` points, (n, dimension), in [0, 1)."""
        kind = kind_of(get_default_dtype() if dtype is None else dtype)
        points = self._first_point._a[:0]
        left = n
        if self.num_generated == 0:
            points, left = self._first_point._a.astype(np.float64), n - 1
        values = np.concatenate([points, self._next(left, max(self.num_generated - 1, 0)) * 2.0 ** -_BITS]) if left else points
        self.num_generated += n
        r = wrap(as_array(values.astype(kind.np)), kind)
        if out is None:
            return r
        out.resize_(r.shape)
        return out.copy_(r)

    def _next(self, n: int, generated: int) -> Any:
        """The next n points as integers (n, dimension), and the state after them. In Gray code order, one direction number changes at a
        time."""
        index = np.arange(generated, generated + n)
        lowest_zero = np.log2(~index & (index + 1)).astype(np.int64)
        steps = self.sobolstate._a[:, lowest_zero]
        points = np.bitwise_xor.accumulate(np.concatenate([self.quasi._a[:, None], steps], 1), 1)[:, 1:]
        if n:
            self.quasi.copy_(from_array(points[:, -1].copy()))
        return points.T

    def draw_base2(self, m: int, out: Tensor | None = None, dtype: Dtype | None = None) -> Tensor:
        """The next ``2 ** m`` points; ValueError where all points together would not be a power of two, as their balance needs."""
        n = 2 ** m
        total = self.num_generated + n
        if total & (total - 1):
            raise ValueError(f"The balance properties of Sobol' points require n to be a power of 2. {self.num_generated} points have been "
                             f"previously generated, then: n={self.num_generated}+2**{m}={total}. If you still want to do this, the "
                             "function 'self.draw()' can be used.")
        return self.draw(n, out, dtype)

    def reset(self) -> SobolEngine:
        """Begin again with the first point."""
        self.quasi.copy_(self.shift)
        self.num_generated = 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Leave out `n` points."""
        self._next(n - 1 if self.num_generated == 0 else n, max(self.num_generated - 1, 0))
        self.num_generated += n
        return self

    def __repr__(self) -> str:
        options = f"dimension={self.dimension}" + (", scramble=True" if self.scramble
                                                   else "") + (f", seed={self.seed}" if self.seed is not None else "")
        return f"SobolEngine({options})"


settle("quasirandom", globals(), __all__)
