"""The native loops over time of LSTM, GRU and RNN against their NumPy twins and torch: odd sizes, packed sequences, both directions, threads."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.kernels import native
from rushlight.kernels import rnn as K
from tests.support.common import to_numpy, to_rl

pytestmark = [pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})"), pytest.mark.usefixtures("threads")]

# batch sizes of the steps, input size, hidden size
CASES = [([1], 1, 1), ([3, 3], 2, 5), ([9] * 4, 7, 33), ([20, 20, 13, 13, 2], 5, 70), ([2, 7, 8], 3, 32), ([17] * 3, 40, 129),
         ([1] * 5, 3, 130), ([5, 5, 2], 6, 64), ([1, 3, 6], 4, 260)]


def arrays(sizes, inputs, units, gates, dtype):
    rng = np.random.default_rng(0)
    rows, batch = sum(sizes), max(sizes)
    shapes = {"x": (rows, inputs), "h0": (batch, units), "c0": (batch, units), "w_ih": (gates * units, inputs), "w_hh": (gates * units, units),
              "bias": (gates * units,), "gy": (rows, units), "gh": (batch, units), "gc": (batch, units)}
    return {name: rng.standard_normal(shape).astype(dtype) * (0.4 if name.startswith("w") else 1) for name, shape in shapes.items()}


def steps_of(sizes):
    ends = np.cumsum(sizes)
    return [(int(end - size), int(end)) for size, end in zip(sizes, ends, strict=True)]


def run(mode, a, steps):
    if mode == "lstm":
        y, c, gates, flat = K.lstm_forward(a["x"], steps, a["h0"], a["c0"], a["w_ih"], a["w_hh"], a["bias"], None)
        back = [K.lstm_backward(gy, a["gh"], a["gc"], steps, y, a["h0"], a["c0"], c, gates, flat, a["w_hh"], None)[:3] for gy in (a["gy"], None)]
        return y, c, gates, flat, *back[0], *back[1]
    if mode == "gru":
        y, gates, hidden = K.gru_forward(a["x"], steps, a["h0"], a["w_ih"], a["w_hh"], a["bias"], a["bias"])
        back = [K.gru_backward(gy, a["gh"], steps, y, a["h0"], gates, hidden, a["w_hh"]) for gy in (a["gy"], None)]
        return y, gates, hidden, *back[0], *back[1]
    relu = mode == "relu"
    y = K.rnn_forward(a["x"], steps, a["h0"], a["w_ih"], a["w_hh"], a["bias"], relu)
    return y, *K.rnn_backward(a["gy"], a["gh"], steps, y, a["w_hh"], relu), *K.rnn_backward(None, a["gh"], steps, y, a["w_hh"], relu)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("mode, gates", [("lstm", 4), ("gru", 3), ("tanh", 1), ("relu", 1)])
def test_twin(mode, gates, case, dtype, monkeypatch):
    sizes, inputs, units = case
    a, steps = arrays(sizes, inputs, units, gates, dtype), steps_of(sizes)
    got = run(mode, a, steps)
    for door in ("loop", "loop_gradient"):
        monkeypatch.setattr(K, door, getattr(K, door).fallback)
    for ours, twin in zip(got, run(mode, a, steps), strict=True):
        assert ours.dtype == twin.dtype
        np.testing.assert_allclose(ours, twin, rtol=1e-3 if dtype == "f4" else 1e-11, atol=(3e-5 if dtype == "f4" else 1e-12) * (1 + np.abs(twin).max()))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_layers_match_torch(name, bidirectional):
    pt.manual_seed(0)
    theirs = getattr(pt.nn, name)(11, 37, 2, bidirectional=bidirectional, dtype=pt.float64)
    ours = getattr(rl.nn, name)(11, 37, 2, bidirectional=bidirectional, dtype=rl.float64)
    ours.load_state_dict({key: to_rl(value) for key, value in theirs.state_dict().items()})
    x = pt.randn(6, 9, 11, dtype=pt.float64, requires_grad=True)
    ox = to_rl(x)
    y, oy = theirs(x)[0], ours(ox)[0]
    np.testing.assert_allclose(to_numpy(oy), to_numpy(y), rtol=1e-9, atol=1e-11)
    (y * y).sum().backward()
    (oy * oy).sum().backward()
    np.testing.assert_allclose(to_numpy(ox.grad), to_numpy(x.grad), rtol=1e-8, atol=1e-10)
    for (key, p), (_, q) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        np.testing.assert_allclose(to_numpy(q.grad), to_numpy(p.grad), rtol=1e-8, atol=1e-10, err_msg=key)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_alone(case, dtype):
    """Without gradients an LSTM keeps nothing; with its input's product inside the loop or before it, the results are the same."""
    sizes, inputs, units = case
    a, steps = arrays(sizes, inputs, units, 4, dtype), steps_of(sizes)
    for bias in (a["bias"], None):
        given = (a["x"], steps, a["h0"], a["c0"], a["w_ih"], a["w_hh"], bias)
        y, c, _, _ = K.lstm_forward(*given, None)
        close = dict(rtol=1e-4, atol=1e-5) if dtype == "f4" else dict(rtol=1e-11, atol=1e-12)
        results = K.lstm_results(*given)
        np.testing.assert_allclose(results[0], y, **close)
        np.testing.assert_allclose(results[1], K.final_state(c, a["c0"], steps), **close)


@pytest.mark.parametrize("batch", [1, 5, 9])
def test_strided_gradients_and_no_grad(batch):
    """The gradient of a batch-first output comes as a transposed view; training, evaluation and torch agree."""
    pt.manual_seed(0)
    theirs = pt.nn.LSTM(11, 72, 2, batch_first=True)
    ours = rl.nn.LSTM(11, 72, 2, batch_first=True)
    ours.load_state_dict({key: to_rl(value) for key, value in theirs.state_dict().items()})
    x = pt.randn(batch, 4, 11)
    w = pt.randn(batch, 4, 72)
    (theirs(x)[0] * w).sum().backward()
    y, (h, c) = ours(to_rl(x))
    (y * to_rl(w)).sum().backward()
    for (key, p), (_, q) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        np.testing.assert_allclose(to_numpy(q.grad), to_numpy(p.grad), rtol=1e-3, atol=2e-5, err_msg=key)
    with rl.no_grad():
        again, (h2, c2) = ours(to_rl(x))
    for mine, other in ((again, y), (h2, h), (c2, c)):
        np.testing.assert_allclose(to_numpy(mine), to_numpy(other.detach()), rtol=1e-5, atol=1e-6)
    assert again.stride() == theirs(x)[0].stride()


def test_gates_far_out():
    """Sums of any size, infinities and nan give what sigmoid and tanh give."""
    z = np.array([0, -0.0, 1e-30, 1, -3, 9, 12, -50, 90, -100, 1e30, -1e30, np.inf, -np.inf, np.nan] * 3, "f4")
    x, units = np.ones((1, 1), "f4"), len(z)
    for dtype in ("f4", "f8"):
        w_ih, zeros = np.tile(z, 4).astype(dtype)[:, None], np.zeros((1, units), dtype)
        c, gates = K.lstm_forward(x.astype(dtype), [(0, 1)], zeros, zeros, w_ih, np.zeros((4 * units, units), dtype), None, None)[1:3]
        with np.errstate(over="ignore"):
            sigmoid, tanh = 1 / (1 + np.exp(-z.astype("f8"))), np.tanh(z.astype("f8"))
        np.testing.assert_allclose(gates[0], np.concatenate((sigmoid, sigmoid, tanh, sigmoid)), rtol=1e-6, atol=2e-38)
        np.testing.assert_allclose(c[0], sigmoid * tanh, rtol=1e-6, atol=2e-38)


def test_nan_stays_in_its_sequence():
    a, steps = arrays([3, 3], 2, 5, 4, "f4"), steps_of([3, 3])
    a["x"][1, 0] = np.nan
    y = run("lstm", a, steps)[0]
    assert np.isnan(y[[1, 4]]).all() and np.isfinite(y[[0, 2, 3, 5]]).all()


def test_refuses_what_does_not_fit():
    a, steps = arrays([3, 3], 2, 5, 4, "f4"), steps_of([3, 3])
    gates, y, c, flat = np.zeros((6, 20), "f4"), *(np.zeros((6, 5), "f4") for _ in range(3))
    rest = gates, y, c, flat, None, None, None, None, None
    far = [(lo + 1, hi + 1) for lo, hi in steps]
    for bad in ((0, steps, a["w_hh"][:, :4].copy(), a["h0"], a["c0"], *rest), (0, far, a["w_hh"], a["h0"], a["c0"], *rest),
                (0, steps, a["w_hh"], a["h0"], None, *rest)):
        with pytest.raises(ValueError):
            K.loop(*bad)


def test_what_lies_with_gaps_is_copied():
    a, steps = arrays([3, 3], 2, 5, 4, "f4"), steps_of([3, 3])
    want = run("lstm", a, steps)
    for name in ("w_hh", "h0", "c0", "gy", "gh", "gc"):
        a[name] = np.repeat(a[name], 2, -1)[..., ::2]
    for got, each in zip(run("lstm", a, steps), want, strict=True):
        np.testing.assert_array_equal(got, each)
