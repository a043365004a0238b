"""Hooks on what the graph saves, and on groups of gradients: the public parts of ``torch.autograd.graph``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..homes import settle
from ..hooks import RemovableHandle
from .engine import will_run
from .grad_mode import LOCAL, adjust
from .graph import Node, Port

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["saved_tensors_hooks", "save_on_cpu", "disable_saved_tensors_hooks", "register_multi_grad_hook",
           "allow_mutation_on_saved_tensors", "GradientEdge", "get_gradient_edge", "increment_version", "region_activation_memory_budget",
           "set_override_stale_capture_stream", "set_warn_on_accumulate_grad_stream_mismatch"]


class saved_tensors_hooks:
    """Inside, every tensor saved for backward goes through ``pack_hook`` when it is saved and ``unpack_hook`` when it is needed."""

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if LOCAL.pack_disabled is not None:
            raise RuntimeError(LOCAL.pack_disabled)
        adjust(1)
        LOCAL.pack_hooks = (*LOCAL.pack_hooks, (self.pack_hook, self.unpack_hook))

    def __exit__(self, *exception: object) -> None:
        LOCAL.pack_hooks = LOCAL.pack_hooks[:-1]
        adjust(-1)


class save_on_cpu(saved_tensors_hooks):
    """Keep what is saved for backward in CPU memory (`pin_memory` has no effect without CUDA)."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0], non_blocking=pin_memory))


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Any:
    """Inside, using saved-tensor hooks is an error with this message."""
    previous = LOCAL.pack_disabled
    LOCAL.pack_disabled = error_message
    adjust(1)
    try:
        yield
    finally:
        LOCAL.pack_disabled = previous
        adjust(-1)


@contextmanager
def allow_mutation_on_saved_tensors() -> Any:
    """Inside, saved tensors may be changed in place: each is saved as a copy."""
    with saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        yield


class GradientEdge(NamedTuple):
    """A place in the graph: a node and one of its outputs."""

    node: Node
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The place in the graph where a tensor's gradient arrives."""
    node = tensor._node
    if node is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(node.node, node.index) if node.__class__ is Port else GradientEdge(node, 0)


def increment_version(tensor: Any) -> None:
    """Tell autograd that the memory was changed behind its back."""
    for t in (tensor,) if hasattr(tensor, "_kind") else tensor:
        t._ver += 1


class _MultiHandle(RemovableHandle):
    __slots__ = ("handles",)

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        super().__init__({})
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def register_multi_grad_hook(tensors: Sequence[Any], fn: Callable[..., None], *, mode: str = "all") -> RemovableHandle:
    """mode "all": ``fn(grads)`` once the gradients of all those tensors that a backward pass reaches are there (None for the others);
    "any": ``fn(grad)`` at the first. Once per pass."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    edges = [edge.node if edge.node.outputs == 1 else Port(edge.node, edge.output_nr) for edge in map(get_gradient_edge, tensors)]
    lock = threading.Lock()
    passes: dict[int, tuple[Any, int, list[Any], list[bool]]] = {}     # by backward pass: (pass, how many will come, gradients, which came)

    def one(index: int) -> Callable[[Any], None]:
        def hook(grad: Tensor) -> None:
            running = LOCAL.backward
            with lock:
                if id(running) not in passes:
                    passes[id(running)] = (running, will_run(edges), [None] * len(tensors), [False] * len(tensors))
                _, expected, grads, came = passes[id(running)]
                first = not any(came)
                grads[index], came[index] = grad, True
                complete = sum(came) == expected
                if complete:
                    del passes[id(running)]
            if mode == "any" and first:
                fn(grad)
            elif mode == "all" and complete:
                fn(list(grads))
        return hook
    return _MultiHandle([t.register_hook(one(i)) for i, t in enumerate(tensors)])


def region_activation_memory_budget(budget: float) -> Any:
    """For code that torch.compile compiles, which there is none: RuntimeError, as in PyTorch outside of it. Use torch.utils.checkpoint."""
    raise RuntimeError("region_activation_memory_budget works under torch.compile only, and rushlight compiles nothing: "
                       "torch.utils.checkpoint saves memory here")


_stream_settings = {"override": False, "warn": True}


def set_override_stale_capture_stream(enabled: bool) -> None:
    """Remember how stale streams are treated while a CUDA graph is captured; backward runs in the current stream here, so none is stale."""
    _stream_settings["override"] = bool(enabled)


def set_warn_on_accumulate_grad_stream_mismatch(enabled: bool) -> None:
    """Remember whether to warn where a gradient comes from another stream; backward runs in the current stream here, so none does."""
    _stream_settings["warn"] = bool(enabled)

settle("autograd.graph", globals())
