"""``torch.futures``: results that come later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import GenericAlias
from typing import Any

__all__ = ["Future", "collect_all", "wait_all"]


class Future:
    """A value, or an exception, that somebody sets once and others wait for.

    devices  PyTorch's argument for results on GPUs; only None and [] are taken (ValueError), because nothing is asynchronous here
    """

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, *, devices: Any = None) -> None:
        if devices:
            raise ValueError("Future(devices=...): results are complete when they are set, on every device; leave devices out")
        self._ready = threading.Condition()
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future], Any]] = []

    def done(self) -> bool:
        """Whether the value or an exception has been set."""
        return self._done

    def wait(self) -> Any:
        """The value, as soon as it is there; raises the exception if one was set."""
        with self._ready:
            self._ready.wait_for(lambda: self._done)
        return self.value()

    def value(self) -> Any:
        """The value of a future that is done (RuntimeError otherwise)."""
        if not self._done:
            raise RuntimeError("value() of a Future that is not done: use wait()")
        if self._error is not None:
            raise self._error
        return self._value

    def _finish(self, value: Any, error: BaseException | None) -> None:
        with self._ready:
            if self._done:
                raise RuntimeError("Future can only be marked completed once; it is done already")
            self._value, self._error, self._done = value, error, True
            callbacks, self._callbacks = self._callbacks, []
            self._ready.notify_all()
        for callback in callbacks:
            callback(self)

    def set_result(self, result: Any) -> None:
        """Set the value (once)."""
        self._finish(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Set an exception (once)."""
        if not isinstance(result, BaseException):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._finish(None, result)

    def _when_done(self, callback: Callable[[Future], Any]) -> None:
        with self._ready:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future], Any]) -> Future:
        """A future for ``callback(self)``, which runs as soon as this one is done."""
        result = Future()

        def run(future: Future) -> None:
            try:
                value = callback(future)
            except Exception as error:
                result.set_exception(error)
            else:
                result.set_result(value)
        self._when_done(run)
        return result

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        """Call ``callback(self)`` as soon as this future is done; its exceptions are logged."""
        def run(future: Future) -> None:
            try:
                callback(future)
            except Exception:
                import logging
                logging.getLogger(__name__).exception("a callback of a Future failed")
        self._when_done(run)


def collect_all(futures: list[Future]) -> Future:
    """A future for the list of these futures, done when all of them are."""
    result, left, lock = Future(), [len(futures)], threading.Lock()
    if not futures:
        result.set_result([])

    def one(_: Future) -> None:
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last:
            result.set_result(futures)
    for each in futures:
        each._when_done(one)
    return result


def wait_all(futures: list[Future]) -> list[Any]:
    """The values of all futures; the first exception among them is raised."""
    return [each.wait() for each in collect_all(futures).wait()]
