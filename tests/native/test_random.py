"""Native mt19937 and the numbers made of its words, against NumPy."""

import numpy as np
import pytest

from rushlight import generator
from rushlight.generator import Generator
from rushlight.kernels import native, random_fill, random_normal

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]


@pytest.mark.parametrize("seed", [0, 1, 5489, 2 ** 32 - 1])
def test_words(seed):
    theirs = np.random.MT19937(0)
    theirs._legacy_seeding(seed)
    key = np.empty(624, np.uint32)
    native.library.mt_seed(key, seed)
    np.testing.assert_array_equal(key, theirs.state["state"]["key"])
    for blocks in (1, 3, 0, 200):
        out = np.empty(624 * blocks, np.uint32)
        native.library.mt_words(key, out, False)
        np.testing.assert_array_equal(out, theirs.random_raw(624 * blocks))
    np.testing.assert_array_equal(key, theirs.state["state"]["key"])
    again = np.empty(624, np.uint32)
    native.library.mt_words(key, again, True)
    np.testing.assert_array_equal(again, out[-624:])


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 623, 70_001])
def test_samplers(n, monkeypatch):
    """Every sampler gives the same numbers, and leaves the generator where it was, with the library and without."""
    f4, f8, i8, flag = np.dtype("f4"), np.dtype("f8"), np.dtype("i8"), np.dtype("?")
    chances = np.random.default_rng(0).random(n)
    calls = [(random_fill.uniform, f4, 0.0, 1.0), (random_fill.uniform, f4, -3.0, 0.1), (random_fill.uniform, f8, 0.0, 1.0), (random_fill.bernoulli, flag, 0.3),
             (random_fill.bernoulli_each, flag, chances.astype("f4")), (random_fill.bernoulli_each, flag, chances), (random_fill.integers, i8, 0, 10),
             (random_fill.integers, i8, -7, 1), (random_fill.integers, f4, 5, 2 ** 28 - 1), (random_fill.normal, f8, 0.0, 1.0), (random_fill.normal, f4, 1.0, 2.0)]
    ours, theirs = Generator().manual_seed(3), Generator().manual_seed(3)
    for sampler, *args in calls:
        got = sampler(ours, n, *args)
        with monkeypatch.context() as m:
            for door in ("doubles", "uniform_numbers", "below", "remainders", "swapped"):
                m.setattr(random_fill, door, getattr(random_fill, door).fallback)
            m.setattr(generator, "doubles", random_fill.doubles)
            m.setattr(random_normal.native, "library", None)
            want = sampler(theirs, n, *args)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(ours.state_bytes(), theirs.state_bytes())


def test_remainders():
    words = np.random.default_rng(0).integers(0, 2 ** 32, 100_000, np.uint32)
    words[:4] = 0, 1, 2 ** 32 - 1, 2 ** 31
    for span in (1, 2, 3, 7, 10, 1000, 65_536, 99_991, 2 ** 27 + 1, 2 ** 28 - 1):
        np.testing.assert_array_equal(random_fill.remainders(words, span, -5), words.astype("i8") % span - 5)
    for wrong in (0, 2 ** 28):
        with pytest.raises(ValueError):
            random_fill.remainders(words, wrong, 0)


def test_states_continue():
    a, b = Generator().manual_seed(11), Generator()
    a.words(1000)
    b.load_bytes(a.state_bytes())
    np.testing.assert_array_equal(a.words(5000), b.words(5000))
    c = a.clone_state()
    np.testing.assert_array_equal(a.words(3), c.words(3))
