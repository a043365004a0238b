"""Native gather, scatter, row sums and orders against NumPy: dtypes, strides, both ends of the sizes, nan, one and two threads."""

import numpy as np
import pytest

from rushlight.kernels import indexing, native, sorting

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

SHAPES = [(1,), (7,), (40_000,), (3, 5), (300, 200), (4, 1, 6), (2, 3, 4, 5), (0, 3), (70, 9, 80)]


def forms(a):
    """An array as it is, and with other strides."""
    wide = np.zeros((*a.shape[:-1], a.shape[-1] * 2), a.dtype)
    wide[..., ::2] = a
    return a, np.asfortranarray(a), wide[..., ::2]


def values_of(rng, shape, dtype):
    return (rng.integers(0, 2, shape) if dtype == "?" else rng.integers(0, 100, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "u1", "?", "c8", "c16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gather_and_scatter(shape, dtype):
    rng = np.random.default_rng(0)
    a = values_of(rng, shape, dtype)
    for dim in range(len(shape)):
        length = 5
        index_shape = tuple(length if d == dim else max(n - (n > 3), 0) for d, n in enumerate(shape))
        index = rng.integers(0, max(shape[dim], 1), index_shape) if shape[dim] else np.zeros((0,) * len(shape), np.int64)
        grid = indexing.grid(index, dim)
        src = values_of(rng, index.shape, dtype)
        for each in forms(a):
            for i in forms(index):
                np.testing.assert_array_equal(indexing.gather(each, dim, i), a[grid])
        # distinct places, so that the order of writing does not matter
        places = rng.permuted(np.broadcast_to(np.arange(shape[dim]).reshape([-1 if d == dim else 1 for d in range(len(shape))]), shape), axis=dim)
        new = values_of(rng, shape, dtype)
        for each, source in zip(forms(a), forms(new), strict=True):
            got, want = each.copy(order="K"), a.copy()
            indexing.scatter(got, dim, places, source)
            want[indexing.grid(places, dim)] = new
            np.testing.assert_array_equal(got, want)
        got, want = a.copy(), a.copy()
        indexing.scatter(got, dim, index, np.array(1, dtype))
        want[grid] = np.array(1, dtype)
        np.testing.assert_array_equal(got, want)
        if dtype not in ("f2", "?"):
            got, want = a.copy(), a.copy()
            assert indexing.scatter_into(got, dim, index, src, "add")
            np.add.at(want, grid, src)
            np.testing.assert_allclose(got, want, rtol=1e-4)


def test_out_of_range_writes_nothing():
    a, index = np.zeros((3, 4)), np.array([[0, 1], [2, 4]])
    for bad in (index, index - 1):
        with pytest.raises(IndexError):
            indexing.gather(a, 1, bad)
        with pytest.raises(IndexError):
            indexing.scatter(a, 1, bad, np.ones((2, 2)))
        with pytest.raises(IndexError):
            indexing.scatter_into(a, 1, bad, np.ones((2, 2)), "add")
    with pytest.raises(IndexError):
        indexing.add_rows(a, np.array([0, 3]), np.ones((2, 4)))
    assert not a.any()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8"])
@pytest.mark.parametrize("rows, n, width", [(1, 1, 1), (5, 0, 3), (7, 300, 3), (500, 3000, 33), (50_000, 40_000, None)])
def test_add_rows(rows, n, width, dtype):
    rng = np.random.default_rng(0)
    tail = () if width is None else (width,)
    index = rng.integers(-rows, rows, n)
    values = rng.integers(0, 50, (n, *tail)).astype(dtype)
    want = np.zeros((rows, *tail), dtype)
    np.add.at(want, index, values)
    np.testing.assert_array_equal(indexing.add_rows(np.zeros((rows, *tail), dtype), index, values), want)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "i2", "i1", "u1", "?"])
@pytest.mark.parametrize("shape", [(1,), (5,), (1200,), (70_000,), (30, 40), (3, 500, 4), (4, 0)], ids=str)
def test_orders(shape, dtype):
    rng = np.random.default_rng(0)
    a = (rng.standard_normal(shape) * 3).astype(dtype)
    if dtype[0] == "f" and a.size > 4:
        flat = a.reshape(-1)
        flat[::5], flat[1::7], flat[2::9] = np.round(flat[::5]), np.nan, -0.0
        flat[3], flat[4] = np.inf, -np.inf
    for dim in range(len(shape)):
        size = shape[dim]
        ranks = np.asarray(rng.integers(0, max(size, 1), [1 if d == dim else n for d, n in enumerate(shape)]), np.int64)
        for each in forms(a):
            for down in (False, True):
                got = [sorting.order(each, dim, down)] + [sorting.first(each, dim, k, down) for k in {0, min(1, size), size // 20, size // 2}]
                whole = sorting.order.fallback(a, dim, down)
                want = [whole] + [whole.take(range(k), dim) for k in {0, min(1, size), size // 20, size // 2}]
                for x, y in zip(got, want, strict=True):
                    np.testing.assert_array_equal(x, y)
            if a.size:
                got = sorting.at_rank(each, dim, ranks)
                np.testing.assert_array_equal(got, np.take_along_axis(sorting.order(a, dim, False), ranks, dim))


def test_leaves_what_does_not_fit():
    a = np.arange(12.0).reshape(3, 4)
    for call in (lambda: sorting.first(a, 0, 9, False), lambda: sorting.at_rank(a, 0, np.full((1, 4), 3)), lambda: sorting.order(a, 2, False)):
        with pytest.raises(ValueError):
            call()
    np.testing.assert_array_equal(sorting.first(-a.astype("c16"), 0, 1, False), [[2, 2, 2, 2]])
    assert indexing.gathered(a, 0, np.zeros(3, np.int64)) is None and indexing.scattered(a, 0, np.zeros((1, 1), np.int64), np.zeros((2, 2), "f4"), 0) is None


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "i1", "u1"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scatter_into(shape, dtype):
    rng = np.random.default_rng(1)
    a = values_of(rng, shape, dtype)
    if dtype[0] == "f" and a.size > 3:
        a.reshape(-1)[:2] = np.nan, -np.inf
    for dim in range(len(shape)):
        if not shape[dim]:
            continue
        index = rng.integers(0, shape[dim], shape)
        src = np.where(rng.random(shape) < 0.5, 1, 2).astype(dtype)
        if dtype[0] == "f" and src.size > 5:
            src.reshape(-1)[4] = np.nan
        for how, ufunc in {"add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum}.items():
            want = a.copy()
            with np.errstate(all="ignore"):
                ufunc.at(want, indexing.grid(index, dim), src)
            for each, i in zip(forms(a), forms(index), strict=True):
                got = each.copy(order="K")
                assert indexing.scatter_into(got, dim, i, src, how)
                np.testing.assert_array_equal(got, want)
                quick = indexing.scattered(each, dim - len(shape), i, src, indexing.HOW[how])
                if index.size:
                    np.testing.assert_array_equal(quick, want)
            assert indexing.scattered(a, dim, index + shape[dim], src, 1) is None or not index.size
        np.testing.assert_array_equal(indexing.gathered(a, dim, index) if index.size else a, np.take_along_axis(a, index, dim) if index.size else a)
        assert indexing.gathered(a, dim, index - shape[dim]) is None
        assert indexing.gathered(a, len(shape), index) is None and indexing.gathered(a, dim, index.astype("i4")) is None


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "?", "c8", "c16", "f2"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_slices(shape, dtype):
    rng = np.random.default_rng(2)
    a = values_of(rng, shape, dtype)
    for dim in range(len(shape)):
        n = shape[dim]
        for index in (rng.integers(0, n, 9) if n else np.zeros(0, np.int64), np.zeros(0, np.int64), rng.integers(0, n, (2, 3)) if n else np.zeros((2, 0), np.int64)):
            np.testing.assert_array_equal(indexing.take_slices(a, dim, index), a.take(index, dim))
            assert indexing.take_slices(a, dim - len(shape), index) is not None
            if index.size:
                assert indexing.take_slices(a, dim, index + n) is None and indexing.take_slices(a, dim, index - n) is None
            if index.ndim == 1 and dtype in ("f4", "f8", "i8", "i4"):
                values = values_of(rng, tuple(index.size if d == dim else m for d, m in enumerate(shape)), dtype)
                got, want = a.copy(), a.copy()
                assert indexing.add_slices(got, dim, index, values)
                np.add.at(want, (slice(None),) * dim + (index,), values)
                np.testing.assert_array_equal(got, want)
                if index.size:
                    assert not indexing.add_slices(got, dim, index + n, values)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "?", "u1", "f2", "c8"])
@pytest.mark.parametrize("shape", [*SHAPES, (33_000, 2)], ids=str)
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_masks(shape, dtype, share):
    rng = np.random.default_rng(3)
    a, mask = values_of(rng, shape, dtype), rng.random(shape) < share
    np.testing.assert_array_equal(indexing.select_masked(a, mask), a[mask])
    np.testing.assert_array_equal(indexing.positions(mask), np.stack(mask.nonzero()))
    count = int(mask.sum())
    for extra in (0, 3):
        source = values_of(rng, (count + extra,), dtype)
        got, want = a.copy(), a.copy()
        assert indexing.fill_masked(got, mask, source)
        want[mask] = source[:count]
        np.testing.assert_array_equal(got, want)
    if count:
        got = a.copy()
        assert indexing.fill_masked(got, mask, source[:count - 1]) is None
        np.testing.assert_array_equal(got, a)
    assert indexing.select_masked(a, mask[..., :0]) is None or not a.shape[-1]
    assert indexing.positions(a.astype("f4")) is None


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("width", [1, 5, 64])
def test_bags(width, dtype):
    rng = np.random.default_rng(4)
    a = rng.standard_normal((50, width)).astype(dtype)
    index = rng.integers(0, 50, 3000)
    starts = np.sort(rng.integers(0, 3000, 200))
    starts[0] = 0
    for mode, reduce in enumerate((np.sum, np.mean, np.max)):
        out, places = indexing.bags(a, index, starts, mode)
        for b, (first, last) in enumerate(zip(starts, [*starts[1:], 3000], strict=True)):
            want = reduce(a[index[first:last]].astype("f8"), 0) if last > first else np.zeros(width)
            np.testing.assert_allclose(out[b], want, rtol=1e-4, atol=1e-5)
            if mode == 2 and last > first:
                np.testing.assert_array_equal(a[places[b], np.arange(width)], out[b])
        assert mode == 2 or places is None
    for bad in ((a, index + 50, starts, 0), (a, index, starts + 3000, 0), (a, index, starts[::-1].copy(), 0), (a.astype("f2"), index, starts, 0)):
        assert indexing.bags(*bad) is None
