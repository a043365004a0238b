"""Powers, exponentials and chains of matrices; cross and dot products; statistics of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...dims import wrap_dim
from ...tensor import Tensor
from ...vocabulary import Array, Function
from ..errors import title
from ..matmul import matmul
from ..public import op
from ..record import record
from ..registry import FUNCTIONS
from .common import adjoint, check_floating, check_square, eye, result
from .solving import inv

__all__ = ["matrix_exp", "matrix_power", "multi_dot"]


@op(namespace="linalg", out=True)
def matrix_power(A: Tensor, n: int) -> Tensor:  # noqa: N803
    """A multiplied by itself n times (by repeated squaring); powers of the inverse for negative n."""
    check_square("linalg.matrix_power", A)
    if n < 0:
        A, n = inv(A), -n  # noqa: N806
    if n == 0:
        one = eye(A._a.shape[-1], A).expand(A._a.shape).clone()
        return record(one, "LinalgMatrixPowerBackward0", (A,), lambda g: g * 0)
    r = None
    while n:
        if n & 1:
            r = A if r is None else matmul(r, A)
        n >>= 1
        if n:
            A = matmul(A, A)  # noqa: N806
    return r.clone() if r is A else r


@op(namespace="linalg")
def matrix_exp(A: Tensor) -> Tensor:  # noqa: N803
    """The exponential of square matrices: scaling by a power of two, a Taylor polynomial, squaring (Bader, Blanes and Casas 2019)."""
    check_square("linalg.matrix_exp", A)
    check_floating("linalg.matrix_exp", A, low=True)
    r = result(_exponential(A._a), A)

    def grad(g: Tensor, a: Tensor) -> Tensor:
        # exp([[X, G], [0, X]]) holds the derivative of exp at X in the direction of G (R. Mathias 1996); here X = A^H.
        n, x = a._a.shape[-1], adjoint(a)
        cat = FUNCTIONS["cat"]
        block = cat([cat([x, g.expand(x._a.shape)], -1), cat([x * 0, x], -1)], -2)
        return matrix_exp(block)[..., :n, n:]
    return record(r, "LinalgMatrixExpBackward0", (A,), grad, (A,), holomorphic=False)


# Coefficients of exp's series to degree 16, for the powers 0 to 3 and then four at a time; up to which norm that is exact in double and in
# single precision.
_TAYLOR = [[1 / math.factorial(4 * block + k) for k in range(4)] for block in range(4)]
_EXACT_TO = {"d": 0.75, "D": 0.75, "f": 2.0, "F": 2.0}


def _exponential(a: Array) -> Array:
    """Each matrix with its own scaling; the polynomial by M. S. Paterson and L. J. Stockmeyer's scheme (1973), in six products."""
    x = a if a.dtype.char in _EXACT_TO else a.astype(np.float32)
    exact = _EXACT_TO[x.dtype.char]
    size = np.abs(x).sum(-1).max(-1, initial=0.0)
    squarings = np.where((size > exact) & np.isfinite(size), np.ceil(np.log2(np.maximum(size, exact) / exact)), 0.0)
    x = x * np.exp2(-squarings).astype(x.real.dtype)[..., None, None]
    one = np.eye(a.shape[-1], dtype=x.dtype, like=x)
    square = np.matmul(x, x)
    powers = [one, x, square, np.matmul(square, x)]
    fourth = np.matmul(square, square)
    r = fourth / math.factorial(16)
    for block in reversed(range(4)):
        for k, factor in enumerate(_TAYLOR[block]):
            r = r + powers[k] * factor
        if block:
            r = np.matmul(fourth, r)
    i, most = 0, squarings.max(initial=0.0)
    while most > i:
        more = squarings > i
        r = np.matmul(r, r) if more.all() else np.where(more[..., None, None], np.matmul(r, r), r)
        i += 1
    return np.where(np.isfinite(size)[..., None, None], r, np.nan)


@op(namespace="linalg", out=True)
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices (the first and last may be vectors), in the cheapest order."""
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0]._a.ndim == 1, tensors[-1]._a.ndim == 1
    for i, t in enumerate(tensors):
        end = i in (0, len(tensors) - 1)
        if t._a.ndim != 2 and not (end and t._a.ndim == 1):
            wanted = ("the first" if i == 0 else "the last") + " tensor must be 1D or 2D" if end else f"tensor {i} must be 2D"
            raise RuntimeError(f"multi_dot(): {wanted} but got {t._a.ndim}D")
        if t._kind.dtype is not tensors[0]._kind.dtype:
            raise RuntimeError(f"multi_dot(): all tensors must have be the same dtype but tensor 0 is {tensors[0]._kind.dtype} and tensor "
                               f"{i} {t._kind.dtype}")
        if t._kind is not tensors[0]._kind:
            raise RuntimeError(f"multi_dot(): all tensors must be on the same device but tensor 0 is on {tensors[0]._kind.device} and "
                               f"tensor {i} on {t._kind.device}")
    shapes = [list(t._a.shape) for t in tensors]
    if first:
        tensors[0] = tensors[0].unsqueeze(0)
    if last:
        tensors[-1] = tensors[-1].unsqueeze(1)
    for i in range(1, len(tensors)):
        if tensors[i - 1]._a.shape[-1] != tensors[i]._a.shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {i - 1} and {i} with shapes {shapes[i - 1]} and {shapes[i]} cannot be multiplied")
    r = _ordered(tensors)
    if first:
        r = r.squeeze(0)
    return r.squeeze(-1) if last else r


def _ordered(matrices: list[Tensor]) -> Tensor:
    """Multiply in the order that dynamic programming finds cheapest."""
    n = len(matrices)
    dims = [m._a.shape[0] for m in matrices] + [matrices[-1]._a.shape[1]]
    cost: dict[tuple[int, int], tuple[float, int]] = {(i, i): (0.0, i) for i in range(n)}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j] = min((cost[i, k][0] + cost[k + 1, j][0] + dims[i] * dims[k + 1] * dims[j + 1], k) for k in range(i, j))

    def build(i: int, j: int) -> Tensor:
        if i == j:
            return matrices[i]
        k = cost[i, j][1]
        return matmul(build(i, k), build(k + 1, j))
    return build(0, n - 1)


@op(namespace="linalg", out=True)
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along a dimension of size 3 (the last by default)."""
    a, b = input._a, other._a
    if a.ndim != b.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    wrap_dim(dim, a.ndim)
    if a.shape[dim] != 3 or b.shape[dim] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {a.shape[dim]} and {b.shape[dim]}")
    return FUNCTIONS["cross"](input, other, dim)


@op(namespace="linalg", out=True)
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of conj(x) * y along a dimension."""
    if x._kind is not y._kind:
        raise RuntimeError(f"linalg.vecdot: Expected x and y to have the same dtype, but found x of type {title(x._kind.dtype)} and y of "
                           f"type {title(y._kind.dtype)} instead")
    check_floating("linalg.vecdot", x, low=True)
    return (x.conj() * y).sum(dim)


@op(namespace="linalg")
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:  # noqa: N803
    """A view of the diagonals of matrices."""
    return A.diagonal(offset, dim1, dim2)


@op(namespace="linalg")
def vander(x: Tensor, *, N: int | None = None) -> Tensor:  # noqa: N803
    """The matrix of powers x^0, x^1, ..., x^(N - 1) of each element."""
    n = x._a.shape[-1] if N is None and x._a.ndim else 1 if N is None else N
    if n <= 1:
        raise RuntimeError("N must be greater than 1.")
    kind = x._kind.int64 if not x._kind.differentiable else x._kind
    x = (x if x._a.ndim else x.unsqueeze(0)).to(kind.dtype).unsqueeze(-1)
    powers = x.expand(*x._a.shape[:-1], n - 1).cumprod(-1)
    return FUNCTIONS["cat"]([FUNCTIONS["ones_like"](powers[..., :1]), powers], -1)


@op(name="vander")
def _old_vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803
    """The matrix of powers of a vector's elements, from the highest (or, if `increasing`, from 0) on."""
    if x._a.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x._a.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    x = x if x._kind.differentiable else x.to(x._kind.int64.dtype)
    powers = x.unsqueeze(-1) ** FUNCTIONS["arange"](n, device=x._kind.device)
    return powers if increasing else powers.flip(-1)


@op(method=True)
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input._a.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got input with dim {input._a.ndim}")
    return input.diagonal().sum()


@op(method=True)
def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Tensor:
    """The covariance matrix of variables in rows, observations in columns; weights count (fweights) or scale (aweights) observations."""
    if input._a.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with {input._a.ndim} dimensions")
    if input._kind is input._kind.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if input._a.ndim < 2 else input
    x = x if x._kind.differentiable else x.to(x._kind.float_.dtype)
    n = x._a.shape[1]
    _check_weights("fweights", fweights, n, "integral", lambda k: not k.differentiable)
    _check_weights("aweights", aweights, n, "floating point", lambda k: k.is_floating)
    w = fweights if aweights is None else aweights if fweights is None else fweights * aweights
    total: Tensor | float
    if w is None:
        mean, total = x.mean(1, keepdim=True), float(n)
    else:
        total = w.sum()
        if bool(total._a == 0):
            raise RuntimeError("cov(): weights sum to zero, can't be normalized")
        mean = (x * w).sum(1, keepdim=True) / total
    if w is not None and aweights is not None and correction:
        factor: Any = total - correction * (w * aweights).sum() / total
    else:
        factor = total - correction
    if bool(factor._a <= 0) if isinstance(factor, Tensor) else factor <= 0:
        import warnings
        warnings.warn("cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.", UserWarning,
                      stacklevel=3)
        factor = factor.clamp(min=0) if isinstance(factor, Tensor) else 0.0
    centered = x - mean
    weighted = centered if w is None else centered * w
    return (matmul(weighted, adjoint(centered)) / factor).squeeze()


def _check_weights(name: str, weights: Tensor | None, n: int, category: str, fits: Function) -> None:
    if weights is None:
        return
    if weights._a.ndim > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {name} with {weights._a.ndim} dimensions")
    if not fits(weights._kind):
        raise RuntimeError(f"cov(): expected {name} to have {category} dtype but got {name} with {weights._kind.dtype} dtype")
    if weights._a.size != n:
        raise RuntimeError(f"cov(): expected {name} to have the same numel as there are observations in the input but got "
                           f"{weights._a.size} != {n}")
    if n and bool((weights._a < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@op(method=True)
def corrcoef(input: Tensor) -> Tensor:
    """The correlation matrix of variables in rows."""
    if input._a.ndim > 2:
        raise RuntimeError(f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input._a.ndim} dimensions")
    c = cov(input)
    if c._a.ndim == 0:
        return c / c
    d = c.diagonal().real.sqrt() if c.is_complex() else c.diagonal().sqrt()
    r = c / d.unsqueeze(-1) / d.unsqueeze(0)
    if r.is_complex():
        return FUNCTIONS["complex"](r.real.clamp(-1, 1), r.imag.clamp(-1, 1))
    return r.clamp(-1, 1)


for _name, _fn in {"matrix_power": matrix_power, "matrix_exp": matrix_exp}.items():
    op(_fn, name=_name, method=True, out=_name == "matrix_power")


# --- removed from PyTorch ---------------------------------------------------------------------------------------------------------------

def _removed(name: str, instead: str) -> None:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"torch.{name} was deprecated since version 1.9 and is now removed: use {instead}")
    op(function, name=name, method=name != "matrix_rank")


for _name, _instead in {"symeig": "torch.linalg.eigh (or eigvalsh)", "eig": "torch.linalg.eig (or eigvals)", "solve": "torch.linalg.solve",
                        "lstsq": "torch.linalg.lstsq, whose arguments are reversed", "matrix_rank": "torch.linalg.matrix_rank"}.items():
    _removed(_name, _instead)
