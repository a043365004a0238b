"""Streams and events."""

from __future__ import annotations

from typing import Any

from ..devices import device as device_type
from ..kernels.cuda.driver import needed
from ..vocabulary import Device
from .indices import checked

__all__ = ["Stream", "ExternalStream", "Event", "StreamContext", "stream", "current_stream", "default_stream", "set_stream"]


class Stream:
    """A queue of GPU work: ``Stream()``; use it with ``with torch.cuda.stream(s):``. Lower `priority` numbers run first."""

    def __init__(self, device: Device = None, priority: int = 0, **kwargs: Any) -> None:
        module = needed()
        index = checked(device)
        with module.cuda.Device(index):
            self._wrap(module.cuda.Stream(non_blocking=True, priority=priority), index)
        self.priority = priority

    def _wrap(self, raw: Any, index: int) -> Stream:
        self._raw, self.device, self.device_index, self.priority = raw, device_type("cuda", index), index, 0
        return self

    @classmethod
    def _of(cls, raw: Any, index: int) -> Stream:
        return object.__new__(Stream)._wrap(raw, index)

    @property
    def cuda_stream(self) -> int:
        """CUDA's handle."""
        return self._raw.ptr

    stream_id = cuda_stream
    _as_parameter_ = cuda_stream

    def query(self) -> bool:
        """Whether all work given so far is done."""
        return bool(self._raw.done)

    def synchronize(self) -> None:
        """Wait until all work given so far is done."""
        self._raw.synchronize()

    def record_event(self, event: Event | None = None) -> Event:
        """Mark this place in the queue."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let work given from now on wait for an event."""
        if event._raw is not None:
            self._raw.wait_event(event._raw)

    def wait_stream(self, stream: Stream) -> None:
        """Let work given from now on wait for what another stream was given so far."""
        self.wait_event(stream.record_event())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.device is other.device and self.cuda_stream == other.cuda_stream

    def __hash__(self) -> int:
        return hash((self.cuda_stream, self.device))

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"

    def __enter__(self) -> Stream:
        self._contexts = [*getattr(self, "_contexts", ()), stream(self)]
        self._contexts[-1].__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._contexts.pop().__exit__(*exception)


class ExternalStream(Stream):
    """A stream that another library made, given by its address; it has to outlive this object."""

    def __init__(self, stream_ptr: int, device: Device = None, **kwargs: Any) -> None:
        index = checked(device)
        self._wrap(needed().cuda.ExternalStream(stream_ptr, index), index)


class Event:
    """A mark in a stream. With ``enable_timing=True`` the time between two of them can be asked for."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, external: bool = False) -> None:
        needed()
        if interprocess and enable_timing:
            raise RuntimeError("an event that is shared between processes can't measure time")
        self.enable_timing, self.blocking, self.interprocess = enable_timing, blocking, interprocess
        self._raw: Any = None
        self.device: Any = None

    def record(self, stream: Stream | None = None) -> None:
        """Mark the present place of a stream (the current one by default)."""
        stream = current_stream() if stream is None else stream
        module = needed()
        with module.cuda.Device(stream.device_index):
            if self._raw is None:
                self._raw = module.cuda.Event(block=self.blocking, disable_timing=not self.enable_timing, interprocess=self.interprocess)
                self.device = stream.device
            self._raw.record(stream._raw)

    def wait(self, stream: Stream | None = None) -> None:
        """Let a stream (the current one by default) wait for this event."""
        (current_stream() if stream is None else stream).wait_event(self)

    def query(self) -> bool:
        """Whether the work before the mark is done."""
        return self._raw is None or bool(self._raw.done)

    def synchronize(self) -> None:
        """Wait until the work before the mark is done."""
        if self._raw is not None:
            self._raw.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to a later one."""
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self._raw is None or end_event._raw is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if not (self.query() and end_event.query()):
            raise RuntimeError("CUDA error: device not ready: synchronize() before elapsed_time()")
        return float(needed().cuda.get_elapsed_time(self._raw, end_event._raw))

    @property
    def cuda_event(self) -> int:
        """CUDA's handle (0 before the first record)."""
        return 0 if self._raw is None else self._raw.ptr

    def ipc_handle(self) -> bytes:
        """Handles for other processes are missing (NotImplementedError)."""
        raise NotImplementedError("torch.cuda.Event.ipc_handle: events can't be shared between processes")

    def __repr__(self) -> str:
        return "<torch.cuda.Event uninitialized>" if self._raw is None else f"<torch.cuda.Event {self.cuda_event:#x}>"


class StreamContext:
    """Makes a stream (and its GPU) the current one inside; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream
        self._stack: list[Any] = []

    def __enter__(self) -> None:
        if self.stream is not None:
            device = needed().cuda.Device(self.stream.device_index)
            device.__enter__()
            self.stream._raw.__enter__()
            self._stack.append(device)

    def __exit__(self, *exception: Any) -> None:
        if self.stream is not None:
            self.stream._raw.__exit__(*exception)
            self._stack.pop().__exit__(*exception)


def stream(stream: Stream | None) -> StreamContext:
    """``with torch.cuda.stream(s):`` gives the GPU's work inside to the stream `s`."""
    return StreamContext(stream)


def current_stream(device: Device = None) -> Stream:
    """The stream that work is given to."""
    module = needed()
    index = checked(device)
    with module.cuda.Device(index):
        return Stream._of(module.cuda.get_current_stream(), index)


def default_stream(device: Device = None) -> Stream:
    """The stream that is current unless another was chosen."""
    return Stream._of(needed().cuda.Stream.null, checked(device))


def set_stream(stream: Stream | None) -> None:
    """Give work to this stream from now on; `torch.cuda.stream` undoes it at the end of a block."""
    if stream is not None:
        needed().cuda.runtime.setDevice(stream.device_index)
        stream._raw.use()
