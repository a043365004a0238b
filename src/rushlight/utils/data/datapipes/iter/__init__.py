"""``torch.utils.data.datapipes.iter``: pipes that take samples from another and pass them on changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import chain, islice
from typing import Any

from ..._utils.collate import default_collate
from .._decorator import functional_datapipe
from ..datapipe import DataChunk, IterDataPipe
from .combinatorics import Shuffler

__all__ = ["Batcher", "Collator", "Concater", "Filter", "IterableWrapper", "Mapper", "Shuffler", "UnBatcher", "Zipper"]

Pipe = IterDataPipe[Any]


class IterableWrapper(IterDataPipe[Any]):
    """The samples of an iterable (of a deep copy, so that later changes are not seen)."""

    def __init__(self, iterable: Iterable[Any], deepcopy: bool = True) -> None:
        self.iterable, self.deepcopy = iterable, deepcopy

    def __iter__(self) -> Iterator[Any]:
        yield from deepcopy(self.iterable) if self.deepcopy else self.iterable

    def __len__(self) -> int:
        return len(self.iterable)  # type: ignore[arg-type]


@functional_datapipe("map")
class Mapper(IterDataPipe[Any]):
    """What a function makes of each sample, or of one (or several) of its columns."""

    def __init__(self, datapipe: Pipe, fn: Callable[..., Any], input_col: Any = None, output_col: Any = None) -> None:
        if output_col is not None and input_col is None:
            raise ValueError("`output_col` must be None when `input_col` is None.")
        self.datapipe, self.fn, self.input_col, self.output_col = datapipe, fn, input_col, output_col

    def __iter__(self) -> Iterator[Any]:
        return map(self._apply, self.datapipe)

    def _apply(self, data: Any) -> Any:
        if self.input_col is None:
            return self.fn(data)
        columns = self.input_col if isinstance(self.input_col, (list, tuple)) else [self.input_col]
        result = self.fn(*(data[each] for each in columns))
        changed = dict(data) if isinstance(data, dict) else list(data)
        if self.output_col == -1:
            changed.append(result)  # type: ignore[union-attr]
        else:
            changed[columns[0] if self.output_col is None else self.output_col] = result
        return tuple(changed) if isinstance(data, tuple) else changed

    def __len__(self) -> int:
        return len(self.datapipe)  # type: ignore[arg-type]


@functional_datapipe("filter")
class Filter(IterDataPipe[Any]):
    """The samples of which a function says True."""

    def __init__(self, datapipe: Pipe, filter_fn: Callable[..., Any], input_col: Any = None) -> None:
        self.datapipe, self.filter_fn, self.input_col = datapipe, filter_fn, input_col

    def __iter__(self) -> Iterator[Any]:
        for data in self.datapipe:
            if self.filter_fn(data if self.input_col is None else data[self.input_col]):
                yield data


@functional_datapipe("batch")
class Batcher(IterDataPipe[Any]):
    """Samples in chunks of a size; the last may be shorter, or is left out."""

    def __init__(self, datapipe: Pipe, batch_size: int, drop_last: bool = False, wrapper_class: Callable[..., Any] = DataChunk) -> None:
        if batch_size <= 0:
            raise AssertionError("Batch size is required to be larger than 0!")
        self.datapipe, self.batch_size, self.drop_last, self.wrapper_class = datapipe, batch_size, drop_last, wrapper_class

    def __iter__(self) -> Iterator[Any]:
        source = iter(self.datapipe)
        while (batch := list(islice(source, self.batch_size))) and (len(batch) == self.batch_size or not self.drop_last):
            yield self.wrapper_class(batch)

    def __len__(self) -> int:
        count = len(self.datapipe)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


@functional_datapipe("unbatch")
class UnBatcher(IterDataPipe[Any]):
    """The samples of chunks, to a depth (-1: all)."""

    def __init__(self, datapipe: Pipe, unbatch_level: int = 1) -> None:
        self.datapipe, self.unbatch_level = datapipe, unbatch_level

    def __iter__(self) -> Iterator[Any]:
        for each in self.datapipe:
            yield from self._opened(each, self.unbatch_level)

    def _opened(self, value: Any, level: int) -> Iterator[Any]:
        if level == 0 or (level < 0 and not isinstance(value, (list, DataChunk))):
            yield value
        elif not isinstance(value, (list, DataChunk)):
            raise IndexError(f"unbatch_level {self.unbatch_level} exceeds the depth of the DataPipe")
        else:
            for each in value:
                yield from self._opened(each, level - 1)


@functional_datapipe("concat")
class Concater(IterDataPipe[Any]):
    """The samples of several pipes, one after the other."""

    def __init__(self, *datapipes: Pipe) -> None:
        if not datapipes:
            raise ValueError("Expected at least one DataPipe, but got nothing")
        self.datapipes = datapipes

    def __iter__(self) -> Iterator[Any]:
        return chain(*self.datapipes)

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))  # type: ignore[arg-type]


@functional_datapipe("zip")
class Zipper(IterDataPipe[Any]):
    """Tuples of the samples of several pipes, as many as the shortest has."""

    def __init__(self, *datapipes: Pipe) -> None:
        self.datapipes = datapipes

    def __iter__(self) -> Iterator[Any]:
        return zip(*self.datapipes, strict=False)

    def __len__(self) -> int:
        return min(map(len, self.datapipes))  # type: ignore[arg-type]


@functional_datapipe("collate")
class Collator(Mapper):
    """Batches as tensors, by a function."""

    def __init__(self, datapipe: Pipe, collate_fn: Callable[..., Any] = default_collate) -> None:
        super().__init__(datapipe, collate_fn)
