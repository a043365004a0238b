"""Native gamma, binomial and Poisson numbers: bit for bit those of the same formulas in Python, and the generator is left where they leave it."""

from types import SimpleNamespace

import numpy as np
import pytest

import rushlight as rl
from rushlight.kernels import gamma_sampling, native

pytestmark = pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})")

RATES = np.concatenate([np.linspace(0, 12, 300), [0.0, 9.999, 10.0, 55.5, 1e3, 1e6, 1e12, np.inf], np.geomspace(10, 5000, 200)])
ALPHAS = np.concatenate([[0.0, np.nan, -1.0, 1.0, 1e-3, 1e5], np.linspace(0.01, 5, 700)])
COUNTS = np.tile([0.0, 1, 5, 20, 33, 100, 1e4, 1e9, np.nan, np.inf, -3], 60)
CHANCES = np.repeat(np.linspace(-0.05, 1.05, 60), 11)
CASES = {"poisson": [(RATES,)], "standard_gamma": [(ALPHAS,), (ALPHAS.astype("f4"),)],
         "binomial": [(COUNTS, CHANCES), (COUNTS.astype("f4"), CHANCES.astype("f4"))]}


@pytest.mark.parametrize("name, parameters", [(name, each) for name, many in CASES.items() for each in many], ids=lambda value: str(value)[:8])
@pytest.mark.parametrize("before", [0, 1, 311, 623, 624, 1000])
def test_as_in_python(name, parameters, before, monkeypatch):
    function = getattr(gamma_sampling, name)
    pair = [rl.Generator().manual_seed(7) for _ in range(2)]
    for gen in pair:
        gen.words(before)
        gen.double()
    native_numbers = [function(pair[0], *parameters) for _ in range(2)]
    monkeypatch.setattr(gamma_sampling, "native", SimpleNamespace(library=None))
    python_numbers = [function(pair[1], *parameters) for _ in range(2)]
    np.testing.assert_array_equal(native_numbers, python_numbers)
    monkeypatch.undo()
    assert pair[0].next_normal == pair[1].next_normal
    np.testing.assert_array_equal(pair[0].state_bytes(), pair[1].state_bytes())
    assert rl.randn(3, generator=pair[0]).tolist() == rl.randn(3, generator=pair[1]).tolist()


def test_nothing_drawn_changes_nothing():
    gen = rl.Generator().manual_seed(3)
    before = gen.get_state()
    assert gamma_sampling.poisson(gen, np.zeros(4)).tolist() == [0.0] * 4 and gamma_sampling.standard_gamma(gen, np.empty(0, "f4")).size == 0
    assert rl.equal(gen.get_state(), before)


def test_refuses_what_does_not_fit():
    state, block = np.zeros(624, "u4"), np.zeros(624, "u4")
    for arguments in ((state, block, 625, False, None, np.ones(3)), (state, block, 0, False, None, np.ones(3, "i8")), (state[:5], block, 0, False, None, np.ones(3)),
                      (state, block, 0, False, None), (state, block, 0, False, None, [1.0])):
        with pytest.raises(ValueError):
            native.library.poisson_numbers(*arguments)
    with pytest.raises(ValueError, match="as many of each"):
        native.library.binomial_numbers(state, block, 0, False, None, np.ones(3), np.ones(4))
