"""Fetching: from indices to a batch, in the main process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..dataset import Subset, TensorDataset
from .collate import default_collate

if TYPE_CHECKING:
    from ....tensor import Tensor

__all__ = ["make_fetcher"]

Fetcher = Callable[[Any], Any]


def make_fetcher(dataset: Any, streams: bool, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> Fetcher:
    """A function from what the index sampler yields to collated data. Over a dataset that streams it ends with StopIteration."""
    if streams:
        return _stream_fetcher(iter(dataset), batched, collate_fn, drop_last)
    if not batched:
        return lambda index: collate_fn(dataset[index])
    if collate_fn is default_collate:
        return _default_fetcher(dataset)
    return lambda indices: collate_fn(_samples(dataset, indices))


def _samples(dataset: Sequence[int] | TensorDataset | range, indices: list[Any]) -> list[Any]:
    many = getattr(dataset, "__getitems__", None)
    return many(indices) if many else [dataset[index] for index in indices]


def _default_fetcher(dataset: Any) -> Fetcher:
    def fetch(indices: list[Any]) -> Tensor | list[Tensor]:
        taken = _take_rows(dataset, indices)
        return default_collate(_samples(dataset, indices)) if taken is None else taken

    return fetch


def _take_rows(dataset: Any, indices: Sequence[int]) -> list[Any] | None:
    """The batch of a TensorDataset (or a Subset of one) by one indexing per tensor instead of one per sample; None where that won't do."""
    while type(dataset) is Subset:
        if type(dataset.indices) is not list:
            return None
        dataset, indices = dataset.dataset, [dataset.indices[i] for i in indices]
    if type(dataset) is not TensorDataset or set(map(type, indices)) != {int}:
        return None
    if any(tensor.requires_grad for tensor in dataset.tensors):
        return None  # the batch's history shall show stacked samples
    rows = list(indices)      # a tuple would be one index per dimension
    return [tensor[rows] for tensor in dataset.tensors]


def _stream_fetcher(samples: Iterator[Any], batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> Fetcher:
    ended = False

    def fetch(indices: list[Any]) -> Tensor:
        nonlocal ended
        if ended:
            raise StopIteration
        batch = list(islice(samples, len(indices)))
        ended = len(batch) < len(indices)
        if not batch or (drop_last and ended):
            raise StopIteration
        return collate_fn(batch)

    def fetch_one(index: Any) -> int:
        return collate_fn(next(samples))

    chosen = fetch if batched else fetch_one
    chosen.ends = True  # type: ignore[attr-defined]  # a worker asks: is StopIteration the end of the data, or an error of the dataset's?
    return chosen
