"""`profile` collects which operators and marked parts of a program ran, how often and how long; `record_function` marks a part."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from enum import Enum
from functools import wraps
from typing import Any

from . import operators
from .events import EventList, FunctionEvent, FunctionEventAvg, averaged, nested

__all__ = ["profile", "record_function", "schedule", "ProfilerAction", "ProfilerActivity", "EventList", "FunctionEvent", "FunctionEventAvg",
           "supported_activities", "kineto_available", "tensorboard_trace_handler"]


class ProfilerActivity(Enum):
    """What may be recorded."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(Enum):
    """What a profiler does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """What can be recorded: the CPU."""
    return {ProfilerActivity.CPU}


def kineto_available() -> bool:
    """Whether PyTorch's tracing library is there: no."""
    return False


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0,
             skip_first_wait: int = 0) -> Callable[[int], ProfilerAction]:
    """A function step -> action: after `skip_first` steps, cycles of `wait` steps off, `warmup` steps, and `active` steps of recording."""
    if min(wait, warmup, repeat, skip_first) < 0 or active < 1:
        raise AssertionError("Invalid profiler schedule arguments")

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        length = wait + warmup + active
        if repeat and step // length >= repeat:
            return ProfilerAction.NONE
        place = step % length
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if place < length - 1 else ProfilerAction.RECORD_AND_SAVE
    return action


_active: list[profile] = []          # the profilers that record now


class record_function:
    """A context, or a decorator, that names a part of the program for profilers."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self._starts: list[int] = []

    def __enter__(self) -> record_function:
        self._starts.append(time.perf_counter_ns())
        return self

    def __exit__(self, *exception: object) -> None:
        start = self._starts.pop()
        if _active:
            event = FunctionEvent(self.name, start, time.perf_counter_ns(), threading.get_ident(), "user_annotation")
            for each in _active:
                each._recorded.append(event)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)
        return recorded


class profile:
    """A context that records operators, backward functions and the parts named by `record_function`.

    activities      ProfilerActivity.CPU; others are recorded as far as the CPU waits for them
    schedule        which steps to record (`step` ends one), see `schedule`
    on_trace_ready  called with the profiler after the last step of each cycle, or at the end
    record_shapes   the shapes and dtypes of operators' arguments
    profile_memory  the memory of operators' results
    with_stack      the lines of the program that called operators
    with_flops, with_modules, execution_trace_observer: NotImplementedError where asked for
    """

    def __init__(self, *, activities: Iterable[ProfilerActivity] | None = None, schedule: Callable[[int], ProfilerAction] | None = None,
                 on_trace_ready: Callable[[profile], Any] | None = None, record_shapes: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_flops: bool = False, with_modules: bool = False, experimental_config: Any = None,
                 execution_trace_observer: Any = None, acc_events: bool = False, use_cuda: bool | None = None,
                 custom_trace_id_callback: Any = None, post_processing_timeout_s: float | None = None) -> None:
        asked = [name for name, value in (("with_flops", with_flops), ("with_modules", with_modules),
                                          ("execution_trace_observer", execution_trace_observer)) if value]
        if asked:
            raise NotImplementedError(f"torch.profiler.profile({', '.join(asked)}) is not supported by rushlight: "
                                      "torch.utils.flop_counter.FlopCounterMode counts operations, by module too")
        self.record_shapes, self.profile_memory, self.with_stack = record_shapes, profile_memory, with_stack
        self.activities = set(activities) if activities is not None else supported_activities()
        self.schedule, self.on_trace_ready, self.acc_events = schedule, on_trace_ready, acc_events
        self.step_num = 0
        self.current_action = ProfilerAction.RECORD if schedule is None else schedule(0)
        self._recorded: list[FunctionEvent] = []
        self._step: record_function | None = None

    def _recording(self) -> bool:
        return self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)

    def start(self) -> None:
        """Begin, with what an earlier use recorded forgotten. RuntimeError where it runs already."""
        if self in _active:
            raise RuntimeError("torch.profiler.profile: start() was called twice; call stop() first")
        if not self.acc_events:
            self._recorded = []
        if self._recording():
            self._open()
        self._begin_step()

    def _open(self) -> None:
        _active.append(self)
        operators.attach(self)

    def _close(self) -> None:
        _active.remove(self)
        operators.detach(self)

    def _begin_step(self) -> None:
        if self.schedule is not None:
            self._step = record_function(f"ProfilerStep#{self.step_num}")
            self._step.__enter__()

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__()
            self._step = None

    def stop(self) -> None:
        """End; calls on_trace_ready where something was recorded."""
        self._end_step()
        if self in _active:
            self._close()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)

    def step(self) -> None:
        """End a step and begin the next, as the schedule says."""
        if self.schedule is None:
            self.step_num += 1
            return
        self._end_step()
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        if before is ProfilerAction.RECORD_AND_SAVE:
            self._close()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)
            if not self.acc_events:
                self._recorded = []
        if self._recording() and self not in _active:
            self._open()
        self._begin_step()

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def events(self) -> EventList:
        """The runs of operators and parts, by their start; each knows the runs inside of it (`cpu_children`)."""
        return EventList(nested(self._recorded), self.profile_memory, self.record_shapes)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """The runs of each operator and part together, by the shapes of the arguments or the innermost lines of the program too."""
        if group_by_input_shape and not self.record_shapes:
            raise ValueError("key_averages(group_by_input_shape=True): shapes are recorded with profile(record_shapes=True)")
        if group_by_stack_n and not self.with_stack:
            raise ValueError("key_averages(group_by_stack_n): lines are recorded with profile(with_stack=True)")
        found = averaged(self.events(), group_by_input_shape, group_by_stack_n)
        return EventList(found, self.profile_memory, group_by_input_shape, group_by_stack_n > 0)

    def export_chrome_trace(self, path: str) -> None:
        """Write the runs in the format of Chrome's trace viewer (also Perfetto's); compressed where the name ends in ".gz"."""
        content = json.dumps({"schemaVersion": 1, "displayTimeUnit": "ms", "traceEvents": [each.traced() for each in self.events()]})
        if path.endswith(".gz"):
            with gzip.open(path, "wt") as file:
                file.write(content)
        else:
            with open(path, "w") as plain:
                plain.write(content)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write the lines of the program with their times, in the form that flame graph programs read (ValueError without with_stack)."""
        if not self.with_stack:
            raise ValueError("profile.export_stacks: lines are recorded with profile(with_stack=True)")
        if metric not in ("self_cpu_time_total", "cpu_time_total"):
            raise ValueError(f"profile.export_stacks: metric has to be self_cpu_time_total or cpu_time_total, got {metric!r}")
        with open(path, "w") as file:
            for each in self.events():
                if each.stack and int(getattr(each, metric)):
                    lines = [line.replace(" ", "_").replace(";", ",") for line in (*reversed(each.stack), each.name)]
                    file.write(f"{';'.join(lines)} {int(getattr(each, metric))}\n")


def tensorboard_trace_handler(dir_name: str, worker_name: str | None = None, use_gzip: bool = False) -> Callable[[profile], None]:
    """An on_trace_ready that writes each trace into a directory, in Chrome's format."""

    def handler(prof: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        name = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        path = os.path.join(dir_name, f"{name}.{time.time_ns()}.pt.trace.json")
        prof.export_chrome_trace(path)
        if use_gzip:
            with open(path, "rb") as plain, gzip.open(path + ".gz", "wb") as packed:
                packed.write(plain.read())
            os.unlink(path)
    return handler
