"""`vmap`: a function of single samples, called on whole batches at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import services
from ..autograd.grad_mode import LOCAL, STATE
from ..ops.joining import cat
from ..ops.record import record, share_version
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor, wrap
from ..utils._pytree import _broadcast_to_and_flatten, register_pytree_node, tree_flatten, tree_unflatten
from ..vocabulary import Array, Function
from . import fallback
from .batched import BatchedArray, levels_of, new_level, put_level, take_level

if TYPE_CHECKING:
    from ..utils._pytree import LeafSpec, TreeSpec

__all__ = ["vmap", "batch_size", "batch_tensor", "unbatch_tensor", "share_tensor", "Level", "is_batched", "debug_unwrap"]


class Level:
    """A vmap that runs, as a context: gives the level's number. `randomness` says what random ops do inside."""

    def __init__(self, batch: int, randomness: str) -> None:
        self.entry = (new_level(), batch, randomness)

    def __enter__(self) -> int:
        self.previous = LOCAL.vmaps
        LOCAL.vmaps = (*self.previous, self.entry)
        STATE.vmaps += 1
        return self.entry[0]

    def __exit__(self, *exception: object) -> None:
        LOCAL.vmaps = self.previous
        STATE.vmaps -= 1


# --- in and out of a level ------------------------------------------------------------------------------------------------------------

def _front(a: Array, dim: int) -> Array:
    return a if dim == 0 else np.moveaxis(a, dim, 0)


def batch_tensor(t: Tensor, dim: int, level: int) -> Tensor:
    """The tensor seen by one sample: its dimension `dim` becomes the batch of a level. Memory and version are shared."""
    r = wrap(put_level(_front(t._a, dim), level), t._kind)
    r._ver = share_version(t)
    size = t._a.shape[dim]
    return record(r, "BatchBackward", (t,), lambda g: unbatch_tensor(g, level, size, dim),
                  array_grad=lambda g: _unbatch(g, level, size, dim))


def share_tensor(t: Tensor, level: int, size: int) -> Tensor:
    """A tensor that is the same for all samples, repeated for each. (A gradient that is batched at the level may arrive at `t` as it
    is.)"""
    r = wrap(put_level(np.broadcast_to(t._a, (size, *t._a.shape)), level), t._kind)
    return record(r, "ShareBackward", (t,), lambda g: g, array_grad=lambda g: g)


@services.sum_level.given
def sum_level(t: Tensor, level: int) -> Tensor:
    """The sum over the samples of a level."""
    return unbatch_tensor(t, level, take_level(t._a, level).shape[0], 0).sum(0)




def _unbatch(a: Array, level: int, size: int, dim: int) -> Array:
    """The array with the level's batch as dimension `dim`; repeated where it is not batched at the level."""
    found = take_level(a, level)
    if found is None:
        return np.broadcast_to(np.expand_dims(a, dim), (*a.shape[:dim], size, *a.shape[dim:]))
    return found if dim == 0 else np.moveaxis(found, 0, dim)


def unbatch_tensor(t: Tensor, level: int, size: int, dim: int) -> Tensor:
    """The tensor of all samples, stacked along `dim`: the opposite of `batch_tensor`."""
    if level not in levels_of(t._a):
        shape = t._a.shape
        return t.unsqueeze(dim).expand(*shape[:dim], size, *shape[dim:])
    r = wrap(_unbatch(t._a, level, size, dim), t._kind)
    return record(r, "UnbatchBackward", (t,), lambda g: batch_tensor(g, dim, level), array_grad=lambda g: put_level(_front(g, dim), level))


# --- arguments ------------------------------------------------------------------------------------------------------------------------

def _name(func: Function) -> str:
    return getattr(func, "__name__", None) or repr(func)


def _flat_inputs(func: Function, in_dims: int | tuple[Any, ...] | None, args: tuple[Any, ...]) -> tuple[int, list[Any], list[Any], Any]:
    """(batch size, leaves of the arguments, dimension or None of each, structure); ValueError for what does not fit."""
    def name() -> str:
        return f"vmap({_name(func)}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(f"{name()}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, got: "
                         f"{type(in_dims)}.")
    if not args:
        raise ValueError(f"vmap({_name(func)})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
                         "function with no inputs. The latter is unsupported.")
    leaves, spec = tree_flatten(args)
    dims = _broadcast_to_and_flatten(in_dims, spec)
    if dims is None:
        raise ValueError(f"{name()}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
                         f"{tree_flatten(in_dims)[1]} but inputs has structure {spec}.")
    sizes = set()
    for i, (leaf, dim) in enumerate(zip(leaves, dims, strict=True)):
        if dim is None:
            continue
        if not isinstance(dim, int) or isinstance(dim, bool):
            raise ValueError(f"{name()}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or None.")
        if not isinstance(leaf, Tensor):
            raise ValueError(f"{name()}: Got in_dim={dim} for an input but the input is of type {type(leaf)}. We cannot vmap over "
                             "non-Tensor arguments, please use None as the respective in_dim")
        n = leaf._a.ndim
        if not -n <= dim < n:
            raise ValueError(f"{name()}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {n} so expected "
                             f"in_dim to satisfy -{n} <= in_dim < {n}.")
        dims[i] = dim % n
        sizes.add(leaf._a.shape[dim])
    if not sizes:
        raise ValueError(f"{name()}: at least one input has to be mapped over, but every in_dim is None")
    if len(sizes) > 1:
        shapes = [(leaf._a.shape[dim]) for leaf, dim in zip(leaves, dims, strict=True) if dim is not None]
        raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {shapes} for the mapped "
                         "dimension")
    return sizes.pop(), leaves, dims, spec


def batch_size(func: Function, in_dims: int | tuple[Any, ...] | None, args: tuple[Any, ...]) -> int:
    """How many samples the arguments hold; ValueError for what does not fit."""
    return _flat_inputs(func, in_dims, args)[0]


def _flat_out_dims(func: Function, out_dims: int | tuple[Any, ...] | None, spec: LeafSpec | TreeSpec, count: int,
                   single: bool) -> list[Any]:
    """One out_dim per output; ValueError where the structures differ."""
    dims = [out_dims[0]] if single and isinstance(out_dims, tuple) and len(out_dims) == 1 else _broadcast_to_and_flatten(out_dims, spec)
    if dims is None or len(dims) != count:
        raise ValueError(f"vmap({_name(func)}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
                         f"`outputs`. out_dims has structure {tree_flatten(out_dims)[1]} but outputs has structure {spec}.")
    for dim in dims:
        if dim is not None and (not isinstance(dim, int) or isinstance(dim, bool)):
            raise ValueError(f"vmap({_name(func)}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python collection of "
                             "ints representing where in the outputs the vmapped dimension should appear.")
    return dims


def _out_dim(func: Function, dim: int, ndim: int) -> int:
    if not -ndim - 1 <= dim <= ndim:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-ndim - 1}, {ndim}], but got {dim})")
    return dim + ndim + 1 if dim < 0 else dim


def _flat_outputs(outputs: Any) -> tuple[list[Any], Any]:
    """The outputs' leaves and structure; named results such as those of ``sort`` count as tuples."""
    leaves, spec = tree_flatten(outputs)
    named = {type(leaf) for leaf in leaves if isinstance(leaf, tuple)}
    for cls in named:
        register_pytree_node(cls, lambda t: (list(t), None), lambda parts, _, cls=cls: cls(parts))
    return tree_flatten(outputs) if named else (leaves, spec)


def _unwrap_outputs(func: Function, outputs: Any, out_dims: int | tuple[Any, ...] | None, level: int, size: int) -> Any:
    leaves, spec = _flat_outputs(outputs)
    dims = _flat_out_dims(func, out_dims, spec, len(leaves), isinstance(outputs, Tensor))
    results = []
    for leaf, dim in zip(leaves, dims, strict=True):
        if not isinstance(leaf, Tensor) and dim is not None:
            raise ValueError(f"vmap({_name(func)}, ...): `{_name(func)}` must only return Tensors, got type {type(leaf)}. Did you mean to "
                             "set out_dims= to None for output?")
        if dim is None:
            if isinstance(leaf, Tensor) and level in levels_of(leaf._a):
                raise ValueError(f"vmap({_name(func)}, ...): `{_name(func)}` can not return a BatchedTensor when out_dim is None")
            results.append(leaf)
            continue
        results.append(unbatch_tensor(leaf, level, size, _out_dim(func, dim, leaf._a.ndim)))
    return tree_unflatten(results, spec)


# --- vmap -----------------------------------------------------------------------------------------------------------------------------

def vmap(func: Callable[..., Any], in_dims: int | tuple[Any, ...] | None = 0, out_dims: int | tuple[Any, ...] | None = 0,
         randomness: str = "error", *, chunk_size: int | None = None) -> Function:
    """The function that applies `func` to every sample of a batch: ``vmap(torch.dot)(a, b)`` for a and b of shape (batch, n).

    in_dims     the batch's dimension in the inputs (negative counts from the end): one for all, or nested like the arguments, with None
                for what all samples share. Keyword arguments are shared.
    out_dims    where the batch goes in the outputs, nested like them; None for outputs that are equal for all samples
    randomness  what random ops do in `func`: "error", "different" numbers per sample, or the "same"
    chunk_size  how many samples to compute at once (default: all)

    ValueError for inputs, in_dims or out_dims that don't fit; RuntimeError where `func` needs a value of a sample in Python (``.item()``,
    `if`). Ops without a batched form are run sample by sample.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and not (chunk_size == -1 or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @wraps(func)
    def batched(*args: Any, **kwargs: Any) -> Any:
        size, leaves, dims, spec = _flat_inputs(func, in_dims, args)
        if chunk_size is not None and 0 < chunk_size < size:
            return _in_chunks(func, leaves, dims, spec, kwargs, out_dims, randomness, size, chunk_size)
        return _run(func, leaves, dims, spec, kwargs, out_dims, randomness, size)
    return batched


def _run(func: Function, leaves: list[Any], dims: list[Any], spec: TreeSpec, kwargs: dict[Any, Any],
         out_dims: int | tuple[Any, ...] | None, randomness: str, size: int) -> Any:
    def once() -> Any:
        with Level(size, randomness) as level:
            inputs = tree_unflatten([leaf if dim is None else batch_tensor(leaf, dim, level)
                                     for leaf, dim in zip(leaves, dims, strict=True)], spec)
            return _unwrap_outputs(func, func(*inputs, **kwargs), out_dims, level, size)
    return fallback.run(once, func, randomness, leaves)


def _in_chunks(func: Function, leaves: list[Any], dims: list[Any], spec: TreeSpec, kwargs: dict[Any, Any], out_dims: int, randomness: str,
               size: int, chunk: int) -> Tensor | tuple[Tensor, ...]:
    """The batch in pieces, and the pieces' results joined along out_dims."""
    state = get_rng_state() if randomness == "same" else None
    pieces = []
    out_spec: Any = None
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        part = [leaf if dim is None else leaf.narrow(dim, start, stop - start) for leaf, dim in zip(leaves, dims, strict=True)]
        if state is not None:
            set_rng_state(state)
        flat, out_spec = tree_flatten(_run(func, part, dims, spec, kwargs, out_dims, randomness, stop - start))
        pieces.append(flat)
    out = _flat_out_dims(func, out_dims, out_spec, len(pieces[0]), len(pieces[0]) == 1)
    joined = [column[0] if dim is None else cat(list(column), dim) for column, dim in zip(zip(*pieces, strict=True), out, strict=True)]
    return tree_unflatten(joined, out_spec)


def is_batched(t: Any) -> bool:
    """Whether a tensor stands for the samples of a batch."""
    return isinstance(t, Tensor) and t._a.__class__ is BatchedArray



def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """The values of all samples that a tensor inside vmap stands for (of the innermost level alone, with recurse=False); without
    history."""
    a = tensor._a
    while isinstance(a, BatchedArray):
        a = a.physical
        if not recurse:
            break
    return tensor if a is tensor._a else wrap(a, tensor._kind)
