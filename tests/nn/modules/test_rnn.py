"""Recurrent layers and cells: values, gradients and double gradients against PyTorch's, live."""

import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as torch
from rushlight.ops import rnn as R

MODES = ["LSTM", "GRU", "RNN_TANH", "RNN_RELU"]
THEIRS = {"LSTM": pt.lstm, "GRU": pt.gru, "RNN_TANH": pt.rnn_tanh, "RNN_RELU": pt.rnn_relu}
OURS = {"LSTM": R.lstm, "GRU": R.gru, "RNN_TANH": R.rnn_tanh, "RNN_RELU": R.rnn_relu}
GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def both(shape, rng, dtype=np.float64, grad=True):
    a = rng.standard_normal(shape).astype(dtype) * 0.7
    return torch.tensor(a.copy()).requires_grad_(grad), pt.tensor(a).requires_grad_(grad)


def close(ours, theirs, tolerance=1e-10):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


def weights(mode, inputs, hidden, layers, directions, biases, proj, rng, dtype=np.float64):
    pairs = []
    for layer in range(layers):
        for _ in range(directions):
            width = inputs if layer == 0 else (proj or hidden) * directions
            shapes = [(GATES[mode] * hidden, width), (GATES[mode] * hidden, proj or hidden)]
            if biases:
                shapes += [(GATES[mode] * hidden,)] * 2
            if proj:
                shapes.append((proj, hidden))
            pairs += [both(shape, rng, dtype) for shape in shapes]
    return pairs


def states(mode, count, batch, hidden, proj, rng, dtype=np.float64):
    h = both((count, batch, proj or hidden), rng, dtype)
    if mode != "LSTM":
        return [h], h[0], h[1]
    c = both((count, batch, hidden), rng, dtype)
    return [h, c], (h[0], c[0]), (h[1], c[1])


CASES = [(mode, layers, directions, biases, first, proj)
         for mode in MODES for layers, directions, biases, first, proj in ((1, 1, True, False, 0), (2, 2, True, True, 0),
                                                                           (2, 1, False, False, 0))]
CASES += [("LSTM", 1, 1, True, False, 2), ("LSTM", 2, 2, False, True, 3)]


@pytest.mark.parametrize(("mode", "layers", "directions", "biases", "first", "proj"), CASES)
def test_functional(mode, layers, directions, biases, first, proj):
    rng = np.random.default_rng(1)
    x = both((3, 6, 4) if first else (6, 3, 4), rng)
    pairs = weights(mode, 4, 5, layers, directions, biases, proj, rng)
    starts, mine, other = states(mode, layers * directions, 3, 5, proj, rng)
    options = (biases, layers, 0.0, False, directions == 2, first)
    ours = OURS[mode](x[0], mine, [a for a, _ in pairs], *options)
    theirs = THEIRS[mode](x[1], other, [b for _, b in pairs], *options)
    loss, expected = 0, 0
    for a, b in zip(ours, theirs, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        close(a, b)
        c = np.random.default_rng(2).standard_normal(a.shape)
        loss, expected = loss + (a * torch.tensor(c)).sum(), expected + (b * pt.tensor(c)).sum()
    loss.backward()
    expected.backward()
    for a, b in [x, *starts, *pairs]:
        close(a.grad, b.grad, 1e-9)


@pytest.mark.parametrize(("mode", "proj"), [("LSTM", 0), ("LSTM", 2), ("GRU", 0), ("RNN_TANH", 0)])
@pytest.mark.parametrize("directions", [1, 2])
def test_packed(mode, proj, directions):
    rng = np.random.default_rng(3)
    sizes = [4, 4, 3, 1, 1]
    x = both((sum(sizes), 3), rng)
    pairs = weights(mode, 3, 5, 2, directions, True, proj, rng)
    starts, mine, other = states(mode, 2 * directions, 4, 5, proj, rng)
    options = (True, 2, 0.0, False, directions == 2)
    ours = OURS[mode](x[0], torch.tensor(sizes), mine, [a for a, _ in pairs], *options)
    theirs = THEIRS[mode](x[1], pt.tensor(sizes), other, [b for _, b in pairs], *options)
    loss, expected = 0, 0
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)
        c = np.random.default_rng(2).standard_normal(a.shape)
        loss, expected = loss + (a * torch.tensor(c)).sum(), expected + (b * pt.tensor(c)).sum()
    loss.backward()
    expected.backward()
    for a, b in [x, *starts, *pairs]:
        close(a.grad, b.grad, 1e-9)


@pytest.mark.parametrize(("mode", "proj"), [("LSTM", 0), ("LSTM", 2), ("GRU", 0), ("RNN_TANH", 0), ("RNN_RELU", 0)])
def test_double_backward(mode, proj):
    """Second derivatives, where the input has a history that contains the weights."""
    results = []
    for side, functions, m in ((0, OURS, torch), (1, THEIRS, pt)):
        rng = np.random.default_rng(4)
        x = both((4, 2, 3), rng)[side]
        ws = [pair[side] for pair in weights(mode, 3, 3, 1, 1, True, proj, rng)]
        hx = states(mode, 1, 2, 3, proj, rng)[1 + side]
        y, *_ = functions[mode]((x * ws[0][:3, :3].sum()).tanh(), hx, ws, True, 1, 0.0, False, False, False)
        grads = m.autograd.grad((y ** 2).sum(), [x, *ws], create_graph=True)
        second = m.autograd.grad(sum((g ** 2).sum() for g in grads), [x, *ws])
        results.append([*grads, *second])
    for a, b in zip(*results, strict=True):
        close(a, b, 1e-8)


def copied(name, *args, **kwargs):
    """The same module on both sides: the same initial weights from the same seed."""
    torch.manual_seed(5)
    pt.manual_seed(5)
    ours, theirs = getattr(torch.nn, name)(*args, **kwargs), getattr(pt.nn, name)(*args, **kwargs)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for key in mine:
        assert np.array_equal(mine[key].numpy(), other[key].numpy()), key
    assert repr(ours) == repr(theirs)
    return ours, theirs


MODULES = [
    ("LSTM", (3, 4), {}), ("LSTM", (3, 4, 2), {"bidirectional": True, "batch_first": True, "proj_size": 2}),
    ("LSTM", (3, 4), {"num_layers": 2, "dropout": 0.5, "bias": False}), ("GRU", (3, 4), {"num_layers": 2, "dropout": 0.3}),
    ("GRU", (3, 4), {"batch_first": True, "bidirectional": True}), ("RNN", (3, 4), {}), ("RNN", (3, 4, 2, "relu"), {"bidirectional": True}),
    ("RNN", (3, 4), {"nonlinearity": "relu", "bias": False}),
]


@pytest.mark.parametrize(("name", "args", "options"), MODULES)
def test_module(name, args, options):
    ours, theirs = copied(name, *args, **options)
    rng = np.random.default_rng(0)
    for shape in ((5, 2, 3), (5, 3)):
        x = both(shape, rng, np.float32)
        torch.manual_seed(1)
        pt.manual_seed(1)
        for module in (ours, theirs):
            module.zero_grad()
        (a, ha), (b, hb) = ours(x[0]), theirs(x[1])
        close(a, b, 1e-5)
        for p, q in zip(ha, hb, strict=True) if isinstance(ha, tuple) else [(ha, hb)]:
            close(p, q, 1e-5)
        (a * a).sum().backward()
        (b * b).sum().backward()
        close(x[0].grad, x[1].grad, 1e-5)
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("sort", [True, False])
def test_packed_module(sort):
    ours, theirs = copied("LSTM", 3, 4, 2, bidirectional=True)
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((length, 3)).astype(np.float32) for length in ((5, 3, 1) if sort else (3, 5, 1, 4))]
    results = []
    for m, module in ((torch, ours), (pt, theirs)):
        packed = m.nn.utils.rnn.pack_sequence([m.tensor(s) for s in sequences], enforce_sorted=sort)
        y, (h, c) = module(packed)
        padded, lengths = m.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
        results.append((padded, h, c, lengths))
    for a, b in zip(*results, strict=True):
        close(a, b, 1e-5)


@pytest.mark.parametrize(("name", "options"), [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu", "bias": False}), ("LSTMCell", {}),
                                               ("LSTMCell", {"bias": False}), ("GRUCell", {}), ("GRUCell", {"bias": False})])
def test_cells(name, options):
    ours, theirs = copied(name, 3, 4, **options)
    rng = np.random.default_rng(0)
    x, h, c = both((2, 3), rng, np.float32), both((2, 4), rng, np.float32), both((2, 4), rng, np.float32)
    lstm = name == "LSTMCell"
    for start in (None, (h, c)):
        a, b = (module(v) if start is None else module(v, (h[i], c[i]) if lstm else h[i]) for i,
                (module, v) in enumerate(((ours, x[0]), (theirs, x[1]))))
        for p, q in zip(a, b, strict=True) if lstm else [(a, b)]:
            close(p, q, 1e-5)
        loss, expected = (sum((t * t).sum() for t in y) if lstm else (y * y).sum() for y in (a, b))
        loss.backward()
        expected.backward()
    for p, q in [x, h, *zip(ours.parameters(), theirs.parameters(), strict=True)]:
        close(p.grad, q.grad, 1e-5)
    one, other = both((3,), rng, np.float32)
    a, b = ours(one), theirs(other)
    for p, q in zip(a, b, strict=True) if lstm else [(a, b)]:
        close(p, q, 1e-5)


def outcome(make, m):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            make(m.nn, m.zeros)
        except Exception as error:
            return type(error), str(error)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize("make", [
    lambda nn, z: nn.GRU(3, 4, proj_size=2), lambda nn, z: nn.LSTM(3, 4, proj_size=5), lambda nn, z: nn.LSTM(3, 4, proj_size=-1),
    lambda nn, z: nn.LSTM(3, 0), lambda nn, z: nn.LSTM(3, 4, 0), lambda nn, z: nn.LSTM(3, 4, dropout=2), lambda nn, z: nn.LSTM(3, "a"),
    lambda nn, z: nn.RNN(3, 4, nonlinearity="x"), lambda nn, z: nn.LSTM(3, 4, dropout=True), lambda nn, z: nn.LSTM(0, 4),
    lambda nn, z: nn.LSTM(3.0, 4), lambda nn, z: nn.LSTM(3, 4, dropout=0.1),
    lambda nn, z: nn.RNNCell(3, 4, nonlinearity="x")(z(2, 3)),
    lambda nn, z: nn.LSTM(3, 4)(z(2, 2, 4)), lambda nn, z: nn.LSTM(3, 4)(z(2, 2, 2, 3)), lambda nn, z: nn.LSTM(3, 4)(z(3)),
    lambda nn, z: nn.LSTM(3, 4)(z(5, 2, 3), (z(1, 2, 4), z(1, 3, 4))), lambda nn, z: nn.LSTM(3, 4)(z(5, 2, 3), (z(1, 3, 4), z(1, 2, 4))),
    lambda nn, z: nn.LSTM(3, 4)(z(5, 3), (z(1, 2, 4), z(1, 2, 4))), lambda nn, z: nn.LSTM(3, 4)(z(5, 2, 3), (z(1, 4), z(1, 4))),
    lambda nn, z: nn.LSTM(3, 4)(z(5, 2, 3).double()), lambda nn, z: nn.LSTM(3, 4)(z(0, 2, 3)), lambda nn, z: nn.LSTM(3, 4)(z(5, 0, 3)),
    lambda nn, z: nn.GRU(3, 4)(z(5, 2, 3), z(2, 2, 4)), lambda nn, z: nn.GRU(3, 4)(z(5, 3), z(1, 1, 4)),
    lambda nn, z: nn.GRU(3, 4)(z(5, 2, 3), z(1, 4)), lambda nn, z: nn.GRU(3, 4)(z(5, 2, 2, 3)), lambda nn, z: nn.GRU(3, 4)(z(5, 2, 4)),
    lambda nn, z: nn.GRU(3, 4)(z(5, 2, 3).double()), lambda nn, z: nn.RNN(3, 4)(z(5, 2, 3), z(2, 2, 4)), lambda nn, z: nn.RNN(3, 4)(z(5, 2, 2, 3)),
    lambda nn, z: nn.LSTMCell(3, 4)(z(2, 2, 3)), lambda nn, z: nn.LSTMCell(3, 4)(z(2, 4)),
    lambda nn, z: nn.LSTMCell(3, 4)(z(2, 3), (z(3, 4), z(3, 4))), lambda nn, z: nn.LSTMCell(3, 4)(z(2, 3), (z(2, 5), z(2, 4))),
    lambda nn, z: nn.GRUCell(3, 4)(z(2, 2, 3)), lambda nn, z: nn.GRUCell(3, 4)(z(2, 3), z(3, 4)), lambda nn, z: nn.GRUCell(3, 4)(z(2, 3), z(2, 5)),
    lambda nn, z: nn.GRUCell(3, 4)(z(2, 3), z(2, 2, 5)), lambda nn, z: nn.RNNCell(3, 4)(z(2, 3), z(3, 4)),
])
def test_errors(make):
    assert outcome(make, torch) == outcome(make, pt)


def test_saved_values_are_checked_and_freed():
    lstm = torch.nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    y, _ = lstm(x)
    with torch.no_grad():
        lstm.weight_hh_l0.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y, _ = lstm(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_half():
    lstm = torch.nn.LSTM(3, 4).half()
    x = torch.randn(5, 2, 3)
    y, (h, _) = lstm(x.half())
    assert y.dtype is torch.float16 and h.dtype is torch.float16
    expected, _ = lstm.float()(x.half().float())
    np.testing.assert_allclose(y.float().detach().numpy(), expected.detach().numpy(), atol=2e-3)
    y, _ = lstm.half()(x.half())
    y.sum().backward()
    assert lstm.weight_ih_l0.grad.dtype is torch.float16
