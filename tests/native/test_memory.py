"""Native copies, conversions, fills and joins against their NumPy twins."""

import numpy as np
import pytest

import rushlight as rl
from rushlight.kernels import memory as M
from rushlight.kernels import native

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

SHAPES = [(), (0,), (1,), (7,), (70_001,), (3, 5), (300, 201), (2, 40, 37), (7, 1, 90, 20), (2, 0, 3), (4, 3, 2, 5, 6)]
DTYPES = ["f4", "f8", "i8", "i4", "i2", "i1", "u1", "?", "f2", "bfloat16"]


def dtype_of(name):
    return rl.bfloat16.np if name == "bfloat16" else np.dtype(name)


def numbers(shape, dtype):
    a = np.random.default_rng(0).standard_normal(shape) * 40
    a = np.asarray(np.abs(a) if dtype.kind == "u" else a > 0 if dtype.kind == "b" else a).astype(np.float32)
    if dtype.kind not in "biu" and a.size > 6:
        a.reshape(-1)[:4] = np.nan, np.inf, -np.inf, -0.0
    return np.asarray(a.astype(dtype))


def layouts(a):
    """The array, and others over the same numbers: reversed, transposed, with gaps, broadcast."""
    yield a
    if a.ndim:
        yield a[::-1]
        yield a[..., ::-1]
        yield a[..., ::2]
        yield a[::-2]
        yield np.broadcast_to(a[..., :1], a.shape)
    if a.ndim > 1:
        yield a.T
        yield a.T[::-1]
        yield np.moveaxis(a, 0, -1)
        yield np.moveaxis(a[:, ::-1], 1, -1)
        yield np.rot90(a)


def same(x, y):
    assert x.dtype == y.dtype and x.shape == y.shape
    assert not x.size or [s for s, n in zip(x.strides, x.shape, strict=True) if n > 1] == [s for s, n in zip(y.strides, y.shape, strict=True) if n > 1]
    assert np.array_equal(x.astype("f8") if x.dtype.kind != "c" else x, y.astype("f8") if y.dtype.kind != "c" else y, equal_nan=True)


@pytest.mark.parametrize("dtype", [*DTYPES, "c8", "c16", "u4"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_copies(shape, dtype):
    for a in layouts(numbers(shape, dtype_of(dtype))):
        same(M.copied(a), a.copy("C"))
        same(M.copied_like(a), a.copy("K"))


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_conversions(dtype, target):
    for shape in ((), (5,), (0, 2), (129, 67)):
        for a in layouts(numbers(shape, dtype_of(dtype))):
            with np.errstate(all="ignore"):
                if dtype[0] in "fb" and dtype_of(target).kind in "iu":
                    a = np.where(np.isfinite(a.astype("f4")), a, 3).astype(a.dtype)
                same(M.converted(a, dtype_of(target)), M.converted.fallback(a, dtype_of(target)))


@pytest.mark.parametrize("dtype, given", [("f4", "f4"), ("f8", "f4"), ("i4", "i4"), ("c8", "c8"), ("c8", "f4")])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_assignment(shape, dtype, given):
    values = numbers(shape, dtype_of(given))
    for order in "CF":
        ours, twin = np.zeros(shape, dtype, order), np.zeros(shape, dtype, order)
        for v in (values, values[..., :1] if shape else values, np.ascontiguousarray(values.T).T):
            M.assign(ours, v)
            twin[...] = v
            np.testing.assert_array_equal(ours, twin)
    if values.ndim and dtype == given:                         # the memory itself, shifted and reversed
        ours, twin = values.copy(), values.copy()
        M.assign(ours[1:], ours[:-1])
        twin[1:] = twin[:-1].copy()
        M.assign(ours, ours[::-1])
        np.testing.assert_array_equal(ours, twin[::-1])
    read_only = np.zeros(5)
    read_only.flags.writeable = False
    with pytest.raises(ValueError):
        M.assign(read_only, np.ones(5))
    with pytest.raises(ValueError):
        M.assign(np.zeros(5), np.ones(4))


@pytest.mark.parametrize("dtype", [*DTYPES, "c16"])
def test_fills(dtype):
    for n in (0, 3, 40_003):
        for a in (np.zeros(n, dtype_of(dtype)), np.zeros((n, 3), dtype_of(dtype)).T, np.zeros((n, 4), dtype_of(dtype))[:, ::2]):
            M.fill(a, 1)
            assert np.array_equal(a, np.ones_like(a))
    with pytest.raises((TypeError, ValueError)):
        M.fill(np.zeros(40_000, dtype_of("i4")), "x")


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "i2"])
def test_ranges(dtype):
    d = np.dtype(dtype)

    def both(fill, n, *ends):
        rows = np.empty(n, d), np.empty(n, d)
        assert fill(rows[0], *ends) is fill.fallback(rows[1], *ends) is None
        return rows
    for n in (0, 1, 2, 7, 20_011):
        for first, by in ((0, 1), (-5, 3), (7, -1)):
            np.testing.assert_array_equal(*both(M.affine, n, first, by))
        if d.kind == "f":
            np.testing.assert_allclose(*both(M.affine, n, 0.1, 1 / 3), rtol=3e-7 if d.itemsize == 4 else 5e-16)
            np.testing.assert_allclose(*both(M.between, n, -1.5, 7), rtol=1e-6 if d.itemsize == 4 else 1e-13, atol=1e-16)
    apart, near = np.zeros(6, d)[::2], np.zeros(3, d)
    M.affine(apart, 1, 2)
    M.affine(near, 1, 2)
    assert apart.tolist() == near.tolist() == [1, 3, 5]
    wide = np.empty(2, "i8")
    M.affine(wide, 2 ** 62, 2 ** 60)
    assert wide.tolist() == [2 ** 62, 2 ** 62 + 2 ** 60]


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "?", "c8", "f2"])
@pytest.mark.parametrize("shape", [(1,), (5,), (30_000,), (3, 4), (200, 150), (2, 3, 4), (0, 3)], ids=str)
def test_joins(shape, dtype):
    a = numbers(shape, dtype_of(dtype))
    variants = [[a], [a, a[::-1]], [a, np.asfortranarray(a), a], [np.asfortranarray(a)] * 2, [np.repeat(a, 2, -1)[..., ::2], a]]
    for arrays in variants:
        for axis in range(len(shape)):
            np.testing.assert_array_equal(M.joined(arrays, axis, False), np.concatenate(arrays, axis))
        for axis in range(len(shape) + 1):
            np.testing.assert_array_equal(M.joined(arrays, axis, True), np.stack(arrays, axis))
    for axis in range(len(shape)):
        longer = np.concatenate([a, a], axis)
        np.testing.assert_array_equal(M.joined([a, longer], axis, False), np.concatenate([a, longer], axis))
    for wrong in ([a, a[None]], [a, np.zeros((*shape, 2))], []):
        with pytest.raises(ValueError):
            M.joined(wrong, 0, False)


def test_joined_tensors():
    x, y = rl.arange(6.0).reshape(2, 3), rl.ones(2, 3)
    assert native.library.join_tensors([x, y], 0, False).shape == (4, 3)
    assert native.library.join_tensors((x, y), -1, True).shape == (2, 3, 2)
    assert native.library.join_tensors([x, rl.ones(2, 3, requires_grad=True)], 0, False).grad_fn is None
    for plain in ([x, y.double()], [x, 1], [], [x, rl.ones(3)], x):
        assert native.library.join_tensors(plain, 0, False) is None
    assert native.library.join_tensors([x, y], 5, False) is None


@pytest.mark.parametrize("dtype", ["f4", "i8", "?", "c16", "f2"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (5, 3), (200, 190), (2, 3, 4, 5), (0, 3), (3, 0)], ids=str)
def test_triangles(shape, dtype):
    a = numbers(shape, dtype_of(dtype))
    for k in (-300, -2, 0, 1, 4, 10 ** 12):
        for x in (a, np.asfortranarray(a)):
            np.testing.assert_array_equal(M.triangle(x, k, True), np.triu(a, k))
            np.testing.assert_array_equal(M.triangle(x, k, False), np.tril(a, k))
