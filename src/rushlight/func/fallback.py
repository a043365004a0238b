"""Ops that can't be computed for a batch at once: run them sample by sample.

Where an op meets something that has no batched form it raises `NotBatched`. The door in front of it (`overrides.watched`) then calls it
once per sample and stacks the results, with their gradients. Doors are there when a function is vmapped for the first time; if it did not
need them, it is trusted from then on, and runs without.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, wraps
from typing import Any
from weakref import WeakSet

from .. import overrides, services
from ..autograd.grad_mode import LOCAL, STATE
from ..autograd.graph import Node, wrap_array
from ..generator import all_default_generators
from ..kind import VMAP_FALLBACK, NotBatched, OneByOne
from ..ops.joining import stack
from ..ops.record import RecordNode
from ..ops.write import inplace_from
from ..overrides import watch
from ..tensor import Tensor
from ..vocabulary import Function, Operand
from .batched import data_dependent, levels_of, shared_write

__all__ = ["run", "assume_clean", "per_sample", "node_by_sample"]


_clean: WeakSet[Any] = WeakSet()      # functions that were vmapped without meeting an op that has no batched form
_needed = 0                           # how often the fallback was needed


def assume_clean(function: Function) -> None:
    """Let a function be vmapped without doors from the first time on."""
    _clean.add(_key(function))


def _key(function: Function) -> Any:
    """What a function is remembered by: the code of the innermost one where it is wrapped; closures are made anew for every call."""
    while hasattr(function, "__wrapped__") or isinstance(function, partial):
        function = function.func if isinstance(function, partial) else function.__wrapped__
    return getattr(function, "__code__", function)


def run(once: Callable[[], Any], function: Function, randomness: str, inputs: Sequence[Any]) -> Any:
    """Run a vmapped function with the fallback in place. A function that did not need it the first time is run without."""
    try:
        return _run(once, function, randomness, inputs)
    except NotBatched as error:
        if LOCAL.vmaps:
            raise
        raise RuntimeError(str(error)) from error      # nothing can rescue it any more


def _run(once: Callable[[], Any], function: Function, randomness: str, inputs: Sequence[Any]) -> Any:
    if overrides.watching():
        return once()
    key = _key(function)
    if key in _clean:
        return _optimistic(once, randomness, inputs)
    before = _needed
    with overrides.watched():
        result = once()
    if _needed == before:
        with suppress(TypeError):          # some callables can't be referred to weakly
            _clean.add(key)
    else:
        overrides.watch()
    return result


def _optimistic(once: Callable[[], Any], randomness: str, inputs: Sequence[Any]) -> Tensor | tuple[Tensor, ...]:
    """Without doors; where they turn out to be needed after all, run again with them."""
    states = [(each, each.clone_state()) for each in all_default_generators()] if randomness != "error" else []
    versions = [t._ver + 0 for t in inputs if isinstance(t, Tensor)]
    try:
        return once()
    except NotBatched as error:
        overrides.watch()
        if versions != [t._ver + 0 for t in inputs if isinstance(t, Tensor)]:
            raise RuntimeError("vmap: the function changed an input in place before it met an op that has no batched form (this time, not "
                               "when it was run first). It can't be run again on changed inputs: restore them and call it once more, or "
                               "clone() inside") from error
    for generator, state in states:
        generator.load_bytes(state.state_bytes())
    return once()


@services.per_sample.given
def per_sample(function: Function, args: tuple[Any, ...], kwargs: dict[Any, Any], error: NotBatched) -> Tensor | None:
    """Call a function that raised NotBatched once per sample of the innermost level in its arguments, and stack the results."""
    global _needed
    _needed += 1
    tensors = [*_tensors(args), *_tensors(kwargs)]
    level = max((levels_of(t._a)[0] for t in tensors if levels_of(t._a)), default=0)
    running = {number: (size, randomness) for number, size, randomness in LOCAL.vmaps}
    if not level:
        if not isinstance(error, OneByOne) or not any(randomness == "different" for _, randomness in running.values()):
            raise error
        level = max(number for number, (_, randomness) in running.items() if randomness == "different")
    if function.__name__ in _DATA:
        raise error
    size = running[level][0] if level in running else next(_size(t._a, level) for t in tensors if level in levels_of(t._a))
    if size and not isinstance(error, OneByOne):
        from .op_rules import at_once
        result = at_once(_resuming(function), args, kwargs, level, size)
        if result is not NotImplemented:
            return result
        _note_fallback(function.__name__)
    writes = _writes(function.__name__)
    if writes and level not in levels_of(args[0]._a):
        raise shared_write()
    if "out" in kwargs:
        raise RuntimeError(f"vmap: {function.__name__}(out=...) is not supported inside vmap: use the result")
    results = _results(function, args, kwargs, level, size, running)
    if writes:
        inplace_from(args[0], lambda *_: _stacked(results, level), (args[0],), {})
        return None if function.__name__ in ("__setitem__", "setitem") else args[0]
    return _stacked(results, level)


def _note_fallback(name: str) -> None:
    """An op has no batched form: say it, or refuse it, where a program has asked for that."""
    if not VMAP_FALLBACK["enabled"]:
        raise RuntimeError(f"Batching rule not implemented for aten::{name}; the fallback, which runs it sample by sample, is switched off")
    if VMAP_FALLBACK["warn"]:
        warnings.warn(f"There is a performance drop because we have not yet implemented the batching rule for aten::{name}: it runs "
                      "sample by sample", UserWarning, stacklevel=2)


@services.node_by_sample.given
def node_by_sample(node: Any, g: Any, graph: bool) -> Any:
    """The gradients of a node whose formula on arrays has no batched form: through its ops, or else the whole formula sample by sample."""
    watch()
    try:
        return node.tensors(g) if graph else Node.arrays(node, g)
    except NotBatched as error:
        if not isinstance(node, RecordNode):
            raise
        if not graph:
            g = wrap_array(g) if node.outputs == 1 else [None if each is None else wrap_array(each) for each in g]
        grads = per_sample(_named("formula", node.formula), (g, *(node.values(not graph) if node.saved != () else ())), {}, error)
    grads = grads if isinstance(grads, (tuple, list)) else (grads,)
    return grads if graph else [None if each is None else each._a for each in grads]


def _named(name: str, function: Function) -> Any:
    def call(*args: Any) -> Any:
        return function(*args)
    call.__name__ = name
    return call


_DATA = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "numpy", "__complex__", "__contains__"}


def _writes(name: str) -> bool:
    return name in ("__setitem__", "setitem") or (name.endswith("_")
                                                  and not name.endswith("__")) or (name.startswith("__i") and name in _INPLACE_OPERATORS)


_INPLACE_OPERATORS = {"__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__", "__iand__", "__ior__",
                      "__ixor__", "__ilshift__", "__irshift__"}


def _tensors(value: Operand | dict[Any, Any] | tuple[Any, ...]) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return []
    return [t for each in value for t in _tensors(each)]


def _size(a: Any, level: int) -> int:
    while a.level != level:
        a = a.physical
    return a.batch


def _results(function: Function, args: tuple[Any, ...], kwargs: dict[Any, Any], level: int, size: int,
             running: dict[Any, Any]) -> list[Any]:
    """The function's result for every sample."""
    from .vmap import share_tensor, unbatch_tensor
    if not size:
        raise RuntimeError(f"vmap: {function.__name__} has no batched form, and the batch is empty, so that the shape of its result is "
                           "not known")
    samples: dict[int, Any] = {}

    def split(value: Operand | dict[Any, Any] | tuple[Any, ...]) -> Any:
        if isinstance(value, Tensor):
            if level in levels_of(value._a):
                samples[id(value)] = unbatch_tensor(value, level, size, 0).unbind(0)
            elif value._node is not None:      # its gradients have to stay apart by sample
                samples[id(value)] = unbatch_tensor(share_tensor(value, level, size), level, size, 0).unbind(0)
        elif isinstance(value, dict):
            for each in value.values():
                split(each)
        elif isinstance(value, (list, tuple)):
            for each in value:
                split(each)

    def pick(value: Operand | dict[Any, Any] | tuple[Any, ...], i: int) -> Operand | dict[Any, Any] | tuple[Any, ...]:
        if isinstance(value, Tensor):
            if id(value) not in samples:
                return value
            sample = samples[id(value)][i]
            return sample.clone() if own_storage else sample
        if value.__class__ is dict:
            return {key: pick(each, i) for key, each in value.items()}
        if value.__class__ is list or value.__class__ is tuple:
            return value.__class__([pick(each, i) for each in value])
        return value

    split(args)
    split(kwargs)
    own_storage = function.__name__.startswith("as_strided")      # offsets count from the sample's first element
    writes = _writes(function.__name__)
    same = level in running and running[level][1] == "same"
    states = [(each, each.clone_state()) for each in all_default_generators()] if same else []
    previous = LOCAL.vmaps
    # One sample is not batched any more; but a vmap that refuses random ops goes on refusing them.
    LOCAL.vmaps = tuple([each for each in previous if each[0] != level or each[2] == "error"])
    STATE.vmaps += len(LOCAL.vmaps) - len(previous)
    results = []
    try:
        for i in range(size):
            for generator, state in states if i else ():
                generator.load_bytes(state.state_bytes())
            given = pick(args, i)
            if writes:
                given = (given[0].clone(), *given[1:])
            result = _of_sample(function, given, pick(kwargs, i))
            results.append(_own(given[0] if writes else result, level, size, i))
    finally:
        STATE.vmaps += len(previous) - len(LOCAL.vmaps)
        LOCAL.vmaps = previous
    return results


def _own(result: Tensor, level: int, size: int, i: int) -> Tensor:
    """Sample i of a result that is batched at the level after all, because the function holds (in a closure) something that is."""
    if isinstance(result, Tensor):
        from .vmap import unbatch_tensor
        return unbatch_tensor(result, level, size, 0).select(0, i) if level in levels_of(result._a) else result
    if result.__class__ is tuple or result.__class__ is list:
        return result.__class__([_own(each, level, size, i) for each in result])
    return result


def _resuming(function: Function) -> Function:
    """The function, which where it is refused at one level goes on at the next."""
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _of_sample(function, args, kwargs)
    return call


def _of_sample(function: Function, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
    """The function's result for one sample, which may be a batch of samples of an outer vmap."""
    try:
        return function(*args, **kwargs)
    except NotBatched as error:
        return per_sample(function, args, kwargs, error)


def _stacked(results: list[Any], level: int) -> Any:
    """The results of all samples as tensors of the level."""
    from .vmap import batch_tensor
    first = results[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        shapes = {t._a.shape for t in results}
        if len(shapes) > 1:
            raise RuntimeError("vmap: the shape of an operation's result depends on the values, so that samples differ: it can't be "
                               f"vmapped. Got {sorted(map(list, shapes))}")
        return batch_tensor(stack(results), 0, level)
    if isinstance(first, (list, tuple)):
        parts = [_stacked([each[k] for each in results], level) for k in range(len(first))]
        return getattr(type(first), "_make", type(first))(parts)
    if any(each != first for each in results):
        raise data_dependent("control flow")
    return first
