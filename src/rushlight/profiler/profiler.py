"""`record_function` marks a part of a program, `profile` collects how often and how long marked parts ran."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from enum import Enum
from functools import wraps
from typing import Any

__all__ = ["profile", "record_function", "schedule", "ProfilerAction", "ProfilerActivity", "EventList", "FunctionEventAvg",
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
            event = (self.name, start, time.perf_counter_ns(), threading.get_ident())
            for each in _active:
                each._recorded.append(event)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)
        return recorded


class FunctionEventAvg:
    """All runs of one part together; times in microseconds. `self` times leave out the parts inside."""

    def __init__(self, key: str) -> None:
        self.key, self.count = key, 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0

    @property
    def cpu_time(self) -> float:
        """The mean time of one run."""
        return self.cpu_time_total / max(self.count, 1)

    def __repr__(self) -> str:
        return (f"<FunctionEventAvg key={self.key} count={self.count} cpu_time={self.cpu_time:.3f}us "
                f"self_cpu_time={self.self_cpu_time_total:.3f}us>")


class EventList(list[Any]):
    """What `key_averages` returns."""

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_name_column_width: int = 55, **options: Any) -> str:
        """The parts as a table, sorted by an attribute such as "cpu_time_total"."""
        if options:
            raise NotImplementedError(f"table({', '.join(options)}=...): only sort_by, row_limit and max_name_column_width are supported")
        rows = sorted(self, key=lambda each: getattr(each, sort_by), reverse=True) if sort_by else list(self)
        lines = [f"{'Name':<{max_name_column_width}}  {'Self CPU':>12}  {'CPU total':>12}  {'CPU time avg':>12}  {'# of Calls':>10}"]
        lines.insert(0, "-" * len(lines[0]))
        lines.append(lines[0])
        for each in rows[:row_limit]:
            times = "  ".join(f"{value / 1000:>10.3f}ms" for value in (each.self_cpu_time_total, each.cpu_time_total, each.cpu_time))
            lines.append(f"{each.key[:max_name_column_width]:<{max_name_column_width}}  {times}  {each.count:>10}")
        return "\n".join([*lines, lines[0]])

    def total_average(self) -> FunctionEventAvg:
        """All parts together."""
        result = FunctionEventAvg("Total")
        for each in self:
            result.count += each.count
            result.self_cpu_time_total += each.self_cpu_time_total
            result.cpu_time_total += each.self_cpu_time_total
        return result


class profile:
    """A context that records the parts named by `record_function`.

    activities      ProfilerActivity.CPU; others are recorded as far as the CPU waits for them
    schedule        which steps to record (`step` ends one), see `schedule`
    on_trace_ready  called with the profiler after the last step of each cycle, or at the end
    record_shapes, profile_memory, with_stack, with_flops, with_modules: NotImplementedError where True; operations are not recorded
    """

    def __init__(self, *, activities: Iterable[ProfilerActivity] | None = None, schedule: Callable[[int], ProfilerAction] | None = None,
                 on_trace_ready: Callable[[profile], Any] | None = None, record_shapes: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_flops: bool = False, with_modules: bool = False, experimental_config: Any = None,
                 execution_trace_observer: Any = None, acc_events: bool = False, use_cuda: bool | None = None,
                 custom_trace_id_callback: Any = None, post_processing_timeout_s: float | None = None) -> None:
        asked = [name for name, value in (("record_shapes", record_shapes), ("profile_memory", profile_memory), ("with_stack", with_stack),
                                          ("with_flops", with_flops), ("with_modules", with_modules),
                                          ("execution_trace_observer", execution_trace_observer)) if value]
        if asked:
            raise NotImplementedError(f"torch.profiler.profile({', '.join(asked)}): rushlight records the parts that record_function "
                                      "names, not single operations. Python's cProfile sees them all")
        self.activities = set(activities) if activities is not None else supported_activities()
        self.schedule, self.on_trace_ready, self.acc_events = schedule, on_trace_ready, acc_events
        self.step_num = 0
        self.current_action = ProfilerAction.RECORD if schedule is None else schedule(0)
        self._recorded: list[tuple[str, int, int, int]] = []
        self._step: record_function | None = None

    def _recording(self) -> bool:
        return self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)

    def start(self) -> None:
        """Begin."""
        if self._recording():
            _active.append(self)
        self._begin_step()

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
            _active.remove(self)
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
            _active.remove(self)
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)
            if not self.acc_events:
                self._recorded = []
        if self._recording() and self not in _active:
            _active.append(self)
        self._begin_step()

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def events(self) -> list[tuple[str, int, int, int]]:
        """(name, start, end, thread) of every run, in nanoseconds."""
        return sorted(self._recorded, key=lambda each: (each[1], -each[2]))

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """The runs of each part together."""
        if group_by_input_shape or group_by_stack_n:
            raise NotImplementedError("key_averages(group_by_input_shape, group_by_stack_n): shapes and stacks are not recorded")
        found: dict[str, FunctionEventAvg] = {}
        open_: dict[int, list[tuple[int, FunctionEventAvg]]] = {}
        for name, start, end, thread in self.events():
            entry = found.setdefault(name, FunctionEventAvg(name))
            taken = (end - start) / 1000
            entry.count += 1
            entry.cpu_time_total += taken
            entry.self_cpu_time_total += taken
            around = open_.setdefault(thread, [])
            while around and around[-1][0] <= start:
                around.pop()
            if around:
                around[-1][1].self_cpu_time_total -= taken
            around.append((end, entry))
        return EventList(found.values())

    def export_chrome_trace(self, path: str) -> None:
        """Write the runs in the format of Chrome's trace viewer (also Perfetto's)."""
        events = [{"name": name, "ph": "X", "ts": start / 1000, "dur": (end - start) / 1000, "pid": os.getpid(), "tid": thread,
                   "cat": "user_annotation"}
                  for name, start, end, thread in self.events()]
        with open(path, "w") as file:
            json.dump({"traceEvents": events}, file)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Not supported: stacks are not recorded (NotImplementedError)."""
        raise NotImplementedError("profile.export_stacks: stacks are not recorded; use a sampling profiler such as py-spy")


def tensorboard_trace_handler(dir_name: str, worker_name: str | None = None, use_gzip: bool = False) -> Callable[[profile], None]:
    """An on_trace_ready that writes each trace into a directory, in Chrome's format."""
    import gzip
    import socket

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
