"""Recurrent layers by the device's kernels, run on the host (cuda_emulator.py), against PyTorch's on the CPU."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support import cuda_standin
from tests.support.cuda_emulator import LAUNCHES, cublas

MODES = ("LSTM", "GRU", "RNN_TANH", "RNN_RELU")
TOLERANCE = {"float64": 1e-11, "float32": 2e-5, "float16": 1e-2, "bfloat16": 8e-2}


@pytest.fixture(autouse=True)
def cupy():
    with cuda_standin.cuda() as module:
        yield module


def pair(mode, dtype="float32", **options):
    """The same layer on both sides: ours on the device, PyTorch's on the CPU in float64, with weights that `dtype` can hold."""
    if mode.startswith("RNN"):
        options["nonlinearity"] = mode[4:].lower()
    theirs = getattr(pt.nn, mode.split("_")[0])(**options).double()
    ours = getattr(rl.nn, mode.split("_")[0])(**options, device="cuda", dtype=getattr(rl, dtype))
    rng = np.random.default_rng(0)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        with rl.no_grad():
            a.copy_(rl.tensor(rng.uniform(-0.6, 0.6, a.shape), device="cuda"))
        b.data = pt.from_numpy(a.detach().cpu().double().numpy())
    return ours, theirs


def data(shape, dtype, seed, grad=True):
    ours = rl.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=getattr(rl, dtype), device="cuda", requires_grad=grad)
    return ours, pt.from_numpy(ours.detach().cpu().double().numpy()).requires_grad_(grad)


def close(a, b, dtype):
    assert a.dtype is getattr(rl, dtype)
    b = b.detach().numpy()
    np.testing.assert_allclose(a.detach().cpu().double().numpy(), b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * max(1.0, np.abs(b).max(initial=0)))


def flat(result):
    y, states = result
    y = y if hasattr(y, "shape") else y.data
    return (y, *(states if isinstance(states, tuple) else (states,)))


def check(ours, theirs, x, other_x, starts, other_starts, dtype):
    """Outputs, final states and all gradients."""
    mine, other = flat(ours(x, starts)), flat(theirs(other_x, other_starts))
    total, other_total = 0, 0
    for i, (a, b) in enumerate(zip(mine, other)):
        close(a, b, dtype)
        w = np.cos(np.arange(b.numel()).reshape(b.shape) + i)
        total = total + (a.double() * rl.tensor(w, device="cuda")).sum()
        other_total = other_total + (b * pt.from_numpy(w)).sum()
    total.backward()
    other_total.backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
        close(a.grad, b.grad, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode, options", [*((mode, {}) for mode in MODES), *((mode, {"num_layers": 2, "bidirectional": True, "bias": False}) for mode in MODES),
                                           ("LSTM", {"proj_size": 3}), ("LSTM", {"proj_size": 2, "bidirectional": True, "num_layers": 2})])
def test_layers(mode, options, dtype):
    ours, theirs = pair(mode, dtype, input_size=5, hidden_size=7, **options)
    x, other_x = data((6, 3, 5), dtype, 1)
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    h, other_h = data((count, 3, options.get("proj_size") or 7), dtype, 2)
    c, other_c = data((count, 3, 7), dtype, 3)
    lstm = mode == "LSTM"
    check(ours, theirs, x, other_x, (h, c) if lstm else h, (other_h, other_c) if lstm else other_h, dtype)
    for a, b in ((x, other_x), (h, other_h), *(((c, other_c),) if lstm else ())):
        close(a.grad, b.grad, dtype)


@pytest.mark.parametrize("mode, options", [*((mode, {}) for mode in MODES), *((mode, {"bidirectional": True}) for mode in MODES),
                                           ("LSTM", {"proj_size": 3, "bidirectional": True})])
def test_packed_sequences(mode, options):
    """Sequences that end early, and, from right to left, that begin late."""
    ours, theirs = pair(mode, "float32", input_size=4, hidden_size=6, **options)
    x, other_x = data((5, 4, 4), "float32", 1)
    lengths = [5, 3, 3, 1]
    packed = rl.nn.utils.rnn.pack_padded_sequence(x, rl.tensor(lengths, device="cpu"))
    other = pt.nn.utils.rnn.pack_padded_sequence(other_x, pt.tensor(lengths))
    check(ours, theirs, packed, other, None, None, "float32")
    close(x.grad, other_x.grad, "float32")


@pytest.mark.parametrize("mode, forward, backward", [("LSTM", 1, 1), ("GRU", 1, 1), ("RNN_TANH", 1, 1), ("LSTM_PROJ", 1, 2)])
@pytest.mark.standin
def test_launches_per_step(mode, forward, backward):
    """One kernel and one product per step (two of each with projections), whatever the number of steps."""
    options = {"proj_size": 3} if mode == "LSTM_PROJ" else {}
    ours, _ = pair(mode.replace("_PROJ", ""), "float32", input_size=4, hidden_size=6, **options)

    def count(steps):
        x, _ = data((steps, 2, 4), "float32", 1)
        at = [sum(LAUNCHES.values()), len(cublas.CALLS)]
        y, _ = ours(x)
        middle = [sum(LAUNCHES.values()), len(cublas.CALLS)]
        y.backward(rl.ones_like(y))
        end = [sum(LAUNCHES.values()), len(cublas.CALLS)]
        return np.array([middle[0] - at[0], middle[1] - at[1], end[0] - middle[0], end[1] - middle[1]])
    count(2)
    per_step = (count(9) - count(5)) / 4
    assert per_step.tolist() == [forward, 1 + bool(options), backward, 1 + bool(options)]


def test_cells_and_second_gradients():
    ours, theirs = rl.nn.LSTMCell(4, 5, device="cuda", dtype=rl.float64), pt.nn.LSTMCell(4, 5).double()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        b.data = pt.from_numpy(a.detach().cpu().numpy())
    x, other = data((3, 4), "float64", 1)
    (h, c), (other_h, other_c) = ours(x), theirs(other)
    (g,) = rl.autograd.grad((h * c).sum(), x, create_graph=True)
    (other_g,) = pt.autograd.grad((other_h * other_c).sum(), other, create_graph=True)
    close(g, other_g, "float64")
    (g * g).sum().backward()
    (other_g * other_g).sum().backward()
    close(x.grad, other.grad, "float64")


def test_an_empty_batch():
    ours, theirs = pair("LSTM", "float32", input_size=4, hidden_size=5)
    x, other = data((3, 0, 4), "float32", 1)
    check(ours, theirs, x, other, None, None, "float32")


@pytest.mark.parametrize("mode", MODES)
def test_a_graph_holds_a_layer(mode):
    """Nothing waits for the device, so a CUDA graph records forward and backward, and replays them on new inputs."""
    ours, _ = pair(mode, "float32", input_size=4, hidden_size=5, num_layers=2)
    batches = [data((3, 2, 4), "float32", seed, grad=False)[0] for seed in range(3)]
    wanted = []
    for batch in batches:
        ours.zero_grad()
        y, _ = ours(batch)
        y.sum().backward()
        wanted.append([y.detach().cpu().numpy(), *[p.grad.cpu().numpy() for p in ours.parameters()]])
    x, graph = batches[0].clone(), rl.cuda.CUDAGraph()
    with rl.cuda.graph(graph):
        for p in ours.parameters():
            p.grad.zero_()
        y, _ = ours(x)
        y.sum().backward()
    for batch, expected in zip(batches, wanted):
        x.copy_(batch)
        graph.replay()
        for a, b in zip((y.detach(), *[p.grad for p in ours.parameters()]), expected):
            np.testing.assert_allclose(a.cpu().numpy(), b, rtol=1e-5, atol=1e-6)
