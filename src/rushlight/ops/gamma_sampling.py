"""Samplers of the gamma family with gradients for their parameters (pathwise derivatives), and binomial counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import finfo
from ..generator import generator_of
from ..kernels import gamma_gradients, gamma_sampling
from ..kernels.shapes import broadcast_arrays
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, GeneratorLike
from .errors import broadcast_error, not_a_tensor, title
from .public import export
from .random import one_for_all
from .record import record
from .sampling import _host, _place, _zero_gradients, drawn_here

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["standard_gamma", "sample_dirichlet", "binomial"]


def _floating(name: str, t: Tensor, parameter: str = "input", position: int = 1) -> None:
    if not isinstance(t, Tensor):
        raise not_a_tensor(name, parameter, position, t)
    if not t._kind.is_floating:
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{title(t._kind.dtype)}'")


def _wide(t: Tensor) -> Array:
    return _host(t).astype(np.float64)


def _no_second_derivative(name: str) -> Function:
    def grad(g: Tensor, *saved: Tensor) -> Any:
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")
    return grad


def _standard_gamma(self: Tensor, generator: GeneratorLike = None) -> Tensor:
    """Gamma numbers of rate 1, one for each shape parameter in `self`; differentiable by the parameter."""
    _floating("gamma", self, "self")
    kind = self._kind
    gen = generator_of(generator, kind.device, "_standard_gamma")
    one_for_all(self)
    if drawn_here(kind):
        r = wrap(sampled_gamma(gen, self), kind)
        return record(r, "StandardGammaBackward0", (self,), lambda g, a, x: g * _standard_gamma_grad(a, x), (self, r))
    alphas = _host(self)
    flat = np.ascontiguousarray(alphas).reshape(-1)
    with gen.lock:
        values = gamma_sampling.standard_gamma(gen, flat.astype(np.float32) if kind.reduced else flat)
    with np.errstate(all="ignore"):
        array = np.maximum(values.astype(kind.np), np.asarray(_smallest(kind), kind.np)).reshape(alphas.shape)
    r = _place(array, self)
    return record(r, "StandardGammaBackward0", (self,), lambda g, a, x: g * _standard_gamma_grad(a, x), (self, r))


def sampled_gamma(gen: Any, shapes: Tensor) -> Any:
    """Gamma numbers drawn on the GPU, as a DeviceArray."""
    return shapes._kind.xp.random.sampled(shapes._kind, "standard_gamma", gen, shapes._a, _smallest(shapes._kind))


def _smallest(kind: Kind) -> float:
    return float(finfo(kind.dtype).tiny)


def _standard_gamma_grad(self: Tensor, output: Tensor) -> Tensor:
    """d(output) / d(self) for `output` drawn by `_standard_gamma(self)`."""
    _floating("_standard_gamma_grad", self, "self")
    array = gamma_gradients.gamma_gradient(_wide(self), _wide(output)).astype(self._kind.np)
    return record(_place(array, self), "StandardGammaGradBackward0", (self, output), _no_second_derivative("_standard_gamma_grad"))


def _sample_dirichlet(self: Tensor, generator: GeneratorLike = None) -> Tensor:
    """Dirichlet numbers: gamma numbers for the parameters in `self`, divided by their sum over the last dimension."""
    _floating("dirichlet", self, "self")
    kind = self._kind
    gen = generator_of(generator, kind.device, "_sample_dirichlet")
    one_for_all(self)
    if drawn_here(kind):
        gammas = sampled_gamma(gen, self).astype(np.float64 if kind.np == np.float64 else np.float32)
    else:
        alphas = np.ascontiguousarray(_wide(self))
        with gen.lock:
            gammas = gamma_sampling.standard_gamma(gen, alphas.reshape(-1)).reshape(alphas.shape)
    gammas = np.maximum(gammas, np.asarray(np.finfo(gammas.dtype).tiny, gammas.dtype))      # all of them may have come out as zero
    shares = (gammas / gammas.sum(-1, keepdims=True)).astype(kind.np)
    below_one = np.nextafter(np.float32(1), np.float32(0)) if kind.reduced or kind.np == np.float32 else np.nextafter(1.0, 0.0)
    array = np.minimum(np.maximum(shares, np.asarray(_smallest(kind), kind.np)), np.asarray(below_one, kind.np))
    r = wrap(array, kind) if array.__class__ is not np.ndarray else _place(array, self)

    def grad(g: Tensor, alpha: Tensor, x: Tensor) -> Tensor:
        total = alpha.sum(-1, keepdim=True).expand_as(alpha)
        return _dirichlet_grad(x, alpha, total) * (g - (x * g).sum(-1, keepdim=True))
    return record(r, "SampleDirichletBackward0", (self,), grad, (self, r))


def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """How a Dirichlet number x moves with its own parameter alpha, the others staying in proportion; `total` is the parameters' sum."""
    _floating("_dirichlet_grad", x, "x")
    a, places = _wide(alpha), _wide(x)
    array = gamma_gradients.beta_gradient(places, a, _wide(total) - a) / np.maximum(1.0 - places, 1e-300)
    return record(wrap(_place(array.astype(x._kind.np), x)._a, x._kind), "DirichletGradBackward0", (x, alpha, total),
                  _no_second_derivative("_dirichlet_grad"))


def binomial(count: Tensor, prob: Tensor, generator: GeneratorLike = None) -> Tensor:
    """How many of count[i] trials of chance prob[i] succeed. Both are floating tensors of one dtype; they broadcast."""
    for position, (name, t) in enumerate((("count", count), ("prob", prob)), 1):
        if not isinstance(t, Tensor):
            raise not_a_tensor("binomial", name, position, t)
        if not t._kind.is_floating:
            raise ValueError(f"binomial only supports floating-point dtypes for {name}, got: {title(t._kind.dtype)}")
    if count._kind is not prob._kind:
        raise RuntimeError(f"Found dtype {title(prob._kind.dtype)} but expected {title(count._kind.dtype)}")
    kind = count._kind
    gen = generator_of(generator, kind.device, "binomial")
    one_for_all(count, prob)
    try:
        counts, chances = broadcast_arrays(_host(count), _host(prob))
    except ValueError:
        raise broadcast_error(count._a.shape, prob._a.shape) from None
    flat = [np.ascontiguousarray(each).reshape(-1).astype(np.float32 if kind.reduced else kind.np) for each in (counts, chances)]
    with gen.lock:
        values = gamma_sampling.binomial(gen, *flat)
    r = _place(values.astype(kind.np).reshape(counts.shape), count)
    return record(r, "BinomialBackward0", (count, prob), _zero_gradients(2))


for _fn in (_standard_gamma, _standard_gamma_grad, _sample_dirichlet, _dirichlet_grad, binomial):
    export(_fn)
standard_gamma, sample_dirichlet = _standard_gamma, _sample_dirichlet
