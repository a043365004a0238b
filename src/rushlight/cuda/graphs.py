"""CUDA graphs: record the work of a stream once, launch it again as a whole.

A graph's memory comes from a pool of its own, so that nothing else is given what its recorded kernels write to. Random numbers continue
from replay to replay: while a graph is recorded, kernels read seed and offset from a cell in GPU memory, which each replay fills anew.
"""

from __future__ import annotations

import weakref
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from ..generator import generator_for
from ..kernels.cuda.driver import cupy, needed
from ..vocabulary import GeneratorLike
from .streams import Stream, current_stream, stream

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing"]

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

    def __init__(self, generator: GeneratorLike) -> None:
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

    While recording, nothing may wait for the GPU (``item()``, ``print(tensor)``, copies to the CPU). Random numbers continue from replay to
    replay for the device's default generator and those given to `register_generator_state`.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph: Any = None
        self._capture: Any = None              # (CuPy's stream, the allocator's context)
        self._pool: Any = None
        self._handle: Handle | None = None
        self._generators: list[Any] = []
        self._recordings: list[Recording] = []

    def register_generator_state(self, generator: GeneratorLike) -> None:
        """Let this generator's numbers continue from replay to replay, too."""
        if generator.device.type != "cuda":
            raise RuntimeError(f"Expected a 'cuda' device type for generator but found '{generator.device.type}'")
        self._generators.append(generator)

    def capture_begin(self, pool: Handle | None = None, capture_error_mode: str = "global", check_input_liveness: bool = False) -> None:
        """Start recording the current stream, which must not be the default one. `pool`: the handle of another graph's memory, to share
        it."""
        if capture_error_mode not in _MODES:
            raise RuntimeError(f"Unknown capture error mode. Expected `global`, `thread_local`, or `relaxed`, got {capture_error_mode}")
        current = current_stream()
        if not current.cuda_stream:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream. (However, after capture, it's ok to replay them on "
                               "the default stream.)")
        if self._graph is not None or self._capture is not None:
            raise RuntimeError("This CUDAGraph instance already owns a captured graph. To capture a new graph, create a new instance.")
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

    def __init__(self, cuda_graph: CUDAGraph, pool: Handle | None = None, stream: Stream | None = None,
                 capture_error_mode: str = "global") -> None:
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

    def __exit__(self, kind: Kind, error: Any, trace: Any) -> None:
        try:
            self.cuda_graph.capture_end()
        except Exception:
            if kind is None:       # else the error inside is the one to see
                raise
        finally:
            self._context.__exit__(kind, error, trace)


def is_current_stream_capturing() -> bool:
    """Whether the current stream is being recorded."""
    return cupy() is not None and bool(current_stream()._raw.is_capturing())


def graph_pool_handle() -> Handle:
    """A new handle of a memory pool, for the `pool` of several graphs that are to share it."""
    needed()
    return (0, next(_handles))
