"""The GPU's random streams: Philox against its authors' vectors, the kernels (run on the host) against a NumPy model of PyTorch's layout."""

import math

import numpy as np
import pytest

import rushlight as rl
from rushlight.kernels.cuda import philox, sampling
from tests.support import cuda_standin

BLOCK = 256
MOST = 4 * 2048 // BLOCK          # how many blocks the stand-in's GPU holds at once


@pytest.fixture(autouse=True)
def cupy():
    with cuda_standin.cuda() as module:
        yield module


def generator(seed=7, offset=0):
    gen = rl.Generator(device="cuda").manual_seed(seed)
    gen.set_offset(offset)
    return gen


# --- the words ---------------------------------------------------------------------------------------------------------------------------

def test_known_answers():
    """The vectors that Random123, the authors' library, ships for philox4x32-10."""
    for counter, key, words in (((0, 0, 0, 0), (0, 0), (0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8)),
                                ((0xffffffff,) * 4, (0xffffffff,) * 2, (0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd)),
                                ((0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), (0xa4093822, 0x299f31d0),
                                 (0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1))):
        assert tuple(philox.philox_words(np.array([counter], np.uint64), *key)[0].tolist()) == words


def test_the_kernels_words_are_the_known_answers(cupy):
    """The same vectors, through the CUDA source: a full-range draw of thread 0 at an offset is one Philox call."""
    for seed, offset in ((0, 0), (0xa4093822 | 0x299f31d0 << 32, 4 * (0x243f6a88 | 0x85a308d3 << 32) % 2 ** 64)):
        out = cupy.empty(2, np.int64)
        sampling_words = philox.philox_numbers(seed, offset, 0, 1)[0].astype(np.uint64)
        philox.integers(out, generator(seed, offset), 0, 1 << 64)
        assert out.get()[0].astype(np.uint64) == sampling_words[0] << np.uint64(32) | sampling_words[1]


def words_of(n, each, seed, offset):
    """(the four words of the step that element i comes from, which of its numbers it is), in PyTorch's layout."""
    threads = min(-(-n // BLOCK), MOST) * BLOCK
    turn, thread = np.divmod(np.arange(n, dtype=np.uint64), np.uint64(threads))
    step, k = np.divmod(turn, np.uint64(each))
    counters = np.stack([step + np.uint64(offset // 4), 0 * step, thread, 0 * step], 1)
    return philox.philox_words(counters, seed & 0xFFFFFFFF, seed >> 32), k.astype(int)


def unit(words):
    return (words.astype(np.float64) * 2.3283064e-10 + 1.1641532e-10).astype(np.float32)


def unit2(a, b):
    return (a.astype(np.uint64) ^ b.astype(np.uint64) << np.uint64(21)).astype(np.float64) * 2.0 ** -53 + 2.0 ** -54


def uniforms(n, dtype, seed=7, offset=0):
    q, k = words_of(n, 2 if dtype == np.float64 else 4, seed, offset)
    rows = np.arange(n)
    return unit2(q[rows, 2 * k], q[rows, 2 * k + 1]) if dtype == np.float64 else unit(q[rows, k])


def normals(n, dtype, seed=7, offset=0):
    q, k = words_of(n, 2 if dtype == np.float64 else 4, seed, offset)
    if dtype == np.float64:
        radius, angle = np.sqrt(-2 * np.log(unit2(q[:, 0], q[:, 1]))), 2 * np.pi * unit2(q[:, 2], q[:, 3])
    else:
        pair, rows = k // 2 * 2, np.arange(n)
        radius, angle = np.sqrt(-2 * np.log(unit(q[rows, pair]).astype(np.float64))), (q[rows, pair + 1] + 0.5) * (2 * np.pi * 2.0 ** -32)
    return radius * np.where(k % 2, np.cos(angle), np.sin(angle))


# --- distributions ---------------------------------------------------------------------------------------------------------------------

SIZES = (1, 300, MOST * BLOCK + 5, MOST * BLOCK * 4 + 9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("n", SIZES)
def test_layout_of_real_numbers(cupy, dtype, n):
    each = 2 if dtype == np.float64 else 4
    steps = (n - 1) // (min(-(-n // BLOCK), MOST) * BLOCK * each) + 1
    fine = {np.float32: 1e-6, np.float64: 1e-15, np.float16: 2e-3}[dtype]

    def drawn(fill, *args):
        gen = generator(7, 8)
        fill(out := cupy.empty(n, dtype), gen, *args)
        assert gen.get_offset() == 8 + 4 * steps
        return out.get()
    u = uniforms(n, dtype, 7, 8)
    np.testing.assert_allclose(drawn(philox.uniform, 0.0, 1.0), np.where(u.astype(dtype) == 1, 0, u), rtol=fine, atol=fine)
    np.testing.assert_allclose(drawn(philox.normal, 0.0, 1.0), normals(n, dtype, 7, 8), rtol=20 * fine, atol=10 * fine)
    np.testing.assert_allclose(drawn(philox.exponential, 2.0), np.maximum(-np.log(u.astype(np.float64)), fine / 20) / 2, rtol=20 * fine, atol=fine)
    np.testing.assert_allclose(drawn(philox.log_normal, 0.5, 0.25), np.exp(normals(n, dtype, 7, 8) * 0.25 + 0.5), rtol=20 * fine, atol=fine)
    if dtype != np.float16:
        close = np.isclose(drawn(philox.cauchy, 0.0, 1.0), np.tan(np.pi * (u.astype(np.float64) - 0.5)), rtol=1e-3, atol=1e-5)
        assert close.mean() > 0.99
        expected = np.ceil(np.log(u.astype(np.float64)) / np.log(0.75))
        assert (drawn(philox.geometric, 0.25) == expected).mean() > 0.999


@pytest.mark.parametrize("n", SIZES)
def test_layout_of_integers(cupy, n):
    q, k = words_of(n, 4, 7, 0)
    narrow = q[np.arange(n), k].astype(np.int64)
    out = cupy.empty(n, np.int64)
    philox.integers(out, generator(), -5, 1000)
    assert (out.get() == narrow % 1000 - 5).all()
    philox.full_range(small := cupy.empty(n, np.int8), generator())
    assert (small.get() == (narrow % 128)).all()
    philox.full_range(flags := cupy.empty(n, np.bool_), generator())
    assert (flags.get() == (narrow & 1).astype(bool)).all()
    q, k = words_of(n, 2, 7, 0)
    rows = np.arange(n)
    wide = q[rows, 2 * k].astype(np.uint64) << np.uint64(32) | q[rows, 2 * k + 1].astype(np.uint64)
    philox.integers(out, generator(), 3, 1 << 28)            # from 2**28 on, 64 bits
    assert (out.get() == (wide % np.uint64(1 << 28)).astype(np.int64) + 3).all()
    philox.integers(out, generator(), -2 ** 63, 2 ** 64 - 1)
    assert (out.get().astype(np.uint64) == wide % np.uint64(2 ** 64 - 1) + np.uint64(2 ** 63)).all()
    philox.full_range(out, generator())
    assert (out.get() == (wide & np.uint64(2 ** 63 - 1)).astype(np.int64)).all()


def test_uniform_exchanges_its_ends(cupy):
    """What rounds to the upper bound becomes the lower one, in the result's own dtype."""
    out = cupy.empty(70000, np.float16)
    philox.uniform(out, generator(), 1.0, 2.0)
    values, raw = out.get(), (uniforms(70000, np.float16) + 1).astype(np.float16)
    assert values.max() < 2 and values.min() == 1 and (raw == 2).any() and (values[raw == 2] == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.float64])
@pytest.mark.standin
def test_bernoulli(cupy, dtype):
    n = 3000
    out = cupy.empty(n, dtype)
    philox.bernoulli(out, generator(), 0.25)
    assert (out.get() == (uniforms(n, np.dtype(dtype)) < np.float32(0.25)).astype(dtype)).all()
    chances = np.random.default_rng(0).uniform(size=n).astype(np.float64 if dtype == np.float64 else np.float32)
    gen = generator()
    philox.bernoulli_each(out, gen, cupy.asarray(chances))
    words = np.concatenate([philox.philox_numbers(7, 0, thread, 1)[0] for thread in range(n // 4)])
    assert (out.get() == (unit(words) <= chances).astype(dtype)).all() and gen.get_offset() == 12
    from tests.support.cuda_emulator import LaunchError
    with pytest.raises(LaunchError):
        philox.bernoulli_each(out, gen, cupy.asarray(chances + 2))


@pytest.mark.parametrize("dtype, n, width", [(np.float32, 4096, 4), (np.float32, 4098, 2), (np.float32, 4097, 1), (np.float64, 4098, 2),
                                             (np.float16, 4096, 8), (np.float16, 4100, 4), (np.float32, MOST * BLOCK * 8, 4)])
def test_dropout(cupy, dtype, n, width):
    x = cupy.asarray(np.random.default_rng(0).normal(size=n).astype(dtype))
    assert philox.vector_width(x) == width
    gen = generator()
    y, kept = philox.dropout(x, gen, 0.75)
    threads = min(-(-n // BLOCK), MOST) * BLOCK
    if width == 1:
        u = uniforms(n, np.float32)
    else:
        turn, place = np.divmod(np.arange(n), threads * width)
        thread, lane = np.divmod(place, width)
        counters = np.stack([turn * -(-width // 4) + lane // 4, 0 * turn, thread, 0 * turn], 1).astype(np.uint64)
        u = unit(philox.philox_words(counters, 7, 0)[np.arange(n), lane % 4])
    assert (kept.get() == (u < np.float32(0.75))).all()
    np.testing.assert_allclose(y.get(), x.get() * kept.get() * np.float32(1 / 0.75), rtol=2e-3 if dtype == np.float16 else 1e-6)
    assert gen.get_offset() == ((n - 1) // (threads * 4) + 1) * 4


# --- a stream per thread -------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [1, 2, 10, 1000, 40000])
def test_permutation(n):
    gen = generator()
    places = sampling.permutation(gen, n).get()
    assert sorted(places) == list(range(n))
    bits = sampling.key_bits(n)
    q, k = words_of(n, 2, 7, 0)
    rows = np.arange(n)
    wide = q[rows, 2 * k].astype(np.uint64) << np.uint64(32) | q[rows, 2 * k + 1].astype(np.uint64)
    digits = 32 if bits <= 32 else 64                               # above 32768 elements the keys have 64 bits
    keys = (wide % np.uint64(2 ** digits - 1) + np.uint64(2 ** (digits - 1))).astype(np.int64) & (1 << bits) - 1
    assert (keys[places][1:] >= keys[places][:-1]).all()
    first = philox.increment(n, min(-(-n // BLOCK), MOST), 2)
    assert gen.get_offset() == first + -(-n // 4) * 4
    if len(set(keys.tolist())) == n:
        assert (places == np.argsort(keys)).all()


def test_permutation_shuffles_equal_keys(cupy):
    """Islands of equal keys: Fisher and Yates by the words of the thread at the island's start."""
    keys, places = cupy.asarray(np.array([0, 1, 1, 1, 1, 1, 2], np.int32)), cupy.asarray(np.arange(7))
    sampling._ISLANDS("int32")((1,), (512,), (keys, places, np.int64(-1), np.int64(7), *generator().advance(7)))
    words, expected = philox.philox_numbers(7, 0, 1, 2).reshape(-1), [1, 2, 3, 4, 5]
    for turn, i in enumerate(range(4, 0, -1)):
        j = int(words[turn]) % (i + 1)
        expected[i], expected[j] = expected[j], expected[i]
    assert places.get().tolist() == [0, *expected, 6]


def test_multinomial(cupy):
    weights = np.array([[1, 0, 3, 6], [2, 2, 0, 0]], np.float32)
    gen = generator()
    drawn = sampling.multinomial(gen, cupy.asarray(weights), 200).get()
    share = weights / weights.sum(-1, keepdims=True)
    for row in range(2):
        u = unit(np.array([philox.philox_numbers(7, 0, row * 256 + sample, 1)[0][0] for sample in range(200)]))
        assert (drawn[row] == np.searchsorted(np.cumsum(share[row]), u)).all()
    assert gen.get_offset() == 4 and not (drawn[0] == 1).any() and set(drawn[1].tolist()) == {0, 1}


def test_poisson(cupy):
    rates = np.repeat(np.array([0, 3, 50, 100, 5000], np.float32), 400)
    gen = generator()
    counts = sampling.poisson(gen, cupy.asarray(rates)).get().reshape(5, 400)
    assert (counts[0] == 0).all() and gen.get_offset() == 20
    for row, rate in ((1, 3), (2, 50), (3, 100), (4, 5000)):
        assert abs(counts[row].mean() - rate) < 4 * math.sqrt(rate / 400) and abs(counts[row].var() / rate - 1) < 0.35
    stream, product, count = iter(philox.philox_numbers(7, 0, 400, 10).reshape(-1).tolist()), np.float32(np.exp(np.float32(3))), 0
    while True:                                                     # Knuth's way, by the words of thread 400
        count, product = count + 1, np.float32(product * unit(np.array(next(stream))))
        if product <= 1:
            break
    assert counts[1][0] == count - 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gamma(cupy, dtype):
    shapes = np.repeat(np.array([0, 0.3, 1, 7], dtype), 500)
    values = sampling.standard_gamma(generator(), cupy.asarray(shapes), 1e-30).get().reshape(4, 500)
    assert (values[0] == dtype(1e-30)).all() and values.min() > 0
    for row, shape in ((1, 0.3), (2, 1), (3, 7)):
        assert abs(values[row].mean() - shape) < 4 * math.sqrt(shape / 500) and abs(values[row].var() / shape - 1) < 0.5
    words = philox.philox_numbers(7, 0, 1500, 1)[0]                 # shape 7 takes a normal number first, then a uniform one
    x = math.sqrt(-2 * math.log(unit(words[0]))) * math.sin(2 * math.pi * (int(words[1]) + 0.5) / 2 ** 32)
    d = 7 - 1 / 3
    v, u = (1 + x / math.sqrt(9 * d)) ** 3, 1 - float(unit(words[2]))
    assert math.log(u) < 0.5 * x * x + d * (1 - v + math.log(v)) and abs(values[3][0] / (d * v) - 1) < 1e-5


# --- through torch ---------------------------------------------------------------------------------------------------------------------------

def test_ops_draw_on_the_device(cupy):
    from tests.support.cuda_emulator import LAUNCHES
    before = dict(LAUNCHES)
    rl.cuda.manual_seed(7)
    p = rl.full((40,), 0.25, device="cuda")
    drawn = [rl.rand(40, device="cuda"), rl.randn(40, device="cuda"), rl.randint(5, (40,), device="cuda"), rl.randperm(40, device="cuda"),
             rl.bernoulli(p), p.bernoulli(0.5), rl.multinomial(p, 3), rl.multinomial(p, 3, replacement=True), rl.poisson(p * 10),
             rl.empty(40, device="cuda").exponential_(), rl.empty(40, device="cuda").cauchy_(), rl.empty(40, device="cuda").log_normal_(),
             rl.empty(40, device="cuda").geometric_(0.5), rl.empty(40, device="cuda").random_(), rl.randn(20, device="cuda", dtype=rl.complex64),
             rl._standard_gamma(p), rl.nn.functional.dropout(p, 0.5), rl.nn.functional.rrelu(-p, training=True), rl.nn.functional.alpha_dropout(p, 0.5, True)]
    assert all(each.is_cuda for each in drawn)
    assert {name.removeprefix("random_").rsplit("_", 1)[0] for name, n in LAUNCHES.items() if n != before.get(name, 0)} >= {
        "uniform", "normal", "integers", "wide_integers", "permutation_islands", "bernoulli_each", "bernoulli", "exponential", "multinomial", "poisson",
        "cauchy", "log_normal", "geometric", "gamma", "dropout_4"}
    rl.cuda.manual_seed(7)
    np.testing.assert_allclose(rl.rand(40, device="cuda").cpu().numpy(), uniforms(40, np.float32), rtol=1e-6)
    np.testing.assert_allclose(rl.randn(40, device="cuda").cpu().numpy(), normals(40, np.float32, 7, 4), rtol=1e-4, atol=1e-6)
    assert sorted(rl.randperm(40, device="cuda", dtype=rl.int32).tolist()) == list(range(40))


def test_numbers_go_along_memory():
    """A tensor that is not contiguous is filled along its smallest stride first, as PyTorch fills it."""
    rl.cuda.manual_seed(7)
    flat = rl.rand(12, device="cuda")
    rl.cuda.manual_seed(7)
    turned = rl.empty(4, 3, device="cuda").t()
    turned.uniform_()
    assert turned.t().reshape(-1).tolist() == flat.tolist()
    rl.cuda.manual_seed(7)
    gaps = rl.zeros(3, 8, device="cuda")[:, ::2]
    gaps.uniform_()
    assert gaps.reshape(-1).tolist() == flat.tolist()


def test_statistics_of_dirichlet_and_dropout():
    rl.cuda.manual_seed(0)
    shares = rl._sample_dirichlet(rl.full((500, 3), 2.0, device="cuda"))
    assert rl.allclose(shares.sum(-1).cpu(), rl.ones(500)) and abs(float(shares.mean()) - 1 / 3) < 0.05
    x = rl.ones(4000, device="cuda", requires_grad=True)
    y = rl.nn.functional.dropout(x, 0.25)
    y.sum().backward()
    assert (x.grad.cpu() == y.detach().cpu()).all() and abs(float(y.detach().mean()) - 1) < 0.05


def test_state_of_a_cuda_generator():
    gen = generator(5, 0)
    assert gen.initial_seed() == 5 and gen.get_offset() == 0
    rl.rand(3, device="cuda", generator=gen)
    state = gen.get_state()
    assert state.tolist() == [5] + [0] * 7 + [4] + [0] * 7 and state.device.type == "cpu" and state.dtype is rl.uint8
    first = rl.rand(3, device="cuda", generator=gen).tolist()
    gen.set_state(state)
    assert rl.rand(3, device="cuda", generator=gen).tolist() == first
    assert rl.rand(3, device="cuda", generator=generator(5, 4)).tolist() == first
    with pytest.raises(RuntimeError, match="multiple of 4"):
        gen.set_offset(3)
    with pytest.raises(RuntimeError, match="wrong size"):
        gen.set_state(rl.zeros(5056, dtype=rl.uint8))
    assert gen.clone_state().get_state().tolist() == gen.get_state().tolist()
    assert rl.cuda.get_rng_state().numel() == 16
