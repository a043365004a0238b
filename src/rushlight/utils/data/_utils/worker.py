"""The worker process: waits for indices, fetches, sends the batch back. Failures travel as text and become exceptions in the main
process."""

from __future__ import annotations

import os
import random
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

import rushlight as torch

from .channel import Channel
from .fetch import make_fetcher
from .info import DATA, END, FAILURE, WorkerInfo, set_worker_info

__all__ = ["Failure", "QUIT", "RESTART", "Settings", "worker_main"]

QUIT, RESTART = "quit", "restart"  # besides (ticket, indices), what a worker is told
PARENT_CHECK_SECONDS = 5.0


class Settings:
    """What every worker of a loader is told when it starts."""

    def __init__(self, dataset: Any, streams: bool, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool, base_seed: int,
                 num_workers: int, init_fn: Callable[[int], Any] | None, limit: int) -> None:
        self.dataset = dataset
        self.streams = streams
        self.batched = batched
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.base_seed = base_seed
        self.num_workers = num_workers
        self.init_fn = init_fn
        self.limit = limit

    def fetcher(self) -> Callable[[Any], Any]:
        """A fetcher at the start of an epoch."""
        return make_fetcher(self.dataset, self.streams, self.batched, self.collate_fn, self.drop_last)


class _Verbatim(str):
    """Text whose repr is the text: KeyError shows the repr of its argument, which would hide the line breaks."""

    def __repr__(self) -> str:
        return str(self)


class Failure:
    """An exception in a worker, as its class and the text of its traceback (a traceback itself can't leave its process)."""

    def __init__(self, error: BaseException, worker_id: int) -> None:
        self.kind = type(error)
        text = "".join(traceback.format_exception(error))
        self.text = f"Caught {self.kind.__name__} in DataLoader worker process {worker_id}.\nOriginal {text}"

    def without_class(self) -> Failure:
        """The same for a class that the main process can't import."""
        self.kind = RuntimeError
        return self

    def reraise(self) -> None:
        """Raise the exception's class with the worker's traceback as its text; RuntimeError for classes that take no such argument."""
        try:
            error = self.kind(_Verbatim(self.text) if issubclass(self.kind, KeyError) else self.text)
        except Exception:
            error = RuntimeError(self.text)
        raise error from None


def _seed(base_seed: int, worker_id: int) -> None:
    """Every worker has streams of its own: torch's, Python's, and NumPy's through a SeedSequence of (worker, base seed)."""
    seed = base_seed + worker_id
    random.seed(seed)
    torch.manual_seed(seed)
    np.random.seed(_generate_state(base_seed, worker_id))


def _generate_state(base_seed: int, worker_id: int) -> list[int]:
    """The seed of NumPy's generator in a worker."""
    return [int(each) for each in np.random.SeedSequence([worker_id, base_seed]).generate_state(4)]


def worker_main(worker_id: int, settings: Settings, connection: Connection, inherited: list[Connection], parent: int | None) -> None:
    """The worker's whole life. A forked one knows its parent's id, and has `inherited` the parent's ends of pipes, which it closes."""
    for other in inherited:
        other.close()
    channel = Channel(connection, settings.limit)
    try:
        torch.set_num_threads(1)
        _seed(settings.base_seed, worker_id)
        set_worker_info(WorkerInfo(worker_id, settings.num_workers, settings.base_seed + worker_id, settings.dataset))
        _serve(channel, worker_id, settings, parent)
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass  # the main process is gone, or ends the same way and says so itself
    finally:
        channel.close()


def _serve(channel: Channel, worker_id: int, settings: Settings, parent: int | None) -> None:
    broken: Failure | None = None
    fetch = None
    if settings.init_fn is not None:
        _, broken = _attempt(settings.init_fn, worker_id, worker_id)
    while (message := _next_message(channel, parent)) != QUIT:
        if message == RESTART:
            fetch = None
            continue
        ticket, index = message
        failure = broken
        if failure is None and fetch is None:
            fetch, failure = _attempt(settings.fetcher, worker_id)
        _answer(channel, worker_id, ticket, index, fetch, failure)


def _next_message(channel: Channel, parent: int | None) -> Any:
    """The next message; QUIT when the main process has died without a word (a sibling may hold its end of the pipe open)."""
    while not wait([channel.connection], PARENT_CHECK_SECONDS):
        if not _is_alive(parent):
            return QUIT
    return channel.receive()


def _is_alive(parent: int | None) -> bool:
    if parent is not None:
        return os.getppid() == parent
    main = parent_process()  # a forkserver's children have another parent than the main process
    return main is not None and main.is_alive()


def _attempt(function: Callable[..., Any], worker_id: int, *args: Any) -> tuple[Any, Failure | None]:
    try:
        return function(*args), None
    except Exception as error:
        return None, Failure(error, worker_id)


def _answer(channel: Channel, worker_id: int, ticket: Any, index: Any, fetch: Callable[[Any], Any] | None, failure: Failure | None) -> None:
    answer: Any = (ticket, FAILURE, failure)
    if failure is None and fetch is not None:
        try:
            answer = (ticket, DATA, fetch(index))
        except StopIteration as error:
            answer = (ticket, END, None) if getattr(fetch, "ends", False) else (ticket, FAILURE, Failure(error, worker_id))
        except Exception as error:
            answer = (ticket, FAILURE, Failure(error, worker_id))
    try:
        channel.send(answer)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # the data can't be pickled, or an exception's class can't
        failed = answer[2] if answer[1] == FAILURE else Failure(error, worker_id)
        channel.send((ticket, FAILURE, failed.without_class()))
