"""`kl_divergence` and the registry of pairs of distribution classes that it is known for.

The formulas for pairs are in `kl_pairs`; here is how the one for two classes is found, and what holds for whole families.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

from ..autograd.api import grad
from ..tensor import Tensor
from ..vocabulary import Function
from .distribution import Distribution
from .exp_family import ExponentialFamily
from .independent import Independent
from .transformed_distribution import TransformedDistribution
from .utils import _sum_rightmost

__all__ = ["register_kl", "kl_divergence"]

_KL_REGISTRY: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}
_found: dict[tuple[type, type], Any] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Decorator: the function computes the divergence of distributions of these classes (and their subclasses). TypeError for no
    classes."""
    for name, each in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(each, type):          # any class: libraries have base classes of their own
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {each}")

    def decorator(function: Function) -> Function:
        _KL_REGISTRY[type_p, type_q] = function
        _found.clear()
        return function
    return decorator


def _most_special(matches: list[tuple[type, type]]) -> tuple[type, type]:
    """The pair whose first class is most derived; among equals, whose second is."""
    def order(a: tuple[type, type], b: tuple[type, type]) -> int:
        for x, y in zip(a, b, strict=True):
            if x is not y:
                return -1 if issubclass(x, y) else 1 if issubclass(y, x) else 0
        return 0
    return min(matches, key=cmp_to_key(order))


def _dispatch_kl(type_p: type, type_q: type) -> Any:
    """The function for two classes; NotImplemented where there is none."""
    matches = [(p, q) for p, q in _KL_REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not matches:
        return NotImplemented
    left = _most_special(matches)
    right_q, right_p = _most_special([(q, p) for p, q in matches])
    function = _KL_REGISTRY[left]
    if function is not _KL_REGISTRY[right_p, right_q]:
        warnings.warn(f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please register_kl({left[0].__name__}, "
                      f"{right_q.__name__})",
                      RuntimeWarning, stacklevel=3)
    return function


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The Kullback-Leibler divergence, the mean under p of log p - log q, of shape batch_shape. NotImplementedError for unknown pairs."""
    key = type(p), type(q)
    if key not in _found:
        _found[key] = _dispatch_kl(*key)
    if _found[key] is NotImplemented:
        raise NotImplementedError(f"No KL(p || q) is implemented for p type {p.__class__.__name__} and q type {q.__class__.__name__}")
    return _found[key](p, q)


@register_kl(ExponentialFamily, ExponentialFamily)
def _kl_expfamily_expfamily(p: ExponentialFamily, q: ExponentialFamily) -> Tensor:
    """The Bregman divergence of the log normaliser."""
    if type(p) is not type(q):
        raise NotImplementedError("The cross KL-divergence between different exponential families cannot be computed using Bregman "
                                  "divergences")
    theta = [each.detach().requires_grad_() for each in p._natural_params]
    normalizer = p._log_normalizer(*theta)
    result = q._log_normalizer(*q._natural_params) - normalizer
    for mine, other, slope in zip(theta, q._natural_params, grad(normalizer.sum(), theta, create_graph=True), strict=True):
        result = result - _sum_rightmost((other - mine) * slope, len(q.event_shape))
    return result


@register_kl(TransformedDistribution, TransformedDistribution)
def _kl_transformed_transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    """The same transforms leave the divergence of the base distributions as it is."""
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError("kl_divergence of transformed distributions whose transforms or event shapes differ")
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _kl_independent_independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("kl_divergence of Independent distributions with different reinterpreted_batch_ndims")
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


from . import kl_matrices, kl_pairs  # noqa: E402, F401  (they register the pairs)
