"""`DataLoader`: batches of a dataset's samples, in this process or from worker processes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...vocabulary import GeneratorLike, Operand
from ._utils.collate import default_collate, default_convert
from ._utils.fetch import make_fetcher
from ._utils.info import END, FAILURE, get_worker_info
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed

if TYPE_CHECKING:
    from ...utils.data._utils.pool import WorkerPool

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)

_FIXED = frozenset(("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"))


class _EndlessSampler(Sampler[None]):
    """The "indices" of an IterableDataset: it has none, and says itself when it ends."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T_co]):
    """Iterate over a dataset in batches.

    Without workers, samples are fetched and collated when the batch is asked for. With ``num_workers`` > 0, that many processes fetch whole
    batches ahead (`prefetch_factor` each, 2 by default); batches come in the sampler's order, or with ``in_order=False`` as they are ready.
    For one seed, the order of samples and the numbers drawn from the generators are PyTorch's.
    """

    dataset: Dataset[T_co]
    batch_size: int | None
    num_workers: int
    sampler: Any

    _ready = False

    def __init__(self, dataset: Dataset[T_co], batch_size: int | None = 1, shuffle: bool | None = None,
                 sampler: Sampler | Sequence[int] | None = None,
                 batch_sampler: list[Any] | None = None, num_workers: int = 0, collate_fn: Callable[[list[Any]], Any] | None = None,
                 pin_memory: bool = False, drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None,
                 multiprocessing_context: int | str | None = None, generator: GeneratorLike = None, *, prefetch_factor: int | None = None,
                 persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self.generator = generator
        self.persistent_workers = persistent_workers
        self._dataset_kind = _DatasetKind.Iterable if isinstance(dataset, IterableDataset) else _DatasetKind.Map
        self._choose_samplers(batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.collate_fn = collate_fn if collate_fn is not None else default_collate if self._auto_collation else default_convert
        self._iterator: _WorkerIterator | None = None
        self._reported_length: int | None = None
        self._ready = True
        self.check_worker_number_rationality()

    def _choose_samplers(self, batch_size: int | None, shuffle: bool | None, sampler: Sampler | Sequence[int] | None,
                         batch_sampler: list[Any] | None, drop_last: bool) -> None:
        streams = isinstance(self.dataset, IterableDataset)
        if streams:
            for name, given in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if given is not None:
                    raise ValueError(f"DataLoader with an IterableDataset has no indices, so it takes no {name}, but got {name}={given}")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle: give a sampler that shuffles")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last")
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            sampler = self._default_sampler(streams, bool(shuffle))
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler

    def _default_sampler(self, streams: bool, shuffle: bool) -> Sampler[Any]:
        if streams:
            return _EndlessSampler()
        if shuffle:
            return RandomSampler(self.dataset, generator=self.generator)  # type: ignore[arg-type]
        return SequentialSampler(self.dataset)  # type: ignore[arg-type]

    @property
    def multiprocessing_context(self) -> Any:
        """How workers start: a context of ``multiprocessing``, or None for its default one."""
        return self.__context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: int | str | None) -> None:
        if context is not None:
            context = _checked_context(context, self.num_workers)
        self.__context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if self._ready and name in _FIXED:
            raise ValueError(f"{name} can't be set after the {type(self).__name__} has been initialized: make a new one")
        super().__setattr__(name, value)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Sampler | list[Any]:
        return self.batch_sampler if self._auto_collation else self.sampler

    def __iter__(self) -> _LoaderIterator:
        if self.num_workers == 0:
            return _LocalIterator(self)
        if not self.persistent_workers:
            return _WorkerIterator(self)
        if self._iterator is None or self._iterator.broken:
            self._iterator = _WorkerIterator(self)
        else:
            self._iterator.restart(self)
        return self._iterator

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self._index_sampler)
        length = self._reported_length = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn where there are more workers than CPUs this process may use."""
        if not self.num_workers:
            return
        allowed = getattr(os, "sched_getaffinity", None)
        cpus = len(allowed(0)) if allowed else os.cpu_count() or 1
        if self.num_workers > cpus:
            warnings.warn(f"This DataLoader will start {self.num_workers} worker processes, and this process may use {cpus} CPUs: "
                          f"more than {cpus} workers may make it slower.", stacklevel=3)


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    if num_workers < 0:
        raise ValueError(f"num_workers option should be non-negative, but got {num_workers} (0 loads in the main process)")
    if timeout < 0:
        raise ValueError(f"timeout option should be non-negative, but got {timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError("prefetch_factor is for worker processes: set num_workers > 0, or leave prefetch_factor None")
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError(f"prefetch_factor option should be non-negative, but got {prefetch_factor}")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _checked_context(context: int | str, num_workers: int) -> Any:
    if not num_workers > 0:
        raise ValueError("multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
                         f"num_workers={num_workers}")
    import multiprocessing
    if isinstance(context, str):
        methods = multiprocessing.get_all_start_methods()
        if context not in methods:
            raise ValueError(f"multiprocessing_context should be one of the start methods {methods}, but got {context!r}")
        return multiprocessing.get_context(context)
    if not isinstance(context, multiprocessing.context.BaseContext):
        raise TypeError(f"multiprocessing_context should be a context of multiprocessing or the name of a start method, but got "
                        f"{context!r}")
    return context


class _DatasetKind:
    """The two kinds of dataset that a loader tells apart."""

    Map = 0
    Iterable = 1


class _LoaderIterator(Iterator[Any]):
    """One pass over a loader."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        from ._utils.pin_memory import pinner
        # A copy of what the loader is: a reference to it, which holds this iterator while its workers persist, would keep both alive.
        self._loader = object.__new__(type(loader))
        self._loader.__dict__.update(loader.__dict__, _iterator=None)
        self._length_source = loader._index_sampler
        self._base_seed = draw_seed(loader.generator)
        self._pin = pinner(loader.pin_memory, loader.pin_memory_device)
        self._begin(loader)

    def _begin(self, loader: DataLoader[Any]) -> None:
        self._indices = iter(loader._index_sampler)
        self._num_yielded = 0
        # fastai passes an object of its own
        self._expected = None if getattr(loader, "_reported_length", None) is None else len(loader)

    def __next__(self) -> Operand | list[Any]:
        data = self._next_data()
        if self._pin is not None:
            data = self._pin(data)
        self._num_yielded += 1
        if self._expected is not None and self._num_yielded > self._expected:
            self._warn_of_length(self._expected)
        return data

    def _warn_of_length(self, expected: int) -> None:
        hint = " With several workers, each one iterates the whole dataset unless it takes its share by get_worker_info()." \
            if self._loader.num_workers > 1 else ""
        warnings.warn(f"Length of IterableDataset {self._loader.dataset} was reported to be {expected} (by len(dataloader)), but "
                      f"{self._num_yielded} batches have been fetched.{hint}", stacklevel=4)

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._length_source)

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} is at a place in a pass and can't be pickled")


class _LocalIterator(_LoaderIterator):
    """Batches made in this process, when they are asked for."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        if loader.timeout != 0:
            raise AssertionError("timeout is for worker processes: it needs num_workers > 0")
        self._fetch = make_fetcher(loader.dataset, loader._dataset_kind == _DatasetKind.Iterable, loader._auto_collation, loader.collate_fn,
                                   loader.drop_last)

    def _next_data(self) -> Operand | list[Any]:
        return self._fetch(next(self._indices))


class _WorkerIterator(_LoaderIterator):
    """Batches made by worker processes.

    Each batch has a ticket (epoch, number). Tickets are dealt to the workers in turn, up to `prefetch_factor` each; a new one is dealt
    when a batch is handed out. What comes before its turn is kept; what belongs to an abandoned epoch is thrown away.
    """

    _pool: Any = None
    _epoch = 0

    @property
    def broken(self) -> bool:
        """Whether a worker has died: then there is no next epoch."""
        return self._pool.broken

    def _begin(self, loader: DataLoader[Any]) -> None:
        super()._begin(loader)
        self._epoch += 1
        self._next_out = 0  # the number of the batch that is handed out next
        self._next_in = 0  # the number that the next ticket gets
        self._owner: dict[int, int] = {}  # tickets not yet answered: number -> worker
        self._early: dict[int, Any] = {}  # answered before their turn
        self._streaming = list(range(loader.num_workers))  # workers whose data has not ended, the next in turn first
        if self._pool is None:
            self._pool = self._start_pool(loader)
        for _ in range(loader.prefetch_factor * loader.num_workers):  # type: ignore[operator]
            self._deal()

    def restart(self, loader: DataLoader[Any]) -> None:
        """Begin the next epoch with the same workers."""
        from ._utils.worker import RESTART
        for worker in range(loader.num_workers):
            self._pool.send(worker, RESTART)
        self._begin(loader)

    def _start_pool(self, loader: DataLoader[Any]) -> WorkerPool:
        import multiprocessing

        from ._utils.pool import PIPE_BYTES, WorkerPool
        from ._utils.worker import Settings
        limit = PIPE_BYTES // max(loader.prefetch_factor, 1) // 4  # type: ignore[type-var, operator]
        settings = Settings(loader.dataset, loader._dataset_kind == _DatasetKind.Iterable, loader._auto_collation, loader.collate_fn,
                            loader.drop_last, self._base_seed, loader.num_workers, loader.worker_init_fn, min(limit, PIPE_BYTES // 8))
        return WorkerPool(loader.multiprocessing_context or multiprocessing.get_context(), settings)

    def _deal(self) -> None:
        """Give the next indices to a worker, if there are indices and workers left."""
        if not self._streaming:
            return
        try:
            index = next(self._indices)
        except StopIteration:
            return
        worker = self._streaming[0] if self._loader.in_order else self._least_busy()
        self._streaming.remove(worker)
        self._streaming.append(worker)
        number = self._next_in
        self._next_in += 1
        self._owner[number] = worker
        self._pool.send(worker, ((self._epoch, number), index))

    def _least_busy(self) -> int:
        waiting = list(self._owner.values())
        return min(self._streaming, key=waiting.count)

    def _next_data(self) -> Operand | list[Any]:
        if not self._owner and not self._early:
            self._deal()  # nothing is on its way: the end, or prefetch_factor=0
        while self._owner or self._early:
            number = self._next_out
            if number in self._early:
                worker, status, value = self._early.pop(number)
                self._next_out += 1
                if status != END:
                    return self._hand_out(status, value)
                self._end_of(worker)
            elif self._loader.in_order and number not in self._owner:
                self._next_out += 1  # its worker's data ended before it
            else:
                self._receive()
        if not self._loader.persistent_workers:
            self._pool.close()
        raise StopIteration

    def _receive(self) -> None:
        """Wait for an answer, and keep it until its turn. The end of a worker's data waits for its turn too: so the order is
        reproducible."""
        worker, ((epoch, number), status, value) = self._pool.receive(self._loader.timeout)
        if epoch != self._epoch or self._owner.pop(number, None) is None:
            return  # of an abandoned epoch, or asked for before the worker's data ended
        self._early[number] = (worker, status, value)
        if not self._loader.in_order:
            self._next_out = number

    def _end_of(self, worker: int) -> None:
        """A worker is at the end of its data: it gets no more tickets, and those it still has count for nothing."""
        if worker in self._streaming:
            self._streaming.remove(worker)
            if not self._loader.persistent_workers:
                self._pool.retire(worker)
        for number in [number for number, owner in self._owner.items() if owner == worker]:
            del self._owner[number]
        self._deal()

    def _hand_out(self, status: str, value: Operand | list[Any]) -> Operand | list[Any]:
        self._deal()
        if status == FAILURE:
            value.reraise()
        return value

    def __del__(self) -> None:
        if self._pool is not None:
            self._pool.close()


# PyTorch's names of these classes, which libraries test against and annotate with.
_BaseDataLoaderIter, _SingleProcessDataLoaderIter, _MultiProcessingDataLoaderIter = _LoaderIterator, _LocalIterator, _WorkerIterator
_collate_fn_t = Callable[[list[Any]], Any]
for _name in ("_BaseDataLoaderIter", "_SingleProcessDataLoaderIter", "_MultiProcessingDataLoaderIter"):
    globals()[_name].__name__ = globals()[_name].__qualname__ = _name
