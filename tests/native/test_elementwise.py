"""Native elementwise ops, fused formulas and the block evaluator: against exact values, NumPy twins and every layout of memory."""

import numpy as np
import pytest

import rushlight  # noqa: F401  (all formulas are registered)
from rushlight.kernels import native
from rushlight.kernels.fuse import FUSED, fuse

pytestmark = pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})")
RNG = np.random.default_rng(0)


def kernel(name, twin=None):
    return native.library.elementwise(name, twin)


def sweep():
    """float32 numbers of every size: random bit patterns, special values, and dense ranges where functions bend."""
    bits = RNG.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32).view("f4")
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1e-38, 1, -1, 3e38, -3e38, 1e10, 2.0**28, 1e6], "f4")
    return np.concatenate([bits, special, np.linspace(-110, 110, 60_001, dtype="f4"), np.linspace(-2, 2, 60_001, dtype="f4")])


@pytest.fixture(scope="module")
def erf64():
    from rushlight.kernels import special
    return special.erf


@pytest.mark.parametrize("name", ["exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "tanh", "sinh", "cosh", "arctanh", "erf", "sin", "cos", "sqrt", "rsqrt"])
def test_within_four_ulp(name, erf64):
    exact = {"erf": erf64, "rsqrt": lambda a: 1 / np.sqrt(a)}.get(name) or getattr(np, name)
    x = sweep()
    with np.errstate(all="ignore"):
        want = exact(x.astype("f8"))
        got, rounded = kernel(name)(x), want.astype("f4")
    assert np.array_equal(np.isnan(got), np.isnan(rounded))
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(got[~finite & ~np.isnan(got)], rounded[~finite & ~np.isnan(got)])
    error = np.abs(got[finite].astype("f8") - want[finite]) / np.spacing(np.abs(rounded[finite])).astype("f8")
    assert error.max() <= 4, (x[finite][error.argmax()], error.max())
    zero = (got == 0) & (x == 0)
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(rounded[zero]))


@pytest.mark.parametrize("name", ["exp", "exp2", "expm1", "log", "log1p", "tanh", "sinh", "cosh", "arctanh", "erf", "sin", "cos"])
def test_double(name, erf64):
    exact = erf64 if name == "erf" else getattr(np, name)
    x = np.concatenate([RNG.standard_normal(20_000) * s for s in (1e-8, 1e-3, 1, 10, 400)] + [[0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1e-310]])
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(kernel(name)(x), exact(x), rtol=3e-15, atol=1e-320)


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sine_and_cosine_in_double(name):
    """Close to the zeros, up to where the C library takes over (2^19), and beyond; the sign of zero."""
    k = np.arange(-400_000, 400_000, 7)
    for x in (k * (np.pi / 2), np.nextafter(k * (np.pi / 2), np.inf), np.linspace(-524288, 524288, 50_001), np.array([524289.0, 1e9, -1e22, 3.0])):
        got, want = kernel(name)(x), getattr(np, name)(x)
        np.testing.assert_allclose(got, want, rtol=3e-16 * 2, atol=0)
    zeros = kernel(name)(np.array([0.0, -0.0, 1.0]))
    np.testing.assert_array_equal(np.signbit(zeros), np.signbit(getattr(np, name)(np.array([0.0, -0.0, 1.0]))))


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_gamma(name):
    """Against SciPy, around the zeros at 1 and 2, the poles and far out; float32 is the double result, rounded."""
    scipy = pytest.importorskip("scipy.special")
    exact = {"lgamma": scipy.gammaln, "digamma": scipy.digamma}[name]
    x = np.concatenate([RNG.random(20_000) * 12, 1 + RNG.standard_normal(5_000) * 0.2, 2 + RNG.standard_normal(5_000) * 0.2, RNG.random(5_000) * 1e6,
                        RNG.standard_normal(20_000) * 20, 10.0 ** RNG.uniform(-300, 300, 2_000)])
    with np.errstate(all="ignore"):
        want = exact(x)
        got = kernel(name)(x)
        scale = np.maximum(np.abs(want), np.abs(x * np.log(np.abs(x))) if name == "lgamma" else np.where(x < 0, np.pi / np.abs(np.sin(np.pi * x)) ** 2 * np.abs(x), 1))
        error = np.abs(got - want) / np.where(x > 0, np.maximum(np.abs(want), 0.01 if name == "lgamma" else 1), scale)
        assert np.nanmax(error) < 1e-13, (x[np.nanargmax(error)], np.nanmax(error))
        if name == "lgamma":
            beside = -(10.0 ** np.arange(-300.0, -2))
            for computed in (kernel(name), _twin(name)):
                np.testing.assert_allclose(computed(beside), exact(beside), rtol=1e-14)
        special = np.array([0.0, -0.0, -1.0, -2.0, -1e20, np.inf, np.nan, 1.0, 2.0, 5e-324, -1e-310])
        np.testing.assert_allclose(kernel(name)(special), _twin(name)(special), rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(kernel(name)(x.astype("f4")), exact(x.astype("f4").astype("f8")).astype("f4"), rtol=1e-5, atol=2e-6)


def _twin(name):
    from rushlight.kernels import special
    return getattr(special, name)


def test_power():
    special = np.array([0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, np.inf, -np.inf, np.nan, 1e30, 1e-40], "f4")
    a, b = (t.ravel() for t in np.meshgrid(special, special))
    a = np.concatenate([a, (RNG.standard_normal(30_000) * 5).astype("f4")])
    b = np.concatenate([b, np.round(RNG.standard_normal(15_000) * 4).astype("f4"), (RNG.standard_normal(15_000) * 9).astype("f4")])
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(kernel("power")(a, b), np.power(a.astype("f8"), b.astype("f8")).astype("f4"), rtol=2e-7)


UFUNCS = ["add", "subtract", "multiply", "divide", "maximum", "minimum", "fmax", "fmin", "copysign", "equal", "not_equal", "less", "less_equal",
          "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "negative", "absolute",
          "square", "sqrt", "reciprocal", "floor", "ceil", "trunc", "rint", "isnan", "isinf", "isfinite", "logical_not", "invert"]


def samples(dtype, shape):
    a = RNG.integers(-4, 5, shape).astype(dtype)
    if a.dtype.kind == "f" and a.size:
        a = a + np.asarray(RNG.random(shape) < 0.5, dtype) / 2
        flat = a.reshape(-1)
        flat[::7], flat[3::11], flat[5::13] = np.nan, np.inf, -0.0
    return a


def layouts(a, b):
    yield a, b
    yield a.T, b.T
    yield a[..., ::-1], b
    yield a[::2], b[::2]
    yield a, b[:1]
    yield a[:, :1], b
    yield a, b[0, 0].reshape(())
    yield np.broadcast_to(a[:1, :1], a.shape), b
    yield np.broadcast_to(a[:1, :1], a.shape), np.broadcast_to(b[:1, :1], a.shape)
    yield a[:0], b[:0]
    yield np.asfortranarray(a), b
    yield a[:, None], b[None]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "?"])
@pytest.mark.parametrize("name", UFUNCS)
def test_layouts(name, dtype):
    ufunc = getattr(np, name)
    ours = kernel(name, ufunc)
    for shape in ((3, 5), (40, 300)):
        for a, b in layouts(samples(dtype, shape), samples(dtype, shape)):
            operands = (a, b)[:ufunc.nin]
            try:
                with np.errstate(all="ignore"):
                    want = ufunc(*operands)
            except TypeError:
                with pytest.raises(TypeError):
                    ours(*operands)
                continue
            with np.errstate(all="ignore"):
                got = ours(*operands)
            assert got.dtype == want.dtype and got.shape == want.shape
            assert got.size == 0 or got.strides == want.strides or got.size == max(got.shape)
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
def test_in_place(dtype):
    add = kernel("add", np.add)
    for n in (5, 70_000):
        a, b = samples(dtype, (n, 3)), samples(dtype, (n, 3))
        for target, left, right in [(a.copy(), None, b), (a.copy(), b, None), (a.copy(), None, None)]:
            left, right = target if left is None else left, target if right is None else right
            want = np.add(left, right)
            assert add(left, right, out=target) is target
            np.testing.assert_array_equal(target, want)
        t = a.copy()
        want = np.add(t.T, b.T)
        add(t.T, b.T, out=t.T)
        np.testing.assert_array_equal(t.T, want)
    t = samples(dtype, (1000,))
    want = np.add(t[1:], t[:-1])
    add(t[1:], t[:-1], out=t[:-1])                       # operands lie across the result: NumPy's way
    np.testing.assert_array_equal(t[:-1], want)
    t = samples(dtype, (1000,))
    want = np.add(t, t[3:4].reshape(()))
    add(t, t[3:4].reshape(()), out=t)
    np.testing.assert_array_equal(t, want)


@pytest.mark.parametrize("function, scalars", [
    (lambda g, y: g * (1 - y * y), True),
    (lambda g, y: np.where(y > 0, g, g * 0.25), False),          # with numbers NumPy's result is of another type
    (lambda g, y: np.exp(-(g * g)) / (1 + abs(y)) - np.minimum(y, 0.5), False),
    (lambda g, y: (g + y, g - y, g < y), True),
    (lambda g, y: ((g > 0) & ~(y > 0)) | (y == g), False),
    (lambda g, y: np.sqrt(g * g + y ** 2) * np.float32(3), True),
], ids=range(6))
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_fused(function, scalars, dtype):
    fused = fuse(function)
    FUSED.remove(fused)
    assert fused.fused
    for shape in ((3, 5), (40, 300), (7, 1100)):
        numbers = [(samples(dtype, shape), 2.5), (3, samples(dtype, shape))] if scalars else []
        for a, b in [*layouts(samples(dtype, shape), samples(dtype, shape)), *numbers]:
            with np.errstate(all="ignore"):
                got, want = fused(a, b), function(a, b)
            for mine, theirs in zip(got if isinstance(got, tuple) else (got,), want if isinstance(want, tuple) else (want,), strict=True):
                assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
                np.testing.assert_allclose(mine, theirs, rtol=1e-5 if dtype == "f4" else 1e-12, atol=1e-6)


def test_fused_falls_back():
    fused = fuse(lambda g, b: g * b, "gab")
    FUSED.remove(fused)
    a = np.arange(4)
    np.testing.assert_array_equal(fused(a, None, a), a * a)
    np.testing.assert_array_equal(fused(a * 1j, None, a), a * a * 1j)
    with pytest.raises(ValueError):
        fused(np.ones(3, "f4"), None, np.ones(4, "f4"))
    looks = fuse(lambda g: g + 1 if g.shape == (3,) else g)
    FUSED.remove(looks)
    assert not looks.fused and looks(np.ones(3)).tolist() == [2, 2, 2]


def test_outputs_that_miss_an_input():
    fused = fuse(lambda a, b: (a * 2, b * 3))
    FUSED.remove(fused)
    a, b = np.ones((2, 3), "f4"), np.ones(3, "f4")
    assert [r.shape for r in fused(a, b)] == [(2, 3), (3,)]
    assert [r.shape for r in fused(a, a)] == [(2, 3), (2, 3)]


def test_every_formula_has_a_program():
    without = [each.__wrapped__ for each in FUSED if not each.fused]
    assert not without, [(f.__code__.co_filename, f.__code__.co_firstlineno) for f in without]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_round_once(dtype):
    if dtype == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes")
        dtype = np.dtype(ml_dtypes.bfloat16)
        native.library.set_bfloat16(dtype)
    every = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(dtype)
    wide = every.astype("f4")
    with np.errstate(all="ignore"):
        for name, exact in [("negative", np.negative), ("exp", np.exp), ("tanh", np.tanh), ("sqrt", np.sqrt)]:
            got, want = kernel(name)(every).astype("f4"), exact(wide).astype(dtype).astype("f4")
            assert np.array_equal(np.isnan(got), np.isnan(want))
            same = (got == want) | np.isnan(want)
            assert same.mean() > (0.999 if name in ("exp", "tanh") else 0.99999)
        np.testing.assert_array_equal(kernel("multiply")(every, every[::-1]).astype("f4"), (wide * wide[::-1]).astype(dtype).astype("f4"))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_agree(threads):
    before = native.library.get_threads()
    fused = fuse(lambda g, y: g * np.exp(y) + np.tanh(g))
    FUSED.remove(fused)
    a, b = samples("f4", (500, 301)), samples("f4", (500, 301))
    with np.errstate(all="ignore"):
        want = fused(a[:100], b[:100])
        try:
            native.library.set_threads(threads)
            np.testing.assert_array_equal(fused(a, b)[:100], want)
            np.testing.assert_array_equal(fused(a.T, b.T).T[:100], want)
        finally:
            native.library.set_threads(before)


def _pairs(dtype):
    """Operands of very different sizes, whole multiples, and all special values against each other."""
    special = np.array([0, -0.0, 1, -1, 2, -2.5, 3, 1e-30, -1e30, 6e5, np.inf, -np.inf, np.nan, np.finfo(dtype).tiny / 4, np.finfo(dtype).max], dtype)
    a, b = (t.ravel() for t in np.meshgrid(special, special))
    scale = 10.0 ** RNG.integers(-12, 12, 30_000)
    x, y = (RNG.standard_normal(30_000) * scale).astype(dtype), RNG.standard_normal(30_000).astype(dtype)
    return np.concatenate([a, x, np.round(x) * y]), np.concatenate([b, y, y])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["fmod", "remainder", "floor_divide"])
def test_remainders_are_exact(name, dtype):
    """Bit for bit PyTorch's (whose vector code gives nan where a / b overflows; ours does not); with one operand for all as well; in place."""
    import torch
    a, b = _pairs(dtype)
    theirs = getattr(torch, name)
    ours = kernel(name, lambda *args: pytest.fail("the kernel does not take these"))
    for x, y in ((a, b), (a[::2], b[::2]), (a, b[7:8].reshape(())), (a[3:4].reshape(()), b)):
        with np.errstate(all="ignore"):
            got, want = ours(x, y), theirs(torch.tensor(x), torch.tensor(y)).numpy()
            beyond = np.isinf(x / y) & np.isfinite(x) & (y != 0)
        if name != "floor_divide":
            assert np.isfinite(got[beyond]).all()
            got[beyond], want[beyond] = 0, 0
        np.testing.assert_array_equal(got, want)
        same = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[same]), np.signbit(want[same]))
    t = a.copy()
    assert ours(t, b, out=t) is t
    np.testing.assert_array_equal(t, ours(a, b))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["hypot", "logaddexp"])
def test_pairs(name, dtype):
    a, b = _pairs(dtype)
    exact = getattr(np, name)
    with np.errstate(all="ignore"):
        got, want = kernel(name)(a, b), exact(a.astype(np.longdouble), b.astype(np.longdouble)).astype(dtype)
    np.testing.assert_allclose(got, want, rtol=4e-7 if dtype == "f4" else 1e-15, atol=1e-7 if name == "logaddexp" and dtype == "f4" else 0 if name == "hypot" else 3e-16)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_softplus_and_mish(dtype):
    x = sweep().astype(dtype)
    wide = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        soft = np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
        t = np.tanh(soft)
        slope = t + wide * (1 / (1 + np.exp(-wide))) * (1 - t * t)
        near = np.abs(x) < 80
        rtol = 1e-6 if dtype == "f4" else 3e-15
        for got, want in ((kernel("softplus")(x), soft), (kernel("mish")(x), wide * t), (kernel("mish_gradient")(np.ones_like(x), x), slope)):
            want = want.astype(dtype)
            np.testing.assert_allclose(got[near], want[near], rtol=rtol, atol=1e-6 if dtype == "f4" else 1e-15)
            assert np.isnan(got[np.isnan(x)]).all()
        assert kernel("softplus")(np.array([np.inf, -np.inf], dtype)).tolist() == [np.inf, 0]
        assert kernel("mish")(np.array([np.inf, 500], dtype)).tolist() == [np.inf, 500]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["erfc", "erfinv", "ndtr"])
def test_functions_of_their_own_in_float(name, dtype):
    from rushlight.kernels import special as S
    x = np.concatenate([np.linspace(-1, 1, 4001), np.linspace(-9, 9, 4001) if name != "erfinv" else [-1.5, 1.5], [np.nan, np.inf, -np.inf, 0.0, -0.0]]).astype(dtype)
    with np.errstate(all="ignore"):
        twin = getattr(S, name)(x.astype("f8"))
        got = native.kernel(name, getattr(S, name))(x)
    assert got.dtype == x.dtype
    np.testing.assert_allclose(got, twin.astype(dtype), rtol=2e-6 if dtype == "f4" else 1e-13)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_next_numbers_and_powers_of_two(dtype):
    a = np.array([0.0, -0.0, 1.0, 1.0, -1.0, 3.0, np.inf, 1e-45, np.nan, 2.0, -np.inf, 5.0], dtype)
    b = np.array([1.0, -1.0, 2.0, 0.5, -2.0, 3.0, 0.0, -1.0, 1.0, np.nan, -np.inf, 9.0], dtype)
    after, together = native.elementwise(np.nextafter)(a, b), native.elementwise(np.logaddexp2)(a, b)
    np.testing.assert_array_equal(after, np.nextafter(a, b))
    np.testing.assert_array_equal(np.signbit(after), np.signbit(np.nextafter(a, b)))
    np.testing.assert_allclose(together, np.logaddexp2(a, b), rtol=3e-7 if dtype == "f4" else 1e-15)
    powers = 2.0 ** np.arange(-126, 120).astype(dtype)
    np.testing.assert_array_equal(native.elementwise(np.log2)(powers), np.arange(-126, 120))
    x = np.geomspace(1e-30, 1e30, 5000).astype(dtype)
    np.testing.assert_allclose(native.elementwise(np.log2)(x), np.log2(x.astype("f8")), rtol=3e-7 if dtype == "f4" else 1e-15, atol=1e-7 if dtype == "f4" else 0)


@pytest.mark.parametrize("layout", ["together", "turned", "across"])
def test_formulas_write_to_a_target(layout):
    from rushlight.kernels import formula as f
    from rushlight.kernels.fuse import fuse
    base = np.random.default_rng(0).standard_normal((300, 40)).astype("f4")
    a = base if layout == "together" else base.T if layout == "turned" else base[1:]
    other = np.ascontiguousarray(a) + 1
    formula = fuse(lambda x, y, s: f.where(x > 0, x * s, f.exp(y) + x))
    want = formula(a, other, 0.5).copy()
    target = a if layout != "across" else base[:-1]      # which shows the operand's memory, shifted
    assert formula(a, other, 0.5, target) is target
    np.testing.assert_array_equal(target, want)
    whole = fuse(lambda x, y: x + y)
    assert whole(np.arange(3), np.arange(3), (out := np.zeros(3, int))) is out and out.tolist() == [0, 2, 4]
