"""Cumulative ops: running sums, products, extremes; differences and trapezoids."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import return_types
from ..dims import wrap_dim
from ..dtypes import BOOL
from ..kernels import scan as K
from ..kernels.arrays import as_array
from ..tensor import Tensor, wrap
from ..vocabulary import Dtype, Function
from .elementwise import _logaddexp
from .errors import not_implemented
from .joining import cat, stack
from .public import op
from .record import record
from .reduction import _sum_kind

__all__: list[str] = []


def _prepared(input: Tensor, dim: int, dtype: Any) -> tuple[Tensor, int]:
    """The input in the dtype of the result, and the checked dimension."""
    kind = _sum_kind(input._kind, dtype)
    dim = wrap_dim(dim, input._a.ndim)
    return (input if input._kind is kind else input.to(kind.dtype)), dim


def _running(name: str, input: Tensor, dim: int) -> Tensor:
    kind, a = input._kind, input._a
    if a.ndim == 0:
        return wrap(a.copy(), kind)
    r = K.running(name, a.astype(np.float32) if kind.reduced else a, dim, False)
    return wrap(as_array(r, kind.np), kind)


def _reverse_sum(g: Tensor, dim: int) -> Tensor:
    """sum over j >= i."""
    return g.flip(dim).cumsum(dim).flip(dim) if g._a.ndim else g


@op(method=True, inplace=True, out=True)
def cumsum(input: Tensor, dim: int, *, dtype: Dtype = None) -> Tensor:
    """The running sum along a dimension. Integers and bool add up in int64."""
    x, dim = _prepared(input, dim, dtype)
    return record(_running("add", x, dim), "CumsumBackward0", (x,), lambda g: _reverse_sum(g, dim),
                  array_grad=lambda g: K.running("add", g, dim, True) if g.ndim else g)


@op(method=True, inplace=True, out=True)
def cumprod(input: Tensor, dim: int, *, dtype: Dtype = None) -> Tensor:
    """The running product along a dimension. Integers and bool multiply in int64."""
    x, dim = _prepared(input, dim, dtype)
    y = _running("multiply", x, dim)
    return record(y, "CumprodBackward0", (x,), lambda g, x, y: _cumprod_grad(g, x, y, dim), (x, y))


def _cumprod_grad(g: Tensor, x: Tensor, y: Tensor, dim: int) -> Tensor:
    if x._a.ndim == 0:
        return g
    if bool((x._a != 0).all()):
        return _reverse_sum(g * y, dim) / x
    # With zeros: d y_k / d x_i is the product of all x_j, j <= k, j != i.
    n = x.shape[dim]
    parts = [x.narrow(dim, i, 1) for i in range(n)]
    gs = [g.narrow(dim, i, 1) for i in range(n)]
    results = []
    for i in range(n):
        running = parts[0].detach() * 0 + 1
        for j in range(i):
            running = running * parts[j]
        total = gs[i] * running
        for k in range(i + 1, n):
            running = running * parts[k]
            total = total + gs[k] * running
        results.append(total)
    return cat(results, dim)


def _running_extreme(name: str, kind_of_result: type[Any]) -> Function:
    def fn(input: Tensor, dim: int) -> Any:
        kind, a = input._kind, input._a
        dim = wrap_dim(dim, a.ndim)
        if not a.size:
            return kind_of_result((input.clone(), wrap(kind.xp.zeros(a.shape, np.int64), kind.int64)))
        if kind.is_complex:
            raise not_implemented(name, kind)
        if a.ndim == 0:
            return kind_of_result((input.clone(), wrap(kind.xp.zeros((), np.int64), kind.int64)))
        extremes, index = K.running_extreme(a.astype(np.float32) if kind.reduced else a, dim, name == "cummax")
        at = wrap(index, kind.int64)
        values = wrap(as_array(extremes, kind.np), kind)
        record(values, f"{name.capitalize()}Backward0", (input,), lambda g, at: g.new_zeros(g.shape).scatter_add(dim, at, g), (at,))
        return kind_of_result((values, at))
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"(values, indices) of the running {name[3:]}imum along a dimension; of equal values the last counts."
    return op(method=True, out=True)(fn)


cummax = _running_extreme("cummax", return_types.cummax)
cummin = _running_extreme("cummin", return_types.cummin)


@op(method=True, out=True)
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the running sum of exp, without overflow."""
    kind = input._kind
    dim = wrap_dim(dim, input._a.ndim)
    if not kind.differentiable:
        raise not_implemented("logcumsumexp", kind)
    y = _running("logaddexp", input, dim) if not kind.is_complex or not input._a.ndim else _complex_logcumsumexp(input, dim)
    return record(y, "LogcumsumexpBackward0", (input,), lambda g, x, y: _logcumsumexp_grad(g, x, y, dim), (input, y))


def _complex_logcumsumexp(input: Tensor, dim: int) -> Tensor:
    r = np.moveaxis(input._a.copy(), dim, 0)
    for i in range(1, r.shape[0]):
        r[i] = _logaddexp(r[i - 1], r[i])
    return wrap(np.ascontiguousarray(np.moveaxis(r, 0, dim)), input._kind)


def _logcumsumexp_grad(g: Tensor, x: Tensor, y: Tensor, dim: int) -> Tensor:
    """sum over j >= i of g_j exp(x_i - y_j)."""
    if x._a.ndim == 0:
        return g
    # From the last to the first: y grows, so that no exponent is positive, and nothing cancels that does not have to.
    ups, xs, ys = g.unbind(dim), x.unbind(dim), y.unbind(dim)
    total, parts = None, []
    for i in range(len(xs) - 1, -1, -1):
        total = ups[i] if total is None else ups[i] + total * (ys[i] - ys[i + 1]).exp()
        parts.append(total * (xs[i] - ys[i]).exp())
    return stack(parts[::-1], dim) if parts else g


@op(method=True, out=True)
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """Differences of neighbours along a dimension, n times."""
    if input._a.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = wrap_dim(dim, input._a.ndim)
    if n == 0:
        return input.clone()
    if any(t is not None and t._a.ndim != input._a.ndim for t in (prepend, append)):
        raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    if prepend is not None or append is not None:
        input = cat([t for t in (prepend, input, append) if t is not None], dim)
    for _ in range(min(n, input._a.shape[dim])):
        size = input._a.shape[dim]
        later, earlier = input.narrow(dim, 1, size - 1), input.narrow(dim, 0, size - 1)
        input = later ^ earlier if input.dtype is input._kind.bool_.dtype else later - earlier
    return input


def _steps(y: Tensor, x: Any, dx: Any, dim: int) -> Any:
    if x is None:
        return 1.0 if dx is None else dx
    if x._a.ndim == 1:
        if x._a.shape[0] != y._a.shape[dim]:
            raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
        shape = [1] * y._a.ndim
        shape[dim] = -1
        return diff(x).reshape(shape)
    if x._a.ndim < y._a.ndim:                             # ones are put before its sizes, and `dim` counts in y
        x = x.reshape((1,) * (y._a.ndim - x._a.ndim) + x._a.shape)
    return diff(x, dim=dim)


def _areas(name: str, y: Tensor, x: Any, dx: Any, dim: int) -> tuple[Tensor, int]:
    dim = wrap_dim(dim, y._a.ndim)
    if not y._a.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    if any(t is not None and t._kind.dtype.category == BOOL for t in (y, x)):
        raise RuntimeError(f"{name}: received a bool input for `{'y' if x is None else 'x` or `y'}`, but bool is not supported")
    if isinstance(dx, (bool, complex)):
        raise RuntimeError(f"{name}: Currently, we only support dx as a real number.")
    size = y._a.shape[dim]
    pairs = y.narrow(dim, 1, max(size - 1, 0)) + y.narrow(dim, 0, max(size - 1, 0)) if size else y
    return pairs * _steps(y, x, dx, dim) / 2, dim


@op
def trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral by the trapezoidal rule, with points `x` or spacing `dx`."""
    areas, at = _areas("trapezoid", y, x, dx, dim)
    if not y._a.shape[at]:
        return y.new_zeros(y._a.shape[:at] + y._a.shape[at + 1:])
    return areas.sum(at)


@op
def trapz(y: Tensor, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The old name of `trapezoid`, whose spacing is a float."""
    return trapezoid(y, x, dim=dim) if x is not None else trapezoid(y, dx=float(dx), dim=dim)


@op
def cumulative_trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The running integral by the trapezoidal rule."""
    areas, dim = _areas("cumulative_trapezoid", y, x, dx, dim)
    return areas.cumsum(dim)
