"""``torch.utils.checkpoint``: keep less for backward, and compute it again when backward needs it.

Without re-entry (``use_reentrant=False``, the one to use): the region is recorded as usual, but what its ops save is replaced by numbered
slots. The first slot that backward asks for runs the region again and fills all of them. With re-entry: the region runs unrecorded as
one node of the graph, whose backward runs it again, recorded, and then backward through it.
(Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.)
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from enum import Enum
from typing import Any

from ..amp import autocast, casting
from ..autograd.api import backward as run_backward
from ..autograd.function import Function
from ..autograd.grad_mode import LOCAL, enable_grad, no_grad
from ..autograd.saved_hooks import saved_tensors_hooks
from ..devices import device
from ..generator import all_default_generators, generator_for
from ..nn.modules.container import Sequential
from ..random import fork_rng
from ..tensor import Tensor
from ._pytree import tree_leaves

__all__ = ["checkpoint", "checkpoint_sequential", "CheckpointError", "CheckpointFunction", "check_backward_validity", "detach_variable",
           "get_device_states", "set_device_states", "noop_context_fn", "set_checkpoint_early_stop", "DefaultDeviceType",
           "set_checkpoint_debug_enabled", "CheckpointPolicy", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts",
           "SAC_IGNORED_OPS", "GraphExecGroup"]

_debug_enabled: bool | None = None
_early_stop_enabled: bool | None = None
SAC_IGNORED_OPS: set[Any] = set()


class CheckpointError(RuntimeError):
    """The recomputation was not the computation of the forward pass."""


@contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Inside, ``debug`` of all checkpoints is this; None leaves it to their arguments."""
    global _debug_enabled
    previous, _debug_enabled = _debug_enabled, enabled
    try:
        yield
    finally:
        _debug_enabled = previous


@contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Checkpoints made inside stop their recomputation as soon as all that backward needs is there, or (False) run to their end."""
    global _early_stop_enabled
    previous, _early_stop_enabled = _early_stop_enabled, enable
    try:
        yield
    finally:
        _early_stop_enabled = previous


def noop_context_fn() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """The default `context_fn`: two contexts that do nothing."""
    return nullcontext(), nullcontext()


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tensors among the inputs as new leaves with the same requires_grad. RuntimeError unless given a tuple."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(each.detach().requires_grad_(each.requires_grad) if isinstance(each, Tensor) else each for each in inputs)


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warn where no input requires grad: a re-entrant checkpoint then has no gradients."""
    if not any(each.requires_grad for each in inputs if isinstance(each, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


# --- the circumstances of the forward pass ------------------------------------------------------------------------------------------------

class DefaultDeviceType:
    """Which device type's random state counts where no tensor says so. rushlight keeps the states of all devices; this is a note."""

    _default_device_type: str | None = None

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        """Set the device type."""
        DefaultDeviceType._default_device_type = device

    @staticmethod
    def get_device_type() -> str:
        """The device type: what was set, else cuda where there is a GPU, else cpu."""
        from .. import cuda
        return DefaultDeviceType._default_device_type or ("cuda" if cuda.is_available() else "cpu")


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """(indices, random states) of the devices, other than the CPU, that the tensors in the arguments are on."""
    devices = {each.device for each in tree_leaves(args) if isinstance(each, Tensor) and each.device.type not in ("cpu", "meta")}
    ordered = sorted(devices, key=str)
    return [each.index or 0 for each in ordered], [generator_for(each).get_state() for each in ordered]


def set_device_states(devices: list[int], states: list[Tensor], *, device_type: str | None = None) -> None:
    """Continue the random streams of these devices from these states."""
    kind = device_type or DefaultDeviceType.get_device_type()
    for index, state in zip(devices, states, strict=False):
        generator_for(device(kind, index)).set_state(state)


class _Circumstances:
    """Random states and autocast modes as they are now, to be entered again by ``with``."""

    def __init__(self, preserve_rng_state: bool) -> None:
        self.states = [(each, each.clone_state()) for each in all_default_generators()] if preserve_rng_state else None
        self.cache_enabled = casting.is_autocast_cache_enabled()
        self.modes = [(name, casting.is_autocast_enabled(name), casting.get_autocast_dtype(name)) for name in ("cpu", "cuda")]

    def __enter__(self) -> None:
        with ExitStack() as stack:
            if self.states is not None:
                stack.enter_context(fork_rng())
                for generator, state in self.states:
                    generator.load_bytes(state.state_bytes())
            for name, enabled, dtype in self.modes:
                if enabled or casting.is_autocast_enabled(name):
                    stack.enter_context(autocast(name, dtype=dtype, enabled=enabled, cache_enabled=self.cache_enabled))
            self.stack = stack.pop_all()

    def __exit__(self, *exception: Any) -> None:
        self.stack.__exit__(*exception)


# --- with re-entry ------------------------------------------------------------------------------------------------------------------------

class CheckpointFunction(Function):
    """The re-entrant checkpoint as one differentiable function."""

    @staticmethod
    def forward(ctx: Any, run_function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        """Run the region unrecorded, and keep its inputs."""
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.circumstances = _Circumstances(preserve_rng_state)
        ctx.places = [i for i, each in enumerate(args) if isinstance(each, Tensor)]
        ctx.inputs = [None if isinstance(each, Tensor) else each for each in args]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Run the region again, recorded, and backward through it."""
        if LOCAL.partial_backward:
            raise RuntimeError("When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` "
                               "parameter to .backward(). To resolve this error, you can either set use_reentrant=False, or call "
                               ".backward() without passing the `inputs` argument.")
        inputs = list(ctx.inputs)
        for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            inputs[place] = tensor
        with ctx.circumstances, enable_grad():
            fresh = detach_variable(tuple(inputs))
            outputs = ctx.run_function(*fresh)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        pairs = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if isinstance(out, Tensor) and out.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        run_backward([out for out, _ in pairs], [grad for _, grad in pairs])
        return (None, None, *[each.grad if isinstance(each, Tensor) else None for each in fresh])


# --- without re-entry ---------------------------------------------------------------------------------------------------------------------

class _Stop(BaseException):
    """Ends a recomputation that has made all that is needed."""


class _Slot:
    """Stands in the graph for the `index`-th tensor that a region saves."""

    __slots__ = ("region", "index")

    def __init__(self, region: _Region, index: int) -> None:
        self.region, self.index = region, index


class _Region:
    """A checkpointed call: how to run it again, and what that run saved and backward has not fetched yet."""

    def __init__(self, run: Callable[[], Any], check: str, early_stop: bool, debug: bool) -> None:
        self.run, self.check, self.early_stop, self.debug = run, check, early_stop, debug
        self.seen: list[Any] = []                 # shape, dtype and device of what the forward pass saved
        self.traces: list[str] = []               # where it was saved (debug)
        self.values: dict[int, Tensor] = {}
        self.complete = False

    def hooks(self) -> saved_tensors_hooks:
        return saved_tensors_hooks(self.pack, self.unpack)

    def pack(self, t: Tensor) -> _Slot:
        self.seen.append((t.shape, t.dtype, t.device))
        if self.debug:
            self.traces.append(_place())
        return _Slot(self, len(self.seen) - 1)

    def unpack(self, slot: _Slot) -> Tensor:
        if slot.index not in self.values:
            self.recompute()
        return self.values.pop(slot.index)

    def recompute(self) -> None:
        """Run the region again and keep what it saves, in order. CheckpointError where that is not what the forward pass saved."""
        self.values.clear()
        count = 0

        def keep(t: Tensor) -> Tensor:
            nonlocal count
            index, count = count, count + 1
            t = t.detach()
            if index >= len(self.seen):
                if self.complete:
                    raise CheckpointError("torch.utils.checkpoint: trying to save more tensors during recomputation than during the "
                                          f"original forward pass.{self.hint(index)}")
                return t
            now = (t.shape, t.dtype, t.device)
            if self.check == "default" and now != self.seen[index]:
                raise CheckpointError("torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                                      f"during the forward pass.\ntensor at position {index}:\nsaved metadata: "
                                      f"{_describe(self.seen[index])}\nrecomputed metadata: {_describe(now)}\n{self.hint(index)}")
            self.values[index] = t
            if self.early_stop and self.complete and count == len(self.seen):
                raise _Stop
            return t

        try:
            with saved_tensors_hooks(keep, lambda t: t), enable_grad():
                self.run()
        except _Stop:
            return
        if self.complete and count < len(self.seen):
            raise CheckpointError("torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                                  f"recomputation.\nNumber of tensors saved during forward: {len(self.seen)}\n"
                                  f"Number of tensors saved during recomputation: {count}.{self.hint(count)}")

    def hint(self, index: int) -> str:
        """Where the two runs part (debug), or how to find out."""
        if not self.debug:
            return ("\nTip: pass `debug=True` to `torch.utils.checkpoint.checkpoint(...)`, or use "
                    "`with torch.utils.checkpoint.set_checkpoint_debug_enabled(True):`, to see where the two runs part.")
        forward = self.traces[index] if index < len(self.traces) else "(it saved nothing more)\n"
        return (f"\n\nThe original forward saved its tensor number {index} here:\n{forward}\n"
                f"The recomputation is here:\n{_place()}")


def _describe(meta: tuple[Any, Any, Any]) -> dict[str, Any]:
    return dict(zip(("shape", "dtype", "device"), meta, strict=True))


def _place() -> str:
    """The user's part of the stack."""
    package = __name__.partition(".")[0]
    frames = [frame for frame in traceback.extract_stack() if f"/{package}/" not in frame.filename.replace("\\", "/")]
    return "".join(traceback.format_list(frames[-4:]))


def _without_reentry(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], preserve: bool, context_fn: Any, check: str, debug: bool,
                     early_stop: bool) -> Any:
    if check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'] but got {check}")
    contexts = context_fn()
    if not isinstance(contexts, tuple) or len(contexts) != 2:
        raise TypeError("context_fn must return a tuple of two context managers")
    forward_context, recompute_context = contexts
    circumstances = _Circumstances(preserve)

    def run() -> Any:
        with circumstances, recompute_context:
            return function(*args, **kwargs)

    region = _Region(run, check, early_stop if _early_stop_enabled is None else _early_stop_enabled,
                     debug if _debug_enabled is None else _debug_enabled)
    with region.hooks(), forward_context:
        result = function(*args, **kwargs)
    region.complete = True
    return result


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, context_fn: Any = noop_context_fn,
               determinism_check: str = "default", debug: bool = False, early_stop: bool = True, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` without keeping its intermediate tensors: backward computes them again.

    use_reentrant       False is recommended; True supports ``backward()`` alone, and needs an input that requires grad. Pass it (a warning)
    preserve_rng_state  (keyword) draw the same random numbers again: dropout masks agree
    context_fn          makes two contexts, for the forward pass and for the recomputation (not with re-entry)
    determinism_check   "default": shapes, dtypes and devices of what is saved have to agree (`CheckpointError`); "none"
    debug               errors say where the two runs part
    early_stop          end the recomputation when all that backward needs is there
    """
    if use_reentrant is None:
        warnings.warn("torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, calling "
                      "checkpoint without use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need to "
                      "preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
                      "differences between the two variants.", stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if not use_reentrant:
        return _without_reentry(function, args, kwargs, preserve, context_fn, determinism_check, debug, early_stop)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if context_fn is not noop_context_fn or debug is not False:
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    return CheckpointFunction.apply(function, preserve, *args)


def checkpoint_sequential(functions: Any, segments: int, input: Tensor, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Run modules one after the other in `segments` groups, all but the last of which are checkpointed.

    functions  a Sequential, or a list of modules or functions of one tensor
    """
    if use_reentrant is None:
        warnings.warn("torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly. In version "
                      "2.9 we will raise an exception if use_reentrant is not passed. use_reentrant=False is recommended, but if you need "
                      "to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
                      "differences between the two variants.", stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children()) if isinstance(functions, Sequential) else list(functions)

    def chain(part: list[Any]) -> Callable[[Tensor], Tensor]:
        def run(value: Tensor) -> Tensor:
            for step in part:
                value = step(value)
            return value
        return run

    size = len(steps) // segments
    last = size * (segments - 1)
    for start in range(0, last, size):
        input = checkpoint(chain(steps[start:start + size]), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return chain(steps[last:])(input)


# --- what is only named -------------------------------------------------------------------------------------------------------------------

class CheckpointPolicy(Enum):
    """What a selective checkpoint does with an op's result (see `create_selective_checkpoint_contexts`)."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


class SelectiveCheckpointContext:
    """What a policy function is told."""

    def __init__(self, *, is_recompute: bool, op_output: Any = None) -> None:
        self.is_recompute, self.op_output = is_recompute, op_output


def create_selective_checkpoint_contexts(policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False) -> Any:
    """Not available: choosing per op needs PyTorch's dispatcher (NotImplementedError)."""
    raise NotImplementedError("create_selective_checkpoint_contexts needs PyTorch's dispatch modes, which rushlight does not have: "
                              "checkpoint the parts of the model that are to be recomputed one by one")


class GraphExecGroup:
    """Not available: one recomputation for several backward calls (NotImplementedError)."""

    def __init__(self) -> None:
        raise NotImplementedError("GraphExecGroup is not supported by rushlight: each backward pass recomputes what it needs")
