"""Random streams against PyTorch's: numbers, states, generators, errors. Equal means equal in every bit."""

import math
import pickle

import numpy as np
import pytest
import torch as pt

import rushlight as torch
from rushlight.kernels import libm, random_fill

SIZES = [*range(1, 41), 100, 1000, 100_000]
FLOATS = ["float32", "float64", "float16", "bfloat16"]
# On Intel processors PyTorch draws bernoulli_(p) from MKL; rushlight chooses the same stream there.
NUMBERS = [*FLOATS, "int64", "int32", "int16", "int8", "uint8"]


def same(a, b):
    """Assert that a rushlight and a torch value are equal in type, shape and every bit."""
    assert str(a.dtype) == str(b.dtype)
    assert tuple(a.shape) == tuple(b.shape)
    x, y = (v.detach() for v in (a, b))
    if str(b.dtype) in ("torch.bfloat16", "torch.float16"):
        x, y = x.float(), y.float()
    if y.is_complex():
        x, y = x.numpy(), y.numpy()
        assert np.array_equal(x.view(x.real.dtype), y.view(y.real.dtype), equal_nan=True)
    else:
        assert np.array_equal(x.numpy(), y.numpy(), equal_nan=b.dtype.is_floating_point)


def both(f, seed=0):
    """Run f with each library from one seed, and compare results and the states that follow."""
    torch.manual_seed(seed)
    pt.manual_seed(seed)
    a, b = f(torch), f(pt)
    for x, y in zip(a, b, strict=True) if isinstance(a, (list, tuple)) else [(a, b)]:
        same(x, y)
    assert np.array_equal(torch.get_rng_state().numpy(), pt.get_rng_state().numpy())
    return a


FILLS = {
    "uniform": lambda t: t.uniform_(), "uniform between": lambda t: t.uniform_(-1.1, 2.3), "normal": lambda t: t.normal_(),
    "normal with": lambda t: t.normal_(1.3, 0.7), "exponential": lambda t: t.exponential_(0.7), "cauchy": lambda t: t.cauchy_(1.3, 0.7),
    "log_normal": lambda t: t.log_normal_(0.3, 0.7), "geometric": lambda t: t.geometric_(0.3), "bernoulli": lambda t: t.bernoulli_(0.3),
    "random": lambda t: t.random_(), "random to": lambda t: t.random_(100), "random between": lambda t: t.random_(3, 19),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FILLS)
def test_fills_of_many_sizes(name, dtype):
    def run(t):
        return [FILLS[name](t.empty(n, dtype=getattr(t, dtype))) for n in SIZES]
    both(run)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FILLS)
def test_fills_of_strided_tensors(name, dtype):
    def run(t):
        made = []
        for n in (1, 2, 7, 15, 16, 17, 40, 1000):
            made.append(FILLS[name](t.zeros(n, 3, dtype=getattr(t, dtype))[:, 1]))
            made.append(FILLS[name](t.zeros(n, 3, dtype=getattr(t, dtype)).t()))
        made.append(FILLS[name](t.zeros(4, 3, 5, dtype=getattr(t, dtype)).permute(2, 0, 1)))
        made.append(FILLS[name](t.zeros(4, 6, 5, dtype=getattr(t, dtype))[1:, ::2, 1:4]))
        made.append(FILLS[name](t.zeros((), dtype=getattr(t, dtype))))
        made.append(FILLS[name](t.zeros(0, 3, dtype=getattr(t, dtype))))
        return made
    both(run, 7)


@pytest.mark.parametrize("name", FILLS)
def test_fills_of_other_dtypes(name):
    def run(t):
        made = []
        for dtype in ("float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"):
            if dtype == "bool" and name not in ("bernoulli", "random"):
                continue
            if "float" not in dtype and name not in ("geometric", "bernoulli", "random", "random to", "random between"):
                continue
            for n in (1, 5, 15, 16, 17, 33, 1000, 20_000):
                made.append(FILLS[name](t.empty(n, dtype=getattr(t, dtype))))
            made.append(FILLS[name](t.empty(30, 2, dtype=getattr(t, dtype))[:, 1]))
        return made
    both(run, 3)


@pytest.mark.parametrize("seed", [0, 1, 42, 2 ** 32 - 1, 2 ** 32 + 5, 2 ** 63, 2 ** 64 - 1, -1, -2 ** 63])
def test_seeds(seed):
    both(lambda t: [t.rand(3), t.randn(20)], seed)
    assert torch.initial_seed() == pt.initial_seed()


@pytest.mark.parametrize("seed", range(30))
def test_mixed_draws(seed):
    """Sequences of draws of all kinds: the cached second normal number and the position in the block carry over."""
    order = np.random.default_rng(seed)
    draws = [lambda t, n: t.rand(n), lambda t, n: t.randn(n), lambda t, n: t.randn(n, dtype=t.float64), lambda t, n: t.randint(0, 10, (n,)),
             lambda t, n: t.randperm(n), lambda t, n: t.empty(n, 2)[:, 0].normal_(), lambda t, n: t.empty(n).log_normal_(),
             lambda t, n: t.rand(n, dtype=t.float64), lambda t, n: t.bernoulli(t.full((n,), 0.4)), lambda t, n: t.randint(0, 2 ** 40, (n,)),
             lambda t, n: t.empty(n).exponential_(), lambda t, n: t.randn(n, dtype=t.float16), lambda t, n: t.empty(n).bernoulli_(0.6)]
    plan = [(int(order.integers(len(draws))), int(order.integers(1, 200 if order.random() < 0.3 else 20))) for _ in range(60)]
    both(lambda t: [draws[i](t, n) for i, n in plan], seed)


def test_creation_functions():
    both(lambda t: [t.rand(2, 3), t.rand((2, 3)), t.rand([4]), t.rand(()), t.rand(size=(2,)), t.randn(17, dtype=t.float64), t.randn(2, 20),
                    t.rand(5, dtype=t.complex64), t.randn(5, dtype=t.complex64), t.randn(5, 4, dtype=t.complex128), t.rand(0), t.randn(3, 0),
                    t.rand_like(t.zeros(3, 4).t()), t.randn_like(t.zeros(3, 8).t()), t.randn_like(t.zeros(4), dtype=t.float64),
                    t.randint_like(t.zeros(5), 7), t.randint_like(t.zeros(5, dtype=t.int32), 2, 9), t.randint(3, (0,))])
    assert torch.randn_like(torch.zeros(3, 8).t()).stride() == (1, 8)


def test_randint():
    spans = [(0, 1), (0, 10), (-5, 7), (0, 2 ** 24), (0, 2 ** 28 - 1), (0, 2 ** 28), (0, 2 ** 31), (0, 2 ** 32), (-2 ** 40, 2 ** 50),
             (-2 ** 63, 2 ** 63 - 1), (5, 2 ** 63 - 1)]
    both(lambda t: [t.randint(low, high, (n,)) for low, high in spans for n in (1, 5, 700)])
    both(lambda t: [t.randint(10, (3, 4)), t.randint(high=4, size=(3,)), t.randint(low=1, high=4, size=(3,)), t.randint(1, 4, size=(3,)),
                    t.randint(0, 3, (4,), dtype=t.float32), t.randint(0, 2, (9,), dtype=t.bool), t.randint(-100, 100, (9,), dtype=t.int8),
                    t.randint(0, 200, (9,), dtype=t.uint8), t.randint(0, 60000, (9,), dtype=t.uint16), t.randint(0, 2049, (9,), dtype=t.float16)])


def test_random_ranges():
    both(lambda t: [t.empty(9, dtype=getattr(t, d)).random_(1, None) for d in NUMBERS])
    both(lambda t: [t.empty(9, dtype=getattr(t, d)).random_(-2 ** 63, None) for d in ("int64", "float64", "float32", "bfloat16")])


@pytest.mark.filterwarnings("ignore:.*out of bounds.*:UserWarning")
def test_random_beyond_a_floats_precision():
    both(lambda t: [t.empty(200, dtype=getattr(t, d)).random_(0, to) for d in ("float32", "float64") for to in (2 ** 25 + 1, 2 ** 54 + 3, 2 ** 60)])
    both(lambda t: [t.empty(200).random_(-2 ** 26 - 3, 2 ** 27 + 5), t.empty(200, dtype=t.bfloat16).random_(-1000, 1001)])


def test_randperm():
    both(lambda t: [t.randperm(n) for n in (*range(70), 100, 1000, 60_000)])
    both(lambda t: [t.randperm(20, dtype=getattr(t, d)) for d in NUMBERS])


def test_bernoulli_with_tensors():
    def run(t):
        p, q = t.rand(40), t.rand(40, dtype=t.float64)
        return [t.bernoulli(p), t.bernoulli(q), t.bernoulli(p.half()), t.bernoulli(p.bfloat16()), t.bernoulli(p, 0.3), p.bernoulli(), t.empty(40).bernoulli_(q),
                t.empty(3, 40).bernoulli_(p), t.empty(40, 3).t().bernoulli_(p), t.empty(40, dtype=t.int32).bernoulli_(p),
                t.empty(40, dtype=t.bool).bernoulli_(q), t.bernoulli(p.reshape(8, 5).t()), t.bernoulli(t.tensor(0.5))]
    both(run)


def test_normal_with_tensors():
    def run(t):
        m, s = t.linspace(-1, 1, 40), t.linspace(0.5, 2, 40)
        return [t.normal(m, s), t.normal(m, 0.7), t.normal(1.5, s), t.normal(0.0, s), t.normal(m.double(), s), t.normal(m[:3], s[:3]),
                t.normal(m.reshape(40, 1), s[:5]), t.normal(2, 3, (5, 6)), t.normal(2.0, 3.0, size=(3,)), t.normal(m.half(), 1.0)]
    both(run)


def test_multinomial():
    def run(t):
        p = t.rand(3, 30)
        return [t.multinomial(p, 1), t.multinomial(p, 1, True), t.multinomial(p, 7), t.multinomial(p, 30), t.multinomial(p, 50, True),
                t.multinomial(p[0], 5), t.multinomial(p.double(), 9), t.multinomial(p.double()[1], 100, replacement=True),
                t.multinomial(p.t(), 2), p.multinomial(3), t.multinomial(t.zeros(0, 3), 2)]
    for seed in range(5):
        both(run, seed)


def test_multinomial_of_a_long_row():
    both(lambda t: [t.multinomial(t.rand(5000), 1000, replacement=True), t.multinomial(t.rand(5000), 1000)])


def test_poisson():
    def run(t):
        rates = t.rand(300) * 40
        return [t.poisson(rates), t.poisson(rates.double().reshape(30, 10)), t.poisson(rates.half() / 4), t.poisson(t.zeros(3)), t.poisson(t.tensor(1e4))]
    both(run)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dropout(p):
    def run(t):
        x, image = t.linspace(-2, 2, 50), t.linspace(1, 2, 4 * 5 * 6).reshape(4, 5, 6)
        return [t.dropout(x, p, True), t.dropout(x, p, False), t.dropout(image.permute(2, 0, 1), p, True), t.dropout(x.double(), p, True),
                t.dropout(x.half(), p, True), t.feature_dropout(image, p, True), t.alpha_dropout(x, p, True), t.feature_alpha_dropout(image, p, True),
                t.dropout_(x.clone(), p, True), t.feature_dropout_(image.clone(), p, True), t.alpha_dropout_(x.clone(), p, True),
                *t.native_dropout(x, p, True), *t.native_dropout(x, p, False), t.dropout(t.zeros(0), p, True)]
    both(run)


def test_dropout_gradient():
    def run(t):
        x = t.linspace(-2, 2, 50).requires_grad_()
        image = t.linspace(1, 2, 4 * 5 * 6).reshape(4, 5, 6).requires_grad_()
        y = t.dropout(x, 0.3, True)
        (y * y).backward(t.ones(50))
        t.feature_dropout(image, 0.3, True).backward(t.ones(4, 5, 6))
        assert type(y.grad_fn).__name__ == "MulBackward0"
        return [x.grad, image.grad]
    both(run)
    x = torch.ones(3)
    assert torch.dropout(x, 0.5, False) is x and torch.dropout(x, 0.0, True) is x


def test_dropout_mask_on_intel():
    """PyTorch's masks on Intel processors come from MKL. The expected mask was published for torch.nn.Dropout(0.5) and seed 123
    (pytorch issue 121595, rasbt/LLMs-from-scratch issue 57); the other one there is that of other processors."""
    before = random_fill.bernoulli_stream()
    try:
        for stream, mask in (("mcg31", "222222020000002020220002200002020000"), ("mt19937", "220220000202222202022002020202022220")):
            random_fill.bernoulli_stream(stream)
            torch.manual_seed(123)
            assert "".join(str(int(v)) for v in torch.dropout(torch.ones(36), 0.5, True).tolist()) == mask
        with pytest.raises(ValueError, match="mt19937"):
            random_fill.bernoulli_stream("philox")
    finally:
        random_fill.bernoulli_stream(before)


# --- generators and states ------------------------------------------------------------------------------------------------------------

def test_generators_are_independent():
    g, h = torch.Generator(), pt.Generator()
    assert g.initial_seed() == h.initial_seed() and str(g.device) == str(h.device)
    same(torch.randn(20, generator=g), pt.randn(20, generator=h))
    assert g.manual_seed(5) is g
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for f in (lambda t, g: t.rand(3, generator=g), lambda t, g: t.randint(9, (3,), generator=g), lambda t, g: t.randperm(9, generator=g),
              lambda t, g: t.normal(0.0, 1.0, (3,), generator=g), lambda t, g: t.bernoulli(t.full((5,), 0.5), generator=g),
              lambda t, g: t.multinomial(t.ones(5), 2, generator=g), lambda t, g: t.empty(3).uniform_(generator=g),
              lambda t, g: t.empty(3).geometric_(0.5, generator=g), lambda t, g: t.poisson(t.ones(3), generator=g),
              lambda t, g: t.empty(3).random_(generator=g), lambda t, g: t.rand_like(t.ones(3), generator=g)):
        g.manual_seed(5)
        h.manual_seed(5)
        same(f(torch, g), f(pt, h))
    assert torch.get_rng_state().tolist() == state.tolist()


@pytest.mark.parametrize("drawn", [0, 1, 3, 16, 100, 311, 623, 624, 625, 1248, 5000])
@pytest.mark.parametrize("pair", [False, True])
def test_states_go_both_ways(drawn, pair):
    g, h = torch.Generator().manual_seed(9), pt.Generator().manual_seed(9)
    for t, each in ((torch, g), (pt, h)):
        t.rand(drawn, generator=each)
        if pair:
            t.randn(3, generator=each)
    mine, theirs = g.get_state(), h.get_state()
    assert mine.dtype is torch.uint8 and tuple(mine.shape) == (5056,)
    assert np.array_equal(mine.numpy(), theirs.numpy())
    g2, h2 = torch.Generator(), pt.Generator()
    g2.set_state(torch.from_numpy(theirs.numpy()))
    h2.set_state(pt.from_numpy(mine.numpy()))
    for f in (lambda t, g: t.randn(3, generator=g), lambda t, g: t.randn(50, generator=g), lambda t, g: t.rand(700, generator=g)):
        expected = f(pt, h)
        for value in (f(torch, g), f(torch, g2)):
            same(value, expected)
        assert pt.equal(f(pt, h2), expected)
    assert g2.initial_seed() == 9
    assert np.array_equal(g2.get_state().numpy(), h2.get_state().numpy())


def test_state_is_a_snapshot():
    torch.manual_seed(0)
    torch.rand(5)
    state = torch.get_rng_state()
    first = torch.randn(40)
    torch.rand(2000)
    torch.set_rng_state(state)
    same(torch.randn(40), pt.from_numpy(first.numpy()))
    copies = [pickle.loads(pickle.dumps(torch.default_generator)), torch.default_generator.clone_state()]
    expected = torch.rand(7)
    for g in copies:
        assert torch.rand(7, generator=g).tolist() == expected.tolist()


def test_legacy_state_size():
    h = pt.Generator().manual_seed(4)
    pt.rand(10, generator=h)
    g = torch.Generator()
    g.set_state(torch.from_numpy(h.get_state().numpy()[:5048].copy()))
    same(torch.rand(9, generator=g), pt.rand(9, generator=h))


def test_seed_draws_a_seed():
    value = torch.seed()
    assert value == torch.initial_seed() and 0 <= value < 2 ** 64
    first = torch.rand(4).tolist()
    torch.manual_seed(value)
    assert torch.rand(4).tolist() == first
    g = torch.Generator()
    assert g.seed() == g.initial_seed() != torch.Generator().initial_seed()


def test_fork_rng():
    def run(t):
        before = t.rand(3)
        with t.random.fork_rng():
            t.manual_seed(99)
            inside = t.rand(3)
        after = t.rand(3)
        with t.random.fork_rng(enabled=False):
            t.manual_seed(5)
        with pytest.raises(KeyError), t.random.fork_rng(devices=[]):
            t.rand(9)
            raise KeyError
        return [before, inside, after, t.randn(5)]
    both(run)


def test_out_and_requires_grad():
    def run(t):
        double, wrong = t.empty(6, dtype=t.float64), t.empty(0)
        results = [t.rand(6, out=double), double, t.randn(2, 3, out=wrong), wrong, t.randint(5, (3,), out=t.empty(3, dtype=t.int64)),
                   t.randperm(4, out=t.empty(4, dtype=t.int64)), t.normal(t.zeros(3), 1.0, out=t.empty(3)), t.bernoulli(t.ones(2), out=t.empty(2)),
                   t.multinomial(t.ones(5), 2, out=t.empty(0, dtype=t.int64)), t.randn(30, 2, out=t.empty(2, 30).t())]
        leaf = t.randn(3, requires_grad=True)
        assert leaf.requires_grad and leaf.is_leaf
        return [*results, leaf]
    both(run)


def test_in_place_history():
    def run(t):
        x = t.ones(20, requires_grad=True)
        y = x * 2
        y.normal_()
        assert type(y.grad_fn).__name__ == "NormalBackward0"
        z = x * 3
        z[:10].uniform_()
        (y + z).backward(t.ones(20))
        with t.no_grad():
            x.normal_()
        p = t.rand(4, requires_grad=True)
        t.bernoulli(p).backward(t.ones(4))
        return [x.grad, x, y, z, p.grad]
    both(run)


def test_threads_share_a_generator():
    """Draws from several threads neither repeat nor skip words."""
    import threading
    g = torch.Generator().manual_seed(2)
    made = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda into: into.extend(torch.rand(50, generator=g) for _ in range(200)), args=(each,)) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drawn = np.sort(np.concatenate([each.numpy() for part in made for each in part]))
    assert np.array_equal(drawn, np.sort(pt.rand(40_000, generator=pt.Generator().manual_seed(2)).numpy()))


# --- errors ---------------------------------------------------------------------------------------------------------------------------

BAD = [
    "t.rand(2, dtype=t.int64)", "t.randn(2, dtype=t.int64)", "t.randn(-1)", "t.randn('a')", "t.randn(2.5)", "t.randn()", "t.rand(2, generator=5)",
    "t.rand(2, out=t.ones(5), dtype=t.float64)", "t.randint(5, 2)", "t.randint(5, 5, (2,))", "t.randint(6, 5, (2,))", "t.randint(5)",
    "t.randint(0, 300, (2,), dtype=t.uint8)", "t.randint(0, 3, (2,), dtype=t.complex64)", "t.randint(1.5, (2,))", "t.randint(0, 3, (3,), dtype=t.bool)",
    "t.randint(-5, 3, (3,), dtype=t.uint8)", "t.randint(0, 2**64, (3,))", "t.randint(0, 3, (2,), requires_grad=True)", "t.randint(True, (3,))",
    "t.randperm(-1)", "t.randperm(3.)", "t.randperm(300, dtype=t.uint8)", "t.randperm(3, dtype=t.bool)", "t.randperm(5000, dtype=t.half)",
    "t.rand_like(3)", "t.rand_like(t.ones(3, dtype=t.int64))", "t.normal(0., 1.)", "t.normal(t.zeros(3), -1.)", "t.normal(t.zeros(3), -t.ones(3))",
    "t.normal(t.zeros(3), t.ones(2))", "t.normal(t.zeros(3, dtype=t.int64), 1.)", "t.normal(0, -1, (3,))", "t.bernoulli(t.ones(3) + 1)",
    "t.bernoulli(t.ones(3), p=1.5)", "t.bernoulli(t.tensor([1, 0]))", "t.bernoulli(t.ones(3) * float('nan'))", "t.ones(3).bernoulli_(2.)",
    "t.ones(3).bernoulli_(t.ones(2))", "t.ones(3, dtype=t.complex64).bernoulli_()", "t.ones(3).bernoulli_('a')", "t.bernoulli(3)",
    "t.poisson(-t.ones(3))", "t.poisson(t.tensor([1, 2]))", "t.poisson(t.tensor([float('nan')]))", "t.ones(3).exponential_(-1)",
    "t.ones(3).exponential_(0)", "t.ones(3, dtype=t.int64).exponential_()", "t.ones(3).cauchy_(0, -1)", "t.ones(3, dtype=t.int64).cauchy_()",
    "t.ones(3).log_normal_(0, -1)", "t.ones(3, dtype=t.int64).log_normal_()", "t.ones(3).geometric_(0)", "t.ones(3).geometric_(1)",
    "t.ones(3, dtype=t.bool).geometric_(.3)", "t.ones(3).geometric_()", "t.ones(3).normal_(0, -1)", "t.ones(3).normal_(std=float('nan'))",
    "t.ones(3, dtype=t.int64).normal_()", "t.ones(3).uniform_(3, 1)", "t.ones(3, dtype=t.int64).uniform_()", "t.ones(3).uniform_(float('nan'), 1)",
    "t.ones(3).half().uniform_(0, 1e6)", "t.ones(3).uniform_(-3e38, 3e38)", "t.ones(1).expand(3).normal_()", "t.ones(3, requires_grad=True).normal_()",
    "t.ones(3).normal_('a')", "t.ones(3).random_(1.5)", "t.ones(3).random_(5, 2)", "t.ones(3).random_(-5)", "t.ones(3, dtype=t.int8).random_(300)",
    "t.ones(3, dtype=t.half).random_(-2**63, None)", "t.ones(3, dtype=t.uint16).random_()", "t.multinomial(t.ones(4), 5)", "t.multinomial(t.ones(4), 0)",
    "t.multinomial(-t.ones(4), 1)", "t.multinomial(t.zeros(4), 1)", "t.multinomial(t.zeros(4), 2, True)", "t.multinomial(t.tensor([1, 2]), 3, True)",
    "t.multinomial(t.ones(2, 3, 4), 2)", "t.multinomial(t.ones(2, 3), 2.0)", "t.multinomial(t.tensor([float('nan'), 1]), 1)", "t.multinomial([1.], 1)",
    "t.multinomial(t.ones(()), 1)", "t.multinomial(t.ones(2, 3), 2, out=t.ones(0))", "t.dropout(t.ones(3), 1.5, True)", "t.dropout(5, .5, True)",
    "t.dropout(t.ones(3, dtype=t.int64), .5, True)", "t.feature_dropout(t.ones(3), .5, True)", "t.native_dropout(t.ones(3), 1.5, True)",
    "t.dropout(t.ones(3, dtype=t.complex64), .5, True)", "t.manual_seed(2**64)", "t.manual_seed(-2**63 - 1)", "t.manual_seed()",
    "t.Generator().manual_seed(1.5)", "t.Generator().manual_seed('a')", "t.Generator().set_state(3)", "t.Generator().set_state(t.zeros(5))",
    "t.Generator().set_state(t.zeros(5, dtype=t.uint8))", "t.Generator().set_state(t.zeros(5056, dtype=t.uint8))", "t.set_rng_state(5)",
    "t.Generator().get_offset()", "t.Generator().graphsafe_get_state()", "t.Generator(device='foo')",
]


@pytest.mark.parametrize("code", BAD)
def test_errors(code):
    with pytest.raises(Exception) as theirs:
        eval(code, {"t": pt})
    state = torch.get_rng_state()
    with pytest.raises(theirs.type):
        eval(code, {"t": torch})
    assert torch.get_rng_state().tolist() == state.tolist(), "an error must not use up random numbers"


def test_nothing_is_written_before_an_error():
    x = torch.ones(3)
    for f in (lambda: x.normal_(0, -1), lambda: x.uniform_(2, 1), lambda: x.bernoulli_(torch.tensor([0.1, 2.0, 0.3])), lambda: x.random_(4, 2)):
        with pytest.raises(RuntimeError):
            f()
    assert x.tolist() == [1, 1, 1] and x._version == 0


# --- the arithmetic below -------------------------------------------------------------------------------------------------------------

def test_c_library_functions():
    """The element-by-element versions for machines whose NumPy has its own functions agree with NumPy's, where those are the C library's."""
    x = np.random.default_rng(0).random(500)
    for name in ("log", "log1p", "exp", "tan"):
        assert np.allclose(libm.by_element(name)(x), getattr(np, name)(x), rtol=4e-16, atol=0)
    assert libm.by_element("log")(np.array([0.0, -1.0]))[0] == -math.inf
    assert math.isnan(libm.by_element("log")(np.array([-1.0]))[0])
    assert libm.by_element("exp")(np.array([1e9]))[0] == math.inf
    z = np.exp(1j * x)
    assert np.allclose(z.real, [math.cos(v) for v in x], rtol=3e-16) and np.allclose(z.imag, [math.sin(v) for v in x], rtol=3e-16)


def test_fused_multiply_add():
    from fractions import Fraction
    rng = np.random.default_rng(1)
    x = rng.standard_normal(2000) * 2.0 ** rng.integers(-30, 30, 2000)
    for y, z in ((0.7, 1.3), (3.1, -2.0), (1e-3, 1e8), (2.0, 0.1), (0.7, 0.0)):
        exact = [float(Fraction(v) * Fraction(y) + Fraction(z)) for v in x.tolist()]
        assert libm.fma(x, y, z).tolist() == exact
    assert libm.fma(np.array([np.inf, -np.inf]), 2.5, 1.0).tolist() == [np.inf, -np.inf]


def test_uniform_never_reaches_its_end():
    for dtype in FLOATS:
        t = torch.empty(200_000, dtype=getattr(torch, dtype)).uniform_(0, 1)
        assert float(t.double().numpy().max()) < 1.0
    assert float(torch.empty(20_000).uniform_(1e6, 1e6 + 1).numpy().max()) < 1e6 + 1
