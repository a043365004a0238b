"""The worker processes of one loader, as the main process sees them."""

from __future__ import annotations

import os
import time
import weakref
from multiprocessing.connection import wait
from typing import Any

from .channel import Channel
from .worker import QUIT, Settings, worker_main

__all__ = ["WorkerPool"]

QUIT_SECONDS = 5.0
PIPE_BYTES = 65536  # what the pipes of all systems hold at least, of the messages not yet received


class WorkerPool:
    """Starts the processes, sends to them, receives from them, notices when one dies, and ends them with `close`.

    A pool that is forgotten, or alive when the interpreter ends, closes itself.
    """

    def __init__(self, context: Any, settings: Settings) -> None:
        self.processes: list[Any] = []
        self.channels: list[Channel] = []
        self.broken = False
        self.active = set(range(settings.num_workers))
        self._received: list[tuple[int, Any]] = []
        self._close = weakref.finalize(self, _close, os.getpid(), self.processes, self.channels)
        for worker_id in range(settings.num_workers):
            self._start(context, worker_id, settings)

    def _start(self, context: Any, worker_id: int, settings: Settings) -> None:
        ours, theirs = context.Pipe(duplex=True)
        self.channels.append(Channel(ours, settings.limit))
        forked = context.get_start_method() == "fork"
        inherited = [channel.connection for channel in self.channels] if forked else []
        parent = os.getpid() if forked else None
        process = context.Process(target=worker_main, args=(worker_id, settings, theirs, inherited, parent), daemon=True)
        process.start()
        theirs.close()
        self.processes.append(process)

    def send(self, worker_id: int, message: str | tuple[Any, ...]) -> None:
        """Send to one worker."""
        # What it has sent is taken in first: it then can't be stuck sending to us, so it will read, and this can't block for ever.
        channel = self.channels[worker_id]
        try:
            while channel.poll():
                self._received.append((worker_id, channel.receive()))
            channel.send(message)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise self._death([worker_id]) from None

    def receive(self, timeout: float) -> tuple[int, Any]:
        """(worker, message) of whichever comes first. RuntimeError when a worker has died, or after `timeout` seconds (0: no limit)."""
        if self._received:
            return self._received.pop(0)
        channels = {self.channels[i].connection: i for i in self.active}
        sentinels = {self.processes[i].sentinel: i for i in self.active}
        ready = wait([*channels, *sentinels], timeout or None)
        if not ready:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds: its workers are alive, but none has sent its batch")
        speaking = [channels[one] for one in ready if one in channels]
        try:
            if speaking:
                return speaking[0], self.channels[speaking[0]].receive()
        except (EOFError, ConnectionResetError):
            raise self._death(speaking[:1]) from None
        raise self._death([sentinels[one] for one in ready])

    def retire(self, worker_id: int) -> None:
        """Tell a worker that it is not needed any more; the others go on."""
        self.send(worker_id, QUIT)
        self.active.discard(worker_id)

    def _death(self, workers: list[int]) -> RuntimeError:
        self.broken = True
        for i in workers:
            self.processes[i].join(1.0)
        dead = [process for process in self.processes if process.exitcode] or [self.processes[i] for i in workers]
        pids = ", ".join(str(process.pid) for process in dead)
        ways = ", ".join(_ending(process.exitcode) for process in dead)
        return RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {ways}. With num_workers=0 the cause may show itself.")

    def close(self) -> None:
        """End all workers: they may finish the batch they are at, within some seconds."""
        self._close()


def _ending(code: int | None) -> str:
    if code is None:
        return "it closed its pipe"
    if code >= 0:
        return f"exit code {code}"
    import signal
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    memory = " (out of memory?)" if name == "SIGKILL" else ""
    return f"killed by signal {name}{memory}"


def _close(owner: int, processes: list[Any], channels: list[Channel]) -> None:
    if os.getpid() != owner:
        return  # a forked child has a copy of the pool, and the workers are not its own
    for channel in channels:
        try:
            while channel.poll():
                channel.receive()
            channel.send(QUIT)
        except Exception:
            pass  # it is dead already, or its last message was no use: it is being ended anyway
    for channel in channels:
        channel.close()
    deadline = time.monotonic() + QUIT_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.terminate()
            process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join()
