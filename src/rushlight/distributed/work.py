"""`Work`: a collective that has been begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

from ..homes import settle
from .stores import seconds

__all__ = ["Work", "Queue"]


class Work:
    """A collective, or a message, under way. `wait` raises its error."""

    def __init__(self, result: Any = None) -> None:
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._result = result
        self._future: Any = None
        self._then: list[Callable[[Work], None]] = []
        self._lock = threading.Lock()

    def _finish(self, error: BaseException | None = None) -> None:
        with self._lock:
            self._error = error
            self._ready.set()
            then, self._then = self._then, []
        for act in then:
            act(self)

    def _when_done(self, act: Callable[[Work], None]) -> None:
        with self._lock:
            if not self._ready.is_set():
                self._then.append(act)
                return
        act(self)

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait until it is done, and True; its error is raised, RuntimeError when the timeout (default: the group's) is over."""
        if not self._ready.wait(None if timeout is None or not seconds(timeout) else seconds(timeout)):
            raise RuntimeError(f"Work.wait: the operation is not done after {seconds(timeout)} s")
        if self._error is not None:
            raise self._error
        return True

    def synchronize(self) -> None:
        """Wait."""
        self.wait()

    def is_completed(self) -> bool:
        """Whether it is done, well or not."""
        return self._ready.is_set()

    def is_success(self) -> bool:
        """Whether it is done and went well."""
        return self._ready.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        """The error, if there was one."""
        return self._error

    def result(self) -> Any:
        """The tensors that it wrote."""
        self.wait()
        return self._result

    def get_future(self) -> Any:
        """A ``torch.futures.Future`` of the tensors that it writes."""
        from ..futures import Future
        if self._future is None:
            self._future = Future()
            self._when_done(lambda work: self._future.set_exception(work._error) if work._error is not None
                            else self._future.set_result(work._result))
        return self._future

    def source_rank(self) -> int:
        """The rank that sent, for a message from any."""
        raise RuntimeError("source_rank() may only be called on work of recv from any source")


class Message(Work):
    """A message between two ranks that is under way; `wait` moves it on."""

    def __init__(self, handle: Any, finish: Callable[[], None], explained: Callable[[BaseException, float], BaseException], timeout: float,
                 world_rank: Callable[[int], int], result: Any) -> None:
        super().__init__(result)
        self._handle, self._finish_up, self._explained, self._timeout, self._world_rank = handle, finish, explained, timeout, world_rank
        self._source: int | None = None
        self._began = time.monotonic()

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait until the message is there, or has gone."""
        if not self._ready.is_set():
            try:
                limit = self._timeout if timeout is None or not seconds(timeout) else seconds(timeout)
                source = self._handle.wait(time.monotonic() + limit)
                self._source = None if source < 0 else self._world_rank(source)
                self._finish_up()
                self._finish()
            except Exception as error:
                self._finish(self._explained(error, time.monotonic() - self._began))
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        """Whether the message is there, or has gone."""
        if not self._ready.is_set() and self._handle.done():
            self.wait()
        return self._ready.is_set()

    def get_future(self) -> Any:
        """A future, done when this returns."""
        self.wait()
        return super().get_future()

    def source_rank(self) -> int:
        """The rank (in the world) that sent."""
        self.wait()
        if self._source is None:
            return super().source_rank()
        return self._source


class Queue:
    """A group's operations that go on beside the program, one after the other, in a thread that begins with the first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.thread: threading.Thread | None = None
        self.waiting: SimpleQueue[tuple[Work, Callable[[], None]] | None] = SimpleQueue()
        self.lock, self.pending = threading.Lock(), 0

    def put(self, work: Work, act: Callable[[], None]) -> Work:
        """Do it after what was put before."""
        with self.lock:
            self.pending += 1
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self.thread.start()
        self.waiting.put((work, act))
        return work

    def _run(self) -> None:
        while (item := self.waiting.get()) is not None:
            work, act = item
            error: BaseException | None = None
            try:
                act()
            except BaseException as raised:
                error = raised
            with self.lock:
                self.pending -= 1
            work._finish(error)
            del work, act, item

    def end(self) -> None:
        """No more comes: the thread ends when all is done."""
        if self.thread is not None:
            self.waiting.put(None)


settle("distributed", globals(), ["Work"])
