"""Fourier transforms (single and double precision), with gradients. ``torch.fft`` shows these.

Three transforms carry all others: complex to complex, real to complex (the half that is not redundant), and its inverse. Each is linear,
so its gradient is its adjoint, which is one of the three again. A scaling is named by what the sums are divided by: "none", "root" or "n".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..kernels import fft as F
from ..kernels.arrays import as_array
from ..tensor import Tensor, wrap
from ..vocabulary import Device, Dims, Dtype, Function, Layout, PerDim
from .creation import creation_kind, finish
from .errors import title
from .padding import constant_pad_nd
from .public import op
from .rearrange import roll
from .record import record

__all__ = ["c2c", "r2c", "c2r"]


# --- the three transforms -------------------------------------------------------------------------------------------------------------

def c2c(x: Tensor, dims: tuple[int, ...], scaling: str, forward: bool) -> Tensor:
    """All terms over `dims`, of complex values, or of real ones (which take NumPy half of the work)."""
    kind = x._kind.with_dtype(x._kind.dtype.to_complex())
    if not dims:
        return x.to(kind.dtype) if kind is not x._kind else x.clone()
    a = F.complex_transform(x._a, dims, scaling, forward) if kind is x._kind else F.real_transform(x._a, dims, scaling, forward, True)
    r = wrap(as_array(a, kind.np), kind)
    if kind is not x._kind:
        return record(r, "FftR2CBackward0", (x,), lambda g: c2c(g, dims, scaling, not forward).real)
    return record(r, "FftC2CBackward0", (x,), lambda g: c2c(g, dims, scaling, not forward))


def r2c(x: Tensor, dims: tuple[int, ...], scaling: str, forward: bool = True) -> Tensor:
    """Real to complex over `dims`; of the last of them the n // 2 + 1 terms that determine the others."""
    kind = x._kind.with_dtype(x._kind.dtype.to_complex())
    r = wrap(as_array(F.real_transform(x._a, dims, scaling, forward, False), kind.np), kind)
    n, last = x._a.shape[dims[-1]], dims[-1]
    return record(r, "FftR2CBackward0", (x,), lambda g: c2c(_resize(g, n, last), dims, scaling, not forward).real)


def c2r(x: Tensor, dims: tuple[int, ...], scaling: str, n: int) -> Tensor:
    """The inverse transform of the half that `r2c` gives, to `n` real values along the last of `dims`."""
    kind = x._kind.with_dtype(x._kind.dtype.to_real())
    r = wrap(as_array(F.half_transform(x._a, dims, scaling, n), kind.np), kind)
    last = dims[-1]

    def grad(g: Tensor) -> Tensor:
        # A term and its mirror image are one entry of the half: all but the first, and the middle one of an even n, count twice.
        weights = np.full(n // 2 + 1, 2, kind.np)
        weights[0] = 1
        if n % 2 == 0:
            weights[-1] = 1
        shape = [-1 if d == last else 1 for d in range(g._a.ndim)]
        return r2c(g, dims, scaling) * wrap(kind.xp.asarray(weights.reshape(shape)), kind)
    return record(r, "FftC2RBackward0", (x,), grad)


# --- arguments ------------------------------------------------------------------------------------------------------------------------

def _scaling(norm: str | None, forward: bool) -> str:
    """What the sums are divided by under norm=; "backward" (the default) scales the inverse transform, "forward" the forward one."""
    if norm == "ortho":
        return "root"
    if norm is None or norm == "backward":
        return "none" if forward else "n"
    if norm == "forward":
        return "n" if forward else "none"
    raise RuntimeError(f'Invalid normalization mode: "{norm}"')


def _floating(name: str, x: Tensor, to_complex: bool) -> Tensor:
    """The input in a dtype that has transforms: integers become the default float, and complex if asked for."""
    kind = x._kind
    if kind.is_complex and not to_complex and name:
        raise RuntimeError(f"{name} expects a real input tensor, but got {title(kind.dtype)}")
    if kind.reduced:
        raise RuntimeError(f"Unsupported dtype {title(kind.dtype)}: convert to float32 first")
    dtype = kind.float_.dtype
    return x.to(dtype.to_complex() if to_complex else dtype)


def _axis(x: Tensor, dim: int) -> int:
    if not x._a.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, x._a.ndim)


def _check_size(n: int) -> int:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _resize(x: Tensor, n: int, dim: int) -> Tensor:
    """Cut off, or fill up with zeros, to `n` entries along a dimension."""
    have = x._a.shape[dim]
    if have == n:
        return x
    if have > n:
        return x.narrow(dim, 0, n)
    return constant_pad_nd(x, [0, 0] * (x._a.ndim - 1 - dim) + [0, n - have])


def _shape_and_dims(x: Tensor, s: Any, dim: PerDim, last_doubled: bool = False) -> tuple[list[int], tuple[int, ...]]:
    """The sizes and dimensions of an n-dimensional transform; the last s counts real values where the input is a half (`last_doubled`)."""
    ndim = x._a.ndim
    dims = None if dim is None else _unique_dims(dim, ndim)
    sizes = None if s is None else [s] if isinstance(s, int) else list(s)
    if not ndim and dims:
        raise IndexError(f"Dimension specified as {dim if isinstance(dim, int) else dim[0]} but tensor has no dimensions")
    if sizes is not None and dims is not None and len(sizes) != len(dims):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    if sizes is not None and len(sizes) > ndim:
        raise RuntimeError(f"Got shape with {len(sizes)} values but input tensor only has {ndim} dimensions.")
    if dims is None:
        dims = tuple(range(ndim if sizes is None else len(sizes)))
        dims = tuple(ndim - len(dims) + d for d in dims)
    if sizes is None:
        sizes = [-1] * len(dims)
    for i, (n, d) in enumerate(zip(sizes, dims, strict=True)):
        if n == -1:
            sizes[i] = 2 * (x._a.shape[d] - 1) if last_doubled and i == len(dims) - 1 else x._a.shape[d]
        _check_size(sizes[i])
    return sizes, dims


def _unique_dims(dim: PerDim, ndim: int) -> tuple[int, ...]:
    wrapped = tuple([wrap_dim(d, ndim) for d in ([dim] if isinstance(dim, int) else dim)])
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError("FFT dims must be unique")
    return wrapped


def _resize_all(x: Tensor, sizes: list[int], dims: tuple[int, ...]) -> Tensor:
    for n, d in zip(sizes, dims, strict=True):
        x = _resize(x, n, d)
    return x


# --- one dimension --------------------------------------------------------------------------------------------------------------------

@op(namespace="fft", out=True)
def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The discrete Fourier transform along a dimension (of the first n entries, zeros added where there are fewer); complex."""
    return _one_dimension(input, n, dim, norm, True)


@op(namespace="fft", out=True)
def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `fft`; complex."""
    return _one_dimension(input, n, dim, norm, False)


def _one_dimension(input: Tensor, n: int | None, dim: int, norm: str | None, forward: bool) -> Tensor:
    dim = _axis(input, dim)
    n = _check_size(input._a.shape[dim] if n is None else n)
    return c2c(_resize(_floating("", input, input._kind.is_complex), n, dim), (dim,), _scaling(norm, forward), forward)


@op(namespace="fft", out=True)
def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The transform of real values: the n // 2 + 1 terms that determine the others."""
    dim = _axis(input, dim)
    n = _check_size(input._a.shape[dim] if n is None else n)
    return r2c(_resize(_floating("rfft", input, False), n, dim), (dim,), _scaling(norm, True))


@op(namespace="fft", out=True)
def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`: n real values (default: an even number)."""
    dim = _axis(input, dim)
    n = _check_size(2 * (input._a.shape[dim] - 1) if n is None else n)
    return c2r(_resize(_floating("", input, True), n // 2 + 1, dim), (dim,), _scaling(norm, False), n)


@op(namespace="fft", out=True)
def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The transform of a Hermitian signal, given by its half: n real values."""
    dim = _axis(input, dim)
    n = _check_size(2 * (input._a.shape[dim] - 1) if n is None else n)
    return c2r(_resize(_floating("", input, True), n // 2 + 1, dim).conj(), (dim,), _scaling(norm, True), n)


@op(namespace="fft", out=True)
def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `hfft`: half of a Hermitian signal."""
    dim = _axis(input, dim)
    n = _check_size(input._a.shape[dim] if n is None else n)
    return r2c(_resize(_floating("ihfft", input, False), n, dim), (dim,), _scaling(norm, False), forward=False)


# --- several dimensions ---------------------------------------------------------------------------------------------------------------

@op(namespace="fft", out=True)
def fftn(input: Tensor, s: Any = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The transform over several dimensions (all by default, the last len(s) if only s is given)."""
    return _several(input, s, dim, norm, True)


@op(namespace="fft", out=True)
def ifftn(input: Tensor, s: Any = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The inverse of `fftn`."""
    return _several(input, s, dim, norm, False)


def _several(input: Tensor, s: Any, dim: PerDim, norm: str | None, forward: bool) -> Tensor:
    sizes, dims = _shape_and_dims(input, s, dim)
    return c2c(_resize_all(_floating("", input, input._kind.is_complex), sizes, dims), dims, _scaling(norm, forward), forward)


@op(namespace="fft", out=True)
def rfftn(input: Tensor, s: Any = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The transform of real values over several dimensions: a half of the last of them."""
    if input._kind.is_complex:
        raise RuntimeError(f"rfftn expects a real-valued input tensor, but got {title(input._kind.dtype)}")
    sizes, dims = _shape_and_dims(input, s, dim)
    _at_least_one("rfftn", dims)
    return r2c(_resize_all(_floating("rfftn", input, False), sizes, dims), dims, _scaling(norm, True))


@op(namespace="fft", out=True)
def irfftn(input: Tensor, s: Any = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The inverse of `rfftn`."""
    sizes, dims = _shape_and_dims(input, s, dim, last_doubled=True)
    _at_least_one("irfftn", dims)
    half = [*sizes[:-1], sizes[-1] // 2 + 1]
    return c2r(_resize_all(_floating("", input, True), half, dims), dims, _scaling(norm, False), sizes[-1])


@op(namespace="fft", out=True)
def hfftn(input: Tensor, s: Any = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """`hfft` along the last dimension, `fft` along the others."""
    sizes, dims = _shape_and_dims(input, s, dim, last_doubled=True)
    _at_least_one("hfftn", dims)
    scaling = _scaling(norm, True)
    x = _resize_all(_floating("", input, True), [*sizes[:-1], sizes[-1] // 2 + 1], dims)
    if dims[:-1]:
        x = c2c(x, dims[:-1], scaling, True)
    return c2r(x.conj(), dims[-1:], scaling, sizes[-1])


@op(namespace="fft", out=True)
def ihfftn(input: Tensor, s: Any = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """`ihfft` along the last dimension, `ifft` along the others."""
    if input._kind.is_complex:
        raise RuntimeError(f"ihfftn expects a real-valued input tensor, but got {title(input._kind.dtype)}")
    sizes, dims = _shape_and_dims(input, s, dim)
    _at_least_one("ihfftn", dims)
    scaling = _scaling(norm, False)
    x = r2c(_resize_all(_floating("ihfftn", input, False), sizes, dims), dims[-1:], scaling, forward=False)
    return c2c(x, dims[:-1], scaling, False) if dims[:-1] else x


def _at_least_one(name: str, dims: tuple[int, ...]) -> None:
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")


def _two_dimensions(name: str, function: Function, doc: str) -> Function:
    def transform(input: Tensor, s: Any = None, dim: PerDim = (-2, -1), norm: str | None = None) -> Tensor:
        return function(input, s, dim, norm)
    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = doc
    return op(transform, namespace="fft", out=True)


fft2 = _two_dimensions("fft2", fftn, "`fftn` over two dimensions, the last two by default.")
ifft2 = _two_dimensions("ifft2", ifftn, "`ifftn` over two dimensions, the last two by default.")
rfft2 = _two_dimensions("rfft2", rfftn, "`rfftn` over two dimensions, the last two by default.")
irfft2 = _two_dimensions("irfft2", irfftn, "`irfftn` over two dimensions, the last two by default.")
hfft2 = _two_dimensions("hfft2", hfftn, "`hfftn` over two dimensions, the last two by default.")
ihfft2 = _two_dimensions("ihfft2", ihfftn, "`ihfftn` over two dimensions, the last two by default.")


# --- order and frequencies ------------------------------------------------------------------------------------------------------------

@op(namespace="fft")
def fftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """Move frequency zero into the middle (of all dimensions, or of those given)."""
    dims = _shift_dims(input, dim)
    return roll(input, [input._a.shape[d] // 2 for d in dims], dims) if dims else input.clone()


@op(namespace="fft")
def ifftshift(input: Tensor, dim: Dims = None) -> Tensor:
    """The inverse of `fftshift`."""
    dims = _shift_dims(input, dim)
    return roll(input, [(input._a.shape[d] + 1) // 2 for d in dims], dims) if dims else input.clone()


def _shift_dims(input: Tensor, dim: PerDim) -> tuple[int, ...]:
    given = range(input._a.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = tuple([wrap_dim(d, input._a.ndim) for d in given])
    if not dims:
        raise RuntimeError("`shifts` required")
    return dims


@op(namespace="fft", out=True)
def fftfreq(n: int, d: float = 1.0, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
            pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """The frequencies of the n terms of `fft` for samples d apart: 0, 1, ..., -2, -1 over n d."""
    return _frequencies("fftfreq", n, d, dtype, device, requires_grad, pin_memory,
                        lambda: np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)]))


@op(namespace="fft", out=True)
def rfftfreq(n: int, d: float = 1.0, *, dtype: Dtype = None, layout: Layout = None, device: Device = None,
             pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """The frequencies of the n // 2 + 1 terms of `rfft` for samples d apart."""
    return _frequencies("rfftfreq", n, d, dtype, device, requires_grad, pin_memory, lambda: np.arange((n + (n < 0)) // 2 + 1))


def _frequencies(name: str, n: int, d: float, dtype: Any, device: Device, requires_grad: bool, pin_memory: bool, terms: Any) -> Tensor:
    kind = creation_kind(dtype, device, None)
    if not kind.differentiable:
        raise RuntimeError(f"{name} requires a floating point or complex dtype")
    size = n if name == "fftfreq" else n // 2 + 1
    if size < 0 and name == "fftfreq":
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if kind.is_complex:
        raise NotImplementedError(f'"arange_cpu" not implemented for \'{title(kind.dtype)}\'')
    work = np.float32 if kind.reduced else kind.np
    values = terms().astype(work) * np.float64(1.0 / (n * d) if n * d else np.inf).astype(work)
    return finish(wrap(kind.xp.asarray(values.astype(kind.np)), kind), requires_grad, pin_memory)
