"""CUDA graphs: record the work of a stream once, launch it again as a whole.

A graph's memory comes from a pool of its own, so that nothing else is given what its recorded kernels write to. Random numbers continue from
replay to replay: while a graph is recorded, kernels read seed and offset from a cell in GPU memory, which each replay fills anew.
"""

from __future__ import annotations

import weakref
from itertools import count
from typing import Any

import numpy as np

from ..kernels.cuda.driver import needed
from .streams import Stream, current_stream, stream

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing", "make_graphed_callables"]

Handle = tuple[int, int]
_MODES = {"global": 0, "thread_local": 1, "relaxed": 2}
_handles = count(1)
_pools: weakref.WeakValueDictionary[Handle, Any] = weakref.WeakValueDictionary()


class _Pool:
    """Memory that one graph, or several that were given one handle, allocate from."""

    def __init__(self) -> None:
        self.memory = needed().cuda.MemoryPool()


class Recording:
    """What a generator looks at while a graph is recorded: the cell its kernels read, and how far they have drawn."""

    __slots__ = ("generator", "cell", "used")

    def __init__(self, generator: Any) -> None:
        self.generator, self.used = generator, 0
        self.cell = needed().zeros(2, np.uint64)

    def continue_stream(self) -> None:
        """Let the next replay draw what comes next in the generator's stream."""
        if self.used:
            generator = self.generator
            with generator.lock.inner:
                self.cell[0:1] = generator._seed
                self.cell[1:2] = generator.offset
                generator.offset += self.used


class CUDAGraph:
    """Recorded GPU work. Fill it with ``with torch.cuda.graph(g):``, run it with ``g.replay()``; inputs and outputs keep their memory.

    While recording, nothing may wait for the GPU (``item()``, ``print(tensor)``, copies to the CPU). Random numbers continue from replay to replay
    for the device's default generator and those given to `register_generator_state`.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph: Any = None
        self._capture: Any = None              # (CuPy's stream, the allocator's context)
        self._pool: Any = None
        self._handle: Handle | None = None
        self._generators: list[Any] = []
        self._recordings: list[Recording] = []

    def register_generator_state(self, generator: Any) -> None:
        """Let this generator's numbers continue from replay to replay, too."""
        if generator.device.type != "cuda":
            raise RuntimeError(f"Expected a 'cuda' device type for generator but found '{generator.device.type}'")
        self._generators.append(generator)

    def capture_begin(self, pool: Handle | None = None, capture_error_mode: str = "global", check_input_liveness: bool = False) -> None:
        """Start recording the current stream, which must not be the default one. `pool`: the handle of another graph's memory, to share it."""
        if capture_error_mode not in _MODES:
            raise RuntimeError(f"Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, got {capture_error_mode}")
        current = current_stream()
        if not current.cuda_stream:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream. (However, after capture, it's ok to replay them on the "
                               "default stream.)")
        if self._graph is not None or self._capture is not None:
            raise RuntimeError("This CUDAGraph instance already owns a captured graph. To capture a new graph, create a new instance.")
        from ..generator import generator_for
        module = needed()
        self._handle = graph_pool_handle() if pool is None else pool
        found = _pools.get(self._handle)
        if found is None:
            found = _pools[self._handle] = _Pool()
        self._pool = found
        generators = {id(each): each for each in (generator_for(current.device), *self._generators)}
        recordings = [Recording(each) for each in generators.values()]      # made before: their memory is not the graph's
        allocator = module.cuda.using_allocator(found.memory.malloc)
        allocator.__enter__()
        try:
            current._raw.begin_capture(_MODES[capture_error_mode] if capture_error_mode != "global" else None)
        except BaseException:
            allocator.__exit__(None, None, None)
            raise
        for each in recordings:
            each.generator.recording = each
        self._capture, self._recordings = (current._raw, allocator), recordings

    def capture_end(self) -> None:
        """Finish recording."""
        if self._capture is None:
            raise RuntimeError("capture_end() needs a capture_begin() before it")
        (raw, allocator), self._capture = self._capture, None
        for each in self._recordings:
            each.generator.recording = None
        allocator.__exit__(None, None, None)
        self._graph = raw.end_capture()

    def replay(self) -> None:
        """Do the recorded work again, on the current stream."""
        if self._graph is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        for each in self._recordings:
            each.continue_stream()
        self._graph.launch(stream=current_stream()._raw)

    def reset(self) -> None:
        """Forget the recorded work, and give its memory back."""
        self._graph = self._pool = None
        self._recordings = []

    def pool(self) -> Handle:
        """The handle of this graph's memory, for other graphs to share it."""
        if self._handle is None:
            raise RuntimeError("Called CUDAGraph::pool() without a preceding successful capture.")
        return self._handle

    def enable_debug_mode(self) -> None:
        """Drawing graphs is missing (NotImplementedError)."""
        raise NotImplementedError("CUDAGraph.enable_debug_mode: graphs can't be drawn; use Nsight Systems")

    debug_dump = enable_debug_mode


class graph:
    """``with torch.cuda.graph(g):`` records the work inside, on a stream of its own, into the graph `g`."""

    default_capture_stream: Stream | None = None

    def __init__(self, cuda_graph: CUDAGraph, pool: Handle | None = None, stream: Stream | None = None, capture_error_mode: str = "global") -> None:
        if stream is None:
            if graph.default_capture_stream is None or graph.default_capture_stream._raw.__class__ is not needed().cuda.Stream:
                graph.default_capture_stream = Stream()
            stream = graph.default_capture_stream
        self.cuda_graph, self.pool, self.capture_error_mode, self.capture_stream = cuda_graph, pool, capture_error_mode, stream

    def __enter__(self) -> None:
        import gc

        from . import empty_cache, synchronize
        synchronize()
        gc.collect()
        empty_cache()
        self._context = stream(self.capture_stream)
        self._context.__enter__()
        try:
            self.cuda_graph.capture_begin(self.pool, self.capture_error_mode)
        except BaseException:
            self._context.__exit__(None, None, None)
            raise

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self.cuda_graph.capture_end()
        except Exception:
            if kind is None:       # else the error inside is the one to see
                raise
        finally:
            self._context.__exit__(kind, error, trace)


def is_current_stream_capturing() -> bool:
    """Whether the current stream is being recorded."""
    from ..kernels.cuda.driver import cupy
    return cupy() is not None and bool(current_stream()._raw.is_capturing())


def graph_pool_handle() -> Handle:
    """A new handle of a memory pool, for the `pool` of several graphs that are to share it."""
    needed()
    return (0, next(_handles))


# --- callables as graphs -----------------------------------------------------------------------------------------------------------------

def make_graphed_callables(callables: Any, sample_args: Any, num_warmup_iters: int = 3, allow_unused_input: bool = False, pool: Handle | None = None) -> Any:
    """Functions or modules whose forward and backward passes each run as one CUDA graph, inside one node of the autograd graph.

    callables         one, or a tuple in the order in which the program will call them (their memory is shared)
    sample_args       a tuple of CUDA tensors for each, with the shapes and `requires_grad` of the later arguments
    allow_unused_input  whether inputs may have no part in the outputs

    A module is returned itself, with a `forward` that runs the graph while `training` is as it is now. No double backward.
    """
    from ..amp import casting
    if casting.is_autocast_enabled("cuda") and casting.is_autocast_cache_enabled():
        raise RuntimeError("make_graphed_callables does not support the autocast caching. Please set `cache_enabled=False`.")
    single = not isinstance(callables, tuple)
    functions, samples = ((callables,), (sample_args,)) if single else (callables, sample_args)
    surfaces = [_surface(function, args) for function, args in zip(functions, samples, strict=True)]
    handle = graph_pool_handle() if pool is None else pool
    _warm_up(functions, samples, surfaces, num_warmup_iters, allow_unused_input)
    parts = [_record_forward(function, args, surface, handle) for function, args, surface in zip(functions, samples, surfaces, strict=True)]
    for part in reversed(parts):
        part.record_backward(handle, allow_unused_input)
    graphed = tuple(_installed(function, part) for function, part in zip(functions, parts, strict=True))
    return graphed[0] if single else graphed


def _surface(function: Any, args: Any) -> tuple[Any, ...]:
    """All tensors that a callable's work depends on: its arguments and, of a module, its parameters. Raises for what can't be recorded."""
    from ..nn import Module
    from ..tensor import Tensor
    from ..utils._pytree import tree_leaves
    leaves = tree_leaves(args)
    if any(not isinstance(each, Tensor) for each in leaves):
        raise TypeError("make_graphed_callables: sample_args may hold nothing but tensors")
    if not isinstance(function, Module):
        return tuple(leaves)
    if function._backward_hooks or function._forward_hooks or function._forward_pre_hooks:
        raise RuntimeError("make_graphed_callables: modules must not have hooks yet; register them on the module afterwards")
    if any(b.requires_grad for b in function.buffers()):
        raise RuntimeError("make_graphed_callables: buffers must have requires_grad=False; only parameters can be trained")
    return (*leaves, *function.parameters())


def _outputs(value: Any) -> tuple[list[Any], Any]:
    from ..utils._pytree import tree_flatten
    leaves, spec = tree_flatten(value)
    return leaves, spec


def _gradients(outputs: list[Any], inputs: tuple[Any, ...], grads: list[Any], allow_unused: bool) -> tuple[Any, ...]:
    from ..autograd import grad
    outs = [o for o in outputs if o.requires_grad]
    wanted = [i for i in inputs if i.requires_grad]
    return grad(outs, wanted, [g for g in grads if g is not None], allow_unused=allow_unused) if outs and wanted else ()


def _warm_up(functions: Any, samples: Any, surfaces: Any, rounds: int, allow_unused: bool) -> None:
    """Run everything on a side stream first: what is set up at first use must not be recorded."""
    from ..ops.define import FUNCTIONS
    from . import synchronize
    synchronize()
    with stream(Stream()):
        for function, args, surface in zip(functions, samples, surfaces, strict=True):
            for _ in range(rounds):
                outputs, _ = _outputs(function(*args))
                _gradients(outputs, surface, [FUNCTIONS["empty_like"](o) if o.requires_grad else None for o in outputs], allow_unused)
    synchronize()


class _Graphed:
    """The recorded passes of one callable: two graphs and the tensors that they read and write."""

    def __init__(self, surface: tuple[Any, ...], arguments: int, forward: CUDAGraph, outputs: list[Any], spec: Any) -> None:
        self.surface, self.arguments, self.forward, self.outputs, self.spec = surface, arguments, forward, outputs, spec
        self.backward: CUDAGraph | None = None
        self.grad_outputs: list[Any] = []
        self.grad_inputs: list[Any] = []

    def record_backward(self, handle: Handle, allow_unused: bool) -> None:
        """Record the gradients, for gradients of the outputs that come into memory kept for them."""
        from ..ops.define import FUNCTIONS
        self.grad_outputs = [FUNCTIONS["empty_like"](o) if o.requires_grad else None for o in self.outputs]
        if not any(g is not None for g in self.grad_outputs) or not any(t.requires_grad for t in self.surface):
            self.grad_inputs = [None] * len(self.surface)
            return
        self.backward = CUDAGraph()
        with graph(self.backward, handle):
            found = iter(_gradients(self.outputs, self.surface, self.grad_outputs, allow_unused))
        self.grad_inputs = [next(found) if t.requires_grad else None for t in self.surface]

    def run(self) -> Any:
        """The autograd function that replays the graphs."""
        from ..autograd import Function
        from ..autograd.function import once_differentiable
        part = self

        class Graphed(Function):
            @staticmethod
            def forward(ctx: Any, *inputs: Any) -> Any:
                for kept, given in zip(part.surface[:part.arguments], inputs, strict=False):
                    if kept.data_ptr() != given.data_ptr():
                        kept.copy_(given)
                part.forward.replay()
                return tuple(o.detach() for o in part.outputs)

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, *grads: Any) -> Any:
                if part.backward is None:
                    return tuple(None for _ in part.surface)
                for kept, given in zip(part.grad_outputs, grads, strict=True):
                    if kept is not None and kept.data_ptr() != given.data_ptr():
                        kept.copy_(given)
                part.backward.replay()
                return tuple(None if g is None else g.detach() for g in part.grad_inputs)
        return Graphed

    def callable(self) -> Any:
        """A function that takes what the original takes."""
        from ..utils._pytree import tree_leaves, tree_unflatten
        apply, rest = self.run().apply, self.surface[self.arguments:]

        def call(*args: Any) -> Any:
            return tree_unflatten(list(apply(*tree_leaves(args), *rest)), self.spec)
        return call


def _record_forward(function: Any, args: Any, surface: tuple[Any, ...], handle: Handle) -> _Graphed:
    from ..utils._pytree import tree_leaves
    forward = CUDAGraph()
    with graph(forward, handle):
        value = function(*args)
    outputs, spec = _outputs(value)
    return _Graphed(surface, len(tree_leaves(args)), forward, outputs, spec)


def _installed(function: Any, part: _Graphed) -> Any:
    from ..nn import Module
    graphed = part.callable()
    if not isinstance(function, Module):
        return graphed
    module, training, original = function, function.training, function.forward

    def forward(*args: Any) -> Any:
        return graphed(*args) if module.training == training else original(*args)
    module.forward = forward  # type: ignore[method-assign]
    return module
