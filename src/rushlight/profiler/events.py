"""What a profiler has recorded: runs of operators and parts, the same together, and tables of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "averaged", "nested"]


class FunctionEvent:
    """One run of an operator or a part; times in microseconds. `self` times and memory leave out what ran inside."""

    def __init__(self, name: str, start: int, end: int, thread: int, kind: str, input_shapes: list[Any] | None = None,
                 input_types: list[str] | None = None, stack: list[str] | None = None, memory: int = 0) -> None:
        self.name, self.start, self.end, self.thread, self.kind = name, start, end, thread, kind
        self.input_shapes, self.input_types, self.stack, self.cpu_memory_usage = input_shapes or [], input_types or [], stack or [], memory
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.is_user_annotation, self.count = kind == "user_annotation", 1

    key = property(lambda self: self.name)

    @property
    def cpu_time_total(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1000

    cpu_time = cpu_time_total

    @property
    def self_cpu_time_total(self) -> float:
        """How long it took without what ran inside."""
        return self.cpu_time_total - sum(each.cpu_time_total for each in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:
        """The memory of its results without that of what ran inside."""
        return self.cpu_memory_usage - sum(each.cpu_memory_usage for each in self.cpu_children)

    def traced(self) -> dict[str, Any]:
        """The event for Chrome's trace viewer."""
        notes = {"Input Dims": self.input_shapes, "Input type": self.input_types, "Call stack": self.stack, "Bytes": self.cpu_memory_usage}
        found = {"ph": "X", "cat": self.kind, "name": self.name, "pid": os.getpid(), "tid": self.thread, "ts": self.start / 1000,
                 "dur": self.cpu_time_total}
        args = {key: value for key, value in notes.items() if value}
        return {**found, "args": args} if args else found

    def __repr__(self) -> str:
        return (f"<FunctionEvent name={self.name} cpu_time={_time(self.cpu_time_total)} start_us={self.start / 1000:.3f} "
                f"end_us={self.end / 1000:.3f} cpu_children={[each.name for each in self.cpu_children]} thread={self.thread} "
                f"input_shapes={self.input_shapes} "
                f"cpu_memory_usage={self.cpu_memory_usage} is_user_annotation={self.is_user_annotation}>")


class FunctionEventAvg:
    """All runs of one operator or part together; times in microseconds. `self` times and memory leave out what ran inside."""

    def __init__(self, key: str) -> None:
        self.key, self.count = key, 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = 0
        self.input_shapes: Any = []
        self.stack: list[str] = []

    def add(self, other: Any) -> FunctionEventAvg:
        """Count one more run, or several."""
        self.count += other.count
        for name in ("cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def cpu_time(self) -> float:
        """The mean time of one run."""
        return self.cpu_time_total / max(self.count, 1)

    def __repr__(self) -> str:
        return (f"<FunctionEventAvg key={self.key} count={self.count} self_cpu_time={_time(self.self_cpu_time_total)} "
                f"cpu_time={_time(self.cpu_time)} input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage}>")


def nested(events: Iterable[FunctionEvent]) -> list[FunctionEvent]:
    """The events by their start; each gets what ran inside of it."""
    found = sorted(events, key=lambda each: (each.start, -each.end))
    open_: dict[int, list[FunctionEvent]] = {}
    for each in found:
        each.cpu_parent, each.cpu_children = None, []
        around = open_.setdefault(each.thread, [])
        while around and around[-1].end <= each.start:
            around.pop()
        if around:
            each.cpu_parent = around[-1]
            around[-1].cpu_children.append(each)
        around.append(each)
    for each in reversed(found):
        if each.is_user_annotation:
            each.cpu_memory_usage = sum(inner.cpu_memory_usage for inner in each.cpu_children)
    return found


def averaged(events: Sequence[FunctionEvent], by_shape: bool, lines: int) -> list[FunctionEventAvg]:
    """The runs of one name (of the same shapes, called from the same lines) together."""
    found: dict[Any, FunctionEventAvg] = {}
    for each in events:
        key = each.name, str(each.input_shapes) if by_shape else "", tuple(each.stack[:lines])
        entry = found.get(key)
        if entry is None:
            entry = found[key] = FunctionEventAvg(each.name)
            entry.input_shapes, entry.stack = each.input_shapes if by_shape else [], each.stack[:lines]
        entry.add(each)
    return list(found.values())


def _time(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3f}{unit}"
    return f"{microseconds:.3f}us"


def _memory(n: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(n) >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n} B"


class EventList(list[Any]):
    """Runs, or runs together."""

    def __init__(self, events: Iterable[Any] = (), memory: bool = False, shapes: bool = False, stacks: bool = False) -> None:
        super().__init__(events)
        self._memory, self._shapes, self._stacks = memory, shapes, stacks

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all."""
        return sum(each.self_cpu_time_total for each in self)

    def total_average(self) -> FunctionEventAvg:
        """All together."""
        result = FunctionEventAvg("Total")
        for each in self:
            result.add(each)
        result.cpu_time_total = result.self_cpu_time_total
        return result

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0) -> EventList:
        """The runs of each name together."""
        return EventList(averaged(self, group_by_input_shapes, group_by_stack_n), self._memory, group_by_input_shapes, group_by_stack_n > 0)

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75, max_name_column_width: int = 55,
              max_shapes_column_width: int = 80, header: str | None = None, top_level_events_only: bool = False) -> str:
        """The runs as a table, sorted by an attribute such as "cpu_time_total". AttributeError for one that there is not."""
        events = sorted(self, key=lambda each: getattr(each, sort_by), reverse=True) if sort_by else list(self)
        if top_level_events_only:
            events = [each for each in events if getattr(each, "cpu_parent", None) is None]
        events = events if row_limit < 0 else events[:row_limit]
        if not events:
            return ""
        total = self.self_cpu_time_total
        columns = self._columns(events, total, (max_name_column_width, max_shapes_column_width, max_src_column_width))
        line = "  ".join("-" * width for _, width, _ in columns) + "  "
        rows = [line, "  ".join(f"{title:>{width}}" for title, width, _ in columns) + "  ", line]
        for i in range(len(events)):
            rows.append("  ".join(f"{cells[i]:>{width}}" for _, width, cells in columns) + "  ")
        return "\n".join([*([] if header is None else [line, header]), *rows, line, f"Self CPU time total: {_time(total)}", ""])

    def _columns(self, events: list[Any], total: float, widths: tuple[int, int, int]) -> list[tuple[str, int, list[str]]]:
        """(title, width, cells) of each column."""
        def share(x: float) -> str:
            return f"{100 * x / total if total else 0:.2f}%"
        found = [_column("Name", widths[0], [each.key for each in events])]
        own, whole = [each.self_cpu_time_total for each in events], [each.cpu_time_total for each in events]
        cells = {"Self CPU %": list(map(share, own)), "Self CPU": list(map(_time, own)), "CPU total %": list(map(share, whole)),
                 "CPU total": list(map(_time, whole)), "CPU time avg": [_time(each.cpu_time) for each in events]}
        if self._memory:
            cells["CPU Mem"] = [_memory(each.cpu_memory_usage) for each in events]
            cells["Self CPU Mem"] = [_memory(each.self_cpu_memory_usage) for each in events]
        cells["# of Calls"] = [str(each.count) for each in events]
        found += [(title, 12, values) for title, values in cells.items()]
        if self._shapes:
            found.append(_column("Input Shapes", widths[1], [str(each.input_shapes) for each in events]))
        if self._stacks:
            found.append(_column("Source Location", widths[2], [each.stack[0] if each.stack else "" for each in events]))
        return found

    def __str__(self) -> str:
        return self.table()


def _column(title: str, limit: int, cells: list[str]) -> tuple[str, int, list[str]]:
    shown = [each if len(each) <= limit else each[:limit - 3] + "..." for each in cells]
    return title, min(max(len(each) for each in (title, *shown)) + 4, max(limit, 12)), shown
