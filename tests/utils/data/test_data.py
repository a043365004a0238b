"""utils.data against torch: the same samples, batches and random numbers; workers, their seeds, failures and deaths."""

import collections
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import types
import warnings

import numpy as np
import pytest
import torch as pt
import torch.utils.data as ptd

import rushlight as torch
import rushlight.utils.data as rld

BOTH = [(torch, rld), (pt, ptd)]
Point = collections.namedtuple("Point", "a b")

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will", "ignore:This process", "ignore:.*multi-threaded.*fork")


def plain(value):
    """Tensors of either framework as (shape, dtype, values), containers with their types: comparable."""
    if isinstance(value, (torch.Tensor, pt.Tensor)):
        return tuple(value.shape), str(value.dtype), value.tolist()
    if isinstance(value, (str, bytes)):
        return value
    if isinstance(value, collections.abc.Mapping):
        return type(value).__name__, {key: plain(part) for key, part in value.items()}
    if isinstance(value, collections.abc.Sequence):
        return type(value).__name__, [plain(part) for part in value]
    return value


def same(function):
    """Run `function(torch, utils.data)` on both; return the common result, or the common exception class."""
    results = []
    for framework, data in BOTH:
        framework.manual_seed(5)
        try:
            results.append(plain(function(framework, data)))
        except Exception as error:
            results.append(type(error))
    assert results[0] == results[1]
    return results[0]


def position(framework, generator=None):
    """Where a generator stands, told by its next number (which is drawn from a copy)."""
    generator = generator or framework.default_generator
    state = generator.get_state()
    number = framework.randint(0, 2**31, (1,), generator=generator).item()
    generator.set_state(state)
    return number


# --- datasets -------------------------------------------------------------------------------------------------------------------------


class Squares:
    """A dataset for both: map-style datasets need no base class."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index * index


class Shortened(Squares):
    def __getitems__(self, indices):
        return [i for i in indices][:-1]


def stream_class(data):
    class Stream(data.IterableDataset):
        def __init__(self, n=5):
            self.n = n

        def __iter__(self):
            return iter(range(self.n))

    return Stream


DATASETS = {
    "tensors": lambda t, d: d.TensorDataset(t.arange(6), t.arange(12.0).view(6, 2))[2],
    "tensors slice": lambda t, d: d.TensorDataset(t.arange(6))[1:3],
    "tensors length": lambda t, d: len(d.TensorDataset(t.arange(6))),
    "tensors mismatch": lambda t, d: d.TensorDataset(t.arange(6), t.arange(5)),
    "tensors of lists": lambda t, d: d.TensorDataset([1]),
    "tensors none": lambda t, d: len(d.TensorDataset()),
    "stack": lambda t, d: [d.StackDataset([1, 2], [3, 4])[1], len(d.StackDataset([1, 2], [3, 4]))],
    "stack names": lambda t, d: d.StackDataset(a=[1, 2], b=[3, 4])[1],
    "stack many": lambda t, d: d.StackDataset(Squares(), [1] * 5).__getitems__([4, 2]),
    "stack many names": lambda t, d: d.StackDataset(a=Squares()).__getitems__([4, 2]),
    "stack short": lambda t, d: d.StackDataset(Shortened()).__getitems__([4, 2]),
    "stack empty": lambda t, d: d.StackDataset(),
    "stack both": lambda t, d: d.StackDataset([1], a=[1]),
    "stack mismatch": lambda t, d: d.StackDataset([1], [1, 2]),
    "subset": lambda t, d: [d.Subset([5, 6, 7], [2, 0])[0], d.Subset(Shortened(), [4, 3, 2]).__getitems__([0, 1])],
    "subset list": lambda t, d: d.Subset(np.array([5, 6, 7]), np.array([2, 0]))[[0, 1]].tolist(),
    "concat empty": lambda t, d: d.ConcatDataset([]),
    "concat stream": lambda t, d: d.ConcatDataset([stream_class(d)()]),
    "concat sizes": lambda t, d: d.ConcatDataset([[1, 2], [3]]).cumulative_sizes,
    "chain": lambda t, d: list(d.ChainDataset([stream_class(d)(2), stream_class(d)(3)])),
    "chain wrong": lambda t, d: list(d.ChainDataset([[1]])),
    "chain length": lambda t, d: len(d.ChainDataset([stream_class(d)()])),
    "add": lambda t, d: type(d.TensorDataset(t.arange(2)) + d.TensorDataset(t.arange(3))).__name__,
    "add streams": lambda t, d: list(stream_class(d)(1) + stream_class(d)(2)),
    "no getitem": lambda t, d: d.Dataset()[0],
    "no length": lambda t, d: len(d.Dataset()),
    "sampler base": lambda t, d: iter(d.Sampler()),
}


@pytest.mark.parametrize("name", DATASETS)
def test_datasets(name):
    same(DATASETS[name])


@pytest.mark.parametrize("index", range(-6, 6))
def test_concat_indices(index):
    same(lambda t, d: d.ConcatDataset([[1, 2], [], [3]])[index])


def test_old_name_of_cumulative_sizes():
    with pytest.warns(FutureWarning):
        assert rld.ConcatDataset([[1]]).cummulative_sizes == [1]


@pytest.mark.parametrize("lengths", [[0.5, 0.5], [0.3, 0.3, 0.4], [5, 5], [7, 3, 0], [0.999, 0.001], [0.7, 0.7], [-0.5, 1.5], [2, 1], [],
                                     [0.3, 0.3], [1.0]])
def test_random_split(lengths):
    def split(t, d):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = [part.indices for part in d.random_split(range(10), lengths)]
            return parts, [part.indices for part in d.random_split(range(10), lengths, generator=t.Generator().manual_seed(42))]

    same(split)


def test_random_split_warns_of_empty_parts():
    with pytest.warns(UserWarning, match="index 1"):
        rld.random_split(range(10), [0.999, 0.001])


# --- samplers -------------------------------------------------------------------------------------------------------------------------

SAMPLERS = {
    "sequential": lambda d, g: d.SequentialSampler(range(4)),
    "random": lambda d, g: d.RandomSampler(range(40), generator=g),
    "random more": lambda d, g: d.RandomSampler(range(3), num_samples=7, generator=g),
    "random twice": lambda d, g: d.RandomSampler(range(3), num_samples=6, generator=g),
    "random fewer": lambda d, g: d.RandomSampler(range(30), num_samples=4, generator=g),
    "replacement": lambda d, g: d.RandomSampler(range(10), replacement=True, generator=g),
    "replacement 70": lambda d, g: d.RandomSampler(range(10), replacement=True, num_samples=70, generator=g),
    "replacement 64": lambda d, g: d.RandomSampler(range(10), replacement=True, num_samples=64, generator=g),
    "subset": lambda d, g: d.SubsetRandomSampler([7, 5, 3, 1], generator=g),
    "weighted": lambda d, g: d.WeightedRandomSampler([0.1, 0.9, 0.4, 0.7, 3.0, 0.6], 20, generator=g),
    "weighted once": lambda d, g: d.WeightedRandomSampler([0.1, 0.9, 0.4, 0.7, 3.0, 0.6], 5, replacement=False, generator=g),
    "batch": lambda d, g: d.BatchSampler(d.RandomSampler(range(11), generator=g), 4, False),
    "batch drop": lambda d, g: d.BatchSampler(d.RandomSampler(range(11), generator=g), 4, True),
    "batch exact": lambda d, g: d.BatchSampler(range(8), 4, True),
    "wrong replacement": lambda d, g: d.RandomSampler(range(3), replacement=1),
    "no samples": lambda d, g: d.RandomSampler(range(3), num_samples=0),
    "half a sample": lambda d, g: d.RandomSampler(range(3), num_samples=2.5),
    "empty": lambda d, g: d.RandomSampler([]),
    "weighted none": lambda d, g: d.WeightedRandomSampler([1], 0),
    "weighted true": lambda d, g: d.WeightedRandomSampler([1], True),
    "weighted replacement": lambda d, g: d.WeightedRandomSampler([1], 1, "x"),
    "weighted 2d": lambda d, g: d.WeightedRandomSampler([[1, 2]], 1),
    "weighted too many": lambda d, g: d.WeightedRandomSampler([1, 2], 3, False),
    "batch zero": lambda d, g: d.BatchSampler(range(3), 0, False),
    "batch true": lambda d, g: d.BatchSampler(range(3), True, False),
    "batch drop 1": lambda d, g: d.BatchSampler(range(3), 1, 1),
    **{f"distributed {rank} {n} {drop}": lambda d, g, rank=rank, n=n, drop=drop: d.DistributedSampler(range(10), n, rank, drop_last=drop)
       for rank, n, drop in [(0, 3, False), (2, 3, False), (1, 3, True), (24, 25, False), (24, 25, True), (3, 3, False), (-1, 3, False)]},
    "distributed seed": lambda d, g: d.DistributedSampler(range(10), 3, 1, seed=7),
    "distributed order": lambda d, g: d.DistributedSampler(range(10), 3, 1, shuffle=False),
    "distributed alone": lambda d, g: d.DistributedSampler(range(10)),
}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name, given):
    """Two epochs, the length, and where the generator stands afterwards."""
    def draw(t, d):
        generator = t.Generator().manual_seed(11) if given else None
        sampler = SAMPLERS[name](d, generator)
        return list(sampler), list(sampler), len(sampler), position(t, generator)

    same(draw)


def test_distributed_epoch():
    def draw(t, d):
        sampler = d.DistributedSampler(range(10), 2, 0)
        sampler.set_epoch(3)
        return list(sampler), len(sampler), sampler.total_size

    same(draw)


# --- collating ------------------------------------------------------------------------------------------------------------------------


class Frozen(collections.abc.Sequence):
    def __init__(self, values):
        self.values = list(values)

    def __getitem__(self, index):
        return self.values[index]

    def __len__(self):
        return len(self.values)


class TwoArguments(list):
    def __init__(self, a, b):
        super().__init__([a, b])


BATCHES = {
    "ints": [1, 2], "floats": [1.5, 2], "bools": [True, False], "str": ["a", "b"], "bytes": [b"a", b"b"], "mixed": [1, 2.5],
    "np.float32": [np.float32(1), np.float32(2)], "np.int8": [np.int8(1), np.int8(2)], "np.bool_": [np.bool_(True)] * 2,
    "arrays": [np.ones(2), np.zeros(2)], "0-d arrays": [np.array(1.0)] * 2, "int16 arrays": [np.ones((2, 1), np.int16)] * 2,
    "string array": [np.array("a")] * 2, "object array": [np.array([None])] * 2, "np.str_": [np.str_("a")] * 2,
    "nested": [{"a": (1, [2.0, "x"]), "b": Point(np.ones(1), 3)}] * 2, "namedtuple": [Point(1, 2)] * 2, "tuple": [(1, 2)] * 2,
    "list": [[1, 2]] * 2, "uneven": [[1], [1, 2]], "ordered": [collections.OrderedDict(a=1)] * 2,
    "defaultdict": [collections.defaultdict(int, a=1)] * 2, "proxy": [types.MappingProxyType({"a": 1})] * 2, "frozen": [Frozen([1, 2])] * 2,
    "odd list": [TwoArguments(1, 2)] * 2, "object": [object()] * 2, "None": [None] * 2, "complex": [1j, 2j], "empty": [],
    "keys": [{"a": 1}, {"b": 1}], "range": [range(2)] * 2, "set": [{1}] * 2, "big": [2**40] * 2, "empty tuples": [(), ()],
    "empty dicts": [{}, {}], "bytearray": [bytearray(b"ab")] * 2, "int then str": [1, "a"],
}


@pytest.mark.parametrize("name", BATCHES)
def test_collate(name):
    batch = BATCHES[name]
    same(lambda t, d: d.default_collate(batch))
    if batch:
        same(lambda t, d: d.default_convert(batch[0]))


def test_collate_tensors():
    same(lambda t, d: d.default_collate([{"x": t.tensor([1.0]), "y": [t.tensor(2)]}] * 3))
    same(lambda t, d: d.default_collate([t.zeros(1), t.zeros(2)]))
    batch = rld.default_collate([torch.ones(1, requires_grad=True)] * 2)
    assert batch.requires_grad and batch.grad_fn.name() == "StackBackward0"


def test_collate_with_own_types():
    from rushlight.utils.data._utils.collate import collate, default_collate_fn_map

    class Money:
        def __init__(self, cents):
            self.cents = cents

    functions = {**default_collate_fn_map, Money: lambda batch, *, collate_fn_map=None: torch.tensor([one.cents for one in batch])}
    assert collate([(Money(1), 2), (Money(3), 4)], collate_fn_map=functions)[0].tolist() == [1, 3]
    with pytest.raises(TypeError, match="Money"):
        rld.default_collate([Money(1)])


# --- the loader: arguments ------------------------------------------------------------------------------------------------------------

WRONG = [
    dict(num_workers=-1), dict(timeout=-1), dict(prefetch_factor=2), dict(num_workers=1, prefetch_factor=-1), dict(persistent_workers=True),
    dict(sampler=[1], shuffle=True), dict(batch_sampler=[[1]], batch_size=2), dict(batch_sampler=[[1]], shuffle=True),
    dict(batch_sampler=[[1]], sampler=[1]), dict(batch_sampler=[[1]], drop_last=True), dict(batch_size=None, drop_last=True),
    dict(batch_size=0), dict(batch_size=1.5), dict(multiprocessing_context="fork"), dict(num_workers=1, multiprocessing_context="nope"),
    dict(num_workers=1, multiprocessing_context=3), dict(num_workers="2"), dict(drop_last="x"), dict(bad=1), dict(timeout=3),
    dict(batch_size=None), dict(shuffle=False), dict(batch_sampler=[[1, 2], [0]]), dict(sampler=[3, 1]),
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_arguments(options):
    same(lambda t, d: list(d.DataLoader([1, 2, 3, 4], **options)))
    if not {"num_workers", "bad"} & set(options):
        same(lambda t, d: list(d.DataLoader(stream_class(d)(), **options)))


def test_lengths_and_attributes():
    same(lambda t, d: [len(d.DataLoader(range(10), batch_size=size, drop_last=drop)) for size in (1, 3, 5) for drop in (False, True)])
    same(lambda t, d: len(d.DataLoader(range(10), batch_size=None)))
    same(lambda t, d: len(d.DataLoader(stream_class(d)())))
    same(lambda t, d: len(iter(d.DataLoader(range(10), batch_size=3))))
    loader = rld.DataLoader(range(4))
    for name in ("batch_size", "sampler", "batch_sampler", "dataset", "drop_last", "persistent_workers"):
        with pytest.raises(ValueError, match=name):
            setattr(loader, name, None)
    loader.collate_fn = list
    assert list(loader) == [[0], [1], [2], [3]]
    assert (loader.num_workers, loader.prefetch_factor, loader.timeout, loader.in_order, loader.pin_memory) == (0, None, 0, True, False)
    assert isinstance(loader.sampler, rld.SequentialSampler) and isinstance(loader.batch_sampler, rld.BatchSampler)


def test_pin_memory_warns_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.warns(UserWarning, match="pin_memory"):
        assert next(iter(rld.DataLoader([1], pin_memory=True))).tolist() == [1]


def test_many_workers_warn():
    with pytest.warns(UserWarning, match="1000"):
        rld.DataLoader([1], num_workers=1000)


def test_stream_longer_than_its_length_warns():
    class Short(stream_class(rld)):
        def __len__(self):
            return 3

    loader = rld.DataLoader(Short(), batch_size=1)
    assert len(loader) == 3
    with pytest.warns(UserWarning, match="reported to be 3"):
        assert len(list(loader)) == 5


# --- the loader: order and random numbers ---------------------------------------------------------------------------------------------

OPTIONS = [
    dict(), dict(batch_size=4), dict(batch_size=4, drop_last=True), dict(batch_size=4, shuffle=True), dict(batch_size=None),
    dict(batch_size=4, shuffle=True, num_workers=2), dict(batch_size=4, shuffle=True, num_workers=1, persistent_workers=True),
    dict(batch_size=3, num_workers=3, prefetch_factor=1, drop_last=True),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_order_and_random_numbers(options):
    """Three epochs: batches, and the default generator's place before, during and after."""
    def epochs(t, d):
        loader = d.DataLoader(d.TensorDataset(t.arange(23), t.arange(46.0).view(23, 2)), **options)
        out = []
        for _ in range(3):
            batches = iter(loader)
            out += [position(t), next(batches), position(t), list(batches), position(t), t.rand(2)]
        return out

    same(epochs)


def test_own_generator_and_lazy_sampler():
    """The sampler and the loader draw from one generator: workers' indices are drawn ahead."""
    def epochs(t, d):
        generator = t.Generator().manual_seed(3)
        sampler = d.RandomSampler(range(23), replacement=True, num_samples=80, generator=generator)
        loader = d.DataLoader(range(23), batch_size=3, sampler=sampler, generator=generator, num_workers=2)
        out = []
        for _ in range(2):
            batches = iter(loader)
            out += [position(t, generator), next(batches), position(t, generator), list(batches), position(t, generator)]
        return out

    same(epochs)


def test_subset_of_tensors_is_fetched_as_sample_by_sample():
    """A TensorDataset's batch is taken at once where that gives the same."""
    def load(t, d):
        tensors = [t.arange(24.0).view(12, 2), t.arange(12) > 4, t.arange(12).to(t.int16)]
        first, second = d.random_split(d.TensorDataset(*tensors), [8, 4])
        return list(d.DataLoader(first, 3, shuffle=True)), list(d.DataLoader(d.Subset(second, [-1, 0]), 2)), \
            list(d.DataLoader(d.TensorDataset(t.ones(3, 1, requires_grad=True)), 2))

    same(load)
    batch, = next(iter(rld.DataLoader(rld.TensorDataset(torch.ones(3, 1, requires_grad=True)), 2)))
    assert batch.grad_fn.name() == "StackBackward0"
    with pytest.raises(IndexError):
        list(rld.DataLoader(rld.TensorDataset(torch.ones(3)), sampler=[7]))


# --- workers --------------------------------------------------------------------------------------------------------------------------


class Told:
    """What a worker knows, and its first random numbers."""

    def __init__(self, framework, data):
        self.framework, self.data = framework, data

    def __len__(self):
        return 5

    def __getitem__(self, index):
        info = self.data.get_worker_info()
        numbers = random.getrandbits(32), int(np.random.randint(1 << 30)), self.framework.randint(0, 1 << 30, (1,)).item()
        return index, info.id, info.num_workers, info.seed, self.framework.initial_seed(), *numbers, self.framework.get_num_threads()


def test_worker_seeds():
    rows = same(lambda t, d: list(d.DataLoader(Told(t, d), batch_size=None, num_workers=2)))
    assert len(rows[1]) == 5
    assert rld.get_worker_info() is None


class Sharded(rld.IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = rld.get_worker_info()
        return iter(range(info.id, self.n, info.num_workers)) if info else iter(range(self.n))


@pytest.mark.parametrize("persistent", [False, True])
def test_streams_in_workers(persistent):
    loader = rld.DataLoader(Sharded(11), batch_size=2, num_workers=2, persistent_workers=persistent)
    for _ in range(2):
        assert [batch.tolist() for batch in loader] == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9]]
    same(lambda t, d: list(d.DataLoader(stream_class(d)(), batch_size=2, num_workers=2, drop_last=True)))
    same(lambda t, d: list(d.DataLoader(stream_class(d)(), batch_size=None, num_workers=1)))


class Slow:
    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return len(self.seconds)

    def __getitem__(self, index):
        time.sleep(self.seconds[index])
        return index


def test_in_order_or_not():
    slow = Slow([0.6, 0, 0, 0])
    assert [batch.tolist() for batch in rld.DataLoader(slow, num_workers=2)] == [[0], [1], [2], [3]]
    unordered = [batch.item() for batch in rld.DataLoader(slow, num_workers=2, in_order=False)]
    assert unordered == [1, 3, 0, 2]


def test_workers_fetch_ahead():
    """While the main process is busy, a worker makes its next batches, large ones too."""
    class Timed:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return torch.full((300_000,), time.time(), dtype=torch.float64)

    batches = iter(rld.DataLoader(Timed(), batch_size=None, num_workers=1, prefetch_factor=3))
    next(batches)
    time.sleep(0.3)
    now = time.time()
    assert all(batch[0].item() < now for batch in [next(batches), next(batches)])


def test_no_prefetching():
    loader = rld.DataLoader(range(5), num_workers=2, prefetch_factor=0)
    assert [batch.item() for batch in loader] == [0, 1, 2, 3, 4]


def test_abandoned_epoch_of_persistent_workers():
    loader = rld.DataLoader(range(8), num_workers=2, persistent_workers=True)
    next(iter(loader))
    assert [batch.item() for batch in loader] == list(range(8))
    first = loader._iterator
    list(loader)
    assert loader._iterator is first


class Varied:
    """Everything that travels: layouts, dtypes, flags, arrays, large and small."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        weight = torch.nn.Parameter(torch.ones(2))
        return {"t": torch.arange(6).view(2, 3).t(), "bf16": torch.ones(3, dtype=torch.bfloat16), "bool": torch.tensor([True]),
                "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "grad": torch.ones(2, requires_grad=True), "weight": weight,
                "large": torch.arange(100_000.0), "array": np.arange(50_000), "row": torch.zeros(1000, 1000)[3], "text": "x" * 20_000}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_travels(method):
    (found,) = rld.DataLoader(Varied(), batch_size=None, num_workers=1, multiprocessing_context=method)
    wanted = rld.default_convert(Varied()[0])
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        if key == "text":
            assert found[key] == value
            continue
        assert torch.equal(found[key], value) and found[key].dtype == value.dtype and found[key].requires_grad == value.requires_grad, key
        with torch.no_grad():
            found[key].add_(1) if value.dtype != torch.bool else found[key].logical_not_()
    assert found["t"].stride() == wanted["t"].stride() and type(found["weight"]) is torch.nn.Parameter


class Raises:
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 1:
            raise self.error
        return index


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize("error", [KeyError("foo"), ValueError("v"), UnicodeDecodeError("utf8", b"a", 0, 1, "x"), IndexError("i"), Odd(1, 2),
                                   StopIteration()], ids=repr)
def test_errors_of_workers(error):
    """The class, and the worker's traceback in the text; the loader goes on with the next batch."""
    def load(t, d):
        batches = iter(d.DataLoader(Raises(error), num_workers=1))
        out = []
        for _ in range(5):
            try:
                out.append(next(batches))
            except Exception as raised:
                out.append(type(raised).__name__)
        return out

    same(load)
    if not isinstance(error, StopIteration):
        with pytest.raises(Exception, match=r"(?s)Caught .* in DataLoader worker process 0\.\nOriginal Traceback .*in __getitem__") as raised:
            list(rld.DataLoader(Raises(error), num_workers=1))
        assert type(error).__name__ in str(raised.value) and "\\n" not in str(raised.value)


def _failing_init(worker_id):
    raise ValueError(f"init of {worker_id}")


def _seeing_init(worker_id):
    os.environ["RUSHLIGHT_TEST_WORKER"] = str(worker_id + 10)


class Environment(Raises):
    def __getitem__(self, index):
        return int(os.environ["RUSHLIGHT_TEST_WORKER"])


def test_worker_init():
    assert [batch.item() for batch in rld.DataLoader(Environment(None), num_workers=2, worker_init_fn=_seeing_init)] == [10, 11, 10, 11]
    with pytest.raises(ValueError, match="init of 0"):
        list(rld.DataLoader(range(3), num_workers=1, worker_init_fn=_failing_init))


def test_what_can_not_travel():
    with pytest.raises(RuntimeError, match="(?s)worker process 0.*pickle"):
        list(rld.DataLoader([1], num_workers=1, collate_fn=lambda batch: lambda: 1))
    with pytest.raises(RuntimeError, match="detach"):
        list(rld.DataLoader([1], num_workers=1, collate_fn=lambda batch: torch.ones(2, requires_grad=True) * 2))


def _dies(how):
    class Dies(Raises):
        def __getitem__(self, index):
            if index == 2:
                how()
            return index

    return Dies(None)


@pytest.mark.parametrize("how, told", [(lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"), (lambda: os._exit(3), "exit code 3"),
                                       (lambda: sys.exit(4), "exit code 4")])
def test_a_dead_worker_is_noticed(how, told):
    loader = rld.DataLoader(_dies(how), num_workers=2, persistent_workers=True)
    start = time.perf_counter()
    for _ in range(2):  # and the next epoch begins with new workers
        batches = iter(loader)
        pids = [process.pid for process in batches._pool.processes]
        with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly") as raised:
            list(batches)
        assert told in str(raised.value) and any(str(pid) in str(raised.value) for pid in pids)
    assert time.perf_counter() - start < 5


def test_timeout():
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match="timed out after 0.3 seconds"):
        list(rld.DataLoader(Slow([1.0]), num_workers=1, timeout=0.3))
    assert time.perf_counter() - start < 4


def test_workers_end_with_the_iterator():
    batches = iter(rld.DataLoader(range(100), num_workers=2))
    next(batches)
    processes = batches._pool.processes
    assert all(process.is_alive() for process in processes)
    del batches
    assert not any(process.is_alive() for process in processes)


def _script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=30)


def test_exit_with_living_workers(tmp_path):
    """An interpreter that ends in the middle of an epoch ends at once and says nothing."""
    done = _script(tmp_path, """
        import time
        import rushlight.utils.data as data
        if __name__ == "__main__":
            kept = [iter(data.DataLoader(range(1000), num_workers=2, persistent_workers=stay)) for stay in (False, True)]
            print([next(one).item() for one in kept])
            start = time.time()
            import atexit; atexit.register(lambda: print(time.time() - start < 3))
        """)
    assert (done.stdout, done.stderr, done.returncode) == ("[0, 0]\nTrue\n", "", 0)


def test_workers_end_when_the_main_process_is_killed(tmp_path):
    done = _script(tmp_path, """
        import os, signal
        import rushlight.utils.data as data
        batches = iter(data.DataLoader(range(1000), num_workers=2))
        next(batches)
        print(*[process.pid for process in batches._pool.processes], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    end = time.perf_counter() + 8
    while any(_runs(pid) for pid in pids) and time.perf_counter() < end:
        time.sleep(0.05)
    assert not any(_runs(pid) for pid in pids)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_with_their_loader():
    import gc
    import multiprocessing

    import rushlight as rl
    gc.disable()
    try:
        before = len(multiprocessing.active_children())
        for _ in range(2):
            loader = rl.utils.data.DataLoader(rl.utils.data.TensorDataset(rl.arange(4.)), batch_size=2, num_workers=2, persistent_workers=True)
            assert [len(list(loader)) for _ in range(2)] == [2, 2]
            del loader
        ended = time.monotonic() + 10
        while len(multiprocessing.active_children()) > before and time.monotonic() < ended:
            time.sleep(0.05)
        assert len(multiprocessing.active_children()) == before
    finally:
        gc.enable()


def test_the_loader_says_whether_its_dataset_streams():
    """fastai gives the iterators an object that is no dataset: what tells the kinds apart is the loader's word, as in PyTorch."""
    from rushlight.utils.data.dataloader import _DatasetKind, _SingleProcessDataLoaderIter

    class Loader:
        _dataset_kind, _auto_collation, drop_last, timeout, pin_memory, pin_memory_device = _DatasetKind.Iterable, False, False, 0, False, ""
        _index_sampler, generator, num_workers = range(9), None, 0

        def __init__(self):
            self.dataset = self

        def __iter__(self):
            return iter([1, 2, 3])

        def collate_fn(self, x):
            return x * 10
    assert list(_SingleProcessDataLoaderIter(Loader())) == [10, 20, 30]
