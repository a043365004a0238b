"""`Timer`: run a statement often enough to time it, and say how long one run takes and how sure that is."""

from __future__ import annotations

import timeit
from collections.abc import Iterable, Sequence
from statistics import fmean, median, quantiles
from typing import Any

from ...nn._torch import torch
from ...threads import get_num_threads, set_num_threads
from ...vocabulary import Function

__all__ = ["Timer", "Measurement", "Compare", "timer"]

_UNITS = ((1e-9, "ns"), (1e-6, "us"), (1e-3, "ms"), (1.0, "s"))


def timer() -> float:
    """The clock: seconds, after what runs on a GPU has ended."""
    import sys
    cuda: Any = sys.modules.get(__name__.partition(".")[0] + ".cuda")
    if cuda is not None and cuda.is_available():
        cuda.synchronize()
    return timeit.default_timer()


def _scaled(seconds: float) -> str:
    scale, unit = next(((scale, unit) for scale, unit in reversed(_UNITS) if seconds >= scale), _UNITS[0])
    return f"{seconds / scale:.2f} {unit}"


class Measurement:
    """Times of several blocks of `number_per_run` runs each; all properties are seconds per run."""

    def __init__(self, number_per_run: int, raw_times: Sequence[float], task_spec: dict[str, Any]) -> None:
        self.number_per_run, self.raw_times, self.task_spec = number_per_run, list(raw_times), task_spec

    @property
    def times(self) -> list[float]:
        """The time of one run, by each block."""
        return [each / self.number_per_run for each in self.raw_times]

    @property
    def median(self) -> float:
        """The median of the blocks."""
        return median(self.times)

    @property
    def mean(self) -> float:
        """The mean of the blocks."""
        return fmean(self.times)

    @property
    def iqr(self) -> float:
        """How far the middle half of the blocks spreads."""
        if len(self.times) < 2:
            return 0.0
        low, _, high = quantiles(self.times, n=4, method="inclusive")
        return high - low

    @property
    def has_warnings(self) -> bool:
        """Whether the times spread by more than a tenth."""
        return self.median > 0 and self.iqr / self.median > 0.1

    @property
    def title(self) -> str:
        """What was timed."""
        spec = self.task_spec
        return ": ".join(each for each in (spec["label"] or spec["stmt"], spec["sub_label"], spec["description"]) if each)

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """Measurements of the same task and block size put together."""
        groups: dict[Any, list[Measurement]] = {}
        for each in measurements:
            groups.setdefault((tuple(sorted(each.task_spec.items(), key=str)), each.number_per_run), []).append(each)
        return [Measurement(same[0].number_per_run, [time for each in same for time in each.raw_times], same[0].task_spec)
                for same in groups.values()]

    def __repr__(self) -> str:
        lines = [f"<{type(self).__module__}.{type(self).__qualname__} object at {id(self):#x}>", self.title]
        if len(self.raw_times) > 1:
            lines.append(f"  Median: {_scaled(self.median)}\n  IQR:    {_scaled(self.iqr)}")
        else:
            lines.append(f"  {_scaled(self.median)}")
        threads = self.task_spec["num_threads"]
        lines.append(f"  {len(self.raw_times)} measurement{'s' if len(self.raw_times) > 1 else ''}, {self.number_per_run} runs per "
                     f"measurement, {threads} thread{'s' if threads > 1 else ''}")
        if self.has_warnings:
            lines.append("  WARNING: the middle half of the times spreads by more than a tenth of their median")
        return "\n".join(lines)


class Timer:
    """Times a statement::

        Timer("x @ x", setup="x = torch.rand(64, 64)", globals={"torch": torch}).blocked_autorange()

    stmt, setup, global_setup  Python code; `setup` and `global_setup` run once before each measurement
    timer                      a clock that gives seconds
    globals                    names for the code
    label, sub_label, description, env  for texts and tables
    num_threads                how many threads operations may use meanwhile
    language                   "python" (NotImplementedError for C++)
    """

    def __init__(self, stmt: str = "pass", setup: str = "pass", global_setup: str = "", timer: Any = timer, globals: dict[str, Any] |
                 None = None,  # noqa: A002
                 label: str | None = None, sub_label: str | None = None, description: str | None = None, env: str | None = None,
                 num_threads: int = 1, language: Any = "python") -> None:
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if str(getattr(language, "name", language)).lower() not in ("python", "py"):
            raise NotImplementedError(f"Timer(language={language!r}): rushlight times Python only")
        names = dict(globals or {})
        if "torch" not in names:
            names["torch"] = torch
        from textwrap import dedent
        setup = dedent(global_setup).strip() + "\n" + dedent(setup).strip() if global_setup else dedent(setup).strip()
        self._timer = timeit.Timer(dedent(stmt).strip(), setup or "pass", timer=timer, globals=names)
        self._spec = {"stmt": stmt, "setup": setup, "label": label, "sub_label": sub_label, "description": description, "env": env,
                      "num_threads": num_threads}

    def _run(self, number: int) -> float:
        before = get_num_threads()
        set_num_threads(self._spec["num_threads"])  # type: ignore[arg-type]
        try:
            return self._timer.timeit(number)
        finally:
            set_num_threads(before)

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """One block of `number` runs, after a few to warm up."""
        self._run(max(int(number // 100), 2))
        return Measurement(number, [self._run(number)], self._spec)

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Not supported: `blocked_autorange` finds out how many runs are enough (NotImplementedError)."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Function | None = None) -> None:
        """Not supported: `blocked_autorange` finds out how many runs are enough (NotImplementedError)."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _block_size(self, min_run_time: float) -> int:
        """So many runs that reading the clock does not matter (0.1%), and that a block is not much shorter than min_run_time / 1000."""
        overhead = median(self._clock() for _ in range(5))
        number = 1
        while True:
            taken = self._run(number)
            if taken > 0 and overhead / taken <= 1e-4 and taken >= min_run_time / 1000:
                return number
            if taken > min_run_time:
                return number
            number *= 10

    @staticmethod
    def _clock() -> float:
        start = timeit.default_timer()
        return timeit.default_timer() - start

    def blocked_autorange(self, callback: Function | None = None, min_run_time: float = 0.2) -> Measurement:
        """Blocks of equal size, until they have taken `min_run_time` seconds together. ``callback(runs, seconds)`` after each."""
        number = self._block_size(min_run_time)
        times: list[float] = []
        while sum(times) < min_run_time or len(times) < 2:
            times.append(self._run(number))
            if callback is not None:
                callback(number, times[-1])
        return Measurement(number, times, self._spec)

    def adaptive_autorange(self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
                           callback: Function | None = None) -> Measurement:
        """Blocks until their middle half spreads by less than `threshold` of their median, or `max_run_time` is over."""
        number = self._block_size(min_run_time)
        times: list[float] = []
        while True:
            times.append(self._run(number))
            if callback is not None:
                callback(number, times[-1])
            measurement = Measurement(number, times, self._spec)
            settled = len(times) >= 4 and sum(times) >= min_run_time and measurement.iqr <= threshold * measurement.median
            if settled or sum(times) >= max_run_time:
                return measurement

    def collect_callgrind(self, *args: Any, **kwargs: Any) -> None:
        """Not supported: counting instructions needs Valgrind and PyTorch's bindings (NotImplementedError)."""
        raise NotImplementedError("Timer.collect_callgrind needs PyTorch's Valgrind bindings: use blocked_autorange, or Python's cProfile")


class Compare:
    """A table of measurements: a row per sub_label, a column per description."""

    def __init__(self, results: Iterable[Measurement]) -> None:
        self._results = list(results)

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Add measurements."""
        self._results.extend(results)

    def __str__(self) -> str:
        rows = list(dict.fromkeys(each.task_spec["sub_label"] or each.task_spec["stmt"] for each in self._results))
        columns = list(dict.fromkeys(each.task_spec["description"] or "time" for each in self._results))
        cells = {(each.task_spec["sub_label"] or each.task_spec["stmt"], each.task_spec["description"] or "time"): _scaled(each.median)
                 for each in Measurement.merge(self._results)}
        table = [["", *columns], *[[row, *[cells.get((row, column), "") for column in columns]] for row in rows]]
        widths = [max(len(line[i]) for line in table) for i in range(len(columns) + 1)]
        return "\n".join(" | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table)

    def print(self) -> None:
        """Print the table."""
        print(self)
