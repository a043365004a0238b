"""Sampling with parameters per element: bernoulli, normal with tensors, multinomial, poisson."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.grad_mode import STATE
from ..devices import CPU
from ..generator import Generator, generator_of
from ..kernels import gamma_sampling
from ..kernels import random_fill as R
from ..kernels.reduce import amax, amin
from ..kernels.shapes import broadcast_shapes
from ..kernels.sorting import first
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Device, Dtype, Function, GeneratorLike, Layout, Operand
from .convert import move
from .creation import finish, like_layout, size_of
from .errors import broadcast_error, not_a_tensor, title
from .public import export, method
from .random import (
    _fresh_like,
    _into,
    creation_kind,
    drawn,
    fill,
    fresh,
    integer,
    normal_writer,
    number,
    on_device,
    one_by_one,
    one_for_all,
)
from .record import record
from .write import write_out

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["bernoulli_mask", "drawn_here"]


def _zero_gradients(count: int) -> Function:
    """Random numbers pass no gradient on; PyTorch records zeros."""
    return (lambda g: g * 0) if count == 1 else (lambda g: (g * 0,) * count)


def _host(t: Tensor) -> Array:
    """The tensor's array on the CPU."""
    if t._kind.device is CPU:
        return t._a
    return move(t._a, t._kind.device, CPU)


def _place(a: Array, like: Tensor, kind: Kind = None) -> Tensor:
    """A CPU array as a tensor on `like`'s device."""
    kind = kind or like._kind
    if kind.device is not CPU:
        a = move(a, CPU, kind.device)
    return wrap(a, kind)


# --- bernoulli ------------------------------------------------------------------------------------------------------------------------

def _probability_writer(gen: Generator, kind: Kind, p: Any, name: str) -> Function:
    """A function that fills an array with ones of probability p (a number, or a tensor that broadcasts to the array)."""
    if isinstance(p, Tensor):
        if kind.is_complex and p._a.size:
            raise NotImplementedError(f"\"bernoulli_tensor_cpu_self_\" not implemented for '{title(kind.dtype)}'")
        if not p._kind.is_floating and p._a.size:
            raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{title(p._kind.dtype)}'")
        if drawn_here(kind):
            return _device_probability_writer(gen, kind, p)
        chances = _host(p)
        wide = chances.astype(np.float32) if p._kind.reduced else chances
        if chances.size and not (float(amin(wide, None, False)) >= 0.0 and float(amax(wide, None, False)) <= 1.0):
            raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false: the probabilities must lie in [0, 1]")

        def write(a: Array) -> None:
            spread = chances if chances.shape == a.shape else np.broadcast_to(chances, a.shape)
            if not a.flags.c_contiguous:
                spread = spread.transpose(R.memory_axes(a))
            R.draw(gen, a, R.bernoulli_each, spread.reshape(-1))
        return write
    p = number(p, name, "p", 1)
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    if kind.is_complex:
        raise NotImplementedError(f"\"bernoulli_scalar_cpu_\" not implemented for '{title(kind.dtype)}'")
    return on_device(gen, kind, "bernoulli", lambda a: R.draw(gen, a, R.bernoulli, p), p)


def drawn_here(kind: Kind) -> bool:
    """Whether the tensor is a GPU's, and its numbers come from the GPU's own stream."""
    if kind.device is CPU:
        return False
    return kind.xp.random.own_stream()


def _device_probability_writer(gen: Generator, kind: Kind, p: Tensor) -> Any:
    """A writer whose kernel compares with one probability per element; the GPU checks that they lie in [0, 1]."""
    chances = p._a.astype(np.float64 if kind.np == np.float64 else np.float32)

    def write(a: Any) -> None:
        spread = np.broadcast_to(chances, a.shape)
        if not a.flags.c_contiguous:
            spread = spread.transpose(R.memory_axes(a))
        kind.xp.random.filled(a, "bernoulli_each", gen, (kind.xp.ascontiguousarray(spread),))
    write.on_device = write  # type: ignore[attr-defined]
    return write


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: GeneratorLike = None) -> Tensor:
    """Fill with ones of probability p, else zeros. `p` is a number, or a tensor that broadcasts to self."""
    kind = self._kind
    if not isinstance(p, (Tensor, int, float, np.number)):
        raise TypeError(f"bernoulli_() received an invalid combination of arguments - got ({type(p).__name__}), but expected p to be a "
                        "float or a Tensor")
    if isinstance(p, Tensor):
        if kind.is_complex and self._a.size:
            raise NotImplementedError(f"\"bernoulli_tensor_cpu_self_\" not implemented for '{title(kind.dtype)}'")
        shape, given = self._a.shape, p._a.shape
        padded = (1,) * (len(shape) - len(given)) + given
        if len(given) > len(shape) or any(n not in (1, m) for n, m in zip(padded, shape, strict=True)):
            raise RuntimeError(f"The expanded size of the tensor {list(shape)} must match the existing size {list(given)} of p")
    gen = generator_of(generator, kind.device, "bernoulli_")
    one_for_all(p)
    return fill(self, "BernoulliBackward0", _probability_writer(gen, kind, p, "bernoulli_"))


def bernoulli(input: Tensor, p: Any = None, *, generator: GeneratorLike = None, out: Tensor | None = None) -> Tensor:
    """Ones and zeros in input's shape and dtype: ones with the probability in `input`, or all with probability p."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("bernoulli", "input", 1, input)
    if isinstance(p, Tensor) and p.dim():
        raise TypeError("bernoulli() received an invalid combination of arguments - got (Tensor, Tensor): p has to be a float; use "
                        "torch.bernoulli(p.expand_as(input))")
    kind = input._kind
    gen = generator_of(generator, kind.device, "bernoulli")
    one_for_all(input if p is None else p)
    r = fresh(kind, input._a.shape, _probability_writer(gen, kind, input if p is None else p, "bernoulli"))
    if out is not None:
        return write_out(out, r, "bernoulli")
    return record(r, "BernoulliBackward0", (input,), _zero_gradients(1))


def bernoulli_mask(shape: tuple[int, ...], like: Array | None, p: float, kind: Kind, generator: GeneratorLike = None) -> Array:
    """A bool array of this shape (and of the memory layout of the array `like`), True with probability p: a dropout mask.

    On CUDA it comes from numbers of the kind's dtype, as PyTorch's noise does.
    """
    gen = generator_of(generator, kind.device, "dropout")
    if kind.device is not CPU:
        noise = kind.xp.empty(shape, kind.np)
        if like is not None and not like.flags.c_contiguous and not STATE.vmaps:
            noise = like_layout(noise, like)
        r = fill(wrap(noise, kind), "", _probability_writer(gen, kind, p, "dropout")) if not STATE.vmaps else fresh(
            kind, shape, _probability_writer(gen, kind, p, "dropout"))
        return r._a.astype(np.bool_)
    if STATE.vmaps:
        return drawn(shape, kind.bool_, lambda a: R.draw(gen, a, R.bernoulli, p))
    mask = np.empty(shape, np.bool_)
    if like is not None and not like.flags.c_contiguous:
        mask = like_layout(mask, like)
    R.draw(gen, mask, R.bernoulli, p)
    return mask


# --- normal with tensors --------------------------------------------------------------------------------------------------------------

def normal(mean: Operand = 0.0, std: Operand = 1.0, size: Any = None, *, generator: GeneratorLike = None, out: Tensor | None = None,
           dtype: Dtype = None,
           layout: Layout = None, device: Device = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """Normal numbers; mean and std may be tensors (they broadcast), or both numbers, and then `size` is needed.

    With tensors, the dtype is the mean's (the std's, where the mean is a number).
    """
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        if size is not None or dtype is not None or device is not None:
            raise TypeError("normal() received an invalid combination of arguments: size, dtype and device go with numbers as mean and std")
        return _normal_of_tensors(mean, std, generator, out)
    mean, std = number(mean, "normal", "mean", 1), number(std, "normal", "std", 2)
    if isinstance(size, int):
        raise TypeError("normal() received an invalid combination of arguments: size must be tuple of ints, not int")
    if size is None:
        raise TypeError("normal() received an invalid combination of arguments - got (float, float), but expected a Tensor, or a size")
    shape = size_of((size,), "normal")

    def writer(kind: Kind) -> Any:
        return normal_writer(generator_of(generator, kind.device, "normal"), kind, mean, std)

    if out is not None:
        return finish(_into(out, shape, dtype, "normal", writer), requires_grad)
    kind = creation_kind(dtype, device)
    return finish(fresh(kind, shape, writer(kind)), requires_grad, pin_memory, layout)


def _normal_of_tensors(mean: Any, std: Any, generator: GeneratorLike, out: Tensor | None) -> Tensor:
    main = mean if isinstance(mean, Tensor) else std
    shapes = [each._a.shape for each in (mean, std) if isinstance(each, Tensor)]
    try:
        shape = broadcast_shapes(*shapes)
    except ValueError:
        raise broadcast_error(*shapes) from None
    kind = main._kind
    gen = generator_of(generator, kind.device, "normal")
    one_for_all(mean, std)
    if isinstance(std, Tensor):
        if std._kind.is_complex:
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if not bool((std._a >= 0).all()):
            raise RuntimeError("normal expects all elements of std >= 0.0")
        r = fresh(kind, shape, normal_writer(gen, kind, 0.0, 1.0)) * std.detach()
    else:
        r = fresh(kind, shape, normal_writer(gen, kind, 0.0, number(std, "normal", "std", 2)))
    if isinstance(mean, Tensor):
        r = r + mean.detach()
    elif number(mean, "normal", "mean", 1):
        r = r + float(mean)
    r = r if r._kind is kind else r.to(kind.dtype)
    if out is not None:
        return write_out(out, r, "normal")
    inputs = tuple(each for each in (mean, std) if isinstance(each, Tensor))
    label = "NormalBackward3" if len(inputs) == 2 else "NormalBackward1" if isinstance(mean, Tensor) else "NormalBackward2"
    return record(r, label, inputs, _zero_gradients(len(inputs)))


# --- multinomial ----------------------------------------------------------------------------------------------------------------------

def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: GeneratorLike = None,
                out: Tensor | None = None) -> Tensor:
    """Indices (int64) drawn with the weights in each row of `input`, a floating tensor of one or two dimensions.

    The result has shape (num_samples,) or (rows, num_samples). Weights need not sum to one.
    """
    if not isinstance(input, Tensor):
        raise not_a_tensor("multinomial", "input", 1, input)
    count = integer(num_samples, "multinomial", "num_samples", 2)
    kind = input._kind
    _check_multinomial(input, count, replacement)
    if out is not None and out._kind.dtype.name != "int64":
        raise RuntimeError(f"multinomial expects Long tensor out, got: {title(out._kind.dtype)}")
    gen = generator_of(generator, kind.device, "multinomial")
    one_for_all(input)
    if STATE.vmaps:
        one_by_one()
    here = drawn_here(kind)
    weights = input._a if here else _host(input)
    if not input._a.size:
        r = _place(np.empty((*weights.shape[:-1], count), np.int64), input, kind.int64)
    else:
        lowest = weights.min()
        if not (lowest >= 0.0 and weights.max() < math.inf):
            raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
        if not lowest > 0.0 and not bool((weights.max(-1) > 0).all()):
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        several = replacement and count > 1
        if here:
            r = _multinomial_on_device(gen, input.detach(), count, several)
        else:
            r = _place(_with_replacement(gen, weights, count) if several else _without_replacement(gen, weights, count), input, kind.int64)
    return r if out is None else write_out(out, r, "multinomial")


def _multinomial_on_device(gen: Generator, weights: Tensor, count: int, replacement: bool) -> Tensor:
    kind = weights._kind
    if replacement:
        a = kind.xp.random.sampled(kind, "multinomial", gen, kind.xp.ascontiguousarray(weights._a.reshape(-1, weights._a.shape[-1])), count)
        return wrap(a.reshape(*weights._a.shape[:-1], count), kind.int64)
    q = _fresh_like(kind, weights, None, on_device(gen, kind, "exponential", lambda a: R.draw(gen, a, R.exponential, 1.0), 1.0))
    scores = weights / q
    return scores.argmax(-1, keepdim=True) if count == 1 else scores.topk(count)[1]


def _check_multinomial(input: Tensor, count: int, replacement: bool) -> None:
    shape = input._a.shape
    if not 1 <= len(shape) <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not input._kind.is_floating:
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {title(input._kind.dtype)}")
    if count <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and count > shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if shape[-1] > 1 << 24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    if not shape[-1] and (len(shape) == 1 or shape[0]):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


def _without_replacement(gen: Generator, weights: Array, count: int) -> Array:
    """The largest of weight / exponential number: each draw is proportional to the weights that are left (the Gumbel-max trick)."""
    q = np.empty(weights.shape, weights.dtype)
    if not weights.flags.c_contiguous:
        q = like_layout(q, weights)
    R.draw(gen, q, R.exponential, 1.0)
    if q.dtype.itemsize == 2:
        scores = (weights.astype(np.float32) / q.astype(np.float32)).astype(q.dtype).astype(np.float32)
    else:
        scores = weights / q
    if count == 1:
        return scores.argmax(-1)[..., None]
    return first(scores, scores.ndim - 1, count, True)


def _with_replacement(gen: Generator, weights: Array, count: int) -> Array:
    """For each uniform number, the first place where the cumulative distribution reaches it."""
    rows = weights.reshape(-1, weights.shape[-1])
    result = np.empty((len(rows), count), np.int64)
    with gen.lock:
        for row, samples in zip(rows, result, strict=True):
            cumulative = _cumulative(row)
            samples[:] = np.searchsorted(cumulative, gen.doubles(count), side="left")
    return result.reshape(*weights.shape[:-1], count)


def _cumulative(row: Array) -> Array:
    """The cumulative distribution, summed up and normalised in the weights' own precision."""
    sums = np.cumsum(row, dtype=row.dtype)
    cumulative = (sums / sums[-1]).astype(np.float64)
    cumulative[-1] = 1.0
    return cumulative


# --- poisson --------------------------------------------------------------------------------------------------------------------------

def poisson(input: Tensor, generator: GeneratorLike = None) -> Tensor:
    """Poisson counts in input's shape and dtype; `input` holds the rates (floating, not negative)."""
    if not isinstance(input, Tensor):
        raise not_a_tensor("poisson", "input", 1, input)
    kind = input._kind
    if not kind.is_floating:
        raise NotImplementedError(f"\"poisson_cpu\" not implemented for '{title(kind.dtype)}'")
    gen = generator_of(generator, kind.device, "poisson")
    one_for_all(input)
    if STATE.vmaps:
        one_by_one()
    if drawn_here(kind):
        r = wrap(kind.xp.random.sampled(kind, "poisson", gen, input._a), kind)
    else:
        rates = _host(input)
        if not bool((rates >= 0).all()):
            raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
        with gen.lock:
            counts = gamma_sampling.poisson(gen, np.ascontiguousarray(rates, np.float64).reshape(-1))
        r = _place(counts.reshape(rates.shape).astype(kind.np), input)
    return record(r, "PoissonBackward0", (input,), _zero_gradients(1))


method(bernoulli_, guard=True)
for _fn in (bernoulli, multinomial):
    export(_fn, guard=True, first=_fn is bernoulli)
    method(_fn, guard=True)
for _fn in (normal, poisson):
    export(_fn, guard=True)
