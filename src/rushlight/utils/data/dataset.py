"""Datasets: where samples come from. By index (`Dataset`) or one after another (`IterableDataset`)."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

import rushlight as torch

from ...vocabulary import GeneratorLike, PerDim, Shape

__all__ = ["ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "StackDataset", "Subset", "TensorDataset", "random_split"]

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples by index or key: subclasses define ``__getitem__`` and, for most samplers, ``__len__``.

    ``__getitems__(indices)``, where defined, is asked for a whole batch at once and returns a list of samples.
    """

    def __getitem__(self, index: int) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__: a Dataset defines how to get the sample of an index.")

    def __add__(self, other: Dataset[T_co]) -> ConcatDataset[T_co]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """Samples from ``__iter__``, for streams. Each worker of a DataLoader iterates its own copy: see `get_worker_info`."""

    def __add__(self, other: Dataset[T_co]) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Sample i is the tuple of every tensor's ``tensor[i]``. AssertionError where first dimensions differ."""

    def __init__(self, *tensors: Any) -> None:
        sizes = [tensor.size(0) for tensor in tensors]
        if any(size != sizes[0] for size in sizes):
            raise AssertionError(f"Size mismatch between tensors: their first dimensions are {sizes} and should be equal")
        self.tensors = tensors

    def __getitem__(self, index: int | slice) -> tuple[Any, ...]:
        return tuple([tensor[index] for tensor in self.tensors])

    def __len__(self) -> int:
        return self.tensors[0].size(0)


class StackDataset(Dataset[Any]):
    """Several datasets of one length side by side: sample i is a tuple (datasets given by position) or a dict (by name)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError("StackDataset takes its datasets by position (samples are tuples) or by name (samples are dicts), not both")
        if not args and not kwargs:
            raise ValueError("StackDataset needs at least one dataset")
        self.datasets: Any = kwargs or args
        lengths = [len(dataset) for dataset in self._parts()]
        if any(length != lengths[0] for length in lengths):
            raise ValueError(f"Size mismatch between datasets: their lengths are {lengths} and should be equal")
        self._length = lengths[0]

    def _parts(self) -> list[Any]:
        return list(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def _sample(self, values: Iterable[Any]) -> Shape | dict[Any, Any]:
        return dict(zip(self.datasets, values)) if isinstance(self.datasets, dict) else tuple(values)

    def __getitem__(self, index: int) -> Shape | dict[Any, Any]:
        return self._sample([dataset[index] for dataset in self._parts()])

    def __getitems__(self, indices: list[Any]) -> list[Any]:
        """The samples of several indices; datasets that have ``__getitems__`` are asked once."""
        columns = []
        for dataset in self._parts():
            many = getattr(dataset, "__getitems__", None)
            column = many(indices) if callable(many) else [dataset[index] for index in indices]
            if len(column) != len(indices):
                raise ValueError(f"{type(dataset).__name__}.__getitems__ returned {len(column)} samples for {len(indices)} indices")
            columns.append(column)
        return [self._sample(row) for row in zip(*columns)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[T_co]):
    """Datasets one after the other. `cumulative_sizes` are the indices where each one ends."""

    datasets: list[Dataset[T_co]]
    cumulative_sizes: list[int]

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        """The running total of the lengths."""
        return list(accumulate(len(part) for part in sequence))

    def __init__(self, datasets: Iterable[Dataset[T_co]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("ConcatDataset needs at least one dataset, and got an empty iterable")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset, which has no indices: use ChainDataset")
        self.cumulative_sizes = self.cumsum(self.datasets)

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> T_co:
        length = len(self)
        if idx < -length:
            raise ValueError(f"index {idx} is out of range: the absolute value of a negative index should not exceed the length {length}")
        if idx >= length:
            raise IndexError(f"index {idx} is out of range for a ConcatDataset of length {length}")
        if idx < 0:
            idx += length
        which = bisect_right(self.cumulative_sizes, idx)
        return self.datasets[which][idx - (self.cumulative_sizes[which - 1] if which else 0)]

    @property
    def cummulative_sizes(self) -> list[int]:
        """The old, misspelt name of `cumulative_sizes`."""
        warnings.warn("`cummulative_sizes` is now spelt `cumulative_sizes`", FutureWarning, stacklevel=2)
        return self.cumulative_sizes


class ChainDataset(IterableDataset[Any]):
    """Iterable datasets one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        super().__init__()
        self.datasets = datasets

    def _checked(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError(f"ChainDataset only supports IterableDataset, and got a {type(dataset).__name__}")
            yield dataset

    def __iter__(self) -> Iterator[Any]:
        for dataset in self._checked():
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self._checked())


class Subset(Dataset[T_co]):
    """The samples of `dataset` at `indices`."""

    dataset: Dataset[T_co]
    indices: Sequence[int]

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, idx: PerDim) -> Any:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        """The samples of several indices; asks the dataset's own ``__getitems__`` where it has one."""
        many = getattr(self.dataset, "__getitems__", None)
        if callable(many):
            return many([self.indices[i] for i in indices])
        return [self.dataset[self.indices[i]] for i in indices]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Dataset[T_co], lengths: Sequence[int | float], generator: GeneratorLike = None) -> list[Subset[T_co]]:
    """Split at random into Subsets of the given lengths, or of the given fractions where those sum to one.

    With fractions, each part gets the floor of its share and what is left goes to the parts in turn, one sample each.
    The permutation is ``randperm(len(dataset), generator=generator)``. ValueError where the lengths do not sum to the dataset's.
    """
    total = len(dataset)  # type: ignore[arg-type]
    if _is_one(sum(lengths)) and sum(lengths) <= 1:
        sizes = _sizes_of_fractions(lengths, total)
    else:
        sizes = list(lengths)  # type: ignore[arg-type]
    if sum(sizes) != total:
        raise ValueError(f"Sum of input lengths does not equal the length of the dataset: {list(lengths)} sum to {sum(lengths)}, not "
                         f"{total}")
    order = torch.randperm(total, generator=generator).tolist()
    ends = accumulate(sizes)
    return [Subset(dataset, order[end - size:end]) for size, end in zip(sizes, ends)]


def _is_one(value: float) -> bool:
    from math import isclose
    return isclose(value, 1)


def _sizes_of_fractions(fractions: Sequence[float], total: int) -> list[int]:
    for i, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(f"Fraction at index {i} is {fraction}, which is not between 0 and 1")
    sizes = [int(total * fraction) for fraction in fractions]
    for i in range(total - sum(sizes)):
        sizes[i % len(sizes)] += 1
    for i, size in enumerate(sizes):
        if size == 0:
            warnings.warn(f"Length of split at index {i} is 0: it will be an empty dataset.", stacklevel=3)
    return sizes
