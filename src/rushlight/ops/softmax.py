"""Softmax, log_softmax, softmin and gumbel_softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import wrap_dim
from ..kernels import softmax as K
from ..tensor import Tensor, wrap
from ..vocabulary import Dtype, Function
from .creation import like_layout
from .errors import title
from .failed_calls import check_tensor
from .public import export, functional, method
from .record import record
from .write import write_out

__all__ = ["softmax", "log_softmax", "softmin", "gumbel_softmax"]


def _prepared(input: Tensor, dim: int, dtype: Any, name: str) -> tuple[Tensor, int]:
    """The input in the dtype asked for, and the dimension; errors for what is not floating-point."""
    if dtype is not None:
        input = input.to(dtype)
    kind = input._kind
    ndim = input._a.ndim
    d = wrap_dim(dim, ndim)
    if not kind.is_floating and input._a.size:
        raise NotImplementedError(f'"{name}{"_lastdim" if d == max(ndim, 1) - 1 else ""}_kernel_impl" not implemented for '
                                  f'\'{title(kind.dtype)}\'')
    return input, d


def _softmax_grad(dim: int) -> Function:
    def grad(g: Tensor, y: Tensor) -> Tensor:
        product = g * y
        return product - y * product.sum(dim, True)
    return grad


def _log_softmax_grad(dim: int) -> Function:
    def grad(g: Tensor, y: Tensor) -> Tensor:
        return g - y.exp() * g.sum(dim, True)
    return grad


def _normalised(input: Tensor, dim: int, dtype: Any, label: str, name: str, forward: Function, grad: Function,
                backward: Function) -> Tensor:
    if dtype is not None or not input._kind.fast or input._a.ndim == 0 or dim.__class__ is not int or not -input._a.ndim <= dim < input._a.ndim:
        input, dim = _prepared(input, dim, dtype, name)
    out = wrap(forward(input._a, dim), input._kind)
    if input._node is None:
        return out
    return record(out, label, (input,), grad(dim), (out,), lambda g, y: backward(g, y, dim))


def _torch_softmax(input: Tensor, dim: int, dtype: Dtype = None, *, out: Tensor | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along a dimension; computed in `dtype` where one is given."""
    if not isinstance(input, Tensor):
        check_tensor("softmax", input=input)
    if out is not None:
        return write_out(out, _torch_softmax(input, dim, dtype), "softmax")
    return _normalised(input, dim, dtype, "SoftmaxBackward0", "softmax", K.softmax, _softmax_grad, K.softmax_backward)


def _torch_log_softmax(input: Tensor, dim: int, dtype: Dtype = None, *, out: Tensor | None = None) -> Tensor:
    """x - log(sum(exp(x))) along a dimension; computed in `dtype` where one is given."""
    if not isinstance(input, Tensor):
        check_tensor("log_softmax", input=input)
    if out is not None:
        return write_out(out, _torch_log_softmax(input, dim, dtype), "log_softmax")
    return _normalised(input, dim, dtype, "LogSoftmaxBackward0", "log_softmax", K.log_softmax, _log_softmax_grad, K.log_softmax_backward)


_torch_softmax.__name__ = _torch_softmax.__qualname__ = "softmax"
_torch_log_softmax.__name__ = _torch_log_softmax.__qualname__ = "log_softmax"
for _function in (_torch_softmax, _torch_log_softmax):
    export(_function)
    method(_function)


def _implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    """The dimension where none is given: an old convention, with PyTorch's warning."""
    import warnings
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
                  stacklevel=stacklevel + 1)
    return 0 if ndim in (0, 1, 3) else 1


@functional
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Dtype = None) -> Tensor:
    """exp(x) / sum(exp(x)) along a dimension; computed in `dtype` where one is given."""
    if dim is None:
        dim = _implicit_dim("softmax", input.dim(), _stacklevel)
    return _torch_softmax(input, dim, dtype)


@functional
def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Dtype = None) -> Tensor:
    """x - log(sum(exp(x))) along a dimension; computed in `dtype` where one is given."""
    if dim is None:
        dim = _implicit_dim("log_softmax", input.dim(), _stacklevel)
    return _torch_log_softmax(input, dim, dtype)


@functional
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Dtype = None) -> Tensor:
    """softmax(-x)"""
    if dim is None:
        dim = _implicit_dim("softmin", input.dim(), _stacklevel)
    return _torch_softmax(-input, dim, dtype)


@functional(guard=True)
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of the Gumbel-softmax distribution: softmax((logits + Gumbel noise) / tau).

    hard  one-hot samples, with the gradient of the soft ones (straight through). `eps` is deprecated in PyTorch too: a value warns.
    """
    if eps != 1e-10:
        import warnings
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = wrap(like_layout(np.empty(logits._a.shape, logits._a.dtype), logits._a), logits._kind).exponential_().log()
    soft = softmax((logits + -noise) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one = wrap(np.zeros_like(soft._a), soft._kind).scatter_(dim, index, 1.0)
    return one - soft.detach() + soft
