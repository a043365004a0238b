"""CUDA graphs: record the work of a stream once, launch it again as a whole."""

from __future__ import annotations

from typing import Any

from .driver import needed
from .streams import Stream, current_stream, stream

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing", "make_graphed_callables"]


class CUDAGraph:
    """Recorded GPU work. Fill it with ``with torch.cuda.graph(g):``, run it with ``g.replay()``; inputs and outputs keep their memory.

    While recording, nothing may wait for the GPU (``item()``, ``print(tensor)``, copies to the CPU), and random numbers are drawn once:
    a replay repeats them.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph: Any = None
        self._stream: Any = None

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Start recording the current stream, which must not be the default one."""
        current = current_stream()
        if not current.cuda_stream:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream. (However, after capture, it's ok to replay them on the "
                               "default stream.)")
        current._raw.begin_capture()
        self._stream = current._raw

    def capture_end(self) -> None:
        """Finish recording."""
        if self._stream is None:
            raise RuntimeError("capture_end() needs a capture_begin() before it")
        self._graph, self._stream = self._stream.end_capture(), None

    def replay(self) -> None:
        """Do the recorded work again, on the current stream."""
        if self._graph is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        self._graph.launch(stream=current_stream()._raw)

    def reset(self) -> None:
        """Forget the recorded work."""
        self._graph = None

    def pool(self) -> tuple[int, int]:
        """An opaque id of the memory pool: all graphs share CuPy's."""
        return (0, 0)

    def enable_debug_mode(self) -> None:
        """Drawing graphs is missing (NotImplementedError)."""
        raise NotImplementedError("CUDAGraph.enable_debug_mode: graphs can't be drawn; use Nsight Systems")


class graph:
    """``with torch.cuda.graph(g):`` records the work inside, on a stream of its own, into the graph `g`."""

    def __init__(self, cuda_graph: CUDAGraph, pool: Any = None, stream: Stream | None = None, capture_error_mode: str = "global") -> None:
        self.cuda_graph, self.pool, self.capture_error_mode = cuda_graph, pool, capture_error_mode
        self.capture_stream = Stream() if stream is None else stream

    def __enter__(self) -> None:
        import gc

        from . import synchronize
        synchronize()
        gc.collect()
        self._context = stream(self.capture_stream)
        self._context.__enter__()
        self.cuda_graph.capture_begin(self.pool, self.capture_error_mode)

    def __exit__(self, *exception: Any) -> None:
        try:
            self.cuda_graph.capture_end()
        finally:
            self._context.__exit__(*exception)


def is_current_stream_capturing() -> bool:
    """Whether the current stream is being recorded."""
    from .driver import cupy
    return cupy() is not None and bool(current_stream()._raw.is_capturing())


def graph_pool_handle() -> tuple[int, int]:
    """An opaque id of a memory pool, for `graph`: all graphs share CuPy's."""
    needed()
    return (0, 0)


def make_graphed_callables(*args: Any, **kwargs: Any) -> Any:
    """Graphs for whole modules are missing (NotImplementedError): record a step with `torch.cuda.graph`."""
    raise NotImplementedError("torch.cuda.make_graphed_callables is missing: record the whole step with torch.cuda.graph")
