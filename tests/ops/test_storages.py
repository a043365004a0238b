"""`set_`: a tensor shows other memory, with the offsets, strides, versions, history and errors of PyTorch's."""

import numpy as np
import pytest
import torch

import rushlight

BOTH = pytest.mark.parametrize("call", [
    lambda t: t.zeros(0).set_(t.arange(6.).untyped_storage()),
    lambda t: t.zeros(0).set_(t.arange(6.)[2:].untyped_storage()),
    lambda t: t.zeros(0, dtype=t.int16).set_(t.arange(6.).untyped_storage()),
    lambda t: t.zeros(0).set_(t.arange(6, dtype=t.uint8).untyped_storage()),
    lambda t: t.zeros(0).set_(t.arange(6.).untyped_storage(), 2, (2,), (1,)),
    lambda t: t.zeros(0).set_(t.arange(6.).untyped_storage(), 1, [2, 2]),
    lambda t: t.zeros(0).set_(t.arange(6.).untyped_storage(), 1, [2, 2], [1, 2]),
    lambda t: t.zeros(0).set_(t.arange(6.).untyped_storage(), 0, (3,), (0,)),
    lambda t: t.zeros(0).set_(source=t.arange(6.).untyped_storage(), storage_offset=1, size=(3,), stride=(1,)),
    lambda t: t.zeros(3).set_(t.UntypedStorage(8), 0, (0, 3)),
    lambda t: t.zeros(0).set_(t.arange(6.)),
    lambda t: t.zeros(0).set_(t.arange(6.).view(2, 3).t()),
    lambda t: t.zeros(0).set_(t.arange(6.)[2:], 1, (2,), (1,)),
    lambda t: t.zeros(0).set_(t.arange(9.)[2:], 1, (2, 2)),
    lambda t: t.ones(3).set_(),
], ids=range(15))


@BOTH
def test_set(call):
    mine, theirs = call(rushlight), call(torch)
    assert mine.dtype.name == str(theirs.dtype).removeprefix("torch.") and mine.tolist() == theirs.tolist()
    assert (tuple(mine.shape), mine.stride(), mine.storage_offset()) == (tuple(theirs.shape), theirs.stride(), theirs.storage_offset())
    assert mine._version == theirs._version == 1


@pytest.mark.parametrize("call", [
    lambda t: t.zeros(0, dtype=t.int32).set_(t.arange(6.)),
    lambda t: t.zeros(0, dtype=t.int32).set_(t.FloatStorage(6)),
    lambda t: t.zeros(0).set_(t.arange(6.), 1),
    lambda t: t.zeros(0).set_(t.arange(6.), 1, 3),
    lambda t: t.zeros(0).set_(None),
    lambda t: t.zeros(0).set_(3),
    lambda t: t.zeros(0).set_(t.arange(6.), -1, (2,), (1,)),
    lambda t: t.zeros(0).set_(t.arange(6.), 0, (2, 2), (1,)),
    lambda t: t.zeros(0).set_(t.arange(6.), 3, (2,), (-1,)),
    lambda t: t.ones(3, requires_grad=True).set_(t.arange(6.)),
], ids=range(10))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_errors(call):
    with pytest.raises(Exception) as theirs:
        call(torch)
    with pytest.raises(theirs.type):
        call(rushlight)


def test_memory_that_is_too_small_is_refused_where_others_use_it():
    source = rushlight.arange(6.0)
    with pytest.raises(RuntimeError, match="out of bounds"):
        rushlight.zeros(0).set_(source.untyped_storage(), 1, (7,), (1,))
    grown = rushlight.zeros(0).set_(rushlight.UntypedStorage(8), 0, (4,))      # nobody else uses it: it grows, as PyTorch's does
    assert grown.untyped_storage().nbytes() == 16


@pytest.mark.parametrize("t", [rushlight, torch], ids=["rushlight", "torch"])
def test_memory_and_versions(t):
    source, x = t.arange(6.0), t.ones(3)
    alias, version = x.detach(), x._version
    x.set_(source.untyped_storage())
    x[0] = 9
    assert source.tolist() == [9, 1, 2, 3, 4, 5] and x.data_ptr() == source.data_ptr()
    assert x._version == alias._version == version + 2 and source._version == 0 and alias.tolist() == [1, 1, 1]
    base = t.ones(3)
    view = base[1:]
    view.set_(source)
    view += 1
    assert base.tolist() == [1, 1, 1] and view.tolist() == source.tolist()


@pytest.mark.parametrize("t", [rushlight, torch], ids=["rushlight", "torch"])
def test_history(t):
    x, c = t.ones(3, requires_grad=True), t.ones(3)
    y = (x * c).sum()
    c.set_(t.arange(3.0))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    with t.no_grad():
        x.set_(t.arange(4.0))
    assert x.requires_grad and x.is_leaf and x.tolist() == [0, 1, 2, 3]
    z = t.ones(3).set_(t.ones(3, requires_grad=True) * 2)
    assert z.requires_grad
    with pytest.raises(RuntimeError, match="not implemented"):
        z.sum().backward()


def test_storages_of_files(tmp_path):
    for library in (rushlight, torch):
        path = tmp_path / library.__name__
        np.arange(8, dtype=np.uint8).tofile(path)
        private = library.UntypedStorage.from_file(str(path), False, 8)
        private[0] = 9
        assert private.tolist() == [9, 1, 2, 3, 4, 5, 6, 7] and path.read_bytes()[0] == 0
        shared = library.UntypedStorage.from_file(str(path), True, 12)
        shared[1] = 9
        assert shared.nbytes() == 12 and path.read_bytes() == bytes([0, 9, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0])
        assert library.UntypedStorage.from_file(str(path)).nbytes() == 0
        with pytest.raises(RuntimeError, match="unable to open file"):
            library.UntypedStorage.from_file(str(tmp_path / "none"), False, 4)
        with pytest.raises(RuntimeError):
            library.UntypedStorage.from_file(str(path), False, 1 << 20)


CLONE = {
    "channels last": lambda t: t.arange(24.).resize_(1, 3, 2, 4, memory_format=t.channels_last),
    "in place": lambda t: t.arange(24.).reshape(1, 3, 2, 4).resize_(1, 3, 2, 4, memory_format=t.channels_last),
    "volumes": lambda t: t.arange(24.).resize_(1, 3, 2, 2, 2, memory_format=t.channels_last_3d),
    "contiguous": lambda t: t.arange(6.).view(2, 3).t().resize_(3, 2, memory_format=t.contiguous_format),
    "rank": lambda t: t.arange(24.).resize_(3, 8, memory_format=t.channels_last),
    "preserve": lambda t: t.arange(24.).resize_(3, 8, memory_format=t.preserve_format),
    "as, preserve": lambda t: t.arange(24.).resize_as_(t.zeros(1, 3, 2, 4).to(memory_format=t.channels_last), memory_format=t.preserve_format),
    "as, plain": lambda t: t.arange(24.).resize_as_(t.zeros(1, 3, 2, 4).to(memory_format=t.channels_last)),
    "as, last": lambda t: t.arange(24.).resize_as_(t.zeros(1, 3, 2, 4), memory_format=t.channels_last),
    "as, turned": lambda t: t.arange(24.).resize_as_(t.zeros(4, 3).t(), memory_format=t.preserve_format),
}


@pytest.mark.parametrize("name", CLONE)
def test_resize_heeds_the_memory_format(name):
    found = []
    for module in (rushlight, torch):
        try:
            r = CLONE[name](module)
            found.append((r.shape, r.stride(), r.tolist()))
        except RuntimeError as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_memory_that_numpy_sees_does_not_grow():
    for module in (rushlight, torch):
        t = module.ones(3)
        a = t.numpy()
        with pytest.raises(RuntimeError, match="Trying to resize storage that is not resizable"):
            t.resize_(6)
        assert module is torch or t.shape == (3,)           # PyTorch's has its new shape already
        assert t.resize_(2).tolist() == [1, 1]
        t[0] = 7
        assert a[0] == 7
        with pytest.raises(RuntimeError, match="Trying to resize storage that is not resizable"):
            module.from_numpy(a).resize_(4)


def test_memory_that_other_tensors_see_does_not_grow_apart():
    """PyTorch's storage grows under all of them; ours can't, and says so."""
    t = rushlight.ones(3)
    other = t.detach()
    with pytest.raises(RuntimeError, match="another tensor or array shares its memory"):
        t.resize_(6)
    assert t.shape == other.shape == (3,)
    del other
    assert t.resize_(6)[:3].tolist() == [1, 1, 1]
    for alone in (rushlight.ones(3).view(3, 1), rushlight.ones(2, 2).t(), rushlight.ones(6)[:2]):       # views of what nobody holds
        assert alone.resize_(5, 2).shape == (5, 2)
